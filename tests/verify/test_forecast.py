"""The formulas against the published table, against each other and against simulation."""

from __future__ import annotations

from math import isclose
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.codec import dumps, loads
from everystep.core.errors import ConfigError
from everystep.run.decide import Price
from everystep.verify.calibrate import Calibration, Flagged, Tally, calibrate
from everystep.verify.forecast import Forecast, forecast
from everystep.verify.race import chance, expected_cost, expected_votes, k_min, margin, p_full, p_sub, race

MILLION = 2**20 - 1

TABLE = {
    "gpt-4.1-nano": (0.3571, 29),
    "gpt-4.1-mini, temperature 1": (0.0040, 4),
    "gpt-4.1-mini, temperature 0.1": (0.0022, 3),
    "o3-mini": (0.0018, 3),
    "haiku-4.5": (0.1839, 12),
    "gpt-oss-20B": (0.0358, 6),
    "qwen3": (0.2342, 15),
    "deepseek-v3.1": (0.0569, 6),
    "kimi-k2": (0.0393, 6),
}


@pytest.mark.parametrize(("error", "k"), TABLE.values(), ids=TABLE)
def test_the_margins_of_the_published_table(error: float, k: int) -> None:
    """MAKER (arXiv 2511.09030), the table of models: 20 disks, target 0.95."""
    assert k_min(1 - error, 0.95, MILLION) == k


def test_numbers_that_were_computed_apart() -> None:
    for k, full, samples in ((3, 0.246, 3.74), (4, 0.856, 5.00), (5, 0.983, 6.25)):
        assert p_full(0.9, k, 1023) == pytest.approx(full, abs=5e-4)
        assert expected_votes(0.9, k) == pytest.approx(samples, abs=5e-3)
    assert p_full(0.7, 8, 1023) == pytest.approx(0.312, abs=5e-4)
    for m, calls in ((1, 2.1e3), (10, 2.3e3), (50, 3.4e3), (341, 31e3), (1023, 3.0e7)):
        k = k_min(0.99, 0.9, 1023, m)
        assert k is not None
        assert expected_cost(0.99, k, 1023, m=m) == pytest.approx(calls, rel=0.03)
    assert k_min(0.5, 0.9, 10) is None
    assert k_min(1.0, 0.9, 10) == 1


def simulate(random: Random, p: float, k: int, valid: float = 1.0, cap: int = 10**9) -> tuple[int, int]:
    """Return the lead at the end and the samples of one race."""
    lead = samples = 0
    while abs(lead) < k and samples < cap:
        samples += 1
        if random.random() < valid:
            lead += 1 if random.random() < p else -1
    return lead, samples


@pytest.mark.parametrize("k", [3, 4, 5])
def test_simulated_races_agree_with_the_formulas(k: int) -> None:
    random, steps, tasks = Random(k), 1023, 40
    solved = samples = 0
    for _ in range(tasks):
        races = [simulate(random, 0.9, k) for _ in range(steps)]
        solved += all(lead == k for lead, _ in races)
        samples += sum(drawn for _, drawn in races)
    expected = p_full(0.9, k, steps)
    assert abs(solved / tasks - expected) < 4 * (expected * (1 - expected) / tasks) ** 0.5
    assert samples / tasks / steps == pytest.approx(expected_votes(0.9, k), rel=0.01)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.05, 0.95), st.integers(1, 8), st.floats(0.2, 1.0))
def test_the_exact_race_without_a_cap_is_the_formula(p: float, k: int, valid: float) -> None:
    one = race(p, k, valid=valid, cap=6000)
    assert one.undecided < 1e-9
    assert one.right == pytest.approx(p_sub(p, k), abs=1e-9)
    assert one.samples == pytest.approx(expected_votes(p, k) / valid, rel=1e-6)
    assert one.rounds <= one.samples + 1e-9


@pytest.mark.parametrize(("p", "k", "valid", "cap"), [(0.7, 3, 0.8, 7), (0.4, 2, 0.5, 5), (0.9, 4, 1.0, 3)])
def test_the_exact_race_under_a_cap_is_what_simulation_shows(
    p: float, k: int, valid: float, cap: int
) -> None:
    random, runs = Random(1), 20_000
    found = [simulate(random, p, k, valid, cap) for _ in range(runs)]
    one = race(p, k, valid=valid, cap=cap)
    assert sum(lead == k for lead, _ in found) / runs == pytest.approx(one.right, abs=0.015)
    assert sum(lead == -k for lead, _ in found) / runs == pytest.approx(one.wrong, abs=0.015)
    assert sum(samples for _, samples in found) / runs == pytest.approx(one.samples, rel=0.02)
    assert one.right + one.wrong + one.undecided == pytest.approx(1)


@given(st.floats(0.51, 0.9999), st.floats(0.5, 0.999), st.integers(1, 10**7), st.integers(1, 50))
def test_the_margin_reaches_the_target_and_one_less_does_not(
    p: float, target: float, steps: int, m: int
) -> None:
    k = k_min(p, target, steps, m)
    assert k is not None
    assert p_full(p, k, steps, m) >= target * (1 - 1e-9)
    assert k == 1 or p_full(p, k - 1, steps, m) < target * (1 + 1e-9)
    mixed = margin([(0.3, p), (0.7, p)], target, steps, m)
    assert mixed is not None
    assert abs(mixed - k) <= (0 if p_full(p, k, steps, m) > target * (1 + 1e-9) else 1)


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(0.05, 0.999)), min_size=1, max_size=4), st.integers(1, 9)
)
def test_the_chance_of_finishing_is_the_product_over_all_steps(
    kinds: list[tuple[int, float]], k: int
) -> None:
    steps = sum(count for count, _ in kinds)
    product = 1.0
    for count, p in kinds:
        product *= p_sub(p, k) ** count
    found = chance([(count / steps, p) for count, p in kinds], k, steps)
    assert isclose(found, product, rel_tol=1e-9, abs_tol=1e-300)


def test_no_margin_saves_a_step_that_errs_more_often_than_not_and_another_prompt_does() -> None:
    bad = [(0.995, 0.95), (0.005, 0.4)]
    assert margin(bad, 0.9, 1023) is None
    assert all(chance(bad, k, 1023) < 0.12 for k in range(3, 13))
    mended = [(0.995, 0.95), (0.005, 0.3 * 0.4 + 0.7 * 0.95)]
    for k, simulated in ((3, 0.77), (5, 0.98), (8, 1.0)):
        assert chance(mended, k, 1023) == pytest.approx(simulated, abs=0.02)


def seen(p_wrong: int = 1, *bad: Tally, states: int = 500, **cost: float) -> Calibration:
    plain = [Tally(state=f"s{i}", right=10 - p_wrong, wrong=p_wrong, cost=cost) for i in range(states)]
    return calibrate([*plain, *bad])


def test_a_forecast_adds_up() -> None:
    told = forecast(
        seen(prompt_tokens=5000.0, completion_tokens=1000.0),
        steps=1023,
        target=0.95,
        price=Price(prompt=1.0, completion=10.0),
        seconds_per_sample=2.0,
    )
    assert told.margin == told.used == 5
    assert told.chance.low < told.chance.value < told.chance.high
    assert told.chance.value == pytest.approx(p_full(0.9, 5, 1023))
    assert told.calls == pytest.approx(1023 * 6.2498, rel=1e-4)
    assert told.prompt_tokens == pytest.approx(500 * told.calls)
    assert told.usd == pytest.approx(told.calls * (500 * 1.0 + 100 * 10.0) / 1e6)
    assert told.seconds == pytest.approx(1023 * race(0.9, 5).rounds * 2.0)
    assert told.doomed == ()
    assert 0 < told.lost_share.high < 0.01
    assert loads(Forecast, dumps(told)) == told


def test_without_an_error_the_margin_is_two_and_the_interval_is_honest() -> None:
    told = forecast(seen(0), steps=MILLION)
    assert told.margin == 2
    assert told.chance.value == 1.0
    assert told.chance.low < 0.7
    assert told.cautious is not None
    assert told.cautious > 2
    assert told.usd is None


def test_doomed_steps_are_named_and_cost_the_chance() -> None:
    told = forecast(seen(1, Tally(state="trap", right=1, wrong=9)), steps=1000, cap=30)
    assert told.doomed == ("trap",)
    assert told.lost_steps == pytest.approx(1000 / 501)
    assert told.margin == 5
    assert told.chance.value < 1e-5
    assert told.chance_if_mended.value > 0.95


def test_silent_steps_never_finish() -> None:
    mute = Tally(state="mute", right=0, wrong=0, flagged=(Flagged(flag="too long"),) * 10)
    told = forecast(seen(1, mute), steps=1000, cap=30)
    assert told.doomed == ("mute",)
    assert told.chance.value == 0
    assert told.at_cap == pytest.approx(1000 / 501, rel=0.05)


def test_a_fixed_margin_and_several_steps_a_call() -> None:
    one = forecast(seen(1), steps=1000, k=7)
    assert (one.margin, one.used) == (5, 7)
    many = forecast(seen(1), steps=1000, m=5)
    assert many.margin is not None
    assert many.margin <= 5
    assert many.samples_per_step > one.samples_per_step / 2
    with pytest.raises(ConfigError, match="expected positive numbers"):
        forecast(seen(1), steps=0)
