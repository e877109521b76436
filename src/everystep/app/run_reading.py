"""What the journal of a run says, read in bounded memory: head, tail, totals, and single steps found by their number.

A journal may hold millions of events, so nothing here folds it whole. Totals come from the newest checkpoint and what follows it;
steps are numbered in the order in which they are written, so one is found by halving.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from everystep.app.reading import journal_of
from everystep.core.trace import Event, Kind
from everystep.run.folder import RUN
from everystep.run.journal import Journal

_TAIL = 400
_NEAR = 4000  # events before a step among which its votes, flags and attempts are looked for


def run_of(journal: Journal) -> Mapping[str, Any]:
    """Return what the journal's first event says the run is."""
    first = next(journal.events(kinds={Kind.RUN}), None)
    return {} if first is None else first.body


def is_run(path: Path) -> bool:
    """Whether a folder or journal holds the run of a task, not a training."""
    with Journal.read(journal_of(path)) as journal:
        return run_of(journal).get("command") == RUN


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Where a run stands. ``counts`` are the events by kind; ``end`` is the body of the last ``END`` that no resume followed."""

    run: Mapping[str, Any]
    task: Mapping[str, Any]
    steps: int
    reward: float
    cost: Mapping[str, float]
    seconds: float
    counts: Mapping[str, int]
    end: Mapping[str, Any] | None
    outcome: Mapping[str, Any] | None = None
    first_time: float = 0.0
    last_time: float = 0.0


def totals(journal: Journal) -> Totals:
    """Return the totals of a run; O(events since the last checkpoint) and one count of the event kinds."""
    counts = journal.counts()
    task = next(journal.events(kinds={Kind.TASK}), None)
    base = journal.newest(Kind.CHECKPOINT) if counts.get(Kind.CHECKPOINT.value) else None
    body: Mapping[str, Any] = {} if base is None else base.body
    steps, reward = int(body.get("steps", 0)), float(body.get("reward", 0.0))
    cost, last = dict(body.get("cost", {})), 0.0
    end: Mapping[str, Any] | None = None
    outcome: Mapping[str, Any] | None = None
    first = next(journal.events(), None)
    for event in journal.events(after=0 if base is None else base.seq):
        last = event.time
        if event.kind in (Kind.STEP, Kind.ATTEMPT):
            for name, amount in event.body.get("cost", {}).items():
                cost[name] = cost.get(name, 0.0) + amount
            if event.kind is Kind.STEP and not event.body.get("undone"):
                steps, reward = steps + 1, reward + (event.body.get("reward") or 0.0)
        elif event.kind is Kind.END:
            end, cost = event.body, dict(event.body.get("cost", cost))
        elif event.kind is Kind.TRAJECTORY:
            outcome = event.body
        elif event.kind is Kind.RESUMED:
            end = outcome = None
    return Totals(
        run=run_of(journal),
        task={} if task is None else task.body,
        steps=steps,
        reward=reward,
        cost=cost,
        seconds=float(body.get("seconds", 0.0)),
        counts=counts,
        end=end,
        outcome=outcome,
        first_time=0.0 if first is None else first.time,
        last_time=last or (0.0 if base is None else base.time),
    )


@dataclass(slots=True, kw_only=True)
class Seen:
    """One accepted step with how it came about: flags, votes, attempts that did not count, questions and their answers."""

    step: Mapping[str, Any]
    seq: int
    before: list[Event] = field(default_factory=list)
    after: list[Event] = field(default_factory=list)


_EVIDENCE = frozenset({Kind.FLAG, Kind.VOTE, Kind.ATTEMPT, Kind.ASKED, Kind.ANSWERED})
_ABOUT = (*_EVIDENCE, Kind.STEP, Kind.VERDICT, Kind.FINISHED)
_MOST_EVIDENCE = 200


def seen_steps(events: Iterator[Event]) -> Iterator[Seen]:
    """Yield the steps among ``events`` with their evidence, one behind the stream so that verdicts find their step."""
    waiting: list[Event] = []
    held: Seen | None = None
    for event in events:
        if event.kind in _EVIDENCE:
            if held is not None and event.kind is Kind.ATTEMPT and event.body.get("step") == held.step["id"]:
                held.after.append(event)  # the verdict that took the step back
            elif len(waiting) < _MOST_EVIDENCE:
                waiting.append(event)
        elif event.kind is Kind.VERDICT:
            if held is not None and held.step["id"] in event.body.get("targets", ()):
                held.after.append(event)
        elif event.kind is Kind.STEP:
            if held is not None:
                yield held
            held, waiting = Seen(step=event.body, seq=event.seq, before=waiting), []
    if held is not None:
        yield held


def head(journal: Journal, count: int) -> list[Seen]:
    """Return the first steps."""
    found = []
    for one in seen_steps(journal.events(kinds=_ABOUT)):
        found.append(one)
        if len(found) == count:
            break
    return found


def tail(journal: Journal, count: int) -> list[Seen]:
    """Return the last steps."""
    last, reach = journal.last, max(_TAIL, 8 * count)
    while True:
        after = max(0, last - reach)
        found = deque(seen_steps(journal.events(after=after, kinds=_ABOUT)), maxlen=count + 1)
        if len(found) > count or after == 0:
            return list(found)[-count:] if count else []
        reach *= 8


def newest(journal: Journal, kinds: Collection[Kind], count: int, reach: int = 20_000) -> list[Event]:
    """Return the last events of some kinds among the last ``reach`` events."""
    events = journal.events(after=max(0, journal.last - reach), kinds=kinds)
    return list(deque(events, maxlen=count))


def find_step(journal: Journal, number: int) -> Event | None:
    """Return the accepted step with this number (from 0), found by halving."""
    low, high = 0, journal.last
    while low < high:
        middle = (low + high) // 2
        found = _next_step(journal, middle)
        if found is not None and found.body["index"] < number:
            low = found.seq
        elif middle == low:
            break
        else:
            high = middle
    for event in journal.events(after=low - 1 if low else 0, kinds={Kind.STEP}):
        if event.body["index"] == number and not event.body.get("undone"):
            return event
        if event.body["index"] > number:
            return None
    return None


def _next_step(journal: Journal, after: int) -> Event | None:
    return next(journal.events(after=after, kinds={Kind.STEP}), None)


def step_with_evidence(journal: Journal, event: Event) -> Seen:
    """Return a step that was found, with its evidence from the events around it."""
    place = place_of(str(event.body["id"]))
    kept = []
    for one in journal.events(after=max(0, event.seq - _NEAR), kinds=_EVIDENCE):
        if one.seq > event.seq:
            break
        if place_of(str(one.body.get("step", ""))) == place:
            kept.append(one)
    after = []
    for one in journal.events(after=event.seq):
        if one.kind is not Kind.VERDICT:
            break
        after.append(one)
    return Seen(step=event.body, seq=event.seq, before=kept, after=after)


def place_of(step: str) -> str:
    """Return a step's place without the number of the attempt.

    >>> place_of("main/12.3")
    'main/12'
    """
    node, _, number = step.rpartition("/")
    return f"{node}/{number.partition('.')[0]}"
