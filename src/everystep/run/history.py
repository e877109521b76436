"""Steps that were taken before, as the start of new attempts: they stand in the context and carry no loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from everystep.core.records import Step


def as_history(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return ``steps`` with all their spans at weight 0.

    Attempts that start behind them (``Job.prefix``) share them; nothing that is learned from such an attempt trains them again.
    """
    return tuple(_silent(step) for step in steps)


def _silent(step: Step) -> Step:
    if step.tokens is None:
        return step
    spans = tuple(replace(span, weight=0.0) for span in step.tokens.spans)
    return replace(step, tokens=replace(step.tokens, spans=spans))
