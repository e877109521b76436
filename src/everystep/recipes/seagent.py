"""SEAgent (S22): tasks are proposed, tried and judged step by step; good steps are reinforced, bad ones pushed away; specialists become a generalist.

Paper: SEAgent, Self-Evolving Computer Use Agent with Autonomous Learning from Experience (arXiv 2508.04700). Claim: 11.3 to 34.5 % success on five programs;
a generalist made of specialists beats their ensemble and direct training on all programs.

Certain (released code): the judge of whole trajectories names redundant steps and the first error; the rule of the cut (``verify.localise``); good steps are prompts of
GRPO with 8 samples and a graded reward against the good step (``credit.gestures.graded``), normalised with eps 1e-4, a mean over the tokens of each sample; bad steps get
``-log sigmoid(-(log p - log q))`` at weight 0.2, both kinds in one update, as they come: here the weight is 0.2 times bad steps over prompts.
Ours: the world (ScreenGrid, three apps); a judge that is an oracle which errs at a stated rate; a proposer that fills patterns with what its document says and asks for longer
plans in later phases, in the place of a model; a document of the screens that were seen; a goal that an app does not offer costs half of the step limit; the
reference of bad steps is the model before the update; each bad step once (released: once for each step before it); no KL (its weight is not
known); a warm start that imitates a clumsy oracle. Left out: screenshots, captions, the vote of four verdicts.

    everystep reproduce seagent

All arms of a seed have the same warm start and the same number of environment steps, samples of single steps and those of specialists included. Rates are the
best of three on one other seed with half of the budget; arms that differ from GRPO + AFI in something else take its rate. Measured (docs/recipes/seagent.md,
five seeds): sampled success rises and bad steps become rarer, but plain imitation of the good steps does best; AFI, curriculum and generalist show no sure gain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from random import Random

import numpy as np

from everystep.core.protocols import Logger, Loss
from everystep.core.records import Sample, Step, Task, Trajectory
from everystep.credit.estimators import estimator
from everystep.credit.gestures import graded, pointed
from everystep.environments.screengrid.proposals import first_screens, goals_of, noted
from everystep.environments.screengrid.steps import Beside, beside
from everystep.environments.screengrid.world import ScreenGrid
from everystep.evaluate.study import RatedTrial, Trial, study, tune
from everystep.learn.pairs import avoid_samples, avoided_mass, with_reference
from everystep.learn.prompts import last_step_scores
from everystep.learn.samples import supervised_sample
from everystep.learn.student import Student
from everystep.run.folder import RunFolder
from everystep.run.history import as_history
from everystep.run.rollout import seed_of
from everystep.verify.localise import Report, cut, localise, mistaken

WARM = 1_000_000
"""The number of the first task of the warm start."""
SCREEN = (1000.0, 1000.0)
"""Width and height of a screen in the unit of its boxes."""
AVOID = 0.2
"""Published weight of a bad step."""
LOSS = Loss(policy="ppo", aggregate="rollout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Phases of proposing, trying, judging and learning."""

    apps: str = "mail,shop,calendar"
    """Apps of ScreenGrid."""
    size: str = "0.05M"
    """Size of the model."""
    demonstrations: int = 800
    """Demonstrations of the warm start."""
    errors: float = 0.15
    """Share of their steps that are wrong."""
    warm_updates: int = 350
    """Updates of the warm start."""
    phases: int = 3
    """Phases; before each the proposer writes new goals."""
    goals: int = 60
    """Goals an app and phase."""
    budget: int = 8000
    """Environment steps of each arm."""
    tasks: int = 8
    """Tasks that are tried in a round."""
    attempts: int = 4
    """Attempts at each."""
    positives: int = 16
    """Most good steps of a round that are learned from."""
    samples: int = 8
    """Samples of each good step."""
    minibatches: int = 2
    """Updates of a round."""
    wrong: float = 0.1
    """How often the judge errs."""
    generalist_updates: int = 150
    """Updates in which the generalist imitates the specialists' successes."""
    generalist_rate: float = 4e-3
    """Peak rate of that."""
    test_tasks: int = 150
    """Held-out tasks."""
    sweep: bool = True
    """Find the rates of imitation, GRPO and GRPO + AFI on another seed, with half of the budget; else that of the row is taken."""
    rates: tuple[float, ...] = (3e-4, 6e-4, 1.2e-3)
    """Rates that are swept."""
    seeds: int = 5
    """Paired seeds."""
    seed: int = 0
    """The first seed; the sweep uses the one after the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Whether good steps are imitated or reinforced, the weight of a bad step, whether the goals grow with what is known, and the judge's errors (``None``: those of
    the configuration)."""

    reinforced: bool = True
    avoid: float = 0.0
    curriculum: bool = True
    wrong: float | None = None
    rate: float = 3e-4


ARMS: Mapping[str, Arm] = {
    "imitation": Arm(reinforced=False),
    "GRPO": Arm(),
    "GRPO + AFI": Arm(avoid=AVOID),
    "GRPO + AFI at 1": Arm(avoid=1.0),
    "GRPO + AFI, no curriculum": Arm(avoid=AVOID, curriculum=False),
    "GRPO + AFI, judge errs 30 %": Arm(avoid=AVOID, wrong=0.3),
}
DIRECT = "GRPO + AFI"
"""The arm that is trained on all apps directly, and how specialists and generalist learn."""


@dataclass(slots=True, kw_only=True)
class Practice:
    """What came of an agent's phases: itself, trajectories that were judged correct, and bad steps as rows; ``curve`` is its success behind each phase."""

    student: Student
    successes: list[Trajectory] = field(default_factory=list)
    bad: list[Sample] = field(default_factory=list)
    curve: list[float] = field(default_factory=list)
    named: int = 0
    right: int = 0


def world_of(config: Config) -> ScreenGrid:
    """Return the world: held out are other starts of goals that training has too."""
    return ScreenGrid(apps=config.apps, holdout="starts")


@lru_cache(maxsize=1)
def warm(config: Config, seed: int) -> Student:
    """Return the agent that all arms of a seed begin with a copy of."""
    world = world_of(config)
    student = Student.begin(world, world.texts(), size=config.size, seed=seed)
    tasks = [world.task("train", WARM + index) for index in range(config.demonstrations)]
    shown = student.demonstrate(tasks, error_rate=config.errors)
    student.imitate(
        [supervised_sample(one) for one in shown], updates=config.warm_updates, learning_rate=6e-3
    )
    return student


# --- judge and rewards ----------------------------------------------------------------------------------


def report_of(places: Sequence[Beside], trajectory: Trajectory, rate: float, seed: int) -> Report:
    """Return what the judge says of a trajectory; asked again, it says the same."""
    last = places[-1]
    nearer = last.step.scores.get("closer", 0.0) > 0
    left = [*(one.left for one in places), last.left - 1 if nearer else last.left]
    random = Random(seed_of(seed, "judge", trajectory.id))
    return mistaken(localise(trajectory.success, left), len(places), rate, random)


def reward(made: str, place: Beside) -> float:
    """Return the graded reward of a sampled step, 0 to 2: how near it comes to the good step that was taken there."""
    reference = pointed(place.step.action.text, place.view)
    return 0.0 if reference is None else graded(pointed(made, place.view), reference, SCREEN)


# --- phases ---------------------------------------------------------------------------------------------


def practise(
    config: Config,
    arm: Arm,
    student: Student,
    apps: Sequence[str],
    budget: int,
    test: Callable[[Student], float],
) -> Practice:
    """Let an agent learn in its phases until its ledger has ``budget`` environment steps."""
    world = _world(student)
    found = Practice(student=student)
    screens, kinds = set(first_screens(world, apps)), set[str]()
    known = {app: noted(app, screens) for app in apps}
    tasks: list[Task] = []
    for phase in range(config.phases):
        rng = np.random.default_rng(seed_of(student.seed, "phase", phase))
        if arm.curriculum and phase:
            known = {app: noted(app, screens, kinds) for app in apps}
        if arm.curriculum or not phase:
            hardness = phase / (config.phases - 1) if arm.curriculum else 0.5
            seed = seed_of(student.seed, "goals", phase)
            tasks, impossible = goals_of(world, known, count=config.goals, hardness=hardness, seed=seed)
            student.ledger.add(environment_steps=impossible * (world.max_steps // 2))
        while student.ledger.environment_steps < budget * (phase + 1) // config.phases:
            chosen = [tasks[int(at)] for at in rng.integers(0, len(tasks), config.tasks)]
            made = student.attempt(chosen, group_size=config.attempts)
            screens |= {step.observation.text for one in made for step in one.steps}
            kinds |= {kind for one in made for kind in one.task.tags["kind"].split("+")}
            learn(config, arm, found, made, rng)
        found.curve.append(test(student))
    return found


def learn(
    config: Config, arm: Arm, found: Practice, made: Sequence[Trajectory], rng: np.random.Generator
) -> None:
    """Judge trajectories, cut them, and learn from their good and bad steps in one update."""
    student, world = found.student, _world(found.student)
    rate = config.wrong if arm.wrong is None else arm.wrong
    good: list[tuple[Trajectory, Beside]] = []
    bad: list[str] = []
    for one in made:
        places = beside(world, one)
        report = report_of(places, one, rate, student.seed)
        if report.correct:
            found.successes.append(one)
        parts = cut(report, len(places))
        good += [(one, places[at]) for at in parts.positive]
        bad += [] if parts.negative is None else [places[parts.negative].step.id]
    student.ledger.add(judge_calls=len(made))
    found.named += len(good)
    found.right += sum(place.step.scores["closer"] > 0 for _, place in good)
    chosen = [good[int(at)] for at in rng.permutation(len(good))[: config.positives]]
    rows = avoid_samples(made, bad, restrict=True)
    found.bad += rows
    samples = reinforced(config, student, chosen) if arm.reinforced else imitated(chosen)
    loss = LOSS
    if arm.avoid and rows:
        samples += with_reference(rows, student.learner.score(rows))
        loss = replace(LOSS, avoid=arm.avoid * len(rows) / max(1, len(chosen)))
    if samples:
        student.fit(samples, loss, learning_rate=arm.rate, minibatches=config.minibatches)


def imitated(chosen: Sequence[tuple[Trajectory, Beside]]) -> list[Sample]:
    """Return good steps as rows to imitate, those of a trajectory in one."""
    kept = {place.step.id for _, place in chosen}
    whole = {one.id: one for one, _ in chosen}
    return [
        supervised_sample(one, {step.id: float(step.id in kept) for step in one.steps}, restrict=True)
        for one in whole.values()
    ]


def reinforced(config: Config, student: Student, chosen: Sequence[tuple[Trajectory, Beside]]) -> list[Sample]:
    """Return samples at the prompts of good steps, with the credit that they have among the samples of their prompt."""
    if not chosen:
        return []
    starts: list[tuple[Task, tuple[Step, ...]]] = [
        (one.task, as_history(one.steps[: place.step.index])) for one, place in chosen
    ]
    name = f"single{student.ledger.episodes}"
    made = student.attempt_from(starts, group_size=config.samples, steps=1, name=name)
    places = {f"{name}.{number}": place for number, (_, place) in enumerate(chosen)}
    rewards = [reward(one.steps[-1].action.text, places[one.group]) for one in made]
    credit = estimator("step_grpo", score="step", eps=1e-4)
    return list(student.credited(made, credit, scores={"step": last_step_scores(made, rewards)}).samples)


def _world(student: Student) -> ScreenGrid:
    assert isinstance(student.world, ScreenGrid)  # noqa: S101 -- `warm` began it there
    return student.world


# --- what is measured -----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def held_bad(config: Config, seed: int) -> tuple[Sample, ...]:
    """Return bad steps that the warm start takes on held-out tasks, as an infallible judge cuts them."""
    student = warm(config, seed)
    world = _world(student)
    _, made = student.test(_tests(config), temperature=1.0, name="bad")
    named = []
    for one in made:
        places = beside(world, one)
        parts = cut(report_of(places, one, 0.0, seed), len(places))
        named += [] if parts.negative is None else [places[parts.negative].step.id]
    return tuple(avoid_samples(made, named, restrict=True))


def _tests(config: Config) -> list[Task]:
    world = world_of(config)
    return [world.task("test", index) for index in range(config.test_tasks)]


def success_of(config: Config, by_app: Mapping[str, Student], temperature: float = 1.0) -> float:
    """Return the success on held-out tasks where each app has its agent; one agent may have all."""
    tasks = _tests(config)
    won = 0.0
    for app, student in by_app.items():
        own = [one for one in tasks if one.tags["app"] == app]
        won += student.test(own, temperature=temperature)[0]["success"] * len(own) if own else 0.0
    return won / len(tasks)


def everywhere(config: Config, student: Student) -> dict[str, Student]:
    """Return one agent for all apps."""
    return dict.fromkeys(config.apps.split(","), student)


def numbers_of(
    config: Config,
    seed: int,
    by_app: Mapping[str, Student],
    curve: Sequence[float],
    some: Sequence[Practice],
    steps: int,
) -> dict[str, float]:
    """Return the numbers of an arm: success sampled as in training, behind each phase and greedy, and the mass on bad steps, on those that it met and on held-out ones."""
    own = {id(one): one for one in by_app.values()}.values()
    met = [avoided_mass(one.student.learner, one.bad) for one in some if one.bad]
    named = sum(one.named for one in some)
    return {
        "success": success_of(config, by_app),
        "greedy": success_of(config, by_app, temperature=0.0),
        **{f"phase {number}": value for number, value in enumerate(curve, start=1)},
        "bad_met": float(np.mean(met)) if met else 0.0,
        "bad_held": float(np.mean([avoided_mass(one.learner, held_bad(config, seed)) for one in own])),
        "good_right": sum(one.right for one in some) / named if named else 0.0,
        "environment_steps": float(steps),
    }


# --- the arms -------------------------------------------------------------------------------------------


def start(config: Config, seed: int) -> dict[str, float]:
    """Test the warm start."""
    student = warm(config, seed).copy()
    by_app = everywhere(config, student)
    return numbers_of(config, seed, by_app, [success_of(config, by_app)] * config.phases, [], 0)


def direct(config: Config, arm: Arm, seed: int) -> dict[str, float]:
    """Train one agent on all apps."""
    student = warm(config, seed).copy()
    by_app = everywhere(config, student)
    found = practise(
        config,
        arm,
        student,
        tuple(by_app),
        config.budget,
        lambda one: success_of(config, everywhere(config, one)),
    )
    return numbers_of(config, seed, by_app, found.curve, [found], student.ledger.environment_steps)


@lru_cache(maxsize=2)
def specialists(config: Config, arm: Arm, seed: int, budget: int) -> dict[str, Practice]:
    """Return an agent for each app that has practised there alone, ``budget`` environment steps in all."""
    apps = config.apps.split(",")
    found = {}
    for app in apps:
        alone = _only(config, app)
        found[app] = practise(config, arm, warm(config, seed).copy(), (app,), budget // len(apps), alone)
    return found


def _only(config: Config, app: str) -> Callable[[Student], float]:
    return lambda student: success_of(config, {app: student})


def ensemble(config: Config, arm: Arm, seed: int) -> dict[str, float]:
    """Give each app its specialist."""
    found = specialists(config, arm, seed, config.budget)
    by_app = {app: one.student for app, one in found.items()}
    curve = [sum(one.curve[at] for one in found.values()) for at in range(config.phases)]
    return numbers_of(config, seed, by_app, curve, list(found.values()), _spent(found))


def generalist(config: Config, arm: Arm, seed: int, *, reinforce: bool) -> dict[str, float]:
    """Imitate the successes of specialists, then perhaps learn on all apps for the last third of the budget."""
    first = config.budget * 2 // 3 if reinforce else config.budget
    found = specialists(config, arm, seed, first)
    student = warm(config, seed).copy()
    rows = [
        supervised_sample(one, restrict=True) for practice in found.values() for one in practice.successes
    ]
    if rows:
        student.imitate(rows, updates=config.generalist_updates, learning_rate=config.generalist_rate)
    by_app = everywhere(config, student)
    curve, some = [success_of(config, by_app)] * config.phases, list(found.values())
    if reinforce:
        more = practise(
            config, arm, student, tuple(by_app), config.budget - _spent(found),
            lambda one: success_of(config, everywhere(config, one)),
        )  # fmt: skip
        curve, some = more.curve, [more]
    spent = _spent(found) + student.ledger.environment_steps
    return numbers_of(config, seed, by_app, curve, some, spent)


def _spent(found: Mapping[str, Practice]) -> int:
    return sum(one.student.ledger.environment_steps for one in found.values())


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return success and the mass on bad steps by arm."""
    rows, seeds = dict(ARMS), range(config.seed, config.seed + config.seeds)
    if config.sweep:
        short = replace(config, budget=config.budget // 2)
        rated = {name: _rated(short, ARMS[name]) for name in ("imitation", "GRPO", DIRECT)}
        best = tune(
            rated, rates=config.rates, seeds=[seeds.stop], by="success", folder=folder.path, loggers=loggers
        )
        rows = {name: replace(arm, rate=best.get(name, best[DIRECT])) for name, arm in rows.items()}
    arms: dict[str, Trial] = {"start": partial(start, config)}
    arms |= {name: partial(direct, config, arm) for name, arm in rows.items()}
    arms |= {
        "specialists, ensemble": partial(ensemble, config, rows[DIRECT]),
        "generalist, imitation": partial(generalist, config, rows[DIRECT], reinforce=False),
        "generalist": partial(generalist, config, rows[DIRECT], reinforce=True),
    }
    result = study(arms, seeds=seeds, baseline=DIRECT, folder=folder.path, loggers=loggers)
    keys = ("success", "bad_met", "bad_held")
    return {f"{key} {one.name}": one.means[key].value for one in result.arms for key in keys}


def _rated(config: Config, arm: Arm) -> RatedTrial:
    return lambda seed, rate: direct(config, replace(arm, rate=rate), seed)
