"""Fair comparisons: equal environment steps, paired seeds, rates chosen on other seeds, intervals.

A run is a curve of held-out success over environment steps. Curves are compared up to the number of
steps that every run of the comparison has spent, by the area under them (the mean success on the way there) and
by their end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from everystep.core.errors import DataError
from everystep.evaluate.intervals import Interval, bootstrap_mean, paired_difference

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Held-out success (``success``, in 0 to 1) after so many environment steps (``steps``, ascending)."""

    steps: tuple[float, ...]
    success: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """One arm over its seeds, in the order of the seeds: areas, ends, and the differences to the baseline."""

    name: str
    learning_rate: float
    area: Interval
    end: Interval
    area_gain: Interval | None
    end_gain: Interval | None
    areas: tuple[float, ...]
    ends: tuple[float, ...]


def curve_of(metrics: Sequence[Mapping[str, Any]], *, key: str = "heldout_success") -> Curve:
    """Return the curve of a run's metrics from the start of reinforcement on."""
    rows = [row for row in metrics if key in row]
    begin = max((place for place, row in enumerate(rows) if row["phase"] != "train"), default=0)
    rows = rows[begin:]
    if len(rows) < 2:
        raise DataError("a run has no held-out test after its start; lower test_every or raise iterations.")
    return Curve(
        steps=tuple(float(row["environment_steps"] - rows[0]["environment_steps"]) for row in rows),
        success=tuple(float(row[key]) for row in rows),
    )


def horizon(curves: Sequence[Curve]) -> float:
    """Return the environment steps that every curve has spent."""
    return min(curve.steps[-1] for curve in curves)


def area(curve: Curve, steps: float) -> float:
    """Return the mean success of a curve from 0 to ``steps``, straight between its points.

    >>> area(Curve(steps=(0.0, 10.0), success=(0.0, 1.0)), 10.0)
    0.5
    """
    if steps <= 0:
        return curve.success[0]
    inner = [at for at in curve.steps if 0 < at < steps]
    grid = np.array([0.0, *inner, steps])
    return float(np.trapezoid(_at(curve, grid), grid) / steps)


def end(curve: Curve, steps: float) -> float:
    """Return the success of a curve after ``steps``."""
    return float(_at(curve, np.array([steps]))[0])


def _at(curve: Curve, grid: Floats) -> Floats:
    return np.interp(grid, curve.steps, curve.success)


def best_rate(curves: Mapping[float, Sequence[Curve]], steps: float) -> float:
    """Return the learning rate with the largest mean area over its (selection) seeds."""
    return max(curves, key=lambda rate: float(np.mean([area(curve, steps) for curve in curves[rate]])))


def results(
    arms: Mapping[str, Sequence[Curve]], rates: Mapping[str, float], *, baseline: str
) -> tuple[float, list[ArmResult]]:
    """Return the common number of environment steps and every arm's result, paired with ``baseline`` by position."""
    steps = horizon([curve for curves in arms.values() for curve in curves])
    areas = {name: tuple(area(curve, steps) for curve in curves) for name, curves in arms.items()}
    ends = {name: tuple(end(curve, steps) for curve in curves) for name, curves in arms.items()}
    return steps, [
        ArmResult(
            name=name,
            learning_rate=rates[name],
            area=bootstrap_mean(areas[name]),
            end=bootstrap_mean(ends[name]),
            area_gain=None if name == baseline else paired_difference(areas[name], areas[baseline]),
            end_gain=None if name == baseline else paired_difference(ends[name], ends[baseline]),
            areas=areas[name],
            ends=ends[name],
        )
        for name in arms
    ]


def table(steps: float, arms: Sequence[ArmResult]) -> str:
    """Return the results as a Markdown table with 95 % intervals."""
    lines = [
        f"Mean held-out success on the way to {steps:,.0f} environment steps (area), and there (end).",
        "",
        "| arm | learning rate | area | difference | end | difference |",
        "|---|---|---|---|---|---|",
    ]
    for arm in arms:
        gains = [str(gain) if gain else "baseline" for gain in (arm.area_gain, arm.end_gain)]
        lines.append(
            f"| {arm.name} | {arm.learning_rate:g} | {arm.area} | {gains[0]} | {arm.end} | {gains[1]} |"
        )
    return "\n".join(lines) + "\n"
