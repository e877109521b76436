"""Credit for a page: computed anew from the trajectories, or read from the journal, with what it is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from everystep.app.page_data import Explain, Reasons, StepReason
from everystep.core.errors import ConfigError
from everystep.core.records import End, StepCredit, Trajectory
from everystep.core.trace import Trace
from everystep.credit.assess import assess
from everystep.credit.columns import Columns
from everystep.credit.estimators import estimator
from everystep.credit.terms import Credit, Estimator, TermCredit
from everystep.run.rollout import seed_of

UNCOMPARED = frozenset({"eval", "test", "start", "warm"})
"""Phases whose episodes are not compared with each other, so they have no credit."""

_RULES = {
    "centre": "minus the mean",
    "leave_one_out": "minus the mean of the others",
    "norm": "minus mean, divided by std",
    "whiten": "minus mean, divided by std",
    "none": "as it is",
}


def explainer(name: str | None, variant: str | None, config: Mapping[str, Any]) -> Explain:
    """Return what explains the steps of a run: the named method, else the run's own, else stored credit.

    ``config`` is what the run's first event says; its ``estimator`` has a name, a variant and options.
    """
    options = config.get("options", {})
    seed = options.get("seed", 0)
    if name is not None:
        return computed(estimator(name, variant or "paper"), seed=seed)
    own = config.get("estimator")
    if own is None:
        return stored()
    if variant is not None:
        return computed(estimator(own["name"], variant), seed=seed)
    method = estimator(own["name"], own["variant"], **own["options"])
    given = {name: options.get(name) for name in ("match_rms", "process", "parts")}
    return _first_that_works(computed(method, seed=seed, given=given, check=True), stored())


def computed(
    method: Estimator, *, seed: int = 0, given: Mapping[str, Any] | None = None, check: bool = False
) -> Explain:
    """Return the function that computes the credit of whole iterations by ``method``.

    ``given`` are arguments of ``assess`` that the run has used. Random blocks are drawn as training with ``seed`` has drawn them. ``check`` compares the root mean square of the credit with
    what the run has recorded, and adds a note where they differ.
    """

    def explain(trace: Trace, parts: frozenset[tuple[str, int]]) -> Reasons:
        found: dict[tuple[str, str], StepReason] = {}
        off: list[int] = []
        wanted = sorted(part for part in parts if part[0] not in UNCOMPARED)
        for number, (phase, iteration) in enumerate(wanted):
            whole = [one for one in trace.trajectories(phase=phase, iteration=iteration) if _counts(one)]
            if not whole:
                continue
            rng = np.random.default_rng(seed_of(seed, "iteration", iteration))
            table, credit = assess(whole, method, rng=rng, **(given or {}))
            found.update(_reasons(table, credit, str(number)))
            if check and not _as_recorded(trace, phase, iteration, credit.diagnostics.rms):
                off.append(iteration)
        name = f"{method.name} ({method.variant})"
        return Reasons(
            estimator=name,
            formula="Contribution = weight times normalised value; the credit is the sum of the contributions.",
            missing="No credit: this step was not compared. Tests and demonstrations never are.",
            note=f"The credit of {name} on this page is not the one that the run was trained with "
            f"(iterations {', '.join(map(str, off[:8]))}): it had other options."
            if off
            else None,
            steps=found,
        )

    return explain


def _counts(trajectory: Trajectory) -> bool:
    """Training leaves out what broke or never began, before any statistic."""
    return trajectory.end not in (End.ERROR, End.CANCELLED) and bool(trajectory.steps)


def _as_recorded(trace: Trace, phase: str, iteration: int, rms: float) -> bool:
    for row in trace.metrics:
        if row.get("phase") == phase and row.get("iteration") == iteration and "credit_rms" in row:
            return math.isclose(row["credit_rms"], rms, rel_tol=1e-3, abs_tol=1e-6)
    return True


def _first_that_works(first: Explain, second: Explain) -> Explain:
    """Fall back where the run's own method needs scores that the journal does not hold."""

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
