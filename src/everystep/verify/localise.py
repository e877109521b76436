"""What a judge of whole trajectories says about their steps: where the first error is, which steps are redundant, and what is learned from that.

The rule of the cut is that of SEAgent's released code (Sun et al. 2025, arXiv:2508.04700): of a trajectory that is correct and without detours every step is a good
one; of others those before the first error, or before the first redundant step if that is earlier, and the step at the cut is a bad one. An error in the first two
steps gives nothing. Steps are counted from 1, as judges count them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from everystep.core.errors import ConfigError, DataError

LEAST = 3
"""The first error must be at this step or later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A judge's report on a trajectory: whether it is ``correct``, its ``redundant`` steps and its ``first_error``, counted from 1; ``None``: there is no error."""

    correct: bool
    redundant: tuple[int, ...] = ()
    first_error: int | None = None

    @property
    def optimised(self) -> bool:
        """Whether no step is redundant."""
        return not self.redundant


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What is learned from a trajectory: places of good steps and of a bad one, counted from 0."""

    positive: tuple[int, ...] = ()
    negative: int | None = None


def localise(success: bool | None, left: Sequence[int]) -> Report:
    """Return the right report, given how many steps a shortest plan has before each step and after the last (one more number than steps).

    A failure's first error is the step behind which the goal is never nearer than before it. Steps before it that brought the goal no nearer are redundant; so are
    those of a success.

    >>> localise(True, [3, 2, 2, 1, 0])
    Report(correct=True, redundant=(2,), first_error=None)
    >>> localise(False, [5, 4, 4, 3, 4, 4])
    Report(correct=False, redundant=(2,), first_error=4)
    """
    if len(left) < 2:
        raise DataError(f"{len(left)} plan lengths; expected one for each step and one for the end.")
    steps = len(left) - 1
    lost = [at for at in range(steps) if left[at + 1] >= left[at]]
    if success:
        return Report(correct=True, redundant=tuple(at + 1 for at in lost))
    best = min(range(len(left)), key=lambda at: left[at])
    first = best + 1 if best < steps else None
    return Report(
        correct=False,
        redundant=tuple(at + 1 for at in lost if at < best),
        first_error=first,
    )


def mistaken(report: Report, steps: int, rate: float, random: Random) -> Report:
    """Return the report, or with chance ``rate`` a wrong one: of a success that one of its ``steps`` is an error, of a failure that all is well or, as often, that the first error is elsewhere."""
    if not 0.0 <= rate <= 1.0 or steps < 1:
        raise ConfigError(f"rate is {rate!r}, steps {steps!r}; expected 0 to 1, and 1 or more.")
    if random.random() >= rate:
        return report
    others = [at for at in range(1, steps + 1) if at != report.first_error]
    if report.correct or (others and random.random() < 0.5):
        return Report(correct=False, first_error=random.choice(others))
    return Report(correct=True)


def cut(report: Report, steps: int) -> Cut:
    """Return what is learned from a trajectory of so many steps.

    >>> cut(Report(correct=True), 3)
    Cut(positive=(0, 1, 2), negative=None)
    >>> cut(Report(correct=False, first_error=4), 6)
    Cut(positive=(0, 1, 2), negative=3)
    >>> cut(Report(correct=False, first_error=4, redundant=(2,)), 6)
    Cut(positive=(0,), negative=1)
    >>> cut(Report(correct=False, first_error=2), 6), cut(Report(correct=True, redundant=(2,)), 3)
    (Cut(positive=(), negative=None), Cut(positive=(), negative=None))
    """
    named = (*report.redundant, *(() if report.first_error is None else (report.first_error,)))
    if any(not 1 <= at <= steps for at in named):
        raise DataError(
            f"the report names steps {named!r} of a trajectory of {steps}; they are counted from 1."
        )
    if report.correct and report.optimised:
        return Cut(positive=tuple(range(steps)))
    if report.first_error is None or report.first_error < LEAST:
        return Cut()
    at = min(named) - 1
    return Cut(positive=tuple(range(at)), negative=at)
