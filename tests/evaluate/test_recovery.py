"""Forced wrong steps: the same states for every policy, and shares that say what they should."""

from __future__ import annotations

import pytest

from everystep.core.errors import DataError
from everystep.core.protocols import Generation, Request, Sampling
from everystep.core.records import Action, Stop
from everystep.environments.places.keydoor import KeyDoor
from everystep.environments.reasoning.stepmath import StepMath
from everystep.evaluate.recovery import forced_errors, recovery
from everystep.models.scripted import Scripted
from everystep.run.demonstrate import OracleSampler, demonstrator
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Limits

WORLD = KeyDoor(side=3, horizon=12)
LIMITS = Limits(max_steps=12)
TASKS = [WORLD.task("test", index) for index in range(30)]
MATHS = StepMath(steps=3, operations="+-", mode="choose", choices=8)
SUMS = [MATHS.task("test", index) for index in range(20)]


def test_a_forced_step_comes_no_closer_and_stands_before_the_last() -> None:
    starts = forced_errors(LocalHosts(WORLD), TASKS, limits=LIMITS, seed=3)
    assert len(starts) >= 25
    for one in starts:
        assert one.wrong.scores["progress"] <= 0 < one.right.scores["progress"]
        assert one.wrong.action.valid
        assert one.wrong.action.text != one.right.action.text
        assert one.wrong.observation == one.right.observation
    assert len({len(one.before) for one in starts}) > 2  # at different places
    assert starts == forced_errors(LocalHosts(WORLD), TASKS, limits=LIMITS, seed=3)
    assert starts != forced_errors(LocalHosts(WORLD), TASKS, limits=LIMITS, seed=4)


def test_the_oracle_recovers_and_a_stubborn_policy_does_not() -> None:
    hosts = LocalHosts(WORLD)
    starts = forced_errors(hosts, TASKS, limits=LIMITS)
    right = recovery(hosts, OracleSampler(hosts), starts, limits=Limits(max_steps=24))
    assert (right.starts, right.recovered) == (len(starts), 1.0)
    assert right.noticed is right.false_alarms is None
    assert right.solved == 1.0
    assert all(step.scores["progress"] > 0 for step in (*right.after_wrong, *right.after_right))
    stubborn = Scripted(lambda request: "north")
    assert recovery(hosts, stubborn, starts, limits=LIMITS).recovered < 0.3


def test_going_on_is_from_behind_the_forced_step() -> None:
    hosts = LocalHosts(WORLD)
    starts = forced_errors(hosts, TASKS, limits=LIMITS)
    made = recovery(hosts, OracleSampler(hosts), starts, limits=LIMITS, flagged=lambda _: True)
    for one, start in zip(made.forced, starts, strict=True):
        assert one.steps[: len(start.before) + 1] == (*start.before, start.wrong)
    for one, start in zip(made.plain, starts, strict=True):
        assert one.steps[: len(start.before) + 1] == (*start.before, start.right)
        assert one.success


def test_flags_and_false_alarms_are_counted_on_the_next_step() -> None:
    hosts = LocalHosts(MATHS)
    starts = forced_errors(hosts, SUMS, limits=Limits(max_steps=9))

    def back(action: Action) -> bool:
        return action.text.endswith("back")

    found = recovery(hosts, OracleSampler(hosts), starts, limits=Limits(max_steps=9), flagged=back)
    assert (found.noticed, found.false_alarms, found.recovered) == (1.0, 0.0, 1.0)
    always = Scripted(lambda request: "thought: that was wrong\nstep: back")
    found = recovery(hosts, always, starts, limits=Limits(max_steps=9), flagged=back)
    assert (found.noticed, found.false_alarms, found.recovered) == (1.0, 1.0, 0.0)
    blind = Scripted(lambda request: request.allowed[0] if request.allowed else "")
    some = recovery(hosts, blind, starts, limits=Limits(max_steps=9), flagged=back)
    assert some.noticed is not None
    assert some.noticed < 1.0


def test_a_clumsy_oracle_recovers_less_often_than_a_sure_one() -> None:
    hosts = LocalHosts(WORLD)
    starts = forced_errors(hosts, TASKS, limits=LIMITS)
    clumsy = recovery(hosts, demonstrator(hosts, error_rate=0.5), starts, limits=Limits(max_steps=14))
    assert 0.0 < clumsy.recovered < 1.0


def test_a_world_without_wrong_steps_is_named() -> None:
    world = StepMath(steps=3)  # mode free lists no actions
    with pytest.raises(DataError, match="propose"):
        forced_errors(LocalHosts(world), [world.task("test", 0)], limits=Limits(max_steps=9))


def test_episodes_that_break_are_left_out() -> None:
    hosts = LocalHosts(WORLD)
    starts = forced_errors(hosts, TASKS, limits=LIMITS)

    class Broken(OracleSampler):
        def sample(self, requests: list[Request], sampling: Sampling) -> list[Generation]:  # type: ignore[override]
            answers = super().sample(requests, sampling)
            gone = Generation(text="", stop=Stop.ERROR, error="gone")
            return [
                gone if one.session == "forced.0" else answer
                for one, answer in zip(requests, answers, strict=True)
            ]

    found = recovery(hosts, Broken(hosts), starts, limits=Limits(max_steps=24))
    assert (found.starts, found.recovered) == (len(starts) - 1, 1.0)
