"""The score of a session in which something was refined by calls: form, final quality, what was lost on the way, what was gained on the way.

MedSAM-Agent's reward (released code, ``medsam_reward.py``): the process is folded into one number a trajectory, so the credit is plain GRPO.
It needs the quality after each mask, in order; the trace carries them as step scores, so nothing has to be segmented again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everystep.core.errors import ConfigError, DataError
from everystep.core.records import Trajectory

INTERACTIONS = ("add_bbox", "add_point")
STOP = "stop_action"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """What is scored: the IoU of every mask in order, the Dice of the last one, and whether tools were used and the last call was the stop."""

    iou_T: tuple[float, ...]
    dice: float
    interacted: bool
    stopped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The parts' weights. The defaults are the released ones; 0 leaves a part out, with ``form`` 0 the quality counts whole."""

    form: float = 0.2
    overshoot: float = 1.0
    mask: float = 0.01
    gain: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.form <= 1 or min(self.overshoot, self.mask, self.gain) < 0:
            raise ConfigError(f"{self!r}: form must lie from 0 to 1, the others must be 0 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementScore:
    """The score in [0, 1] and its parts: ``form`` and ``quality`` in [0, 1], the ``penalty`` and ``bonus`` inside of the quality."""

    score: float
    form: float
    quality: float
    penalty: float
    bonus: float


def refinement_score(done: Refinement, weights: Weights | None = None) -> RefinementScore:
    """Return ``form_weight * form + (1 - form_weight) * quality``.

    Form is 1 where a box or point was asked for and the last call is the stop, 0.5 where one of the two holds. Quality is, clamped to [0, 1], the mean of the
    final IoU and Dice, minus the penalty, plus the bonus. The penalty, for two masks or more: the best IoU minus the final one, plus 0.01 a mask. The bonus: a tenth
    of what IoU rose from mask to mask; the first mask is no rise.

    >>> round(refinement_score(Refinement(iou_T=(0.4, 0.8, 0.6), dice=0.75, interacted=True, stopped=True)).score, 3)
    0.588
    """
    weights = weights or Weights()
    form = (done.interacted + done.stopped) / 2
    final = done.iou_T[-1] if done.iou_T else 0.0
    penalty = 0.0
    if len(done.iou_T) > 1:
        penalty = weights.overshoot * (max(done.iou_T) - final) + weights.mask * len(done.iou_T)
    rises = (after - before for before, after in zip(done.iou_T, done.iou_T[1:], strict=False))
    bonus = weights.gain * sum(max(0.0, rise) for rise in rises)
    base = (final + done.dice) / 2 if done.dice else final
    quality = min(1.0, max(0.0, base - penalty + bonus))
    score = weights.form * form + (1 - weights.form) * quality
    return RefinementScore(score=score, form=form, quality=quality, penalty=penalty, bonus=bonus)


def refinement_of(trajectory: Trajectory) -> Refinement:
    """Read a session from its steps: calls of ``INTERACTIONS`` and ``STOP``, step scores ``iou`` and ``dice`` after each.

    A call that was refused made no mask, but it is a call. Raises ``DataError`` where a mask has no score.
    """
    calls = [call.name for step in trajectory.steps for call in step.action.calls]
    masks = []
    for step in trajectory.steps:
        if step.action.valid and any(call.name in INTERACTIONS for call in step.action.calls):
            if not {"iou", "dice"} <= step.scores.keys():
                raise DataError(
                    f"step {step.id!r} made a mask but has scores {sorted(step.scores)}; expected 'iou' and 'dice'. "
                    "Roll out in a world that measures them."
                )
            masks.append((step.scores["iou"], step.scores["dice"]))
    return Refinement(
        iou_T=tuple(iou for iou, _ in masks),
        dice=masks[-1][1] if masks else 0.0,
        interacted=any(name in INTERACTIONS for name in calls),
        stopped=bool(calls) and calls[-1] == STOP,
    )


def refinement_correction(
    trajectories: Sequence[Trajectory], weights: Weights | None = None
) -> NDArray[np.float64]:
    """Return for each step ``[S]``, in the order of the trajectories, what has to be added to its reward so that outcomes become scores.

    It is zero but at last steps. As ``scores={"refinement": ...}, process={"refinement": 1.0}`` of ``credit.assess`` the outcome of each
    trajectory is then its ``refinement_score``, and the recorded one stays what the world said.
    """
    rows: list[float] = []
    for one in trajectories:
        score = refinement_score(refinement_of(one), weights).score
        rows += [0.0] * (len(one.steps) - 1) + [score - (one.outcome or 0.0)]
    return np.array(rows, dtype=np.float64)
