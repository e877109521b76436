"""Learning curves of a study's trials, kept in its folder one line a trial, for its plot."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from everystep.core.errors import DataError
from everystep.evaluate.compare import Curve, area, end

CURVES = "curves.jsonl"


def curve_numbers(
    rows: Sequence[Mapping[str, float]], steps: float, *, key: str = "success"
) -> dict[str, float]:
    """Return ``area``, the mean of ``key`` on the way to ``steps`` environment steps, and ``end``, what it is there.

    >>> rows = [{"environment_steps": 0.0, "success": 0.0}, {"environment_steps": 10.0, "success": 1.0}]
    >>> curve_numbers(rows, 10.0)
    {'area': 0.5, 'end': 1.0}
    """
    curve = _curve(rows, key)
    return {"area": area(curve, steps), "end": end(curve, steps)}


def keep_curve(
    folder: Path, rows: Sequence[Mapping[str, float]], *, arm: str, seed: int, rate: float
) -> None:
    """Append the rows of one trial; a trial that runs again is kept again, and its last line counts."""
    folder.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"arm": arm, "seed": seed, "rate": rate, "rows": [dict(row) for row in rows]})
    with (folder / CURVES).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def kept_curves(
    folder: Path,
    rates: Mapping[str, float],
    seeds: Collection[int],
    *,
    key: str = "success",
    across: str = "environment_steps",
) -> dict[str, list[Curve]]:
    """Return the curves of every arm of ``rates`` at its rate, by seed, in the order of ``rates``; a line that a crash cut is passed over. Their
    places (``Curve.steps``) are what the rows say ``across``.

    Raises ``DataError`` where an arm has no curve.
    """
    found: dict[str, dict[int, Curve]] = {name: {} for name in rates}
    for line in (folder / CURVES).read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
            arm, seed, rate = row["arm"], row["seed"], row["rate"]
            curve = _curve(row["rows"], key, across)
        except (ValueError, KeyError, TypeError):
            continue
        if arm in rates and rate == rates[arm] and seed in seeds:
            found[arm][seed] = curve
    for name, some in found.items():
        if not some:
            raise DataError(f"arm {name!r} has no curve in {str(folder / CURVES)!r}. Run its trials again.")
    return {name: [some[seed] for seed in sorted(some)] for name, some in found.items()}


def mean_lines(curves: Mapping[str, Sequence[Curve]]) -> dict[str, tuple[list[float], list[float]]]:
    """Return the mean of every arm's curves, which must have the same places, as lines of a plot."""
    lines = {}
    for name, some in curves.items():
        if len({curve.steps for curve in some}) != 1:
            raise DataError(f"the curves of arm {name!r} have different places, so there is no mean of them.")
        columns = zip(*(curve.success for curve in some), strict=True)
        lines[name] = (list(some[0].steps), [sum(column) / len(some) for column in columns])
    return lines


def _curve(rows: Sequence[Mapping[str, float]], key: str, across: str = "environment_steps") -> Curve:
    return Curve(
        steps=tuple(float(row[across]) for row in rows),
        success=tuple(float(row[key]) for row in rows),
    )
