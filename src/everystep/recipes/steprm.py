"""StepRM (S07): a small reward model learns a judge's grades of steps and takes the judge's place in the filter.

Paper: WebSTAR (arXiv:2512.10962), second part: WebSCORE's graded steps train StepRM, a judge that costs a fraction. Claim: it grades about as well as the large model
that it learned from. Its loss and class balance are not published.

Ours: two forms behind one protocol. The words form (``verify.regress``) is a linear model on hashed words and a few measures; the label form (``learn.step_reward``) is a
tiny language model that writes yes or no behind the step, good and bad steps balanced, from nothing or from an agent that imitated what the judge kept. The
judge is an oracle whose verdicts are turned around with a stated rate, the world ScreenGrid. Reward models learn from one set of rollouts and filter another. Published step labels (GUI-Critic and others): ``docs/judges.md``.

    everystep reproduce steprm

Measured (docs/recipes/steprm.md, five seeds): no small reward model takes the judge's place; a label form that starts from an agent comes nearest, and what it
keeps teaches no better than everything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from everystep.core.protocols import Logger, Looks
from everystep.core.records import Trajectory
from everystep.environments.screengrid.world import ScreenGrid
from everystep.evaluate.study import Trial, study
from everystep.learn.samples import supervised_sample
from everystep.learn.step_reward import label_samples, train_label_tokens, train_step_model
from everystep.learn.student import Student
from everystep.run.folder import RunFolder
from everystep.verify.estimators import Labels, log_odds
from everystep.verify.evidence import step_evidence
from everystep.verify.judging import shares
from everystep.verify.noise import Noise
from everystep.verify.regress import LOOKS, Trained, Training
from everystep.verify.rule import Rule

ARMS = ("everything", "oracle", "judge", "words", "labels", "labels, agent first")
"""Who says which steps are imitated."""
ASK, GOOD, BAD = "? ", "yes", "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Step reward models from a judge's verdicts, in the judge's place."""

    apps: str = "mail,shop"
    """Apps of ScreenGrid."""
    size: str = "0.05M"
    """Size of the agent and of the label form."""
    errors: float = 0.3
    """Share of the demonstrator's actions that are wrong."""
    accuracy: float = 0.9
    """Share of the judge's verdicts that are right."""
    graded: int = 800
    """Rollouts that the judge grades and reward models learn from."""
    rollouts: int = 800
    """Rollouts that are filtered and imitated."""
    epochs: int = 6
    """Passes of the label form over its graded steps."""
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
class Ground:
    """What all arms of a seed share: an untrained agent, graded and ungraded rollouts, who is right, and the judge."""

    student: Student
    graded: list[Trajectory]
    fresh: list[Trajectory]
    judge: Noise

    def truth(self) -> dict[str, bool]:
        """Return whether each of the fresh steps is right."""
        return {step.id: step.scores["closer"] > 0 for one in self.fresh for step in one.steps}


@lru_cache(maxsize=1)
def ground(config: Config, seed: int) -> Ground:
    """Return what the arms of a seed share."""
    world = ScreenGrid(apps=config.apps)
    texts = {*world.texts(), ASK, GOOD, BAD, ">"}
    student = Student.begin(world, texts, size=config.size, seed=seed)
    first = seed * (config.graded + config.rollouts)
    tasks = [world.task("train", first + index) for index in range(config.graded + config.rollouts)]
    oracle = Rule(
        name="oracle",
        function=lambda evidence: evidence.step.scores["closer"] > 0,
        looks=Looks(result=True),
    )
    wrong = 1.0 - config.accuracy
    return Ground(
        student=student,
        graded=student.demonstrate(tasks[: config.graded], error_rate=config.errors, name="graded"),
        fresh=student.demonstrate(tasks[config.graded :], error_rate=config.errors, name="fresh"),
        judge=Noise(of=oracle, false_positive=wrong, false_negative=wrong, seed=seed),
    )


def said_by(name: str, config: Config, shared: Ground) -> dict[str, float]:
    """Return how good each of the fresh steps is, 0 to 1, in the eyes of one arm."""
    if name == "everything":
        return dict.fromkeys(shared.truth(), 1.0)
    if name in ("oracle", "judge"):
        return shares(shared.fresh, shared.judge.of if name == "oracle" else shared.judge)
    labels = shares(shared.graded, shared.judge)
    if name == "words":
        return shares(shared.fresh, Trained(model=train_step_model(shared.graded, labels, Training())))
    reader = shared.student.copy()
    if name == "labels, agent first":  # what acts in this world can read its screens
        imitate(reader, shared.graded, {step: float(share > 0.5) for step, share in labels.items()}, config)
    form = Labels(encode=reader.model.template.encode, ask=ASK, good=GOOD, bad=BAD)
    samples = label_samples(shared.graded, labels, form)
    train_label_tokens(reader.learner, samples, epochs=config.epochs, batch=64, learning_rate=3e-3)
    asked = [one for made in shared.fresh for one in step_evidence(made, LOOKS)]
    odds = log_odds(reader.learner, form, asked)
    return {one.targets[0]: 1 / (1 + math.exp(-value)) for one, value in zip(asked, odds, strict=True)}


def imitate(student: Student, made: Sequence[Trajectory], kept: Mapping[str, float], config: Config) -> None:
    """Let a student imitate the steps that are kept; the others are context."""
    samples = [
        supervised_sample(one, {step.id: kept[step.id] for step in one.steps})
        for one in made
        if any(kept[step.id] for step in one.steps)
    ]
    if samples:
        student.imitate(samples, updates=config.updates, learning_rate=config.learning_rate)


def trial(config: Config, name: str, seed: int) -> dict[str, float]:
    """Filter the fresh rollouts by one judge and imitate what it keeps."""
    shared = ground(config, seed)
    truth, teacher = shared.truth(), shares(shared.fresh, shared.judge)
    kept = {step: float(share > 0.5) for step, share in said_by(name, config, shared).items()}
    student = shared.student.copy()
    imitate(student, shared.fresh, kept, config)
    tested, _ = student.test([student.world.task("test", index) for index in range(config.test_tasks)])
    targets = {step for step, weight in kept.items() if weight}
    good = {step for step, well in truth.items() if well}
    return {
        "success": tested["success"],
        "precision": len(targets & good) / max(1, len(targets)),
        "recall": len(targets & good) / max(1, len(good)),
        "right": sum((step in targets) == well for step, well in truth.items()) / len(truth),
        "as_judge": sum((step in targets) == (share > 0.5) for step, share in teacher.items()) / len(teacher),
    }


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return held-out success and how often each filter was right."""
    arms: Mapping[str, Trial] = {name: _trial(config, name) for name in ARMS}
    seeds = range(config.seed, config.seed + config.seeds)
    result = study(arms, seeds=seeds, baseline="judge", folder=folder.path, loggers=loggers)
    return {f"{key} {one.name}": one.means[key].value for one in result.arms for key in ("success", "right")}


def _trial(config: Config, name: str) -> Trial:
    return lambda seed: trial(config, name, seed)
