"""What a credit vector looks like: group sizes, scale, length bias, and warnings about degenerate groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from everystep.credit.grouping import BoolArray, FloatArray, IntArray
from everystep.credit.normalisers import GroupStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class TermDiagnostics:
    """One term's groups. Shares are of the rows that took part, in ``[0, 1]``.

    ``shared_share``: rows in groups of more than one row. ``singleton_share``: rows in groups with one entry of the statistics.
    ``constant_share``: rows in groups without any spread. ``unknown_share``: rows whose value is unknown, of all rows.
    ``repeats`` says that the groups are repeated states.
    """

    name: str
    key: str
    groups: int
    mean_size: float
    largest: int
    shared_share: float
    singleton_share: float
    constant_share: float
    unknown_share: float
    rms: float
    repeats: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostics:
    """The whole vector. ``rms_before`` is its root mean square before any matching.

    ``length_bias`` is the correlation over rows of the credit with the trajectory's length and ``length_bias_size`` that of
    its magnitude; ``None`` where either does not vary.
    """

    rows: int
    known_share: float
    rms: float
    rms_before: float
    length_bias: float | None
    length_bias_size: float | None
    terms: tuple[TermDiagnostics, ...]
    warnings: tuple[str, ...]


def diagnose_term(
    name: str,
    key: str,
    row_S: FloatArray,
    group_S: IntArray,
    statistics: GroupStatistics,
    *,
    repeats: bool,
    took_part: BoolArray,
) -> TermDiagnostics:
    """Count what the groups of one term look like."""
    rows_K = statistics.rows_K
    rows = int(rows_K.sum())
    share = 1.0 / max(rows, 1)
    return TermDiagnostics(
        name=name,
        key=key,
        groups=int(rows_K.size),
        mean_size=float(rows_K.mean()) if rows_K.size else 0.0,
        largest=int(rows_K.max()) if rows_K.size else 0,
        shared_share=float(rows_K[rows_K > 1].sum()) * share,
        singleton_share=float(rows_K[statistics.single_K].sum()) * share,
        constant_share=float(rows_K[statistics.constant_K].sum()) * share,
        unknown_share=1.0 - float(took_part.mean()) if took_part.size else 0.0,
        rms=float(np.sqrt(np.mean(row_S[group_S >= 0] ** 2))) if rows else 0.0,
        repeats=repeats,
    )


def diagnose(
    value_S: FloatArray,
    known_S: BoolArray,
    trajectory_S: IntArray,
    terms: tuple[TermDiagnostics, ...],
    *,
    rms_before: float,
    matched: bool,
) -> Diagnostics:
    """Describe the vector and warn about what makes it say less than its name promises."""
    known = value_S[known_S]
    length_S = np.bincount(trajectory_S)[trajectory_S].astype(np.float64) if trajectory_S.size else value_S
    length = length_S[known_S]
    return Diagnostics(
        rows=int(value_S.size),
        known_share=float(known_S.mean()) if known_S.size else 0.0,
        rms=float(np.sqrt(np.mean(known**2))) if known.size else 0.0,
        rms_before=rms_before,
        length_bias=_correlation(known, length),
        length_bias_size=_correlation(np.abs(known), length),
        terms=terms,
        warnings=tuple(_warnings(terms, rms_before, matched)),
    )


def _warnings(terms: tuple[TermDiagnostics, ...], rms: float, matched: bool) -> list[str]:
    out = []
    for term in terms:
        if term.groups == 0 and term.unknown_share > 0.0:
            out.append(f"term {term.name!r}: no row has a known value, so the term gives nothing.")
        if term.repeats and term.groups and term.shared_share == 0.0:
            others = " + ".join(repr(other.name) for other in terms if other is not term)
            same = f"so the credit equals its other terms ({others})" if others else "so there is no credit"
            out.append(
                f"term {term.name!r}: no state repeats under key {term.key!r}, {same}. "
                f"Check the anchors for clocks, counters or history, or use another estimator."
            )
    if matched and rms == 0.0:
        out.append("the credit is zero everywhere, so its root mean square could not be matched.")
    return out


def _correlation(first: FloatArray, second: FloatArray) -> float | None:
    if first.size < 2:
        return None
    a, b = first - first.mean(), second - second.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    if size <= 1e-12:
        return None
    return float(a @ b) / size
