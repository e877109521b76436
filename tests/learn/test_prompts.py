"""Steps as prompts of their own: what is trained, what is compared with what, and what stands in the context only."""

from __future__ import annotations

import math

import pytest

from everystep.core.errors import LearnerError
from everystep.core.protocols import Loss, Sampling
from everystep.core.records import SpanKind, Trajectory
from everystep.credit.assess import assess
from everystep.credit.estimators import estimator
from everystep.environments.places.keydoor import KeyDoor
from everystep.learn.prompts import candidates_of, last_step_scores, prompts_of
from everystep.learn.samples import sample_of
from everystep.learn.setup import texts_of
from everystep.learn.student import Student
from everystep.run.branch import branch_all
from everystep.run.demonstrate import demonstrator
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Limits, jobs_of, rollout

WORLD = KeyDoor(side=3, horizon=6)
TASKS = [WORLD.task("train", index) for index in range(3)]


@pytest.fixture(scope="module")
def student() -> Student:
    hosts = LocalHosts(WORLD)
    shown = rollout(
        hosts,
        demonstrator(hosts),
        jobs_of(TASKS, group_size=1, prefix="d", seed=0),
        sampling=Sampling(),
        limits=Limits(max_steps=6),
    )
    return Student.begin(WORLD, texts_of(shown), size="0.02M")


def forced(student: Student) -> list[Trajectory]:
    return student.attempt_from(prompts_of(student.demonstrate(TASKS)), group_size=4, steps=1)


def own(student: Student) -> list[Trajectory]:
    walks = branch_all(
        student.hosts,
        student.sampler(),
        jobs_of(TASKS, group_size=1, prefix="o", seed=1),
        width=4,
        choose=lambda tried: [0] * len(tried),
        sampling=Sampling(),
        limits=student.limits,
    )
    assert [len(walk.tried) for walk in walks] == [len(walk.trajectory.steps) for walk in walks]
    return [one for walk in walks for one in candidates_of(walk)]


@pytest.mark.parametrize("way", [forced, own])
def test_a_row_is_a_silent_history_and_one_sampled_step(student: Student, way: object) -> None:
    made: list[Trajectory] = way(student)  # type: ignore[operator]
    assert len({one.id for one in made}) == len(made)
    for number, one in enumerate(made):
        first = made[number - number % 4]
        assert one.group == first.group  # four of a prompt, side by side
        assert [step.action.text for step in one.steps[:-1]] == [
            step.action.text for step in first.steps[:-1]
        ]
        sample = sample_of(one, [1.0] * len(one.steps))
        trained = {step for step, weight in zip(sample.step_of, sample.policy_weight, strict=True) if weight}
        assert trained <= {len(one.steps) - 1}
        spans = one.steps[-1].tokens.spans if one.steps[-1].tokens else ()
        assert any(span.kind is SpanKind.SAMPLED and span.weight == 1 for span in spans)
    assert len({one.group for one in made}) == len(made) // 4


@pytest.mark.parametrize("way", [forced, own])
def test_only_the_last_steps_of_one_prompt_are_compared(student: Student, way: object) -> None:
    made: list[Trajectory] = way(student)  # type: ignore[operator]
    rewards = [float(number % 4 == 1) for number in range(len(made))]
    table, credit = assess(
        made, estimator("step_grpo", score="step"), scores={"step": last_step_scores(made, rewards)}
    )
    last = [
        at
        for at in range(table.size)
        if at + 1 == table.size or table.trajectory_S[at + 1] != table.trajectory_S[at]
    ]
    history = [at for at in range(table.size) if at not in set(last)]
    assert not credit.known_S[history].any()
    assert not credit.value_S[history].any()
    assert credit.value_S[last].tolist() == pytest.approx([1.5 if one else -0.5 for one in rewards], abs=1e-5)
    assert credit.terms[0].statistics.entries_K.tolist() == [4] * (len(made) // 4)


def test_the_singleton_rule_has_no_effect_on_full_groups_and_leaks_the_reward_of_a_lone_sample(
    student: Student,
) -> None:
    made = forced(student)
    for some, same in ((made, True), (made[::4], False)):
        scores = {"step": last_step_scores(some, [0.3 + 0.1 * (number % 4) for number in range(len(some))])}
        paper, released = (
            assess(some, estimator("step_grpo", variant, score="step"), scores=scores)[1].value_S
            for variant in ("paper", "released")
        )
        assert (paper.tolist() == released.tolist()) == same
        if not same:
            assert not paper.any()
            assert set(released.round(3)) == {0.0, 0.3, 0.4, 0.5, 0.6}


def test_a_better_step_becomes_likelier(student: Student) -> None:
    pupil = student.copy()
    starts = prompts_of(pupil.demonstrate(TASKS[:1]))[:1]
    for _ in range(12):
        made = pupil.attempt_from(starts, group_size=16, steps=1)
        wanted = [float(one.steps[0].action.text == "east") for one in made]
        pupil.reinforce(
            made, estimator("step_grpo", score="step"), Loss(), learning_rate=3e-3,
            scores={"step": last_step_scores(made, wanted)},
        )  # fmt: skip
        if 0 < sum(wanted) < len(wanted):
            before = sum(wanted)
    made = pupil.attempt_from(starts, group_size=16, steps=1)
    assert sum(one.steps[0].action.text == "east" for one in made) >= min(before, 14)
    assert all(len(one.steps) == 1 for one in made)


def test_scores_are_one_a_trajectory(student: Student) -> None:
    made = forced(student)
    scores = last_step_scores(made, range(len(made)))
    assert len(scores) == sum(len(one.steps) for one in made)
    assert [one for one in scores if not math.isnan(one)] == list(range(len(made)))
    with pytest.raises(LearnerError, match="one for each"):
        last_step_scores(made, [1.0])
