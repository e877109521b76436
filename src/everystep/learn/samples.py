"""From trajectories to samples: one merged row a trajectory, with the streams that a learner reads.

The ids are those that were fed and sampled; nothing is tokenised again. Text that the model did not
write stays in the context with weight 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from everystep.core.errors import LearnerError
from everystep.core.records import Sample, Span, SpanKind, Step, TokenRecord, Trajectory


@dataclass(slots=True)
class _Row:
    """The columns of a row while its steps are joined."""

    ids: list[int] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    step_of: list[int] = field(default_factory=list)
    allowed: dict[int, tuple[int, ...]] = field(default_factory=dict)


def sample_of(
    trajectory: Trajectory,
    credit: Mapping[str, float] | Sequence[float],
    *,
    forced: bool = False,
    agent: str | None = None,
    tool_output: bool = False,
    reference_logprobs: Sequence[float] | None = None,
) -> Sample:
    """Return ``trajectory`` as one sample for a policy loss.

    ``credit`` is one number a step, by step id or in order. Sampled tokens get their span's weight and their
    step's credit as the advantage; all others weight 0. A token with a single allowed id was no choice, has no
    gradient, and gets weight 0 too unless ``forced``. ``agent`` trains that agent's steps only.
    ``tool_output`` lifts the mask from what tools wrote, as if the model had: the wrong way, for comparisons. Such a token gets
    the credit of the step that reads it, and log-probability NaN, since it was not sampled: see ``with_logprobs``.
    ``reference_logprobs`` (one a token, from ``Learner.score``) adds the reference stream on the same tokens.

    Raises ``LearnerError`` for a step without tokens or credit, and for steps of several temperatures.
    """
    row = _join(
        trajectory,
        lambda step: 1.0 if agent in (None, step.agent) else 0.0,
        forced=forced,
        tool_output=tool_output,
    )
    given = _credits(trajectory, credit, agent)
    advantage = tuple(
        given[step] if weight else 0.0 for step, weight in zip(row.step_of, row.weight, strict=True)
    )
    weight = tuple(row.weight)
    return Sample(
        ids=tuple(row.ids),
        policy_weight=weight,
        advantage=advantage,
        logprobs=tuple(row.logprobs),
        reference_weight=() if reference_logprobs is None else weight,
        reference_logprobs=() if reference_logprobs is None else tuple(reference_logprobs),
        step_of=tuple(row.step_of),
        allowed=row.allowed or None,
        temperature=_temperature(trajectory),
        rollout=trajectory.id,
    )


def with_logprobs(sample: Sample, logprobs: Sequence[float]) -> Sample:
    """Fill log-probabilities that were not recorded with those of the current weights (from ``Learner.score``)."""
    filled = (new if math.isnan(old) else old for old, new in zip(sample.logprobs, logprobs, strict=True))
    return replace(sample, logprobs=tuple(filled))


def supervised_sample(
    trajectory: Trajectory, step_weight: Mapping[str, float] | None = None, *, restrict: bool = False
) -> Sample:
    """Return ``trajectory`` as one sample for behaviour cloning: cross-entropy on the sampled tokens.

    ``step_weight`` weighs steps by id, 1 where it says nothing; the tokens of a step of weight 0 (a wrong one) stay in
    the context. ``restrict`` takes the cross-entropy among the ids that were allowed, and leaves out tokens without a choice.
    """
    weights = step_weight or {}
    unknown = weights.keys() - {step.id for step in trajectory.steps}
    if unknown:
        raise LearnerError(
            f"trajectory {trajectory.id!r} has no step {min(unknown)!r}, but step_weight weighs it."
        )
    row = _join(trajectory, lambda step: weights.get(step.id, 1.0), forced=not restrict)
    return Sample(
        ids=tuple(row.ids),
        supervised_weight=tuple(row.weight),
        step_of=tuple(row.step_of),
        allowed=row.allowed if restrict and row.allowed else None,
        rollout=trajectory.id,
    )


def _join(
    trajectory: Trajectory, weigh: Callable[[Step], float], *, forced: bool, tool_output: bool = False
) -> _Row:
    row = _Row()
    for number, step in enumerate(trajectory.steps):
        tokens = step.tokens
        if tokens is None or not tokens.ids:
            raise LearnerError(
                f"step {step.id!r} of trajectory {trajectory.id!r} has no tokens, so nothing can be learned from it. "
                "Roll out with a sampler that records tokens, or leave the trajectory out."
            )
        _check(step, tokens)
        _append(row, number, tokens, weigh(step), forced=forced, tool_output=tool_output)
    if not row.ids:
        raise LearnerError(f"trajectory {trajectory.id!r} has no steps. Leave it out.")
    if row.weight[0]:
        row.weight[0] = 0.0  # nothing predicts the first token
        row.allowed.pop(0, None)
    return row


def _append(
    row: _Row, number: int, tokens: TokenRecord, weight: float, *, forced: bool, tool_output: bool
) -> None:
    drawn = 0
    for span in tokens.spans:
        size, start = span.end - span.start, len(row.ids)
        row.ids.extend(tokens.ids[span.start : span.end])
        if span.kind is not SpanKind.SAMPLED:
            trained = tool_output and span.kind is SpanKind.TOOL and weight != 0
            row.weight.extend([weight if trained else 0.0] * size)
            row.logprobs.extend([math.nan if trained else 0.0] * size)
            row.step_of.extend([number if trained else -1] * size)
            continue
        row.weight.extend([span.weight * weight] * size)
        row.logprobs.extend(tokens.logprobs[drawn : drawn + size])
        row.step_of.extend([number] * size)
        if tokens.allowed is not None:
            for place, ids in enumerate(tokens.allowed[drawn : drawn + size], start=start):
                if ids:
                    row.allowed[place] = ids
                    if len(ids) == 1 and not forced:
                        row.weight[place] = 0.0
        drawn += size


def _check(step: Step, tokens: TokenRecord) -> None:
    """Raise where the spans do not tile the ids or the log-probabilities are not one a sampled token."""
    at = 0
    for span in tokens.spans:
        if span.start != at or span.end < span.start:
            raise LearnerError(
                f"step {step.id!r}: its spans do not tile its tokens (one starts at {span.start}, expected {at})."
            )
        at = span.end
    drawn = sum(span.end - span.start for span in tokens.spans if span.kind is SpanKind.SAMPLED)
    if at != len(tokens.ids) or drawn != len(tokens.logprobs):
        raise LearnerError(
            f"step {step.id!r}: {len(tokens.ids)} ids with spans up to {at}, {drawn} sampled ids with "
            f"{len(tokens.logprobs)} log-probabilities. The record is damaged or was made by hand."
        )
    if tokens.allowed is not None and len(tokens.allowed) != drawn:
        raise LearnerError(f"step {step.id!r}: {len(tokens.allowed)} allowed sets for {drawn} sampled ids.")


def _credits(
    trajectory: Trajectory, credit: Mapping[str, float] | Sequence[float], agent: str | None
) -> dict[int, float]:
    steps = trajectory.steps
    if isinstance(credit, Mapping):
        trained = [(at, step) for at, step in enumerate(steps) if agent in (None, step.agent)]
        missing = [step.id for _, step in trained if step.id not in credit]
        if missing:
            raise LearnerError(
                f"trajectory {trajectory.id!r}: step {missing[0]!r} has no credit. Give one number a step."
            )
        return {at: float(credit[step.id]) for at, step in trained}
    if len(credit) != len(steps):
        raise LearnerError(f"trajectory {trajectory.id!r}: {len(credit)} credits for {len(steps)} steps.")
    return {at: float(value) for at, value in enumerate(credit)}


def _temperature(trajectory: Trajectory) -> float:
    found = {step.tokens.temperature for step in trajectory.steps if step.tokens is not None}
    if len(found) != 1:
        raise LearnerError(
            f"trajectory {trajectory.id!r} was sampled at several temperatures {sorted(found)!r}; one row has one."
        )
    return found.pop()


def with_forced(tokens: TokenRecord) -> TokenRecord:
    """Return the record with tokens that had no alternative as forced ones: a tag that was put into the model's turn is context.

    >>> record = TokenRecord(ids=(5, 6, 7), spans=(Span(start=0, end=3, kind=SpanKind.SAMPLED),), logprobs=(-0.7, 0.0, 0.0),
    ...     allowed=((5, 8), (6,), (7,)))
    >>> [(span.start, span.end, str(span.kind)) for span in with_forced(record).spans], with_forced(record).logprobs
    ([(0, 1, 'sampled'), (1, 3, 'forced')], (-0.7,))
    """
    if tokens.allowed is None:
        return tokens
    spans: list[Span] = []
    drawn, kept = 0, list[int]()
    for span in tokens.spans:
        if span.kind is not SpanKind.SAMPLED:
            spans.append(span)
            continue
        for at in range(span.start, span.end):
            alone = len(tokens.allowed[drawn]) == 1
            kind, weight = (SpanKind.FORCED, 0.0) if alone else (span.kind, span.weight)
            if spans and spans[-1].kind is kind and spans[-1].end == at and spans[-1].weight == weight:
                spans[-1] = replace(spans[-1], end=at + 1)
            else:
                spans.append(Span(start=at, end=at + 1, kind=kind, weight=weight))
            if not alone:
                kept.append(drawn)
            drawn += 1
    return replace(
        tokens,
        spans=tuple(spans),
        logprobs=tuple(tokens.logprobs[place] for place in kept),
        allowed=tuple(tokens.allowed[place] for place in kept),
    )


def token_record(context: Sequence[int], answer: Sequence[int], logprobs: Sequence[float]) -> TokenRecord:
    """Return the record of a step that read ``context`` and then sampled ``answer``: the plain case.

    >>> token_record([1, 2], [3], [-0.5]).spans[1].kind
    <SpanKind.SAMPLED: 'sampled'>
    """
    size = len(context)
    spans = (
        Span(start=0, end=size, kind=SpanKind.CONTEXT),
        Span(start=size, end=size + len(answer), kind=SpanKind.SAMPLED),
    )
    return TokenRecord(ids=(*context, *answer), spans=spans, logprobs=tuple(logprobs))
