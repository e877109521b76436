"""Procedures whose state is a list of what a string is cut into, or agrees with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise, takewhile
from random import Random
from typing import ClassVar, Self

from everystep.core.records import Json
from everystep.environments.procedures.forms import (
    LETTERS,
    NUMBERS,
    PLACES,
    TEXT,
    WORDS,
    Form,
    folded,
    pick,
    pick_length,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encode:
    """Count the characters of each run."""

    string: str

    form: ClassVar[Form] = Form("String:\n{string}", string=TEXT)

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        start = random.randrange(2)
        return cls(string="".join(str((start + n) % 2) * random.randint(1, 9) for n in range(steps)))

    @property
    def first(self) -> str:
        return ""

    def states(self) -> tuple[Json, ...]:
        return folded(lambda told, run: [*told, f"{run[0]}_{run[1]}"], [], runs(self.string))


def runs(string: str) -> list[tuple[str, int]]:
    """Return the runs of equal characters and their lengths.

    >>> runs("0011")
    [('0', 2), ('1', 2)]
    """
    return [(one, len(list(some))) for one, some in groupby(string)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Cut a string at places of the whole string."""

    string: str
    positions: tuple[int, ...]

    form: ClassVar[Form] = Form("String:\n{string}\nPositions:\n{positions}", string=TEXT, positions=NUMBERS)

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        string = pick(random, LETTERS, pick_length(random, steps + 1))
        return cls(string=string, positions=tuple(random.sample(range(1, len(string)), steps)))

    @property
    def first(self) -> list[Json]:
        return [self.string]

    def states(self) -> tuple[Json, ...]:
        return tuple([*parts(self.string, self.positions[:n])] for n in range(1, len(self.positions) + 1))


def parts(string: str, places: Iterable[int]) -> list[str]:
    """Return the string cut before each of these places.

    >>> parts("abcd", [3, 1])
    ['a', 'bc', 'd']
    """
    return [string[a:b] for a, b in pairwise((0, *sorted(places), len(string)))]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPart:
    """Cut a string at places of its parts, each told by the number of the part."""

    string: str
    indices: tuple[tuple[int, int], ...]

    form: ClassVar[Form] = Form("String:\n{string}\nIndices:\n{indices}", string=TEXT, indices=PLACES)

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        string = pick(random, LETTERS, pick_length(random, steps + 1))
        now, indices = [string], []
        for _ in range(steps):
            which = random.choice([n for n, part in enumerate(now) if len(part) > 1])
            indices.append((which, random.randint(1, len(now[which]) - 1)))
            now = split_part(now, *indices[-1])
        return cls(string=string, indices=tuple(indices))

    @property
    def first(self) -> list[Json]:
        return [self.string]

    def states(self) -> tuple[Json, ...]:
        return folded(lambda now, one: split_part(now, *one), [self.string], self.indices)


def split_part(now: Sequence[str], which: int, place: int) -> list[str]:
    """Return the parts with one of them cut.

    >>> split_part(["ab", "cd"], 1, 1)
    ['ab', 'c', 'd']
    """
    part = now[which]
    return [*now[:which], part[:place], part[place:], *now[which + 1 :]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """How far each candidate agrees with the target, until one is the target; the final state is the list of all."""

    target: str
    candidates: tuple[str, ...]

    form: ClassVar[Form] = Form("Target: {target}\nCandidate: {candidates}", target=TEXT, candidates=WORDS)

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        """A candidate before the target agrees with it for at most all but one letter; one behind it can be the target again."""
        target = pick(random, LETTERS, steps + 1)

        def like(most: int) -> str:
            same = max(1, random.randint(0, most))
            rest = LETTERS.replace(target[same], "") if same < len(target) else ""
            return target[:same] + (
                pick(random, rest, 1) + pick(random, LETTERS, steps - same) if rest else ""
            )

        before = [like(steps) for _ in range(steps - 1)]
        return cls(
            target=target,
            candidates=(*before, target, *(like(steps + 1) for _ in range(random.randint(1, 10)))),
        )

    @property
    def first(self) -> list[Json]:
        return [""]

    def states(self) -> tuple[Json, ...]:
        seen = self.candidates[: self.candidates.index(self.target) + 1]
        found: list[Json] = [agreed(self.target, one) for one in seen]
        return (*found[:-1], found)


def agreed(one: str, other: str) -> str:
    """Return how far two strings agree from their start.

    >>> agreed("abcd", "abxd")
    'ab'
    """
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(letter for letter, _ in same)
