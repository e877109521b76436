"""Reliability under drift: what the decision itself shows, how far the context is from what was calibrated, what came of it.

R = (1 - u)(1 - s): ``u`` is the uncertainty of this decision (how far its votes disagree), ``s`` how unusual its context is. The
source (S35) is a vision paper without an algorithm; the formulas here are ours except where a docstring names another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf, log

import numpy as np
from numpy.typing import NDArray

from everystep.core.acts import Effect
from everystep.core.errors import ConfigError, DataError
from everystep.core.protocols import Situation, VoteRule, Votes
from everystep.core.records import Action
from everystep.guard.autonomy import Reliability
from everystep.run.vote import Judged

Array = NDArray[np.float64]
Measure = Callable[[Situation, Action], float]
"""A number in [0, 1] about a decision: how uncertain it is, or how unusual its context."""

_FOLDS = 10
_KEPT = 64  # steps whose votes are remembered


def reliability(uncertainty: float, shift: float) -> float:
    """Return R = (1 - u)(1 - s) of an uncertainty and a shift, each in [0, 1].

    >>> reliability(0.2, 0.5)
    0.4
    """
    return (1.0 - _share(uncertainty)) * (1.0 - _share(shift))


# --- u: the votes ---------------------------------------------------------------------------------------


def disagreement(tally: Mapping[str, float]) -> float:
    """Return the share of votes that did not go to the winner; 1 without votes.

    >>> disagreement({"a": 3, "b": 1})
    0.25
    """
    total = sum(tally.values())
    return 1.0 - max(tally.values()) / total if total > 0 else 1.0


class WatchedVotes:
    """A vote rule that counts like ``rule`` and remembers how far the last steps' votes disagreed.

    It is the ``VoteRule`` of a role and the ``Measure`` of a reliability at once. A step that it has not seen (a person wrote
    the action) has uncertainty ``unseen``. A single vote agrees with itself: use a rule of several samples.
    """

    def __init__(self, rule: VoteRule, *, unseen: float = 0.0) -> None:
        if isinstance(rule, Judged):
            raise ConfigError(
                "votes that a judge picks from say nothing about agreement. Watch another rule."
            )
        self._rule = rule
        self._unseen = _share(unseen)
        self._seen: OrderedDict[str, Votes] = OrderedDict()

    @property
    def cap(self) -> int:
        return self._rule.cap

    def start(self, situation: Situation) -> Votes:
        """Begin the count of one step."""
        votes = self._rule.start(situation)
        self._seen[situation.step] = votes
        while len(self._seen) > _KEPT:
            self._seen.popitem(last=False)
        return votes

    def __call__(self, situation: Situation, action: Action) -> float:  # noqa: ARG002
        votes = self._seen.get(situation.step)
        return self._unseen if votes is None else disagreement(votes.tally)


# --- s: the context -------------------------------------------------------------------------------------


class Distance(StrEnum):
    """How far a context is from those of the calibration."""

    MAHALANOBIS = "mahalanobis"  # in units of their spread (shrunk covariance)
    NEAREST = "nearest"  # mean Euclidean distance to the k nearest


class Scale(StrEnum):
    """How a distance becomes a shift in [0, 1]."""

    PERCENTILE = "percentile"  # its place among the distances of the calibration: 1 beyond all of them
    RATIO = "ratio"  # 1 - reach / distance, where ``floor`` of the calibration lies within reach: it never gets to 1


class Shift:
    """How unusual a context is: how its distance compares with the distances of the calibration set.

    ``features_ND`` are the contexts in which reliability was measured. Their own distances are cross-fitted (each tenth against the rest).
    Percentiles up to ``floor`` count as no shift at all and the rest is stretched to [0, 1]: with 0 an ordinary context
    would count as shifted by one half on average. With ``Scale.PERCENTILE`` all contexts beyond the calibration are level, so the
    uncertainty no longer tells them apart; ``Scale.RATIO`` keeps their order. Raises ``DataError`` for fewer than 8 contexts or numbers that are not finite.
    """

    def __init__(
        self,
        features_ND: Sequence[Sequence[float]] | Array,
        *,
        distance: Distance = Distance.MAHALANOBIS,
        neighbours: int = 5,
        shrinkage: float = 0.1,
        floor: float = 0.9,
        scale: Scale = Scale.PERCENTILE,
    ) -> None:
        data = np.asarray(features_ND, dtype=float)
        if data.ndim != 2 or len(data) < 8 or not np.isfinite(data).all():
            raise DataError(
                f"calibration features of shape {data.shape!r}: expected 8 or more rows of finite numbers."
            )
        if not 0 < shrinkage <= 1 or not 0 <= floor < 1 or neighbours < 1:
            raise ConfigError(
                f"shrinkage {shrinkage!r}, floor {floor!r}, neighbours {neighbours!r}: expected (0, 1], [0, 1) and 1 or more."
            )
        self._floor = floor
        self._scale = scale

        def fit(rows: Array) -> Callable[[Array], Array]:
            if distance is Distance.NEAREST:
                return _nearest(rows, neighbours)
            return _mahalanobis(rows, shrinkage)

        fold_N = np.arange(len(data)) % _FOLDS
        parts = [fit(data[fold_N != fold])(data[fold_N == fold]) for fold in range(min(_FOLDS, len(data)))]
        self._known = np.sort(np.concatenate(parts))
        self._reach = float(np.quantile(self._known, floor))
        self._distance = fit(data)
        self._width = data.shape[1]

    def percentile(self, features_D: Sequence[float] | Array) -> float:
        """Return the share of calibration contexts that are no farther away, in [0, 1]. Numbers that are not finite are 1."""
        away = self._away(features_D)
        return float(np.searchsorted(self._known, away, side="right") / len(self._known))

    def score(self, features_D: Sequence[float] | Array) -> float:
        """Return the shift s in [0, 1]. Numbers that are not finite are 1."""
        if self._scale is Scale.PERCENTILE:
            return max(0.0, self.percentile(features_D) - self._floor) / (1.0 - self._floor)
        away = self._away(features_D)
        return 1.0 - self._reach / away if away > self._reach else 0.0

    def _away(self, features_D: Sequence[float] | Array) -> float:
        row = np.asarray(features_D, dtype=float)
        if row.shape != (self._width,):
            raise DataError(
                f"features of shape {row.shape!r}: expected ({self._width},) as in the calibration."
            )
        return float(self._distance(row[None, :])[0]) if np.isfinite(row).all() else inf


def _mahalanobis(rows: Array, shrinkage: float) -> Callable[[Array], Array]:
    middle = rows.mean(axis=0)
    centred = rows - middle
    spread = centred.T @ centred / max(1, len(rows) - 1)
    scale = float(np.trace(spread)) / len(spread) or 1.0
    inverse = np.linalg.inv((1 - shrinkage) * spread + shrinkage * scale * np.eye(len(spread)))

    def distance(points: Array) -> Array:
        away = points - middle
        result: Array = np.sqrt(np.maximum(0.0, np.einsum("nd,de,ne->n", away, inverse, away)))
        return result

    return distance


def _nearest(rows: Array, neighbours: int) -> Callable[[Array], Array]:
    k = min(neighbours, len(rows))

    def distance(points: Array) -> Array:
        away = np.linalg.norm(points[:, None, :] - rows[None, :, :], axis=2)
        result: Array = np.sort(away, axis=1)[:, :k].mean(axis=1)
        return result

    return distance


# --- what came of it: verified outcomes -------------------------------------------------------------------


class Cusum:
    """Alarm when errors become more frequent than they were: Page's cumulative sum of log-likelihood ratios (Page 1954).

    ``usual`` is the error rate of calibration, ``bad`` the rate that must not go unnoticed, both in (0, 1). ``threshold`` in nats: a
    false alarm comes after about exp(threshold) outcomes or later.

    >>> detector = Cusum(usual=0.05, bad=0.4, threshold=3.0)
    >>> [detector.update(error) for error in (False, True, True)]
    [False, False, True]
    """

    def __init__(self, *, usual: float, bad: float, threshold: float = 5.0) -> None:
        if not 0 < usual < bad < 1 or not threshold > 0:
            raise ConfigError(
                f"usual {usual!r}, bad {bad!r}, threshold {threshold!r}: expected 0 < usual < bad < 1 and more than 0."
            )
        self._error, self._right = log(bad / usual), log((1 - bad) / (1 - usual))
        self.threshold = threshold
        self.sum = 0.0

    @property
    def alarmed(self) -> bool:
        """Whether the sum is at the threshold or above."""
        return self.sum >= self.threshold

    def update(self, error: bool) -> bool:
        """Hear one verified outcome; return whether there is an alarm. It ends when enough right outcomes have followed."""
        rise = self._error if error else self._right
        self.sum = min(max(0.0, self.sum + rise), self.threshold + self._error)
        return self.alarmed

    def reset(self) -> None:
        """Forget the past, after the cause was mended."""
        self.sum = 0.0


class PageHinkley:
    """Alarm when the mean of a number rises: the sum of what exceeds the mean so far by more than ``tolerance``, less its minimum.

    For outcomes that are no yes or no (a loss, a latency). ``least`` numbers are heard before there can be an alarm.
    """

    def __init__(self, *, tolerance: float = 0.005, threshold: float = 5.0, least: int = 10) -> None:
        if tolerance < 0 or not threshold > 0 or least < 1:
            raise ConfigError(
                f"tolerance {tolerance!r}, threshold {threshold!r}, least {least!r}: expected 0 or more, more than 0, 1 or more."
            )
        self.tolerance, self.threshold, self.least = tolerance, threshold, least
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self.count, self.mean, self.sum, self.lowest = 0, 0.0, 0.0, 0.0

    @property
    def alarmed(self) -> bool:
        """Whether the sum has risen by the threshold since its minimum."""
        return self.count >= self.least and self.sum - self.lowest >= self.threshold

    def update(self, value: float) -> bool:
        """Hear one number; return whether there is an alarm."""
        self.count += 1
        self.mean += (value - self.mean) / self.count
        self.sum += value - self.mean - self.tolerance
        self.lowest = min(self.lowest, self.sum)
        return self.alarmed


# --- all of it ----------------------------------------------------------------------------------------------


def drifting(
    *,
    uncertainty: Measure | None = None,
    shift: Measure | None = None,
    detector: Cusum | PageHinkley | None = None,
    fallen: float = 0.0,
) -> Reliability:
    """Return a reliability for ``guard.autonomy``: (1 - u)(1 - s), and at most ``fallen`` while ``detector`` is alarmed.

    Whoever verifies the acts feeds the detector.
    """
    _share(fallen)

    def measured(situation: Situation, action: Action, effect: Effect) -> float:  # noqa: ARG001
        u = 0.0 if uncertainty is None else uncertainty(situation, action)
        s = 0.0 if shift is None else shift(situation, action)
        if not (0.0 <= u <= 1.0 and 0.0 <= s <= 1.0):
            return 0.0  # a measure that broke earns no trust
        value = reliability(u, s)
        return min(value, fallen) if detector is not None and detector.alarmed else value

    return measured


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskCoverage:
    """Risk (errors among the accepted) at each coverage (share accepted), most reliable first; one point a distinct score.

    ``area`` is the mean risk over the coverages 1/N to 1 (Geifman and El-Yaniv 2017 plot it as selective risk).
    """

    coverage_N: Array
    risk_N: Array
    threshold_N: Array
    area: float

    def risk_at(self, coverage: float) -> float:
        """Return the risk at the smallest point that covers at least ``coverage``."""
        index = int(np.searchsorted(self.coverage_N, coverage - 1e-12))
        return float(self.risk_N[min(index, len(self.risk_N) - 1)])


def risk_coverage(scores: Sequence[float], errors: Sequence[bool]) -> RiskCoverage:
    """Return the curve of reliability ``scores`` against whether each decision was wrong. Equal scores are accepted together.

    >>> curve = risk_coverage([0.9, 0.8, 0.8, 0.1], [False, False, True, True])
    >>> curve.coverage_N.tolist(), curve.risk_N.round(3).tolist()
    ([0.25, 0.75, 1.0], [0.0, 0.333, 0.5])
    """
    if len(scores) != len(errors) or not len(scores):
        raise DataError(
            f"{len(scores)} scores and {len(errors)} errors: expected the same number, 1 or more."
        )
    score, error = np.asarray(scores, dtype=float), np.asarray(errors, dtype=float)
    if np.isnan(score).any():
        raise DataError("a score is not a number. Leave out the decisions without one.")
    order = np.argsort(-score, kind="stable")
    score, wrong = score[order], np.cumsum(error[order])
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    accepted = last + 1.0
    risk = wrong[last] / accepted
    steps = np.diff(np.concatenate([[0.0], accepted]))
    return RiskCoverage(
        coverage_N=accepted / len(score),
        risk_N=risk,
        threshold_N=score[last],
        area=float((risk * steps).sum() / len(score)),
    )


def _share(value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"{value!r}: expected a number from 0 to 1.")
    return value
