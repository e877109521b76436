"""A critic beside the policy: a value head on the same network, read and trained at the states that steps were decided in.

The value of a state stands where the first token of the step's answer is predicted: there the model has read the observation and
written nothing yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from everystep.core.errors import LearnerError
from everystep.core.protocols import Learner
from everystep.core.records import End, Sample, Trajectory
from everystep.credit.columns import Columns
from everystep.credit.grouping import FloatArray
from everystep.credit.returns import generalised_advantage
from everystep.models.template import Template
from everystep.run.rollout import messages_of

VALUE, AFTER = "value", "value_after"
"""The step scores that a critic gives: the value of the state, and on a last row that of the state behind it."""


def critic_scores(
    learner: Learner, trajectories: Sequence[Trajectory], samples: Sequence[Sample], template: Template
) -> Mapping[str, FloatArray]:
    """Return ``VALUE`` and ``AFTER``, one number a step, under the current weights; ``samples`` are the trajectories' rows.

    A trajectory that was cut off is valued at what it saw last, as the model would have read it next; the others have no state
    behind them (NaN). Raises ``LearnerError`` where the learner has no value head.
    """
    if not learner.capabilities.value_head:
        raise LearnerError("a critic needs a learner with a value head. Make it with value_head=True.")
    rows = [
        Sample(ids=(*sample.ids, *_behind(trajectory, template)))
        for trajectory, sample in zip(trajectories, samples, strict=True)
    ]
    value, after = [], []
    for row, sample, scored in zip(rows, samples, learner.score(rows), strict=True):
        found = scored.values or ()
        places = decisions(sample)
        value += [found[place] for place in places]
        after += [float("nan")] * (len(places) - 1)
        after.append(found[-1] if len(row.ids) > len(sample.ids) else float("nan"))
    return {VALUE: np.array(value), AFTER: np.array(after)}


def value_targets(columns: Columns, *, discount: float, trace: float) -> FloatArray:
    """Return what the critic should have said of each step's state: its value plus the advantage (the lambda-return).

    ``columns`` have the scores of ``critic_scores``. Unknown (NaN) where the outcome is.
    """
    value_S = columns.score(VALUE)
    return value_S + generalised_advantage(
        columns.reward_S,
        value_S,
        columns.score(AFTER),
        columns.terminated_S,
        ~np.isnan(columns.outcome_S),
        columns.trajectory_S,
        columns.turn_S,
        discount=discount,
        trace=trace,
    )


def with_targets(sample: Sample, targets: Sequence[float]) -> Sample:
    """Return ``sample`` with a value stream: one target a step, where it was decided; an unknown one (NaN) has weight 0."""
    weight, target = [0.0] * len(sample.ids), [0.0] * len(sample.ids)
    for place, wanted in zip(decisions(sample), targets, strict=True):
        if not np.isnan(wanted):
            weight[place], target[place] = 1.0, float(wanted)
    return replace(sample, value_weight=tuple(weight), value_target=tuple(target))


def explained(value_S: FloatArray, target_S: FloatArray) -> float:
    """Return the share of the targets' variance that the values explain: 1 is all, 0 no more than their mean, less is worse.

    >>> explained(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    1.0
    """
    known = ~np.isnan(target_S)
    spread = float(np.var(target_S[known])) if known.any() else 0.0
    return 1.0 - float(np.var((target_S - value_S)[known])) / spread if spread else 0.0


def decisions(sample: Sample) -> list[int]:
    """Return where the first token of each step's answer stands in its row."""
    places: dict[int, int] = {}
    for place, step in enumerate(sample.step_of):
        if step >= 0:
            places.setdefault(step, place)
    return [places[step] for step in sorted(places)]


def _behind(trajectory: Trajectory, template: Template) -> tuple[int, ...]:
    """The tokens that follow a trajectory that was cut off, and one more, at which its value is read."""
    if trajectory.end is not End.TRUNCATED or trajectory.final is None:
        return ()
    messages = messages_of(trajectory.task, trajectory.final, after=trajectory.steps[-1])
    return (*template.delta(messages, first=False), template.end[0])
