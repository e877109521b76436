"""Sums over the rest of a trajectory, and that cutting off is not ending."""

import numpy as np
import pytest
from credit_oracles import Row, batches, returns, table
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.credit.columns import from_arrays
from everystep.credit.estimators import estimator
from everystep.credit.implicit import log_ratio_scores, scaled_by_batch
from everystep.credit.progress import attributed_reward, progress, relative_reward, sum_gap
from everystep.credit.returns import discounted
from everystep.credit.terms import assign


@settings(max_examples=20, deadline=None)
@given(rows=batches(max_tasks=1, max_turns=20), discount=st.sampled_from([0.0, 0.3, 0.95, 1.0]))
def test_discounted_against_the_sum(rows: list[Row], discount: float) -> None:
    columns = table(rows)
    got = discounted(columns.reward_S, columns.trajectory_S, columns.turn_S, discount)
    np.testing.assert_allclose(got, returns(rows, discount), atol=1e-9)


def test_three_steps_keep_their_last_reward() -> None:
    got = discounted(np.array([1.0, 2.0, 4.0]), np.zeros(3, dtype=np.int64), np.arange(3), 1.0)
    assert got.tolist() == [7.0, 6.0, 4.0]


def test_one_very_long_trajectory() -> None:
    size = 10_000
    got = discounted(np.ones(size), np.zeros(size, dtype=np.int64), np.arange(size), 1.0)
    assert (got == np.arange(size, 0, -1)).all()


def test_an_unknown_reward_makes_only_earlier_returns_unknown() -> None:
    got = discounted(np.array([1.0, np.nan, 1.0, 5.0]), np.array([0, 0, 0, 1]), np.array([0, 1, 2, 0]), 0.5)
    assert np.isnan(got).tolist() == [True, True, False, False]


def test_a_discount_out_of_range() -> None:
    with pytest.raises(ConfigError, match="from 0 to 1"):
        assign(table([]), estimator("turn_return", discount=1.5))


def critic(ended: bool, after: float = np.nan, outcome: float | None = None) -> np.ndarray:
    columns = from_arrays(
        task_S=[0] * 2,
        trajectory_S=[0, 0],
        reward_S=[0.0, 1.0],
        outcome_S=None if outcome is None else [outcome] * 2,
        terminated_S=[ended] * 2,
        scores={"value": [0.5, 0.25], "value_after": [9.0, after]},
    )
    return assign(columns, estimator("gae", discount=0.9, trace=0.8, normaliser="none")).value_S


def test_generalised_advantages_by_hand() -> None:
    last = 1.0 - 0.25
    np.testing.assert_allclose(critic(True), [0.9 * 0.25 - 0.5 + 0.72 * last, last])


def test_truncated_is_not_terminated() -> None:
    last = 1.0 + 0.9 * 2.0 - 0.25
    np.testing.assert_allclose(critic(False, after=2.0), [0.9 * 0.25 - 0.5 + 0.72 * last, last])
    np.testing.assert_allclose(critic(True, after=2.0), critic(True))
    with pytest.raises(ConfigError, match="truncation is not termination"):
        critic(False)


def test_a_broken_trajectory_has_no_advantage() -> None:
    assert critic(False, outcome=np.nan).tolist() == [0.0, 0.0]


def test_trace_one_and_zero_are_the_known_limits() -> None:
    rng = np.random.default_rng(0)
    trajectory = np.repeat([0, 1], [5, 3])
    columns = from_arrays(
        task_S=[0] * 8,
        trajectory_S=trajectory,
        reward_S=rng.normal(size=8),
        scores={"value": rng.normal(size=8)},
    )
    value = columns.scores["value"]
    full = assign(columns, estimator("gae", discount=0.9, trace=1.0, normaliser="none")).value_S
    sums = discounted(columns.reward_S, columns.trajectory_S, columns.turn_S, 0.9)
    np.testing.assert_allclose(full, sums - value, atol=1e-12)
    one = assign(columns, estimator("gae", discount=0.9, trace=0.0, normaliser="none")).value_S
    after = np.array([*value[1:5], 0.0, *value[6:], 0.0])
    np.testing.assert_allclose(one, columns.reward_S + 0.9 * after - value, atol=1e-12)


def test_progress_is_a_difference_and_unknown_at_an_unknown_end() -> None:
    columns = from_arrays(
        task_S=[0] * 3,
        trajectory_S=[0, 0, 1],
        reward_S=[0] * 3,
        scores={"p": [0.2, 0.5, 0.1], "end": [9, 1, 0.4]},
    )
    np.testing.assert_allclose(progress(columns, "p"), [0.3, np.nan, np.nan])
    np.testing.assert_allclose(progress(columns, "p", after="end"), [0.3, 0.5, 0.3])


def test_attributed_rewards_of_three_steps() -> None:
    columns = from_arrays(
        task_S=[0] * 3, trajectory_S=[0] * 3, reward_S=[0, 0, 1], penalty_S=[0, 1, 0], scores={"c": [1, 2, 4]}
    )
    assert attributed_reward(columns, "c").tolist() == [1.5, 2.0, 4.5]
    assert attributed_reward(columns, "c", beta=0.0, position_weighted=True).tolist() == [2.0, 2.0, 0.0]


def test_the_released_reward_compares_outcomes_and_always_pays_the_last_step() -> None:
    """Outcomes 1, 0, 0.5 of one task: against the mean of the two others 0.75, -0.75, 0; a lone task and an unknown outcome have none."""
    columns = from_arrays(
        task_S=[0, 0, 0, 0, 0, 1, 0],
        trajectory_S=[0, 0, 1, 1, 2, 3, 4],
        reward_S=[0.0] * 7,
        outcome_S=[1, 1, 0, 0, 0.5, 1, np.nan],
        penalty_S=[0, 1, 1, 0, 0, 0, 0],
    )
    wanted = [0.75 + 0.5, 0.75 + 0.5, -0.75, -0.75 + 0.5, 0.5, 0.5, np.nan]
    np.testing.assert_allclose(relative_reward(columns), wanted, atol=1e-12)
    np.testing.assert_allclose(relative_reward(columns, beta=0.0)[:5], [0.75, 0.75, -0.75, -0.75, 0])


def test_a_cut_off_trajectory_has_no_sum_to_reach() -> None:
    columns = from_arrays(
        task_S=[0] * 3,
        trajectory_S=[0, 0, 1],
        reward_S=[0] * 3,
        outcome_S=[1.0, 1.0, np.nan],
        scores={"c": [0.5, 0.25, 9.0]},
    )
    np.testing.assert_allclose(sum_gap(columns, "c"), [-0.25, np.nan])


def test_log_ratio_scores() -> None:
    got = log_ratio_scores([[-1.0, -2.0], [-3.0]], [[-2.0, -2.0], [-1.0]], beta=0.05)
    np.testing.assert_allclose(got, [0.05, -0.1])
    with pytest.raises(ConfigError, match="step 0 has 1"):
        log_ratio_scores([[-1.0]], [[-1.0, -1.0]])
    columns = from_arrays(task_S=[0] * 3, trajectory_S=[0, 0, 1], reward_S=[0] * 3)
    np.testing.assert_allclose(
        scaled_by_batch(columns, np.array([1.0, -3.0, 1.0]), eps=0.0), [1 / 3, -1, 1 / 3]
    )
