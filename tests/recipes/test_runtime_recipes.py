"""The runtime's recipes on tiny settings: each beats what its card says it beats, and errs where it must."""

from __future__ import annotations

from pathlib import Path

import pytest

from everystep.environments.places.workbench import Workbench
from everystep.environments.places.workbench_skill import reached, subgoals
from everystep.recipes import agentic_robot, being_0, maker, maker_recursive
from everystep.run.folder import RunFolder


def folder(path: Path) -> RunFolder:
    return RunFolder(path=path)


def test_maker_solves_what_one_sample_cannot_and_finds_the_states_that_no_margin_saves(
    tmp_path: Path,
) -> None:
    config = maker.Config(disks=6, hard=0.06, probed=63, samples=25, seeds=3)
    solved = maker.run(config, folder(tmp_path))
    assert solved["solved one sample"] == 0
    assert solved["solved voted"] == 1
    assert solved["solved hard states"] == 0


def test_the_recursive_variant_is_right_where_a_single_chain_is_not(tmp_path: Path) -> None:
    right = maker_recursive.run(maker_recursive.Config(digits=4, seeds=4, margins=(1, 3)), folder(tmp_path))
    assert right["right recursive, k=3"] == 1
    assert right["right recursive, k=1"] < 0.5


def test_looking_beats_counting_and_a_bad_look_costs(tmp_path: Path) -> None:
    done = agentic_robot.run(agentic_robot.Config(things=(3,), seeds=6), folder(tmp_path))
    assert done["done_3 verifier, recovery"] > done["done_3 8 steps each"]
    assert done["done_3 verifier, recovery"] >= done["done_3 30 % false yes, recovery"]


def test_the_connector_reaches_what_the_direct_planner_does_not(tmp_path: Path) -> None:
    done = being_0.run(being_0.Config(things=(2,), seeds=6), folder(tmp_path))
    assert done["done_2 connector"] > done["done_2 direct"]


@pytest.mark.parametrize("things", [1, 3])
def test_the_workbench_is_solved_by_its_oracle_through_slips_and_falls(things: int) -> None:
    world = Workbench(things=things, slip=0.3, drop=0.1)
    environment = world.make()
    for index in range(5):
        task = world.task("test", index)
        seen, over = environment.reset(task), False
        while not over:
            done = environment.step(environment.parse(environment.oracle()))
            seen, over = done.observation, done.terminated or done.truncated
        assert done.success
        assert all(
            reached(seen.info, goal) for goal in subgoals(task.instruction) if goal.startswith("place")
        )
