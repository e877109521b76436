"""Step-GUI (S14): the outcome of a whole trajectory decides which step data may be learned from; three rounds of rolling out, extracting and training.

Paper: Step-GUI Technical Report (arXiv:2512.15431). Claims: with labels that a verified outcome calibrates, above 90 % of the annotation is right at a
tenth to a hundredth of the cost; rounds of it improve the model.

Certain (paper): a binary outcome; a model extracts seven kinds of items (``data.questions``); a success yields all kinds, a failure all but the action; rollouts,
extraction and training take turns. Inferred: the sequence inside a round, knowledge before actions, as mid-training comes before the cold start. Ours: the world
(ScreenGrid); the extractor, an oracle of steps whose word is turned around at a stated rate, which stands for a model's (what it only copies, screens and actions, is
right); no new tasks are written; the outcome is the world's. Elsewhere: the rewards of gestures (``credit.gestures``), clipping that preserves gradients (``keep_above`` and
``keep_below`` of the loss), pass-rate curricula (``evolve.tasks``), the protocol of two levels (``serve-screens``, docs/mcp.md). Left out: groups that are rolled out again
with hints, reinforcement, screenshots, grounding data, the daily-task benchmark (ScreenGrid's goals in the words of people are tested).

    everystep reproduce step_gui

All arms of a seed have the same start, and as many rollouts and updates. Measured (docs/recipes/step_gui.md, five seeds): one verdict on the outcome gives targets
that are right in 99 %; three rounds gain +0.089 [+0.068, +0.110] with it, nothing without; the items of knowledge do not help.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from everystep.core.protocols import Evidence, Logger, Looks
from everystep.core.records import Sample, Trajectory
from everystep.data.questions import KNOWLEDGE, WORDS, items, yielded
from everystep.environments.screengrid.world import ScreenGrid
from everystep.evaluate.plot import plot_bands
from everystep.evaluate.study import Trial, study
from everystep.learn.samples import supervised_sample
from everystep.learn.student import Student
from everystep.run.folder import RunFolder
from everystep.verify.judging import shares
from everystep.verify.noise import Noise
from everystep.verify.rule import Rule

KEPT_FROM = 0.5
"""Steps with at least this share of the extractor's range are called right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Labels of steps by several rules, and rounds of learning from them."""

    apps: str = "mail,shop"
    """Apps of ScreenGrid."""
    size: str = "0.05M"
    """Size of the model."""
    demonstrations: int = 150
    """Demonstrations that the model imitates first."""
    warm_updates: int = 150
    """Updates of the warm start."""
    warm_rate: float = 4e-3
    """Peak rate of the warm start."""
    labelled: int = 400
    """Rollouts whose labels are compared."""
    accuracy: float = 0.8
    """How often the extractor is right about a step, in the rounds."""
    rounds: int = 3
    """Rounds of rolling out and training."""
    rollouts: int = 300
    """Rollouts of a round."""
    updates: int = 80
    """Updates on actions in a round."""
    knowledge_updates: int = 30
    """Updates on knowledge in a round, before; arms without knowledge do them on actions."""
    learning_rate: float = 2e-3
    """Peak rate of a round."""
    test_tasks: int = 200
    """Held-out tasks."""
    seeds: int = 5
    """Paired seeds."""
    seed: int = 0
    """The first seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Which steps become targets: those of successes (``outcome``), those that the extractor calls right (``judge``), both, or all; and whether knowledge is learned.

    ``accuracy`` is how often the extractor is right, where that is not the study's.
    """

    outcome: bool = False
    judge: bool = False
    knowledge: bool = True
    accuracy: float | None = None


ACCURACIES = (0.6, 0.7, 0.8, 0.9, 1.0)
LABELS: Mapping[str, Arm] = {
    "outcome": Arm(outcome=True),
    **{f"step judge {q:.0%}": Arm(judge=True, accuracy=q) for q in ACCURACIES},
    **{f"outcome and step judge {q:.0%}": Arm(outcome=True, judge=True, accuracy=q) for q in ACCURACIES},
}
"""Rules of labelling, with how often the extractor is right."""
ROUNDS: Mapping[str, Arm] = {
    "no calibration": Arm(),
    "step judge": Arm(judge=True),
    "step judge, never wrong": Arm(judge=True, accuracy=1.0),
    "outcome": Arm(outcome=True),
    "outcome and step judge": Arm(outcome=True, judge=True),
    "outcome, actions only": Arm(outcome=True, knowledge=False),
}
"""Arms of the rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Which steps are targets, by id; what the extractor thinks of each that it was asked about; how many verdicts that took, on steps and on trajectories."""

    targets: frozenset[str]
    said: Mapping[str, bool]
    step_verdicts: int
    outcome_verdicts: int


def right(evidence: Evidence) -> bool:
    """Say whether a step brought the goal nearer, or ended well."""
    return evidence.step.scores["closer"] > 0


def accuracy_of(config: Config, arm: Arm) -> float:
    """Return how often the extractor of an arm is right."""
    return config.accuracy if arm.accuracy is None else arm.accuracy


def said_of(made: Sequence[Trajectory], accuracy: float, seed: int) -> dict[str, bool]:
    """Return what the extractor says of each step."""
    oracle = Rule(name="oracle", function=right, looks=Looks(result=True))
    extractor = Noise(of=oracle, false_positive=1 - accuracy, false_negative=1 - accuracy, seed=seed)
    return {step: share >= KEPT_FROM for step, share in shares(made, extractor).items()}


def labelled(made: Sequence[Trajectory], arm: Arm, accuracy: float, seed: int) -> Labelled:
    """Choose the targets among the steps of rollouts. The extractor is asked only where its word decides."""
    used = [one for one in made if one.success] if arm.outcome else list(made)
    said = said_of(used, accuracy, seed) if arm.judge else {}
    ids = (step.id for one in used for step in one.steps)
    return Labelled(
        targets=frozenset(step for step in ids if said.get(step, True)),
        said=said,
        step_verdicts=len(said),
        outcome_verdicts=len(made) if arm.outcome else 0,
    )


@lru_cache(maxsize=1)
def warm(config: Config, seed: int) -> Student:
    """Return a model that has imitated a few demonstrations. All arms of a seed begin with a copy."""
    world = ScreenGrid(apps=config.apps)
    student = Student.begin(world, (*world.texts(), *WORDS), size=config.size, seed=seed)
    shown = student.demonstrate(
        [world.task("train", 1_000_000 + index) for index in range(config.demonstrations)]
    )
    student.imitate(
        [supervised_sample(one) for one in shown],
        updates=config.warm_updates,
        learning_rate=config.warm_rate,
    )
    return student


@lru_cache(maxsize=1)
def first_rollouts(config: Config, seed: int) -> list[Trajectory]:
    """Return rollouts of the start; the same for all rules."""
    student = warm(config, seed).copy()
    return student.attempt([student.world.task("train", index) for index in range(config.labelled)])


def label_trial(config: Config, arm: Arm, seed: int) -> dict[str, float]:
    """Label the rollouts by one rule; return how right the choice of targets is, and what it cost."""
    made = first_rollouts(config, seed)
    found = labelled(made, arm, accuracy_of(config, arm), seed)
    steps = {step.id: step.scores["closer"] > 0 for one in made for step in one.steps}
    good = {step for step, well in steps.items() if well}
    hits = len(found.targets & good)
    return {
        "accuracy": sum((step in found.targets) is well for step, well in steps.items()) / len(steps),
        "precision": hits / max(1, len(found.targets)),
        "recall": hits / max(1, len(good)),
        "step_verdicts": found.step_verdicts / len(made),
        "outcome_verdicts": found.outcome_verdicts / len(made),
        "success": sum(one.success is True for one in made) / len(made),
    }


def action_rows(made: Sequence[Trajectory], targets: frozenset[str]) -> list[Sample]:
    """Return one row a trajectory that has a target; its other steps are context."""
    return [
        supervised_sample(one, {step.id: float(step.id in targets) for step in one.steps})
        for one in made
        if any(step.id in targets for step in one.steps)
    ]


def knowledge_rows(student: Student, made: Sequence[Trajectory], arm: Arm, said: Mapping[str, bool]) -> list[Sample]:  # fmt: skip
    """Return a row for each knowledge item: of every trajectory, as the outcome forbids only its actions. Without it nobody says whether the goal was reached."""
    asked = (
        item
        for one in made
        for item in items(
            one,
            yielded(one.success) & KNOWLEDGE if arm.outcome else KNOWLEDGE,
            right=said,
            reached=one.success is True if arm.outcome else None,
            brief=brief,
        )
    )
    return [supervised_sample(one) for one in student.written(asked)]


def brief(screen: str) -> str:
    """Return what stands before the elements: the app and the page.

    >>> brief("shop main : fruit , drink , search")
    'shop main'
    """
    return screen.split(" : ", 1)[0]


def trial(config: Config, arm: Arm, seed: int) -> dict[str, float]:
    """Run the rounds of one arm; return held-out success after each."""
    student = warm(config, seed).copy()
    world, accuracy = student.world, accuracy_of(config, arm)
    held = [world.task("test", index) for index in range(config.test_tasks)]
    told = {"round 0": student.test(held)[0]["success"]}
    kept: list[Sample] = []
    known: list[Sample] = []
    verdicts = targets = good = 0
    for number in range(config.rounds):
        first = (1 + number) * 100_000
        made = student.attempt([world.task("train", first + index) for index in range(config.rollouts)])
        found = labelled(made, arm, accuracy, seed)
        kept += action_rows(made, found.targets)
        updates = config.updates
        if arm.knowledge:
            said = said_of(made, accuracy, seed)  # the extractor writes items of every trajectory
            known += knowledge_rows(student, made, arm, said)
            student.imitate(
                known, updates=config.knowledge_updates, batch=32, learning_rate=config.learning_rate
            )
        else:
            updates += config.knowledge_updates
        if kept:
            student.imitate(kept, updates=updates, batch=32, learning_rate=config.learning_rate)
        told[f"round {number + 1}"] = student.test(held)[0]["success"]
        verdicts += found.step_verdicts + found.outcome_verdicts
        targets += len(found.targets)
        good += sum(
            step.id in found.targets and step.scores["closer"] > 0 for one in made for step in one.steps
        )
    people = [world.task("written", index) for index in range(world.size("written") or 0)]
    written, _ = student.test([replace(one, instruction=str(one.reference)) for one in people])
    return told | {
        "written": written["success"],
        "precision": good / max(1, targets),
        "verdicts": verdicts / (config.rounds * config.rollouts),
        "updates": float(student.ledger.updates),
        "environment_steps": float(student.ledger.environment_steps),
    }


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Compare the rules of labelling, then the rounds; return the accuracy of each rule and the success after each arm's last round."""
    seeds = range(config.seed, config.seed + config.seeds)
    labels = study(
        {name: _label_trial(config, arm) for name, arm in LABELS.items()},
        seeds=seeds,
        baseline="step judge 80%",
        folder=folder.path / "labels",
        loggers=loggers,
    )
    rounds = study(
        {name: _trial(config, arm) for name, arm in ROUNDS.items()},
        seeds=seeds,
        baseline="no calibration",
        folder=folder.path,
        loggers=loggers,
    )
    after = range(config.rounds + 1)
    lines = {one.name: {float(n): one.means[f"round {n}"] for n in after} for one in rounds.arms}
    plot_bands(lines, folder.path / "step_gui.svg", title="Rounds of learning from labelled steps", across="round", up="held-out success")  # fmt: skip
    last = f"round {config.rounds}"
    return {f"accuracy {one.name}": one.means["accuracy"].value for one in labels.arms} | {
        f"success {one.name}": one.means[last].value for one in rounds.arms
    }


def _label_trial(config: Config, arm: Arm) -> Trial:
    return lambda seed: label_trial(config, arm, seed)


def _trial(config: Config, arm: Arm) -> Trial:
    return lambda seed: trial(config, arm, seed)
