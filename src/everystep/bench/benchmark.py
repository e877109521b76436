"""What a benchmark is: cases, how one is attempted, and measures.

A benchmark is a small file: it says where its cases come from, what a contestant does with one, and how published numbers are made of it. A case gives
a row of numbers; a measure is a function of their sums, so that ratios (an F1, a share of wrong steps) are taken over all cases and not averaged from case to
case, and intervals come from resampling whole problems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from everystep.evaluate.step_metrics import Counts, accuracy

Attempt = Callable[[Sequence["Ask"]], Sequence["Scored"]]
"""Attempts some cases side by side and scores them, in their order. It never raises for what a contestant answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What one should know before running a benchmark.

    ``kind`` is ``agent`` (acts in a world), ``answer`` (one answer) or ``judge`` (says which steps are wrong). ``cases`` is their number, ``None`` without end.
    ``needs`` says in words what must be there: a pip extra, files, a browser. ``batch`` is how many cases one worker takes at a time; 1 where a case can take its worker
    down. ``seconds`` is about how long a case takes a contestant that answers at once.
    """

    name: str
    kind: str
    summary: str
    source: str
    licence: str
    cases: int | None
    needs: str = "nothing"
    batch: int = 8
    seconds: float = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case: ``what`` is given to the attempt, ``problem`` is what resampling must not cut through, ``tags`` are what tables are broken down by."""

    id: str
    what: Any
    problem: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A case to attempt, for the ``run``-th time, with a seed of its own."""

    case: Case
    run: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What came of an attempt: the numbers that measures are made of, what it cost, and the answer in short.

    ``error`` is set where the world or the model broke: the numbers are then those of a failed attempt.
    """

    numbers: Mapping[str, float]
    steps: int = 0
    prompt_tokens: int = 0
    sampled_tokens: int = 0
    answer: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A published measure: a function of the sums of ``columns`` over all rows, its definition in words, and where that stands.

    ``of`` takes the sums in the last axis, in the order of ``columns``.
    """

    name: str
    columns: tuple[str, ...]
    of: Callable[[Counts], Any]
    definition: str
    source: str = ""


ROWS = "rows"
"""A column that every row has: 1."""


def mean_of(column: str, definition: str, *, name: str = "", source: str = "") -> Measure:
    """Return the mean of a column over all rows."""
    return Measure(
        name=name or column, columns=(ROWS, column), of=accuracy, definition=definition, source=source
    )


class Benchmark(Protocol):
    """Cases, how a contestant attempts them, and measures; the first measure is what contestants are ordered by.

    ``cases`` yields them one by one, always in the same order, and raises ``ConfigError`` that says where missing files come from. ``open`` makes the attempt, once in each worker;
    ``make`` gives the contestant (for agents and answers a sampler, and is told the answers of the world's oracle or ``None``; for judges a judge). ``failed``
    are the numbers of an attempt that never ended.
    """

    @property
    def about(self) -> About: ...

    @property
    def measures(self) -> tuple[Measure, ...]: ...

    @property
    def failed(self) -> Mapping[str, float]: ...

    def cases(self) -> Iterator[Case]: ...

    def open(self, make: Callable[..., Any]) -> Attempt: ...
