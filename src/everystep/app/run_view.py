"""A run on the screen while it happens: a live tree of its plan and its last steps, or plain lines where there is no terminal."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from everystep.app.progress import clock_text
from everystep.app.run_lines import Teller, amount, cost_text, line, votes_text
from everystep.core.acts import Approval, ApprovalRequest
from everystep.core.codec import encode
from everystep.core.trace import Kind
from everystep.guard.approval import Approver
from everystep.run.journal import Journal
from everystep.run.loop import Runner
from everystep.run.nodes import Status
from everystep.run.plan import Plan

_SHOWN_STEPS = 6
_ALL_LINES = 100  # steps that have a line each; after them there is one every few seconds
_EVERY_S = 2.0
_REFRESH_S = 0.25
_NODES = 24  # of a plan on the screen
_LARGE = 5000  # nodes from which on a plan is shown as counts
_MARKS = {
    Status.PENDING: ("·", "dim"),
    Status.READY: ("○", ""),
    Status.RUNNING: ("▶", "bold"),
    Status.DONE: ("✓", "green"),
    Status.FAILED: ("✗", "red"),
    Status.SKIPPED: ("-", "dim"),
    Status.PRUNED: ("-", "dim"),
}


class ToldJournal(Journal):
    """A journal that tells a listener every event after it was written."""

    listener: Callable[[Kind, Any], None] | None = None

    def append_many(self, events: Iterable[tuple[Kind, Any]]) -> range:
        """Write several events, then tell them."""
        given = list(events)
        numbers = super().append_many(given)
        if self.listener is not None:
            for kind, body in given:
                self.listener(kind, body)
        return numbers


class RunView:
    """Shows one run. ``hear`` takes its events; ``close`` leaves the screen as it should stay.

    On a terminal it is a live tree, elsewhere plain lines: all of the first 100 steps, then one every two seconds.
    """

    def __init__(
        self,
        *,
        heading: list[str],
        stream: TextIO | None = None,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stdout
        self._clock = clock
        self._heading = heading
        self._begun = clock()
        self._last = 0.0
        self._steps = 0
        self._printed = 0
        self._counts: Counter[str] = Counter()
        self._recent: deque[tuple[str, str, str]] = deque(maxlen=_SHOWN_STEPS)
        self._notes: deque[str] = deque(maxlen=3)
        self._tallies: dict[str, Mapping[str, float]] = {}
        self._teller = Teller()
        self._runner: Runner | None = None
        self._from = 0
        self._live: Live | None = None
        if self._stream.isatty() if live is None else live:
            self._live = Live(console=Console(file=self._stream), auto_refresh=False, transient=False)
        else:
            self._write("\n".join(heading))

    def begin(self, runner: Runner) -> None:
        """Begin to show ``runner``, which may stand in the middle."""
        self._runner, self._from = runner, runner.course.steps
        if self._live is not None:
            self._live.start()
            self.draw()

    def hear(self, kind: Kind, body: Any) -> None:
        """Take one event."""
        self._counts[kind.value] += 1
        if self._live is None:
            self._print(kind, body)
        else:
            self._note(kind, body)
            if self._clock() - self._last >= _REFRESH_S:
                self.draw()

    def close(self) -> None:
        """Leave the screen as it should stay."""
        if self._live is not None:
            self.draw()
            self._live.stop()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the terminal to somebody else."""
        if self._live is None or not self._live.is_started:
            yield
            return
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()

    # --- plain lines ----------------------------------------------------------------------------

    def _print(self, kind: Kind, body: Any) -> None:
        if kind is Kind.STEP:
            self._printed += 1
            now = self._clock()
            if self._printed > _ALL_LINES and now - self._last < _EVERY_S:
                return
            if self._printed > _ALL_LINES:
                self._last = now
                self._write("  ".join(filter(None, (self.totals(), self.budgets()))))
                return
        elif self._printed > _ALL_LINES and kind in (Kind.FLAG, Kind.VOTE, Kind.ATTEMPT, Kind.PLAN):
            return
        told = self._teller.tell(kind, encode(body))
        if told is not None and kind is not Kind.END:
            self._write(told)

    def _write(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()

    # --- the live view --------------------------------------------------------------------------

    def _note(self, kind: Kind, body: Any) -> None:
        if kind is Kind.STEP:
            tally = self._tallies.pop(body.id, None)
            mark = "taken back" if body.undone else "" if body.action.valid else "not valid"
            votes = votes_text(body.cost, tally)
            self._recent.append((body.id, line(body.action.text, 60), "  ".join(filter(None, (votes, mark)))))
        elif kind is Kind.VOTE:
            self._tallies[str(body["step"])] = body["tally"]
        elif kind in (Kind.FLAG, Kind.ATTEMPT, Kind.ASKED, Kind.ANSWERED):
            told = self._teller.tell(kind, encode(body))
            if told is not None:
                self._notes.append(told.strip())

    def draw(self) -> None:
        """Draw the present state."""
        self._last = self._clock()
        if self._live is not None:
            self._live.update(self.picture(), refresh=True)

    def picture(self) -> RenderableType:
        """Return what stands on the terminal."""
        parts: list[RenderableType] = [
            Text(one, style="bold" if at == 0 else "dim") for at, one in enumerate(self._heading)
        ]
        runner = self._runner
        if runner is not None and runner.plan is not None:
            parts.append(plan_tree(runner.plan))
        table = Table.grid(padding=(0, 2))
        for cells in self._recent:
            table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in cells))
        parts += [Text(""), table]
        parts += [Text(one, style="yellow", no_wrap=True, overflow="ellipsis") for one in self._notes]
        parts.append(Text(self.totals(), style="bold", no_wrap=True, overflow="ellipsis"))
        parts.append(Text(self.budgets(), no_wrap=True, overflow="ellipsis"))
        return Group(*parts)

    def totals(self) -> str:
        """Return steps, votes, calls, cost and times in one line."""
        runner = self._runner
        if runner is None:
            return ""
        course, elapsed = runner.course, self._clock() - self._begun
        words = [f"{amount(course.steps)} steps", cost_text(course.cost)]
        for kind, name in ((Kind.VOTE, "contested"), (Kind.ATTEMPT, "tried again")):
            if self._counts[kind.value]:
                words.append(f"{amount(self._counts[kind.value])} {name}")
        words.append(f"{clock_text(elapsed)} elapsed")
        left = self._left(elapsed)
        if left:
            words.append(left)
        return "  ".join(filter(None, words))

    def budgets(self) -> str:
        """Return what is left of each budget; empty without one."""
        if self._runner is None:
            return ""
        budget = self._runner.budget
        return "  ".join(
            f"{amount(round(budget.left(name), 4))} of {amount(limit)} {name} left"
            for name, limit in budget.limits.items()
        )

    def _left(self, elapsed: float) -> str:
        """Return the time left: by the nodes of a plan, else at most that of the step limits."""
        runner = self._runner
        assert runner is not None  # noqa: S101 -- the caller asked
        made = runner.course.steps - self._from
        if not made:
            return ""
        plan = runner.plan
        if plan is not None and 0 < plan.count(Status.DONE) < len(plan) and not self._from:
            done = plan.count(Status.DONE)
            return f"about {clock_text(elapsed / done * (len(plan) - done))} left"
        limits = [runner.bounds.max_steps, runner.budget.limits.get("steps")]
        known = [limit - runner.course.steps for limit in limits if limit is not None]
        seconds = [elapsed / made * min(known)] if known else []
        if "seconds" in runner.budget.limits:
            seconds.append(runner.budget.left("seconds"))
        return f"at most {clock_text(min(seconds))} left" if seconds else ""


def plan_tree(plan: Plan, room: int = _NODES) -> Tree:
    """Return the plan as a tree of at most ``room`` nodes around the running ones; ``Tree`` of counts for a very large one."""
    done, total = plan.count(Status.DONE), len(plan)
    tree = Tree(Text(f"plan: {amount(done)} of {amount(total)} done"))
    if total > _LARGE:
        for status in Status:
            if plan.count(status):
                tree.add(Text(f"{amount(plan.count(status))} {status.value}"))
        return tree
    names = [node.id for node in plan]
    busy = [at for at, name in enumerate(names) if plan.status(name) is Status.RUNNING]
    first = max(0, min((busy[-1] if busy else done) - room // 3, total - room))
    shown = names[first : first + room]
    if first:
        tree.add(Text(f"… {amount(first)} before", style="dim"))
    branches: dict[str, Tree] = {"": tree}
    for name in shown:
        status = plan.status(name)
        mark, style = _MARKS[status]
        reason = plan.reason(name) or plan.result(name)
        text = f"{mark} {name} {line(plan.node(name).instruction, 60)}"
        text += f" [{status.value}]" if status not in (Status.DONE, Status.PENDING) else ""
        text += f" ({line(reason, 50)})" if reason else ""
        home = branches.get(plan.parent(name), tree)
        branches[name] = home.add(Text(text, style=style, no_wrap=True, overflow="ellipsis"))
    if first + room < total:
        tree.add(Text(f"… {amount(total - first - room)} after", style="dim"))
    return tree


class JsonView:
    """One JSON object a line for every event, for programs."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def begin(self, runner: Runner) -> None:
        """Nothing to show yet."""

    def hear(self, kind: Kind, body: Any) -> None:
        """Print one event; checkpoints are left out."""
        if kind is not Kind.CHECKPOINT:
            self._stream.write(json.dumps({"event": kind.value, **encode(body)}) + "\n")
            self._stream.flush()

    def draw(self) -> None:
        """There is no picture."""

    def close(self) -> None:
        """Nothing is left to do."""

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the terminal to somebody else."""
        yield


class QuietView(JsonView):
    """Shows nothing."""

    def hear(self, kind: Kind, body: Any) -> None:
        """Say nothing."""


class Aside:
    """An approver that has the terminal to itself while it asks."""

    def __init__(self, approver: Approver, view: RunView | JsonView) -> None:
        self._approver, self._view = approver, view

    async def ask(self, request: ApprovalRequest) -> Approval | None:
        """Ask."""
        with self._view.aside():
            return await self._approver.ask(request)
