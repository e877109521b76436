"""How a value is compared with its group.

``S`` is the set of numbers of one group. Four comparisons, and none:

==============  ==========================================
centre          ``v - mean S``
norm            ``(v - mean S) / (std S + eps)``
leave_one_out   ``(v - mean S) * |S| / (|S| - 1)``
whiten          ``(v - mean S) / sqrt(var S + eps)``
none            ``v``
==============  ==========================================

What papers and released code disagree on is an argument: what one entry of ``S`` is (``unit``), what
happens to a group of one (``singleton``), ``ddof`` and ``eps``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from everystep.core.errors import ConfigError, did_you_mean
from everystep.credit.grouping import BoolArray, FloatArray, IntArray, count, dense, pair, total

NOISE = 1e-12
"""Spread below which a group is constant whatever its size: rounding of sums that cancel."""


class Unit(StrEnum):
    """What one entry of a group's statistics is."""

    STEP = "step"  # every row: long trajectories weigh more
    TRAJECTORY = "trajectory"  # the mean of a trajectory's rows in the group, once
    FIRST = "first"  # a trajectory's earliest row in the group, once


class Singleton(StrEnum):
    """What happens to a group with one entry."""

    ZERO = "zero"  # nothing to compare with: no credit
    RAW = "raw"  # the value itself, as with mean 0 and deviation 1
    DROP = "drop"  # no credit, and the row is marked as not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Normaliser:
    """Built by ``centre``, ``norm``, ``leave_one_out``, ``whiten`` or ``none``.

    A group whose deviation is at most ``tolerance`` times its root mean square is constant and gives exactly zero, so rounding
    noise is never blown up by a division.
    """

    kind: str
    unit: Unit = Unit.STEP
    singleton: Singleton = Singleton.ZERO
    ddof: int = 1
    eps: float = 1e-6
    tolerance: float = 1e-6


def centre(*, unit: str = "step", singleton: str = "zero", tolerance: float = 1e-6) -> Normaliser:
    """Subtract the group's mean."""
    return _make("centre", unit=unit, singleton=singleton, tolerance=tolerance)


def norm(
    *, unit: str = "step", singleton: str = "zero", ddof: int = 1, eps: float = 1e-6, tolerance: float = 1e-6
) -> Normaliser:
    """Subtract the mean, divide by the standard deviation plus ``eps``. ``ddof`` 1 is the sample deviation."""
    return _make("norm", unit=unit, singleton=singleton, ddof=ddof, eps=eps, tolerance=tolerance)


def leave_one_out(*, unit: str = "step", singleton: str = "zero", tolerance: float = 1e-6) -> Normaliser:
    """Subtract the mean of the group's other entries (for a row that is an entry itself)."""
    return _make("leave_one_out", unit=unit, singleton=singleton, tolerance=tolerance)


def whiten(
    *, unit: str = "step", singleton: str = "zero", ddof: int = 1, eps: float = 1e-8, tolerance: float = 1e-6
) -> Normaliser:
    """Subtract the mean, divide by the square root of the variance plus ``eps``."""
    return _make("whiten", unit=unit, singleton=singleton, ddof=ddof, eps=eps, tolerance=tolerance)


def none() -> Normaliser:
    """Keep the value as it is: no group, no statistics."""
    return _make("none")


KINDS = {"centre": centre, "norm": norm, "leave_one_out": leave_one_out, "whiten": whiten, "none": none}
"""The comparisons by name."""


def normaliser(kind: str, **options: object) -> Normaliser:
    """A comparison by name; options that are ``None`` take its default, others it must know.

    >>> normaliser("centre", eps=1e-4, unit="step")
    Traceback (most recent call last):
        ...
    everystep.core.errors.ConfigError: normaliser 'centre' has no option 'eps', so it would have no effect. Known: singleton, tolerance, unit.
    """
    if kind not in KINDS:
        raise ConfigError(f"unknown normaliser {kind!r}. {did_you_mean(kind, KINDS)}")
    build = KINDS[kind]
    known = (build.__kwdefaults__ or {}).keys()
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ConfigError(
                f"normaliser {kind!r} has no option {name!r}, so it would have no effect. {hint}"
            )
    return build(**given)


def _make(
    kind: str,
    *,
    unit: str = "step",
    singleton: str = "zero",
    ddof: int = 1,
    eps: float = 1e-6,
    tolerance: float = 1e-6,
) -> Normaliser:
    for name, value, choices in (("unit", unit, Unit), ("singleton", singleton, Singleton)):
        if value not in list(choices):
            raise ConfigError(f"{name} is {value!r}. {did_you_mean(value, list(choices))}")
    if ddof not in (0, 1):
        raise ConfigError(f"ddof is {ddof!r}; expected 0 (population) or 1 (sample).")
    if eps < 0 or tolerance < 0:
        raise ConfigError(f"eps is {eps!r} and tolerance {tolerance!r}; expected numbers of at least 0.")
    return Normaliser(
        kind=kind,
        unit=Unit(unit),
        singleton=Singleton(singleton),
        ddof=ddof,
        eps=eps,
        tolerance=tolerance,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStatistics:
    """What each group (``_K``) was compared by. ``entries_K`` counts entries of the statistics, ``rows_K`` rows.

    ``std_K`` is 0 where there is none. A constant group has ``constant_K``, one with a single entry ``single_K``.
    """

    entries_K: IntArray
    rows_K: IntArray
    mean_K: FloatArray
    std_K: FloatArray
    constant_K: BoolArray
    single_K: BoolArray


def normalise(
    value_S: FloatArray,
    group_S: IntArray,
    unit_S: IntArray | None,
    turn_S: IntArray,
    rule: Normaliser,
) -> tuple[FloatArray, GroupStatistics]:
    """Compare every value with its group; return the normalised values and the groups' statistics.

    ``value_S`` has no NaN; ``group_S`` is dense (``0..K-1``); ``unit_S`` numbers the trajectories, and is only read where
    the rule's unit is not the step. Rows that the rule drops come back as NaN.
    """
    size = int(group_S.max()) + 1 if group_S.size else 0
    rows_K = count(group_S, size)
    entry, entry_group = _entries(value_S, group_S, unit_S, turn_S, rule.unit)
    entries_K = rows_K if entry is value_S else count(entry_group, size)
    mean_K = total(entry, entry_group, size) / np.maximum(entries_K, 1)
    off = entry - mean_K[entry_group]
    squares_K = total(off * off, entry_group, size)
    single_K = entries_K == 1
    spread_K = np.sqrt(squares_K / np.maximum(entries_K, 1))
    scale_K = np.sqrt(total(entry * entry, entry_group, size) / np.maximum(entries_K, 1))
    limit_K = rule.tolerance * scale_K + NOISE
    constant_K = (spread_K <= limit_K) & ~single_K
    if entry is not value_S and rule.kind in ("centre", "leave_one_out"):
        # entries may agree while the rows behind them differ: those differences are real and nothing is divided
        off_S = value_S - mean_K[group_S]
        row_spread_K = np.sqrt(total(off_S * off_S, group_S, size) / np.maximum(rows_K, 1))
        constant_K &= row_spread_K <= limit_K
    std_K = np.where(constant_K | single_K, 0.0, np.sqrt(squares_K / np.maximum(entries_K - rule.ddof, 1)))
    statistics = GroupStatistics(
        entries_K=entries_K,
        rows_K=rows_K,
        mean_K=mean_K,
        std_K=std_K,
        constant_K=constant_K,
        single_K=single_K,
    )
    if rule.kind == "none":
        return value_S.copy(), statistics
    factor_K = _factor(statistics, rule)
    out_S = (value_S - mean_K[group_S]) * factor_K[group_S]
    _apply_singleton(out_S, value_S, single_K[group_S], rule)
    return out_S, statistics


def _factor(statistics: GroupStatistics, rule: Normaliser) -> FloatArray:
    """What the centred values of each group are multiplied by; zero for constant groups and single entries."""
    entries_K = statistics.entries_K.astype(np.float64)
    idle_K = statistics.constant_K | statistics.single_K
    if rule.kind == "centre":
        factor_K = np.ones(entries_K.size)
    elif rule.kind == "leave_one_out":
        factor_K = entries_K / np.where(idle_K, 1.0, np.maximum(entries_K - 1.0, 1.0))
    elif rule.kind == "norm":
        factor_K = 1.0 / np.where(idle_K, 1.0, statistics.std_K + rule.eps)
    else:
        factor_K = 1.0 / np.sqrt(np.where(idle_K, 1.0, statistics.std_K**2 + rule.eps))
    factor_K[idle_K] = 0.0
    return factor_K


def _apply_singleton(out_S: FloatArray, value_S: FloatArray, single_S: BoolArray, rule: Normaliser) -> None:
    if not single_S.any():
        return
    if rule.singleton is Singleton.RAW:
        scale = {"norm": 1.0 + rule.eps, "whiten": float(np.sqrt(1.0 + rule.eps))}.get(rule.kind, 1.0)
        out_S[single_S] = value_S[single_S] / scale
    else:
        out_S[single_S] = 0.0 if rule.singleton is Singleton.ZERO else np.nan


def _entries(
    value_S: FloatArray, group_S: IntArray, unit_S: IntArray | None, turn_S: IntArray, unit: Unit
) -> tuple[FloatArray, IntArray]:
    """The numbers that statistics are taken over, and the group of each."""
    if unit is Unit.STEP or unit_S is None or not group_S.size:
        return value_S, group_S
    member_S, members = dense(pair(group_S, unit_S))
    group_of = np.empty(members, dtype=np.int64)
    group_of[member_S] = group_S
    if unit is Unit.TRAJECTORY:
        return total(value_S, member_S, members) / count(member_S, members), group_of
    order = np.lexsort((turn_S, member_S))
    starts = np.flatnonzero(np.diff(member_S[order], prepend=-1))
    return value_S[order[starts]], group_of
