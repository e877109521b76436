"""A model that splits an outcome over the steps: one number at the end of each turn, and their sum is the prediction of the outcome.

It is a language model with a value head, read at the last token of every turn: there it knows what was done and not yet what came of it. It is
trained by the squared error of the sum, on any learner with a value head: towards ``value - (sum - outcome)``, held fixed, the squared error of every
turn has the gradient of half the squared error of the sum.

Source: SPA-RL (Stepwise Progress Attribution). Its released estimator reads a linear layer on the vocabulary's logits; a linear layer on
the hidden state can express the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from everystep.core.errors import DataError, LearnerError
from everystep.core.protocols import Learner, Loss
from everystep.core.records import End, Sample, SpanKind, Trajectory
from everystep.credit.columns import TERMINATED
from everystep.credit.grouping import FloatArray
from everystep.learn.samples import sample_of

SQUARED = Loss(policy="reinforce", aggregate="sum", value=1.0)
"""Half the squared error, summed over the turns of a trajectory, averaged over trajectories."""


def turn_rows(trajectories: Sequence[Trajectory]) -> list[Sample]:
    """Return each trajectory as a row with a place behind every turn's last token, marked by ``value_weight`` 1.

    Position ``t`` of a row is read from the tokens before it, so the place is that of the next token; one is added behind the last turn.
    """
    rows = []
    for one in trajectories:
        row = sample_of(one, [0.0] * len(one.steps))
        weight, end = [0.0] * (len(row.ids) + 1), 0
        for step in one.steps:
            assert step.tokens is not None  # noqa: S101 -- sample_of has refused others
            last = max(
                (span.end for span in step.tokens.spans if span.kind is SpanKind.SAMPLED and span.end),
                default=len(step.tokens.ids),
            )
            weight[end + last] = 1.0
            end += len(step.tokens.ids)
        rows.append(Sample(ids=(*row.ids, row.ids[-1]), value_weight=tuple(weight), rollout=one.id))
    return rows


def contributions(learner: Learner, trajectories: Sequence[Trajectory]) -> FloatArray:
    """Return what each step adds to the predicted outcome, trajectory after trajectory, under the current weights.

    The prediction for a trajectory is the sum over its steps. Raises ``LearnerError`` where the learner has no value head.
    """
    return _read(learner, turn_rows(trajectories))


def fit_outcomes(
    learner: Learner,
    trajectories: Sequence[Trajectory],
    *,
    learning_rate: float,
    epochs: int = 1,
    batch: int = 16,
    best: float = 1.0,
    cut_off: float | None = None,
    seed: int = 0,
) -> list[float]:
    """Train contributions to sum to ``outcome / best``; return the mean squared error of the sum in each epoch, each batch before its update.

    A trajectory that was cut off has no outcome and is left out, unless ``cut_off`` says what its outcome is taken to be. Raises
    ``DataError`` where an outcome is not in 0 to ``best``, or none is left.
    """
    rows, targets = list[Sample](), list[float]()
    for row, one in zip(turn_rows(trajectories), trajectories, strict=True):
        outcome = one.outcome if one.end in TERMINATED else cut_off if one.end is End.TRUNCATED else None
        if outcome is None:
            continue
        if not 0 <= outcome <= best:
            raise DataError(
                f"trajectory {one.id!r} has outcome {outcome!r}; expected 0 to {best!r}. Set best to the largest."
            )
        rows.append(row)
        targets.append(outcome / best)
    if not rows:
        raise DataError(
            "no trajectory has an outcome: all were cut off or broke. Say what a cut-off one is worth, or explore with a longer limit."
        )
    rng = np.random.default_rng(seed)
    errors = []
    for _ in range(epochs):
        order, total = rng.permutation(len(rows)), 0.0
        for start in range(0, len(order), batch):
            some = order[start : start + batch]
            total += _update(learner, [rows[i] for i in some], [targets[i] for i in some], learning_rate)
        errors.append(total / len(rows))
    return errors


def with_step_rewards(trajectories: Sequence[Trajectory], reward_S: npt.ArrayLike) -> list[Trajectory]:
    """Return the trajectories with these rewards, one a step, in the place of the environment's; their outcomes are the sums."""
    rewards = np.asarray(reward_S, dtype=np.float64)
    if rewards.shape != (sum(len(one.steps) for one in trajectories),):
        raise DataError(f"the rewards have shape {rewards.shape!r}; expected one a step.")
    found, start = [], 0
    for one in trajectories:
        own = rewards[start : start + len(one.steps)].tolist()
        steps = tuple(replace(step, reward=reward) for step, reward in zip(one.steps, own, strict=True))
        found.append(replace(one, steps=steps, outcome=None if one.outcome is None else sum(own)))
        start += len(own)
    return found


def _read(learner: Learner, rows: Sequence[Sample]) -> FloatArray:
    if not learner.capabilities.value_head:
        raise LearnerError("an outcome is split by a value head. Make the learner with value_head=True.")
    found = [
        np.asarray(scored.values or ())[np.flatnonzero(row.value_weight)]
        for row, scored in zip(rows, learner.score(rows), strict=True)
    ]
    return np.concatenate(found) if found else np.zeros(0)


def _update(
    learner: Learner, rows: Sequence[Sample], targets: Sequence[float], learning_rate: float
) -> float:
    """Do one update; return the sum of the squared errors before it."""
    value = _read(learner, rows)
    aimed, total, start = [], 0.0, 0
    for row, target in zip(rows, targets, strict=True):
        places = np.flatnonzero(row.value_weight)
        own = value[start : start + places.size]
        gap = float(own.sum()) - target
        wanted = np.zeros(len(row.ids))
        wanted[places] = own - gap
        aimed.append(replace(row, value_target=tuple(wanted.tolist())))
        total += gap * gap
        start += places.size
    learner.forward_backward(aimed, SQUARED)
    learner.optim_step(learning_rate=learning_rate)
    return total
