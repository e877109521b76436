"""What went well so far, to be imitated again: a store of successful trajectories that prefers short ones.

PAE's filtered imitation (Zhou et al. 2024, "Proposer-Agent-Evaluator: Autonomous Skill Discovery for Foundation Model Internet Agents", released code): of a
task with several successes those are kept whose length is at most a percentile of that task's successful lengths; a single success is always kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from everystep.core.errors import ConfigError
from everystep.core.records import Trajectory


def shortest(trajectories: Iterable[Trajectory], *, percentile: float = 20.0) -> list[Trajectory]:
    """Return of each task's trajectories those that are at most as long as the ``percentile`` (0 to 100, linear) of their lengths, in order."""
    if not 0 <= percentile <= 100:
        raise ConfigError(f"percentile is {percentile!r}; it must be from 0 to 100.")
    given = list(trajectories)
    lengths: dict[str, list[int]] = {}
    for one in given:
        lengths.setdefault(one.task.id, []).append(len(one.steps))
    most = {task: float(np.percentile(some, percentile)) for task, some in lengths.items()}
    return [one for one in given if len(one.steps) <= most[one.task.id]]


class Replay:
    """Successful trajectories of all rounds. ``percentile`` is that of ``shortest``; 100 keeps all. At most ``size`` are kept, the latest."""

    def __init__(self, *, percentile: float = 20.0, size: int = 100_000) -> None:
        if size < 1:
            raise ConfigError(f"size is {size!r}; it must be 1 or more.")
        self.percentile, self.size = percentile, size
        self.successes: list[Trajectory] = []
        shortest((), percentile=percentile)

    def add(self, trajectories: Sequence[Trajectory], good: Sequence[bool]) -> None:
        """Keep the trajectories that a judge called ``good``, one flag each."""
        self.successes += [one for one, well in zip(trajectories, good, strict=True) if well and one.steps]
        self.successes = self.successes[-self.size :]

    def sample(self, count: int, rng: np.random.Generator) -> list[Trajectory]:
        """Return up to ``count`` different ones of those that are short enough."""
        kept = shortest(self.successes, percentile=self.percentile)
        chosen = rng.permutation(len(kept))[:count]
        return [kept[index] for index in chosen]
