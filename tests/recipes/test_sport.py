"""SPORT on a tiny setting: what its verifiers see and say, equal executed candidates, and labels that are counted against known values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from everystep.core.protocols import Sampling
from everystep.core.records import Step, Trajectory
from everystep.models.scripted import Scripted
from everystep.recipes.sport import (
    ARMS,
    Config,
    judged_good,
    progress,
    run,
    sampled_steps,
    step_verifier,
    warm,
    world_of,
    worth,
)
from everystep.run.branch import Branched, branch
from everystep.run.folder import RunFolder
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Job, Limits
from everystep.verify.evidence import sibling_evidence

TINY = Config(
    turns=1, size="0.02M", demonstrations=12, warm_updates=3, rounds=1, executed=20, block=1, width=2, minibatches=1,
    test_tasks=2, seeds=1,
)  # fmt: skip


def branched(config: Config, texts: list[str]) -> Branched:
    """One state of a free ToolChain in which each of ``texts`` is tried."""
    world = world_of(config)
    sampler = Scripted(lambda request: texts[int(request.session.rpartition("~")[2])])
    return branch(
        LocalHosts(world), sampler, Job(id="j", task=world.task("train", 0), group="g"), width=len(texts),
        choose=step_verifier(config, 0), sampling=Sampling(), limits=Limits(max_steps=1), constrain=False,
    )  # fmt: skip


def candidates() -> list[str]:
    task = world_of(TINY).task("train", 0)
    right = world_of(TINY)
    return [
        "answer 9 9 9",
        "call nonsense",
        "call lookup ( item = nothing )",
        right.oracle(right.start(task)),
    ]


def test_the_verifier_prefers_progress_and_a_wrong_answer_least() -> None:
    found = branched(replace(TINY, wrong=0.0), candidates())
    steps = found.tried[0].steps
    assert [worth(step) for step in steps] == [-1.0, 0.0, 0.0, 1.0]
    assert found.trajectory.steps[0] is steps[3]
    said = [progress_of(found, step) for step in steps]
    assert said[3] == max(said)
    assert said[0] == min(said)
    assert said[1] == said[2] == 0.25


def progress_of(found: Branched, step: Step) -> float:
    judge = step_verifier(TINY, 0).judge
    said = progress(sibling_evidence(found.tried[0].task, (), (step,), judge.looks, results=(None,)))
    assert isinstance(said, float)
    return said


def test_the_verifier_says_what_it_saw_and_when() -> None:
    choose = step_verifier(TINY, 0)
    assert choose.judge.looks.result
    assert not choose.judge.looks.sees_future
    branched_with = branched(replace(TINY, wrong=1.0), candidates())
    assert branched_with.trajectory.steps[0] is not branched_with.tried[0].steps[3]  # it always errs


def test_chains_are_judged_by_their_outcome_with_errors_at_the_rate() -> None:
    one = branched(replace(TINY, wrong=0.0), candidates()).trajectory
    chains = [replace(one, id=f"c{n}", outcome=float(n % 2)) for n in range(2000)]

    def right(config: Config) -> float:
        said = judged_good(config, 0, chains)
        return sum(good == (chain.outcome == 1.0) for good, chain in zip(said, chains, strict=True)) / len(
            chains
        )

    assert right(replace(TINY, wrong=0.0)) == 1.0
    assert right(replace(TINY, wrong=0.2)) == pytest.approx(0.8, abs=0.03)
    half: Trajectory = replace(one, id="half", outcome=0.5)  # a part of the way is no success
    assert judged_good(replace(TINY, wrong=0.0), 0, [half]) == [False]


def test_every_arm_executes_the_same_number_of_candidates_up_to_a_block() -> None:
    most = TINY.block * TINY.width * world_of(TINY).max_steps
    for name, arm in ARMS.items():
        student = warm(TINY, 0).copy()
        arm(TINY, student, 0, 0)
        assert TINY.executed <= student.ledger.environment_steps < TINY.executed + most, name
        first = student.ledger.environment_steps
        arm(TINY, student, 1, 0)
        assert first < student.ledger.environment_steps < 2 * TINY.executed + most, name


def test_steps_are_tried_from_one_snapshot() -> None:
    student = warm(TINY, 0).copy()
    found, choose = sampled_steps(TINY, student, 0, 0)
    states = [state for one in found for state in one.tried]
    assert len(choose.verdicts) == len(states)
    assert states
    for state in states:
        assert len({step.observation.text for step in state.steps}) == 1
        assert len({step.observation.anchor for step in state.steps}) == 1


def test_all_arms_run(tmp_path: Path) -> None:
    told = run(TINY, RunFolder(path=tmp_path / "r"))
    assert set(told) == {
        f"{key} {arm}"
        for key in ("success", "tool_choice", "labels_right")
        for arm in (*ARMS, "SPORT, one round")
    }
    assert all(0.0 <= value <= 1.0 for value in told.values())
