"""``everystep export``: a run's trajectories for other tools."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from everystep.app.flags import parse
from everystep.app.reading import trajectories_of
from everystep.run.export import FORMS, export


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Write a run's trajectories for other tools: chat, trl, trl-preference, verifiers, parquet."""

    run: tyro.conf.Positional[Path]
    """A run's folder, a journal, or a Parquet folder."""
    out: tyro.conf.Positional[Path]
    """The file to write, a folder for parquet."""
    form: str = "chat"
    """chat, trl, trl-preference, verifiers or parquet."""
    phase: str | None = None
    """Which trajectories: train, test or all; by default train, and all of a Parquet folder."""
    iteration: int | None = None
    """Only this iteration."""
    successful: bool = False
    """Only solved episodes."""


def exporting(words: Sequence[str]) -> int:
    """Write the file and say what was written and what was skipped, by reason."""
    asked = parse(Ask, words, command="export")
    FORMS[asked.form]  # an unknown form is refused before anything is read
    stored = trajectories_of(asked.run, phase=asked.phase, iteration=asked.iteration)
    chosen = [one for one in stored if one.success is True or not asked.successful]
    done = export(chosen, asked.form, asked.out, weights=_weights(asked.run, asked.form))
    sys.stdout.write(f"{done.written} rows of {len(chosen)} episodes: {done.path}\n")
    for reason, number in done.skipped.items():
        sys.stdout.write(f"skipped {number}: {reason}\n")
    return 0


def _weights(run: Path, form: str) -> dict[str, float] | None:
    """Return the loss weights that a filter gave to the steps, where it did and the form takes them."""
    if "weights" not in FORMS[form].takes or not (run / "dropped.parquet").exists():
        return None
    from everystep.data.filter import weights_in  # needs the extra `data`

    return weights_in(run) or None
