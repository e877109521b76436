"""``everystep show`` and ``everystep view``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from everystep.app.flags import parse
from everystep.app.reading import trace_of
from everystep.app.run_reading import is_run
from everystep.core.errors import ConfigError
from everystep.core.records import Trajectory
from everystep.core.trace import Trace
from everystep.run.folder import IMPORT, PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """What a run did. A training: its curve, or one episode step by step. The run of a task: totals, first and last steps, or one step."""

    run: tyro.conf.Positional[Path]
    """A run's folder or a journal."""
    follow: bool = False
    """Print what happens as it happens, also while another process runs it."""
    episode: str | None = None
    """Training: print the steps of this episode."""
    failed: bool = False
    """Training: list failed episodes of the last iteration."""
    step: int | None = None
    """Run of a task: print the step with this number, with its votes, discarded answers and attempts."""
    steps: int = 5
    """Run of a task: how many of the first and of the last steps are printed."""
    json: bool = False
    """Print JSON: the numbers of every iteration, one object a line; the totals of a run, or the step."""


COLUMNS = (
    ("success", "success", ".1%"),
    ("heldout_success", "held-out", ".1%"),
    ("heldout_greedy_success", "greedy", ".1%"),
    ("steps", "steps", ".1f"),
    ("entropy", "entropy", ".3f"),
    ("seconds", "seconds", ".0f"),
)


def show(words: Sequence[str]) -> int:
    """Print a run."""
    asked = parse(Show, words, command="show")
    if asked.follow:
        from everystep.app.following import follow

        return follow(asked.run)
    if is_run(asked.run):
        from everystep.app.showing_run import show_run

        _only_for("a training", {"--episode": asked.episode, "--failed": asked.failed})
        return show_run(asked.run, step=asked.step, steps=asked.steps, as_json=asked.json)
    _only_for("the run of a task", {"--step": asked.step})
    trace = trace_of(asked.run)
    if asked.json:
        for row in trace.metrics:
            sys.stdout.write(json.dumps(row) + "\n")
    elif asked.episode is not None:
        if asked.episode not in trace.endings:
            raise ConfigError(
                f"no episode {asked.episode!r} in this run. `everystep show {asked.run} --failed` lists some."
            )
        _episode(trace.trajectory(asked.episode))
    elif asked.failed:
        _failed(trace)
    elif trace.run.get("command") == IMPORT:
        _imported(trace)
    else:
        _curve(trace)
    return 0


def _only_for(what: str, options: dict[str, object]) -> None:
    """Refuse options that mean nothing here."""
    for name, value in options.items():
        if value not in (None, False):
            raise ConfigError(f"{name} is for {what}; this is not one.")


def _curve(trace: Trace) -> None:
    console = Console()
    run = trace.run
    ended = trace.end.get("end") if trace.end else "not finished"
    console.print(
        f"recipe {run.get('recipe')}, {len(trace.endings)} episodes, {len(trace.steps)} steps, {ended}"
    )
    table = Table("phase", "iteration", *(title for _, title, _ in COLUMNS))
    shown = [row for row in trace.metrics if "heldout_success" in row] or trace.metrics
    for row in shown:
        cells = (format(row[key], form) if key in row else "" for key, _, form in COLUMNS)
        table.add_row(str(row.get("phase")), str(row.get("iteration")), *cells)
    console.print(table)


def _imported(trace: Trace) -> None:
    console = Console()
    files = ", ".join(Path(name).name for name in trace.run.get("files", []))
    console.print(f"imported as {trace.run.get('format')} from {files}", markup=False, highlight=False)
    table = Table("environment", "tasks", "trajectories", "steps", "solved", "not decided", "mean outcome")
    worlds: dict[str, list[Trajectory]] = {}
    for one in trace.trajectories():
        worlds.setdefault(one.task.environment, []).append(one)
    for world, some in worlds.items():
        known = [one.outcome for one in some if one.outcome is not None]
        solved, undecided = (sum(one.success is value for one in some) for value in (True, None))
        numbers = (
            len({one.task.id for one in some}),
            len(some),
            sum(len(one.steps) for one in some),
            solved,
            undecided,
        )
        mean = f"{sum(known) / len(known):.4f}" if known else "unknown"
        table.add_row(escape(world), *(f"{number:,}" for number in numbers), mean)
    console.print(table)
    unread = sum(note.get("topic") == "unread" for note in trace.notes)
    if unread:
        console.print(f"{unread:,} records could not be read; the journal's notes name them", highlight=False)


def _failed(trace: Trace) -> None:
    last = max((one.iteration for one in trace.endings.values() if one.phase == "train"), default=0)
    table = Table("episode", "task", "end", "outcome", "last action")
    for one in trace.trajectories(phase="train", iteration=last):
        if one.success is not True:
            action = one.steps[-1].action.text if one.steps else ""
            table.add_row(one.id, one.task.id, one.end.value, f"{one.outcome}", escape(action[:40]))
    Console().print(table)


def _episode(one: Trajectory) -> None:
    console = Console()
    console.print(f"{one.id}: task {one.task.id}, {one.end.value}, outcome {one.outcome}", highlight=False)
    console.print(one.task.instruction, markup=False, highlight=False)
    for step in one.steps:
        console.print(f"\n[bold]{step.index}[/bold]", end=" ")
        console.print(step.observation.text, markup=False, highlight=False)
        valid = "" if step.action.valid else f"   (not valid: {step.action.reason})"
        console.print(f"  > {step.action.text}{valid}   reward {step.reward}", markup=False, style="green")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Write one self-contained HTML page: learning curves, episodes, and why each step got its credit."""

    run: tyro.conf.Positional[Path]
    """A run's folder or a journal."""
    out: Path | None = None
    """The file to write; by default page.html in the run's folder."""
    estimator: str | None = None
    """Explain the steps by another credit method than the run's own."""
    variant: str | None = None
    """paper or released."""
    episodes: int = 200
    """Episodes whose steps the page holds."""


def view(words: Sequence[str]) -> int:
    """Write the page and print its address."""
    from everystep.app.viewer import write_page

    asked = parse(View, words, command="view")
    out = asked.out or (asked.run / PAGE if asked.run.is_dir() else asked.run.with_suffix(".html"))
    page = write_page(
        asked.run, out, estimator=asked.estimator, variant=asked.variant, episodes=asked.episodes
    )
    sys.stdout.write(f"{page.resolve().as_uri()}\n")
    return 0
