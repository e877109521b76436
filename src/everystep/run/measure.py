"""Numbers about trajectories."""

from __future__ import annotations

from collections.abc import Sequence

from everystep.core.records import End, Trajectory

Z_95 = 1.959963984540054


def summary(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Return success, reward, length and the shares of invalid actions and broken episodes.

    Broken episodes (environment or model) count in ``errors`` only.
    """
    whole = [one for one in trajectories if one.end not in (End.ERROR, End.CANCELLED)]
    steps = sum(len(one.steps) for one in whole)
    count = max(1, len(whole))
    return {
        "success": sum(one.success is True for one in whole) / count,
        "reward": sum(one.outcome or 0.0 for one in whole) / count,
        "steps": steps / count,
        "invalid": sum(not step.action.valid for one in whole for step in one.steps) / max(1, steps),
        "errors": 1 - len(whole) / max(1, len(trajectories)),
    }


def reasons(trajectories: Sequence[Trajectory], most: int = 3) -> str:
    """Return some of the different errors of broken episodes, for a message."""
    found = sorted({one.error for one in trajectories if one.error is not None})
    return "; ".join(found[:most])


def wilson(share: float, trials: int) -> tuple[float, float]:
    """Return the ends of the 95 % Wilson score interval of a success rate (Wilson 1927).

    >>> [round(end, 3) for end in wilson(0.8, 100)]
    [0.711, 0.867]
    """
    z2 = Z_95 * Z_95
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * (share * (1 - share) / trials + z2 / (4 * trials * trials)) ** 0.5
    return middle - half, middle + half
