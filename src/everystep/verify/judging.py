"""Judging stored trajectories: which verdicts are wanted, which are there already, what a failing judge leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Iterator

from everystep.core.errors import ConfigError, JudgeError, ModelError
from everystep.core.protocols import Evidence, Judge
from everystep.core.records import Level, Trajectory, Verdict
from everystep.verify.evidence import step_evidence, trajectory_evidence
from everystep.verify.verdicts import FAILED, share_of, verdict

PATIENCE = 5
"""Targets in a row on which a model may break before judging stops."""


async def judged(
    trajectories: Iterable[Trajectory],
    judge: Judge,
    *,
    level: Level = Level.STEP,
    done: Collection[str] = (),
    at_once: int = 1,
) -> AsyncIterator[tuple[Verdict, ...]]:
    """Yield the verdicts on each step, each trajectory, or each two trajectories of a group, in order.

    Targets in ``done`` (see ``key_of``) are left out, so a run that was interrupted goes on. A ``JudgeError`` becomes a verdict without a
    score that says why, labelled ``failed``: one step's failure is data and stops nothing. So does a ``ModelError``, but after ``PATIENCE`` of them
    in a row it is raised: the model is down. ``at_once`` asks for so many at a time. Memory holds one trajectory (for pairs: one group) and what is asked.
    """
    if level not in judge.levels:
        raise ConfigError(
            f"judge {judge.name!r} judges {', '.join(sorted(judge.levels))}; asked for {level}. Name another level or judge."
        )
    if at_once < 1:
        raise ConfigError(f"at_once is {at_once!r}; it must be 1 or more.")
    waiting: list[Evidence] = []
    down = 0
    for evidence in evidence_of(trajectories, judge, level):
        if key_of(evidence.targets) in done:
            continue
        waiting.append(evidence)
        if len(waiting) == at_once:
            for found, broken in await _together(judge, level, waiting):
                down = _still_up(down, broken)
                yield found
            waiting.clear()
    for found, broken in await _together(judge, level, waiting):
        down = _still_up(down, broken)
        yield found


def shares(
    trajectories: Iterable[Trajectory], judge: Judge, *, level: Level = Level.STEP
) -> dict[str, float]:
    """Judge everything now and return how good each target is, as a share of the judge's range; targets without a score are left out.

    For scripts and studies without an event loop; a target is a step's id, or a trajectory's.
    """

    async def collect() -> dict[str, float]:
        found = {}
        async for verdicts in judged(trajectories, judge, level=level):
            for one in verdicts:
                share = share_of(one)
                if share is not None and len(one.targets) == 1:
                    found[one.targets[0]] = share
        return found

    return asyncio.run(collect())


def evidence_of(trajectories: Iterable[Trajectory], judge: Judge, level: Level) -> Iterator[Evidence]:
    """Yield the evidence of a level. Pairs are the trajectories of a group that stand one behind the other, each with each."""
    if level is Level.STEP:
        for one in trajectories:
            yield from step_evidence(one, judge.looks)
    elif level is Level.TRAJECTORY:
        for one in trajectories:
            if one.steps:
                yield trajectory_evidence((one,), judge.looks)
    else:
        for group in _groups(trajectories):
            if level is Level.LIST and len(group) > 1:
                yield trajectory_evidence(group, judge.looks)
            elif level is Level.PAIR:
                for at, first in enumerate(group):
                    yield from (trajectory_evidence((first, other), judge.looks) for other in group[at + 1 :])


def key_of(targets: Iterable[str]) -> str:
    """Return the name of what one verdict is about.

    >>> key_of(("a", "b"))
    'a\\x1fb'
    """
    return "\x1f".join(targets)


def _groups(trajectories: Iterable[Trajectory]) -> Iterator[list[Trajectory]]:
    group: list[Trajectory] = []
    for one in trajectories:
        if not one.steps:
            continue
        if group and group[-1].group != one.group:
            yield group
            group = []
        group.append(one)
    if group:
        yield group


_Found = tuple[tuple[Verdict, ...], ModelError | None]


def _still_up(down: int, broken: ModelError | None) -> int:
    """Return how often in a row the model broke; raise what it said when that was too often."""
    if broken is not None and down + 1 >= PATIENCE:
        raise broken
    return 0 if broken is None else down + 1


async def _together(judge: Judge, level: Level, some: list[Evidence]) -> list[_Found]:
    if len(some) == 1:
        return [await _one(judge, level, some[0])]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_one(judge, level, evidence)) for evidence in some]
    return [task.result() for task in tasks]


async def _one(judge: Judge, level: Level, evidence: Evidence) -> _Found:
    try:
        return await judge.judge(level, evidence), None
    except (JudgeError, ModelError) as error:
        failed = verdict(judge, level, evidence, score=None, label=FAILED, reason=str(error)[:500])
        return (failed,), error if isinstance(error, ModelError) else None
