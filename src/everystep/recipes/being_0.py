"""Being-0 (S25): a slow planner, fast skills, and a connector between them that knows what a skill needs.

Paper: Being-0, A Humanoid Robotic Agent with Vision-Language Models and Modular Skills. Claim: with the connector long tasks go from
0 to 0.75 and more, navigation is four times as fast.

Certain (paper): the planner reasons slowly over what it saw, picks the next skill and detects success; the connector grounds it in the present: it inserts
the skill that makes the wished one possible, says at once where nothing is to be done, and adjusts the pose so that the next skill suits. Ours: the world
(an exact bench with slipping grasps, not a physics engine yet); the planner is scripted: right about what it saw, late, and wrong at
a stated rate. Left out: exploration with the camera, everything is in view.

    everystep reproduce being_0

Scripted parts prove the control logic, not that a language model gains the same. Measured: docs/recipes/being_0.md.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from everystep.core.protocols import Generation, Logger, Request, Sampling
from everystep.core.records import Json, Stop
from everystep.environments.places.workbench import Workbench
from everystep.environments.places.workbench_skill import Percept, place_of, reached, subgoals, toward, walk
from everystep.evaluate.study import Trial, study
from everystep.run.decide import Role, Way
from everystep.run.folder import RunFolder
from everystep.run.journal import scratch
from everystep.run.loop import Runner
from everystep.run.parts import Bounds, Parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A slow planner over fast skills on the workbench."""

    things: tuple[int, ...] = (1, 2, 4)
    """Lengths of the task: how many things to carry."""
    every: int = 8
    """Control steps between two questions to the planner."""
    delay: int = 3
    """Control steps that the planner thinks."""
    error: float = 0.1
    """Chance that the planner is about a thing of the task drawn at random."""
    misjudge: float = 0.5
    """Chance that the planner takes a place that is far for near, and names the hand's skill at once."""
    slip: float = 0.2
    """Chance that an aligned grasp slips; three times that when it is not aligned."""
    drop: float = 0.02
    """Chance that a carried thing falls at a step."""
    seeds: int = 40
    """Paired seeds; each is one task of every length."""
    seed: int = 0
    """The first seed."""


@dataclass(slots=True, kw_only=True)
class Planner:
    """Names the next skill: ``go to PLACE``, ``pick up X`` or ``place X in Y``. It is slow: an answer is about what it saw ``delay`` steps ago.

    It is asked every ``every`` steps, or when somebody says that the skill is over; ``calls`` counts how often.
    """

    task: str
    every: int
    delay: int
    error: float
    misjudge: float
    seed: int
    calls: int = 0
    skill: str = "wait"
    _tick: int = 0
    _next: int = 0
    _coming: tuple[int, str] | None = None

    def think(self, seen: Mapping[str, Json], *, over: bool) -> str:
        """Let one step pass and return the skill that is in force."""
        self._tick += 1
        if self._coming is not None and self._tick >= self._coming[0]:
            self.skill, self._coming = self._coming[1], None
        elif self._coming is None and (over or self._tick >= self._next):
            self.calls += 1
            self._coming = (self._tick + self.delay, self._choose(seen))
            self._next = self._tick + self.every
        return self.skill

    def _choose(self, seen: Mapping[str, Json]) -> str:
        goals = [goal for goal in subgoals(self.task, doors=False) if goal.startswith("place")]
        left = [goal for goal in goals if not reached(seen, goal)]
        if not left:
            return "wait"
        rng = Random(f"{self.seed}/{self.calls}")
        holding = seen["holding"]
        goal = next((one for one in left if one.split()[1] == holding), left[0])
        if rng.random() < self.error:
            goal = rng.choice(goals)
        thing, station = goal.split()[1], goal.split()[3]
        place = station if holding == thing else place_of(seen, thing)
        if place and walk(seen, place) and rng.random() >= self.misjudge:
            return f"go to {place}"
        return goal if holding == thing else f"pick up {thing}"


@dataclass(slots=True, kw_only=True)
class Body:
    """A sampler that does the planner's skill: as it was named (``direct``), only where it can work (``gate``), or through the ``connector``."""

    planner: Planner
    kind: str
    policy: str = "body"

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:  # noqa: ARG002
        """Answer all requests from what they show."""
        return [Generation(text=self._act(request), stop=Stop.STOP) for request in requests]

    def release(self, sessions: Sequence[str]) -> None:
        """Nothing is kept."""

    def _act(self, request: Request) -> str:
        seen = json.loads(request.messages[-1].content)["seen"]
        skill = self.planner.think(seen, over=self.kind != "direct" and self._over(seen))
        words = skill.split()
        if words[0] == "go":
            return walk(seen, skill.removeprefix("go to ")) or "wait"
        if self.kind == "connector":
            return toward(seen, skill)  # walks and aligns first, where that is missing
        if self.kind == "gate" and self._over(seen):
            return "wait"
        return f"grasp {words[2]}" if words[0] == "pick" else "release" if words[0] == "place" else "wait"

    def _over(self, seen: Mapping[str, Json]) -> bool:
        """Say whether the skill is done, or, for a gate, cannot work from here."""
        words = self.planner.skill.split()
        if words[0] == "go":
            return not walk(seen, self.planner.skill.removeprefix("go to "))
        if words[0] == "wait" or reached(seen, self.planner.skill):
            return True
        far = words[0] == "pick" and bool(walk(seen, place_of(seen, words[2]) or words[2]))
        lost = words[0] == "place" and (seen["holding"] != words[1] or bool(walk(seen, words[3])))
        return lost and seen["holding"] != words[1] if self.kind == "connector" else far or lost


def carry(config: Config, things: int, seed: int, kind: str) -> dict[str, float]:
    """Run one task with one kind of body."""
    world = Workbench(things=things, slip=config.slip, drop=config.drop, shut=False, horizon=60 * things)
    task = world.task("train", seed)
    planner = Planner(
        task=task.instruction,
        every=config.every,
        delay=config.delay,
        error=config.error,
        misjudge=config.misjudge,
        seed=seed,
    )
    role = Role(name="body", ways=(Way(sampler=Body(planner=planner, kind=kind), context=Percept()),))
    with scratch() as journal:
        runner = Runner(
            run="being_0",
            task=task,
            environment=world.make(),
            parts=Parts(operator=role),
            journal=journal,
            bounds=Bounds(max_steps=60 * things),
            seed=seed,
        )
        outcome = asyncio.run(runner.run())
    return {
        f"done_{things}": float(outcome.success is True),
        f"steps_{things}": float(outcome.steps),
        f"asked_{things}": float(planner.calls),
    }


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return the share of tasks done by arm."""

    def arm(kind: str) -> Trial:
        def trial(seed: int) -> dict[str, float]:
            numbers: dict[str, float] = {}
            for things in config.things:
                numbers |= carry(config, things, seed, kind)
            return numbers

        return trial

    arms = {kind: arm(kind) for kind in ("direct", "gate", "connector")}
    seeds = range(config.seed, config.seed + config.seeds)
    result = study(arms, seeds=seeds, baseline="direct", folder=folder.path, loggers=loggers)
    longest = f"done_{config.things[-1]}"
    return {f"{longest} {one.name}": one.means[longest].value for one in result.arms}
