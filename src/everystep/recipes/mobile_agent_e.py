"""Mobile-Agent-E (S27): manager, perceptor, operator, action reflector and notetaker; tips and shortcuts that grow from task to task.

Paper: Mobile-Agent-E, Self-Evolving Mobile Assistant for Complex Tasks (arXiv 2501.11733). Claim: 22 points over the best agent before it.

Certain (released code): the roles and what each sees; the manager is asked in every iteration; outcomes A, B, C; notes only after A; the stop
rules (40 iterations, 3 failures, 3 identical actions); after a finished task one new shortcut (name, arguments, precondition,
sequence of gestures) and the tips written anew; shortcuts run blindly, nothing is taken back. Ours: the phone (an exact world with
taps that miss), scripted members with stated error rates, a shortcut is kept only after a trial in fresh worlds (the arm ``untried`` keeps all, as the source
does), tips and shortcuts are found by words instead of by two calls of a model. Left out: the future tasks that the source may show to its
reflectors; real screens, for which the perceptor would need a model that sees.

    everystep reproduce mobile_agent_e

The operator has two bad habits that tips can end, because its script says so: the study shows that experience gets from a task's
end to later prompts and what it is worth there, not that a language model gains the same. Measured: docs/recipes/mobile_agent_e.md.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from everystep.core.protocols import AsyncSampler, Logger, Sampler
from everystep.core.records import Task
from everystep.environments.phone.crew import Errors, crew
from everystep.environments.phone.errands import met
from everystep.environments.phone.screens import Screens
from everystep.evaluate.plot import plot_lines
from everystep.evaluate.study import Trial, study
from everystep.evolve.library import SkillLibrary
from everystep.evolve.memory import Memory
from everystep.evolve.shortcuts import Shortcuts, keep_untried
from everystep.evolve.skills import Skill, concerns
from everystep.evolve.skills import Trial as SkillTrial
from everystep.evolve.team import Team
from everystep.evolve.trial import verify_skill
from everystep.run.folder import RunFolder
from everystep.run.journal import Journal, scratch
from everystep.run.loop import Runner
from everystep.run.parts import Bounds, Outcome
from everystep.run.plan import Plan

KINDS = ("alarm", "contact", "note", "reply", "lookup", "switch")
TRIED = ("alarm", "contact", "note", "reply")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A team on a sequence of errands that share their routines."""

    tasks: int = 12
    """Tasks of a sequence; experience goes from each to the next."""
    goals: int = 2
    """Errands of a task."""
    miss: float = 0.06
    """Chance that a tap misses."""
    flaw: float = 0.4
    """Chance that a shortcut is written down wrongly."""
    careless: float = 0.15
    """Chance that a shortcut is used though its precondition does not hold."""
    habit: float = 0.5
    """Chance of each bad habit where no tip names it."""
    trials: int = 10
    """Fresh worlds of each errand in which a new shortcut is tried."""
    seeds: int = 20
    """Paired seeds; each is one sequence of tasks."""
    seed: int = 0
    """The first seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What of the team is on."""

    tips: bool = False
    shortcuts: bool = False
    tried: bool = True
    reflects: bool = True


ARMS: Mapping[str, Arm] = {
    "none": Arm(),
    "tips": Arm(tips=True),
    "shortcuts": Arm(shortcuts=True),
    "both": Arm(tips=True, shortcuts=True),
    "both, untried": Arm(tips=True, shortcuts=True, tried=False),
    "both, no reflector": Arm(tips=True, shortcuts=True, reflects=False),
}


def world_of(config: Config) -> Screens:
    """Return the phone: the team itself says when it is done."""
    return Screens(kinds=",".join(KINDS), goals=config.goals, miss=config.miss, declare=True, horizon=1000)


def team_of(
    samplers: Mapping[str, Sampler | AsyncSampler],
    world: Shortcuts,
    memory: Memory,
    task: Task,
    *,
    run: str,
    arm: Arm | None = None,
    seed: int = 0,
) -> Team:
    """Return a team for one task with the shortcuts that suit it; ``samplers`` by role, ``*`` for all others: an endpoint will do."""
    arm = arm or ARMS["both"]
    offered = SkillLibrary(memory).search(task.instruction, 6) if arm.shortcuts else []
    return Team(
        samplers=samplers, world=world, memory=memory, task=task, run=run, offered=tuple(offered),
        reflects=arm.reflects, tips=arm.tips, seed=seed,
    )  # fmt: skip


async def work(team: Team, journal: Journal, *, seed: int = 0) -> Outcome:
    """Let a team work on its task until it says that it is done, or a rule stops it."""
    runner = Runner(
        run=team.run, task=team.task, environment=team.world, parts=team.parts, journal=journal,
        bounds=Bounds(max_steps=10 * team.rules.iterations), seed=seed, plan=Plan(),
        budget=team.budget,
    )  # fmt: skip
    team.pay = runner.course.pay
    return await runner.run()


@lru_cache(maxsize=1024)
def tried(skill: Skill, trials: int) -> SkillTrial:
    """Try a shortcut in fresh worlds without misses, with arguments drawn from the words of their tasks."""
    worlds = [Screens(kinds=kind) for kind in TRIED]
    tasks = [world.task("test", index) for world in worlds for index in range(trials)]
    return verify_skill(skill, worlds[0], [task for task in tasks if concerns(skill, task)])


async def learn(team: Team, config: Config, arm: Arm, *, helped: bool) -> None:
    """Let the team learn from a task: tips, and one shortcut that is tried before it is kept."""
    if arm.tips:
        await team.learn_tips(helped=helped)
    if not arm.shortcuts:
        return
    skill, _ = await team.propose()
    if skill is None:
        return
    if not arm.tried:
        keep_untried(team.memory, skill)
        return
    trial = tried(skill, config.trials)
    if trial.passed:
        SkillLibrary(team.memory).admit(trial)


async def sequence(config: Config, arm: Arm, seed: int) -> list[dict[str, float]]:
    """Run one sequence of tasks; return for each whether it succeeded, and what it took."""
    errors = Errors(flaw=config.flaw, careless=config.careless, habit=config.habit)
    members, rows = crew(errors), []
    with Memory.open() as memory, scratch() as journal:  # one for all: only the outcomes count
        for index in range(config.tasks):
            number = seed * config.tasks + index
            task = world_of(config).task("train", number)
            phone = world_of(config).make()
            team = team_of(
                members, Shortcuts(phone, SkillLibrary(memory).skills() if arm.shortcuts else ()), memory,
                task, run=f"task{number}", arm=arm, seed=number,
            )  # fmt: skip
            outcome = await work(team, journal, seed=number)
            state = phone.snapshot().state
            success = team.shared.finished and all(met(state, goal) for goal in state.goals)
            await learn(team, config, arm, helped=success)
            rows.append(
                {
                    "success": float(success),
                    "steps": float(outcome.steps),
                    "calls": float(sum(team.shared.calls.values())),
                    "uses": float(team.world.uses),
                    "unmet": float(team.world.unmet),
                    "shortcuts": float(len(SkillLibrary(memory).names())),
                }
            )
    return rows


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return success, calls of the last third of the tasks, and the share of uses with an unmet precondition, by arm."""
    log = folder.path / "tasks.jsonl"
    third = max(1, config.tasks // 3)

    def mean(rows: Sequence[Mapping[str, float]], key: str) -> float:
        return sum(row[key] for row in rows) / len(rows)

    def trial_of(name: str, arm: Arm) -> Trial:
        def trial(seed: int) -> dict[str, float]:
            rows = asyncio.run(sequence(config, arm, seed))
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a", encoding="utf-8") as file:
                file.writelines(
                    json.dumps({"arm": name, "seed": seed, "task": i + 1, **row}) + "\n"
                    for i, row in enumerate(rows)
                )
            numbers = {key: mean(rows, key) for key in ("success", "steps", "calls", "uses", "unmet")}
            first, last = mean(rows[:third], "calls"), mean(rows[-third:], "calls")
            return {**numbers, "calls_first": first, "calls_last": last, "shortcuts": rows[-1]["shortcuts"]}

        return trial

    arms = {name: trial_of(name, arm) for name, arm in ARMS.items()}
    seeds = range(config.seed, config.seed + config.seeds)
    result = study(arms, seeds=seeds, baseline="none", folder=folder.path, loggers=loggers)
    plot(log, folder.path / "calls.svg")
    told: dict[str, float] = {}
    for one in result.arms:
        told |= {f"{key} {one.name}": one.means[key].value for key in ("success", "calls_last")}
        uses = sum(one.values["uses"])
        if uses:
            told[f"unmet_share {one.name}"] = sum(one.values["unmet"]) / uses
    return told


def plot(log: Path, out: Path) -> Path:
    """Draw the mean model calls by the number of the task, one line an arm."""
    calls: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in log.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        calls[row["arm"]][row["task"]].append(row["calls"])
    lines = {
        name: (sorted(some), [sum(some[task]) / len(some[task]) for task in sorted(some)])
        for name, some in calls.items()
    }
    return plot_lines(
        lines, out, title="Mobile-Agent-E on errands that share routines", across="task of the sequence", up="model calls"
    )  # fmt: skip
