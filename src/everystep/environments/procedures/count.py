"""Procedures that count, calculate, or walk a number of places."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import ClassVar, Self

from everystep.core.records import Json
from everystep.environments.procedures.forms import (
    DIGITS,
    LETTERS,
    NUMBER,
    QUOTED,
    TEXT,
    WORDS,
    Form,
    folded,
    many,
    pick_words,
    row,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Letters times the number that the digits make, string by string; the final state is the sum."""

    strings: tuple[str, ...]

    form: ClassVar[Form] = Form("Strings:\n[{strings}]", strings=many(QUOTED))

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        """A character is a digit with ten chances in 88."""
        return cls(strings=pick_words(random, LETTERS * 3 + DIGITS, steps - 1, 4, 9))

    @property
    def first(self) -> str:
        return "0"

    def states(self) -> tuple[Json, ...]:
        rows = [(one, *letters_and_digits(one)) for one in self.strings]
        told: list[Json] = [[one, str(n), str(m), str(n * m)] for one, n, m in rows]
        return (*told, sum(n * m for _, n, m in rows))


def letters_and_digits(string: str) -> tuple[int, int]:
    """Return how many letters there are, and the number that the digits make in their order, 0 without any.

    >>> letters_and_digits("a1b2")
    (2, 12)
    """
    digits = "".join(one for one in string if one in DIGITS)
    return sum(one.isalpha() for one in string), int(digits or "0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How often each part stands in each string, without overlap, added up."""

    strings: tuple[str, ...]
    substrings: tuple[str, ...]

    form: ClassVar[Form] = Form(
        "Strings: [{strings}]\nSubstrings: [{substrings}]\n", strings=WORDS, substrings=WORDS
    )

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        """Up to two characters of a string are changed into parts that are looked for."""
        wanted = pick_words(random, LETTERS, steps, 2, 2)
        strings = []
        for base in pick_words(random, LETTERS, 10, 3, 10):
            places = random.sample(range(len(base)), random.randint(0, 2))
            strings.append(
                "".join(random.choice(wanted) if n in places else one for n, one in enumerate(base))
            )
        return cls(strings=tuple(strings), substrings=wanted)

    @property
    def first(self) -> list[Json]:
        return [0] * len(self.strings)

    def states(self) -> tuple[Json, ...]:
        return folded(
            lambda now, part: [count + one.count(part) for count, one in zip(now, self.strings, strict=True)],
            self.first,
            self.substrings,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cumulate:
    """Add and multiply."""

    number: int
    operations: tuple[tuple[str, int], ...]

    form: ClassVar[Form] = Form(
        "N = {number}\nOperations: [{operations}]\n",
        number=NUMBER,
        operations=many(row("{} {}", TEXT, NUMBER)),
    )

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        made = (
            ("Add", random.randint(0, 9)) if random.random() < 0.5 else ("Multiply", random.randint(1, 5))
            for _ in range(steps)
        )
        return cls(number=random.randint(1, 9), operations=tuple(made))

    @property
    def first(self) -> int:
        return self.number

    def states(self) -> tuple[int, ...]:
        return folded(cumulated, self.number, self.operations)


def cumulated(now: int, operation: tuple[str, int]) -> int:
    """Return the number after one operation.

    >>> cumulated(7, ("Add", 5)), cumulated(7, ("Multiply", 2))
    (12, 14)
    """
    word, by = operation
    return now + by if word == "Add" else now * by


@dataclass(frozen=True, slots=True, kw_only=True)
class Find:
    """Walk to the right from a character, around the end, and count down."""

    string: str
    letter: str
    number: int

    form: ClassVar[Form] = Form(
        "String: {string}\nCommand: ['{letter}', '{number}']\n", string=TEXT, letter=TEXT, number=NUMBER
    )

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        """All characters differ, so at most 36 stand in a string; more steps go around it."""
        both = LETTERS + DIGITS
        string = "".join(random.sample(both, min(len(both), steps + random.randint(0, 4))))
        return cls(string=string, letter=random.choice(string), number=steps)

    @property
    def first(self) -> list[Json]:
        return [self.letter, str(self.number)]

    def states(self) -> tuple[Json, ...]:
        start = self.string.index(self.letter)
        passed = [self.string[(start + n) % len(self.string)] for n in range(1, self.number + 1)]
        told: list[Json] = [[one, str(self.number - n)] for n, one in enumerate(passed[:-1], 1)]
        return (*told, passed[-1])
