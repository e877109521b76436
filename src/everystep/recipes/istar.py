"""OPRL, "iStar" (S10): a second language model learns from the outcomes of whole episodes which steps lead to success, and scores every step.

Paper: Online Process Reward Learning for Agentic Reinforcement Learning. Claim: better and steadier than GRPO, GiGPO and token-level
implicit rewards, also where states do not repeat.

Certain (released code): the score (``learn.implicit_reward``), beta 0.05, the rollout policy as the reference, every success against every failure of
a group, the scripts' 8 rollouts a task. From secondary texts: the paper's form, which is the default: sums over steps in the preference, the updated
model scores, both terms normalised, weight 1. ``released`` adds the code's form as an arm: means over steps, scores from before
the update, leave-one-out with a step baseline from the first step of each trajectory. Ours: the world, where every attempt at a task has a nonce
of its own; a deadline that is a rule of the task, so that an unsolved episode has failed; the reward model's optimiser starts afresh.
Left out: the invalid-action penalty (nothing invalid can be chosen), the visual task.

    everystep reproduce istar              at the rates of RATES, which --sweep found on other seeds
    everystep reproduce istar --sweep

Arms: grpo; gigpo (exactly grpo here); merged (the step scores summed into the outcome, then grpo); token (a token for a step, as PRIME; an
action is a word and its end); istar; istar at equal RMS (advantages as large as GRPO's of the same episodes). Measured
(docs/recipes/istar.md, five seeds): the scores know a good step from a bad one (61 % of pairs), but the policy ends no better than GRPO's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from everystep.core.protocols import Logger, Loss, Sampling
from everystep.core.records import Trajectory
from everystep.credit.assess import assess
from everystep.credit.columns import columns
from everystep.credit.estimators import estimator
from everystep.credit.grouping import FloatArray
from everystep.credit.implicit import scaled_by_batch
from everystep.credit.terms import Estimator
from everystep.environments.places.keydoor import REWARD, KeyDoor, salted
from everystep.evaluate.curves import curve_numbers, keep_curve, kept_curves
from everystep.evaluate.plot import plot_curves
from everystep.evaluate.study import SWEEP, tuned_study
from everystep.evaluate.worth import worth
from everystep.learn.implicit_reward import PREFER, implicit_scores, log_ratios, prefer_outcomes, token_credit
from everystep.learn.rounds import practise
from everystep.learn.samples import supervised_sample
from everystep.learn.setup import texts_of
from everystep.learn.student import Student
from everystep.learn.warm import FIRST_DEMONSTRATION
from everystep.run.demonstrate import demonstrator
from everystep.run.folder import RunFolder
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Job, Limits, jobs_of, rollout, seed_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """GRPO and its rivals against step scores of a model that prefers successes."""

    side: int = 4
    """Cells a side of the grid."""
    horizon: int = 12
    """Steps until the deadline."""
    size: str = "0.03M"
    """Size of the policy, and of the reward model."""
    demonstrations: int = 500
    """Episodes of a clumsy demonstrator that the agent imitates first."""
    clumsiness: float = 0.4
    """Share of the demonstrator's actions that are wrong."""
    warm_updates: int = 300
    """Updates of the imitation."""
    steps: int = 12000
    """Environment steps of each arm."""
    tasks: int = 4
    """Tasks a round."""
    group_size: int = 8
    """Attempts at each task."""
    reward_rate: float = 1e-3
    """Learning rate of the reward model."""
    beta: float = 0.05
    """Scale of the log-ratios in scores and preferences."""
    weight: float = 1.0
    """Weight of the step scores beside the outcome."""
    released: bool = False
    """Add the form of the released code as an arm."""
    sweep: bool = False
    """Choose each arm's rate on two other seeds; else those of RATES are taken."""
    rates: tuple[float, ...] = (1e-3, 2e-3, 4e-3)
    """The learning rates of the sweep."""
    sweep_steps: int = 6000
    """Environment steps of each arm in the sweep."""
    test_tasks: int = 128
    """Held-out tasks of each test."""
    tests: int = 6
    """Tests of each arm, beside the one at its start."""
    seeds: int = 5
    """Paired seeds."""
    seed: int = 0
    """The first seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """The credit of an arm, and what the reward model's scores are in it: nothing, part of the ``outcome``, or the credit of a ``step`` or ``token``.

    ``equal_rms`` scales the advantages to the size that GRPO's have. ``length`` is that of ``prefer_outcomes``; ``updated`` scores with the updated model.
    """

    credit: str = "grpo"
    variant: str = "paper"
    scores: str = ""
    equal_rms: bool = False
    length: str = "sum"
    updated: bool = True


ARMS: Mapping[str, Arm] = {
    "grpo": Arm(),
    "gigpo": Arm(credit="gigpo"),
    "merged": Arm(scores="outcome"),
    "token": Arm(credit="istar", scores="token"),
    "istar": Arm(credit="istar", scores="step"),
    "istar, equal RMS": Arm(credit="istar", scores="step", equal_rms=True),
}
RELEASED: Mapping[str, Arm] = {
    "istar, released": Arm(credit="istar", variant="released", scores="step", length="steps", updated=False)
}
RATES: Mapping[str, float] = dict.fromkeys((*ARMS, *RELEASED), 4e-3) | dict.fromkeys(
    ("grpo", "gigpo", "merged"), 2e-3
)
"""Learning rates that a sweep chose."""

LOSS = Loss(policy="ppo", aggregate="token", entropy=0.01)
SCORE = "implicit"
TOLD: tuple[str, ...] = ("preference_accuracy", "preference_loss")


@lru_cache(maxsize=2)
def warm(config: Config, seed: int) -> Student:
    """Return an agent that has imitated a clumsy demonstrator. All arms of a seed begin with a copy."""
    world = KeyDoor(side=config.side, horizon=config.horizon, nonce=True, deadline=True, compass=True)
    hosts = LocalHosts(world)
    tasks = [world.task("train", FIRST_DEMONSTRATION + index) for index in range(config.demonstrations)]
    shown = rollout(
        hosts,
        demonstrator(hosts, error_rate=config.clumsiness),
        jobs_of(tasks, group_size=1, prefix="demo", seed=seed_of(seed, "demo")),
        sampling=Sampling(),
        limits=Limits(max_steps=world.max_steps),
    )
    student = Student.begin(
        world, texts_of(shown), size=config.size, seed=seed, constrain=False, max_tokens=3
    )
    rows = [supervised_sample(one) for one in student.written(shown)]
    student.imitate(rows, updates=config.warm_updates)
    return student


def attempts(student: Student, config: Config, seed: int, number: int) -> list[Trajectory]:
    """Return the episodes of a round: groups whose attempts share no state."""
    first = seed * FIRST_DEMONSTRATION // 1024 + number * config.tasks
    tasks = [student.world.task("train", first + index) for index in range(config.tasks)]
    return student.run(
        [
            Job(
                id=f"{number}.{place}.{sample}",
                task=salted(task, sample),
                group=f"{number}.{place}",
                sample=sample,
                seed=seed_of(seed, number, place, sample),
            )
            for place, task in enumerate(tasks)
            for sample in range(config.group_size)
        ]
    )


def reinforced(
    student: Student, config: Config, arm: Arm, made: Sequence[Trajectory], score_S: FloatArray, rate: float
) -> None:
    """Update the policy on steps with the arm's credit."""
    method = credit_of(arm, config)
    if arm.scores == "outcome":
        scaled_S = scaled_by_batch(columns(made), score_S)
        student.reinforce(
            made, method, LOSS, learning_rate=rate, scores={SCORE: scaled_S}, process={SCORE: config.weight * REWARD}
        )  # fmt: skip
        return
    size = None
    if arm.equal_rms:
        size = assess(made, estimator("grpo"))[1].diagnostics.rms
        if not size:
            return  # GRPO would learn nothing from these groups
    scores = {SCORE: score_S} if arm.scores else None
    student.reinforce(made, method, LOSS, learning_rate=rate, scores=scores, match_rms=size)


def credit_of(arm: Arm, config: Config) -> Estimator:
    """Return the estimator of an arm."""
    if arm.credit != "istar":
        return estimator(arm.credit, arm.variant)
    return estimator("istar", arm.variant, score=SCORE, weight=config.weight)


def learner_of(
    student: Student, config: Config, arm: Arm, rate: float
) -> Callable[[list[Trajectory], float], dict[str, float]]:
    """Return what an arm does with the episodes of a round."""
    model = student.learner.freeze() if arm.scores else None
    preferring = replace(PREFER, preference_beta=config.beta)

    def learn(made: list[Trajectory], share: float) -> dict[str, float]:
        now = rate * (1.0 - share)
        if model is None:
            reinforced(student, config, arm, made, np.zeros(0), now)
            return {}
        before = None if arm.updated else implicit_scores(model, made, beta=config.beta)
        told = prefer_outcomes(
            model,
            made,
            learning_rate=config.reward_rate * (1.0 - share),
            loss=preferring,
            length=arm.length,
        )
        score_S = implicit_scores(model, made, beta=config.beta) if before is None else before
        if arm.scores == "token":
            ratios = log_ratios(model, made)
            _, samples = token_credit(made, ratios, credit_of(arm, config), score=SCORE, beta=config.beta)
            student.fit(samples, LOSS, learning_rate=now)
        else:
            reinforced(student, config, arm, made, score_S, now)
        kept = {name: told[name] for name in TOLD if name in told}
        return kept | agreement(made, score_S) | {"reward_model_updates": float(model.updates)}

    return learn


def agreement(made: Sequence[Trajectory], score_S: FloatArray) -> dict[str, float]:
    """Say how well step scores rank the steps by how much nearer they came: ``rank`` over all steps (Spearman), and ``same_state``, the chance
    that of two steps of a group from the same cell with the same hand the one that came nearer has more."""
    table = columns(made)
    places = [step.observation.anchor or "" for one in made for step in one.steps]
    known: dict[str, int] = {}
    state = [known.setdefault(place.rpartition(" ")[0], len(known)) for place in places]  # without the nonce
    table = replace(table, anchor_S=np.array(state, dtype=np.int64))
    found = worth(table, score_S, table.score("progress"), resamples=2)
    names = {"rank": "spearman_all", "same_state": "auc_state"}
    return {name: found[one].interval.value for name, one in names.items() if one in found}


def trial(config: Config, name: str, folder: Path, seed: int, rate: float) -> dict[str, float]:
    """Run one arm with one seed at one rate."""
    arm = {**ARMS, **RELEASED}[name]
    student = warm(config, seed).copy()
    held_out = [student.world.task("test", index) for index in range(config.test_tasks)]
    rows = practise(
        student,
        steps=config.steps,
        attempt=partial(attempts, student, config, seed),
        learn=learner_of(student, config, arm, rate),
        test=lambda: student.test(held_out, temperature=1.0)[0],
        tests=config.tests,
    )
    keep_curve(folder, rows, arm=name, seed=seed, rate=rate)
    return {
        **curve_numbers(rows, config.steps),
        "length": rows[-1]["steps"],
        "rank": _mean(rows, "rank", 0.0),
        "same_state": _mean(rows, "same_state", 0.5),
        "updates": float(student.ledger.updates),
    }


def _mean(rows: Sequence[Mapping[str, float]], name: str, blind: float) -> float:
    """The mean of a number over the rows that have it; what knows nothing gets ``blind``."""
    some = [row[name] for row in rows if name in row]
    return float(np.mean(some)) if some else blind


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return the area under the success curve and its end, by arm."""
    names = [*ARMS, *(RELEASED if config.released else ())]
    trials = {name: partial(trial, config, name, folder.path) for name in names}
    seeds = range(config.seed, config.seed + config.seeds)
    short = replace(config, steps=config.sweep_steps)
    rated = {name: partial(trial, short, name, folder.path / SWEEP) for name in names if name != "gigpo"}
    result, best = tuned_study(
        trials, rated if config.sweep else {}, known={name: RATES[name] for name in names}, rates=config.rates,
        follow={"gigpo": "grpo"},  # no state comes back: they are the same
        by="area", seeds=seeds, baseline="grpo", folder=folder.path, loggers=loggers,
    )  # fmt: skip
    curves = kept_curves(folder.path, best, seeds)
    plot_curves(
        curves, folder.path / "istar.svg", title="KeyDoor, no state comes back", steps=float(config.steps)
    )
    return {f"{key} {one.name}": one.means[key].value for one in result.arms for key in ("area", "end")}
