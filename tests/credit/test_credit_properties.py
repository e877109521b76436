"""What must hold whatever the numbers are: each line is a trap that some released code fell into."""

import numpy as np
import pytest
from credit_oracles import Row, batches, shuffled, table
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.credit.columns import from_arrays, split_segments, with_scores
from everystep.credit.estimators import METHODS, estimator
from everystep.credit.explain import explain
from everystep.credit.terms import Credit, assign

FEW = settings(max_examples=12, deadline=None)
SCORES = ("s", "implicit", "progress", "value", "judge", "answer", "match_hard", "match_greedy", "match_soft")
INSIDE_A_TASK = [name for name in METHODS if name not in ("reinforce++", "srgpo", "gae")]
WHOLE_STEPS = [name for name in METHODS if name != "step_srpo"]


def columns_of(rows: list[Row], name: str) -> object:
    columns = table(rows)
    columns = with_scores(columns, dict.fromkeys(SCORES, columns.scores["s"]))
    return split_segments(columns, ("judge", "answer")) if name == "step_srpo" else columns


def credit_of(rows: list[Row], name: str, variant: str = "paper") -> Credit:
    options = {"block": None} if name == "srgpo" else {}
    return assign(columns_of(rows, name), estimator(name, variant, **options))


def everything() -> list[tuple[str, str]]:
    return [(name, variant) for name in METHODS for variant in METHODS[name].variants]


@pytest.mark.parametrize(("name", "variant"), [one for one in everything() if one[0] != "step_srpo"])
@FEW
@given(rows=batches(), seed=st.integers(0, 9))
def test_permuting_rows_permutes_credit(name: str, variant: str, rows: list[Row], seed: int) -> None:
    mixed, order = shuffled(rows, seed)
    there, back = credit_of(rows, name, variant), credit_of(mixed, name, variant)
    np.testing.assert_allclose(back.value_S, there.value_S[order], atol=1e-9)


@pytest.mark.parametrize("name", INSIDE_A_TASK)
@FEW
@given(rows=batches())
def test_tasks_do_not_see_each_other(name: str, rows: list[Row]) -> None:
    """A batch split by task gives the same credit: equal anchors of two tasks are different states."""
    together = credit_of(rows, name)
    times = 2 if name == "step_srpo" else 1
    for task in {r.task for r in rows}:
        mine = [r for r in rows if r.task == task]
        places = [
            place * times + part for place, r in enumerate(rows) if r.task == task for part in range(times)
        ]
        alone = credit_of(mine, name)
        np.testing.assert_allclose(alone.value_S, together.value_S[places], atol=1e-9)


@pytest.mark.parametrize(("name", "variant"), everything())
@settings(max_examples=6, deadline=None)
@given(rows=batches(max_turns=4))
def test_explanation_adds_up_to_the_bit(name: str, variant: str, rows: list[Row]) -> None:
    columns = columns_of(rows, name)
    options = {"block": None} if name == "srgpo" else {}
    for rms in (None, 1.0):
        credit = assign(columns, estimator(name, variant, **options), match_rms=rms)
        for row in range(columns.size):
            why = explain(columns, credit, row)
            total = 0.0
            for term in why.terms:
                total += term.contribution
                np.testing.assert_allclose(
                    term.contribution, why.scale * term.weight * term.normalised, rtol=1e-12, atol=0
                )
            assert total == why.credit == credit.value_S[row]


@FEW
@given(rows=batches(), kind=st.sampled_from(["norm", "centre"]))
def test_unique_anchors_turn_gigpo_into_grpo_exactly(rows: list[Row], kind: str) -> None:
    rows = [Row(**{**vars(r), "anchor": number}) for number, r in enumerate(rows)]
    columns = table(rows)
    got = assign(columns, estimator("gigpo", normaliser=kind))
    assert (got.value_S == assign(columns, estimator("grpo", normaliser=kind)).value_S).all()
    assert got.diagnostics.terms[1].shared_share == 0.0
    assert "no state repeats" in got.diagnostics.warnings[0]
    assert "'outcome'" in got.diagnostics.warnings[0]


@FEW
@given(rows=batches())
def test_one_state_before_or_none_is_gigpos_state_term(rows: list[Row]) -> None:
    columns = table(rows)
    state = assign(columns, estimator("gigpo", ddof=0)).terms_TS[1]
    np.testing.assert_allclose(assign(columns, estimator("hgpo", history=0)).value_S, state, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in WHOLE_STEPS if n not in ("gae", "turn_return")])
@pytest.mark.parametrize("level", [0.0, 0.1, 7.3])
def test_a_group_that_is_equal_throughout_gives_exactly_zero(name: str, level: float) -> None:
    """All failed (0), all solved, and equal up to rounding: 0.1 + 0.2 against 0.3 must not be blown up."""
    noise = np.array([0.0, 1e-16, -1e-16, 2e-16] * 2) * level
    columns = from_arrays(
        task_S=[0] * 8,
        trajectory_S=[0, 1, 2, 3, 4, 5, 6, 7],
        reward_S=level + noise,
        anchor_S=[0] * 8,
        prefix_S=[0] * 8,
        sibling_S=[0] * 8,
        scores=dict.fromkeys(SCORES, level + noise),
    )
    options = {"block": None} if name == "srgpo" else {}
    for variant in METHODS[name].variants:
        credit = assign(columns, estimator(name, variant, **options))
        assert (credit.value_S == 0.0).all()
        assert credit.diagnostics.terms[0].constant_share == 1.0


def test_float32_noise_in_equal_rewards_gives_zero() -> None:
    rewards = np.float32([0.1, 0.1, 0.1]) + np.float32([0, 1e-8, -1e-8])
    columns = from_arrays(task_S=[0] * 3, trajectory_S=[0, 1, 2], reward_S=rewards)
    assert (assign(columns, estimator("grpo")).value_S == 0).all()


def test_a_small_but_real_difference_counts() -> None:
    columns = from_arrays(task_S=[0] * 2, trajectory_S=[0, 1], reward_S=[0.0, 1e-3])
    np.testing.assert_allclose(assign(columns, estimator("grpo", eps=0.0)).value_S, [-(0.5**0.5), 0.5**0.5])


def test_singletons_follow_the_rule() -> None:
    columns = from_arrays(task_S=[0, 1, 1], trajectory_S=[0, 1, 2], reward_S=[7.0, 1.0, 0.0])
    paper = assign(columns, estimator("grpo"))
    assert paper.value_S[0] == 0.0
    assert paper.diagnostics.terms[0].singleton_share == pytest.approx(1 / 3)
    raw = assign(columns, estimator("grpo", "released"))
    assert raw.value_S[0] == 7.0 / (1 + 1e-6)
    drop = assign(columns, estimator("grpo", singleton="drop"))
    assert drop.known_S.tolist() == [False, True, True]
    assert drop.value_S[0] == 0.0


def test_a_row_that_one_term_drops_has_no_credit_from_the_others() -> None:
    columns = from_arrays(task_S=[0, 0], trajectory_S=[0, 0], reward_S=[1.0, 0.0], anchor_S=[5, 5])
    credit = assign(columns, estimator("gigpo", singleton="drop"))
    assert credit.terms[1].normalised_S.any()
    assert not credit.known_S.any()
    assert not credit.value_S.any()


def test_a_trajectory_alone_in_its_state_is_a_singleton_by_trajectory_but_not_by_step() -> None:
    columns = from_arrays(
        task_S=[0] * 2, trajectory_S=[0, 0], reward_S=[1.0, 0.0], anchor_S=[5, 5], scores={"s": [1.0, 0.0]}
    )
    credit = assign(columns, estimator("gigpo", normaliser="centre", discount=0.0))
    np.testing.assert_allclose(credit.terms_TS[1], [0.5, -0.5])


@pytest.mark.parametrize("name", WHOLE_STEPS)
def test_one_step_trajectories(name: str) -> None:
    columns = from_arrays(
        task_S=[0] * 3,
        trajectory_S=[0, 1, 2],
        reward_S=[1.0, 0.0, 0.0],
        anchor_S=[0] * 3,
        prefix_S=[0] * 3,
        sibling_S=[0] * 3,
        scores={key: [1.0, 0.0, 0.0] for key in (*SCORES, "value_after")},
    )
    options = {"block": None} if name == "srgpo" else {}
    if name == "gae":
        columns = with_scores(columns, {"value": [0.0] * 3})
    credit = assign(columns, estimator(name, **options))
    assert credit.value_S[0] > 0 > credit.value_S[1] == credit.value_S[2]


def test_an_empty_batch() -> None:
    none: list[int] = []
    columns = from_arrays(task_S=none, trajectory_S=none, reward_S=none, scores=dict.fromkeys(SCORES, none))
    for name in WHOLE_STEPS:
        options = {"block": None} if name == "srgpo" else {}
        assert assign(columns, estimator(name, **options)).value_S.shape == (0,)


def test_long_trajectories_weigh_more_over_steps_only() -> None:
    """Doubling the length of the solved trajectory moves the step baseline, not the trajectory baseline."""
    short = from_arrays(task_S=[0] * 4, trajectory_S=[0, 0, 1, 1], reward_S=[0, 1, 0, 0])
    long = from_arrays(task_S=[0] * 6, trajectory_S=[0, 0, 0, 0, 1, 1], reward_S=[0, 0, 0, 1, 0, 0])
    for unit, same in (("trajectory", True), ("step", False)):
        a, b = (assign(one, estimator("dr_grpo", unit=unit)).value_S[0] for one in (short, long))
        assert bool(a == b) is same


def test_an_undecided_outcome_is_not_a_failure() -> None:
    columns = from_arrays(
        task_S=[0] * 4,
        trajectory_S=[0, 1, 2, 2],
        reward_S=[1.0, 0.0, 0.0, 0.0],
        outcome_S=[1.0, 0.0, np.nan, np.nan],
        anchor_S=[0, 0, 0, 1],
    )
    credit = assign(columns, estimator("gigpo", normaliser="centre"))
    np.testing.assert_allclose(credit.value_S, [1.0, -1.0, 0.0, 0.0])
    assert credit.known_S.tolist() == [True, True, False, False]
    assert credit.diagnostics.known_share == 0.5
    assert credit.diagnostics.terms[0].unknown_share == 0.5


def test_a_term_without_any_value_warns() -> None:
    columns = from_arrays(
        task_S=[0] * 2, trajectory_S=[0, 1], reward_S=[np.nan, np.nan], outcome_S=[1.0, 0.0], anchor_S=[0, 0]
    )
    credit = assign(columns, estimator("gigpo", normaliser="centre"))
    np.testing.assert_allclose(credit.value_S, [0.5, -0.5])
    assert "'state': no row has a known value" in credit.diagnostics.warnings[0]


def test_an_unknown_score_leaves_the_other_term() -> None:
    columns = from_arrays(
        task_S=[0] * 3,
        trajectory_S=[0, 1, 2],
        reward_S=[1.0, 0.0, 0.5],
        scores={"implicit": [3.0, 1.0, np.nan]},
    )
    credit = assign(columns, estimator("istar", normaliser="centre"))
    np.testing.assert_allclose(credit.value_S, [0.5 + 1.0, -0.5 - 1.0, 0.0])
    assert credit.known_S.all()


def test_the_penalty_comes_after_discounting_and_touches_only_its_row() -> None:
    columns = from_arrays(
        task_S=[0] * 4,
        trajectory_S=[0, 0, 1, 1],
        reward_S=[0, 1, 0, 0],
        anchor_S=[0, 1, 0, 1],
        penalty_S=[0, 1, 0, 0],
    )
    credit = assign(columns, estimator("gigpo", "released", normaliser="centre", discount=1.0))
    np.testing.assert_allclose(credit.terms[1].raw_S, [1.0, 0.9, 0.0, 0.0])
    np.testing.assert_allclose(credit.terms[0].raw_S, [1.0, 0.9, 0.0, 0.0])


def test_matching_the_root_mean_square() -> None:
    columns = from_arrays(task_S=[0] * 3, trajectory_S=[0, 1, 2], reward_S=[1.0, 0.0, 0.0])
    plain, matched = (
        assign(columns, estimator("dr_grpo")),
        assign(columns, estimator("dr_grpo"), match_rms=2.0),
    )
    assert matched.diagnostics.rms == pytest.approx(2.0)
    assert matched.diagnostics.rms_before == plain.diagnostics.rms
    np.testing.assert_allclose(matched.value_S, plain.value_S * matched.scale)
    flat = from_arrays(task_S=[0] * 2, trajectory_S=[0, 1], reward_S=[1.0, 1.0])
    assert "could not be matched" in assign(flat, estimator("grpo"), match_rms=1.0).diagnostics.warnings[0]
    with pytest.raises(ConfigError, match="match_rms is 0"):
        assign(columns, estimator("grpo"), match_rms=0.0)


def test_length_bias_sees_that_failures_are_longer() -> None:
    columns = from_arrays(task_S=[0] * 6, trajectory_S=[0, 1, 1, 1, 1, 1], reward_S=[1, 0, 0, 0, 0, 0])
    found = assign(columns, estimator("dr_grpo")).diagnostics
    assert found.length_bias == pytest.approx(-1.0)
    assert found.length_bias_size is None  # |A| is 1/2 everywhere


def test_leave_one_out_ignores_the_trajectory_itself() -> None:
    base = {"task_S": [0] * 3, "trajectory_S": [0, 1, 2]}
    for name in ("rloo", "turn_return"):
        a, b = (
            assign(from_arrays(**base, reward_S=[r, 2.0, 4.0]), estimator(name)).value_S[0] - r
            for r in (0.0, 100.0)
        )
        assert a == pytest.approx(-3.0)
        assert b == pytest.approx(-3.0)


def test_branches_are_compared_with_their_siblings() -> None:
    """A root step with two children: outcomes 1, 0 below the first child and 0 below the second."""
    columns = from_arrays(
        task_S=[0] * 6,
        trajectory_S=[0, 0, 1, 1, 2, 2],
        turn_S=[0, 1, 0, 1, 0, 1],
        reward_S=[0] * 6,
        outcome_S=[1, 1, 0, 0, 0, 0],
        sibling_S=[0, 1, 0, 1, 0, 2],
        node_S=[0, 2, 0, 3, 1, 4],
    )
    got = assign(columns, estimator("branch_monte_carlo")).value_S
    third = 1 / 3
    np.testing.assert_allclose(got, [0.5 - third, 0.5, 0.5 - third, -0.5, -third, 0.0], atol=1e-12)
