"""PAE (S20): a proposer writes tasks, the agent tries them, an evaluator says which succeeded, and the agent imitates the shortest of those.

Paper: Proposer-Agent-Evaluator (PAE): Autonomous Skill Discovery for Foundation Model Internet Agents (arXiv:2412.13194). Claim: skills found this way carry over to
tasks that people wrote; a proposer that knows the site (from demonstrations) proposes better ones.

Certain (released code): tasks are fixed before learning starts; the evaluator gives 0 or 1 at the end; imitation of the whole replay, per task with several successes
those of at most the 20th percentile of their lengths (``learn.replay``), thoughts included. Ours: the world (ScreenGrid), a proposer that fills patterns and stands for a
model, its document in the place of demonstrations, an evaluator that is right but for a stated share of failures that it calls successes; a goal that the world cannot
offer is tried all the same: it costs the steps of a failed attempt. The agent begins with a little imitation of the oracle. Left out: screenshots, the model as evaluator.

    everystep reproduce pae

All arms of a seed have the same warm start, the same number of goals and of environment steps. The held-out goals are those that people wrote, in the words of the
world: a tiny model does not read their sentences. Measured (docs/recipes/pae.md, five seeds): with the document proposed goals teach nearly as well as given ones on held-out
tasks; nothing carries over to what people wrote; an evaluator that passes 20 % of the failures undoes the gain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from everystep.core.protocols import Logger
from everystep.core.records import Task
from everystep.environments.screengrid.proposals import manual_of, proposals
from everystep.environments.screengrid.world import ScreenGrid
from everystep.evaluate.study import Trial, study
from everystep.learn.replay import Replay
from everystep.learn.samples import supervised_sample
from everystep.learn.student import Student
from everystep.run.folder import RunFolder
from everystep.run.rollout import seed_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Tasks that are proposed, tried, judged and imitated."""

    apps: str = "mail,shop"
    """Apps of ScreenGrid."""
    size: str = "0.05M"
    """Size of the model."""
    demonstrations: int = 100
    """Demonstrations that the agent imitates first."""
    warm_updates: int = 150
    """Updates of the warm start."""
    goals: int = 400
    """Goals that an arm gets to try."""
    rounds: int = 4
    """Rounds of trying and imitating."""
    attempts: int = 256
    """Goals that are tried in a round."""
    updates: int = 80
    """Updates of imitation a round."""
    learning_rate: float = 2e-3
    """Peak rate of each round's imitation."""
    test_tasks: int = 200
    """Held-out tasks of the generator, beside those that people wrote."""
    seeds: int = 5
    """Paired seeds."""
    seed: int = 0
    """The first seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Where goals come from (``given`` by the generator of the world, or proposed with or without the document), and what is imitated."""

    given: bool = False
    document: bool = True
    percentile: float = 20.0
    false_successes: float = 0.0
    learns: bool = True


ARMS: Mapping[str, Arm] = {
    "warm start": Arm(given=True, learns=False),
    "given tasks": Arm(given=True),
    "proposer": Arm(document=False),
    "proposer with document": Arm(),
    "all successes": Arm(percentile=100.0),
    "evaluator errs 20 %": Arm(false_successes=0.2),
    "evaluator errs 50 %": Arm(false_successes=0.5),
}


def goals_of(world: ScreenGrid, arm: Arm, count: int, seed: int) -> Sequence[Task | None]:
    """Return ``count`` goals as tasks, ``None`` for one that the world cannot offer; those that people wrote are never among them."""
    written = {str(world.task("written", index).reference) for index in range(world.size("written") or 0)}
    if arm.given:
        tasks = (world.task("train", seed * 10 * count + index) for index in range(2 * count))
        return [one for one in tasks if one.reference not in written][:count]
    made: list[Task | None] = []
    apps = world.apps.split(",")
    each = -(-2 * count // len(apps))
    lists = [proposals(app, manual_of(app) if arm.document else "", count=each, seed=seed) for app in apps]
    for goal in (goal for some in zip(*lists, strict=True) for goal in some):
        if goal not in written and len(made) < count:
            task = world.task_from(goal)
            made.append(None if isinstance(task, str) else task)
    return made


@lru_cache(maxsize=1)
def warm(config: Config, seed: int) -> Student:
    """Return an agent that has imitated a few demonstrations. All arms of a seed begin with a copy."""
    world = ScreenGrid(apps=config.apps)
    student = Student.begin(world, world.texts(), size=config.size, seed=seed)
    shown = student.demonstrate(
        [world.task("train", 1_000_000 + index) for index in range(config.demonstrations)],
    )
    student.imitate([supervised_sample(one) for one in shown], updates=config.warm_updates)
    return student


def trial(config: Config, arm: Arm, seed: int) -> dict[str, float]:
    """Run one arm with one seed."""
    student, world = warm(config, seed).copy(), ScreenGrid(apps=config.apps)
    goals = goals_of(world, arm, config.goals, seed)
    replay = Replay(percentile=arm.percentile)
    rng = np.random.default_rng(seed_of(seed, "pae"))
    steps = config.rounds * config.attempts * world.max_steps // 2
    wrong = judged = 0
    while arm.learns and student.ledger.environment_steps < steps:
        chosen = [goals[int(index)] for index in rng.integers(0, len(goals), config.attempts)]
        tasks = [task for task in chosen if task is not None]
        student.ledger.add(environment_steps=(len(chosen) - len(tasks)) * world.max_steps)
        if not tasks:
            continue
        tried = student.attempt(tasks)
        student.ledger.add(judge_calls=len(tried))
        good = [one.success is True or bool(rng.random() < arm.false_successes) for one in tried]
        replay.add(tried, good)
        judged += sum(good)
        wrong += sum(well and one.success is not True for one, well in zip(tried, good, strict=True))
        samples = [supervised_sample(one) for one in replay.sample(1024, rng)]
        if samples:
            student.imitate(samples, updates=config.updates, batch=32, learning_rate=config.learning_rate)
    people = [world.task("written", index) for index in range(world.size("written") or 0)]
    told, _ = student.test([replace(one, instruction=str(one.reference)) for one in people])
    held, _ = student.test([world.task("test", index) for index in range(config.test_tasks)])
    return {
        "written": told["success"],
        "heldout": held["success"],
        "steps": held["steps"],
        "feasible": sum(task is not None for task in goals) / len(goals),
        "false": wrong / max(1, judged),
        "environment_steps": float(student.ledger.environment_steps),
    }


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return the success on goals that people wrote, and on held-out tasks, by arm."""
    arms = {name: _trial(config, arm) for name, arm in ARMS.items()}
    seeds = range(config.seed, config.seed + config.seeds)
    result = study(arms, seeds=seeds, baseline="given tasks", folder=folder.path, loggers=loggers)
    return {
        f"{key} {one.name}": one.means[key].value for one in result.arms for key in ("written", "heldout")
    }


def _trial(config: Config, arm: Arm) -> Trial:
    return lambda seed: trial(config, arm, seed)
