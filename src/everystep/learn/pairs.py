"""From preferences and bad steps to samples: both sides of a pair behind their shared context, with the exact tokens.

A pair gives two rows, equal up to where the continuations begin; a learner with tree packing computes that part once. The loss is
chosen later (``Loss.preference``). Its reference is any model that can ``score``; rows without one can be used where the loss says so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from everystep.core.errors import ConfigError, LearnerError, did_you_mean
from everystep.core.protocols import Learner, Loss, Scored
from everystep.core.records import End, Level, PreferencePair, Sample, SpanKind, Step, Task, Trajectory
from everystep.learn.losses import avoid_terms, check_loss, preference_terms
from everystep.learn.samples import supervised_sample
from everystep.learn.streams import (
    PREFERENCE,
    Streams,
    check_options,
    coefficients,
    pair_divisor,
    streams_of,
    totals_of_streams,
)

LENGTHS = ("sum", "tokens", "steps")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRows:
    """The rows of pairs, two a pair, the chosen one first. ``left_out`` counts the pairs that gave none, by reason."""

    samples: tuple[Sample, ...]
    left_out: Mapping[str, int]


def pair_samples(
    pairs: Iterable[PreferencePair],
    trajectories: Sequence[Trajectory],
    *,
    siblings: Iterable[Step] = (),
    length: str = "sum",
    supervised: bool = False,
    restrict: bool = False,
) -> PairRows:
    """Return the rows of ``pairs`` of steps or of whole trajectories.

    Steps are looked up in ``trajectories``, then among ``siblings``: candidates that were tried and are in no trajectory, behind the step that
    their ``parent`` names. Only what differs is weighed: the one step, or the steps that the trajectories do not share. ``length`` says what a side's
    log-ratio is: the ``sum`` over its tokens (DPO), the mean over its ``tokens``, or the mean over its ``steps`` of each step's sum.
    ``supervised`` adds the cross-entropy of the chosen side, which ``Loss.supervised`` weighs. ``restrict`` takes probabilities among the ids that
    were allowed. Raises ``LearnerError`` for a pair of another level.
    """
    if length not in LENGTHS:
        raise ConfigError(f"length={length!r} is unknown. {did_you_mean(length, LENGTHS)}")
    paths = _Paths(trajectories, siblings)
    samples: list[Sample] = []
    left_out: Counter[str] = Counter()
    for number, pair in enumerate(pairs):
        found = _sides(pair, paths)
        if isinstance(found, str):
            left_out[found] += 1
            continue
        (chosen, rejected), shared = found
        name = f"{number}:{pair.chosen}>{pair.rejected}"
        rows = [
            _row(steps, shared, name, sign, length=length, supervised=supervised, restrict=restrict)
            for steps, sign in ((chosen, 1.0), (rejected, -1.0))
        ]
        if not all(any(row.preference_weight) for row in rows):
            left_out["a side has no token that was chosen"] += 1
            continue
        samples += rows
    return PairRows(samples=tuple(samples), left_out=dict(left_out))


def avoid_samples(
    trajectories: Iterable[Trajectory], steps: Collection[str], *, restrict: bool = False
) -> list[Sample]:
    """Return one row for each of the bad ``steps`` (ids), up to and with it; the steps before it are context.

    SEAgent's negative steps: one row a step, so nothing is counted twice. Raises ``LearnerError`` where a step is in no trajectory.
    """
    paths = _Paths(list(trajectories), ())
    rows = []
    for step in steps:
        path = paths.steps(step)
        if path is None:
            raise LearnerError(f"the bad step {step!r} is in none of the trajectories.")
        row = _weighed(path, {path[-1].id}, step, restrict=restrict)
        rows.append(replace(row, supervised_weight=(), avoid_weight=row.supervised_weight))
    return rows


def avoided_mass(learner: Learner, samples: Sequence[Sample]) -> float:
    """Return the mean probability of the steps that ``samples`` of ``avoid_samples`` are about, each where it was taken; 0 for none."""
    if not samples:
        return 0.0
    sums = (
        sum(value for value, weight in zip(one.logprobs, sample.avoid_weight, strict=True) if weight)
        for sample, one in zip(samples, learner.score(samples), strict=True)
    )
    return sum(math.exp(value) for value in sums) / len(samples)


def with_reference(samples: Sequence[Sample], scored: Sequence[Scored]) -> list[Sample]:
    """Return ``samples`` with the log-probabilities of the reference: what its ``score`` gave for them."""
    return [
        replace(sample, reference_logprobs=one.logprobs) for sample, one in zip(samples, scored, strict=True)
    ]


def as_cross_entropy(
    samples: Sequence[Sample], scored: Sequence[Scored], loss: Loss
) -> tuple[list[Sample], Loss]:
    """Return samples and a loss of plain weighted cross-entropy with the gradient of ``loss`` at the weights that ``scored`` the samples.

    For learners that offer no preference losses: the slope of each pair's loss becomes the weight of its tokens. It holds for one update
    and costs one more ``score``. Streams other than preference, avoid and supervised raise ``LearnerError``.
    """
    check_loss(loss)
    rows = streams_of(samples)
    check_options(rows, samples, loss)
    totals = totals_of_streams(rows)
    for row in rows:
        other = [name for name in ("policy", "reference", "value") if row.weights[name].any()]
        if other:
            raise LearnerError(
                f"{row.label}: its {other[0]} stream is no cross-entropy. Give it in another call."
            )
    new = [torch.tensor(one.logprobs, requires_grad=True) for one in scored]
    total = torch.zeros(())
    for row, avoid, p in zip(rows, coefficients(rows, "avoid", loss, totals), new, strict=True):
        reference = torch.from_numpy(row.reference_logprobs)
        total = total + loss.avoid * (torch.from_numpy(avoid) * avoid_terms(p, reference)).sum()
    pairs = _margins(rows, new, loss)
    if pairs:
        margin = torch.stack([one for one, _ in pairs.values()])
        good = torch.tensor([side for _, side in pairs.values()])
        total = total + preference_terms(loss.preference, margin, loss, good=good).sum() / pair_divisor(
            loss, totals
        )
    slopes = torch.autograd.grad(total, new, allow_unused=True) if total.requires_grad else [None] * len(new)
    plain = []
    for sample, slope, own in zip(
        samples, slopes, coefficients(rows, "supervised", loss, totals), strict=True
    ):
        weight = loss.supervised * torch.from_numpy(own) - (0.0 if slope is None else slope)
        plain.append(
            replace(
                sample,
                supervised_weight=tuple(weight.tolist()),
                preference_weight=(),
                pair="",
                avoid_weight=(),
            )
        )
    return plain, Loss(aggregate="constant")


def _margins(
    rows: Sequence[Streams], new: Sequence[torch.Tensor], loss: Loss
) -> dict[str, tuple[torch.Tensor, bool]]:
    """Return the margin of each pair, and whether a sample that stands alone is a good one."""
    margins: dict[str, tuple[torch.Tensor, bool]] = {}
    for row, p in zip(rows, new, strict=True):
        weight = torch.from_numpy(row.weights[PREFERENCE])
        if not weight.any():
            continue
        ratio = p - torch.from_numpy(row.reference_logprobs) if loss.preference_reference else p
        earlier = margins[row.pair][0] if row.pair in margins else torch.zeros(())
        margins[row.pair] = (earlier + (weight * ratio).sum(), bool(weight.sum() > 0))
    return margins


class _Paths:
    """Finds the steps that lead to a step, itself last, and the steps of a trajectory."""

    def __init__(self, trajectories: Sequence[Trajectory], siblings: Iterable[Step]) -> None:
        self._whole = {one.id: one for one in trajectories}
        self._places = {
            step.id: (one, place) for one in reversed(trajectories) for place, step in enumerate(one.steps)
        }
        self._aside = {step.id: step for step in siblings if step.id not in self._places}

    def steps(self, step: str) -> tuple[Step, ...] | None:
        aside: list[Step] = []
        while step in self._aside:
            aside.insert(0, self._aside[step])
            if aside[0].parent is None:
                return tuple(aside)
            step = aside[0].parent
        if step not in self._places:
            return None
        one, place = self._places[step]
        return (*one.steps[: place + 1], *aside)

    def trajectory(self, name: str) -> tuple[Step, ...] | None:
        return self._whole[name].steps if name in self._whole else None


Sides = tuple[tuple[tuple[Step, ...], tuple[Step, ...]], int]


def _sides(pair: PreferencePair, paths: _Paths) -> Sides | str:
    """Return the steps of both sides and how many of their first steps are context, or why the pair cannot be used."""
    if pair.level not in (Level.STEP, Level.TRAJECTORY):
        raise LearnerError(
            f"the pair of {pair.chosen!r} and {pair.rejected!r} is of level {pair.level.value!r}; expected step or trajectory."
        )
    find = paths.steps if pair.level is Level.STEP else paths.trajectory
    chosen, rejected = find(pair.chosen), find(pair.rejected)
    if not chosen or not rejected:
        return "a side is not among the trajectories"
    if any(step.tokens is None or not step.tokens.ids for step in (*chosen, *rejected)):
        return "a step has no tokens"
    if pair.level is Level.STEP:
        if len(chosen) != len(rejected):
            return "the sides stand behind different contexts"
        if pair.context and pair.context != tuple(step.id for step in chosen[:-1]):
            return "the context is not what leads to the chosen step"
        shared = len(chosen) - 1
    else:
        shared = 0
        for one, other in zip(chosen, rejected, strict=False):
            if one.id != other.id:
                break
            shared += 1
    first, second = ([_ids(step) for step in side] for side in (chosen, rejected))
    if pair.level is Level.STEP and (
        first[:-1] != second[:-1] or _context(chosen[-1]) != _context(rejected[-1])
    ):
        return "the sides stand behind different contexts"
    if first == second:
        return "both sides have the same tokens"
    return (chosen, rejected), shared


def _ids(step: Step) -> tuple[int, ...]:
    return step.tokens.ids if step.tokens else ()


def _context(step: Step) -> tuple[int, ...]:
    """The tokens of a step before its first that was sampled."""
    if step.tokens is None:
        return ()
    sampled = [span.start for span in step.tokens.spans if span.kind is SpanKind.SAMPLED]
    return step.tokens.ids[: min(sampled, default=len(step.tokens.ids))]


def _row(
    steps: tuple[Step, ...],
    shared: int,
    pair: str,
    sign: float,
    *,
    length: str,
    supervised: bool,
    restrict: bool,
) -> Sample:
    side = "chosen" if sign > 0 else "rejected"
    row = _weighed(steps, {step.id for step in steps[shared:]}, f"{pair}/{side}", restrict=restrict)
    weight = row.supervised_weight
    size = 1
    if length == "tokens":
        size = sum(one != 0 for one in weight)
    elif length == "steps":
        size = len({step for step, one in zip(row.step_of, weight, strict=True) if one})
    return replace(
        row,
        pair=pair,
        preference_weight=tuple(sign * one / max(1, size) for one in weight),
        supervised_weight=weight if supervised and sign > 0 else (),
    )


def _weighed(steps: tuple[Step, ...], weighed: Collection[str], name: str, *, restrict: bool) -> Sample:
    """Return the steps as one row whose supervised stream weighs the named ones."""
    path = Trajectory(id=name, task=_NO_TASK, group="", steps=steps, end=End.DONE)
    return supervised_sample(path, {step.id: float(step.id in weighed) for step in steps}, restrict=restrict)


_NO_TASK = Task(id="", instruction="", environment="")
