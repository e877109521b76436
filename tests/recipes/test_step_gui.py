"""Step-GUI's labels and rounds: which steps become targets, what that costs, and what failures may teach."""

from __future__ import annotations

from dataclasses import replace

import pytest

from everystep.core.records import Trajectory
from everystep.credit.gestures import box_reward, point_reward
from everystep.data.questions import Kind
from everystep.environments.screengrid.world import ScreenGrid
from everystep.learn.student import Student
from everystep.recipes.step_gui import (
    LABELS,
    ROUNDS,
    Arm,
    Config,
    action_rows,
    brief,
    knowledge_rows,
    label_trial,
    labelled,
    said_of,
    trial,
    warm,
)

TINY = Config(
    size="0.02M",
    demonstrations=20,
    warm_updates=3,
    labelled=20,
    rounds=2,
    rollouts=8,
    updates=2,
    knowledge_updates=1,
    test_tasks=4,
    seeds=1,
)


@pytest.fixture(scope="module")
def made() -> list[Trajectory]:
    """Walks of a clumsy oracle: successes with detours, and failures with right steps."""
    world = ScreenGrid(apps="mail,shop")
    student = Student.begin(world, world.texts(), size="0.02M")
    return student.demonstrate([world.task("train", index) for index in range(60)], error_rate=0.4)


def test_the_outcome_never_makes_a_failure_a_target_and_costs_one_verdict_a_rollout(
    made: list[Trajectory],
) -> None:
    failed = {step.id for one in made if not one.success for step in one.steps}
    assert failed
    for arm in (LABELS["outcome"], LABELS["outcome and step judge 60%"]):
        found = labelled(made, arm, 0.6, 0)
        assert not found.targets & failed
        assert found.outcome_verdicts == len(made)
    assert labelled(made, LABELS["outcome"], 1.0, 0).step_verdicts == 0
    steps = sum(len(one.steps) for one in made)
    assert labelled(made, Arm(judge=True), 1.0, 0).step_verdicts == steps
    assert 0 < labelled(made, Arm(outcome=True, judge=True), 1.0, 0).step_verdicts < steps
    assert len(labelled(made, Arm(), 1.0, 0).targets) == steps


def test_the_extractor_is_right_as_often_as_stated(made: list[Trajectory]) -> None:
    truth = {step.id: step.scores["closer"] > 0 for one in made for step in one.steps}
    for accuracy in (1.0, 0.8, 0.6):
        said = said_of(made, accuracy, 3)
        right = sum(said[step] is well for step, well in truth.items()) / len(truth)
        assert right == pytest.approx(accuracy, abs=0.07)
    assert labelled(made, Arm(judge=True), 1.0, 0).targets == {step for step, well in truth.items() if well}


def test_a_failure_teaches_knowledge_but_no_action(made: list[Trajectory]) -> None:
    failures = [one for one in made if not one.success][:2]
    student = warm(TINY, 0)
    said = said_of(failures, 1.0, 0)
    assert action_rows(failures, labelled(failures, Arm(outcome=True), 1.0, 0).targets) == []
    steps = sum(len(one.steps) for one in failures)
    rows = knowledge_rows(student, failures, Arm(outcome=True), said)
    assert len(rows) >= 3 * steps  # a summary, an effect, a reflection and more of each step
    unverified = knowledge_rows(student, failures, Arm(judge=True), said)
    assert len(rows) - len(unverified) == len(
        failures
    )  # without the outcome nobody can say whether it was reached


def test_other_steps_of_a_row_are_context(made: list[Trajectory]) -> None:
    one = next(one for one in made if len(one.steps) > 3)
    (row,) = action_rows([one], frozenset({one.steps[1].id}))
    assert {row.step_of[at] for at, weight in enumerate(row.supervised_weight) if weight} == {1}


def test_arms_begin_alike_and_spend_the_same_updates() -> None:
    told = {name: trial(TINY, ROUNDS[name], 0) for name in ("step judge", "outcome", "outcome, actions only")}
    assert len({one["round 0"] for one in told.values()}) == 1
    assert told["step judge"]["updates"] == TINY.rounds * (TINY.updates + TINY.knowledge_updates)
    assert told["outcome"]["verdicts"] == 1.0
    assert told["step judge"]["verdicts"] > 1.0
    assert list(told["outcome"]) == list(told["step judge"])


def test_a_judge_that_is_never_wrong_labels_everything_right() -> None:
    told = label_trial(replace(TINY, labelled=12), LABELS["step judge 100%"], 0)
    assert told["accuracy"] == told["precision"] == told["recall"] == 1.0


def test_published_reward_formulas() -> None:
    assert point_reward((5, 5), (5, 5), (10, 20)) == 1.0
    assert point_reward((5, 25), (5, 5), (10, 20)) == pytest.approx(0.367879, abs=1e-6)
    assert box_reward((0, 0, 10, 10), (100, 0, 110, 10), (5, 5)) == pytest.approx(0.0)
    assert box_reward((0, 0, 20, 10), (0, 0, 20, 20), (1e9, 1e9)) == pytest.approx(0.8 + 0.2 * 0.5)


def test_brief_names_the_page() -> None:
    assert brief("mail inbox : ann , bob") == "mail inbox"
    assert Kind.ACTION.value == "action"
