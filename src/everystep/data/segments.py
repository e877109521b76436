"""Segments of what an agent wrote, by what they are, and loss weights that follow them to the token.

A wrong step stays where it is, so that what comes later can refer to it, but nobody learns to write it: its weight is 0. That is not the same as
leaving it out. The weights stand in the token spans (``Span.weight``), so ``learn.samples.supervised_sample`` needs nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType

from everystep.core.errors import DataError
from everystep.core.records import Span, SpanKind, TokenRecord
from everystep.models.template import Ids, Template


class Part(StrEnum):
    """What a segment is, as a teacher or a checker says."""

    CORRECT = "correct"
    WRONG = "wrong"
    SUBOPTIMAL = "suboptimal"  # it does no harm, another one would have been better
    REFLECTION = "reflection"  # says what was wrong
    CORRECTED = "corrected"  # what was done about it
    UNJUDGED = "unjudged"  # nobody said


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of a turn. The texts of a turn's segments, one behind the other, are the turn."""

    part: Part
    text: str


Weights = Mapping[Part, float]
"""Loss weights by part; a part that is not named weighs 1."""

MASKED: Weights = MappingProxyType({Part.WRONG: 0.0, Part.SUBOPTIMAL: 0.0, Part.UNJUDGED: 0.0})
"""Nothing is learned from mistakes and from what nobody judged."""

UNMASKED: Weights = MappingProxyType({})
"""Everything is learned, mistakes too: for comparisons."""


def text_of(segments: Sequence[Segment]) -> str:
    """Return the turn that segments make.

    >>> text_of([Segment(part=Part.REFLECTION, text="no : "), Segment(part=Part.CORRECTED, text="north")])
    'no : north'
    """
    return "".join(one.text for one in segments)


def weight_of(segments: Sequence[Segment], weights: Weights) -> float | None:
    """Return the one weight of a turn, ``None`` where its segments have several."""
    found = {weights.get(one.part, 1.0) for one in segments if one.text}
    return found.pop() if len(found) == 1 else None


def weighed(
    record: TokenRecord, segments: Sequence[Segment], weights: Weights, template: Template
) -> TokenRecord:
    """Return the tokens of a turn with the weight of its segment on each sampled token.

    The characters of a token are found by decoding the ids that are there; nothing is tokenised again or searched for. A token that touches two
    segments gets the smaller weight; the space that a word's token begins with does not count. The end of turn goes with the last segment.
    Raises ``DataError`` where several weights are wanted and the tokens do not spell the text.
    """
    alone = weight_of(segments, weights)
    sampled = [span for span in record.spans if span.kind is SpanKind.SAMPLED]
    if alone is not None:
        spans = [
            replace(span, weight=span.weight * alone) if span.kind is SpanKind.SAMPLED else span
            for span in record.spans
        ]
        return replace(record, spans=tuple(spans))
    if len(sampled) != 1:
        raise DataError(
            f"a turn of {len(segments)} segments has {len(sampled)} sampled spans; expected one. Encode the turn anew (fresh=True)."
        )
    [span] = sampled
    ids = record.ids[span.start : span.end]
    values = _token_weights(ids, segments, weights, template)
    cuts = [0, *(at for at in range(1, len(values)) if values[at] != values[at - 1]), len(values)]
    pieces = [
        Span(
            start=span.start + start,
            end=span.start + end,
            kind=span.kind,
            weight=span.weight * values[start],
        )
        for start, end in pairwise(cuts)
    ]
    place = record.spans.index(span)
    return replace(record, spans=(*record.spans[:place], *pieces, *record.spans[place + 1 :]))


def _token_weights(
    ids: Ids, segments: Sequence[Segment], weights: Weights, template: Template
) -> list[float]:
    """Return the weight of each token: the smallest among the segments that it has characters of, spaces only where it has no others."""
    text, end = text_of(segments), template.end
    body = ids[: len(ids) - len(end)] if ids[len(ids) - len(end) :] == end else ids
    if not template.decode(body).startswith(text):
        raise DataError(
            f"the tokens spell {template.decode(body)[:80]!r}, the segments {text[:80]!r}: no token can be given to a segment. "
            "Encode the turn anew (fresh=True) with a tokenizer that knows its words."
        )
    ends = [0, *(len(template.decode(body[: at + 1])) for at in range(len(body)))]
    marks = [weights.get(one.part, 1.0) for one in segments for _ in one.text]
    last = marks[-1]
    found = []
    for start, stop in pairwise(ends):  # a character of several bytes may be counted twice until it is whole
        span = range(min(start, stop), min(max(start, stop, start + 1), len(text)))
        inked = [marks[at] for at in span if not text[at].isspace()]
        found.append(min(inked or [marks[at] for at in span], default=last))
    return found + [last] * (len(ids) - len(body))
