"""Agentic Robot (S36): the standard action procedure: plan in six verbs, act on the current subgoal, verify, recover.

Paper: Agentic Robot, A Brain-Inspired Framework for Vision-Language-Action Models in Embodied Agents. Claim: 79.6 % on long tasks, 7.4 points over the
base policy. The released main file has the verifier switched off and passes the whole task, so the figure is unreproduced.

Certain (released code): subgoals in six verbs, the action policy sees the current subgoal only, a verifier looks every n control steps and
answers yes or no. From the abstract only: recovery. Ours: the world (an exact bench with slipping grasps, not a physics engine yet), a
reactive controller in place of the action policy, a verifier with stated false positives and negatives, recovery as replanning from what is seen
when a subgoal is not reached in its time.

    everystep reproduce agentic_robot

Scripted parts prove the control logic, not that a vision model gains the same. Measured: docs/recipes/agentic_robot.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from everystep.core.protocols import Logger, Situation, StepVerifier, Transition
from everystep.core.records import Action, Json, Level, Observation, Task, Verdict
from everystep.environments.places.workbench import Workbench
from everystep.environments.places.workbench_skill import Controller, Percept, reached, subgoals
from everystep.evaluate.study import Trial, study
from everystep.run.decide import Role, Way
from everystep.run.folder import RunFolder
from everystep.run.journal import scratch
from everystep.run.loop import Runner
from everystep.run.nodes import Edit, Node
from everystep.run.parts import Bounds, Parts
from everystep.run.plan import Plan
from everystep.run.rollout import seed_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The standard action procedure on the workbench."""

    things: tuple[int, ...] = (1, 2, 4)
    """Lengths of the task: how many things to carry."""
    slip: float = 0.25
    """Chance that an aligned grasp slips."""
    drop: float = 0.08
    """Chance that a carried thing falls at a step."""
    error: float = 0.05
    """Chance that the controller steps aside."""
    every: int = 5
    """Control steps between two looks of the verifier."""
    patience: int = 25
    """Control steps after which a subgoal counts as failed."""
    seeds: int = 40
    """Paired seeds; each is one task of every length."""
    seed: int = 0
    """The first seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """Answers every ``every`` steps whether the subgoal is reached; says yes wrongly with ``false_yes``, no wrongly with ``false_no``."""

    every: int
    false_yes: float
    false_no: float
    seed: int
    name: str = "looks"
    threshold: float = 0.5

    async def check(self, situation: Situation, action: Action, transition: Transition | None) -> Verdict:  # noqa: ARG002
        """Look at what there is after the act."""
        score = 0.0
        if transition is not None and (situation.index + 1) % self.every == 0:
            truth = reached(transition.observation.info, situation.goal)
            luck = Random(seed_of(self.seed, situation.step)).random()
            score = float(luck >= self.false_no if truth else luck < self.false_yes)
        return Verdict(level=Level.STEP, targets=(situation.step,), judge=self.name, score=score)


@dataclass(frozen=True, slots=True, kw_only=True)
class Elapsed:
    """Takes a subgoal as reached after ``ticks`` steps, without looking."""

    ticks: int
    name: str = "elapsed"
    threshold: float = 0.5

    async def check(self, situation: Situation, action: Action, transition: Transition | None) -> Verdict:  # noqa: ARG002
        """Count."""
        score = float(situation.index + 1 >= self.ticks)
        return Verdict(level=Level.STEP, targets=(situation.step,), judge=self.name, score=score)


def nodes(goals: Sequence[str], patience: int, prefix: str = "") -> list[Node]:
    """Return the plan of subgoals, one after the other."""
    names = [f"{prefix}{number}" for number in range(len(goals))]
    return [
        Node(id=name, instruction=goal, needs=(names[i - 1],) if i else (), max_steps=patience)
        for i, (name, goal) in enumerate(zip(names, goals, strict=True))
    ]


@dataclass(slots=True, kw_only=True)
class Replans:
    """A planner that plans what is left from what is seen, each time a subgoal fails."""

    patience: int
    times: int = 0

    async def expand(
        self, task: Task, plan: Plan, node: Node | None, observation: Observation
    ) -> Sequence[Edit]:
        """Nothing is lazy here."""
        del task, plan, node, observation
        return ()

    async def repair(
        self, task: Task, plan: Plan, node: Node, why: str, observation: Observation
    ) -> Sequence[Edit]:
        """Plan anew: put away what is held first, then everything that is not where it should be."""
        del node
        self.times += 1
        goals = left(task, observation.info)
        return [plan.replaced("", nodes(goals, self.patience, f"r{self.times}."), why)] if goals else ()


def left(task: Task, seen: Mapping[str, Json]) -> list[str]:
    """Return the subgoals that are not reached, as far as one can see."""
    found = []
    for goal in subgoals(task.instruction):
        if goal.startswith("place") and not reached(seen, goal):
            thing, station = goal.split()[1], goal.split()[3]
            own = [one for one in subgoals(f"put the {thing} in the {station} .") if not reached(seen, one)]
            found += [own] if seen["holding"] != thing else []
            if seen["holding"] == thing:
                found.insert(0, own)
    return [goal for some in found for goal in some]


def carry(
    config: Config, things: int, seed: int, complete: StepVerifier, *, recover: bool
) -> tuple[float, float]:
    """Run one task; return whether it succeeded and its control steps."""
    world = Workbench(things=things, slip=config.slip, drop=config.drop, horizon=60 * things)
    task = world.task("train", seed)
    role = Role(name="controller", ways=(Way(sampler=Controller(error=config.error), context=Percept()),))
    planner = Replans(patience=config.patience) if recover else None
    with scratch() as journal:
        runner = Runner(
            run="sap",
            task=task,
            environment=world.make(),
            parts=Parts(operator=role, complete=complete, planner=planner),
            journal=journal,
            bounds=Bounds(max_steps=60 * things),
            seed=seed,
            plan=Plan(nodes(subgoals(task.instruction), config.patience)),
        )
        outcome = asyncio.run(runner.run())
    return float(outcome.success is True), float(outcome.steps)


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return the share of tasks done by arm."""

    def arm(
        complete: StepVerifier | None, *, false_yes: float = 0.0, false_no: float = 0.0, recover: bool = False
    ) -> Trial:
        def trial(seed: int) -> dict[str, float]:
            looks = Looks(every=config.every, false_yes=false_yes, false_no=false_no, seed=seed)
            numbers: dict[str, float] = {}
            for things in config.things:
                done, steps = carry(config, things, seed, complete or looks, recover=recover)
                numbers |= {f"done_{things}": done, f"steps_{things}": steps}
            return numbers

        return trial

    arms = {
        "8 steps each": arm(Elapsed(ticks=8)),
        "15 steps each": arm(Elapsed(ticks=15)),
        "verifier": arm(None),
        "verifier, recovery": arm(None, recover=True),
        "10 % false yes, recovery": arm(None, false_yes=0.1, recover=True),
        "30 % false yes, recovery": arm(None, false_yes=0.3, recover=True),
        "10 % false no, recovery": arm(None, false_no=0.1, recover=True),
        "30 % false no, recovery": arm(None, false_no=0.3, recover=True),
    }
    seeds = range(config.seed, config.seed + config.seeds)
    result = study(arms, seeds=seeds, baseline="15 steps each", folder=folder.path, loggers=loggers)
    longest = f"done_{config.things[-1]}"
    return {f"{longest} {one.name}": one.means[longest].value for one in result.arms}
