"""Equivalence: evidence that two arms differ by less than a margin, which a difference test that fails is not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from everystep.core.errors import DataError
from everystep.evaluate.intervals import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalence:
    """``difference`` is the mean paired difference with its (1 - 2 alpha) t interval; ``p`` is the larger of both one-sided p-values.

    The arms are equivalent at level ``alpha`` where ``p < alpha``, which is where the interval lies inside of (-margin, margin).
    """

    difference: Interval
    margin: float
    p: float
    alpha: float

    @property
    def equivalent(self) -> bool:
        """Whether a difference of ``margin`` or more is rejected in both directions."""
        return self.p < self.alpha


def equivalence(
    arm: Sequence[float], baseline: Sequence[float], *, margin: float, alpha: float = 0.05
) -> Equivalence:
    """Test whether ``arm - baseline``, paired by position (seed), lies within ``margin``: two one-sided t-tests (Schuirmann 1987).

    The margin is to be fixed before the runs: the largest difference that would not matter. Differences that are all equal have no spread,
    so p is 0 inside of the margin and 1 outside. Raises ``DataError`` for fewer than two pairs or a margin that is not above 0.

    >>> found = equivalence([0.81, 0.79, 0.80, 0.82], [0.80, 0.80, 0.80, 0.80], margin=0.05)
    >>> str(found.difference), found.equivalent
    ('0.005 [-0.010, 0.020]', True)
    """
    if len(arm) != len(baseline) or len(arm) < 2:
        raise DataError(
            f"{len(arm)} and {len(baseline)} values; expected two or more pairs, the same seeds in both arms."
        )
    if not (margin > 0 and 0 < alpha < 0.5):
        raise DataError(f"margin={margin!r}, alpha={alpha!r}; expected above 0, and between 0 and 0.5.")
    gap = np.asarray(arm, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    if not np.isfinite(gap).all():
        raise DataError("a value is not a finite number; an arm has no result for a seed.")
    mean = float(gap.mean())
    error = float(gap.std(ddof=1)) / math.sqrt(len(gap))
    if error <= 1e-12 * max(1.0, float(np.abs(gap).max())):
        interval = Interval(value=mean, low=mean, high=mean)
        return Equivalence(difference=interval, margin=margin, p=float(abs(mean) >= margin), alpha=alpha)
    free = len(gap) - 1
    below = float(stats.t.sf((mean + margin) / error, free))
    above = float(stats.t.cdf((mean - margin) / error, free))
    reach = float(stats.t.ppf(1 - alpha, free)) * error
    return Equivalence(
        difference=Interval(value=mean, low=mean - reach, high=mean + reach),
        margin=margin,
        p=max(below, above),
        alpha=alpha,
    )
