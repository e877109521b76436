"""From records to columns and back, and the one call that does it all."""

import subprocess
import sys

import numpy as np
import pytest

from everystep.core.errors import ConfigError
from everystep.core.records import (
    Action,
    End,
    Group,
    Level,
    Observation,
    Step,
    Task,
    ToolCall,
    Trajectory,
    Verdict,
)
from everystep.credit.assess import assess
from everystep.credit.columns import columns, from_arrays, split_segments, verdict_scores, with_scores
from everystep.credit.estimators import METHODS, estimator
from everystep.credit.explain import explain, row_of
from everystep.credit.terms import assign, step_credits

TASK = Task(id="t", instruction="go", environment="e")


def step(
    name: str,
    parent: str | None,
    index: int,
    anchor: str | None,
    *,
    reward: float = 0.0,
    text: str = "go",
    **more: object,
) -> Step:
    return Step(
        id=name,
        parent=parent,
        index=index,
        observation=Observation(text=f"at {anchor}", anchor=anchor),
        action=more.pop("action", Action(text=text)),  # type: ignore[arg-type]
        reward=reward,
        **more,  # type: ignore[arg-type]
    )


def walk(
    name: str,
    steps: list[Step],
    outcome: float | None,
    *,
    end: End = End.DONE,
    group: str = "g",
    task: Task = TASK,
) -> Trajectory:
    return Trajectory(id=name, task=task, group=group, steps=tuple(steps), end=end, outcome=outcome)


def two() -> list[Trajectory]:
    a = [step("a0", None, 0, "s0"), step("a1", "a0", 1, "s1", reward=1.0)]
    b = [
        step("b0", None, 0, "s0"),
        step("b1", "b0", 1, "s1", action=Action(text="x", valid=False, reason="no")),
    ]
    return [walk("A", a, 1.0), walk("B", b, 0.0, end=End.TRUNCATED)]


def test_rows_keep_their_order_and_fields() -> None:
    table = columns([Group(id="g", task=TASK, trajectories=tuple(two()))])
    assert table.step_ids == ("a0", "a1", "b0", "b1")
    assert table.trajectory_ids == ("A", "B")
    assert table.task_S.tolist() == [0] * 4
    assert table.turn_S.tolist() == [0, 1, 0, 1]
    assert table.reward_S.tolist() == [0, 1, 0, 0]
    assert table.outcome_S.tolist() == [1, 1, 0, 0]
    assert table.penalty_S.tolist() == [0, 0, 0, 1]
    assert table.terminated_S.tolist() == [True, True, False, False]
    assert table.anchor_S.tolist() == [0, 1, 0, 1]
    assert table.sibling_S.tolist() == [0, 1, 0, 2]
    assert len(set(table.node_S.tolist())) == 4


def test_prefixes_are_equal_while_actions_and_observations_are() -> None:
    same, other = two()[0], two()[1]
    third = walk("C", [step("c0", None, 0, "s0", text="turn"), step("c1", "c0", 1, "s1")], 0.0)
    prefix = columns([same, other, third]).prefix_S.tolist()
    assert prefix[0] == prefix[2] == prefix[4]  # nothing happened yet
    assert prefix[1] == prefix[3] != prefix[5]  # "go" against "turn"


def test_a_tree_shares_its_prefix() -> None:
    root = step("r", None, 0, "s0")
    left = walk("L", [root, step("l", "r", 1, "s1")], 1.0)
    right = walk("R", [root, step("m", "r", 1, "s1")], 0.0)
    table = columns([left, right])
    assert table.node_S.tolist() == [0, 1, 0, 2]
    assert table.sibling_S[1] == table.sibling_S[3]
    got = assign(table, estimator("branch_monte_carlo")).value_S
    np.testing.assert_allclose(got, [0.0, 0.5, 0.0, -0.5])


def test_one_group_name_in_two_tasks_is_two_groups() -> None:
    other = Task(id="u", instruction="go", environment="e")
    a = walk("A", [step("a0", None, 0, "s0")], 1.0, group="0")
    b = walk("B", [step("b0", None, 0, "s0")], 0.0, group="0", task=other)
    table = columns([a, b])
    assert table.task_S.tolist() == [0, 1]
    assert table.anchor_S.tolist() == [0, 1]


def test_agents_are_compared_with_themselves() -> None:
    trips = []
    for name, outcome in (("A", 1.0), ("B", 0.0)):
        first = step(f"{name}0", None, 0, "s0", agent="planner", reward=outcome * 5)
        trips.append(walk(name, [first, step(f"{name}1", f"{name}0", 1, "s0", agent="actor")], outcome))
    table = columns(trips)
    assert table.task_S.tolist() == [0, 1, 0, 1]
    assert table.group_ids == ("g", "g")
    got = assign(table, estimator("gigpo", normaliser="centre", discount=1.0))
    np.testing.assert_allclose(got.terms_TS, [[0.5, 0.5, -0.5, -0.5], [2.5, 0.0, -2.5, 0.0]])


def test_credit_loads_no_heavy_library() -> None:
    code = (
        "import sys, everystep.credit.assess, everystep.credit.estimators, everystep.credit.explain; "
        "print([name for name in ('torch', 'scipy', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_choosing_a_comparison_without_deviation_clears_its_options() -> None:
    assert estimator("hgpo", normaliser="centre").options["ddof"] is None
    assert estimator("hgpo").options["ddof"] == 0
    assert estimator("istar", "released", normaliser="norm", eps=0.1).terms[0].normaliser.eps == 0.1


def test_no_anchor_no_outcome_and_missing_scores_are_unknown() -> None:
    a = walk("A", [step("a0", None, 0, None, scores={"p": 0.5})], None, end=End.ERROR)
    b = walk("B", [step("b0", None, 0, None)], 1.0)
    table = columns([a, b])
    assert table.anchor_S.tolist() == [-1, -1]
    np.testing.assert_array_equal(table.outcome_S, [np.nan, 1.0])
    np.testing.assert_array_equal(table.scores["p"], [0.5, np.nan])
    assert columns([a, b], undecided=0.0).outcome_S.tolist() == [0.0, 1.0]
    assert columns([a, b], state="text").anchor_S.tolist() == [0, 0]


def test_a_repeated_trajectory_is_refused() -> None:
    with pytest.raises(ConfigError, match="'A' of group 'g' comes twice"):
        columns([two()[0], two()[0]])


def test_wrong_arrays_are_refused() -> None:
    ok = {"task_S": [0, 0], "trajectory_S": [0, 1], "reward_S": [0, 1]}
    with pytest.raises(ConfigError, match="reward_S has shape"):
        from_arrays(**{**ok, "reward_S": [0]})
    with pytest.raises(ConfigError, match="rows of two tasks"):
        from_arrays(**{**ok, "task_S": [0, 1], "trajectory_S": [0, 0]})
    with pytest.raises(ConfigError, match="same turn_S"):
        from_arrays(**{**ok, "trajectory_S": [0, 0]}, turn_S=[1, 1])
    with pytest.raises(ConfigError, match="expected integers"):
        from_arrays(**ok, anchor_S=[0.5, 1.0])
    with pytest.raises(ConfigError, match="score 'p' has shape"):
        from_arrays(**ok, scores={"p": [1.0]})
    with pytest.raises(ConfigError, match="state is 'anchr'"):
        columns([], state="anchr")


def test_verdicts_become_a_score() -> None:
    table = columns(two())
    verdicts = [
        Verdict(level=Level.STEP, targets=("a1", "b0"), judge="j", score=0.5),
        Verdict(level=Level.STEP, targets=("a1",), judge="j", score=0.75),
        Verdict(level=Level.STEP, targets=("a0",), judge="other", score=1.0),
        Verdict(level=Level.TRAJECTORY, targets=("a0",), judge="j", score=1.0),
    ]
    np.testing.assert_array_equal(verdict_scores(table, verdicts, judge="j"), [np.nan, 0.75, 0.5, np.nan])


def test_segments_repeat_rows() -> None:
    table = split_segments(columns(two()), ("judge", "answer"))
    assert table.step_ids == ("a0", "a0", "a1", "a1", "b0", "b0", "b1", "b1")
    assert table.segment_S is not None
    assert table.segment_S.tolist() == [0, 1] * 4
    with pytest.raises(ConfigError, match="one row a step"):
        assign(table, estimator("gigpo"))
    with pytest.raises(ConfigError, match="split already"):
        split_segments(table, ("x",))
    with pytest.raises(ConfigError, match="no row belongs to segment 'judge'"):
        assign(with_scores(columns(two()), {"judge": [0] * 4, "answer": [0] * 4}), estimator("step_srpo"))


def test_step_credits_name_step_and_trajectory() -> None:
    table, credit = assess(two(), estimator("gigpo", normaliser="centre", discount=1.0))
    made = step_credits(table, credit)
    assert [(one.step, one.trajectory, one.value) for one in made] == [
        ("a0", "A", 1.0), ("a1", "A", 1.0), ("b0", "B", -1.0), ("b1", "B", -1.0),
    ]  # fmt: skip
    assert made[0].terms == (0.5, 0.5)
    assert made[0].estimator == "gigpo"


def test_explanations_are_readable() -> None:
    table, credit = assess(two(), estimator("gigpo", normaliser="centre", discount=1.0))
    why = explain(table, credit, row_of(table, "b1"))
    text = str(why)
    for part in (
        "step 'b1' (trajectory 'B', turn 1): credit -1 by gigpo (paper)",
        "A[1]=1, B[1]=0",
        "sum: -0.5 -0.5 = -1",
    ):
        assert part in text
    assert [m.step for m in why.terms[1].members] == ["a1", "b1"]
    assert why.terms[1].assumption.startswith("equal anchors are equal states")
    assert why.terms[1].rule == "compared with the group"
    with pytest.raises(ConfigError, match="row is 9"):
        explain(table, credit, 9)
    with pytest.raises(ConfigError, match="no step 'zz'"):
        row_of(table, "zz")


def test_explanations_say_why_there_is_nothing() -> None:
    alone = [two()[0], walk("E", [step("e0", None, 0, "s9")], None, end=End.ERROR)]
    table, credit = assess(alone, estimator("gigpo"))
    assert "a group of one entry: zero" in str(explain(table, credit, 0))
    assert "the value is unknown" in str(explain(table, credit, 2))
    assert "should not be trained on" in str(explain(table, credit, 2))
    equal = [walk("A", two()[0].steps, 1.0), walk("B", two()[1].steps, 1.0)]  # type: ignore[arg-type]
    table, credit = assess(equal, estimator("grpo"))
    assert "all entries of the group are equal: zero" in str(explain(table, credit, 0))


def test_tool_calls_are_matched_on_the_way() -> None:
    task = Task(
        id="t",
        instruction="",
        environment="e",
        reference_calls=(ToolCall(name="F", arguments={"x": 1, "y": 3}),),
    )
    call = Action(text="", calls=(ToolCall(name="f", arguments={"x": 1, "y": 2}),))
    a = walk("A", [step("a0", None, 0, "s", action=call)], 0.0, task=task)
    b = walk("B", [step("b0", None, 0, "s")], 0.0, task=task)
    for name in ("matchtir_hard", "matchtir_greedy", "matchtir_soft"):
        table, credit = assess([a, b], estimator(name, normaliser="centre"))
        np.testing.assert_allclose(table.scores[f"match_{name[9:]}"], [0.75, 0.0])
        np.testing.assert_allclose(credit.value_S, [0.375, -0.375])


def test_names_variants_and_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'gigpo'"):
        estimator("gigp")
    with pytest.raises(ConfigError, match=r"no variant 'relesed'.*Did you mean 'released'"):
        estimator("gigpo", "relesed")
    with pytest.raises(ConfigError, match="no variant 'released'"):
        estimator("dr_grpo", "released")
    with pytest.raises(ConfigError, match=r"no option 'wieght'\. Did you mean 'weight'"):
        estimator("gigpo", wieght=2.0)
    with pytest.raises(ConfigError, match="has no option 'eps', so it would have no effect"):
        estimator("dr_grpo", eps=1e-3)
    with pytest.raises(ConfigError, match="unit is 'trajectry'"):
        estimator("grpo", unit="trajectry")
    with pytest.raises(ConfigError, match="unknown normaliser 'nrm'"):
        estimator("grpo", normaliser="nrm")
    with pytest.raises(ConfigError, match="no score 'progress'"):
        assign(columns(two()), estimator("srgpo"), rng=np.random.default_rng(0))


def test_every_method_says_where_it_is_from() -> None:
    assert len(METHODS) == 16
    for name, method in METHODS.items():
        assert len(method.source) > 10
        assert method.summary.endswith(".")
        assert ("released" in method.variants) == bool(method.differs)
        assert estimator(name).terms
