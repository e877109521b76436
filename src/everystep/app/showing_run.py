"""``everystep show`` for the run of a task: where it stands, its first and last steps, or one step in full."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from everystep.app.approving import is_live
from everystep.app.progress import clock_text
from everystep.app.reading import journal_of
from everystep.app.run_lines import Teller, amount, cost_text, line, votes_text
from everystep.app.run_reading import (
    Seen,
    Totals,
    find_step,
    head,
    newest,
    step_with_evidence,
    tail,
    totals,
)
from everystep.core.codec import decode, encode
from everystep.core.errors import ConfigError
from everystep.core.trace import Kind
from everystep.guard.approval import visible
from everystep.run.folder import RunFolder
from everystep.run.journal import Journal
from everystep.run.nodes import Edit, Status
from everystep.run.plan import Plan

_EVENTS = 8
_PLAN_EDITS = 200_000  # beyond which a plan is not put together for a glance


def show_run(path: Path, *, step: int | None, steps: int, as_json: bool) -> int:
    """Print a run."""
    file = journal_of(path)
    with Journal.read(file) as journal:
        if step is not None:
            _one_step(journal, step, as_json=as_json)
            return 0
        found = totals(journal)
        if as_json:
            sys.stdout.write(json.dumps(asdict(found)) + "\n")
            return 0
        console = Console()
        _heading(console, path, found, live=is_live(RunFolder(path=file.parent)))
        _plan(console, journal, found.counts)
        first, last = head(journal, steps), tail(journal, steps)
        _steps(console, "first steps", first)
        seen = {one.seq for one in first}
        _steps(console, "last steps", [one for one in last if one.seq not in seen])
        _events(console, journal, found.counts)
    return 0


def _heading(console: Console, path: Path, found: Totals, *, live: bool) -> None:
    options = found.run.get("options", {})
    _plain(console, f"{path}: {line(found.task.get('instruction', 'not begun'), 300)}")
    names = ("environment", "model", "vote", "view", "plan", "seed")
    told = ", ".join(
        f"{name} {options[name]}" for name in names if options.get(name) not in (None, "", "none")
    )
    _plain(console, told)
    if found.end is not None:
        success = (found.outcome or {}).get("success")
        how = {True: ", solved", False: ", not solved", None: ""}[success]
        why = f": {line(found.end['why'], 300)}" if found.end.get("why") else ""
        state = f"{found.end.get('end')}{how}{why}"
    else:
        state = "running now" if live else "not ended: it is paused or was stopped"
    _plain(console, state)
    words = [f"{amount(found.steps)} steps", f"reward {found.reward:g}", cost_text(found.cost)]
    for kind, name in (
        (Kind.VOTE, "contested"),
        (Kind.FLAG, "discarded answers"),
        (Kind.ATTEMPT, "attempts that did not count"),
        (Kind.ASKED, "questions"),
        (Kind.ANSWERED, "answers"),
        (Kind.RESUMED, "resumed"),
    ):
        if found.counts.get(kind.value):
            words.append(f"{amount(found.counts[kind.value])} {name}")
    words.append(f"{clock_text(found.last_time - found.first_time)} from first to last event")
    _plain(console, ", ".join(filter(None, words)))


def _plan(console: Console, journal: Journal, counts: Mapping[str, int]) -> None:
    edits = counts.get(Kind.PLAN.value, 0)
    if not edits:
        return
    if edits > _PLAN_EDITS:
        _plain(console, f"plan: {amount(edits)} edits; `everystep view` draws it")
        return
    from everystep.app.run_view import plan_tree

    plan = Plan.rebuilt(decode(Edit, event.body) for event in journal.events(kinds={Kind.PLAN}))
    console.print(plan_tree(plan))
    failed = plan.count(Status.FAILED)
    if failed:
        _plain(console, f"{failed} nodes of the plan failed")


def _steps(console: Console, title: str, some: Sequence[Seen]) -> None:
    if not some:
        return
    table = Table("step", "saw", "did", "votes", "reward", title=title, title_justify="left", show_edge=False)
    for one in some:
        table.add_row(*map(Text, _cells(one)))
    console.print(table)


def _cells(one: Seen) -> tuple[str, str, str, str, str]:
    step = one.step
    action = step.get("action", {})
    votes = votes_text(step.get("cost", {}), _tally(one))
    more = [] if action.get("valid", True) else ["not valid"]
    more += ["taken back"] if step.get("undone") else []
    reward = step.get("reward")
    saw = line(step.get("observation", {}).get("text", ""), 60)
    return (
        visible(str(step["id"])),
        saw,
        line(action.get("text", ""), 60),
        "; ".join([votes, *more]) if more else votes,
        "" if reward is None else f"{reward:g}",
    )


def _tally(one: Seen) -> Mapping[str, float] | None:
    votes = [
        event.body for event in one.before if event.kind is Kind.VOTE and event.body["step"] == one.step["id"]
    ]
    return votes[-1]["tally"] if votes else None


def _events(console: Console, journal: Journal, counts: Mapping[str, int]) -> None:
    for title, kinds in (
        ("last discarded answers and attempts", (Kind.FLAG, Kind.ATTEMPT)),
        ("last questions and answers", (Kind.ASKED, Kind.ANSWERED)),
    ):
        if not any(counts.get(kind.value) for kind in kinds):
            continue
        teller = Teller()
        some = newest(journal, kinds, _EVENTS)
        if some:
            _plain(console, f"\n{title}")
        for event in some:
            _plain(console, teller.tell(event.kind, event.body) or "")


def _one_step(journal: Journal, number: int, *, as_json: bool) -> None:
    event = find_step(journal, number)
    if event is None:
        raise ConfigError(
            f"there is no step {number} in this run. `everystep show RUN` says how many it has."
        )
    one = step_with_evidence(journal, event)
    if as_json:
        more: dict[str, Any] = {
            "step": one.step,
            "before": [{"event": each.kind.value, **encode(each.body)} for each in one.before],
            "after": [{"event": each.kind.value, **encode(each.body)} for each in one.after],
        }
        sys.stdout.write(json.dumps(more) + "\n")
        return
    console = Console()
    step = one.step
    action = step.get("action", {})
    _plain(console, f"step {visible(str(step['id']))}, number {step['index']}")
    _plain(console, visible(step.get("observation", {}).get("text", "")))
    teller = Teller()
    for each in one.before:
        if each.kind is Kind.VOTE:
            for key, count in each.body["tally"].items():
                _plain(console, f"  {count:g} votes for {line(key)}")
            continue
        _plain(console, teller.tell(each.kind, each.body) or "")
    _plain(console, f"> {visible(action.get('text', ''))}", style="green")
    if not action.get("valid", True):
        _plain(console, f"not valid: {line(action.get('reason') or '')}")
    _plain(console, f"{votes_text(step.get('cost', {}), _tally(one))}  reward {step.get('reward')}")
    for each in one.after:
        body = each.body
        if each.kind is Kind.VERDICT:
            _plain(
                console,
                f"verdict of {line(body.get('judge', ''))}: {body.get('score')} {line(body.get('reason') or '')}",
            )


def _plain(console: Console, text: str, style: str = "") -> None:
    console.print(text, markup=False, highlight=False, style=style or None, soft_wrap=True)
