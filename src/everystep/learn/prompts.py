"""Every step as a prompt of its own: attempts at one step, compared with each other behind the same history.

The prompts come from stored trajectories (a teacher's, whatever the model would have done) or from the model's own. A row of either
kind is a silent history (``run.history``) and one sampled step; only that step is scored and trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from everystep.core.errors import LearnerError
from everystep.core.records import End, Step, Task, Trajectory
from everystep.run.branch import Branched
from everystep.run.history import as_history


def prompts_of(trajectories: Sequence[Trajectory]) -> list[tuple[Task, tuple[Step, ...]]]:
    """Return the prompt of every step, in order: its task and the steps before, which carry no loss. They are what ``Student.attempt_from`` takes.

    With trajectories of a teacher this is teacher forcing: what is sampled at a step never changes a later prompt.
    """
    return [(one.task, as_history(one.steps[:at])) for one in trajectories for at in range(len(one.steps))]


def candidates_of(branched: Branched) -> list[Trajectory]:
    """Return every candidate of every state on the way, in order, as a trajectory that ends with it; those of one state are a group."""
    walk = branched.trajectory
    return [
        Trajectory(
            id=step.id,
            task=walk.task,
            group=f"{walk.group}:{len(tried.before)}",
            steps=(*as_history(tried.before), step),
            end=End.TRUNCATED,
            outcome=step.reward,
            seed=walk.seed,
        )
        for tried in branched.tried
        for step in tried.steps
    ]


def last_step_scores(trajectories: Sequence[Trajectory], scores: Sequence[float]) -> list[float]:
    """Return one number a step: the score of each trajectory at its last step, NaN (unknown, in no statistic) for its history.

    >>> last_step_scores([], [])
    []
    """
    if len(scores) != len(trajectories):
        raise LearnerError(f"{len(scores)} scores for {len(trajectories)} trajectories; give one for each.")
    return [
        value
        for one, score in zip(trajectories, scores, strict=True)
        for value in (*[math.nan] * (len(one.steps) - 1), float(score))
    ]
