"""Numbers about trajectories, broken down by a tag of their tasks."""

from __future__ import annotations

from collections.abc import Sequence

from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.records import Trajectory
from everystep.run.measure import summary, wilson


def by_tag(trajectories: Sequence[Trajectory], tag: str) -> dict[str, dict[str, float]]:
    """Return the numbers of ``summary`` for each value of a tag, in order (whole numbers by size).

    ``tasks`` counts the trajectories, ``low`` and ``high`` are the ends of the 95 % interval of success, ``calls`` the tool
    calls an episode. Raises ``ConfigError`` when a task has no such tag.
    """
    groups: dict[str, list[Trajectory]] = {}
    for one in trajectories:
        if tag not in one.task.tags:
            raise ConfigError(f"task {one.task.id!r} has no tag {tag!r}. {did_you_mean(tag, one.task.tags)}")
        groups.setdefault(one.task.tags[tag], []).append(one)
    return {value: _numbers(groups[value]) for value in sorted(groups, key=_size)}


def _numbers(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    count = len(trajectories)
    numbers = summary(trajectories)
    low, high = wilson(numbers["success"], count)
    calls = sum(len(step.action.calls) for one in trajectories for step in one.steps) / count
    return {**numbers, "tasks": count, "low": low, "high": high, "calls": calls}


def _size(value: str) -> tuple[float, str]:
    return (float(value) if value.isdigit() else float("inf"), value)
