"""2,610 step paths of 17 everyday tasks: videos of CrossTask grounded to WikiHow steps (Zhou et al., ACL 2023). Not packaged: ``EVERYSTEP_DATA``."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from everystep.core.errors import DataError
from everystep.environments.published import find_file, read_text

SOURCE = "https://github.com/bryanzhou008/Multimodal-Graph-Script-Learning (MIT), folder data"
FOLDER = "graph_scripts"
LISTS, PATHS = "crosstask_wikihow_input_sequences.json", "crosstask_wikihow_output_sequences.json"
_MARK = "<->"
_TITLES = (
    "make jello shots", "build simple floating shelves", "make taco salad", "grill a steak", "make kimchi fried rice", "make meringue",
    "make a latte", "pickle cucumbers", "make lemonade", "make French toast", "make a fish curry", "make banana ice cream",
    "add oil to a car", "change a tire", "make Irish coffee", "make a French strawberry cake", "make pancakes",
)  # fmt: skip
"""The tasks in the order of the file. The data has no titles; these are ours, from the steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """One task: its steps in the order of the article, and the paths that videos of it took."""

    name: str
    steps: tuple[str, ...]
    paths: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The paths of one task in their roles."""

    procedure: Procedure
    train: tuple[tuple[str, ...], ...]
    test: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A start sequence of some paths: the steps that came next, how often, and the different completions."""

    done: tuple[str, ...]
    next: Mapping[str, int]
    completions: tuple[tuple[str, ...], ...]


def starts(paths: Iterable[Sequence[str]]) -> list[Start]:
    """Return the start sequences of some paths, each once: at least one step is done, and at least one is left.

    >>> [(one.done, one.next) for one in starts([("a", "b", "c"), ("a", "c")])]
    [(('a',), {'b': 1, 'c': 1}), (('a', 'b'), {'c': 1})]
    """
    after: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    for path in paths:
        for place in range(1, len(path)):
            after[tuple(path[:place])].append(tuple(path[place:]))
    return [
        Start(
            done=done, next=dict(Counter(rest[0] for rest in rests)), completions=tuple(dict.fromkeys(rests))
        )
        for done, rests in after.items()
    ]


def procedures() -> tuple[Procedure, ...]:
    """Return the 17 tasks. ``ConfigError`` where the files are not there, ``DataError`` where a path has a step that its list lacks."""
    return _read(find_file(FOLDER, LISTS, SOURCE), find_file(FOLDER, PATHS, SOURCE))


def split(some: Sequence[Procedure], seed: int, *, share: float = 0.2) -> list[Part]:
    """Return each task's paths shuffled into ``train`` and, with this share, ``test``; the published test files are not in the repository, so the split is ours."""
    parts = []
    for one in some:
        order = list(one.paths)
        Random(f"{seed} {one.name}").shuffle(order)
        count = max(1, round(share * len(order)))
        parts.append(Part(procedure=one, train=tuple(order[count:]), test=tuple(order[:count])))
    return parts


@cache
def _read(lists: Path, paths: Path) -> tuple[Procedure, ...]:
    listed, taken = (_sequences(path) for path in (lists, paths))
    if len(listed) != len(taken):
        raise DataError(
            f"{lists.name} has {len(listed)} records, {paths.name} {len(taken)}; expected one list for each path."
        )
    grouped: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for steps, path in zip(listed, taken, strict=True):
        if not set(path) <= set(steps) or len(set(path)) < len(path):
            raise DataError(
                f"{paths.name}: path {path!r} has a step twice, or one that its list {steps!r} lacks."
            )
        grouped.setdefault(steps, []).append(path)
    names = _TITLES if len(grouped) == len(_TITLES) else [steps[-1].rstrip(".") for steps in grouped]
    return tuple(
        Procedure(name=name, steps=steps, paths=tuple(some))
        for name, (steps, some) in zip(names, grouped.items(), strict=True)
    )


def _sequences(path: Path) -> list[tuple[str, ...]]:
    records: Any = json.loads(read_text(path))
    if not isinstance(records, list) or not all(isinstance(one, str) and _MARK in one for one in records):
        raise DataError(
            f"{path.name}: expected a list of texts with steps between {_MARK!r}, as in {SOURCE}."
        )
    return [tuple(step.strip() for step in one.split(_MARK) if step.strip()) for one in records]
