"""Intervals against known numbers."""

from __future__ import annotations

import pytest

from everystep.core.errors import DataError
from everystep.evaluate.intervals import bootstrap_mean, paired_difference, proportion


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_wilson(successes: int, trials: int, low: float, high: float) -> None:
    found = proportion(successes, trials)
    assert (found.value, found.low, found.high) == pytest.approx((successes / trials, low, high), abs=1e-4)


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 5), (6, 5)])
def test_rates_that_are_none(successes: int, trials: int) -> None:
    with pytest.raises(DataError, match="make no rate"):
        proportion(successes, trials)


def test_the_bootstrap_repeats_and_surrounds_the_mean() -> None:
    values = [0.1, 0.4, 0.5, 0.2, 0.9]
    found = bootstrap_mean(values)
    assert found == bootstrap_mean(values)
    assert found.value == pytest.approx(0.42)
    assert min(values) < found.low < found.value < found.high < max(values)
    assert bootstrap_mean(values, confidence=0.5).low > found.low
    assert bootstrap_mean([3.0]).low == bootstrap_mean([3.0, 3.0]).high == 3.0
    with pytest.raises(DataError):
        bootstrap_mean([])


def test_pairs_take_out_what_seeds_share() -> None:
    baseline = [0.1, 0.9, 0.5]
    found = paired_difference([value + 0.25 for value in baseline], baseline)
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25), abs=1e-9)
    with pytest.raises(DataError, match="cannot be paired"):
        paired_difference([1.0], [1.0, 2.0])
