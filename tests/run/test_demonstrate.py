"""Demonstrators: what a habit does, and where it does no harm."""

from __future__ import annotations

from dataclasses import replace

import pytest

from everystep.core.errors import WorldError
from everystep.core.protocols import Sampling
from everystep.core.records import Trajectory
from everystep.environments.tooluse.toolchain import ToolChain
from everystep.run.demonstrate import demonstrator, oracle_answers
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Limits, jobs_of, rollout
from fragile import Fragile

WORLD = ToolChain(turns=3, choices=4, answers=4, shown=True)


def shown(*, error_rate: float, habit: str | None) -> list[Trajectory]:
    hosts = LocalHosts(WORLD)
    jobs = jobs_of([WORLD.task("train", index) for index in range(40)], group_size=1, prefix="d", seed=0)
    return rollout(
        hosts,
        demonstrator(hosts, error_rate=error_rate, habit=habit),
        jobs,
        sampling=Sampling(),
        limits=Limits(max_steps=12),
    )


def test_a_habit_may_be_how_actions_begin() -> None:
    episodes = shown(error_rate=1.0, habit="answer")
    actions = [one.steps[0].action.text for one in episodes]
    assert all(text.startswith("answer ") for text in actions)
    assert all(len(one.steps) == 1 for one in episodes)
    places = [
        [text for text in one.steps[0].observation.admissible or () if text.startswith("answer")].index(text)
        for one, text in zip(episodes, actions, strict=True)
    ]
    assert set(places) == {0, 1, 2, 3}


def test_a_habit_does_no_harm_where_it_is_right_or_cannot_be_followed() -> None:
    for one in shown(error_rate=0.5, habit="answer"):
        if one.task.reference_calls is not None and len(one.steps) > len(one.task.reference_calls):
            assert one.success  # the answer at the end is never a wrong one
    right = [[step.action.text for step in one.steps] for one in shown(error_rate=0.0, habit=None)]
    assert [[step.action.text for step in one.steps] for one in shown(error_rate=1.0, habit="dance")] == right


def test_without_a_habit_errors_are_random() -> None:
    actions = {step.action.text.split()[0] for one in shown(error_rate=1.0, habit=None) for step in one.steps}
    assert actions == {"answer", "call"}
    assert not all(one.success for one in shown(error_rate=1.0, habit=None))


def test_the_oracle_says_what_would_have_been_right_at_each_step() -> None:
    env = WORLD.make()
    for one in shown(error_rate=0.0, habit=None)[:5]:
        assert oracle_answers(env, one) == tuple(step.action.text for step in one.steps)
    for one in shown(error_rate=0.5, habit=None)[:20]:
        answers = oracle_answers(env, one)
        for at, answer in enumerate(answers):
            env.reset(one.task)
            for step in one.steps[:at]:
                env.step(env.parse(step.action.text))
            assert env.oracle() == answer
    first, other = shown(error_rate=0.0, habit=None)[:2]
    with pytest.raises(WorldError, match="replay differs"):
        oracle_answers(env, replace(first, task=other.task))
    with pytest.raises(WorldError, match="no oracle"):
        oracle_answers(Fragile().make(), first)
