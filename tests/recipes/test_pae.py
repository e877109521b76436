"""PAE's arms: where goals come from, what a goal costs that cannot be tried, and what the evaluator lets through."""

from __future__ import annotations

from everystep.environments.screengrid.world import ScreenGrid
from everystep.recipes.pae import ARMS, Arm, Config, goals_of, trial

TINY = Config(
    size="0.02M",
    demonstrations=24,
    warm_updates=3,
    goals=40,
    rounds=1,
    attempts=24,
    updates=2,
    test_tasks=4,
    seeds=1,
)


def test_goals_that_people_wrote_are_never_proposed_and_the_document_helps() -> None:
    world = ScreenGrid(apps=TINY.apps)
    written = {world.task("written", index).reference for index in range(world.size("written") or 0)}
    feasible = {}
    for name in ("given tasks", "proposer", "proposer with document"):
        goals = goals_of(world, ARMS[name], 200, 0)
        assert len(goals) == 200
        tasks = [one for one in goals if one is not None]
        assert not written & {one.reference for one in tasks}
        feasible[name] = len(tasks) / len(goals)
    assert feasible["given tasks"] == 1.0
    assert feasible["proposer"] < feasible["proposer with document"]


def test_arms_spend_the_same_and_an_evaluator_errs_as_stated() -> None:
    right, wrong = (trial(TINY, ARMS[name], 0) for name in ("proposer with document", "evaluator errs 50 %"))
    assert right["false"] == 0.0
    assert wrong["false"] > 0.2
    budget = TINY.rounds * TINY.attempts * ScreenGrid().max_steps // 2
    for one in (right, wrong):
        assert budget <= one["environment_steps"] < budget + TINY.attempts * ScreenGrid().max_steps


def test_an_arm_without_learning_only_tests() -> None:
    told = trial(TINY, Arm(given=True, learns=False), 0)
    assert told["environment_steps"] == 0.0
