"""The additive rule: credit is a sum of terms, each a value compared inside a group.

``A[i, t] = sum over terms of  weight * normalise(value[i, t]; group key)``

An estimator is a row of such terms. ``assign`` computes all rows at once by sorting and summing over integer ids,
in ``n log n``, and keeps what is needed to explain each number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from everystep.core.errors import ConfigError
from everystep.core.records import StepCredit
from everystep.credit.columns import Columns
from everystep.credit.diagnostics import Diagnostics, TermDiagnostics, diagnose, diagnose_term
from everystep.credit.grouping import BoolArray, FloatArray, IntArray, dense, lone
from everystep.credit.keys import Key
from everystep.credit.normalisers import GroupStatistics, Normaliser, normalise
from everystep.credit.values import Value


class Combine(StrEnum):
    """How the terms of one row are put together."""

    SUM = "sum"  # the weights as they are
    ACTIVE = "active"  # the weights of the row's non-zero terms, scaled to sum to one


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One comparison: a value, the group it is compared in, how, and its weight.

    ``segment`` restricts the term, statistics included, to rows of that segment.
    """

    name: str
    value: Value
    key: Key
    normaliser: Normaliser
    weight: float = 1.0
    segment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """A credit method: a row of terms. ``source`` says where it was published, ``options`` what it was built with."""

    name: str
    terms: tuple[Term, ...]
    variant: str = "paper"
    combine: Combine = Combine.SUM
    source: str = ""
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def scores(self) -> tuple[str, ...]:
        """The named step scores that the columns must have."""
        return tuple(dict.fromkeys(name for term in self.terms for name in term.value.scores))


@dataclass(frozen=True, slots=True, kw_only=True)
class TermCredit:
    """What one term gave: the value before (NaN unknown), its group, the result, and the weight on each row.

    ``group_S`` is ``-1`` where the row took no part; it indexes ``statistics``.
    """

    term: Term
    raw_S: FloatArray
    group_S: IntArray
    normalised_S: FloatArray
    weight_S: FloatArray
    statistics: GroupStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """One number a row, ``value_S``, and the parts it adds up from: ``value_S == sum over T of terms_TS``.

    ``known_S`` is false where no term could be computed, or one drops the row; such rows have value 0 and should not be trained
    on. ``scale`` multiplied every part (see ``match_rms``).
    """

    estimator: Estimator
    value_S: FloatArray
    terms_TS: FloatArray
    known_S: BoolArray
    terms: tuple[TermCredit, ...]
    scale: float
    diagnostics: Diagnostics


def assign(
    columns: Columns,
    estimator: Estimator,
    *,
    rng: np.random.Generator | None = None,
    match_rms: float | None = None,
) -> Credit:
    """Give every row its credit.

    ``rng`` is needed by random groups only. ``match_rms`` rescales the whole vector so that its root mean square over known
    rows is that number: the control arm for comparisons, since adding a term changes the step size.

    Raises ``ConfigError`` for a missing score or generator, or a ``match_rms`` that is not positive.
    """
    if match_rms is not None and not match_rms > 0:
        raise ConfigError(
            f"match_rms is {match_rms!r}; expected a number above 0, or None to leave the scale."
        )
    raw = {value: value.of(columns) for value in dict.fromkeys(term.value for term in estimator.terms)}
    computed = [_compute(columns, term, raw[term.value], rng) for term in estimator.terms]
    weights = _weights(estimator, computed, columns.size)
    parts = tuple(
        TermCredit(
            term=term,
            raw_S=one.raw_S,
            group_S=one.group_S,
            normalised_S=np.where(one.known_S, one.normalised_S, 0.0),
            weight_S=weight_S,
            statistics=one.statistics,
        )
        for term, one, weight_S in zip(estimator.terms, computed, weights, strict=True)
    )
    known_S = np.zeros(columns.size, dtype=np.bool_)
    dropped_S = np.zeros(columns.size, dtype=np.bool_)
    for one in computed:
        known_S |= one.known_S
        dropped_S |= one.dropped_S
    known_S &= ~dropped_S
    terms_TS = np.empty((len(parts), columns.size))
    for number, part in enumerate(parts):
        terms_TS[number] = np.where(known_S, part.weight_S * part.normalised_S, 0.0)
    rms = _rms(_added(terms_TS), known_S)
    scale = match_rms / rms if match_rms is not None and rms > 0 else 1.0
    if scale != 1.0:
        terms_TS *= scale
    value_S = _added(terms_TS)
    per_term = tuple(_term_diagnostics(part, row) for part, row in zip(parts, terms_TS, strict=True))
    return Credit(
        estimator=estimator,
        value_S=value_S,
        terms_TS=terms_TS,
        known_S=known_S,
        terms=parts,
        scale=scale,
        diagnostics=diagnose(
            value_S, known_S, columns.trajectory_S, per_term, rms_before=rms, matched=match_rms is not None
        ),
    )


def step_credits(columns: Columns, credit: Credit) -> list[StepCredit]:
    """The known rows as records, to be stored beside the steps. The columns must come from records."""
    if columns.step_ids is None or columns.trajectory_ids is None:
        raise ConfigError("these columns have no ids; build them from records with `columns`.")
    return [
        StepCredit(
            step=columns.step_ids[row],
            trajectory=columns.trajectory_ids[trajectory],
            estimator=credit.estimator.name,
            value=value,
            terms=tuple(terms),
        )
        for row, (known, trajectory, value, terms) in enumerate(
            zip(
                credit.known_S.tolist(),
                columns.trajectory_S.tolist(),
                credit.value_S.tolist(),
                credit.terms_TS.T.tolist(),
                strict=True,
            )
        )
        if known
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Computed:
    raw_S: FloatArray
    group_S: IntArray
    normalised_S: FloatArray
    known_S: BoolArray
    dropped_S: BoolArray
    statistics: GroupStatistics


def _compute(columns: Columns, term: Term, raw_S: FloatArray, rng: np.random.Generator | None) -> _Computed:
    """Compare the term's known values inside their groups; rows that take no part stay at 0."""
    ids_S = term.key.ids(columns, rng)
    part_S = ~np.isnan(raw_S)
    if term.segment is not None:
        part_S &= _segment(columns, term.segment)
    everything = bool(part_S.all())
    chosen = slice(None) if everything else part_S
    group, _ = dense(lone(ids_S[chosen]))
    normalised, statistics = normalise(
        raw_S[chosen], group, columns.trajectory_S[chosen], columns.turn_S[chosen], term.normaliser
    )
    if everything:
        group_S, normalised_S = group, normalised
    else:
        group_S = np.full(columns.size, -1, dtype=np.int64)
        normalised_S = np.zeros(columns.size)
        group_S[part_S], normalised_S[part_S] = group, normalised
    dropped_S = np.isnan(normalised_S)
    return _Computed(
        raw_S=raw_S,
        group_S=group_S,
        normalised_S=normalised_S,
        known_S=part_S & ~dropped_S,
        dropped_S=dropped_S,
        statistics=statistics,
    )


def _segment(columns: Columns, segment: str) -> BoolArray:
    if columns.segment_S is None or segment not in columns.segments:
        raise ConfigError(
            f"no row belongs to segment {segment!r}; the columns have {columns.segments!r}. Name them (`assess(segment=...)`), or split them with `split_segments`."
        )
    inside_S: BoolArray = columns.segment_S == columns.segments.index(segment)
    return inside_S


def _weights(estimator: Estimator, computed: list[_Computed], size: int) -> list[FloatArray]:
    fixed = [np.broadcast_to(np.float64(term.weight), (size,)) for term in estimator.terms]
    if estimator.combine is Combine.SUM:
        return fixed
    active = [
        np.where(one.known_S & (one.normalised_S != 0.0), weight_S, 0.0)
        for one, weight_S in zip(computed, fixed, strict=True)
    ]
    sum_S = _added(np.array(active))
    return [weight_S / np.where(sum_S > 0, sum_S, 1.0) for weight_S in active]


def _added(terms_TS: FloatArray) -> FloatArray:
    """Sum over terms in their order, so that adding up the parts one by one gives the same bits."""
    out_S = np.zeros(terms_TS.shape[1])
    for row_S in terms_TS:
        out_S += row_S
    return out_S


def _rms(value_S: FloatArray, known_S: BoolArray) -> float:
    return float(np.sqrt(np.mean(value_S[known_S] ** 2))) if known_S.any() else 0.0


def _term_diagnostics(part: TermCredit, row_S: FloatArray) -> TermDiagnostics:
    return diagnose_term(
        part.term.name,
        part.term.key.name,
        row_S,
        part.group_S,
        part.statistics,
        repeats=part.term.key.states and part.term.normaliser.kind != "none",
        took_part=~np.isnan(part.raw_S) if part.term.segment is None else part.group_S >= 0,
    )
