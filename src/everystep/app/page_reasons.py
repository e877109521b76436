"""Credit for a page: computed anew from the trajectories, or read from the journal, with what it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from everystep.app.page_data import Explain, Reasons, StepReason
from everystep.core.errors import ConfigError
from everystep.core.records import Group, StepCredit
from everystep.core.trace import Trace
from everystep.credit.assess import assess
from everystep.credit.columns import Columns
from everystep.credit.estimators import METHODS, estimator
from everystep.credit.terms import Credit, Estimator, TermCredit

UNTRAINED = frozenset({"eval", "warm", "demonstrations"})
"""Phases whose episodes are not compared with each other, so they have no credit."""

_RULES = {
    "centre": "minus the group's mean",
    "leave_one_out": "minus the mean of the others",
    "norm": "minus the mean, divided by the deviation",
    "whiten": "minus the mean, divided by the deviation",
    "none": "as it is",
}


def explainer(name: str | None, variant: str | None, config: Mapping[str, Any]) -> Explain:
    """Return what explains the steps of a run: the named method, else the run's own, else stored credit.

    ``config`` is a run's config: its method is ``options.estimator``, or the recipe that bears a method's name.
    """
    options = config.get("options")
    options = options if isinstance(options, Mapping) else {}
    own = options.get("estimator", config.get("recipe"))
    match_rms = options.get("match_rms")
    if name is not None:
        return computed(estimator(name, variant or "paper"), match_rms=match_rms if name == own else None)
    if not isinstance(own, str) or own not in METHODS:
        return stored()
    made = estimator(own, str(variant or options.get("variant", "paper")))
    return _first_that_works(computed(made, match_rms=match_rms), stored())


def computed(method: Estimator, *, match_rms: float | None = None) -> Explain:
    """Return the function that computes the credit of whole iterations by ``method``.

    A method that compares random blocks draws them anew.
    """

    def explain(trace: Trace, parts: frozenset[tuple[str, int]]) -> Reasons:
        found: dict[tuple[str, str], StepReason] = {}
        wanted = sorted(part for part in parts if part[0] not in UNTRAINED)
        for number, (phase, iteration) in enumerate(wanted):
            groups = [group for group in trace.groups(phase=phase, iteration=iteration) if _has_steps(group)]
            if not groups:
                continue
            rng = np.random.default_rng(iteration)
            table, credit = assess(groups, method, rng=rng, match_rms=match_rms)
            found.update(_reasons(table, credit, str(number)))
        return Reasons(
            estimator=f"{method.name} ({method.variant})",
            formula="Contribution = weight times normalised value; the credit is the sum of the contributions.",
            missing="No credit: this step was not compared. Evaluations and demonstrations never are.",
            steps=found,
        )

    return explain


def _has_steps(group: Group) -> bool:
    return any(trajectory.steps for trajectory in group.trajectories)


def _first_that_works(first: Explain, second: Explain) -> Explain:
    def explain(trace: Trace, parts: frozenset[tuple[str, int]]) -> Reasons:
        try:
            return first(trace, parts)
        except ConfigError as error:
            found = second(trace, parts)
            return found if found.steps else replace(found, missing=f"No credit: {error}")

    return explain


def stored() -> Explain:
    """Return the function that reads the credit that the run itself has written to its journal."""

    def explain(trace: Trace, parts: frozenset[tuple[str, int]]) -> Reasons:
        if not trace.credits:
            return Reasons()
        name, entries = next(reversed(trace.credits.items()))
        kept = {one.id for one in trace.endings.values() if (one.phase, one.iteration) in parts}
        return Reasons(
            estimator=name,
            formula="As stored in the journal when it was computed.",
            missing="No credit is stored for this step.",
            steps={
                (one.trajectory, one.step): _stored(one) for one in entries.values() if one.trajectory in kept
            },
        )

    return explain


def _stored(credit: StepCredit) -> StepReason:
    terms = tuple({"name": f"term {at + 1}", "contribution": part} for at, part in enumerate(credit.terms))
    return StepReason(value=credit.value, terms=terms)


def _reasons(table: Columns, credit: Credit, batch: str) -> dict[tuple[str, str], StepReason]:
    """Return what made the credit of every known row. ``batch`` tells groups of several calls apart."""
    if table.step_ids is None or table.trajectory_ids is None:
        raise ConfigError("these columns have no ids; build them from records with `columns`.")
    trajectories = table.trajectory_S.tolist()
    parts = [
        _term_rows(part, contributions, f"{batch}.{number}")
        for number, (part, contributions) in enumerate(
            zip(credit.terms, credit.terms_TS.tolist(), strict=True)
        )
    ]
    after = None if credit.scale == 1.0 else f"Every contribution was multiplied by {credit.scale:.6g}."
    return {
        (table.trajectory_ids[trajectories[row]], table.step_ids[row]): StepReason(
            value=value, terms=tuple(rows[row] for rows in parts), after=after
        )
        for row, (value, known) in enumerate(
            zip(credit.value_S.tolist(), credit.known_S.tolist(), strict=True)
        )
        if known
    }


def _term_rows(part: TermCredit, contributions: Sequence[float], prefix: str) -> list[Mapping[str, Any]]:
    """Return one mapping for each row: the value, its group and what came out."""
    rule = part.term.normaliser
    same = {"name": part.term.name, "value_name": part.term.value.name, "key": part.term.key.name}
    same["rule"] = _RULES.get(rule.kind, rule.kind)
    same["unit"] = rule.unit.value
    statistics = part.statistics
    groups = [
        {"size": size, "rows": rows, "mean": mean, "std": std, "alone": alone or None, "constant": constant or None}
        for size, rows, mean, std, alone, constant in zip(
            statistics.entries_K.tolist(),
            statistics.rows_K.tolist(),
            statistics.mean_K.tolist(),
            statistics.std_K.tolist(),
            statistics.single_K.tolist(),
            statistics.constant_K.tolist(),
            strict=True,
        )
    ]  # fmt: skip
    return [
        {
            **same,
            **(groups[group] if group >= 0 else {}),
            "group": f"{prefix}.{group}" if group >= 0 else None,
            "value": value,
            "normalised": normalised,
            "weight": weight,
            "contribution": contribution,
        }
        for group, value, normalised, weight, contribution in zip(
            part.group_S.tolist(),
            part.raw_S.tolist(),
            part.normalised_S.tolist(),
            part.weight_S.tolist(),
            contributions,
            strict=True,
        )
    ]
