"""ExIt (S39): what was tried becomes a new task; one-step revisions are trained where groups tell most, and many are made in a row at test time.

Paper: Bootstrapping Task Spaces for Self-Improvement (Jiang, Lupu, Bachrach 2025, arXiv:2509.04575). Claim: a policy that was trained on single revisions of
informative partial histories goes on improving beyond the depth that it was trained at.

Certain: single-step training from partial histories, a priority by the variance of a group's returns, self-divergence, a multiplicative diversity bonus by
the distance from the group's centroid. From third parties (no authors' code was found): the arithmetic of the buffer, the relative reward floored at 0, p 0.5,
p_div 0.2. Ours: the world (values that come right one a round for whoever applies a rule), a warm start that knows the rule and has the habit to repeat its answer, a
model that reads only the answer that stands, a smaller buffer, kappa (the outline's 1 makes variances of at most 0.25 nearly even), advantages with the
bonus at their old root mean square, no KL.

    everystep reproduce exit

All arms have the same warm start, attempts (each is one answer) and updates. Measured (docs/recipes/exit.md, five seeds): histories drawn evenly improve beyond the
trained depth twice as fast as base tasks; the priority by variance does worse, divergence and its bonus show nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from random import Random

import numpy as np

from everystep.core.protocols import Logger, Loss, Start
from everystep.core.records import Sample, Step, Task, Trajectory
from everystep.credit.diversity import centroid_distance
from everystep.credit.estimators import estimator
from everystep.environments.reasoning.revise import Revise, repeating, revision, spell
from everystep.evaluate.curves import keep_curve, kept_curves, mean_lines
from everystep.evaluate.plot import plot_lines
from everystep.evaluate.study import tuned_study
from everystep.evolve.histories import HistoryBuffer, can_go_on
from everystep.evolve.tasks import Fresh, results_of
from everystep.learn.reweigh import reweighed
from everystep.learn.samples import supervised_sample
from everystep.learn.setup import texts_of
from everystep.learn.student import Student
from everystep.run.demonstrate import answered
from everystep.run.folder import RunFolder
from everystep.run.hosts import LocalHosts

WARM = 1_000_000
"""First number of the tasks of the warm start: apart from those of the reinforcement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A tiny model that revises answers of several values."""

    values: int = 8
    """Values of an answer; so many rounds are needed by whoever applies the rule."""
    base: int = 5
    """Values lie below it."""
    size: str = "0.05M"
    """Size of the model."""
    demonstrations: int = 4000
    """Answers of each stage of the warm start."""
    rule_updates: int = 600
    """Updates on answers that follow the rule, a part; there are up to four parts, until revising brings ``knows``."""
    knows: float = 0.9
    """Quality after the last revision from which on a model counts as knowing the rule."""
    habit_updates: int = 100
    """Updates on answers that mostly repeat what stands, a part; there are up to eight parts, until revising brings no more than ``stuck``."""
    stuck: float = 0.35
    """Quality after the last revision up to which a model counts as repeating itself."""
    follow: float = 0.3
    """Share of the values that still follow the rule there."""
    iterations: int = 100
    """Updates of each arm."""
    groups: int = 8
    """Starts an iteration; the arm of fixed depth has as many attempts in chains."""
    group_size: int = 8
    """Attempts from each start."""
    depth: int = 4
    """Answers in a chain of fixed depth."""
    share: float = 0.5
    """Share of starts that are partial histories."""
    diverge: float = 0.2
    """Share of those that ask for a markedly different answer."""
    least: int = 32
    """Histories before the buffer is used."""
    most: int = 512
    """Histories that the buffer keeps."""
    kappa: float = 20.0
    """How strongly histories are preferred by their score."""
    rounds: int = 8
    """Revisions at test time."""
    test_tasks: int = 64
    """Held-out tasks."""
    sweep: bool = False
    """Choose each arm's rate among ``rates`` on the two seeds after the last; else ``RATES`` is taken, which came of that."""
    rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3)
    """Rates that are swept."""
    seeds: int = 5
    """Paired seeds."""
    seed: int = 0
    """The first seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What of the method is on. ``fixed`` trains whole chains of a fixed depth; ``trained`` off leaves the warm start as it is."""

    trained: bool = True
    fixed: bool = False
    histories: bool = True
    prioritised: bool = True
    diverge: bool = False
    bonus: bool = False


ARMS: Mapping[str, Arm] = {
    "warm start": Arm(trained=False),
    "base tasks": Arm(histories=False),
    "fixed depth": Arm(fixed=True),
    "improve": Arm(),
    "improve, uniform": Arm(prioritised=False),
    "diverge": Arm(diverge=True),
    "diverge, bonus": Arm(diverge=True, bonus=True),
}
RATES = dict.fromkeys(ARMS, 3e-4) | {"base tasks": 1e-3, "improve": 1e-3}
"""Learning rates that a sweep chose."""


@lru_cache(maxsize=2)
def warm(config: Config, seed: int) -> Student:
    """Return a student that can tell the next value and mostly repeats what stands. All arms of a seed begin with a copy."""
    world, rng = Revise(values=config.values, base=config.base), Random(seed)
    hosts, first = LocalHosts(world), WARM + (seed % 1000) * config.demonstrations
    tasks = [_begun(world, first + number, config, rng) for number in range(config.demonstrations)]
    stages = [
        answered(
            hosts, tasks, [repeating(task, world, follow=follow, rng=rng) for task in tasks], name="demo"
        )
        for follow in (1.0, config.follow)
    ]
    student = Student.begin(
        world, texts_of(stages[0] + stages[1]), size=config.size, seed=seed, max_tokens=config.values + 2
    )
    rule, habit = ([supervised_sample(one) for one in student.written(shown)] for shown in stages)
    for _ in range(4):
        student.imitate(rule, updates=config.rule_updates, batch=32)
        if qualities(student, config)[-1] >= config.knows:
            break
    for _ in range(8):
        student.imitate(habit, updates=config.habit_updates, batch=32, learning_rate=1e-3)
        if qualities(student, config)[-1] <= config.stuck:
            break
    return student


def _begun(world: Revise, index: int, config: Config, rng: Random) -> Task:
    """Return a task at its beginning (one in five) or behind a random answer."""
    task = world.task("train", index)
    if rng.random() < 0.2:
        return task
    stands = spell(tuple(rng.randrange(world.base) for _ in range(world.values)))
    return revision(task, stands, mode="diverge" if rng.random() < config.diverge else "improve")


# --- learning -------------------------------------------------------------------------------------


def going_on(task: Task, steps: tuple[Step, ...], mode: str) -> Start:
    """Start behind the last answer of a history: it stands in the task, and the model reads nothing else of the past."""
    return Start(task=revision(task, steps[-1].action.text, mode=mode))


def source_of(config: Config, arm: Arm, seed: int) -> HistoryBuffer:
    """Return the task source of an arm: fresh tasks and, from ``least`` histories on, partial histories."""
    world = Revise(values=config.values, base=config.base)
    return HistoryBuffer(
        Fresh(world, first=seed * config.iterations * config.groups),
        share=config.share if arm.histories and not arm.fixed else 0.0,
        least=config.least,
        most=config.most,
        kappa=config.kappa,
        prioritised=arm.prioritised,
        modes={"improve": 1 - config.diverge, "diverge": config.diverge if arm.diverge else 0.0},
        going_on=going_on,
        can_go_on=lambda made: can_go_on(made) and made.steps[-1].action.valid,
        seed=seed,
    )


def chains(student: Student, tasks: Sequence[Task], config: Config) -> list[Trajectory]:
    """Let the student answer and revise ``depth`` times; return the single answers, each with the quality at the end of its chain as its outcome."""
    now = [task for task in tasks for _ in range(config.group_size)]
    rounds: list[list[Trajectory]] = []
    for _ in range(config.depth):
        rounds.append(student.attempt(now))
        now = [_after(task, one) for task, one in zip(now, rounds[-1], strict=True)]
    ends = [one.steps[-1].scores["quality"] for one in rounds[-1]]
    return [
        replace(one, task=tasks[k // config.group_size], group=f"chain{k // config.group_size}", outcome=end)
        for made in rounds
        for k, (one, end) in enumerate(zip(made, ends, strict=True))
    ]


def _after(task: Task, made: Trajectory) -> Task:
    """Return the next task: to revise what was answered, or the same again where that was no answer."""
    step = made.steps[-1]
    return revision(task, step.action.text) if step.action.valid else task


def spread(made: Sequence[Trajectory], world: Revise) -> list[float]:
    """Return how far each answer (a bit for each value at each place) is from its group's centroid."""
    vectors = np.zeros((len(made), world.values, world.base))
    for row, one in enumerate(made):
        for place, value in enumerate(world.read(one.steps[-1].action.text) or ()):
            vectors[row, place, value] = 1.0
    found = centroid_distance(vectors.reshape(len(made), -1), [one.group for one in made])
    return [float(one) for one in found]


def learned(config: Config, arm: Arm, seed: int, rate: float) -> tuple[Student, dict[str, float]]:
    """Train one arm; return its student, and the mean and largest number of answers before a trained one."""
    student, source, depths = warm(config, seed).copy(), source_of(config, arm, seed), [0]
    world = Revise(values=config.values, base=config.base)
    for _ in range(config.iterations if arm.trained else 0):
        if arm.fixed:
            tasks = [start.task for start in source.next(max(1, config.groups // config.depth))]
            made = chains(student, tasks, config)
            depths += [k * config.depth // len(made) for k in range(len(made))]
        else:
            starts = source.next(config.groups)
            made = student.attempt([start.task for start in starts], group_size=config.group_size)
            depths += [source.depth(start) for start in starts]
            source.report(results_of(starts, made))
        samples: Sequence[Sample] = student.credited(made, estimator("grpo")).samples
        if arm.bonus:
            samples = reweighed(samples, spread(made, world))
        student.fit(samples, Loss(policy="ppo", aggregate="token"), learning_rate=rate)
    return student, {"depth": float(np.mean(depths)), "deepest": float(max(depths))}


# --- the study ------------------------------------------------------------------------------------


def qualities(student: Student, config: Config) -> list[float]:
    """Return the mean quality of the first answer and after each revision, on held-out tasks, greedily."""
    now, found = [student.world.task("test", index) for index in range(config.test_tasks)], []
    for _ in range(config.rounds + 1):
        _, made = student.test(now)
        found.append(float(np.mean([one.steps[-1].scores["quality"] for one in made])))
        now = [_after(task, one) for task, one in zip(now, made, strict=True)]
    return found


def numbers(curve: Sequence[float], depth: int) -> dict[str, float]:
    """Return the quality of the first answer, of the ``depth``-th and of the last, and the mean gain a revision between those two.

    >>> numbers([0.2, 0.4, 0.6, 0.6, 0.8], 2)["slope"]
    0.13333333333333333
    """
    at = min(depth, len(curve) - 1) - 1
    return {
        "first": curve[0],
        "at_depth": curve[at],
        "last": curve[-1],
        "slope": (curve[-1] - curve[at]) / (len(curve) - 1 - at),
    }


def trial(config: Config, name: str, folder: Path, seed: int, rate: float) -> dict[str, float]:
    """Run one arm with one seed at one rate."""
    student, depths = learned(config, ARMS[name], seed, rate)
    curve, spent = qualities(student, config), student.ledger
    rows = [{"revisions": float(k), "quality": one} for k, one in enumerate(curve)]
    keep_curve(folder, rows, arm=name, seed=seed, rate=rate)
    cost = {"attempts": spent.environment_steps, "tokens": spent.sampled_tokens, "updates": spent.updates}
    return {**numbers(curve, config.depth), **depths, **{key: float(one) for key, one in cost.items()}}


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return the quality after the last revision and the slope beyond the fixed depth, by arm."""
    trials = {name: partial(trial, config, name, folder.path) for name in ARMS}
    seeds = range(config.seed, config.seed + config.seeds)
    swept = {name: trials[name] for name, arm in ARMS.items() if arm.trained and config.sweep}
    result, best = tuned_study(
        trials, swept, known=RATES, rates=config.rates, by="last", seeds=seeds, baseline="base tasks",
        folder=folder.path, loggers=loggers,
    )  # fmt: skip
    curves = kept_curves(folder.path, best, seeds, key="quality", across="revisions")
    plot_lines(
        mean_lines(curves), folder.path / "exit.svg", title=f"Held-out quality; chains of fixed depth have {config.depth - 1} revisions",
        across="revisions", up="share of right values",
    )  # fmt: skip
    return {f"{key} {one.name}": one.means[key].value for one in result.arms for key in ("last", "slope")}
