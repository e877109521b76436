"""Why a step got its credit: every term with its group, its numbers, and a sum that adds up to the bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from everystep.core.errors import ConfigError
from everystep.credit.columns import Columns
from everystep.credit.normalisers import Normaliser
from everystep.credit.terms import Credit, TermCredit

SHOWN = 12
"""Members of a group that the text lists; ``TermExplanation.members`` has all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A row of the group: its trajectory, its turn, its step's id where known, and its value."""

    row: int
    trajectory: str
    turn: int
    step: str | None
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TermExplanation:
    """One term of one row. ``contribution = scale * weight * normalised``.

    ``value`` is ``None`` where it is unknown or the row belongs to another segment. ``rule`` says in words what was done.
    """

    name: str
    measure: str
    key: str
    assumption: str
    members: tuple[Member, ...]
    entries: int
    value: float | None
    mean: float
    std: float
    normaliser: str
    rule: str
    normalised: float
    weight: float
    contribution: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A row's credit and the terms that add up to it, in order; ``str()`` of it is text for people."""

    row: int
    trajectory: str
    turn: int
    step: str | None
    estimator: str
    variant: str
    source: str
    credit: float
    known: bool
    scale: float
    terms: tuple[TermExplanation, ...]

    def __str__(self) -> str:
        what = f"step {self.step!r}" if self.step is not None else f"row {self.row}"
        where = f"trajectory {self.trajectory!r}, turn {self.turn}"
        lines = [f"{what} ({where}): credit {self.credit:+.6g} by {self.estimator} ({self.variant})"]
        if not self.known:
            lines.append(
                "  unknown: no term could be computed, so the step gets no credit and should not be trained on"
            )
        for term in self.terms:
            lines += _term_lines(term, self.scale)
        parts = " ".join(f"{term.contribution:+.6g}" for term in self.terms)
        lines.append(f"  sum: {parts} = {self.credit:+.6g}")
        return "\n".join(lines)


def explain(columns: Columns, credit: Credit, row: int) -> Explanation:
    """Say which terms, which group and which numbers made the credit of ``row``.

    Adding the contributions from 0.0 in their order gives ``credit`` exactly. Raises ``ConfigError`` for a row that is not there.
    """
    if not 0 <= row < columns.size:
        raise ConfigError(f"row is {row!r}; the columns have rows 0 to {columns.size - 1}.")
    made = credit.estimator
    return Explanation(
        row=row,
        trajectory=_trajectory(columns, row),
        turn=int(columns.turn_S[row]),
        step=_step(columns, row),
        estimator=made.name,
        variant=made.variant,
        source=made.source,
        credit=float(credit.value_S[row]),
        known=bool(credit.known_S[row]),
        scale=credit.scale,
        terms=tuple(
            _explain_term(columns, part, row, float(contribution))
            for part, contribution in zip(credit.terms, credit.terms_TS[:, row], strict=True)
        ),
    )


def row_of(columns: Columns, step: str, *, trajectory: str | None = None) -> int:
    """The first row of a step by its id, or the one in a given trajectory; unknown ids raise ``ConfigError``."""
    for row, name in enumerate(columns.step_ids or ()):
        if name == step and trajectory in (None, _trajectory(columns, row)):
            return row
    where = "" if trajectory is None else f" in trajectory {trajectory!r}"
    raise ConfigError(f"there is no step {step!r}{where} in these columns.")


def _explain_term(columns: Columns, part: TermCredit, row: int, contribution: float) -> TermExplanation:
    term, statistics, group = part.term, part.statistics, int(part.group_S[row])
    rows = np.flatnonzero(part.group_S == group) if group >= 0 else np.zeros(0, dtype=np.int64)
    value = float(part.raw_S[row])
    return TermExplanation(
        name=term.name,
        measure=term.value.name,
        key=term.key.name,
        assumption=term.key.assumption,
        members=tuple(
            Member(
                row=int(member),
                trajectory=_trajectory(columns, int(member)),
                turn=int(columns.turn_S[member]),
                step=_step(columns, int(member)),
                value=float(part.raw_S[member]),
            )
            for member in rows
        ),
        entries=int(statistics.entries_K[group]) if group >= 0 else 0,
        value=value if group >= 0 else None,
        mean=float(statistics.mean_K[group]) if group >= 0 else 0.0,
        std=float(statistics.std_K[group]) if group >= 0 else 0.0,
        normaliser=_formula(term.normaliser),
        rule=_rule(part, group, np.isnan(value)),
        normalised=float(part.normalised_S[row]),
        weight=float(part.weight_S[row]),
        contribution=contribution,
    )


def _rule(part: TermCredit, group: int, unknown: bool) -> str:
    if group < 0:
        return "the value is unknown" if unknown else f"the term is for segment {part.term.segment!r} only"
    if part.term.normaliser.kind == "none":
        return "taken as it is"
    if part.statistics.single_K[group]:
        return f"a group of one entry: {part.term.normaliser.singleton.value}"
    if part.statistics.constant_K[group]:
        return "all entries of the group are equal: zero"
    return "compared with the group"


def _formula(rule: Normaliser) -> str:
    over = {"step": "rows", "trajectory": "trajectories", "first": "first rows of trajectories"}[
        rule.unit.value
    ]
    return {
        "centre": f"v - mean, over {over}",
        "norm": f"(v - mean) / (std + {rule.eps:g}), ddof {rule.ddof}, over {over}",
        "leave_one_out": f"(v - mean) * n / (n - 1), over {over}",
        "whiten": f"(v - mean) / sqrt(var + {rule.eps:g}), ddof {rule.ddof}, over {over}",
        "none": "v",
    }[rule.kind]


def _term_lines(term: TermExplanation, scale: float) -> list[str]:
    head = f"  {term.name}: {term.measure}, compared by {term.key}"
    if term.value is None:
        return [head, f"    {term.rule}: contributes {term.contribution:+.6g}"]
    members = ", ".join(
        f"{member.trajectory}[{member.turn}]={member.value:.6g}" for member in term.members[:SHOWN]
    )
    more = f", and {len(term.members) - SHOWN} more" if len(term.members) > SHOWN else ""
    scaled = f" * scale {scale:.6g}" if scale != 1.0 else ""
    return [
        head,
        f"    group of {len(term.members)} rows, {term.entries} entries: {members}{more}",
        f"    value {term.value:.6g}, mean {term.mean:.6g}, std {term.std:.6g}; {term.normaliser}; {term.rule}",
        f"    {term.normalised:+.6g} * weight {term.weight:.6g}{scaled} = {term.contribution:+.6g}",
    ]


def _trajectory(columns: Columns, row: int) -> str:
    number = int(columns.trajectory_S[row])
    return columns.trajectory_ids[number] if columns.trajectory_ids is not None else str(number)


def _step(columns: Columns, row: int) -> str | None:
    return columns.step_ids[row] if columns.step_ids is not None else None
