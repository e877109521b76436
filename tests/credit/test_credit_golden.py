"""Golden numbers: one task, trajectory A with 3 steps and reward 10, B with 2 steps and reward 0."""

import numpy as np
import pytest

from everystep.credit.columns import from_arrays
from everystep.credit.estimators import estimator
from everystep.credit.returns import discounted
from everystep.credit.terms import assign

Q = from_arrays(
    task_S=[0] * 5,
    trajectory_S=[0, 0, 0, 1, 1],
    reward_S=[0, 0, 10, 0, 0],
    anchor_S=[0, 1, 2, 0, 1],
    scores={"implicit": [0.2, -0.1, 0.5, 0.4, -0.3], "progress": [1, 0, 1, 0, 1]},
)

CASES = [
    (("grpo", "paper"), {}, [0.7071, 0.7071, 0.7071, -0.7071, -0.7071]),
    (("grpo", "paper"), {"unit": "step"}, [0.7303, 0.7303, 0.7303, -1.0954, -1.0954]),
    (("dr_grpo", "paper"), {}, [5, 5, 5, -5, -5]),
    (("dr_grpo", "paper"), {"unit": "step"}, [4, 4, 4, -6, -6]),
    (("gigpo", "released"), {"normaliser": "centre"}, [8.5125, 8.75, 4, -10.5125, -10.75]),
    (("gigpo", "released"), {}, [1.4374, 1.4374, 0.7303, -1.8026, -1.8026]),
    (("gigpo", "paper"), {}, [1.4142, 1.4142, 0.7071, -1.4142, -1.4142]),
    (("istar", "released"), {}, [9.8, 9.2, 10.4, -9.8, -11.2]),
    (("istar", "released"), {"normaliser": "norm"}, [0, -2.1213, 2.1213, 0, -4.9497]),
    (("istar", "paper"), {}, [0.8856, -0.0068, 1.778, 0.0663, -2.016]),
    (("rloo", "paper"), {}, [10, 10, 10, -10, -10]),
    (("turn_return", "paper"), {}, [10, 10, 10, -10, -10]),
]


@pytest.mark.parametrize(("which", "options", "wanted"), CASES)
def test_golden(which: tuple[str, str], options: dict[str, object], wanted: list[float]) -> None:
    credit = assign(Q, estimator(*which, **options))
    np.testing.assert_allclose(credit.value_S, wanted, atol=5.1e-5)


def test_discounted_returns() -> None:
    got = discounted(Q.reward_S, Q.trajectory_S, Q.turn_S, 0.95)
    np.testing.assert_allclose(got, [9.025, 9.5, 10, 0, 0], atol=1e-12)


def test_trajectories_of_length_3_and_2_with_returns_1_and_0() -> None:
    columns = from_arrays(task_S=[0] * 5, trajectory_S=[0, 0, 0, 1, 1], reward_S=[0, 0, 1, 0, 0])
    by_row = assign(columns, estimator("dr_grpo", unit="step")).value_S
    by_trajectory = assign(columns, estimator("dr_grpo")).value_S
    np.testing.assert_allclose(by_row, [0.4] * 3 + [-0.6] * 2)
    np.testing.assert_allclose(by_trajectory, [0.5] * 3 + [-0.5] * 2)


def test_hgpo_by_hand() -> None:
    """Two trajectories through states 0 1 / 0 1, plus one through 2 1: state 1 has two histories."""
    columns = from_arrays(
        task_S=[0] * 6,
        trajectory_S=[0, 0, 1, 1, 2, 2],
        reward_S=[0, 4, 0, 0, 0, 2],
        anchor_S=[0, 1, 0, 1, 2, 1],
    )
    centred = {"normaliser": "centre", "discount": 1.0, "history": 1}
    paper = assign(columns, estimator("hgpo", **centred)).value_S
    # level 0 (weight 1/3): state 0 has 4, 0; state 1 has 4, 0, 2; level 1 (2/3): "start 0", "0 1", "start 2", "2 1"
    np.testing.assert_allclose(paper, [2, 4 / 3 + 2 / 3, -2, -4 / 3 - 2 / 3, 0, 0], atol=1e-12)
    released = assign(columns, estimator("hgpo", "released", **centred)).value_S
    # weights 2 : 3 over the levels that are not zero at the step; first steps have level 0 only
    np.testing.assert_allclose(released, [2, 2, -2, -2, 0, 0], atol=1e-12)


def test_matchtir_by_hand() -> None:
    columns = from_arrays(
        task_S=[0] * 4,
        trajectory_S=[0, 0, 1, 1],
        reward_S=[0] * 4,
        scores={"match_hard": [1.0, 0.5, 0.0, 0.5]},
    )
    got = assign(columns, estimator("matchtir_hard", normaliser="centre")).value_S
    # sums 1.5 and 0.5; returns at turn 0: 1.45 and 0.45, at turn 1: 0.5 and 0.5
    np.testing.assert_allclose(got, [0.25 + 0.25, 0.25, -0.25 - 0.25, -0.25], atol=1e-12)


def test_step_srpo_segments_never_share_a_normaliser() -> None:
    scores = {"judge": [1, 1, -1, -1], "answer": [0.0, 0.0, 4.0, 4.0]}
    columns = from_arrays(
        task_S=[0] * 4,
        trajectory_S=[0, 0, 1, 1],
        reward_S=[0] * 4,
        turn_S=[0, 0, 0, 0],
        scores=scores,
        segment_S=[0, 1, 0, 1],
        segments=("judge", "answer"),
    )
    got = assign(columns, estimator("step_srpo", normaliser="centre", carry=0.5)).value_S
    np.testing.assert_allclose(got, [1 - 1, -2, -1 + 1, 2], atol=1e-12)
    same = {**scores, "judge": [1, 1, 1, 1]}
    constant = from_arrays(
        task_S=[0] * 4,
        trajectory_S=[0, 0, 1, 1],
        reward_S=[0] * 4,
        turn_S=[0] * 4,
        scores=same,
        segment_S=[0, 1, 0, 1],
        segments=("judge", "answer"),
    )
    got = assign(constant, estimator("step_srpo", normaliser="centre", carry=0.5)).value_S
    np.testing.assert_allclose(got, [-1, -2, 1, 2], atol=1e-12)
