"""``everystep credit``: the credit of stored trajectories, without running anything."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from everystep.app.flags import parse
from everystep.app.reading import journal_of, trajectories_of
from everystep.core.errors import ConfigError
from everystep.core.records import End, Json
from everystep.core.trace import Kind
from everystep.credit.assess import assess
from everystep.credit.columns import Columns
from everystep.credit.estimators import estimator
from everystep.credit.explain import explain, row_of
from everystep.credit.terms import Credit, step_credits
from everystep.run.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Give stored trajectories their credit again. Nothing is run; nothing is rewritten."""

    run: tyro.conf.Positional[Path]
    """A run's folder, a journal, or a Parquet folder."""
    estimator: str = "gigpo"
    """The credit method; `everystep estimators` lists them."""
    variant: str = "paper"
    """paper or released."""
    options: dict[str, Json] = field(default_factory=dict)
    """Options of the estimator, such as discount=0.9."""
    phase: str | None = None
    """Which trajectories: train, test or all; by default train, and all of a Parquet folder."""
    iteration: int | None = None
    """Only this iteration."""
    step: str | None = None
    """Explain the credit of this step."""
    top: int = 10
    """How many of the highest and lowest steps to list."""
    seed: int = 0
    """Generator of random groups."""
    save: bool = False
    """Add the credit to the journal, beside the steps."""
    json: bool = False
    """Print one JSON object a step."""


def credit(words: Sequence[str]) -> int:
    """Compute credit and print its summary, one explanation, or every number."""
    asked = parse(Ask, words, command="credit")
    stored = trajectories_of(asked.run, phase=asked.phase, iteration=asked.iteration)
    whole = [one for one in stored if one.end not in (End.ERROR, End.CANCELLED) and one.steps]
    if not whole:
        raise ConfigError(
            f"{str(asked.run)!r} has no finished trajectory of phase {asked.phase or 'train'!r}"
            + (f" and iteration {asked.iteration}." if asked.iteration is not None else ".")
        )
    method = estimator(asked.estimator, asked.variant, **asked.options)
    table, given = assess(whole, method, rng=np.random.default_rng(asked.seed))
    if asked.save:
        with Journal.open(journal_of(asked.run)) as journal:
            journal.append_many((Kind.CREDIT, one) for one in step_credits(table, given))
    if asked.step is not None:
        sys.stdout.write(f"{explain(table, given, row_of(table, asked.step))}\n")
    elif asked.json:
        for one in step_credits(table, given):
            sys.stdout.write(json.dumps(asdict(one)) + "\n")
    else:
        _summary(table, given, asked.top)
    return 0


def _summary(table: Columns, given: Credit, top: int) -> None:
    console = Console()
    found = given.diagnostics
    console.print(
        f"{given.estimator.name} ({given.estimator.variant}): {table.size} steps, RMS {found.rms:.4f}, "
        f"unknown {int((~given.known_S).sum())}"
    )
    for warning in found.warnings:
        console.print(f"warning: {warning}", style="yellow")
    terms = Table("term", "groups", "mean size", "alone", "in groups > 1", "constant", "RMS")
    for term in found.terms:
        terms.add_row(*_term_cells(term))
    console.print(terms)
    order = np.argsort(given.value_S, kind="stable")
    steps = Table("step", "credit", *(term.term.name for term in given.terms))
    for row in [*order[::-1][:top], *order[:top][::-1]]:
        name = table.step_ids[row] if table.step_ids else str(row)
        parts = (f"{value:+.4f}" for value in given.terms_TS[:, row])
        steps.add_row(name, f"{given.value_S[row]:+.4f}", *parts)
    console.print(steps)
    console.print("everystep credit RUN --step ID explains one of them.", style="dim")


def _term_cells(term: Any) -> list[str]:
    return [
        term.name,
        str(term.groups),
        f"{term.mean_size:.1f}",
        f"{term.singleton_share:.1%}",
        f"{term.shared_share:.1%}",
        f"{term.constant_share:.1%}",
        f"{term.rms:.4f}",
    ]
