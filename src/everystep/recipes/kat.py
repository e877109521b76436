"""KAT-V1 (S09): think, or answer at once; the decision and the answer have rewards of their own, on their own segments.

Paper: KAT-V1, Kwai-AutoThink (arXiv:2507.08297). Claims: Step-SRPO, a reinforcement with intermediate supervision, lets a model choose its mode, with about 30 % fewer tokens at
equal or better accuracy; multi-token-prediction distillation makes the base model cheaply.

Certain: the output format (judge segment, mode tag, optional think segment, answer) and the shares of the dual-regime data (34.8 % thinking), both from
secondary texts. The paper gives no formula of Step-SRPO and no weights of the distillation, so both are our reading: ``A_judge = norm(J; group)`` with J = +-1 for
the mode that the group itself shows to be right, plus ``carry`` times ``A_answer = norm(Y; group)`` on the decision, ``A_answer`` alone on the answer; half of a group is forced to a
mode, so that both are seen, and forced tags have no loss. Heads: weights 1 and 0.3 (``learn.distil``). Ours too: the world (ThinkMath), in which a segment is a step, and the vote
(off if most of k samples without thinking pass). History resampling (prompts that were all correct rest for an epoch) is recalled, not verified: an arm, off by default.
Left out: the solver-thinker-critic loop (the oracle writes the thinking), the universal logit loss between vocabularies.

    everystep reproduce kat

Every arm of a seed begins at the same cold start and sees the same tasks, as many attempts at each, and as many updates. Measured (docs/recipes/kat.md,
five seeds): the decision's own reward makes the mode right more often than GRPO, with 11 % fewer tokens at equal accuracy; extra heads do not help the main one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np

from everystep.core.protocols import Logger, Loss
from everystep.core.records import Sample, SpanKind, Task, Trajectory
from everystep.credit.decisions import Choice, decision_scores, most
from everystep.credit.estimators import estimator
from everystep.environments.reasoning.thinkmath import (
    ANSWER,
    DECISION,
    MODES,
    ThinkMath,
    force_of,
    forced,
    mode_of,
    segment_of,
    words,
)
from everystep.evaluate.plot import plot_points
from everystep.evaluate.study import Study, study, tune
from everystep.evolve.tasks import PassRate, results_of
from everystep.learn.distil import Distillation, Distiller, distil
from everystep.learn.samples import supervised_sample, with_forced
from everystep.learn.student import Student
from everystep.run.folder import RunFolder
from everystep.run.rollout import Job, jobs_of, seed_of

CHAINS, DUAL, LABELLED, HELD_OUT = (part << 24 for part in (1, 2, 3, 4))
"""Where in the training split the tasks of each part begin; those of the reinforcement begin at 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Modes of thinking by reinforcement, and a student with extra heads."""

    size: str = "0.1M"
    """Size of the model that decides and answers."""
    easy: int = 4
    """Most steps of an easy question."""
    low: int = 5
    """Fewest steps of a hard question."""
    high: int = 8
    """Most steps of a hard question."""
    hard: float = 0.348
    """Share of hard questions."""
    chain_updates: int = 500
    """Updates on long chains, three in four of them thought through: what the base model knows first."""
    dual_updates: int = 600
    """Updates on both modes in the published shares, without any decision."""
    thinking: float = 0.348
    """Share of thinking examples in the dual-regime data."""
    votes: int = 4
    """Samples without thinking that label a task for the cold start."""
    labelled: int = 150
    """Tasks that the cold start is made of."""
    turned: float = 0.0
    """Share of the labels that are turned to thinking whatever the vote said: a start that thinks too much."""
    cold_updates: int = 60
    """Updates on decisions and answers of the labelled tasks."""
    iterations: int = 40
    """Iterations of reinforcement."""
    tasks: int = 12
    """Tasks of an iteration."""
    group_size: int = 8
    """Attempts at each task."""
    pool: int = 160
    """Training tasks that the reinforcement goes through again and again."""
    learning_rate: float = 4e-4
    """Rate of the reinforcement, where no sweep chooses it: what a sweep chose for most arms."""
    sweep: int = 0
    """Seeds of a sweep of each method's rate, behind those that are reported; 0 sweeps nothing."""
    sweep_iterations: int = 20
    """Iterations of a run of the sweep."""
    delta: float = 0.1
    """How much lower the pass rate without thinking may be for it to be right."""
    carry: float = 1.0
    """Weight of the answer's advantage on the decision."""
    test_tasks: int = 200
    """Held-out tasks, greedy."""
    student: str = "0.03M"
    """Size of the distilled student."""
    distil_updates: int = 400
    """Updates of the distillation."""
    distil_rate: float = 4e-3
    """Peak rate of the distillation."""
    heads: int = 2
    """Extra heads of the student."""
    seeds: int = 5
    """Paired seeds."""
    seed: int = 0
    """The first seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A way to reinforce: the mode that is always taken, how many of a group are forced to one, whether decision and answer are credited apart.

    ``judged`` gives decisions a reward of their own. ``rest`` is the number of epochs that a task rests after all of its attempts passed. ``rms`` scales the
    advantages of each update to that root mean square.
    """

    always: str = ""
    forced: int = 0
    segments: bool = False
    judged: bool = True
    rest: int = 0
    rms: float | None = None
    trained: bool = True


SRPO = Arm(forced=4, segments=True)
ARMS: Mapping[str, Arm] = {
    "GRPO": Arm(),
    "cold start": Arm(trained=False),
    "always think": Arm(always="on"),
    "never think": Arm(always="off"),
    "Step-SRPO": SRPO,
    "Step-SRPO, no judge reward": replace(SRPO, judged=False),
    "Step-SRPO, resampled": replace(SRPO, rest=1),
    "Step-SRPO, equal RMS": replace(SRPO, rms=0.6),
}
RATES = (1e-4, 2e-4, 4e-4)
SWEPT = ("GRPO", "always think", "never think", "Step-SRPO")
"""What the sweep chooses a rate for; the others are variants of Step-SRPO and take its rate."""


def world_of(config: Config) -> ThinkMath:
    """Return the world: easy and hard questions, a decision before each answer."""
    return ThinkMath(easy=config.easy, low=config.low, high=config.high, hard=config.hard)


def tasks_of(world: ThinkMath, first: int, count: int) -> list[Task]:
    """Return ``count`` training tasks from ``first`` on."""
    return [world.task("train", first + index) for index in range(count)]


def rows(trajectories: Sequence[Trajectory], *, decision: float) -> list[Sample]:
    """Return rows for imitation, with this weight on the decision and 1 on the answer."""
    return [supervised_sample(one, {one.steps[0].id: decision}) for one in trajectories]


@lru_cache(maxsize=16)
def base(config: Config, seed: int) -> Student:
    """Return a model that can think and can answer at once, and has never decided."""
    world = world_of(config)
    student = Student.begin(world, words(), size=config.size, seed=seed, max_tokens=64, context=256)
    longer = replace(world, low=config.high - 2, hard=0.8)
    chains = regimes(tasks_of(longer, CHAINS, 4 * config.chain_updates), 0.75, seed)
    shown = student.demonstrate(chains, name="chains")
    student.imitate(rows(shown, decision=0.0), updates=config.chain_updates, batch=12)
    shown = student.demonstrate(dual_regime(config, seed), name="dual")
    student.imitate(rows(shown, decision=0.0), updates=config.dual_updates)
    return student


def dual_regime(config: Config, seed: int) -> list[Task]:
    """Return the tasks of the dual-regime data with their modes."""
    return regimes(tasks_of(world_of(config), DUAL, 6 * config.dual_updates), config.thinking, seed)


def regimes(tasks: Sequence[Task], thinking: float, seed: int) -> list[Task]:
    """Return the tasks with modes by chance, this share of them thinking."""
    think = np.random.default_rng(seed_of(seed, "regimes", len(tasks))).random(len(tasks)) < thinking
    return [forced(task, "on" if on else "off") for task, on in zip(tasks, think, strict=True)]


@lru_cache(maxsize=2)
def cold_start(config: Config, seed: int) -> Student:
    """Return the base model after imitating labelled decisions: off where most samples without thinking passed."""
    student = base(config, seed).copy()
    tasks = tasks_of(world_of(config), LABELLED, config.labelled)
    jobs = jobs_of([forced(task, "off") for task in tasks], group_size=config.votes, prefix="vote", seed=seed)
    passed: dict[str, list[bool]] = defaultdict(list)
    for one in student.run(jobs):
        passed[one.task.id].append(one.success is True)
    turned = np.random.default_rng(seed_of(seed, "turned")).random(len(tasks)) < config.turned
    labels = [
        "off" if most(passed[task.id]) and not on else "on" for task, on in zip(tasks, turned, strict=True)
    ]
    shown = student.demonstrate([forced(*pair) for pair in zip(tasks, labels, strict=True)], name="cold")
    student.imitate(rows(shown, decision=1.0), updates=config.cold_updates, learning_rate=1e-3)
    return student


def jobs_for(arm: Arm, jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs of an arm: all in one mode, or the last ones of each group forced to either in turn."""
    if arm.always:
        return [replace(job, task=forced(job.task, arm.always)) for job in jobs]
    return [
        replace(job, task=forced(job.task, MODES[job.sample % 2])) if job.sample < arm.forced else job
        for job in jobs
    ]


def marked(trajectory: Trajectory) -> Trajectory:
    """Return a trajectory whose forced tag stands in its tokens as what it is: context."""
    decision, *rest = trajectory.steps
    if not force_of(trajectory.task) or decision.tokens is None:
        return trajectory
    return replace(trajectory, steps=(replace(decision, tokens=with_forced(decision.tokens)), *rest))


def segment_scores(
    trajectories: Sequence[Trajectory], *, delta: float, judged: bool = True
) -> dict[str, np.ndarray]:
    """Return the scores ``judge`` and ``answer``, one number a step. A forced decision has neither; without ``judged`` all have the same."""
    choices = [
        Choice(
            group=one.group,
            way=mode_of(one.steps[0]) or "",
            passed=one.success is True,
            forced=bool(force_of(one.task)),
        )
        for one in trajectories
    ]
    judge = decision_scores(choices, cheap="off", dear="on", delta=delta) * float(judged)
    scores: dict[str, list[float]] = {"judge": [], "answer": []}
    for one, choice, score in zip(trajectories, choices, judge, strict=True):
        for step in one.steps:
            decision = segment_of(step) == DECISION
            scores["judge"].append(score if decision else np.nan)
            scores["answer"].append(np.nan if decision and choice.forced else float(choice.passed))
    return {name: np.array(values) for name, values in scores.items()}


def reinforce(config: Config, arm: Arm, student: Student, rate: float) -> None:
    """Reinforce a student: the outcome alone, or decision and answer apart."""
    source = PassRate(tasks_of(world_of(config), 0, config.pool), rest=arm.rest, seed=student.seed)
    loss = Loss(aggregate="sum")
    split = estimator("step_srpo", judge_segment=DECISION, answer_segment=ANSWER, carry=config.carry)
    for number in range(config.iterations):
        starts = source.next(config.tasks)
        tasks = [start.task for start in starts]
        seed = seed_of(student.seed, "iteration", number)
        jobs = jobs_for(arm, jobs_of(tasks, group_size=config.group_size, prefix=f"i{number}", seed=seed))
        tried = [marked(one) for one in student.run(jobs)]
        learn = partial(student.reinforce, tried, loss=loss, learning_rate=rate, match_rms=arm.rms)
        if arm.segments:
            scores = segment_scores(tried, delta=config.delta, judged=arm.judged)
            learn(estimator=split, scores=scores, segment=segment_of)
        else:
            learn(estimator=estimator("grpo"))
        source.report(results_of(starts, tried))


def written(trajectory: Trajectory) -> int:
    """Return how many tokens the model wrote itself."""
    spans = [span for step in trajectory.steps if step.tokens is not None for span in step.tokens.spans]
    return sum(span.end - span.start for span in spans if span.kind is SpanKind.SAMPLED)


def measured(config: Config, student: Student, always: str) -> dict[str, float]:
    """Return accuracy and tokens, and how often the mode was the better one for this very model (off where both do as well).

    ``area`` is the accuracy times the share of tokens saved against right answers that all think.
    """
    tasks = [student.world.task("test", index) for index in range(config.test_tasks)]
    ways = {mode: student.test([forced(task, mode) for task in tasks])[1] for mode in MODES}
    taken = ways[always] if always else student.test(tasks)[1]
    passed = {mode: [one.success is True for one in some] for mode, some in ways.items()}
    better = ["on" if on and not off else "off" for on, off in zip(passed["on"], passed["off"], strict=True)]
    chosen = [mode_of(one.steps[0]) for one in taken]
    hard = [int(one.task.tags["steps"]) > config.easy for one in taken]
    right = [one.success is True for one in taken]
    think = [one == "on" for one in chosen]
    thought = student.demonstrate([forced(task, "on") for task in tasks], name="full")
    full = float(np.mean([written(one) for one in thought]))
    tokens, accuracy = float(np.mean([written(one) for one in taken])), float(np.mean(right))
    return {
        "accuracy": accuracy,
        "tokens": tokens,
        "area": accuracy * max(0.0, 1.0 - tokens / full),
        "mode_accuracy": float(np.mean([one == two for one, two in zip(chosen, better, strict=True)])),
        "think_easy": _mean(think, [not one for one in hard]),
        "think_hard": _mean(think, hard),
        "accuracy_hard": _mean(right, hard),
    }


def _mean(values: Sequence[bool], where: Sequence[bool]) -> float:
    some = [value for value, one in zip(values, where, strict=True) if one]
    return float(np.mean(some)) if some else 0.0


def mode_trial(config: Config, arm: Arm, seed: int, rate: float) -> dict[str, float]:
    """Run one arm of the modes from the cold start of its seed."""
    student = cold_start(config, seed).copy()
    if arm.trained:
        reinforce(config, arm, student, rate)
    cost = student.ledger
    return measured(config, student, arm.always) | {
        "episodes": float(cost.episodes),
        "sampled": float(cost.sampled_tokens),
        "updates": float(cost.updates),
    }


def head_trial(config: Config, heads: int, seed: int) -> dict[str, float]:
    """Distil the base model into a smaller one; return the divergence on held-out rows and the accuracy in either mode."""
    teacher = base(config, seed)
    student = Student.begin(
        teacher.world,
        words(),
        size=config.student,
        seed=seed_of(seed, "student") % 2**31,
        max_tokens=64,
        context=256,
    )
    distiller = Distiller(student.model, teacher.model, options=Distillation(ahead=heads))
    held_out = regimes(tasks_of(world_of(config), HELD_OUT, config.test_tasks), config.thinking, seed)
    learned, held = (
        rows(student.demonstrate(some, name=name), decision=0.0)
        for name, some in (("dual", dual_regime(config, seed)), ("held", held_out))
    )
    distil(distiller, learned, updates=config.distil_updates, learning_rate=config.distil_rate, seed=seed)
    tasks = [teacher.world.task("test", index) for index in range(config.test_tasks)]
    right = {mode: student.test([forced(task, mode) for task in tasks])[0]["success"] for mode in MODES}
    return {
        "divergence": distiller.measure(held)["main"],
        "accuracy_on": right["on"],
        "accuracy_off": right["off"],
        "updates": float(config.distil_updates),
    }


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run both studies; return accuracy, tokens and mode accuracy of every arm, and the divergence with and without heads."""
    seeds = range(config.seed, config.seed + config.seeds)
    rates = dict.fromkeys(SWEPT, config.learning_rate)
    if config.sweep:
        shorter = replace(config, iterations=config.sweep_iterations)
        others = range(seeds.stop, seeds.stop + config.sweep)
        swept = {name: partial(mode_trial, shorter, ARMS[name]) for name in SWEPT}
        rates = tune(swept, rates=RATES, seeds=others, by="accuracy", folder=folder.path, loggers=loggers)
    rated = {name: rates.get(name, rates["Step-SRPO"]) for name in ARMS}
    modes = study(
        {name: partial(mode_trial, config, arm, rate=rated[name]) for name, arm in ARMS.items()},
        seeds=seeds, baseline="GRPO", folder=folder.path / "modes", loggers=loggers,
    )  # fmt: skip
    heads = study(
        {"main head": partial(head_trial, config, 0), "extra heads": partial(head_trial, config, config.heads)},
        seeds=seeds, baseline="main head", folder=folder.path / "heads", loggers=loggers,
    )  # fmt: skip
    plot_points(
        points(modes),
        folder.path / "pareto.svg",
        title="Accuracy and tokens",
        across="tokens written",
        up="accuracy",
    )
    told = {
        f"{key} {one.name}": one.means[key].value
        for one in modes.arms
        for key in ("accuracy", "tokens", "mode_accuracy")
    }
    return told | {f"divergence {one.name}": one.means["divergence"].value for one in heads.arms}


def points(modes: Study) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
    """Return for each arm its seeds' tokens and accuracies."""
    return {one.name: (one.values["tokens"], one.values["accuracy"]) for one in modes.arms}
