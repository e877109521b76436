"""Step scores as a part of rewards and outcomes, on hand-worked numbers."""

import numpy as np
import pytest

from everystep.core.errors import ConfigError
from everystep.credit.columns import from_arrays, split_segments, with_rewards
from everystep.credit.estimators import estimator
from everystep.credit.terms import assign
from everystep.environments.places.keydoor import KeyDoor

NAN = float("nan")
TABLE = from_arrays(
    task_S=[0, 0, 0, 0, 0],
    trajectory_S=[0, 0, 0, 1, 1],
    turn_S=[2, 0, 1, 0, 1],  # the first row is the last turn of its trajectory
    reward_S=[10, 0, 0, 0, 0],
    scores={"closer": [1, 0, 1, 0, 1], "executed": [NAN, 1, 0, NAN, NAN]},
)


def test_process_rewards_add_to_their_step_and_their_sum_to_the_outcome() -> None:
    got = with_rewards(TABLE, process={"closer": 0.5})
    np.testing.assert_allclose(got.reward_S, [10.5, 0, 0.5, 0, 0.5])
    np.testing.assert_allclose(got.outcome_S, [11, 11, 11, 0.5, 0.5])


def test_parts_are_shares_paid_at_the_end_and_zero_where_nothing_was_scored() -> None:
    got = with_rewards(TABLE, parts={"executed": 2.0})
    np.testing.assert_allclose(got.reward_S, [11, 0, 0, 0, 0])
    np.testing.assert_allclose(got.outcome_S, [11, 11, 11, 0, 0])


def test_rewards_and_outcome_stay_in_step() -> None:
    got = with_rewards(
        TABLE, process={"closer": 0.3, "executed": -1.0}, parts={"executed": 0.7, "closer": 1.0}
    )
    for trajectory in (0, 1):
        rows = got.trajectory_S == trajectory
        np.testing.assert_allclose(got.outcome_S[rows], got.reward_S[rows].sum())


def test_unknown_names_and_segments_are_refused() -> None:
    with pytest.raises(ConfigError, match="no score 'nearer'"):
        with_rewards(TABLE, process={"nearer": 1.0})
    with pytest.raises(ConfigError, match="whole steps"):
        with_rewards(split_segments(TABLE, ("judge", "answer")), process={"closer": 1.0})


def test_every_outcome_method_sees_the_process_reward() -> None:
    shaped = with_rewards(TABLE, process={"closer": 20.0})  # outcomes 50 and 20 instead of 10 and 0
    plain = assign(TABLE, estimator("grpo", normaliser="centre")).value_S
    np.testing.assert_allclose(plain, [5, 5, 5, -5, -5])
    np.testing.assert_allclose(
        assign(shaped, estimator("grpo", normaliser="centre")).value_S, [15, 15, 15, -15, -15]
    )


def test_closer_is_the_indicator_of_progress() -> None:
    env = KeyDoor().make()
    seen = set()
    for index in range(20):
        observation = env.reset(KeyDoor().task("train", index))
        for number in range(12):
            assert observation.admissible
            step = env.step(env.parse(observation.admissible[(index + number) % len(observation.admissible)]))
            assert step.scores["closer"] == (step.scores["progress"] > 0)
            seen.add(step.scores["progress"])
            if step.terminated:
                break
            observation = step.observation
    assert seen == {-1.0, 1.0} or seen == {-1.0, 0.0, 1.0}
