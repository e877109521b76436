"""SPA-RL (S12): a model splits the outcome of an episode over its steps, and PPO learns from the parts.

Paper: SPA-RL, Stepwise Progress Attribution. Claim: 2.5 points of success and 1.9 of grounding (executable actions) over the same agent without it.

Certain (released code): the estimator is a language model with one number at the last token of every turn, trained by the squared error of their sum
to the outcome in 0 to 1, on episodes that the imitated agent explored, successes and failures; PPO with a value head. From the abstract and from memory: the dense
reward ``alpha * contribution + beta * executable``, alpha 1, beta 0.5. The released scripts do something else, which ``released`` adds as arms: the
reward of every step is the outcome less that of the task's other episodes (the estimator plays no part), or step ``j`` of ``n`` counts ``n - j - 1`` times, so that the
last one counts nothing. Ours: a head on the hidden state instead of the logits; the worlds; no LoRA and no KL penalty. An episode that was
cut off teaches the estimator nothing; in KeyDoor the deadline is a rule of the task, so none is.

    everystep reproduce spa_rl                          KeyDoor: any word can be written, many cannot be executed
    everystep reproduce spa_rl --world toolchain        ToolChain: an answer half-way earns a part

Arms, at equal environment steps, exploring included: terminal, uniform (the outcome in equal parts), terminal with grounding, spa without
grounding, spa. Measured (docs/recipes/spa_rl.md, five seeds): the estimator foretells outcomes, but its parts say nothing of the steps, and PPO learns more
from the outcome at the end; the grounding reward makes episodes last and undoes the task.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.protocols import Logger, Loss, Sampler, Sampling, World
from everystep.core.records import Task, Trajectory
from everystep.credit.columns import Columns, columns, with_scores
from everystep.credit.estimators import estimator
from everystep.credit.grouping import FloatArray
from everystep.credit.progress import attributed_reward, relative_reward, sum_gap
from everystep.environments.places.keydoor import MOVES, REWARD, KeyDoor
from everystep.environments.tooluse.toolchain import ToolChain
from everystep.evaluate.curves import curve_numbers, keep_curve, kept_curves
from everystep.evaluate.plot import plot_curves
from everystep.evaluate.study import SWEEP, tuned_study
from everystep.evaluate.worth import worth
from everystep.learn.attribution import contributions, fit_outcomes, with_step_rewards
from everystep.learn.learner import LocalLearner, LocalOptions
from everystep.learn.rounds import practise
from everystep.learn.samples import supervised_sample
from everystep.learn.setup import texts_of
from everystep.learn.student import Student
from everystep.learn.warm import FIRST_DEMONSTRATION
from everystep.models.scripted import Noisy
from everystep.run.demonstrate import OracleSampler, demonstrator
from everystep.run.folder import RunFolder
from everystep.run.hosts import Hosts, LocalHosts
from everystep.run.rollout import Limits, jobs_of, rollout, seed_of

WORLDS: Mapping[str, tuple[World, float]] = {
    "keydoor": (KeyDoor(side=4, horizon=12, deadline=True, compass=True), REWARD),
    "toolchain": (
        ToolChain(
            turns=2, digits=1, items=3, answers=3, choices=3, shown=True, notes=True, partial=0.5, rules=False
        ),
        1.0,
    ),
}  # fmt: skip
"""The worlds and their best outcomes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """PPO with rewards at the end, in equal parts, or as a model attributes them."""

    world: str = "keydoor"
    """keydoor or toolchain."""
    size: str = "0.03M"
    """Size of the policy, and of the estimator."""
    demonstrations: int = 500
    """Episodes of a clumsy demonstrator that the agent imitates first."""
    clumsiness: float = 0.4
    """Share of the demonstrator's actions that are wrong."""
    warm_updates: int = 300
    """Updates of the imitation."""
    explored: int = 256
    """Episodes that the imitated agent explores for the estimator."""
    estimator_rate: float = 4e-3
    """Peak learning rate of the estimator."""
    estimator_epochs: int = 6
    """Passes over the explored episodes."""
    alpha: float = 1.0
    """Weight of a contribution in the reward."""
    beta: float = 0.5
    """Weight of an executable action in the reward."""
    steps: int = 12000
    """Environment steps of each arm."""
    tasks: int = 8
    """Tasks a round."""
    group_size: int = 4
    """Attempts at each task; only the released reward compares them."""
    released: bool = False
    """Add the forms of the released scripts as arms."""
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

    def __post_init__(self) -> None:
        if self.world not in WORLDS:
            raise ConfigError(f"world is {self.world!r}. {did_you_mean(self.world, WORLDS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """How an arm's rewards are made: the outcome at its ``end``, in ``equal`` parts, ``attributed`` or ``relative``, with ``grounding`` or not."""

    reward: str
    grounding: bool = False
    position_weighted: bool = False


ARMS: Mapping[str, Arm] = {
    "terminal": Arm(reward="end"),
    "uniform": Arm(reward="equal"),
    "terminal, grounding": Arm(reward="end", grounding=True),
    "spa, no grounding": Arm(reward="attributed"),
    "spa": Arm(reward="attributed", grounding=True),
}
RELEASED: Mapping[str, Arm] = {
    "released data": Arm(reward="relative", grounding=True),
    "released weights": Arm(reward="attributed", grounding=True, position_weighted=True),
}
RATES: Mapping[str, float] = (
    dict.fromkeys((*ARMS, *RELEASED), 1e-3)
    | {"uniform": 2e-3}
    | dict.fromkeys(("terminal", "spa, no grounding"), 4e-3)
)
"""Learning rates that a sweep on KeyDoor chose; the released forms take that of spa."""

LOSS = Loss(policy="ppo", aggregate="token", entropy=0.01, value=0.5)
SCORE = "contribution"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """A trained estimator, what exploring for it cost, and how good it was on held-out episodes of the agent that explored.

    ``numbers``: ``sum_error``, the root mean square of its sum less the outcome, ``spread``, that of the outcomes around their mean, and ``rank`` and
    ``rank_inside``, its rank correlation with the progress of the steps over all steps and inside an episode.
    """

    learner: LocalLearner
    steps: int
    episodes: int
    numbers: Mapping[str, float]


def teacher(hosts: Hosts, config: Config) -> Sampler:
    """Return a clumsy demonstrator: in KeyDoor it errs with any word of the world, in ToolChain it guesses an answer."""
    if config.world == "toolchain":
        return demonstrator(hosts, error_rate=config.clumsiness, habit="answer")
    words = (*MOVES, "take")
    return Noisy(
        OracleSampler(hosts),
        error_rate=config.clumsiness,
        corrupt=lambda _, right, random: random.choice([word for word in words if word != right]),
    )


@lru_cache(maxsize=2)
def warm(config: Config, seed: int) -> Student:
    """Return an agent that has imitated the teacher. All arms of a seed begin with a copy."""
    world, _ = WORLDS[config.world]
    constrain = config.world == "toolchain"
    hosts = LocalHosts(world)
    shown = rollout(
        hosts,
        teacher(hosts, config),
        jobs_of(tasks_of(world, FIRST_DEMONSTRATION, config.demonstrations), group_size=1, prefix="demo", seed=seed_of(seed, "demo")),
        sampling=Sampling(),
        limits=Limits(max_steps=world.max_steps),
        constrain=constrain,
    )  # fmt: skip
    student = Student.begin(
        world, texts_of(shown), size=config.size, seed=seed, constrain=constrain, max_tokens=3, critic=True
    )
    rows = [supervised_sample(one, restrict=constrain) for one in student.written(shown)]
    student.imitate(rows, updates=config.warm_updates)
    return student


def tasks_of(world: World, first: int, count: int, split: str = "train") -> list[Task]:
    """Return ``count`` tasks in their order."""
    return [world.task(split, first + index) for index in range(count)]


@lru_cache(maxsize=2)
def estimated(config: Config, seed: int) -> Estimator:
    """Let the imitated agent explore, and train an estimator on what came of it."""
    student = warm(config, seed).copy()
    _, best = WORLDS[config.world]
    explored = student.attempt(tasks_of(student.world, FIRST_DEMONSTRATION // 2, config.explored))
    learner = LocalLearner(copy.deepcopy(student.model.network), options=LocalOptions(value_head=True))
    for epoch in range(config.estimator_epochs):
        rate = config.estimator_rate * (1.0 - epoch / config.estimator_epochs)
        fit_outcomes(learner, explored, learning_rate=rate, best=best, seed=seed_of(seed, "estimator", epoch))
    held_out = tasks_of(student.world, config.test_tasks, config.test_tasks, "test")
    _, seen = student.test(held_out, temperature=1.0)
    table = valued(learner, seen, best)
    gap = sum_gap(table, SCORE)
    outcome = np.array([(one.outcome or 0.0) / best for one in seen])
    known = ~np.isnan(gap)
    return Estimator(
        learner=learner,
        steps=student.ledger.environment_steps,
        episodes=student.ledger.episodes,
        numbers={
            "sum_error": float(np.sqrt(np.mean(gap[known] ** 2))),
            "spread": float(outcome[known].std()),
        }
        | ranks(table),
    )


def valued(learner: LocalLearner, made: Sequence[Trajectory], best: float) -> Columns:
    """Return the steps as columns, outcomes and rewards in 0 to 1, with the estimator's contributions."""
    table = columns(made)
    table = replace(table, reward_S=table.reward_S / best, outcome_S=table.outcome_S / best)
    return with_scores(table, {SCORE: contributions(learner, made)})


def ranks(table: Columns) -> dict[str, float]:
    """Return the rank correlation of contributions with the progress of the steps, over all steps and inside an episode."""
    found = worth(table, table.score(SCORE), np.nan_to_num(table.score("progress")), resamples=2)
    names = {"rank": "spearman_all", "rank_inside": "spearman_trajectory"}
    return {name: found[one].interval.value if one in found else 0.0 for name, one in names.items()}


def rewards(table: Columns, arm: Arm, config: Config) -> FloatArray:
    """Return the reward of every step of an arm."""
    beta = config.beta if arm.grounding else 0.0
    if arm.reward == "attributed":
        return attributed_reward(
            table, SCORE, alpha=config.alpha, beta=beta, position_weighted=arm.position_weighted
        )
    if arm.reward == "relative":
        return relative_reward(table, beta=beta)
    part_S = table.reward_S
    if arm.reward == "equal":
        part_S = np.nan_to_num(table.outcome_S) / np.bincount(table.trajectory_S)[table.trajectory_S]
    reward_S: FloatArray = part_S + beta * (table.penalty_S == 0)
    return reward_S


def learner_of(
    student: Student, config: Config, arm: Arm, judge: Estimator, rate: float
) -> Callable[[list[Trajectory], float], dict[str, float]]:
    """Return what an arm does with the episodes of a round."""
    _, best = WORLDS[config.world]

    def learn(made: list[Trajectory], share: float) -> dict[str, float]:
        table = valued(judge.learner, made, best)
        told = student.reinforce(
            with_step_rewards(made, rewards(table, arm, config)),
            estimator("gae"),
            LOSS,
            learning_rate=rate * (1.0 - share),
            minibatches=2,
        )
        late = {f"{name}_late": value for name, value in ranks(table).items()}
        return {"explained_variance": told["explained_variance"]} | late

    return learn


def trial(config: Config, name: str, folder: Path, seed: int, rate: float) -> dict[str, float]:
    """Run one arm with one seed at one rate."""
    arm = {**ARMS, **RELEASED}[name]
    student, judge = warm(config, seed).copy(), estimated(config, seed)
    if arm.reward == "attributed":
        student.ledger.add(environment_steps=judge.steps, episodes=judge.episodes)
    held_out = tasks_of(student.world, 0, config.test_tasks, "test")
    first = seed * FIRST_DEMONSTRATION // 1024

    def attempt(number: int) -> list[Trajectory]:
        tasks = tasks_of(student.world, first + number * config.tasks, config.tasks)
        return student.attempt(tasks, group_size=config.group_size)

    rows = practise(
        student,
        steps=config.steps,
        attempt=attempt,
        learn=learner_of(student, config, arm, judge, rate),
        test=lambda: student.test(held_out, temperature=1.0)[0],
        tests=config.tests,
    )
    keep_curve(folder, rows, arm=name, seed=seed, rate=rate)
    blind = dict.fromkeys((*judge.numbers, "rank_inside_late"), 0.0)
    own = {**judge.numbers, "rank_inside_late": rows[-1].get("rank_inside_late", 0.0)}
    return {
        **curve_numbers(rows, config.steps),
        "outcome": rows[-1]["reward"] / WORLDS[config.world][1],
        "executable": 1.0 - rows[-1]["invalid"],
        "length": rows[-1]["steps"],
        **(own if arm.reward == "attributed" else blind),
    }


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return the area under the success curve, its end and the share of executable actions, by arm."""
    names = [*ARMS, *(RELEASED if config.released else ())]
    trials = {name: partial(trial, config, name, folder.path) for name in names}
    seeds = range(config.seed, config.seed + config.seeds)
    short = replace(config, steps=config.sweep_steps)
    rated = {name: partial(trial, short, name, folder.path / SWEEP) for name in names}
    result, best = tuned_study(
        trials, rated if config.sweep else {}, known={name: RATES[name] for name in names}, rates=config.rates,
        by="area", seeds=seeds, baseline="terminal", folder=folder.path, loggers=loggers,
    )  # fmt: skip
    plot_curves(
        kept_curves(folder.path, best, seeds),
        folder.path / f"spa_rl_{config.world}.svg",
        title=f"SPA-RL, {config.world}",
        steps=float(config.steps),
    )
    keys = ("area", "end", "executable")
    return {f"{key} {one.name}": one.means[key].value for one in result.arms for key in keys}
