"""SOAR (S43): a teacher proposes problems and is paid by what a student that was trained on them gains on hard problems.

Paper: Teaching Models to Teach Themselves, Reasoning at the Edge of Learnability (Sundaram et al. 2026, arXiv:2601.18778). Claim: students get off a plateau of
no reward; a reward that is grounded in the student's progress beats an intrinsic one (how learnable problems are).

From secondary texts (no authors' code was found): g data sets an outer step, an inner loop of RLOO on each from the same student, the reward of a data set (mean gain
of greedy accuracy on a subsample of the hard training half) for every output in it, RLOO over data sets, reverting, promotion to the student of the best
data set when the moving average over 3 steps exceeds 0.01. Ours: a tiny LM and chain arithmetic; the teacher is a softmax over kinds of problems with exact answers
(not a model that writes them); its credit is scaled to unit root mean square, for both rewards; fewer and shorter loops; the promoted student is
tested, not a fresh one on the promoted questions.

    everystep reproduce soar

All arms have the same updates and attempts, inner loops included: a grounded teacher pays for every student that it throws away.
Measured (docs/recipes/soar.md, five seeds): easier problems get the student off the plateau (0.48, hard ones only 0.23); the grounded reward is far behind the
intrinsic one at this cost (-0.29 [-0.48, -0.09]).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from random import Random

import numpy as np

from everystep.core.protocols import Logger, Loss
from everystep.core.records import Task
from everystep.credit.estimators import estimator
from everystep.environments.reasoning.modchain import ModChain, hasty
from everystep.evaluate.curves import keep_curve, kept_curves, mean_lines
from everystep.evaluate.plot import plot_lines
from everystep.evaluate.study import tuned_study
from everystep.evolve.teaching import Choice, Menu, Promotion, credit_of, leave_one_out, lessons
from everystep.learn.learner import Kept
from everystep.learn.samples import supervised_sample
from everystep.learn.student import Student
from everystep.run.demonstrate import answered
from everystep.run.folder import RunFolder

WARM, PROPOSED = 2_000_000, 1_000_000
"""First numbers of the problems of the warm start and of those that a teacher proposes: apart from the hard ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A tiny student that never solves the hard problems, and a teacher that chooses what it practises."""

    base: int = 5
    """Values lie below it."""
    places: int = 4
    """Steps of a hard problem."""
    known: str = "+-*#^"
    """Operators that problems can have."""
    hard: str = "-*"
    """Operators of the hard problems; the others help little."""
    size: str = "0.05M"
    """Size of the student."""
    demonstrations: int = 4000
    """Problems of the warm start, of each kind."""
    rule_updates: int = 800
    """Updates on right answers, a part; there are up to four parts, until ``knows`` of the hard training half come right."""
    knows: float = 0.9
    """Greedy accuracy from which on a student counts as knowing the operators."""
    habit_updates: int = 200
    """Updates on answers that take every operator for a plus: what it mostly does."""
    right: float = 0.15
    """Share of the steps that are still done right there."""
    budget: int = 768
    """Updates of an arm, inner loops included."""
    datasets: int = 3
    """Data sets of an outer step."""
    proposals: int = 4
    """Kinds of problems in a data set."""
    inner: int = 16
    """Updates on a data set."""
    batch: int = 8
    """Problems of an update."""
    group_size: int = 8
    """Attempts at each problem; the arm that knows hard problems only makes 4 times as many at a quarter of the problems."""
    hard_train: int = 128
    """Hard problems that rewards are measured on."""
    subsample: int = 64
    """Of these, so many an outer step."""
    hard_test: int = 128
    """Hard problems that nothing is decided by."""
    teacher_rate: float = 1.0
    """Learning rate of the teacher."""
    sweep: bool = False
    """Choose each arm's rate among ``rates`` on the two seeds after the last; else ``RATES`` is taken, which came of that."""
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    """Rates that are swept."""
    seeds: int = 5
    """Paired seeds."""
    seed: int = 0
    """The first seed."""


def world_of(config: Config, steps: int, operators: str) -> ModChain:
    """Return the world of one kind of problems."""
    return ModChain(steps=steps, operators=operators, base=config.base, places=config.places)


def menu_of(config: Config, seed: int) -> Menu:
    """Return the teacher: how many steps, and which operators."""
    others = [one for one in config.known if one not in f"{config.hard}+"]
    operators = list(
        dict.fromkeys([*config.hard, *others, config.hard, *(["".join(others)] if others else [])])
    )
    steps = sorted({1, 2, config.places // 2, config.places})
    return Menu({"steps": steps, "operators": operators}, learning_rate=config.teacher_rate, seed=seed)


# --- the warm start -------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def warm(config: Config, seed: int) -> Student:
    """Return a student that can work with every operator and mostly takes each for a plus. All arms of a seed begin with a copy."""
    words = " ".join((*"0123456789", *config.known, ".", "="))
    world, rng = world_of(config, config.places, config.hard), Random(seed)
    student = Student.begin(world, [words], size=config.size, seed=seed, max_tokens=2 * config.places + 2)
    first = WARM + (seed % 1000) * config.demonstrations
    worlds = [
        world_of(config, rng.randint(1, config.places), config.known) for _ in range(config.demonstrations)
    ]
    tasks = [one.task("train", first + number) for number, one in enumerate(worlds)]
    texts = [
        [hasty(task, one, right=right, rng=rng) for task, one in zip(tasks, worlds, strict=True)]
        for right in (1.0, config.right)
    ]
    rule, habit = (
        [supervised_sample(one) for one in student.written(answered(student.hosts, tasks, some, name="demo"))]
        for some in texts
    )
    hard = [world.task("train", index) for index in range(config.hard_train)]
    for _ in range(4):
        student.imitate(rule, updates=config.rule_updates, batch=32)
        if student.test(hard)[0]["success"] >= config.knows:
            break
    student.imitate(habit, updates=config.habit_updates, batch=32, learning_rate=3e-3)
    return student


# --- the inner loop -------------------------------------------------------------------------------


class School:
    """What an arm does with students: practise, and be tested on hard problems. All updates and attempts go into the ledger of ``student``."""

    def __init__(self, config: Config, seed: int, rate: float) -> None:
        self.config, self.seed, self.rate = config, seed, rate
        self.student = warm(config, seed).copy()
        self.lineage = 0
        self._given = 0
        hard = world_of(config, config.places, config.hard)
        self.train = [hard.task("train", index) for index in range(config.hard_train)]
        self.test = [hard.task("test", index) for index in range(config.hard_test)]

    def accuracy(self, tasks: Sequence[Task]) -> float:
        """Return the greedy accuracy of the student as it is now."""
        return self.student.test(tasks)[0]["success"]

    def problems(self, kind: Mapping[str, object], count: int) -> list[Task]:
        """Return ``count`` fresh problems of a kind."""
        world = world_of(self.config, int(str(kind["steps"])), str(kind["operators"]))
        first = PROPOSED + self._given
        self._given += count
        return [world.task("train", index) for index in range(first, first + count)]

    def practise(self, tasks: Sequence[Sequence[Task]], *, group_size: int) -> list[float]:
        """Do an update on each batch of problems (RLOO); return the share of attempts that passed of each problem, in order."""
        passed = []
        for batch in tasks:
            made = self.student.attempt(batch, group_size=group_size)
            self.student.reinforce(
                made, estimator("rloo"), Loss(policy="ppo", aggregate="token"), learning_rate=self.rate
            )
            got = np.array([one.outcome or 0.0 for one in made]).reshape(len(batch), group_size)
            passed += got.mean(axis=1).tolist()
        self.lineage += len(tasks)
        return passed

    def lesson(self, menu: Menu, proposals: Sequence[Choice]) -> list[float]:
        """Practise the proposals in turn, ``inner`` updates in all; return the pass rate of each proposal's problems."""
        config = self.config
        size = config.inner * config.batch
        each = [self.problems(menu.values(one), size // len(proposals)) for one in proposals]
        mixed = [task for row in zip(*each, strict=True) for task in row]
        batches = [mixed[at : at + config.batch] for at in range(0, size, config.batch)]
        passed = np.array(self.practise(batches, group_size=config.group_size))
        return [float(one) for one in passed.reshape(-1, len(proposals)).mean(axis=0)]


# --- the arms -------------------------------------------------------------------------------------


def hard_only(school: School, menu: Menu, number: int, rule: Promotion) -> None:
    """Practise hard problems, few at a time with many attempts each."""
    del menu, rule
    config, rng = school.config, Random(f"{school.seed} hard {number}")
    few = max(1, config.batch // 4)
    batches = [rng.sample(school.train, few) for _ in range(config.datasets * config.inner)]
    school.practise(batches, group_size=config.group_size * config.batch // few)


def direct(school: School, menu: Menu, number: int, rule: Promotion, *, learns: bool) -> None:
    """Practise everything that the teacher proposes; ``learns`` pays it for pass rates near one half."""
    del number, rule
    for _ in range(school.config.datasets):
        proposals = menu.draw(school.config.proposals)
        rates = school.lesson(menu, proposals)
        if learns:
            menu.learn(proposals, scaled(leave_one_out([1 - 2 * abs(rate - 0.5) for rate in rates])))


def grounded(school: School, menu: Menu, number: int, rule: Promotion) -> None:
    """Train a student on each data set from the same baseline, pay the teacher by the gains, and promote the best student or go back."""
    config, learner = school.config, school.student.learner
    hard = Random(f"{school.seed} subsample {number}").sample(school.train, config.subsample)
    baseline, lineage = learner.snapshot(), school.lineage

    def train(proposals: Sequence[Choice], _: int) -> Kept:
        learner.restore(baseline)
        school.lesson(menu, proposals)
        return learner.snapshot()

    def accuracy(student: Kept) -> float:
        learner.restore(student)
        return school.accuracy(hard)

    before = accuracy(baseline)
    datasets = [menu.draw(config.proposals) for _ in range(config.datasets)]
    made = lessons(datasets, train=train, accuracy=accuracy, before=before)
    proposals, credit = zip(*credit_of(made), strict=True)
    menu.learn(proposals, scaled(credit))
    promoted = rule.add(sum(one.reward for one in made) / len(made))
    learner.restore(max(made, key=lambda one: one.reward).student if promoted else baseline)
    school.lineage = lineage + config.inner * promoted


def scaled(credit: Sequence[float]) -> list[float]:
    """Return credit at a root mean square of 1, so that both rewards move the teacher alike; zeros stay zeros."""
    size = float(np.sqrt(np.mean(np.square(credit))))
    return [one / size if size else 0.0 for one in credit]


STEPS: Mapping[str, Callable[[School, Menu, int, Promotion], None]] = {
    "hard only": hard_only,
    "uniform": partial(direct, learns=False),
    "intrinsic": partial(direct, learns=True),
    "grounded": grounded,
}
"""One outer step of each arm; all make the same number of updates and attempts."""


RATES = dict.fromkeys(STEPS, 1e-3)
"""Learning rates that a sweep chose."""


def learned(
    config: Config, arm: str, seed: int, rate: float
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Run one arm; return its numbers, and the accuracy on the hard test half after each outer step.

    ``first`` is the number of updates until a hard problem of the test half was solved, the whole budget where none was; ``lineage`` are the updates
    that the final student itself has had.
    """
    school, menu, rule = School(config, seed, rate), menu_of(config, seed), Promotion()
    solved = school.student.test(school.train, temperature=1.0)[0]["success"] * config.hard_train
    curve = [{"updates": 0.0, "accuracy": school.accuracy(school.test)}]
    for number in range(config.budget // (config.datasets * config.inner)):
        STEPS[arm](school, menu, number, rule)
        updates = float(school.student.ledger.updates)
        curve.append({"updates": updates, "accuracy": school.accuracy(school.test)})
    first = next((row["updates"] for row in curve if row["accuracy"] > 0), float(config.budget))
    return {
        "solved_before": solved,
        "first": first,
        "final": curve[-1]["accuracy"],
        "entropy": menu.entropy() if arm != "hard only" else 0.0,
        "lineage": float(school.lineage),
        "updates": float(school.student.ledger.updates),
        "attempts": float(school.student.ledger.environment_steps),
    }, curve


def trial(config: Config, name: str, folder: Path, seed: int, rate: float) -> dict[str, float]:
    """Run one arm with one seed at one rate."""
    found, curve = learned(config, name, seed, rate)
    keep_curve(folder, curve, arm=name, seed=seed, rate=rate)
    return found


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return the final accuracy on the hard test half and the updates to the first solved problem, by arm."""
    trials = {name: partial(trial, config, name, folder.path) for name in STEPS}
    seeds = range(config.seed, config.seed + config.seeds)
    result, best = tuned_study(
        trials, trials if config.sweep else {}, known=RATES, rates=config.rates, by="final", seeds=seeds,
        baseline="hard only", folder=folder.path, loggers=loggers,
    )  # fmt: skip
    curves = kept_curves(folder.path, best, seeds, key="accuracy", across="updates")
    plot_lines(
        mean_lines(curves), folder.path / "soar.svg", title="Hard problems solved, over updates with all inner loops",
        across="updates", up="accuracy on the hard test half",
    )  # fmt: skip
    return {f"{key} {one.name}": one.means[key].value for one in result.arms for key in ("final", "first")}
