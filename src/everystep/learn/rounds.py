"""Learning in rounds up to a number of environment steps, tested on the way: the loop of an arm that others are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from everystep.core.errors import ConfigError
from everystep.core.records import Trajectory
from everystep.learn.student import Student

STEPS = "environment_steps"


def practise(
    student: Student,
    *,
    steps: int,
    attempt: Callable[[int], list[Trajectory]],
    learn: Callable[[list[Trajectory], float], Mapping[str, float]],
    test: Callable[[], Mapping[str, float]],
    tests: int = 6,
) -> list[dict[str, float]]:
    """Attempt and learn until the student's ledger has ``steps`` environment steps; return one row of numbers a test.

    ``attempt`` gets the number of the round. ``learn`` gets its trajectories and the share of the steps that was spent before it, in 0 to 1 (for
    a falling rate). Tests are made before the first round and ``tests`` times behind it, at even distances. A row has ``environment_steps``, the
    numbers of the test, and the means of what ``learn`` told since the row before. The last round may pass ``steps``.
    """
    if steps < 1 or tests < 1:
        raise ConfigError(f"steps is {steps!r} and tests {tests!r}; each must be 1 or more.")
    begun = student.ledger.environment_steps
    rows = [_row(begun, [], test())]
    told: list[Mapping[str, float]] = []
    number = 0
    while (spent := student.ledger.environment_steps) < steps:
        told.append(learn(attempt(number), spent / steps))
        number += 1
        spent = student.ledger.environment_steps
        if spent >= begun + (steps - begun) * len(rows) / tests:
            rows.append(_row(spent, told, test()))
            told = []
    return rows


def _row(spent: int, told: Sequence[Mapping[str, float]], tested: Mapping[str, float]) -> dict[str, float]:
    names = dict.fromkeys(name for one in told for name in one)
    means = {name: float(np.mean([one[name] for one in told if name in one])) for name in names}
    return {STEPS: float(spent), **means, **tested}
