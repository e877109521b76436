"""Verdicts made by judges: how one is put together, how a failure is told, and when a verdict means "good"."""

from __future__ import annotations

from collections.abc import Sequence

from everystep.core.protocols import Evidence, Judge
from everystep.core.records import Level, Verdict

FAILED = "failed"
"""The label of a verdict that says that the judge came to none; it has no score."""


def verdict(
    judge: Judge,
    level: Level,
    evidence: Evidence,
    *,
    score: float | None,
    low: float = 0.0,
    high: float = 1.0,
    label: str | None = None,
    reason: str | None = None,
    confidence: float | None = None,
    targets: Sequence[str] | None = None,
) -> Verdict:
    """Return a verdict of ``judge``, with what it saw and its version; about ``targets`` where not about all of the evidence's."""
    return Verdict(
        level=level,
        targets=evidence.targets if targets is None else tuple(targets),
        judge=judge.name,
        version=judge.version,
        score=score,
        low=low,
        high=high,
        label=label,
        reason=reason,
        evidence=evidence.seen,
        sees_future=judge.looks.sees_future,
        confidence=confidence,
    )


def share_of(one: Verdict) -> float | None:
    """Return where the score lies in its range, 0 to 1; ``None`` without a score.

    >>> share_of(Verdict(level=Level.STEP, targets=("s",), judge="j", score=6, low=0, high=10))
    0.6
    """
    if one.score is None or one.high <= one.low:
        return None
    return min(1.0, max(0.0, (one.score - one.low) / (one.high - one.low)))
