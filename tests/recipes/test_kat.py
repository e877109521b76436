"""KAT: what is forced is never trained, decision and answer have gradients of their own, all arms cost the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from everystep.core.protocols import Loss
from everystep.core.records import SpanKind, Trajectory
from everystep.credit.estimators import estimator
from everystep.environments.reasoning.thinkmath import (
    ANSWER,
    DECISION,
    ThinkMath,
    force_of,
    forced,
    mode_of,
    segment_of,
    words,
)
from everystep.learn.samples import sample_of, supervised_sample
from everystep.learn.student import Student
from everystep.recipes.kat import ARMS, SRPO, Arm, Config, jobs_for, marked, run, segment_scores, written
from everystep.run.folder import RunFolder
from everystep.run.rollout import jobs_of

WORLD = ThinkMath(easy=2, low=3, high=4)
LOSS = Loss(aggregate="sum")


@pytest.fixture(scope="module")
def student() -> Student:
    """A model that has imitated for a moment, so that it sometimes is right."""
    made = Student.begin(WORLD, words(), size="0.02M", seed=1, max_tokens=24, context=128)
    shown = made.demonstrate([WORLD.task("train", index) for index in range(60)])
    made.imitate([supervised_sample(one) for one in shown], updates=40)
    return made


def attempts(student: Student, arm: Arm = SRPO) -> list[Trajectory]:
    jobs = jobs_of([WORLD.task("train", index) for index in range(6)], group_size=8, prefix="x", seed=3)
    tried = [marked(one) for one in student.copy().run(jobs_for(arm, jobs))]
    # rewards by lot: what is tested are segments, not what this model can do
    lot = np.random.default_rng(5).random(len(tried)) < 0.5
    return [replace(one, success=bool(won)) for one, won in zip(tried, lot, strict=True)]


def gradient(
    student: Student, tried: list[Trajectory], scores: dict[str, np.ndarray], *, carry: float
) -> np.ndarray:
    split = estimator("step_srpo", judge_segment=DECISION, answer_segment=ANSWER, carry=carry)
    made = student.copy()
    made.learner.forward_backward(
        made.credited(tried, split, scores=scores, segment=segment_of).samples, LOSS
    )
    return made.learner.gradient()


def test_half_of_a_group_is_forced_to_either_mode(student: Student) -> None:
    tried = attempts(student)
    for place in range(0, len(tried), 8):
        group = tried[place : place + 8]
        assert len({(one.task.id, one.group) for one in group}) == 1
        assert [force_of(one.task) for one in group] == ["on", "off", "on", "off", "", "", "", ""]
    for one in tried:
        assert force_of(one.task) in ("", mode_of(one.steps[0]))
    assert {force_of(one.task) for one in attempts(student, ARMS["never think"])} == {"off"}
    assert {force_of(one.task) for one in attempts(student, ARMS["GRPO"])} == {""}


def test_a_forced_tag_is_context(student: Student) -> None:
    for one in attempts(student):
        tokens = one.steps[0].tokens
        assert tokens is not None
        kinds = {span.kind for span in tokens.spans}
        assert (SpanKind.FORCED in kinds) == bool(force_of(one.task))
        sample = sample_of(one, [1.0, 1.0])
        tag = student.model.template.encode(f" {mode_of(one.steps[0])}")[-1]
        place = max(at for at, token in enumerate(sample.ids[: len(tokens.ids)]) if token == tag)
        assert (sample.policy_weight[place] == 0.0) == bool(force_of(one.task))


def test_a_forced_decision_has_no_gradient(student: Student) -> None:
    tried = [one for one in attempts(student) if force_of(one.task)]
    scores = segment_scores(tried, delta=0.1)
    split = estimator("step_srpo", judge_segment=DECISION, answer_segment=ANSWER)
    made = student.copy().credited(tried, split, scores=scores, segment=segment_of)
    for sample in made.samples:
        decided = [a for a, step in zip(sample.advantage, sample.step_of, strict=True) if step == 0]
        assert not any(decided)
    assert any(any(sample.advantage) for sample in made.samples)


def test_with_a_constant_judge_reward_the_decision_has_the_carried_gradient_only(student: Student) -> None:
    tried = attempts(student)
    scores = segment_scores(tried, delta=0.1, judged=False)
    assert set(scores["judge"][~np.isnan(scores["judge"])]) <= {0.0}
    full, half, none = (gradient(student, tried, scores, carry=carry) for carry in (1.0, 0.5, 0.0))
    assert np.abs(full - none).max() > 1e-4
    assert np.allclose(half - none, 0.5 * (full - none), atol=1e-6)
    answers = {
        **scores,
        "answer": np.where(
            [segment_of(s) == ANSWER for o in tried for s in o.steps], scores["answer"], np.nan
        ),
    }
    assert np.allclose(gradient(student, tried, answers, carry=1.0), none, atol=1e-7)


def test_scores_of_segments_by_hand(student: Student) -> None:
    made = attempts(student)[:8]
    free = [one for one in made if not force_of(one.task)]
    passed = {"on": True, "off": False}
    tried = [replace(one, success=passed[str(mode_of(one.steps[0]))]) for one in made]
    scores = segment_scores(tried, delta=0.1)
    judge, answer = scores["judge"].reshape(-1, 2), scores["answer"].reshape(-1, 2)
    assert np.isnan(judge[:4]).all()
    assert np.isnan(answer[:4, 0]).all()
    assert np.isnan(judge[:, 1]).all()
    assert judge[4:, 0].tolist() == [1.0 if mode_of(one.steps[0]) == "on" else -1.0 for one in free]
    assert answer[:, 1].tolist() == [float(passed[str(mode_of(one.steps[0]))]) for one in tried]


def test_tokens_count_what_the_model_wrote(student: Student) -> None:
    task = forced(WORLD.task("train", 0), "off")
    shown = student.demonstrate([task])[0]
    assert written(shown) == sum(
        len(student.model.template.encode(step.action.text)) + 1 for step in shown.steps
    )


def test_the_studies_run_and_all_arms_cost_the_same(tmp_path: Path) -> None:
    config = Config(
        size="0.02M", easy=1, low=2, high=3, chain_updates=20, dual_updates=20, labelled=8, votes=2, cold_updates=4,
        iterations=2, tasks=3, pool=6, test_tasks=8, student="0.02M", distil_updates=8, seeds=1,
    )  # fmt: skip
    told = run(config, RunFolder(path=tmp_path / "run"))
    assert {f"accuracy {name}" for name in ARMS} <= told.keys()
    results = json.loads((tmp_path / "run" / "modes" / "results.json").read_text())["arms"]
    for name, arm in ARMS.items():
        values = results[name]["values"]
        assert values["episodes"] == [2 * 3 * 8 if arm.trained else 0]
        assert values["updates"] == [2.0 if arm.trained else 0.0]
    assert told["divergence main head"] > 0
    assert (tmp_path / "run" / "pareto.svg").exists()
