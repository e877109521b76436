from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.errors import ConfigError, DataError
from everystep.verify.reliability import (
    Judged,
    Target,
    clustered,
    cut_at,
    filter_effect,
    ranks,
    reliability,
    threshold_for,
)


def calibrated(count: int, seed: int = 0, shift: float = 0.0) -> list[Judged]:
    """Scores that are the chance of being good, less ``shift``."""
    random = Random(seed)
    found = []
    for i in range(count):
        chance = random.random()
        found.append(Judged(score=max(0.0, chance - shift), good=random.random() < chance, group=str(i // 2)))
    return found


def test_scores_that_mean_what_they_say_have_no_calibration_error() -> None:
    honest, low = reliability(calibrated(4000)), reliability(calibrated(4000, shift=0.3))
    assert honest.error < 0.03
    assert low.error > 0.2
    assert sum(one.good.low <= one.score <= one.good.high for one in honest.bins) >= 9
    assert honest.ranks == pytest.approx(5 / 6, abs=0.02)  # both uniform: P(good higher) = 5/6


def test_what_has_no_score_is_counted_and_not_kept() -> None:
    some = [Judged(score=None, good=True, group="a"), Judged(score=0.9, good=True, group="b")]
    found = reliability(some)
    assert (found.count, found.silent, found.base.value) == (1, 1, 1.0)
    cut = cut_at(some, 0.0)
    assert cut.kept.value == cut.recall.value == 0.5
    with pytest.raises(DataError, match="has a score"):
        reliability(some[:1])


def test_intervals_know_that_steps_of_one_trajectory_are_alike() -> None:
    hits = [i < 100 for i in range(200)]
    alone, alike = (clustered(hits, [str(i // size) for i in range(200)]) for size in (1, 20))
    assert alike.high - alike.low > 2 * (alone.high - alone.low)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_thresholds_reach_their_target_and_no_other_one_is_better(pairs: list[tuple[int, bool]]) -> None:
    some = [Judged(score=score / 5, good=good, group=str(at)) for at, (score, good) in enumerate(pairs)]
    cuts = {score / 5: cut_at(some, score / 5) for score in range(6)}
    wanted = threshold_for(some, Target(precision=0.7))
    reach = [t for t, cut in cuts.items() if cut.precision is not None and cut.precision.value >= 0.7]
    assert (wanted is None) == (not reach)
    if wanted is not None:
        assert cuts[wanted].kept.value == max(cuts[t].kept.value for t in reach)
    if any(good for _, good in pairs):
        recalled = threshold_for(some, Target(recall=0.6))
        assert recalled is not None
        assert cuts[recalled].recall.value >= 0.6
        assert all(cuts[t].recall.value < 0.6 for t in cuts if t > recalled)
    kept = threshold_for(some, Target(keep=0.5))
    assert kept is not None
    assert cuts[kept].kept.value >= 0.5


def test_the_expected_effect_is_not_that_of_a_lucky_threshold() -> None:
    """Scores without any meaning: chosen and reported on the same labels, a high precision is found; held out it is the base rate."""
    random = Random(8)
    some = [Judged(score=random.random(), good=random.random() < 0.5, group=str(i)) for i in range(300)]
    lucky = threshold_for(some, Target(precision=0.75))
    assert lucky is not None
    same = cut_at(some, lucky).precision
    assert same is not None
    assert same.value >= 0.75
    assert threshold_for(some, Target(precision=0.75, sure=True)) is None
    effect = filter_effect(some, Target(keep=0.2))
    assert effect.precision is not None
    assert effect.precision.low < effect.base.value < effect.precision.high
    good = filter_effect(calibrated(2000), Target(precision=0.8))
    assert good.precision is not None
    assert good.precision.low < 0.8 < good.precision.high
    assert good.threshold == pytest.approx(0.6, abs=0.1)  # kept above t: mean (1 + t) / 2 = 0.8


def test_a_target_that_cannot_be_reached_keeps_nothing() -> None:
    some = [Judged(score=i / 10, good=False, group=str(i)) for i in range(10)]
    found = filter_effect(some, Target(precision=0.9))
    assert found.kept.value == 0.0
    assert found.precision is None
    assert found.threshold is None


def test_options_that_make_no_sense_are_refused() -> None:
    for given_ in ({}, {"precision": 0.5, "recall": 0.5}, {"keep": 0.0}, {"precision": 1.5}, {"sure": True}):
        with pytest.raises(ConfigError, match="exactly one"):
            Target(**given_)
    with pytest.raises(ConfigError, match="bins"):
        reliability(calibrated(3), bins=0)
    with pytest.raises(ConfigError, match="folds"):
        filter_effect(calibrated(3), Target(keep=0.5), folds=1)
    assert ranks([0.5], [True]) is None
