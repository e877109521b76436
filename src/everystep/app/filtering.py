"""``everystep filter`` and ``everystep pairs``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console
from rich.table import Table

from everystep.app.flags import parse
from everystep.core.records import Level
from everystep.data.filter import Filtered, filter_steps
from everystep.data.pairs import Paired, make_pairs
from everystep.data.rules import parse_rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Keep the good steps: rules in order, a loss weight for each step, and a manifest of what was dropped by which rule."""

    run: tyro.conf.Positional[Path]
    """A run's folder, a journal, or a Parquet folder of steps."""
    rules: tuple[str, ...]
    """Rules such as success, length:max_steps=20, score:of=verdict/critic,at_least=0.5,then=cut, or a TOML file of them."""
    out: Path
    """The folder to write. The same call goes on where a killed one stopped."""
    part_steps: int = 50_000
    """About how many kept steps one part has."""
    memory_mb: int = 512
    """Memory of the data base that the rules are run in; it spills to the disk beyond."""


def filtering(words: Sequence[str]) -> int:
    """Filter and say what each rule did."""
    asked = parse(Filter, words, command="filter")
    done = filter_steps(
        asked.run,
        asked.out,
        parse_rules(asked.rules),
        part_steps=asked.part_steps,
        memory_mb=asked.memory_mb,
        progress=lambda text: _say(text),
    )
    _report(done)
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _report(done: Filtered) -> None:
    table = Table("rule", "trajectories dropped", "trajectories cut", "steps masked")
    for one in done.dropped:
        cells = (one.trajectories, one.trajectories_cut, one.steps_masked)
        table.add_row(one.rule, *(f"{cell:,}" for cell in cells))
    Console().print(table)
    again = f", {done.resumed} of them were there" if done.resumed else ""
    sys.stdout.write(
        f"kept {done.trajectories:,} of {done.trajectories_in:,} trajectories, {done.steps:,} of {done.steps_in:,} steps, "
        f"{done.learned:,} with weight; {done.parts} parts{again}\n"
    )
    if done.tokens_guessed:
        sys.stdout.write("tokens are not stored with every step: characters / 4 stand for them there\n")
    sys.stdout.write(f"{done.folder}\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Preference pairs of stored steps: of siblings, of trajectories of one task, or as a judge compared them."""

    run: tyro.conf.Positional[Path]
    """A run's folder, a journal, or a Parquet folder of steps."""
    out: Path
    """The folder to write: pairs.jsonl and manifest.json."""
    by: Literal["siblings", "groups", "verdicts"] = "groups"
    """siblings: steps with one parent; groups: trajectories of one task; verdicts: what a pairwise judge said."""
    of: str = "outcome"
    """What prefers: outcome, success, return, reward, score/NAME, verdict/JUDGE, credit/ESTIMATOR; with verdicts the judge's name."""
    margin: float = 0.0
    """The least difference; pairs of equal values are never made."""
    most: int = 4
    """At most so many pairs of one context."""
    visits: int = 1
    """With siblings: at least so many trajectories go through each step of a pair."""
    form: Literal["pairs", "trl-preference"] = "pairs"
    """trl-preference writes the texts too, as TRL reads them."""


def pairing(words: Sequence[str]) -> int:
    """Make pairs and say how many."""
    asked = parse(Pairs, words, command="pairs")
    done = make_pairs(
        asked.run,
        asked.out,
        by=asked.by,
        of=asked.of,
        margin=asked.margin,
        most=asked.most,
        visits=asked.visits,
    )
    _pairs_report(done)
    if asked.form == "trl-preference":
        from everystep.app.reading import trajectories_of
        from everystep.data.pairs import read_pairs
        from everystep.run.export import export

        stored = trajectories_of(asked.run, phase="all")
        written = export(stored, "trl-preference", asked.out / "trl.jsonl", pairs=read_pairs(asked.out))
        sys.stdout.write(f"{written.written:,} rows: {written.path}\n")
        for reason, number in written.skipped.items():
            sys.stdout.write(f"skipped {number}: {reason}\n")
    return 0


def _pairs_report(done: Paired) -> None:
    what = "steps" if done.level is Level.STEP else "trajectories"
    sys.stdout.write(f"{done.pairs:,} pairs of {done.contexts:,} contexts, each of two {what}\n")
    for reason, number in done.left_out.items():
        sys.stdout.write(f"{number:,} contexts without a pair: {reason}\n")
    sys.stdout.write(f"{done.folder}\n")
