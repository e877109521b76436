"""What credit is worth, on steps whose answer is known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from everystep.core.errors import DataError
from everystep.credit.columns import Columns, from_arrays
from everystep.credit.estimators import estimator
from everystep.credit.terms import assign
from everystep.evaluate.worth import worth

REFERENCE = np.array([0.16, 0.2, 0.16, -0.8])


def two_steps() -> Columns:
    """Two runs of one task of the two-step world with errors in one action of five: right right, right wrong."""
    return from_arrays(
        task_S=[0, 0, 0, 0], trajectory_S=[0, 0, 1, 1], anchor_S=[0, 1, 0, 1], reward_S=[0.0, 1.0, 0.0, 0.0]
    )


def many(tasks: int = 30, runs: int = 4, steps: int = 6) -> tuple[Columns, np.ndarray]:
    rng = np.random.default_rng(0)
    size = tasks * runs * steps
    run = np.arange(size) // steps
    columns = from_arrays(
        task_S=run // runs,
        trajectory_S=run,
        reward_S=np.zeros(size),
        anchor_S=rng.integers(0, 3, size),
    )
    return columns, rng.normal(size=size)


def value(columns: Columns, credit: np.ndarray, name: str, reference: np.ndarray, **options: object) -> float:
    return worth(columns, credit, reference, resamples=50, **options)[name].interval.value  # type: ignore[arg-type]


def test_the_reference_itself_is_perfect() -> None:
    columns, reference = many()
    found = worth(columns, 3.0 * reference, reference, resamples=50)
    assert {name: measure.interval.value for name, measure in found.items()} == pytest.approx(
        dict.fromkeys(found, 1.0)
    )
    assert "spearman_trajectory" in found
    assert "hit@3" in found


def test_the_reverse_is_perfectly_wrong() -> None:
    columns, reference = many()
    found = worth(columns, -reference, reference, resamples=50)
    for name, measure in found.items():
        assert measure.interval.value == pytest.approx(-1.0 if name[0] == "k" or "spearman" in name else 0.0)


def test_constant_credit_knows_nothing_and_is_not_left_out() -> None:
    columns, reference = many()
    for name, measure in worth(columns, np.full(columns.size, 2.0), reference, resamples=50).items():
        assert measure.interval.value == pytest.approx(measure.blind), name
        assert measure.flat == (0.0 if name == "sign" else 1.0)


def test_blind_hits_are_those_of_a_draw() -> None:
    columns, reference = many(steps=6)
    blind = worth(columns, np.zeros(columns.size), reference, resamples=50)
    assert (blind["hit@1"].blind, blind["hit@3"].blind) == pytest.approx((1 / 6, 3 / 6))
    drawn = worth(columns, np.random.default_rng(1).normal(size=columns.size), reference, resamples=500)
    assert drawn["hit@3"].interval.low < 0.5 < drawn["hit@3"].interval.high
    assert drawn["spearman_all"].interval.low < 0.0 < drawn["spearman_all"].interval.high


def test_the_two_step_world_by_hand() -> None:
    """GRPO gives 0.7071 to the solved run and -0.7071 to the lost one, whatever the step."""
    columns = two_steps()
    credit = assign(columns, estimator("grpo")).value_S
    assert credit == pytest.approx([0.7071, 0.7071, -0.7071, -0.7071], abs=1e-4)
    found = worth(columns, credit, REFERENCE, failed_S=columns.outcome_S < 1.0, resamples=50)
    assert found["auc_group"].interval.value == pytest.approx(
        (2 * 1.0 + 0.5) / 3
    )  # 0.16 in the lost run ties with -0.8
    assert found["auc_trajectory"].interval.value == 0.5
    assert found["auc_trajectory"].flat == 1.0
    assert found["auc_state"].interval.value == 1.0  # in the second state, the only one where it matters
    assert found["sign"].interval.value == pytest.approx((2 / 3 + 1.0) / 2)
    assert found["hit@1"].interval.value == 0.5
    assert found["hit@1"].units == 1
    assert "spearman_trajectory" not in found  # two steps make no ranking
    assert "hit@3" not in found


def test_gigpo_finds_what_grpo_cannot() -> None:
    """With a third run that errs at once, the state term tells the first right step from the first wrong one."""
    columns = from_arrays(
        task_S=[0] * 5,
        trajectory_S=[0, 0, 1, 1, 2],
        anchor_S=[0, 1, 0, 1, 0],
        reward_S=[0.0, 1.0, 0.0, 0.0, 0.0],
    )
    reference = np.array([0.16, 0.2, 0.16, -0.8, -0.64])
    grpo = assign(columns, estimator("grpo")).value_S
    gigpo = assign(columns, estimator("gigpo", discount=1.0)).value_S
    assert value(columns, gigpo, "hit@1", reference, failed_S=columns.outcome_S < 1) == 1.0
    assert value(columns, grpo, "hit@1", reference, failed_S=columns.outcome_S < 1) == 0.5


@pytest.mark.parametrize(
    ("credit", "first", "third"),
    [
        ([0, 1, 2, 3, 4], 1.0, 1.0),
        ([4, 3, 2, 1, 0], 0.0, 0.0),
        ([4, 3, 2, 1, 1], 0.0, 0.0),
        (
            [2, 2, 2, 0, 9],
            0.0,
            1.0,
        ),  # two places are left for three that tie, two of them decisive: one is always hit
        ([2, 2, 5, 2, 2], 0.5, 1.0),
        ([0, 0, 0, 0, 0], 2 / 5, 9 / 10),
    ],
)
def test_hits_with_two_decisive_steps_by_hand(credit: list[float], first: float, third: float) -> None:
    columns = from_arrays(task_S=[0] * 5, trajectory_S=[0] * 5, reward_S=np.zeros(5))
    found = worth(columns, credit, [-1.0, -1.0, -0.5, 0.0, 0.2], resamples=50)
    assert (found["hit@1"].interval.value, found["hit@3"].interval.value) == pytest.approx((first, third))
    assert (found["hit@1"].blind, found["hit@3"].blind) == pytest.approx((2 / 5, 9 / 10))


def test_spearman_and_kendall_with_ties_by_hand() -> None:
    columns = from_arrays(task_S=[0] * 4, trajectory_S=[0] * 4, reward_S=np.zeros(4))
    found = worth(columns, [1.0, 1.0, 2.0, 3.0], [-0.5, 0.1, 0.1, 0.9], resamples=50)
    assert found["spearman_trajectory"].interval.value == pytest.approx(3.75 / 4.5)
    assert found["kendall_trajectory"].interval.value == pytest.approx(0.8)
    assert found["spearman_group"] == found["spearman_trajectory"]


def test_scale_and_rounding_of_equal_numbers_do_not_matter() -> None:
    columns, reference = many(tasks=8)
    credit = np.round(np.random.default_rng(2).normal(size=columns.size), 1)
    noise = 1e-13 * np.random.default_rng(3).normal(size=columns.size)
    assert worth(columns, credit, reference) == worth(columns, 7.0 * (credit + noise), reference)


def test_steps_of_one_task_do_not_narrow_the_interval() -> None:
    """Repeating every run ten times adds no task, so the interval of a mean over runs stays as it was."""
    columns, reference = many(tasks=20, runs=2)
    credit = reference + np.random.default_rng(4).normal(size=columns.size)
    again = np.concatenate([np.arange(columns.size)] * 10)
    copy = np.repeat(np.arange(10), columns.size)
    more = from_arrays(
        task_S=columns.task_S[again],
        trajectory_S=columns.trajectory_S[again] + 1000 * copy,
        reward_S=np.zeros(again.size),
    )
    one = worth(columns, credit, reference)["spearman_trajectory"].interval
    ten = worth(more, credit[again], reference[again])["spearman_trajectory"].interval
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high))


def test_what_is_unknown_is_refused() -> None:
    with pytest.raises(DataError, match="1 numbers that are not finite"):
        worth(two_steps(), [0.0, np.nan, 0.0, 0.0], REFERENCE)
    with pytest.raises(DataError, match="shape"):
        worth(two_steps(), [0.0], REFERENCE)
