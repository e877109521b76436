"""Mobile-R1 (S47): imitation, then rewards for single steps, then rewards for whole tasks in the live environment.

Paper: Mobile-R1, Towards Interactive Reinforcement Learning for VLM-Based Mobile Agent via Task-Level Rewards (arXiv 2506.20332). Claim: rewards for single
steps alone end in a local optimum; multi-turn rewards for tasks after them bring exploration and correction of errors.

From secondary texts (no authors' code was found): the three stages; the reward of a step (1 inside the reference box or for an equal action, plus 1 for its
form); the reward of a task (the share of well-formed steps plus a judge's score of the whole trajectory); GRPO in both. Ours: the world (ScreenGrid), free text
without thoughts; the judge is an oracle of success that errs at a stated rate in the place of GPT-4o; groups of 8; no penalty on repeats and no KL, of which
nothing is known; trajectories with self-correction are those of a clumsy oracle that errs and finds back, imitated whole; held out are other starts of
goals that training has too. ``RMS`` arms have advantages scaled to one root mean square in both stages: the control of the step size.

    everystep reproduce mobile_r1

All arms of a seed have the same warm start (stage 1) and the same number of environment steps behind it; a sample of a single step counts as one.
``1, longer`` goes on with stage 1 on fresh annotated trajectories; they count as many steps as stage 2 would have sampled there, and get as many updates. Each arm's rate is the
best of three on one other seed with half of the budget; imitation has four times the rate that is named. Measured (docs/recipes/mobile_r1.md, five
seeds): step rewards and task rewards both raise sampled success, more imitation does not; both stages are no better than step rewards alone, and no arm
learns to recover.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count, islice

import numpy as np

from everystep.core.protocols import Evidence, Logger, Looks, Loss, Sampling, Transition
from everystep.core.records import Level, Task, Trajectory
from everystep.credit.estimators import estimator
from everystep.credit.gestures import hit, pointed
from everystep.environments.screengrid.steps import Beside, beside
from everystep.environments.screengrid.world import ScreenGrid
from everystep.evaluate.recovery import Start, forced_errors, recovery
from everystep.evaluate.study import RatedTrial, Trial, study, tune
from everystep.learn.prompts import last_step_scores, prompts_of
from everystep.learn.samples import supervised_sample
from everystep.learn.student import Student
from everystep.run.demonstrate import demonstrator
from everystep.run.folder import RunFolder
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Limits, jobs_of, rollout, seed_of
from everystep.verify.judging import shares
from everystep.verify.noise import Noise
from everystep.verify.rule import Rule

WARM = 1_000_000
"""The number of the first task of stage 1."""
LOSS = Loss(policy="ppo", aggregate="token")
FASTER = 4.0
"""Imitation has as many times the learning rate of the others: its gradient is that steadier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The stages, alone and behind each other, with the same number of environment steps."""

    apps: str = "mail,shop"
    """Apps of ScreenGrid."""
    size: str = "0.05M"
    """Size of the model."""
    annotated: int = 600
    """Annotated trajectories of stage 1, half of them with self-correction."""
    errors: float = 0.3
    """Share of wrong steps in those."""
    warm_updates: int = 300
    """Updates of stage 1."""
    warm_rate: float = 6e-3
    """Peak learning rate of stage 1."""
    budget: int = 8000
    """Environment steps of each arm behind stage 1."""
    tasks: int = 8
    """Tasks of a round: annotated in stage 2, attempted in stage 3."""
    group_size: int = 8
    """Samples of a step, or attempts at a task."""
    minibatches: int = 2
    """Updates of a round."""
    false_rate: float = 0.2
    """How often the noisy judge is wrong, about successes and about failures."""
    test_tasks: int = 150
    """Held-out tasks."""
    sweep: bool = True
    """Find each arm's rate on another seed, with half of the budget; else that of its row is taken."""
    rates: tuple[float, ...] = (2.5e-4, 5e-4, 1e-3)
    """Rates that are swept."""
    seeds: int = 5
    """Paired seeds."""
    seed: int = 0
    """The first seed; the sweep uses the one after the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """The stages behind the warm start, which share the budget evenly, the rate, whether the judge errs, and the root mean square that advantages are scaled to."""

    stages: tuple[str, ...] = ()
    rate: float = 5e-4
    noisy: bool = False
    rms: float | None = None

    @property
    def own_rate(self) -> bool:
        """Whether the arm has a sweep of its own; the others take the rate of the arm with these stages that has."""
        return bool(self.stages) and not self.noisy and self.rms is None


ARMS: Mapping[str, Arm] = {
    "1": Arm(),
    "1, longer": Arm(stages=("imitate",)),
    "1 + 2": Arm(stages=("single",)),
    "1 + 3": Arm(stages=("whole",)),
    "1 + 2 + 3": Arm(stages=("single", "whole")),
    "1 + 3, noisy judge": Arm(stages=("whole",), noisy=True),
    "1 + 2 + 3, noisy judge": Arm(stages=("single", "whole"), noisy=True),
    "1 + 2, RMS 0.75": Arm(stages=("single",), rms=0.75),
    "1 + 2 + 3, RMS 0.75": Arm(stages=("single", "whole"), rms=0.75),
}
BASELINE = "1 + 2"


def world_of(config: Config) -> ScreenGrid:
    """Return the world: held out are other starts of goals that training has too, which is what a small model can learn in this budget."""
    return ScreenGrid(apps=config.apps, holdout="starts")


# --- annotated trajectories ---------------------------------------------------------------------------


def annotated(student: Student, tasks: Sequence[Task], errors: float) -> list[Trajectory]:
    """Return the oracle's way through each task; on every second one it errs now and then, and finds back."""
    hosts, made = LocalHosts(student.world), list[Trajectory]()
    for name, some, rate in (("clean", tasks[::2], 0.0), ("corrected", tasks[1::2], errors)):
        jobs = jobs_of(some, group_size=1, prefix=name, seed=seed_of(student.seed, name))
        clumsy = demonstrator(hosts, error_rate=rate)
        made += rollout(hosts, clumsy, jobs, sampling=Sampling(), limits=student.limits)
    return student.written(made)


@lru_cache(maxsize=1)
def warm(config: Config, seed: int) -> Student:
    """Return a student behind stage 1. All arms of a seed begin with a copy."""
    world = world_of(config)
    student = Student.begin(world, world.texts(), size=config.size, seed=seed, constrain=False, max_tokens=6)
    tasks = [world.task("train", WARM + index) for index in range(config.annotated)]
    rows = [supervised_sample(one) for one in annotated(student, tasks, config.errors)]
    student.imitate(rows, updates=config.warm_updates, learning_rate=config.warm_rate)
    return student


# --- rewards ------------------------------------------------------------------------------------------


def well_formed(world: ScreenGrid, text: str) -> float:
    """Return the reward of a form: 1 for what can be read as an action."""
    return float(world.parse(text).valid)


def step_reward(world: ScreenGrid, place: Beside) -> float:
    """Return the reward of a step in stage 2, 0 to 2: inside the box of the reference or equal to it, and well-formed."""
    reference = pointed(place.right, place.view)
    if reference is None:
        return 0.0
    said = place.step.action.text
    return hit(pointed(said, place.view), reference) + well_formed(world, said)


def judge_of(config: Config, arm: Arm, seed: int) -> Rule | Noise:
    """Return the judge of whole trajectories: right, or wrong as often as ``false_rate`` says."""

    def solved(evidence: Evidence) -> bool:
        return evidence.outcomes[0] == 1.0

    oracle = Rule(
        name="solved", function=solved, looks=Looks(outcome=True), levels=frozenset({Level.TRAJECTORY})
    )
    rate = config.false_rate
    return Noise(of=oracle, false_positive=rate, false_negative=rate, seed=seed) if arm.noisy else oracle


# --- the stages ---------------------------------------------------------------------------------------

Stage = Callable[[Config, Arm, Student, Iterator[Task], float], None]
"""Takes the tasks that it needs, does one round and charges its environment steps."""


def imitate(config: Config, arm: Arm, student: Student, tasks: Iterator[Task], rate: float) -> None:  # noqa: ARG001
    """Stage 1 goes on, in one go, with as many fresh trajectories and updates as stage 2 would have had there."""
    made: list[Trajectory] = []
    rounds = steps = 0
    while steps < config.budget:
        some = annotated(student, [*islice(tasks, config.tasks)], config.errors)
        steps += config.group_size * sum(len(one.steps) for one in some)
        rounds += 1
        made += some
    student.ledger.add(environment_steps=steps)
    student.imitate(
        [supervised_sample(one) for one in made],
        updates=rounds * config.minibatches,
        learning_rate=FASTER * rate,
    )


def single(config: Config, arm: Arm, student: Student, tasks: Iterator[Task], rate: float) -> None:
    """Stage 2: GRPO on the samples of each annotated step."""
    world, walks = _world(student), annotated(student, [*islice(tasks, config.tasks)], config.errors)
    made = student.attempt_from(prompts_of(walks), group_size=config.group_size, steps=1)
    rewards = [step_reward(world, beside(world, one)[-1]) for one in made]
    scores = {"step": last_step_scores(made, rewards)}
    credit = estimator("step_grpo", score="step")
    student.reinforce(
        made, credit, LOSS, learning_rate=rate, scores=scores, match_rms=arm.rms, minibatches=config.minibatches
    )  # fmt: skip


def whole(config: Config, arm: Arm, student: Student, tasks: Iterator[Task], rate: float) -> None:
    """Stage 3: GRPO on whole attempts; their outcome is the share of well-formed steps and what the judge says."""
    world = _world(student)
    made = student.attempt([*islice(tasks, config.tasks)], group_size=config.group_size)
    said = shares(made, judge_of(config, arm, student.seed), level=Level.TRAJECTORY)
    student.ledger.add(judge_calls=len(made))
    judged = [
        replace(
            one,
            outcome=said[one.id]
            + float(np.mean([well_formed(world, step.action.text) for step in one.steps])),
        )
        for one in made
    ]
    student.reinforce(
        judged, estimator("grpo"), LOSS, learning_rate=rate, match_rms=arm.rms, minibatches=config.minibatches
    )


STAGES: Mapping[str, Stage] = {"imitate": imitate, "single": single, "whole": whole}


def _world(student: Student) -> ScreenGrid:
    assert isinstance(student.world, ScreenGrid)  # noqa: S101 -- `warm` began it there
    return student.world


# --- the study ----------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def starts_of(config: Config) -> tuple[Start, ...]:
    """Return held-out states behind a forced wrong step, the same for all students."""

    def wrong(found: Transition) -> bool:
        return found.valid and found.scores["closer"] <= 0.0

    world = world_of(config)
    tasks = [world.task("test", index) for index in range(config.test_tasks)]
    return tuple(forced_errors(LocalHosts(world), tasks, limits=Limits(max_steps=world.max_steps), bad=wrong))


def numbers_of(config: Config, student: Student) -> dict[str, float]:
    """Return success on held-out tasks, sampled as in training and greedy; greedy also success behind a forced wrong step, and single steps that hit the oracle's."""
    world = _world(student)
    tasks = [world.task("test", index) for index in range(config.test_tasks)]
    (tested, tried), (greedy, _) = student.test(tasks, temperature=1.0), student.test(tasks)
    told = recovery(
        student.hosts, student.sampler(), starts_of(config), limits=student.limits, constrain=False,
        sampling=Sampling(temperature=0.0, max_tokens=student.max_tokens), seed=student.seed,
    )  # fmt: skip
    walks = student.written(
        rollout(
            student.hosts,
            demonstrator(student.hosts),
            jobs_of(tasks, group_size=1, prefix="right", seed=0),
            sampling=Sampling(),
            limits=student.limits,
        )
    )
    asked = student.copy().attempt_from(prompts_of(walks), steps=1, temperature=0.0)  # a copy pays
    hits = [step_reward(world, beside(world, one)[-1]) == 2.0 for one in asked]
    texts = [step.action.text for one in tried for step in one.steps]
    return {
        "success": tested["success"],
        "recovery": told.recovered,
        "single_step": float(np.mean(hits)),
        "after_right": told.solved,
        "greedy": greedy["success"],
        "well_formed": float(np.mean([well_formed(world, text) for text in texts])),
        "steps": tested["steps"],
    }


def trained(config: Config, arm: Arm, seed: int, rate: float) -> Student:
    """Return a student behind the stages of one arm."""
    student = warm(config, seed).copy()
    tasks = (student.world.task("train", index) for index in count(10_000 * seed))
    for number, stage in enumerate(arm.stages, start=1):
        while student.ledger.environment_steps < config.budget * number // len(arm.stages):
            STAGES[stage](config, arm, student, tasks, rate)
    return student


def trial(config: Config, arm: Arm, seed: int, rate: float) -> dict[str, float]:
    """Run one arm with one seed at one rate; return its numbers."""
    student = trained(config, arm, seed, rate)
    kept = student.ledger
    return numbers_of(config, student) | {
        "environment_steps": float(kept.environment_steps),
        "updates": float(kept.updates),
    }


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return success, recovery and single-step accuracy by arm."""
    best = {name: arm.rate for name, arm in ARMS.items()}
    seeds = range(config.seed, config.seed + config.seeds)
    if config.sweep:
        short = replace(config, budget=config.budget // 2)
        rated = {name: _rated(short, arm) for name, arm in ARMS.items() if arm.stages and not arm.noisy}
        best |= tune(
            rated, rates=config.rates, seeds=[seeds.stop], by="success", folder=folder.path, loggers=loggers
        )
        best |= {name: best[name.partition(",")[0]] for name, arm in ARMS.items() if arm.noisy}
    arms = {name: _trial(config, arm, best[name]) for name, arm in ARMS.items()}
    result = study(arms, seeds=seeds, baseline=BASELINE, folder=folder.path, loggers=loggers)
    keys = ("success", "recovery", "single_step")
    return {f"{key} {one.name}": one.means[key].value for one in result.arms for key in keys}


def _rated(config: Config, arm: Arm) -> RatedTrial:
    return lambda seed, rate: trial(config, arm, seed, rate)


def _trial(config: Config, arm: Arm, rate: float) -> Trial:
    return lambda seed: trial(config, arm, seed, rate)
