"""Step scores from log-probability ratios (iStar; PRIME): what a trained model prefers over a reference.

``s[i, t] = beta * sum over the step's tokens of (log p - log p_reference)``. The library that trains the model
gives the log-probabilities; this only sums and scales them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from everystep.core.errors import ConfigError
from everystep.credit.columns import Columns
from everystep.credit.grouping import FloatArray
from everystep.credit.returns import discounted


def log_ratio_scores(
    logprobs: Sequence[Sequence[float]], reference_logprobs: Sequence[Sequence[float]], *, beta: float = 0.05
) -> FloatArray:
    """One score a step from the log-probabilities of its sampled tokens under model and reference.

    >>> log_ratio_scores([[-1.0, -1.0]], [[-2.0, -1.5]], beta=0.1).round(6).tolist()
    [0.15]
    """
    if len(logprobs) != len(reference_logprobs):
        raise ConfigError(
            f"there are {len(logprobs)} steps and {len(reference_logprobs)} reference steps; expected equal numbers."
        )
    out = np.zeros(len(logprobs))
    for row, (ours, theirs) in enumerate(zip(logprobs, reference_logprobs, strict=True)):
        if len(ours) != len(theirs):
            raise ConfigError(
                f"step {row} has {len(ours)} log-probabilities and {len(theirs)} of the reference; "
                f"expected the same tokens."
            )
        out[row] = beta * (sum(ours) - sum(theirs))
    return out


def scaled_by_batch(columns: Columns, score_S: FloatArray, *, eps: float = 1e-6) -> FloatArray:
    """Divide by the largest sum over the rest of a trajectory in the batch (released iStar, trajectory granularity).

    It makes scores depend on what else is in the batch; group normalisation needs no such scale.
    """
    rest_S = discounted(score_S, columns.trajectory_S, columns.turn_S, 1.0)
    return score_S / (float(np.nanmax(np.abs(rest_S))) + eps) if rest_S.size else score_S
