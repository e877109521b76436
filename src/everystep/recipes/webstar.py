"""WebSTAR (S07): grade every step of noisy rollouts and imitate the good ones, instead of keeping or dropping whole trajectories.

Paper: WebSTAR, Scalable Data Synthesis for Computer Use Agents with Step-Level Filtering (arXiv:2512.10962). Claim: imitation of filtered steps beats that of
successful trajectories and that of everything; bad steps stay in the history of the good ones.

Certain (released code): a judge grades each step from 0 to 10 with the last three screenshots and all actions, before its effect is seen. Inferred: a step is kept above 5; only
the judged step is a target, the history stays as it is. Ours: the world (ScreenGrid); the demonstrator, an oracle that takes a random other action with a stated rate; the
judge, an oracle whose verdicts are turned around with a stated rate, which stands for a model's. Left out: thought augmentation, screenshots.

    everystep reproduce webstar

All arms of a seed and an error rate have the same rollouts, model, updates and batch. Measured (docs/recipes/webstar.md, five seeds): good steps beat
everything; they beat whole successes where the judge is right about 80 to 90 % of the steps, and lose to them at 60 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from everystep.core.protocols import Evidence, Logger, Looks
from everystep.core.records import Sample, Trajectory
from everystep.environments.screengrid.world import ScreenGrid
from everystep.evaluate.plot import plot_bands
from everystep.evaluate.study import Trial, study
from everystep.learn.samples import supervised_sample
from everystep.learn.student import Student
from everystep.run.folder import RunFolder
from everystep.verify.judging import shares
from everystep.verify.noise import Noise
from everystep.verify.rule import Rule

KEPT_ABOVE = 0.5
"""Steps with a larger share of the judge's range are kept: above 5 of 10."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Imitation of rollouts that are filtered by the step, by the trajectory, or not."""

    apps: str = "mail,shop"
    """Apps of ScreenGrid."""
    size: str = "0.05M"
    """Size of the model."""
    rollouts: int = 800
    """Rollouts of the demonstrator."""
    updates: int = 400
    """Updates of imitation."""
    learning_rate: float = 6e-3
    """Peak rate of the imitation."""
    test_tasks: int = 200
    """Held-out tasks."""
    seeds: int = 5
    """Paired seeds."""
    seed: int = 0
    """The first seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What is kept of the rollouts of a demonstrator that errs so often: ``everything``, ``successes`` or good ``steps``; the judge is right with ``accuracy``.

    ``few`` takes only as many rollouts as give the number of steps that the successful trajectories have.
    """

    errors: float
    keep: str
    accuracy: float = 1.0
    few: bool = False


ARMS: Mapping[str, Arm] = {
    f"{errors:.0%} errors, {name}": arm
    for errors in (0.1, 0.3, 0.5)
    for name, arm in {
        "everything": Arm(errors=errors, keep="everything"),
        "successes": Arm(errors=errors, keep="successes"),
        "good steps": Arm(errors=errors, keep="steps"),
    }.items()
} | {
    "30% errors, good steps, as few": Arm(errors=0.3, keep="steps", few=True),
    **{f"30% errors, judge {q:.0%}": Arm(errors=0.3, keep="steps", accuracy=q) for q in (0.9, 0.8, 0.7, 0.6)},
}


ACCURACIES = (0.6, 0.7, 0.8, 0.9)
SHOWN: Mapping[str, Mapping[float, str]] = {
    "good steps": {q: f"30% errors, judge {q:.0%}" for q in ACCURACIES} | {1.0: "30% errors, good steps"},
    "successes": dict.fromkeys((*ACCURACIES, 1.0), "30% errors, successes"),
    "everything": dict.fromkeys((*ACCURACIES, 1.0), "30% errors, everything"),
}
"""The arms that the plot shows, by the accuracy of the judge; the outcome needs no judge."""


@lru_cache(maxsize=3)
def rollouts(config: Config, errors: float, seed: int) -> tuple[Student, list[Trajectory]]:
    """Return an untrained student and the demonstrator's rollouts with its tokens; the same for all arms of a seed."""
    world = ScreenGrid(apps=config.apps)
    student = Student.begin(world, world.texts(), size=config.size, seed=seed)
    tasks = [world.task("train", seed * config.rollouts + index) for index in range(config.rollouts)]
    return student, student.demonstrate(tasks, error_rate=errors)


def right(evidence: Evidence) -> bool:
    """Say whether a step brought the goal nearer, or ended well."""
    return evidence.step.scores["closer"] > 0


def kept(made: Sequence[Trajectory], arm: Arm, seed: int) -> dict[str, float]:
    """Return the weight of every step of the rollouts that are used: 1 for a target, 0 for context."""
    if arm.keep == "everything":
        return {step.id: 1.0 for one in made for step in one.steps}
    successes = {step.id: 1.0 for one in made if one.success for step in one.steps}
    if arm.keep == "successes":
        return successes
    oracle = Rule(name="oracle", function=right, looks=Looks(result=True))
    wrong = 1.0 - arm.accuracy
    judge = Noise(of=oracle, false_positive=wrong, false_negative=wrong, seed=seed)
    weights = {step: float(share > KEPT_ABOVE) for step, share in shares(made, judge).items()}
    if not arm.few:
        return weights
    some: dict[str, float] = {}
    for one in made:
        if sum(some.values()) >= len(successes):
            break
        some |= {step.id: weights[step.id] for step in one.steps}
    return some


def samples_of(made: Sequence[Trajectory], weights: Mapping[str, float]) -> list[Sample]:
    """Return one sample a trajectory that has a step to imitate."""
    return [
        supervised_sample(one, {step.id: weights[step.id] for step in one.steps})
        for one in made
        if any(weights.get(step.id) for step in one.steps)
    ]


def trial(config: Config, arm: Arm, seed: int) -> dict[str, float]:
    """Imitate what one arm keeps; return held-out success and what was kept."""
    start, made = rollouts(config, arm.errors, seed)
    student, weights = start.copy(), kept(made, arm, seed)
    samples = samples_of(made, weights)
    if samples:
        student.imitate(samples, updates=config.updates, learning_rate=config.learning_rate)
    tested, _ = student.test([student.world.task("test", index) for index in range(config.test_tasks)])
    good = {step.id for one in made for step in one.steps if step.scores["closer"] > 0}
    targets = {step for step, weight in weights.items() if weight}
    return {
        "success": tested["success"],
        "targets": float(len(targets)),
        "precision": len(targets & good) / max(1, len(targets)),
        "recall": len(targets & good) / max(1, len(good)),
    }


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return the held-out success of each."""
    arms = {name: _trial(config, arm) for name, arm in ARMS.items()}
    seeds = range(config.seed, config.seed + config.seeds)
    baseline = "30% errors, everything"
    result = study(arms, seeds=seeds, baseline=baseline, folder=folder.path, loggers=loggers)
    plot_bands(
        {keep: {accuracy: result.arm(name).means["success"] for accuracy, name in by.items()} for keep, by in SHOWN.items()},
        folder.path / "webstar.svg", title="Imitation of rollouts with 30 % errors",
        across="share of the judge's verdicts that are right", up="held-out success",
    )  # fmt: skip
    return {f"success {one.name}": one.means["success"].value for one in result.arms}


def _trial(config: Config, arm: Arm) -> Trial:
    return lambda seed: trial(config, arm, seed)
