"""Sums over the rest of a trajectory, for all trajectories at once.

A scan doubles its reach each round: after round ``k`` a row has summed ``2**k`` steps. So the work is ``n log T`` for
``n`` rows and the longest trajectory ``T``, without a loop over steps.
"""

from __future__ import annotations

import numpy as np

from everystep.core.errors import ConfigError
from everystep.credit.grouping import BoolArray, FloatArray, IntArray, time_order


def discounted(value_S: FloatArray, trajectory_S: IntArray, turn_S: IntArray, discount: float) -> FloatArray:
    """``G[t] = value[t] + discount * G[t + 1]`` inside each trajectory; rows may come in any order.

    ``discount`` lies in ``[0, 1]``. An unknown value (NaN) makes the sums before it unknown too.

    >>> discounted(np.array([0.0, 0.0, 10.0]), np.zeros(3, dtype=int), np.arange(3), 0.5).tolist()
    [2.5, 5.0, 10.0]
    """
    if not 0.0 <= discount <= 1.0:
        raise ConfigError(f"the discount is {discount!r}; expected a number from 0 to 1.")
    order = time_order(trajectory_S, turn_S)
    owner = trajectory_S[order]
    out = value_S[order].astype(np.float64)
    reach, factor = 1, discount
    while reach < owner.size and factor > 0.0:
        inside = owner[reach:] == owner[:-reach]
        if not inside.any():
            break
        gain = factor * out[reach:]
        gain[~inside] = 0.0
        out[:-reach] += gain
        reach, factor = 2 * reach, factor * factor
    result_S = np.empty_like(out)
    result_S[order] = out
    return result_S


def following(value_S: FloatArray, trajectory_S: IntArray, turn_S: IntArray) -> tuple[FloatArray, BoolArray]:
    """The value of the next step of the same trajectory, and whether there is none (last steps; value 0)."""
    order = time_order(trajectory_S, turn_S)
    owner = trajectory_S[order]
    last = np.ones(owner.size, dtype=np.bool_)
    last[:-1] = owner[1:] != owner[:-1]
    after = np.zeros(owner.size)
    after[:-1] = value_S[order][1:]
    after[last] = 0.0
    next_S, last_S = np.empty_like(after), np.empty_like(last)
    next_S[order], last_S[order] = after, last
    return next_S, last_S


def generalised_advantage(
    reward_S: FloatArray,
    value_S: FloatArray,
    after_S: FloatArray,
    terminated_S: BoolArray,
    decided_S: BoolArray,
    trajectory_S: IntArray,
    turn_S: IntArray,
    *,
    discount: float,
    trace: float,
) -> FloatArray:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16) over steps.

    ``value_S`` is the critic's value of each state. A trajectory that terminated is followed by nothing, so by value 0;
    one that was cut off is followed by a state whose value ``after_S`` gives on its last row (other rows are not read).
    Where that is NaN, a trajectory with a ``decided_S`` outcome raises ``ConfigError``; one without (it broke) stays unknown.
    """
    next_S, last_S = following(value_S, trajectory_S, turn_S)
    cut_S = last_S & ~terminated_S
    missing = int(np.isnan(after_S[cut_S & decided_S]).sum())
    if missing:
        raise ConfigError(
            f"{missing} trajectories were cut off and the value of the state after their last "
            f"step is not known; truncation is not termination. Give it as the score 'value_after' on those rows."
        )
    next_S[cut_S] = after_S[cut_S]
    delta_S = reward_S + discount * next_S - value_S
    return discounted(delta_S, trajectory_S, turn_S, discount * trace)
