"""Step scores from progress: differences of a potential, and a model's share of the outcome (SPA-RL)."""

from __future__ import annotations

import numpy as np

from everystep.credit.columns import Columns
from everystep.credit.grouping import FloatArray, dense
from everystep.credit.normalisers import leave_one_out, normalise
from everystep.credit.returns import following


def progress(columns: Columns, name: str, *, after: str | None = None) -> FloatArray:
    """How far each step moved the score ``name``, which was measured before it: the next step's value minus its own.

    The last step's end comes from the score ``after`` on its row; without it the last step is unknown (NaN), not zero.
    """
    value_S = columns.score(name)
    next_S, last_S = following(value_S, columns.trajectory_S, columns.turn_S)
    end_S = columns.score(after) if after is not None else np.full(columns.size, np.nan)
    return np.where(last_S, end_S, next_S) - value_S


def attributed_reward(
    columns: Columns,
    name: str,
    *,
    alpha: float = 1.0,
    beta: float = 0.5,
    position_weighted: bool = False,
) -> FloatArray:
    """SPA-RL's dense reward: ``alpha * contribution + beta * executable``, with the contribution in score ``name``.

    A step is executable when it has no penalty. ``position_weighted`` multiplies step ``j`` of ``n`` (from 0) by ``n - j - 1``
    as the released trainer does; that zeroes every last step, so it is off by default.
    """
    executable_S = (columns.penalty_S == 0).astype(np.float64)
    reward_S: FloatArray = alpha * columns.score(name) + beta * executable_S
    if position_weighted:
        length_S = np.bincount(columns.trajectory_S)[columns.trajectory_S]
        reward_S = reward_S * (length_S - columns.turn_S - 1)
    return reward_S


def relative_reward(columns: Columns, *, beta: float = 0.5) -> FloatArray:
    """SPA-RL's reward as its released data script writes it: the outcome minus the mean of the task's other trajectories, on every step,
    plus ``beta`` where the step was executable; a last step always counts as executable.

    The estimator's contributions play no part in it. A task with a single known outcome gives 0 for the first part; where the outcome is
    unknown the reward is (NaN).
    """
    rule = leave_one_out(unit="trajectory")
    known_S = ~np.isnan(columns.outcome_S)
    reward_S = np.full(columns.size, np.nan)
    if known_S.any():
        group, _ = dense(columns.task_S[known_S])
        reward_S[known_S], _ = normalise(
            columns.outcome_S[known_S], group, columns.trajectory_S[known_S], columns.turn_S[known_S], rule
        )
    _, last_S = following(columns.outcome_S, columns.trajectory_S, columns.turn_S)
    executable_S = ((columns.penalty_S == 0) | last_S).astype(np.float64)
    total_S: FloatArray = reward_S + beta * executable_S
    return total_S


def sum_gap(columns: Columns, name: str) -> FloatArray:
    """For each trajectory, the sum of its contributions minus its outcome; NaN where there is no outcome.

    A trajectory that was cut off has none, and must not train a model whose contributions sum to the outcome.
    """
    size = int(columns.trajectory_S.max()) + 1 if columns.size else 0
    sums = np.bincount(columns.trajectory_S, weights=columns.score(name), minlength=size)
    outcome = np.full(size, np.nan)
    outcome[columns.trajectory_S] = columns.outcome_S
    gap: FloatArray = sums - outcome
    return gap
