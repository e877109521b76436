"""Learning-rate schedules: pure functions of the step, from 0.0 to 1.0 times the peak."""

from __future__ import annotations

import math

from everystep.core.errors import ConfigError, did_you_mean

SCHEDULES = ("constant", "linear", "cosine")


def scale(schedule: str, step: int, steps: int, *, warmup: int = 0, floor: float = 0.0) -> float:
    """Return the factor of the peak learning rate at ``step`` (counted from 0) of ``steps``.

    The factor rises linearly over the first ``warmup`` steps, its last at 1. Then ``constant`` stays, ``linear``
    and ``cosine`` fall to ``floor``, which they reach after the last step.

    >>> [round(scale("linear", step, 6, warmup=2), 2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if schedule not in SCHEDULES:
        raise ConfigError(f"schedule={schedule!r} is unknown. {did_you_mean(schedule, SCHEDULES)}")
    if not 0 <= warmup <= steps or not 0 <= floor <= 1:
        raise ConfigError(
            f"warmup={warmup!r}, floor={floor!r}: expected 0 <= warmup <= {steps} and 0 <= floor <= 1."
        )
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    share = min(1.0, (step - warmup) / max(1, steps - warmup))
    left = 1.0 - share if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * share))
    return floor + (1.0 - floor) * left
