"""MedSAM-Agent (S34): outlining as decisions: boxes, clicks and a stop, taught by imitation and then by a score of the outcome and of the way to it.

Paper: MedSAM-Agent, Empowering Interactive Medical Image Segmentation with Multi-turn Agentic Reinforcement Learning. Claim: state of the art over 6 modalities and 21 data sets; the reward
of final quality and process makes sessions short and keeps them from overshooting.

Certain (released code): tools and their numbers, at most five turns, one call a turn, what is no call ends it; the score (``verify.refinement``, checked on its
own numbers); GRPO with groups of 8 of 8 tasks, token mean, no KL, no entropy bonus. From third parties: demonstrations of two modes, a box and then clicks, or clicks
alone, each click at the largest error. Ours: the world (real images of two kinds, four other kinds held out; a random-walker segmenter instead of MedSAM2; a tiny model
that reads a grid of brightness and mask instead of Qwen3-VL-8B with an overlay), a demonstrator that looks ahead and a share of needless clicks in what it
shows, advantages scaled to equal RMS in all arms. Left out: images for the model, the published weights and data.

    everystep reproduce medsam_agent

All arms of a seed have the same warm start, tasks and number of episodes. Measured (docs/recipes/medsam_agent.md, 5 paired seeds, 8.4 core minutes): against the outcome alone the full
score takes 0.72 turns fewer and overshoots in 6 % of the sessions instead of 17 %; the final IoU is not better (-0.013 [-0.036, +0.010]), on new structures worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from everystep.core.protocols import Logger, Loss
from everystep.core.records import Task, Trajectory
from everystep.credit.estimators import estimator
from everystep.environments.images.refinemask import ACTIONS, CELLS, POINT, RefineMask
from everystep.evaluate.study import RatedTrial, Trial, study, tune
from everystep.learn.samples import supervised_sample
from everystep.learn.student import Student
from everystep.learn.warm import turns_of
from everystep.run.folder import RunFolder
from everystep.run.rollout import seed_of
from everystep.verify.refinement import Weights, refinement_correction, refinement_of

NEW = "cell,disc,gland,canal"
"""Structures, images and modalities that no training has seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A tiny model with an interactive segmenter."""

    structures: str = "nucleus,ventricle"
    """Structures of the training and of the first test."""
    segmenter: str = "random_walker"
    """The tool."""
    size: str = "0.05M"
    """Size of the model."""
    demonstrations: int = 600
    """Sessions of the warm start."""
    needless: float = 0.15
    """Share of their calls that are a random click instead of the demonstrator's call: they overshoot, and teach it."""
    turn_updates: int = 300
    """Updates of the warm start on single turns, which come first: a small model learns to read there."""
    warm_updates: int = 120
    """Updates of the warm start on whole sessions."""
    iterations: int = 25
    """Updates of each reinforced arm."""
    groups: int = 8
    """Tasks an iteration."""
    group_size: int = 8
    """Sessions a task."""
    test_tasks: int = 96
    """Held-out images of the known structures, in different rotations."""
    new_tasks: int = 48
    """Images of the new structures."""
    learning_rate: float = 1e-3
    """Of all reinforced arms; 0 takes each arm's best of ``rates`` on another seed, which takes as long again."""
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    """Rates that are swept then."""
    seeds: int = 5
    """Paired seeds."""
    seed: int = 0
    """The first seed; the sweep uses the one after the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What an arm is reinforced by: ``weights`` of the published score, or the final quality alone."""

    trained: bool = True
    weights: Weights | None = None


ARMS: Mapping[str, Arm] = {
    "imitation": Arm(trained=False),
    "outcome": Arm(),
    "full score": Arm(weights=Weights()),
    "no overshoot penalty": Arm(weights=Weights(overshoot=0.0)),
}


def world_of(config: Config, structures: str | None = None) -> RefineMask:
    """Return the world; what the tools are is not told, since the demonstrations show it."""
    return RefineMask(structures=structures or config.structures, segmenter=config.segmenter, rules=False)


def tasks_of(world: RefineMask, split: str, count: int) -> list[Task]:
    """Return the first ``count`` tasks of a split, or all where there are fewer."""
    return [world.task(split, index) for index in range(min(count, world.size(split) or 0))]


@lru_cache(maxsize=1)
def warm(config: Config, seed: int) -> Student:
    """Return a student that has imitated demonstrations. All arms of a seed begin with a copy."""
    world = world_of(config)
    goals = {task.instruction for task in tasks_of(world, "train", 64)}
    student = Student.begin(world, {*goals, *ACTIONS, *CELLS, "a0\na0"}, size=config.size, seed=seed)
    shown = student.demonstrate(
        tasks_of(world, "train", config.demonstrations), error_rate=config.needless, habit=POINT
    )
    turns = [supervised_sample(one) for one in student.written(turns_of(shown))]
    student.imitate(turns, updates=config.turn_updates, batch=64)
    whole = [supervised_sample(one) for one in shown]
    student.imitate(whole, updates=config.warm_updates, batch=32, learning_rate=3e-3)
    return student


def learned(config: Config, arm: Arm, seed: int, rate: float) -> Student:
    """Train one arm from the warm start of its seed."""
    student, world = warm(config, seed).copy(), world_of(config)
    pool = tasks_of(world, "train", world.size("train") or 0)
    credit, loss = estimator("grpo"), Loss(policy="ppo", dual_clip=3.0, aggregate="token")
    for iteration in range(config.iterations if arm.trained else 0):
        rng = np.random.default_rng(seed_of(seed, "tasks", iteration))
        tasks = [pool[int(index)] for index in rng.integers(0, len(pool), config.groups)]
        made = student.attempt(tasks, group_size=config.group_size)
        if arm.weights is None:
            student.reinforce(made, credit, loss, learning_rate=rate, match_rms=1.0)
            continue
        added = {"refinement": refinement_correction(made, arm.weights)}
        student.reinforce(
            made, credit, loss, learning_rate=rate, scores=added, process={"refinement": 1.0}, match_rms=1.0
        )
    return student


def numbers(sessions: Sequence[Trajectory]) -> dict[str, float]:
    """Return means over sessions: final IoU, turns, masks, the share that ended below their best mask, and how much IoU that lost.

    A session without a mask has IoU 0 and has lost nothing.
    """
    traces = [refinement_of(one).iou_T or (0.0,) for one in sessions]
    lost = [max(trace) - trace[-1] for trace in traces]
    return {
        "iou": float(np.mean([trace[-1] for trace in traces])),
        "turns": float(np.mean([len(one.steps) for one in sessions])),
        "overshoot": float(np.mean([one > 1e-9 for one in lost])),
        "lost": float(np.mean(lost)),
    }


def tested(student: Student, config: Config) -> dict[str, float]:
    """Return the numbers on held-out images of the known structures, and on structures that no training has seen, greedily."""
    known, new = world_of(config), world_of(config, NEW)
    _, seen = student.test(tasks_of(known, "test", config.test_tasks))
    _, unseen = student.copy(world=new).test(tasks_of(new, "test", config.new_tasks))
    found = numbers(seen)
    return found | {f"{name}_new": value for name, value in numbers(unseen).items()}


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return final IoU, turns and overshoot by arm, on held-out images of known structures."""

    def fixed(name: str, rate: float) -> Trial:
        return lambda seed: rated(name)(seed, rate)

    def rated(name: str) -> RatedTrial:
        def trial(seed: int, rate: float) -> dict[str, float]:
            student = learned(config, ARMS[name], seed, rate)
            spent = student.ledger
            return tested(student, config) | {
                "episodes": float(spent.episodes),
                "calls": float(spent.environment_steps),
            }

        return trial

    seeds = range(config.seed, config.seed + config.seeds)
    best = dict.fromkeys(ARMS, config.learning_rate)
    if not config.learning_rate:
        trials = {name: rated(name) for name, arm in ARMS.items() if arm.trained}
        best |= tune(
            trials, rates=config.rates, seeds=[seeds.stop], by="iou", folder=folder.path, loggers=loggers
        )
    arms = {name: fixed(name, best[name]) for name in ARMS}
    result = study(arms, seeds=seeds, baseline="outcome", folder=folder.path, loggers=loggers)
    keys = ("iou", "turns", "overshoot")
    return {f"{key} {one.name}": one.means[key].value for one in result.arms for key in keys}
