"""Autonomous Deep Agent (S08): a task graph that grows level by level, is mended where it failed, and turns repeated work into tools.

Paper: Autonomous Deep Agent (arXiv 2502.07056), a technical brief without code, benchmark or baseline. Claim: the hierarchical task graph with
its two-stage planner and executor handles changing requirements; tools made from repeated interactions and prompts learnt from feedback lower the cost.

Certain (abstract): the graph, the two stages, tool creation, prompt tweaking and feedback learning. From summaries: only the next level is planned,
with what is known now; a failure halts and replans its level; finished work stays. Ours: everything else. The world is ``workshop``: parts are moved and machines jam
while one works, and some need oil, which shows by trying. The planner is scripted: it knows how things are made, sees the board, and
writes a wrong act at a stated rate. Tools are mined from the runs before, and used only after a trial in fresh tasks; prompts are arms of a
bandit. The graph, its repair and the tools are library parts (``evolve.grower``, ``evolve.routine``) that take any model; ``agent`` puts them together.

    everystep reproduce deep_agent

Scripted parts prove the control logic, not that a language model gains the same. Measured: docs/recipes/deep_agent.md.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import mean

from everystep.core.protocols import Generation, Logger, Request, Sampling
from everystep.core.records import Json, Stop, Task, Trajectory
from everystep.environments.places.workshop import STATIONS, Workshop
from everystep.environments.places.workshop_plan import parts_of, whole
from everystep.evaluate.study import REPORT, Trial, study
from everystep.evolve.grower import Grower, LevelView
from everystep.evolve.mine import mine
from everystep.evolve.routine import AllTaken, Taken, Where, WithSkills, callable_in_a_plan
from everystep.evolve.skills import Skill, covers
from everystep.evolve.trial import learn_skills, verify_skill
from everystep.models.scripted import Scripted
from everystep.run.bandit import Bandit, Choice
from everystep.run.decide import Decider, Role, Way
from everystep.run.folder import RunFolder
from everystep.run.journal import scratch
from everystep.run.loop import Runner
from everystep.run.parts import Bounds, Parts, Patience
from everystep.run.plan import Plan

LEVEL = "Plan the next level only: what has to be made first as composite steps, or the acts themselves."
WHOLE = "Plan every act to the end."
AHEAD = "Plan the next {} acts, then one composite step: go on."
_AHEAD = re.compile(AHEAD.replace("{}", "([0-9]+)"))
_LONGEST = 6  # steps of a mined tool
_OIL = re.compile("oil ([a-z]+ [0-9]+) first")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A growing task graph in the workshop."""

    changes: tuple[float, ...] = (0.0, 0.1, 0.4)
    """Chances that a step changes the workshop; each is a table of its own."""
    parts: int = 3
    """Parts of a made thing."""
    levels: int = 2
    """Levels of things that are made."""
    error: float = 0.01
    """Chance that the planner writes a wrong act, with the prompt of the arms that learn none."""
    manners: tuple[float, ...] = (0.15, 0.08, 0.01)
    """The same chance for each prompt of the arms that choose among prompts."""
    ahead: int = 12
    """Acts that the flat planner writes at a time."""
    learnt: int = 6
    """Tasks that come before, for the arms that learn from them."""
    tasks: int = 4
    """Tasks of one trial that count; its numbers are their means."""
    seeds: int = 20
    """Paired seeds."""
    seed: int = 0
    """The first seed."""


def agent(
    *,
    planner: Mapping[str, tuple[Way, ...]],
    operator: tuple[Way, ...],
    skills: Mapping[str, Skill] | None = None,
    bandit: Bandit | None = None,
    everything: bool = False,
    seed: int = 0,
) -> tuple[Parts, Grower]:
    """Return the parts of a run that starts with an empty ``Plan()``: models that plan, by prompt, and models that act. Any will do."""
    known = dict(skills or {})
    grower = Grower(
        ways=planner, decider=Decider(seed=seed), bandit=bandit, skills=known, everything=everything
    )
    parts = Parts(
        operator=Role(name="executor", ways=WithSkills(skills=known, otherwise=operator)),
        planner=grower,
        verifiers=(Taken(skills=known),),
        complete=AllTaken(skills=known),
        patience=Patience(failed=0),
    )
    return parts, grower


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreman:
    """The scripted planner. ``errors`` are the chances of a wrong act by prompt. Where its plan has all steps of a skill it calls the skill."""

    errors: Mapping[str, float]
    skills: tuple[Skill, ...] = ()
    policy: str = "foreman"

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:  # noqa: ARG002
        """Answer all requests from what they show."""
        return [Generation(text=json.dumps(self._plan(one)), stop=Stop.STOP) for one in requests]

    def release(self, sessions: Sequence[str]) -> None:
        """Nothing is kept."""

    def _plan(self, request: Request) -> list[Json]:
        prompt = request.messages[0].content.partition("\n")[0]
        asked = json.loads(request.messages[1].content)
        seen, goal = asked["seen"], asked["goal"]
        if prompt.startswith(LEVEL):
            thing = goal.partition(" ")[2]
            first = parts_of(seen, thing) if goal.startswith("make ") else []
            if first:
                names = [f"m{i}" for i in range(len(first))]
                made = [_composite(f"make {one}", name) for one, name in zip(first, names, strict=True)]
                return [*made, _composite(f"assemble {thing}", "a", names)]
        else:
            goal = asked["task"]
        acts = whole(seen, goal)
        oil = _OIL.search(asked["why"])
        acts = [f"oil {oil[1]}", *acts] if oil and oil[1] == seen["here"] else acts
        limit = _AHEAD.fullmatch(prompt)
        more = limit is not None and len(acts) > int(limit[1])
        acts = acts[: int(limit[1])] if limit else acts
        rng = Random(request.seed)
        acts = [
            f"go to {rng.choice(STATIONS)}" if rng.random() < self.errors[prompt] else act for act in acts
        ]
        rest: list[Json] = [{"instruction": "go on", "kind": "composite"}] if more else []
        return [*self._short(acts), *rest]

    def _short(self, acts: Sequence[str]) -> list[Json]:
        found: list[Json] = []
        at = 0
        while at < len(acts):
            fitting = ((skill, covers(skill, acts[at:])) for skill in self.skills)
            skill, cover = next(((one, got) for one, got in fitting if got is not None), (None, None))
            if skill is None or cover is None:
                found.append(acts[at])
                at += 1
                continue
            values: dict[str, Json] = {name: cover[0][i] for i, name in enumerate(skill.parameters)}
            found.append({"instruction": skill.description[:200], "tool": skill.name, "arguments": values})
            at += cover[1]
        return found


def _composite(text: str, name: str, needs: Sequence[str] = ()) -> Json:
    return {"id": name, "instruction": text, "kind": "composite", "needs": list(needs)}


@dataclass(slots=True, kw_only=True)
class Crew:
    """What one arm has learnt after some tasks: its tools and its prompts."""

    errors: Mapping[str, float]
    everything: bool = False
    bandit: Bandit | None = None
    skills: dict[str, Skill] = field(default_factory=dict)


def work(crew: Crew, world: Workshop, task: Task, seed: int) -> tuple[dict[str, float], Trajectory]:
    """Do one task; return what it took, and the trajectory."""
    tools = tuple(sorted(crew.skills.values(), key=lambda skill: -len(skill.steps)))
    foreman = Foreman(errors=crew.errors, skills=tools)
    parts, grower = agent(
        planner={
            prompt: (Way(sampler=foreman, context=LevelView(prompt=prompt, skills=crew.skills)),)
            for prompt in crew.errors
        },
        operator=(
            Way(
                sampler=Scripted(lambda request: json.loads(request.messages[0].content)[0]), context=Where()
            ),
        ),
        skills=crew.skills,
        bandit=crew.bandit,
        everything=crew.everything,
        seed=seed,
    )
    with scratch() as journal:
        runner = Runner(
            run="deep_agent",
            task=task,
            environment=world.make(),
            parts=parts,
            journal=journal,
            bounds=Bounds(max_steps=world.horizon),
            seed=seed,
            plan=Plan(),
        )
        outcome = asyncio.run(runner.run())
        trajectory = journal.trace().trajectory("deep_agent")
    won = outcome.success is True
    grower.settle(won=won)
    numbers = {
        "planner_calls": float(grower.calls),
        "done": float(won),
        "nodes_written": float(grower.written),
        "repairs": float(grower.repairs),
        "steps": float(outcome.steps),
    }
    return numbers, trajectory


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the plans at every rate of change, what is learnt at the middle one, and the trials of tools; return the planner's calls by arm."""
    usual = config.changes[len(config.changes) // 2]
    studies = {f"Plans, change {one:g} a step": (_plans(config, one), "static") for one in config.changes}
    studies["Tools and prompts"] = (_learners(config, usual), "lazy")
    studies["What a trial is worth"] = (_admission(config, usual), "mined")
    found: dict[str, float] = {}
    reports = []
    for title, (arms, baseline) in studies.items():
        at = folder.path / re.sub(r"\W+", "_", title.lower())
        seeds = range(config.seed, config.seed + config.seeds)
        result = study(arms, seeds=seeds, baseline=baseline, folder=at, loggers=loggers)
        reports.append(f"## {title}\n\n{(at / REPORT).read_text(encoding='utf-8')}")
        key = next(iter(result.arms[0].means))
        found |= {f"{title}: {key} {one.name}": one.means[key].value for one in result.arms}
    (folder.path / REPORT).write_text("\n".join(reports), encoding="utf-8")
    return found


def _plans(config: Config, change: float) -> dict[str, Trial]:
    def arm(prompt: str, *, everything: bool = False) -> Trial:
        return lambda seed: _tested(
            config, change, seed, Crew(errors={prompt: config.error}, everything=everything)
        )

    return {
        "static": arm(WHOLE, everything=True),
        "one act at a time": arm(AHEAD.format(1)),
        f"flat, {config.ahead} ahead": arm(AHEAD.format(config.ahead)),
        "lazy": arm(LEVEL),
    }


def _learners(config: Config, change: float) -> dict[str, Trial]:
    manners = {f"{LEVEL} Manner {i + 1}.": error for i, error in enumerate(config.manners)}

    def tools(*, tried: bool) -> Trial:
        def trial(seed: int) -> dict[str, float]:
            crew = Crew(errors={LEVEL: config.error})
            runs = _before(config, change, seed, crew)
            crew.skills = learn(_world(config, change), runs, seed, tried=tried)
            return _tested(config, change, seed, crew)

        return trial

    def prompts(choice: Choice) -> Trial:
        def trial(seed: int) -> dict[str, float]:
            crew = Crew(errors=manners, bandit=Bandit(list(manners), choice=choice, seed=seed))
            _before(config, change, seed, crew)
            return _tested(config, change, seed, crew)

        return trial

    return {
        "lazy": lambda seed: _tested(config, change, seed, Crew(errors={LEVEL: config.error})),
        "tools, untried": tools(tried=False),
        "tools that passed": tools(tried=True),
        "prompts in turn": prompts(Choice.UNIFORM),
        "prompts learnt": prompts(Choice.THOMPSON),
    }


def _world(config: Config, change: float) -> Workshop:
    return Workshop(parts=config.parts, levels=config.levels, change=change)


def _before(config: Config, change: float, seed: int, crew: Crew) -> list[Trajectory]:
    """Do the tasks that one learns from."""
    world = _world(config, change)
    tasks = [world.task("train", seed * config.learnt + i) for i in range(config.learnt)]
    return [work(crew, world, task, seed * 1000 + i)[1] for i, task in enumerate(tasks)]


def _tested(config: Config, change: float, seed: int, crew: Crew) -> dict[str, float]:
    """Do the tasks that count; return the means of their numbers."""
    world = _world(config, change)
    tasks = [world.task("test", seed * config.tasks + i) for i in range(config.tasks)]
    rows = [work(crew, world, task, seed * 1000 + 500 + i)[0] for i, task in enumerate(tasks)]
    return {key: mean(row[key] for row in rows) for key in rows[0]}


def learn(world: Workshop, runs: Sequence[Trajectory], seed: int, *, tried: bool = True) -> dict[str, Skill]:
    """Return four tools that were mined from ``runs``: those that passed their trial in fresh tasks, or the first ones."""
    fresh = [world.task("train", 10_000 + 25 * seed + i) for i in range(25)]
    if tried:
        skills = [one.skill for one in learn_skills(runs, world, fresh, longest=_LONGEST, most=4, seed=seed)]
    else:
        skills = mine(runs, longest=_LONGEST)
    return {one.name: one for one in [one for one in skills if callable_in_a_plan(one)][:4]}


def _admission(config: Config, change: float) -> dict[str, Trial]:
    """Return the arms that say what a trial is worth: how often mined tools do what they say in fresh tasks, all of them or those that passed."""
    world = _world(config, change)

    def arm(*, tried: bool) -> Trial:
        def trial(seed: int) -> dict[str, float]:
            runs = _before(config, change, seed, Crew(errors={LEVEL: config.error}))
            skills = list(learn(world, runs, seed).values()) if tried else mine(runs, longest=_LONGEST)[:40]
            fresh = [world.task("test", 50_000 + 10 * seed + i) for i in range(10)]
            used = [verify_skill(one, world, fresh, seed=seed + 1) for one in skills]
            return {
                "completed": sum(one.completed for one in used) / max(1, sum(one.tries for one in used)),
                "never_completed": float(sum(one.completed == 0 for one in used)),
                "tools": float(len(skills)),
            }

        return trial

    return {"mined": arm(tried=False), "passed their trial": arm(tried=True)}
