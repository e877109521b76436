"""Shares with their uncertainty: intervals, exact tails, false-discovery control, correlation of trials. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, lgamma, log, log1p

from everystep.core.errors import DataError
from everystep.run.measure import Z_95, wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def share(part: float, whole: float, *, design: float = 1.0) -> Estimate:
    """Return ``part / whole`` with its Wilson interval; ``design`` is the variance inflation of clustered trials.

    >>> str(share(0, 100))
    '0 [0, 0.03699]'
    """
    if not 0 <= part <= whole or whole <= 0:
        raise DataError(f"{part!r} of {whole!r} is no share; expected some trials, and no more successes.")
    value = part / whole
    low, high = wilson(value, max(1, round(whole / max(1.0, design))))
    return Estimate(
        value=value, low=0.0 if part == 0 else max(0.0, low), high=1.0 if part == whole else min(1.0, high)
    )


def upper_tail(successes: int, trials: int, p: float) -> float:
    """Return the exact chance of ``successes`` or more in ``trials`` with success rate ``p``.

    >>> round(upper_tail(3, 3, 0.1), 6), round(upper_tail(1, 2, 0.5), 6)
    (0.001, 0.75)
    """
    if successes <= 0:
        return 1.0
    if p <= 0 or successes > trials:
        return 0.0
    if p >= 1:
        return 1.0
    first = (
        lgamma(trials + 1)
        - lgamma(successes + 1)
        - lgamma(trials - successes + 1)
        + successes * log(p)
        + (trials - successes) * log1p(-p)
    )
    term, total, odds = 1.0, 0.0, p / (1 - p)
    for count in range(successes, trials + 1):
        total += term
        term *= (trials - count) / (count + 1) * odds
        if term < total * 1e-17 and count > p * trials:
            break
    return min(1.0, exp(first + log(total)))


def discoveries(p_values: Sequence[tuple[float, int]], trials: int, rate: float) -> float:
    """Return the largest p-value that is a discovery at a false-discovery ``rate``, -1 for none (Benjamini and Hochberg 1995).

    ``p_values`` are pairs (p, how often it occurs); values that are left out count as 1.

    >>> discoveries([(0.001, 1), (0.02, 1), (0.5, 8)], 10, 0.05)
    0.001
    """
    rank, cut = 0, -1.0
    for p, times in sorted(p_values):
        rank += times
        if p <= rate * rank / trials:
            cut = p
    return cut


def correlation(counts: Mapping[tuple[int, int], int]) -> Estimate | None:
    """Return the correlation of two trials of one cluster (the overdispersion of a beta-binomial), with a jackknife interval.

    ``counts`` maps (successes, trials) of a cluster to how many clusters have them. With q the pooled rate and M the share of pairs of
    trials of one cluster that both succeed, it is (M - q²) / (q (1 - q)): 0 for independent trials, 1 where a cluster always
    repeats itself. Where a share c of the clusters does and the rest is independent, it is c. ``None`` without pairs or variation.

    >>> correlation({(2, 2): 50, (0, 2): 50}).value
    1.0
    """
    sums = _Sums.of((s, n, times) for (s, n), times in counts.items())
    value = sums.correlation()
    if value is None or sums.clusters < 2:
        return None
    total = squares = 0.0
    for (s, n), times in counts.items():
        without = sums.without(s, n).correlation()
        if without is not None:
            pseudo = sums.clusters * value - (sums.clusters - 1) * without
            total += times * pseudo
            squares += times * pseudo * pseudo
    mean = total / sums.clusters
    error = (max(0.0, squares / sums.clusters - mean * mean) / (sums.clusters - 1)) ** 0.5
    return Estimate(
        value=max(0.0, value),
        low=min(1.0, max(0.0, value - Z_95 * error)),
        high=min(1.0, max(0.0, value + Z_95 * error)),
    )


@dataclass(frozen=True, slots=True)
class _Sums:
    clusters: int
    successes: int
    trials: int
    both: int
    pairs: int

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int, int]]) -> _Sums:
        clusters = successes = trials = both = pairs = 0
        for s, n, times in rows:
            clusters += times
            successes += s * times
            trials += n * times
            both += s * (s - 1) * times
            pairs += n * (n - 1) * times
        return cls(clusters, successes, trials, both, pairs)

    def without(self, s: int, n: int) -> _Sums:
        return _Sums(
            self.clusters - 1,
            self.successes - s,
            self.trials - n,
            self.both - s * (s - 1),
            self.pairs - n * (n - 1),
        )

    def correlation(self) -> float | None:
        if not self.pairs or not 0 < self.successes < self.trials:
            return None
        q = self.successes / self.trials
        return (self.both / self.pairs - q * q) / (q * (1 - q))
