"""Procedures over a sentence. The published cases have none of these: what is asked is told by the published templates, sentences, words and layouts are ours."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import ClassVar, Self

from everystep.core.records import Json
from everystep.environments.procedures.forms import (
    LETTERS,
    NUMBER,
    TEXT,
    WORDS,
    Form,
    folded,
    many,
    row,
)

_CLAUSE = (
    ("the", "a", "every", "some", "our", "this"),
    ("old", "quiet", "green", "small", "clever", "late", "bright", "heavy", "early", "plain"),
    ("driver", "garden", "letter", "river", "baker", "engine", "window", "farmer", "market", "singer"),
    ("follows", "keeps", "finds", "paints", "carries", "hears", "mends", "leaves", "counts", "crosses"),
    ("the", "a", "every", "some", "our", "this"),
    ("long", "cold", "narrow", "yellow", "broken", "new", "round", "dusty", "open", "silent"),
    ("road", "basket", "table", "forest", "bridge", "story", "lamp", "ticket", "island", "clock"),
    ("and", "while", "because", "before", "until", "so"),
)
"""Words for each place of a clause; one clause follows another."""


def draw_sentence(random: Random, count: int) -> str:
    """Return a sentence of ``count`` words, without any punctuation."""
    return " ".join(random.choice(_CLAUSE[place % len(_CLAUSE)]) for place in range(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class CountLetters:
    """How often each letter stands in a sentence, word by word."""

    sentence: str

    form: ClassVar[Form] = Form("Sentence: {sentence}", sentence=TEXT)

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        return cls(sentence=draw_sentence(random, steps))

    @property
    def first(self) -> list[Json]:
        return [0] * len(LETTERS)

    def states(self) -> tuple[Json, ...]:
        return folded(
            lambda now, word: [
                count + word.lower().count(one) for count, one in zip(now, LETTERS, strict=True)
            ],
            self.first,
            self.sentence.split(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FillWord:
    """Put words where their numbers stand."""

    words: tuple[tuple[int, str], ...]
    sentence: str

    form: ClassVar[Form] = Form(
        "Words: {words}\nSentence: {sentence}", words=many(row("({}, {})", NUMBER, TEXT)), sentence=TEXT
    )

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        words = draw_sentence(random, steps + random.randint(2, steps + 4)).split()
        places = sorted(random.sample(range(len(words)), steps))
        told = [(number, words[place]) for number, place in enumerate(places, 1)]
        random.shuffle(told)
        for number, place in enumerate(places, 1):
            words[place] = f"[{number}]"
        return cls(words=tuple(told), sentence=" ".join(words))

    @property
    def first(self) -> str:
        return self.sentence

    def states(self) -> tuple[str, ...]:
        return folded(lambda now, one: now.replace(f"[{one[0]}]", one[1]), self.sentence, self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteWord:
    """Take words out one by one, each where it stands first."""

    sentence: str
    words: tuple[str, ...]

    form: ClassVar[Form] = Form("Sentence: {sentence}\nWords: {words}", sentence=TEXT, words=WORDS)

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        words = draw_sentence(random, steps + random.randint(2, steps + 4)).split()
        return cls(sentence=" ".join(words), words=tuple(random.sample(words, steps)))

    @property
    def first(self) -> str:
        return self.sentence

    def states(self) -> tuple[str, ...]:
        return folded(without, self.sentence, self.words)


def without(sentence: str, word: str) -> str:
    """Return the sentence without the first place where the whole word stands.

    >>> without("the cat and the catalogue", "cat")
    'the and the catalogue'
    """
    words = sentence.split()
    place = words.index(word)
    return " ".join((*words[:place], *words[place + 1 :]))
