"""Two one-sided tests: against scipy, against what they mean, and where they must not be fooled by few seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from everystep.core.errors import DataError
from everystep.core.records import Level, PreferencePair
from everystep.evaluate.equivalence import equivalence
from everystep.evaluate.preferences import agreement

RNG = np.random.default_rng(4)


def test_the_p_value_is_the_larger_of_two_one_sided_t_tests() -> None:
    arm, base = RNG.normal(0.8, 0.02, 7), RNG.normal(0.79, 0.02, 7)
    found = equivalence(list(arm), list(base), margin=0.03)
    below = stats.ttest_1samp(arm - base, -0.03, alternative="greater").pvalue
    above = stats.ttest_1samp(arm - base, 0.03, alternative="less").pvalue
    assert found.p == pytest.approx(max(below, above))
    low, high = stats.t.interval(0.9, 6, loc=(arm - base).mean(), scale=stats.sem(arm - base))
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high))


@pytest.mark.parametrize("margin", [0.005, 0.02, 0.05, 0.2])
def test_equivalent_is_where_the_interval_lies_inside_the_margin(margin: float) -> None:
    for _ in range(50):
        found = equivalence(list(RNG.normal(0.01, 0.03, 5)), [0.0] * 5, margin=margin)
        inside = -margin < found.difference.low and found.difference.high < margin
        assert found.equivalent == inside


def test_it_errs_no_more_often_than_it_says_at_the_margin() -> None:
    """Arms that differ by just the margin are called equivalent in at most alpha of the studies."""
    said = [
        equivalence(list(RNG.normal(0.05, 0.02, 5)), [0.0] * 5, margin=0.05).equivalent for _ in range(2000)
    ]
    assert 0.03 < np.mean(said) < 0.065


def test_a_difference_that_is_merely_not_shown_is_no_equivalence() -> None:
    noisy = [0.3, -0.3, 0.2, -0.25, 0.1]
    assert stats.ttest_1samp(noisy, 0.0).pvalue > 0.5
    assert not equivalence(noisy, [0.0] * 5, margin=0.05).equivalent


def test_no_spread_and_bad_input() -> None:
    assert equivalence([0.5, 0.5], [0.5, 0.5], margin=0.01).p == 0.0
    assert equivalence([0.6, 0.6], [0.5, 0.5], margin=0.05).p == 1.0
    for arm, base, margin in (
        ([0.5], [0.5], 0.1),
        ([0.5, 0.5], [0.5], 0.1),
        ([0.5, 0.5], [0.5, 0.4], 0.0),
        ([0.5, float("nan")], [0.5, 0.4], 0.1),
    ):
        with pytest.raises(DataError):
            equivalence(arm, base, margin=margin)


def test_labels_agree_with_values() -> None:
    pairs = [
        PreferencePair(context=(), chosen=a, rejected=b, level=Level.STEP)
        for a, b in ("ab", "ba", "ac", "bc")
    ]
    found = agreement(pairs, {"a": 1.0, "b": 0.0, "c": 0.0})
    assert (found.right, found.tied, found.pairs, found.share) == (2, 1, 4, 0.5)
    assert agreement([], {}).share == 0.0
    with pytest.raises(DataError, match="'c' has no value"):
        agreement(pairs, {"a": 1.0, "b": 0.0})
