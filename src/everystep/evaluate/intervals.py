"""Intervals: how sure a number is. Statistics come from scipy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from everystep.core.errors import DataError
from everystep.run.measure import wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with the ends of its confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def proportion(successes: int, trials: int) -> Interval:
    """Return a success rate with its 95 % Wilson score interval (Wilson 1927).

    >>> str(proportion(80, 100))
    '0.800 [0.711, 0.867]'
    """
    if not 0 <= successes <= trials or trials == 0:
        raise DataError(
            f"{successes!r} successes of {trials!r} trials make no rate; trials must be 1 or more."
        )
    low, high = wilson(successes / trials, trials)
    return Interval(value=successes / trials, low=low, high=high)


def bootstrap_mean(
    values: Sequence[float], *, confidence: float = 0.95, resamples: int = 9999, seed: int = 0
) -> Interval:
    """Return the mean of ``values`` with its bias-corrected and accelerated bootstrap interval (Efron 1987).

    With fewer than two values, or values that are equal but for rounding, the interval is the value itself.

    >>> str(bootstrap_mean([1.0, 1.0, 1.0]))
    '1.000 [1.000, 1.000]'
    """
    data = np.asarray(values, dtype=float)
    if data.size == 0:
        raise DataError("no values to average; an arm has no finished seed.")
    mean = float(data.mean())
    if data.size < 2 or np.ptp(data) <= 1e-12 * max(1.0, float(np.abs(data).max())):
        return Interval(value=mean, low=mean, high=mean)
    result = stats.bootstrap(
        (data,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    ends = result.confidence_interval
    return Interval(value=mean, low=float(ends.low), high=float(ends.high))


def paired_difference(
    arm: Sequence[float], baseline: Sequence[float], *, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Return the mean of ``arm - baseline``, paired by position (seed), with its bootstrap interval."""
    if len(arm) != len(baseline):
        raise DataError(
            f"{len(arm)} and {len(baseline)} values cannot be paired; run the same seeds in both arms."
        )
    differences = [a - b for a, b in zip(arm, baseline, strict=True)]
    return bootstrap_mean(differences, confidence=confidence, seed=seed)
