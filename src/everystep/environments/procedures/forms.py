"""Procedures that are carried out step by step: how a problem of one is written as a question and read back.

A family of problems is one frozen dataclass: its fields are the parameters, ``form`` is the layout of its question, ``states`` carries it out. Reading is strict: what
``question`` would not write again is no question of that family.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any, ClassVar, Protocol, Self, TypeVar

from everystep.core.errors import DataError
from everystep.core.records import Json

LETTERS = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"
LONGEST = 30
"""A string to take apart is not drawn longer, unless there are more steps than it has room for."""


@dataclass(frozen=True, slots=True)
class Notation:
    """How a value is written and read. ``read`` raises ``ValueError`` for what it cannot be."""

    write: Callable[[Any], str]
    read: Callable[[str], Any]


TEXT = Notation(str, str)
NUMBER = Notation(str, int)
QUOTED = Notation(repr, lambda text: text[1:-1])


def row(layout: str, *parts: Notation) -> Notation:
    """Return the notation of a tuple: ``layout`` with a ``{}`` for each part.

    >>> row("{}, {} -> {}", TEXT, TEXT, NUMBER).read("a, b -> 3")
    ('a', 'b', 3)
    """
    shape = re.compile(re.escape(layout).replace(r"\{\}", "(.*?)"), re.DOTALL)

    def read(text: str) -> tuple[Any, ...]:
        found = shape.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not like {layout!r}")
        return tuple(part.read(cell) for part, cell in zip(parts, found.groups(), strict=True))

    return Notation(
        lambda cells: layout.format(*(part.write(cell) for part, cell in zip(parts, cells, strict=True))),
        read,
    )


def many(part: Notation, between: str = ", ") -> Notation:
    """Return the notation of any number of parts; what stands in round brackets is not cut.

    >>> many(row("({}, {})", NUMBER, NUMBER)).read("(0, 13), (0, 1)")
    ((0, 13), (0, 1))
    """
    cut = re.compile(re.escape(between) + r"(?![^(]*\))")
    return Notation(
        lambda values: between.join(map(part.write, values)),
        lambda text: tuple(map(part.read, cut.split(text))) if text else (),
    )


WORDS = many(TEXT)
NUMBERS = many(NUMBER)
PLACES = many(row("({}, {})", NUMBER, NUMBER))


def numbered(part: Notation) -> Notation:
    """Return the notation of parts in lines that are numbered from 1.

    >>> numbered(TEXT).write(("a", "b"))
    '1. a\\n2. b'
    """
    return Notation(
        lambda values: "\n".join(f"{n}. {part.write(value)}" for n, value in enumerate(values, 1)),
        lambda text: tuple(part.read(line.split(". ", 1)[-1]) for line in text.split("\n")),
    )


class Form:
    """The layout of a question: a text with the names of fields in braces, and how each of them is written.

    >>> form = Form("N: {count}", count=NUMBER)
    >>> form.read("N: 12")
    {'count': 12}
    """

    def __init__(self, layout: str, **fields: Notation) -> None:
        self.fields: Mapping[str, Notation] = fields
        self._row = row(
            re.sub(r"\{\w+\}", "{}", layout), *(fields[name] for name in re.findall(r"\{(\w+)\}", layout))
        )
        self._names = tuple(re.findall(r"\{(\w+)\}", layout))

    def write(self, values: Mapping[str, Any]) -> str:
        """Return the text with these values."""
        return self._row.write([values[name] for name in self._names])

    def read(self, text: str) -> dict[str, Any]:
        """Return the values; ``ValueError`` where the text is not of this form."""
        return dict(zip(self._names, self._row.read(text), strict=True))


class Procedure(Protocol):
    """A problem with known states. ``first`` is the state before any step; ``states()`` are those after each, the final one last."""

    form: ClassVar[Form]

    @classmethod
    def draw(cls, random: Random, steps: int) -> Self:
        """Return a problem with ``steps`` states, at least 2."""
        ...

    @property
    def first(self) -> Json: ...

    def states(self) -> tuple[Json, ...]: ...


P = TypeVar("P", bound=Procedure)


def question(problem: Procedure) -> str:
    """Return what is asked, without the procedure itself."""
    kind = type(problem)
    return kind.form.write({name: getattr(problem, name) for name in kind.form.fields})


def read_question(kind: type[P], text: str) -> P:
    """Return the problem that a question is about. Raises ``DataError`` for one that ``question`` would not write again."""
    try:
        made = kind(**kind.form.read(text))
    except ValueError as error:
        raise DataError(f"no question of {kind.__name__}: {error}.") from None
    if question(made) != text:
        raise DataError(
            f"no question of {kind.__name__}: read and written again it differs: {question(made)!r}."
        )
    return made


def folded(step: Callable[[Any, Any], Any], first: Any, things: Iterable[Any]) -> tuple[Any, ...]:
    """Return what ``step`` makes of ``first`` and each thing in turn, without ``first``.

    >>> folded(lambda text, more: text + more, "", "abc")
    ('a', 'ab', 'abc')
    """
    return tuple(accumulate(things, step, initial=first))[1:]


def pick(random: Random, letters: str, count: int) -> str:
    """Return ``count`` random characters out of ``letters``."""
    return "".join(random.choices(letters, k=count))


def pick_words(random: Random, letters: str, count: int, low: int, high: int) -> tuple[str, ...]:
    """Return ``count`` random strings of ``low`` to ``high`` characters."""
    return tuple(pick(random, letters, random.randint(low, high)) for _ in range(count))


def pick_length(random: Random, low: int) -> int:
    """Return a length from ``low`` to ``LONGEST``, or a little above ``low`` where that is more."""
    return random.randint(low, max(LONGEST, low + 4))
