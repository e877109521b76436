from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from everystep.core.errors import ConfigError, JudgeError
from everystep.core.protocols import Environment, Judge, Situation
from everystep.core.records import Level, Task, Trajectory, Verdict
from everystep.environments.code.intercode_sql import InterCodeSQL
from everystep.environments.places.hanoi import Hanoi
from everystep.verify.evidence import step_evidence
from everystep.verify.execute import ByOracle, Executed, executable, raised
from everystep.verify.judging import judged
from everystep.verify.live import live
from verify.stored import played, written


def verdicts(judge: Judge, trajectory: Trajectory) -> list[Verdict]:
    async def all_() -> list[Verdict]:
        return [one async for (one,) in judged([trajectory], judge)]

    return asyncio.run(all_())


def hanoi_run(mistake: bool) -> tuple[Hanoi, Trajectory]:
    world = Hanoi(disks=3, start_from="full")
    environment, task = world.make(), world.task("train", 0)
    seen = environment.reset(task)
    actions = []
    for index in range(12):
        best = environment.oracle()
        others = [one for one in seen.admissible or () if one != best]
        text = others[0] if mistake and index == 2 else best
        actions.append(text)
        found = environment.step(environment.parse(text))
        seen = found.observation
        if found.terminated:
            break
    return world, played(environment, task, actions)


def test_the_oracle_finds_the_step_that_was_not_the_best() -> None:
    world, good = hanoi_run(mistake=False)
    _, bad = hanoi_run(mistake=True)
    for distance in (False, True):
        judge = ByOracle(make=lambda _: world.make(), distance=distance)
        assert [one.score for one in verdicts(judge, good)] == [1.0] * len(good.steps)
        found = [one.score for one in verdicts(judge, bad)]
        assert found.index(0.0) == 2
        assert found.count(0.0) == 1
        judge.close()


class Counted:
    """An environment that counts its acts."""

    def __init__(self, inner: Environment) -> None:
        self.inner, self.acts = inner, 0

    def reset(self, task: Task) -> object:
        return self.inner.reset(task)

    def parse(self, text: str) -> object:
        return self.inner.parse(text)

    def step(self, action: object) -> object:
        self.acts += 1
        return self.inner.step(action)  # type: ignore[arg-type]

    def oracle(self) -> str:
        return self.inner.oracle()  # type: ignore[attr-defined, no-any-return]

    def close(self) -> None:
        self.inner.close()


def test_steps_judged_in_order_cost_one_act_each() -> None:
    world, good = hanoi_run(mistake=False)
    counted = Counted(world.make())
    verdicts(ByOracle(make=lambda _: counted), good)  # type: ignore[arg-type, return-value]
    assert counted.acts == len(good.steps)


def test_a_state_that_cannot_be_rebuilt_gives_no_verdict() -> None:
    world, good = hanoi_run(mistake=False)
    step = good.steps[1]
    other = replace(step, observation=replace(step.observation, anchor="another state"))
    moved = replace(good, steps=(good.steps[0], other, *good.steps[2:]))
    judge = ByOracle(make=lambda _: world.make())
    rest = Executed(make=lambda _: world.make(), good=executable)

    async def lone() -> None:
        *_, second = list(step_evidence(moved, judge.looks))[:2]
        await judge.judge(Level.STEP, second)

    with pytest.raises(JudgeError, match="did not lead to the state"):
        asyncio.run(lone())
    assert [one.score for one in verdicts(rest, good)] == [1.0] * len(good.steps)


def test_sql_is_judged_by_running_it() -> None:
    world = InterCodeSQL()
    task = world.task("train", 0)
    environment = world.make()
    trajectory = played(environment, task, ["SELECT nonsense FROM nowhere", str(task.reference), "submit"])
    found = verdicts(
        Executed(make=lambda _: world.make(), good=raised("overlap"), name="overlap"), trajectory
    )
    assert [one.score for one in found] == [0.0, 1.0, 1.0]
    valid = verdicts(Executed(make=lambda _: world.make(), good=executable), trajectory)
    assert [one.score for one in valid] == [0.0, 1.0, 1.0]
    assert "nowhere" in (valid[0].reason or "")


def test_a_state_is_not_rebuilt_from_a_part_of_its_steps() -> None:
    world, good = hanoi_run(mistake=False)
    judge = ByOracle(make=lambda _: world.make())
    short = replace(judge.looks, actions=2)
    *_, last = step_evidence(good, short)
    with pytest.raises(JudgeError, match="without the steps from the start"):
        asyncio.run(judge.judge(Level.STEP, last))
    situation = Situation(
        run="r", task=good.task, node="", goal="", step="s", index=3, observation=good.steps[3].observation
    )  # fmt: skip
    found = asyncio.run(live(judge).check(situation, good.steps[3].action, None))
    assert found.score is None
    assert "without the steps from the start" in (found.reason or "")


def test_what_cannot_be_executed_is_refused() -> None:
    world, good = hanoi_run(mistake=False)
    judge = Executed(make=lambda _: world.make(), good=executable)
    with pytest.raises(ConfigError, match="single steps"):
        asyncio.run(judge.judge(Level.PAIR, None))  # type: ignore[arg-type]
    longer = replace(good, steps=(*good.steps, replace(written(["x"]).steps[0], id="p/99")))
    assert verdicts(judge, longer)[-1].label == "failed"
