"""Reasoning structures: plans of typed operations from a library, executed on a question. A structure is data, so a search or a model may write it.

The value that goes through a structure begins as the question (a text) and ends as the answer (a text); every operation says what it takes and gives, and also sees
the question. Structures are read strictly from JSON; nothing in them is ever evaluated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any, TypeAlias

from everystep.core.errors import DataError, did_you_mean

LONGEST_STRUCTURE = 10
"""Modules of a structure."""
LONGEST_WRITTEN = 20_000
"""Characters of a written structure."""
LONGEST_VALUE = 20_000
"""Characters, or parts, of a value between two modules."""


class Type(StrEnum):
    """What goes from one operation to the next."""

    TEXT = "text"
    WORDS = "words"  # a list of texts
    FIELDS = "fields"  # named tables of a question


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A named part of a question, as rows of cells."""

    name: str
    rows: tuple[tuple[str, ...], ...]


Value: TypeAlias = str | tuple[str, ...] | tuple[Field, ...]
Function: TypeAlias = Callable[[Any, str, str], Value]
"""Given the value, the question and the option, the next value. It raises ``ValueError`` or ``LookupError`` for what it cannot work on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of a library. ``options`` are the ways in which it can be done; one of them is chosen by a structure."""

    name: str
    takes: Type
    gives: Type
    function: Function
    options: tuple[str, ...] = ("",)
    about: str = ""


Library: TypeAlias = Mapping[str, Operation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One operation of a structure, and how it is done."""

    op: str
    option: str = ""


Structure: TypeAlias = tuple[Module, ...]


def library_of(operations: Sequence[Operation]) -> dict[str, Operation]:
    """Return operations by name; ``DataError`` for a name that stands twice."""
    found = {one.name: one for one in operations}
    if len(found) < len(operations):
        raise DataError("two operations of a library have one name. Rename one.")
    return found


def problem_of(structure: Structure, library: Library) -> str | None:
    """Return why a structure cannot be executed, ``None`` if it can."""
    if not 1 <= len(structure) <= LONGEST_STRUCTURE:
        return f"a structure has 1 to {LONGEST_STRUCTURE} modules, this one {len(structure)}"
    at = Type.TEXT
    for number, module in enumerate(structure):
        operation = library.get(module.op)
        if operation is None:
            return (
                f"module {number}: no operation {module.op[:40]!r}. {did_you_mean(module.op[:40], library)}"
            )
        if module.option not in operation.options:
            return f"module {number}: {operation.name!r} has the options {operation.options}, not {module.option[:40]!r}"
        if operation.takes is not at:
            return f"module {number}: {operation.name!r} takes {operation.takes}, but gets {at}"
        at = operation.gives
    return None if at is Type.TEXT else f"a structure ends with a text, this one with {at}"


def answered(structure: Structure, question: str, library: Library) -> str | None:
    """Return the answer of a structure that has no problem, ``None`` where an operation cannot go on."""
    value: Value = question
    try:
        for module in structure:
            value = library[module.op].function(value, question, module.option)
            if len(value) > LONGEST_VALUE:
                return None
    except (ValueError, LookupError):
        return None
    return plain(value) if isinstance(value, str) else None


def plain(text: str) -> str:
    """Return an answer as it is compared: single spaces, none around.

    >>> plain(" ( A )  ")
    '( A )'
    """
    return " ".join(text.split())


# --- as JSON -----------------------------------------------------------------------------------------


def written(structure: Structure) -> str:
    """Return a structure as JSON, as ``read_structure`` reads it."""
    return json.dumps({"modules": [{"op": one.op, "option": one.option} for one in structure]})


def read_structure(text: str, library: Library) -> Structure | str:
    """Read ``{"modules": [{"op": NAME, "option": NAME}, ...]}`` strictly; the option may be left out where it is the first. Return what is wrong otherwise.

    >>> read_structure("import os", {})
    'the answer is not one JSON object with modules'
    """
    try:
        body: Any = json.loads(text, object_pairs_hook=_once) if len(text) <= LONGEST_WRITTEN else None
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or body.keys() != {"modules"} or not isinstance(body["modules"], list):
        return "the answer is not one JSON object with modules"
    made = []
    for number, one in enumerate(body["modules"]):
        if not isinstance(one, dict) or not {"op"} <= one.keys() <= {"op", "option"}:
            return f"module {number} is not an object with op and option"
        if not all(isinstance(value, str) for value in one.values()):
            return f"module {number}: op and option must be texts"
        usual = library[one["op"]].options[0] if one["op"] in library else ""
        made.append(Module(op=one["op"], option=one.get("option", usual)))
    structure = tuple(made)
    return problem_of(structure, library) or structure


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


# --- drawn and edited --------------------------------------------------------------------------------


Weights: TypeAlias = Mapping[str, float]
"""How likely operations are to be drawn, relative to each other; 1 for those that are not named."""


def drawn(library: Library, random: Random, *, most: int = 5, weights: Weights | None = None) -> Structure:
    """Return a random structure of up to ``most`` modules, each length alike."""
    while True:
        made = _path(library, random, Type.TEXT, Type.TEXT, random.randint(1, most), weights or {})
        if made is not None:
            return made


def edited(
    structure: Structure, library: Library, random: Random, *, weights: Weights | None = None
) -> Structure:
    """Return ``structure`` with up to 2 modules in a row taken out and up to 3 others in their place, or with another option; never the same."""
    while True:
        at = random.randint(0, len(structure))
        cut = min(random.randint(0, 2), len(structure) - at)
        end = at + cut
        if cut == 1 and random.random() < 0.5:
            options = library[structure[at].op].options
            new: Structure | None = (Module(op=structure[at].op, option=random.choice(options)),)
        else:
            start = library[structure[at - 1].op].gives if at else Type.TEXT
            goal = library[structure[end].op].takes if end < len(structure) else Type.TEXT
            new = _path(library, random, start, goal, random.randint(0, 3), weights or {})
        if new is None:
            continue
        made = (*structure[:at], *new, *structure[end:])
        if made != structure and 1 <= len(made) <= LONGEST_STRUCTURE:
            return made


def _path(
    library: Library, random: Random, start: Type, goal: Type, length: int, weights: Weights
) -> Structure | None:
    """Return random modules from one type to another, ``None`` where the draw did not arrive."""
    made, at = [], start
    for left in range(length, 0, -1):
        fitting = [one for one in library.values() if one.takes is at and (left > 1 or one.gives is goal)]
        if not fitting:
            return None
        chosen = random.choices(fitting, [weights.get(one.name, 1.0) for one in fitting])[0]
        made.append(Module(op=chosen.name, option=random.choice(chosen.options)))
        at = chosen.gives
    return tuple(made) if at is goal else None


def weights_for(texts: Sequence[str], library: Library) -> dict[str, float]:
    """Return weights of operations by the words of their names and descriptions that stand in ``texts``: 1, and 2 more for each word by how rare it is in the library.

    Words count from 4 letters, by their first 5.
    """
    told = {name: _stems(f"{name} {one.about}") for name, one in library.items()}
    there = frozenset().union(*map(_stems, texts))
    found = {}
    for name, stems in told.items():
        shared = sorted(stems & there)
        found[name] = 1.0 + 2.0 * sum(1 / sum(stem in other for other in told.values()) for stem in shared)
    return found


def _stems(text: str) -> frozenset[str]:
    return frozenset(word[:5] for word in re.findall(r"[a-z]{4,}", text.lower()))
