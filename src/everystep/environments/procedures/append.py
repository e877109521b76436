"""Procedures that make a string: something is appended at each step."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import ClassVar, Self

from everystep.environments.procedures.forms import (
    DIGITS,
    LETTERS,
    NUMBER,
    NUMBERS,
    TEXT,
    WORDS,
    Form,
    folded,
    many,
    pick,
    pick_words,
    row,
)

BOTH = LETTERS + DIGITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather:
    """Append parts of strings, each told by the number of the string, the start and the count."""

    strings: tuple[str, ...]
    sets: tuple[tuple[int, int, int], ...]

    form: ClassVar[Form] = Form(
        "Strings: [{strings}]\nSets of Numbers: [{sets}]\n",
        strings=WORDS,
        sets=many(row("({}, {}, {})", NUMBER, NUMBER, NUMBER)),
    )

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        strings = pick_words(random, BOTH, random.randint(2, 20), 5, 10)
        sets = []
        for _ in range(steps):
            which = random.randrange(len(strings))
            start = random.randrange(len(strings[which]))
            sets.append((which, start, random.randint(1, len(strings[which]) - start)))
        return cls(strings=strings, sets=tuple(sets))

    @property
    def first(self) -> str:
        return ""

    def states(self) -> tuple[str, ...]:
        return folded(lambda made, one: made + self.strings[one[0]][one[1] : one[1] + one[2]], "", self.sets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Append strings by their indices."""

    strings: tuple[str, ...]
    indices: tuple[int, ...]

    form: ClassVar[Form] = Form(
        "Strings: [{strings}]\nIndices: [{indices}]\n", strings=WORDS, indices=NUMBERS
    )

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        strings = pick_words(random, BOTH, random.randint(3, 25), 5, 20)
        return cls(strings=strings, indices=tuple(random.choices(range(len(strings)), k=steps)))

    @property
    def first(self) -> str:
        return ""

    def states(self) -> tuple[str, ...]:
        return folded(lambda made, index: made + self.strings[index], "", self.indices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """Append a number and a character in turn, each sequence beginning again at its end."""

    numbers: tuple[int, ...]
    characters: tuple[str, ...]
    count: int

    form: ClassVar[Form] = Form(
        "Sequence 1: {numbers}\nSequence 2: {characters}\nN: {count}", numbers=NUMBERS, characters=WORDS, count=NUMBER
    )  # fmt: skip

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        numbers = tuple(random.choices(range(10), k=random.randint(4, 6)))
        return cls(
            numbers=numbers, characters=tuple(pick(random, LETTERS[: random.randint(2, 5)], 8)), count=steps
        )

    @property
    def first(self) -> str:
        return ""

    def states(self) -> tuple[str, ...]:
        one, other = self.numbers, self.characters
        return folded(
            lambda made, n: f"{made}{one[n % len(one)]}{other[n % len(other)]}", "", range(self.count)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode:
    """Append each character as often as is told."""

    pieces: tuple[tuple[str, int], ...]

    form: ClassVar[Form] = Form("Sentence: {pieces}\n", pieces=many(row("{}x{}", TEXT, NUMBER), " "))

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        start = random.randrange(2)
        return cls(pieces=tuple((str((start + n) % 2), random.randint(1, 9)) for n in range(steps)))

    @property
    def first(self) -> str:
        return ""

    def states(self) -> tuple[str, ...]:
        return folded(lambda made, piece: made + piece[0] * piece[1], "", self.pieces)
