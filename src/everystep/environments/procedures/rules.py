"""Procedures that replace by rules until none applies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import ClassVar, Self

from everystep.core.records import Json
from everystep.environments.procedures.forms import LETTERS, LONGEST, TEXT, WORDS, Form, many, pick, row


@dataclass(frozen=True, slots=True, kw_only=True)
class Compose:
    """Replace two neighbours by one where a rule says so, from the right, until none applies."""

    rules: tuple[tuple[str, str, str], ...]
    state: tuple[str, ...]

    form: ClassVar[Form] = Form(
        "Rules:\n{rules}\nInitial state:\n{state}", rules=many(row("{}, {} -> {}", TEXT, TEXT, TEXT), "\n"), state=WORDS
    )  # fmt: skip

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        """Rules are added for neighbours that are left, until there are as many replacements; one rule in eight is for none that ever stand together."""
        length = random.randint(steps + 3, max(LONGEST, steps + 5))
        while True:
            state = random.choices(LETTERS, k=length)
            rules: dict[tuple[str, str], str] = {}
            made = [state]
            while len(made) <= steps:
                place = random.randrange(len(made[-1]) - 1)
                rules[made[-1][place], made[-1][place + 1]] = random.choice(LETTERS)
                made = [state, *composed(state, rules, steps + 1)]
            if len(made) == steps + 1:
                break
        seen = {pair for one in made for pair in pairwise(one)}
        for _ in range(len(rules) // 7 + 1):
            pair = random.choice(LETTERS), random.choice(LETTERS)
            while pair in seen or pair in rules:
                pair = random.choice(LETTERS), random.choice(LETTERS)
            rules[pair] = random.choice(LETTERS)
        told = [(*pair, one) for pair, one in rules.items()]
        random.shuffle(told)
        return cls(rules=tuple(told), state=tuple(state))

    @property
    def first(self) -> list[Json]:
        return list(self.state)

    def states(self) -> tuple[Json, ...]:
        return tuple([*one] for one in composed(self.state, {(a, b): c for a, b, c in self.rules}))


def composed(
    state: Sequence[str], rules: Mapping[tuple[str, str], str], most: int | None = None, side: int = -1
) -> list[list[str]]:
    """Return the states of replacing neighbours by rules: the rightmost first, or the leftmost where ``side`` is 0. ``most`` ends it early.

    >>> composed("abab", {("a", "b"): "c", ("c", "c"): "d"})
    [['a', 'b', 'c'], ['c', 'c'], ['d']]
    """
    now = list(state)
    found: list[list[str]] = []
    while most is None or len(found) < most:
        places = [place for place, pair in enumerate(pairwise(now)) if pair in rules]
        if not places:
            break
        place = places[side]
        now = [*now[:place], rules[now[place], now[place + 1]], *now[place + 2 :]]
        found.append(now)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Decompose:
    """Replace a character by two where a rule says so, from the left, until none applies."""

    rules: tuple[tuple[str, str], ...]
    string: str

    form: ClassVar[Form] = Form(
        "Rules:\n{rules}\nString:\n{string}", rules=many(row("{} -> {}", TEXT, TEXT), "\n"), string=TEXT
    )

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        """A character is only replaced by such as come after it in an order of all, so it ends."""
        while True:
            order = "".join(random.sample(LETTERS, len(LETTERS)))
            string = pick(random, order, random.randint(2, steps + 2))
            rules: dict[str, str] = {}
            count = 0
            for one in random.sample(order[:-1], len(order) - 1):
                rules[one] = pick(random, order[order.index(one) + 1 :], 2)
                count = len(decomposed(string, rules, steps + 1))
                if count > steps:
                    del rules[one]
                if count == steps:
                    told = sorted(rules.items(), key=lambda _: random.random())
                    return cls(rules=tuple(told), string=string)

    @property
    def first(self) -> str:
        return self.string

    def states(self) -> tuple[str, ...]:
        return tuple(decomposed(self.string, dict(self.rules)))


def decomposed(string: str, rules: Mapping[str, str], most: int | None = None) -> list[str]:
    """Return the states of replacing the leftmost character that has a rule. ``most`` ends it early.

    >>> decomposed("ax", {"a": "bc", "b": "cc"})
    ['bcx', 'cccx']
    """
    found: list[str] = []
    while most is None or len(found) < most:
        place = next((n for n, one in enumerate(string) if one in rules), None)
        if place is None:
            break
        string = string[:place] + rules[string[place]] + string[place + 1 :]
        found.append(string)
    return found
