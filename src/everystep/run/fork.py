"""Another run from the middle of one: the journal up to a step is copied, and the copy goes its own way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from everystep.core.errors import StoreError
from everystep.core.trace import Event, Kind
from everystep.run.journal import Journal
from everystep.run.journal_file import write_fresh

_AFTER = frozenset({Kind.VERDICT, Kind.ATTEMPT})
"""What is written with a step and belongs to it."""


def fork_run(source: Path, target: Path, *, step: str) -> int:
    """Copy the journal ``source`` up to and with ``step`` into the new journal ``target``; return its number of events.

    The new run is gone on with like an interrupted one (``run.resume.take_up``); what happened outside of the process before the step
    has happened for both. Raises ``StoreError`` where there is no such step or ``target`` exists.
    """
    if target.exists():
        raise StoreError(f"{str(target)!r} exists already. Choose another place for the fork.")
    with Journal.read(source) as journal:
        end = _end_of(journal, step)
        if end is None:
            raise StoreError(
                f"there is no step {step!r} in {str(source)!r}. `everystep show RUN` lists the steps."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        write_fresh(target, _until(journal, end)).replace(target)
    return end


def _end_of(journal: Journal, step: str) -> int | None:
    end: int | None = None
    for event in journal.events():
        if end is None:
            if event.kind is Kind.STEP and event.body["id"] == step:
                end = event.seq
        elif event.kind in _AFTER and step in (event.body.get("step"), *event.body.get("targets", ())):
            end = event.seq
        else:
            break
    return end


def _until(journal: Journal, end: int) -> Iterator[Event]:
    for event in journal.events():
        if event.seq > end:
            return
        yield event
