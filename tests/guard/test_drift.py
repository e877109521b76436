"""Reliability under drift: votes, shift, detectors, and that the shift term earns its place."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.acts import Effect
from everystep.core.errors import ConfigError, DataError
from everystep.core.protocols import Candidate, Generation, Situation
from everystep.core.records import Action, Observation, Stop, Task
from everystep.guard.drift import (
    Cusum,
    Distance,
    PageHinkley,
    Scale,
    Shift,
    WatchedVotes,
    disagreement,
    drifting,
    reliability,
    risk_coverage,
)
from everystep.guard.features import embedded, stacked
from everystep.run.vote import AheadBy, Judged

shares = st.floats(0, 1)


def situation(step: str = "s") -> Situation:
    task = Task(id="t", instruction="", environment="e")
    return Situation(
        run="r", task=task, node="n", goal="g", step=step, index=0, observation=Observation(text="")
    )


def candidate(key: str) -> Candidate:
    return Candidate(
        sample=0, action=Action(text=key), generation=Generation(text=key, stop=Stop.STOP), key=key
    )


@given(shares, shares, shares)
def test_reliability_falls_with_uncertainty_and_with_shift(u: float, v: float, s: float) -> None:
    low, high = sorted((u, v))
    assert 0 <= reliability(high, s) <= reliability(low, s) <= 1
    assert 0 <= reliability(s, high) <= reliability(s, low) <= 1


# --- votes ------------------------------------------------------------------------------------------


def test_watched_votes_count_alike_and_remember() -> None:
    rule = WatchedVotes(AheadBy(2, cap=9))
    votes = rule.start(situation())
    for key in ("a", "b", "a", "a"):
        votes.add(candidate(key))
    assert rule.cap == 9
    assert votes.winner is not None
    assert rule(situation(), Action(text="a")) == 0.25
    assert rule(situation("unseen"), Action(text="a")) == 0.0
    assert disagreement({}) == 1.0


def test_watched_votes_forget_old_steps() -> None:
    rule = WatchedVotes(AheadBy(1), unseen=0.7)
    for number in range(100):
        rule.start(situation(str(number))).add(candidate("a"))
    assert rule(situation("0"), Action(text="a")) == 0.7
    assert rule(situation("99"), Action(text="a")) == 0.0


def test_a_judge_s_choice_is_no_agreement() -> None:
    async def pick(*_: object) -> int:
        return 0

    with pytest.raises(ConfigError, match="judge"):
        WatchedVotes(Judged(3, pick))


# --- shift ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", list(Distance))
def test_percentiles_are_even_at_home_and_one_far_away(distance: Distance) -> None:
    random = np.random.default_rng(0)
    shift = Shift(random.normal(size=(300, 4)), distance=distance, floor=0.0)
    home = np.array([shift.percentile(row) for row in random.normal(size=(300, 4))])
    assert abs(home.mean() - 0.5) < 0.06
    assert abs((home > 0.9).mean() - 0.1) < 0.06
    away = [shift.percentile(row) for row in random.normal(size=(50, 4)) + 5]
    assert min(away) == 1.0


@pytest.mark.parametrize("distance", list(Distance))
def test_farther_is_never_less_shifted(distance: Distance) -> None:
    random = np.random.default_rng(1)
    shift = Shift(random.normal(size=(100, 3)), distance=distance)
    far = random.normal(size=3)
    scores = [shift.score(far * scale) for scale in (0, 3, 6, 12)]
    assert scores == sorted(scores)
    assert scores[0] == 0.0
    assert scores[-1] == 1.0


def test_features_that_make_no_sense() -> None:
    shift = Shift(np.eye(8))
    assert shift.score([float("nan")] * 8) == 1.0
    with pytest.raises(DataError, match="shape"):
        shift.score([0.0])
    with pytest.raises(DataError, match="8 or more"):
        Shift(np.zeros((3, 2)))
    assert Shift(np.zeros((10, 2))).score([0.0, 0.0]) == 1.0  # all alike: as far as the farthest


def test_texts_of_another_world_are_shifted() -> None:
    rooms = [
        f"you are in room {i % 7} . a {c} door . exits north south"
        for i in range(30)
        for c in ("red", "blue")
    ]
    shift = Shift(stacked(rooms))
    assert shift.score(embedded(rooms[3])) < 0.5
    assert shift.score(embedded("SELECT name FROM users WHERE id = 4")) == 1.0


# --- detectors --------------------------------------------------------------------------------------


def test_cusum_is_page_s_sum() -> None:
    detector = Cusum(usual=0.1, bad=0.5, threshold=4.0)
    up, down = log(0.5 / 0.1), log(0.5 / 0.9)
    expected = 0.0
    for error in (True, False, False, False, True, True):
        detector.update(error)
        expected = max(0.0, expected + (up if error else down))
        assert detector.sum == pytest.approx(expected)
    assert detector.alarmed == (expected >= 4.0)


def first_alarm(detector: Cusum | PageHinkley, errors: np.ndarray) -> int:  # type: ignore[type-arg]
    return next((i for i, error in enumerate(errors) if detector.update(bool(error))), len(errors))


def test_cusum_is_quiet_at_the_usual_rate_and_quick_at_the_bad_one() -> None:
    random = np.random.default_rng(0)
    quiet = [
        first_alarm(Cusum(usual=0.1, bad=0.4, threshold=5.0), random.random(5000) < 0.1) for _ in range(20)
    ]
    assert np.mean(quiet) > exp(5)  # the bound on the time to a false alarm (Lorden 1971)
    quick = [
        first_alarm(Cusum(usual=0.1, bad=0.4, threshold=5.0), random.random(500) < 0.4) for _ in range(20)
    ]
    assert np.mean(quick) < 30


def test_an_alarm_ends_after_enough_right_outcomes_or_a_reset() -> None:
    detector = Cusum(usual=0.1, bad=0.4, threshold=2.0)
    for _ in range(100):
        detector.update(True)
    assert detector.alarmed
    right = 0
    while detector.alarmed:
        detector.update(False)
        right += 1
    assert 1 <= right < 10
    detector.update(True)
    detector.reset()
    assert not detector.alarmed


def test_page_hinkley_hears_a_rise_of_the_mean() -> None:
    random = np.random.default_rng(0)
    detector = PageHinkley(tolerance=0.05, threshold=4.0)
    assert not any(detector.update(x) for x in random.normal(0.2, 0.1, 300))
    alarms = [detector.update(x) for x in random.normal(0.8, 0.1, 60)]
    assert alarms.index(True) < 20


def test_an_alarm_caps_reliability_and_a_broken_measure_earns_none() -> None:
    effect, action = Effect(name="x"), Action(text="x")
    detector = Cusum(usual=0.1, bad=0.5, threshold=1.0)
    measure = drifting(uncertainty=lambda *_: 0.1, shift=lambda *_: 0.5, detector=detector, fallen=0.2)
    assert measure(situation(), action, effect) == pytest.approx(0.45)
    detector.update(True)
    assert measure(situation(), action, effect) == 0.2
    assert drifting(shift=lambda *_: float("nan"))(situation(), action, effect) == 0.0


# --- risk and coverage ------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.9]), st.booleans()), min_size=1, max_size=40))
def test_the_curve_is_the_counted_one(pairs: list[tuple[float, bool]]) -> None:
    scores, errors = [s for s, _ in pairs], [e for _, e in pairs]
    curve = risk_coverage(scores, errors)
    assert curve.coverage_N[-1] == 1.0
    for coverage, risk, threshold in zip(curve.coverage_N, curve.risk_N, curve.threshold_N, strict=True):
        taken = [e for s, e in pairs if s >= threshold]
        assert coverage == pytest.approx(len(taken) / len(pairs))
        assert risk == pytest.approx(sum(taken) / len(taken))
    assert curve.risk_at(1.0) == pytest.approx(sum(errors) / len(errors))


def drifted(seed: int, *, away: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Return confidence, shift and error of a linear classifier; half of the stream moves ``away`` along the boundary, where the truth bends."""
    random = np.random.default_rng(seed)
    home = random.normal(size=(400, 2))
    shift = Shift(home)
    x = random.normal(size=(600, 2))
    x[300:, 1] += away
    truth = (
        x[:, 0]
        + 0.3 * np.maximum(0, x[:, 1] - 2) * np.sign(random.normal(size=600)) * 3
        + 0.3 * random.normal(size=600)
        > 0
    )
    confidence = 1 / (1 + np.exp(-np.abs(x[:, 0]) * 4)) * 2 - 1
    return confidence, np.array([shift.score(row) for row in x]), (x[:, 0] > 0) != truth


def test_the_shift_term_lowers_autonomous_error_under_drift_and_costs_little_without() -> None:
    gains = {}
    for away in (0.0, 5.0):
        difference = []
        for seed in range(10):
            confidence, shift, error = drifted(seed, away=away)
            alone = risk_coverage(confidence.tolist(), error.tolist()).risk_at(0.5)
            both = risk_coverage((confidence * (1 - shift)).tolist(), error.tolist()).risk_at(0.5)
            difference.append(alone - both)
        gains[away] = np.array(difference)
    assert gains[5.0].mean() > 0.05
    assert (gains[5.0] > 0).all()
    assert abs(gains[0.0].mean()) < 0.02


@pytest.mark.parametrize("distance", list(Distance))
def test_a_ratio_keeps_the_order_of_far_contexts_where_percentiles_are_level(distance: Distance) -> None:
    home = np.random.default_rng(0).normal(size=(200, 3))
    far = [np.full(3, away) for away in (10.0, 20.0, 40.0)]
    level = Shift(home, distance=distance)
    apart = Shift(home, distance=distance, scale=Scale.RATIO)
    assert [level.score(one) for one in far] == [1.0, 1.0, 1.0]
    scores = [apart.score(one) for one in far]
    assert scores == sorted(set(scores))
    assert scores[0] > 0.5
    assert scores[-1] < 1.0
    assert sum(apart.score(one) == 0.0 for one in home) > 150
    assert apart.score([float("nan"), 0.0, 0.0]) == 1.0
