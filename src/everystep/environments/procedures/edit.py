"""Procedures that change a string at each step."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import ClassVar, Self

from everystep.environments.procedures.forms import (
    DIGITS,
    LETTERS,
    NUMBER,
    PLACES,
    TEXT,
    WORDS,
    Form,
    folded,
    many,
    numbered,
    pick,
    pick_length,
    row,
)

BOTH = LETTERS + DIGITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Sort:
    """Sort by swaps: each letter in its turn goes to the next place. A swap that changes nothing is no state."""

    string: str

    form: ClassVar[Form] = Form("String: {string}", string=TEXT)

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        while True:
            length = random.randint(max(5, steps + 1), steps + 10 + steps // 30)
            made = cls(string=pick(random, LETTERS, length))
            if len(made.states()) == steps:
                return made

    @property
    def first(self) -> str:
        return self.string

    def states(self) -> tuple[str, ...]:
        now, found = list(self.string), []
        for place, wanted in enumerate(sorted(now)):
            if now[place] != wanted:
                where = now.index(wanted, place)
                now[place], now[where] = now[where], now[place]
                found.append("".join(now))
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Substitute:
    """Replace each character by its pair."""

    pairs: tuple[tuple[str, str], ...]
    string: str

    form: ClassVar[Form] = Form(
        "Pairs:\n{pairs}\nString:\n{string}", pairs=many(row("({}, {})", TEXT, TEXT), "\n"), string=TEXT
    )

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        string = pick(random, BOTH, steps)
        keys = sorted(set(string))
        random.shuffle(keys)
        return cls(pairs=tuple((key, random.choice(BOTH.replace(key, ""))) for key in keys), string=string)

    @property
    def first(self) -> str:
        return self.string

    def states(self) -> tuple[str, ...]:
        table = dict(self.pairs)
        made = "".join(table.get(one, one) for one in self.string)
        return tuple(made[:place] + self.string[place:] for place in range(1, len(made) + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class PushPop:
    """Put characters to both ends and take them from there."""

    string: str
    actions: tuple[str, ...]

    form: ClassVar[Form] = Form("Initial string: {string}\nActions: {actions}", string=TEXT, actions=WORDS)

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        kinds = ("pop_left", "pop_right", "push_left", "push_right")
        told = (random.choice(kinds) for _ in range(steps))
        return cls(
            string=pick(random, LETTERS, steps),
            actions=tuple(
                f"{one}({pick(random, LETTERS, 1)})" if one.startswith("push") else one for one in told
            ),
        )

    @property
    def first(self) -> str:
        return self.string

    def states(self) -> tuple[str, ...]:
        return folded(push_pop, self.string, self.actions)


def push_pop(string: str, action: str, *, mirrored: bool = False) -> str:
    """Return the string after one action, with left for right where it is ``mirrored``.

    >>> push_pop("abc", "pop_left"), push_pop("abc", "push_right(d)")
    ('bc', 'abcd')
    """
    put = action[-2] if action.startswith("push") and action.endswith(")") else ""
    if ("left" in action) is not mirrored:
        return put + string if put else string[1:]
    return string + put if put else string[:-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotate:
    """Turn parts of the string to the right by one, each told by its start and its end."""

    string: str
    indices: tuple[tuple[int, int], ...]

    form: ClassVar[Form] = Form("String:\n{string}\nIndices:\n{indices}", string=TEXT, indices=PLACES)

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        string = pick(random, LETTERS, random.randint(5, 14))
        ends = [random.randint(2, len(string)) for _ in range(steps)]
        return cls(string=string, indices=tuple((random.randint(0, max(0, end - 3)), end) for end in ends))

    @property
    def first(self) -> str:
        return self.string

    def states(self) -> tuple[str, ...]:
        return folded(lambda now, one: turned(now, *one), self.string, self.indices)


def turned(string: str, start: int, end: int, by: int = 1) -> str:
    """Return the string with a part of it turned to the right by ``by`` places, 1 or -1.

    >>> turned("abcde", 1, 4), turned("abcde", 1, 4, -1)
    ('adbce', 'acdbe')
    """
    part = string[start:end]
    return string[:start] + part[-by:] + part[:-by] + string[end:]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteCharacter:
    """Take letters out one by one, each where it stands first."""

    string: str
    letters: tuple[str, ...]

    form: ClassVar[Form] = Form("String: {string}\nSteps: \n{letters}", string=TEXT, letters=numbered(TEXT))

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        string = pick(random, LETTERS, pick_length(random, steps + 1))
        return cls(string=string, letters=tuple(random.sample(string, steps)))

    @property
    def first(self) -> str:
        return self.string

    def states(self) -> tuple[str, ...]:
        return folded(lambda now, letter: now.replace(letter, "", 1), self.string, self.letters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Move an ``x`` left and right in a row, around its end."""

    array: str
    moves: tuple[tuple[str, int], ...]

    form: ClassVar[Form] = Form(
        "Initial array:\n{array}\nOperations: [\n{moves}\n]\n",
        array=TEXT,
        moves=many(row(" ({}, {})", TEXT, NUMBER), ",\n"),
    )

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        length = random.randrange(5, 55, 5)
        moves = ((random.choice(("left", "right")), random.randint(1, length)) for _ in range(steps))
        return cls(array=marked(random.randrange(length), length), moves=tuple(moves))

    @property
    def first(self) -> str:
        return self.array

    def states(self) -> tuple[str, ...]:
        length = len(self.array)
        places = folded(
            lambda place, one: (place + (one[1] if one[0] == "right" else -one[1])) % length,
            self.array.index("x"),
            self.moves,
        )
        return tuple(marked(place, length) for place in places)


def marked(place: int, length: int) -> str:
    """Return a row of ``length`` places with an ``x`` at one.

    >>> marked(1, 4)
    '-x--'
    """
    return "-" * place + "x" + "-" * (length - place - 1)
