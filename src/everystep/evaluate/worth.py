"""What step credit is worth: how well it ranks steps by what they really changed.

The reference of a step is its advantage: the value after it, plus its reward, minus the value before it, under a stated policy
(``everystep.evaluate.step_values`` computes it). Each measure looks at one scope, since each asks another question:

- ``trajectory``: which steps of one run were good? Credit that is the same on all steps of a run knows nothing about that.
- ``group``: which steps of all runs of one task were good? Learning compares these with each other.
- ``state``: which of the actions taken in one state were good? Only this moves a policy that can tell its states apart.
- ``all``: one ranking over everything.

Credit that does not rank is scored as knowing nothing (correlation 0, half of every pair, the expected hits of a blind draw);
it is never left out. A scope in which the *reference* does not rank says nothing and is left out, the same for every estimator.
Intervals resample tasks, since steps and runs of one task are not independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from everystep.core.errors import DataError
from everystep.credit.columns import Columns
from everystep.credit.grouping import BoolArray, FloatArray, IntArray, lone, pair
from everystep.evaluate.intervals import Interval

CORRELATIONS = (
    "spearman_trajectory",
    "kendall_trajectory",
    "spearman_group",
    "kendall_group",
    "spearman_all",
)
"""Measures in -1 to 1; 0 knows nothing."""
SHARES = ("sign", "auc_trajectory", "auc_group", "auc_state")
"""Measures in 0 to 1; 0.5 knows nothing."""

_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """An estimate with its interval, the number of ``units`` (trajectories, groups, states, steps) that it is made of, and the
    share of them in which the credit is ``flat``, so that it ranks nothing there. ``blind`` is what credit that knows nothing gets.
    """

    interval: Interval
    units: int
    flat: float
    blind: float


def worth(
    columns: Columns,
    credit_S: npt.ArrayLike,
    reference_S: npt.ArrayLike,
    *,
    failed_S: npt.ArrayLike | None = None,
    top: tuple[int, ...] = (1, 3),
    tolerance: float = 1e-6,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Measure]:
    """Return the measures of ``CORRELATIONS``, ``SHARES`` and ``hit@k`` for every ``k`` of ``top``, by name.

    ``credit_S`` and ``reference_S`` have one finite number a row; a step that an estimator gives no credit has 0, for it would not
    be trained on. A step is good where its reference exceeds ``tolerance`` and bad below ``-tolerance``.

    Correlations are means over units (Spearman; Kendall's tau-b), ``spearman_all`` is over all rows. ``sign`` is the share of equal
    signs, the mean of that over good steps and that over bad ones; credit 0 counts half. ``auc`` is the chance that a good step has
    more credit than a bad one of its unit. ``hit@k`` is the share of trajectories whose decisive wrong step, the one with the
    lowest reference (any of several), is among the ``k`` with the least credit, in expectation over the order of ties; it looks at
    ``failed_S`` trajectories (all without it) that have a bad step and more than ``k`` steps.

    Intervals are 95 % percentile bootstrap intervals over tasks; for ``spearman_all`` the ranks are those of the whole sample.
    A measure without any unit is left out. Raises ``DataError`` where lengths differ or a number is not finite.
    """
    credit = _numbers("credit_S", credit_S, columns.size)
    reference = _numbers("reference_S", reference_S, columns.size)
    rms = float(np.sqrt(np.mean(credit**2))) or 1.0
    credit = np.round(credit / rms, _DIGITS)  # rounding of equal numbers must not rank them
    reference = np.where(np.abs(reference) <= tolerance, 0.0, np.round(reference, _DIGITS))
    failed = (
        np.ones(columns.size, dtype=np.bool_) if failed_S is None else np.asarray(failed_S, dtype=np.bool_)
    )
    good, bad = reference > 0, reference < 0
    tasks = _Tasks(columns.task_S, resamples, seed)
    scopes = {
        "trajectory": columns.trajectory_S,
        "group": columns.task_S,
        "state": lone(pair(columns.task_S, columns.anchor_S)),
    }
    found: dict[str, Measure | None] = {}
    for scope in ("trajectory", "group"):
        both = [(rows[0], *_correlations(credit[rows], reference[rows])) for rows in _units(scopes[scope], 3)]
        for place, name in ((1, "spearman"), (2, "kendall")):
            found[f"{name}_{scope}"] = tasks.mean([(one[0], one[place]) for one in both], blind=0.0)
    found["spearman_all"] = tasks.correlation(stats.rankdata(credit), stats.rankdata(reference))
    found["sign"] = tasks.balanced(_agreement(credit, reference), good, bad)
    for scope, ids in scopes.items():
        pairs = [(rows[0], _auc(credit[rows], good[rows], bad[rows])) for rows in _units(ids, 2)]
        found[f"auc_{scope}"] = tasks.mean(pairs, blind=0.5)
    walks = [rows for rows in _units(columns.trajectory_S, 2) if failed[rows].any() and bad[rows].any()]
    for k in top:
        long = [rows for rows in walks if rows.size > k]
        hits = [(rows[0], _hit(credit[rows], reference[rows], k)) for rows in long]
        blind = [
            1.0 - _missed(rows.size, int((reference[rows] == reference[rows].min()).sum()), k)
            for rows in long
        ]
        found[f"hit@{k}"] = tasks.mean(hits, blind=float(np.mean(blind)) if long else 0.0)
    return {name: measure for name, measure in found.items() if measure is not None}


_Score = tuple[float, bool] | None
"""A unit's score and whether the credit is flat in it; ``None`` where the reference says nothing."""


class _Tasks:
    """Sums for each task, and the same resamples of tasks for every measure and estimator."""

    def __init__(self, task_S: IntArray, resamples: int, seed: int) -> None:
        self.task_S = task_S
        self.size = int(task_S.max()) + 1 if task_S.size else 0
        present = np.bincount(task_S, minlength=self.size) > 0
        shares = present / max(1, present.sum())
        rng = np.random.default_rng(seed)
        self.weights = rng.multinomial(int(present.sum()), shares, size=resamples).astype(np.float64)

    def mean(self, scores: list[tuple[np.int64, _Score]], *, blind: float) -> Measure | None:
        """The mean over units; each is named by one of its rows."""
        kept = [(row, score) for row, score in scores if score is not None]
        if not kept:
            return None
        of = self.task_S[[row for row, _ in kept]]
        value = np.array([score[0] for _, score in kept])
        sums, counts = self._sum(of, value), self._sum(of, np.ones(of.size))
        flat = float(np.mean([score[1] for _, score in kept]))
        return self._measure([(sums, counts)], units=len(kept), flat=flat, blind=blind)

    def balanced(self, value_S: FloatArray, good_S: BoolArray, bad_S: BoolArray) -> Measure | None:
        """The mean of the means over good and over bad rows."""
        parts = [
            (
                self._sum(self.task_S[side], value_S[side]),
                self._sum(self.task_S[side], np.ones(int(side.sum()))),
            )
            for side in (good_S, bad_S)
        ]
        if not (good_S.any() and bad_S.any()):
            return None
        told = good_S | bad_S
        flat = float(np.mean(value_S[told] == 0.5))
        return self._measure(parts, units=int(told.sum()), flat=flat, blind=0.5)

    def correlation(self, x_S: FloatArray, y_S: FloatArray) -> Measure | None:
        """Pearson's correlation of two columns, here of ranks; 0 where ``x_S`` is constant."""
        if y_S.size < 3 or np.ptp(y_S) == 0:
            return None
        x, y = x_S - x_S.mean(), y_S - y_S.mean()
        parts = [self._sum(self.task_S, part) for part in (np.ones(x.size), x, y, x * x, y * y, x * y)]

        def of(
            n: FloatArray, sx: FloatArray, sy: FloatArray, xx: FloatArray, yy: FloatArray, xy: FloatArray
        ) -> FloatArray:
            size = np.sqrt(np.maximum(xx - sx * sx / n, 0.0) * np.maximum(yy - sy * sy / n, 0.0))
            return np.where(size > 1e-9, (xy - sx * sy / n) / np.where(size > 1e-9, size, 1.0), 0.0)

        value = float(of(*(np.array([part.sum()]) for part in parts))[0])
        drawn = of(*(self.weights @ part for part in parts))
        return Measure(
            interval=_interval(value, drawn), units=x.size, flat=float(np.ptp(x_S) == 0), blind=0.0
        )

    def _sum(self, task: IntArray, value: FloatArray) -> FloatArray:
        return np.bincount(task, weights=value, minlength=self.size).astype(np.float64, copy=False)

    def _measure(
        self, parts: list[tuple[FloatArray, FloatArray]], *, units: int, flat: float, blind: float
    ) -> Measure:
        value = float(np.mean([sums.sum() / counts.sum() for sums, counts in parts]))
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = np.mean(
                [(self.weights @ sums) / (self.weights @ counts) for sums, counts in parts], axis=0
            )
        return Measure(interval=_interval(value, drawn), units=units, flat=flat, blind=blind)


def _interval(value: float, drawn: FloatArray) -> Interval:
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn.size else (value, value)
    return Interval(value=value, low=float(low), high=float(high))


def _units(ids_S: IntArray, least: int) -> list[IntArray]:
    """The rows of each id that has ``least`` or more."""
    order = np.argsort(ids_S, kind="stable")
    cuts = np.flatnonzero(np.diff(ids_S[order])) + 1
    return [rows for rows in np.split(order, cuts) if rows.size >= least]


def _correlations(credit: FloatArray, reference: FloatArray) -> tuple[_Score, _Score]:
    if np.ptp(reference) == 0:
        return None, None
    if np.ptp(credit) == 0:
        return (0.0, True), (0.0, True)
    x, y = stats.rankdata(credit), stats.rankdata(reference)
    x, y = x - x.mean(), y - y.mean()
    spearman = float(x @ y / np.sqrt((x @ x) * (y @ y)))
    return (spearman, False), (float(stats.kendalltau(credit, reference).statistic), False)


def _agreement(credit: FloatArray, reference: FloatArray) -> FloatArray:
    same: FloatArray = 0.5 + 0.5 * np.sign(credit) * np.sign(reference)
    return same


def _auc(credit: FloatArray, good: BoolArray, bad: BoolArray) -> _Score:
    """The chance that a good step has more credit than a bad one, ties half (Mann and Whitney 1947)."""
    first, second = int(good.sum()), int(bad.sum())
    if not first or not second:
        return None
    told = good | bad
    ranks = stats.rankdata(credit[told])[good[told]]
    area = (float(ranks.sum()) - first * (first + 1) / 2) / (first * second)
    return area, bool(np.ptp(credit[told]) == 0)


def _hit(credit: FloatArray, reference: FloatArray, k: int) -> _Score:
    """The chance that a decisive step is among the ``k`` with the least credit, whatever the order of ties."""
    decisive = reference == reference.min()
    cut = np.sort(credit)[k - 1]
    flat = bool(np.ptp(credit) == 0)
    if decisive[credit < cut].any():
        return 1.0, flat
    tied = credit == cut
    left = k - int((credit < cut).sum())
    return 1.0 - _missed(int(tied.sum()), int(decisive[tied].sum()), left), flat


def _missed(size: int, wanted: int, drawn: int) -> float:
    """The chance that a blind draw without replacement has none of the ``wanted`` among ``size``."""
    return math.comb(size - wanted, drawn) / math.comb(size, drawn)


def _numbers(name: str, values: npt.ArrayLike, size: int) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (size,) or not np.isfinite(array).all():
        wrong = int((~np.isfinite(array)).sum())
        raise DataError(
            f"{name} has shape {array.shape!r} and {wrong} numbers that are not finite; expected one finite number for each of the "
            f"{size} rows. Give steps without credit 0, and leave out runs whose reference is unknown."
        )
    return array
