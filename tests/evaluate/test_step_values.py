"""Step values on worlds whose values are known by hand, and branches that converge to them."""

from __future__ import annotations

import numpy as np
import pytest

from everystep.core.errors import ConfigError, WorldError
from everystep.core.protocols import Sampling
from everystep.core.records import Action, End, Observation, Step, Task, Trajectory
from everystep.environments.places.keydoor import KeyDoor
from everystep.environments.tooluse.toolchain import ToolChain
from everystep.evaluate.step_values import (
    Graph,
    advantages,
    branched_values,
    exact_values,
    explore,
    noisy_values,
)
from everystep.run.demonstrate import demonstrator
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Job, Limits, jobs_of, rollout

TWO_STEPS = Graph(  # right, right earns 1; wrong ends it
    number={"first": 0, "second": 1},
    source_E=np.array([0, 0, 1, 1]),
    target_E=np.array([1, -1, -1, -1]),
    reward_E=np.array([0.0, 0.0, 1.0, 0.0]),
    right_E=np.array([1.0, 0.0, 1.0, 0.0]),
    turns=2,
)


def walk(*steps: tuple[str, float]) -> Trajectory:
    made = tuple(
        Step(
            id=f"s{n}",
            parent=None,
            index=n,
            observation=Observation(text=anchor, anchor=anchor),
            action=Action(text="a"),
            reward=reward,
        )
        for n, (anchor, reward) in enumerate(steps)
    )
    task = Task(id="t", instruction="", environment="two_steps")
    return Trajectory(id="w", task=task, group="g", steps=made, end=End.DONE, outcome=1.0)


def test_the_two_step_world_by_hand() -> None:
    value = noisy_values(TWO_STEPS, 0.2)
    assert value[2, 0] == pytest.approx(0.64)
    assert value[1, 1] == pytest.approx(0.8)
    solved = walk(("first", 0.0), ("second", 1.0))
    assert advantages(solved, exact_values(solved, TWO_STEPS, value)) == pytest.approx([0.16, 0.2])
    lost = walk(("first", 0.0), ("second", 0.0))
    assert advantages(lost, exact_values(lost, TWO_STEPS, value)) == pytest.approx([0.16, -0.8])
    lost_at_once = walk(("first", 0.0))
    assert advantages(lost_at_once, exact_values(lost_at_once, TWO_STEPS, value)) == pytest.approx([-0.64])


def test_a_state_from_elsewhere_is_refused() -> None:
    with pytest.raises(WorldError, match="does not have"):
        exact_values(walk(("elsewhere", 0.0)), TWO_STEPS, noisy_values(TWO_STEPS, 0.2))


def test_without_errors_a_solvable_task_is_worth_its_reward() -> None:
    world = KeyDoor(side=3, horizon=12)
    value = noisy_values(explore(world, world.task("train", 0)), 0.0)
    assert value[12, 0] == 10.0
    assert value[1, 0] == 0.0


@pytest.mark.parametrize("world", [KeyDoor(side=3, horizon=8), ToolChain(turns=2, choices=3, horizon=4)])
def test_advantages_add_up_to_the_outcome_less_the_value_of_the_start(world: KeyDoor | ToolChain) -> None:
    task = world.task("train", 1)
    graph = explore(world, task)
    value = noisy_values(graph, 0.4)
    hosts = LocalHosts(world)
    jobs = jobs_of([task], group_size=6, prefix="x", seed=3)
    runs = rollout(
        hosts,
        demonstrator(hosts, error_rate=0.4),
        jobs,
        sampling=Sampling(),
        limits=Limits(max_steps=world.max_steps),
    )
    assert len({run.outcome for run in runs}) > 1
    for run in runs:
        values = exact_values(run, graph, value)
        assert advantages(run, values).sum() == pytest.approx(
            (run.outcome or 0.0) - value[world.max_steps, 0]
        )


def test_the_policy_gains_nothing_on_average() -> None:
    """Under the policy itself the advantages of a state's actions have mean 0: so do the first steps of many runs."""
    world = KeyDoor(side=3, horizon=8)
    task = world.task("train", 4)
    graph = explore(world, task)
    value = noisy_values(graph, 0.5)
    hosts = LocalHosts(world)
    jobs = jobs_of([task], group_size=400, prefix="x", seed=0)
    runs = rollout(
        hosts, demonstrator(hosts, error_rate=0.5), jobs, sampling=Sampling(), limits=Limits(max_steps=8)
    )
    first = [advantages(run, exact_values(run, graph, value))[0] for run in runs]
    assert np.std(first) > 0.1
    assert abs(np.mean(first)) < 4 * np.std(first) / 20


def test_branches_of_the_live_world_converge_to_the_exact_values() -> None:
    world = KeyDoor(side=3, horizon=8)
    task = world.task("train", 0)
    graph = explore(world, task)
    hosts = LocalHosts(world)
    sampler = demonstrator(hosts, error_rate=0.5)
    job = Job(id="trunk", task=task, group="g", seed=5)
    settings = {"sampling": Sampling(), "limits": Limits(max_steps=8)}
    trunk = rollout(hosts, sampler, [job], **settings)[0]  # type: ignore[arg-type]
    exact = exact_values(trunk, graph, noisy_values(graph, 0.5))
    found = branched_values(hosts, sampler, trunk, copies=100, seed=1, **settings)  # type: ignore[arg-type]
    assert found.values.shape == exact.shape
    assert found.values[-1] == 0.0
    assert np.abs(found.values - exact).max() < 4 * 5.0 / 10  # a share times 10 deviates by 5 at most
    assert len(found.branches) == len(trunk.steps)
    with pytest.raises(ConfigError, match="copies"):
        branched_values(hosts, sampler, trunk, copies=0, seed=1, **settings)  # type: ignore[arg-type]


def test_worlds_without_listed_actions_and_huge_ones_are_refused() -> None:
    free = ToolChain(turns=2, mode="free")
    with pytest.raises(WorldError, match="lists no actions"):
        explore(free, free.task("train", 0))
    wide = ToolChain(turns=3, choices=4)
    with pytest.raises(ConfigError, match="more than 20 states"):
        explore(wide, wide.task("train", 0), limit=20)
