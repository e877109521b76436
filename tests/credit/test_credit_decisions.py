"""A decision and an answer have credit of their own: no statistic is shared, and a reward that cannot tell decisions apart does nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.core.records import Action, End, Observation, Step, Task, Trajectory
from everystep.credit.assess import assess
from everystep.credit.columns import columns, name_segments, split_segments
from everystep.credit.decisions import Choice, decision_scores, most, right_way
from everystep.credit.estimators import estimator

GROUP = st.lists(
    st.tuples(st.sampled_from(("on", "off")), st.booleans(), st.booleans()), min_size=2, max_size=8
)
"""Attempts of a group: way, passed, forced."""


def attempts(groups: list[list[tuple[str, bool, bool]]]) -> tuple[list[Trajectory], list[Choice]]:
    made, choices = [], []
    for g, group in enumerate(groups):
        task = Task(id=f"t{g}", instruction="", environment="none")
        for k, (way, passed, forced) in enumerate(group):
            steps = tuple(
                Step(
                    id=f"{g}.{k}/{n}",
                    parent=None,
                    index=n,
                    observation=Observation(text=""),
                    action=Action(text=text),
                    reward=0.0,
                )
                for n, text in enumerate(("decide", "answer"))
            )
            made.append(
                Trajectory(
                    id=f"{g}.{k}", task=task, group=f"g{g}", steps=steps, end=End.DONE, outcome=float(passed)
                )
            )
            choices.append(Choice(group=f"g{g}", way=way, passed=passed, forced=forced))
    return made, choices


def scores_of(choices: list[Choice], judge: Any) -> dict[str, Any]:
    """Judge scores on decisions that were free, the answer's score on both steps, but not on a forced decision."""
    passed = [float(one.passed) for one in choices]
    carried = [np.nan if one.forced else score for one, score in zip(choices, passed, strict=True)]
    return {
        "judge": np.stack([judge, np.full(len(choices), np.nan)], axis=1).ravel(),
        "answer": np.stack([carried, passed], axis=1).ravel(),
    }


def credit_of(made: list[Trajectory], scores: dict[str, Any], **options: Any) -> Any:
    options = {"judge_segment": "decide", "answer_segment": "answer"} | options
    credit = assess(
        made, estimator("step_srpo", **options), scores=scores, segment=lambda step: step.action.text
    )[1]
    return credit.value_S.reshape(-1, 2)


def norm(values: Any) -> Any:
    if len(values) < 2 or np.ptp(values) == 0:
        return np.zeros(len(values))
    return (values - values.mean()) / (values.std(ddof=1) + 1e-6)


@given(st.lists(GROUP, min_size=1, max_size=4), st.floats(0.1, 2.0), st.floats(-0.2, 0.6))
def test_credit_of_segments_is_what_the_formula_says(
    groups: list[list[tuple[str, bool, bool]]], carry: float, delta: float
) -> None:
    made, choices = attempts(groups)
    judge = decision_scores(choices, cheap="off", dear="on", delta=delta)
    found = credit_of(made, scores_of(choices, judge), carry=carry)
    at = 0
    for group in groups:
        here = slice(at, at + len(group))
        at += len(group)
        passed = np.array([float(one[1]) for one in group])
        free = np.array([not one[2] for one in group])
        assert found[here, 1] == pytest.approx(norm(passed))
        known = free & ~np.isnan(judge[here])
        expected = np.zeros(len(group))
        expected[free] += carry * norm(passed[free])
        expected[known] += norm(judge[here][known])
        assert found[here, 0] == pytest.approx(expected)


@given(st.lists(GROUP, min_size=1, max_size=4), st.sampled_from((-1.0, 0.0, 1.0)), st.floats(0.1, 2.0))
def test_with_a_constant_judge_reward_only_the_answer_is_carried(
    groups: list[list[tuple[str, bool, bool]]], constant: float, carry: float
) -> None:
    made, choices = attempts([[(way, passed, False) for way, passed, _ in group] for group in groups])
    scores = scores_of(choices, np.full(len(choices), constant))
    found = credit_of(made, scores, carry=carry)
    assert found[:, 0] == pytest.approx(carry * found[:, 1])
    assert credit_of(made, scores, carry=0.0)[:, 0].tolist() == [0.0] * len(choices)


@given(st.lists(GROUP, min_size=1, max_size=3), st.integers(0, 2**31))
def test_segments_share_no_normaliser(groups: list[list[tuple[str, bool, bool]]], seed: int) -> None:
    made, choices = attempts([[(way, passed, False) for way, passed, _ in group] for group in groups])
    judge = decision_scores(choices, cheap="off", dear="on")
    scores = scores_of(choices, judge)
    before = credit_of(made, scores)
    rng = np.random.default_rng(seed)
    other = {name: values.copy() for name, values in scores.items()}
    other["answer"][1::2] = rng.normal(size=len(choices))
    assert credit_of(made, other)[:, 0].tolist() == before[:, 0].tolist()
    other = {name: values.copy() for name, values in scores.items()}
    other["judge"][::2], other["answer"][::2] = rng.normal(size=(2, len(choices)))
    assert credit_of(made, other)[:, 1].tolist() == before[:, 1].tolist()


@given(GROUP)
def test_a_forced_decision_has_no_credit_and_changes_no_other(group: list[tuple[str, bool, bool]]) -> None:
    made, choices = attempts([group])
    judge = decision_scores(choices, cheap="off", dear="on")
    found = credit_of(made, scores_of(choices, judge))
    assert all(value == 0.0 for value, one in zip(found[:, 0], choices, strict=True) if one.forced)
    assert all(np.isnan(value) for value, one in zip(judge, choices, strict=True) if one.forced)
    free = [place for place, one in enumerate(choices) if not one.forced]
    if not free:
        return
    alone = credit_of(
        [made[place] for place in free], scores_of([choices[place] for place in free], judge[free])
    )
    assert found[free, 0] == pytest.approx(alone[:, 0])


def test_the_right_way_comes_from_the_group() -> None:
    ways = [("off", True), ("off", False), ("on", True), ("on", True)]
    choices = [Choice(group="g", way=way, passed=passed) for way, passed in ways]
    assert right_way(choices, cheap="off", dear="on") == "on"
    assert right_way(choices, cheap="off", dear="on", delta=0.5) == "off"
    assert decision_scores(choices, cheap="off", dear="on").tolist() == [-1, -1, 1, 1]
    both = [*choices, Choice(group="h", way="on", passed=True)]
    assert np.isnan(decision_scores(both, cheap="off", dear="on")[-1])
    with pytest.raises(ConfigError, match="'maybe'"):
        right_way([Choice(group="g", way="maybe", passed=True)], cheap="off", dear="on")
    with pytest.raises(ConfigError, match="vote"):
        most([])


def test_segments_are_named_once_and_for_every_row() -> None:
    table = columns(attempts([[("on", True, False), ("off", False, False)]])[0])
    assert name_segments(table, ["a", "b", "a", "b"]).segments == ("a", "b")
    with pytest.raises(ConfigError, match="names"):
        name_segments(table, ["a"])
    with pytest.raises(ConfigError, match="segments already"):
        name_segments(split_segments(table, ["a", "b"]), ["a"] * 8)
