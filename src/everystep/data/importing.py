"""Traces of other tools into a run's folder, one record at a time: a journal like that of any run, with what could not be read.

Memory holds one record, and a digest of each id that was given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from everystep.core.codec import dumps
from everystep.core.errors import DataError, StoreError
from everystep.core.records import Step, Task, Trajectory
from everystep.core.trace import Kind, ending_of
from everystep.data.formats import reader
from everystep.data.reading import Item, Unread
from everystep.run.folder import IMPORT, create
from everystep.run.journal import Journal

UNREAD = "unread"
"""The topic of the notes that say what could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did. ``unread`` holds the first of what could not be read, ``refused`` counts all of it by file."""

    folder: Path
    trajectories: int
    steps: int
    tasks: int
    calls: int
    solved: int
    undecided: int
    outcomes: float
    unread: tuple[Unread, ...] = ()
    refused: Mapping[str, int] = field(default_factory=dict)

    @property
    def unreadable(self) -> int:
        """How many records could not be read."""
        return sum(self.refused.values())


SHOWN = 1000
Progress = Callable[[str, int, int], None]
"""Told the file, the trajectories and the unread records so far."""


def import_runs(
    name: str,
    paths: Sequence[Path],
    folder: Path,
    *,
    version: str,
    fields: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Imported:
    """Read files of the format ``name`` into a new run's folder and return the counts.

    Ids that occur twice get a number behind them, so that nothing is lost; steps that two trajectories share are written once. The
    journal's ``NOTE`` events say what could not be read and why. Raises ``ConfigError`` for an unknown format, ``DataError`` for a file that
    cannot be opened, ``StoreError`` if ``folder`` holds a run already. A folder in which nothing could be read is not made.
    """
    read = reader(name, fields)
    for path in paths:
        if not path.is_file():
            raise DataError(f"there is no file {str(path)!r}. Name existing files of the format {name!r}.")
    options = {"format": name, "files": [str(path) for path in paths], "fields": dict(fields or {})}
    place = create(folder, options=options, version=version, kind=IMPORT)
    writer = _Writer()
    try:
        with Journal.create(place.journal, {"command": IMPORT, "version": version, **options}) as journal:
            for path in paths:
                for item in read(path):
                    _take(journal, writer, item)
                    if progress is not None:
                        progress(str(path), writer.counts["trajectories"], sum(writer.refused.values()))
            done = {"end": "done", **writer.counts, "unread": sum(writer.refused.values())}
            journal.append(Kind.END, done)
        if not writer.counts["trajectories"]:
            reason = (
                f" The first: {writer.unread[0].place}: {writer.unread[0].reason}." if writer.unread else ""
            )
            raise DataError(
                f"nothing in {', '.join(repr(str(path)) for path in paths)} could be read as {name!r}.{reason} "
                "Is it another format?"
            )
    except BaseException:
        place.discard()
        raise
    return writer.report(folder)


def _take(journal: Journal, writer: _Writer, item: Item) -> None:
    if not isinstance(item, Unread):
        try:
            journal.append_many(writer.events(item))
        except (RecursionError, StoreError) as error:
            item = Unread(
                source="", place=f"trajectory {item.id!r}", reason=f"cannot be stored: {str(error)[:200]}"
            )
        else:
            return
    writer.refused[item.source] += 1
    if len(writer.unread) < SHOWN:
        writer.unread.append(item)
    journal.append(
        Kind.NOTE, {"topic": UNREAD, "source": item.source, "place": item.place, "reason": item.reason}
    )


class _Writer:
    """Makes events of trajectories; knows which ids were given."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.unread: list[Unread] = []
        self._ids: set[bytes] = set()
        self._tasks: dict[bytes, bytes] = {}
        self.outcomes = 0.0
        self._before: tuple[Step, ...] = ()

    def events(self, one: Trajectory) -> list[tuple[Kind, Any]]:
        """Return the events of a trajectory: its task where it is new, its steps where they are, its end."""
        events: list[tuple[Kind, Any]] = []
        task, fresh = self._task(one.task)
        if fresh:
            events.append((Kind.TASK, task))
        shared = 0
        while shared < min(len(self._before), len(one.steps)) and self._before[shared] is one.steps[shared]:
            shared += 1
        name = one.id
        number = 1
        while _digest(name) in self._ids:
            number += 1
            name = f"{one.id}~{number}"
        self._ids.add(_digest(name))
        steps = one.steps if number == 1 else _renamed(one.steps, shared, f"~{number}")
        events += [(Kind.STEP, step) for step in steps[shared:]]
        made = replace(
            one, id=name, task=task, steps=steps, group=task.id if one.group == one.task.id else one.group
        )
        events.append((Kind.TRAJECTORY, ending_of(made, phase=task.split)))
        self._before = steps
        self._count(made, len(steps) - shared, fresh=fresh)
        return events

    def _task(self, task: Task) -> tuple[Task, bool]:
        """Return the task under an id of its own; one that was written before is not written again."""
        content, number = _digest(dumps(replace(task, id=""))), 1
        name = task.id
        while True:
            known = self._tasks.get(_digest(name))
            if known is None:
                self._tasks[_digest(name)] = content
                return replace(task, id=name), True
            if known == content:
                return replace(task, id=name), False
            number += 1
            name = f"{task.id}~{number}"

    def _count(self, one: Trajectory, steps: int, *, fresh: bool) -> None:
        self.counts["trajectories"] += 1
        self.counts["steps"] += steps
        self.counts["tasks"] += fresh
        self.counts["calls"] += sum(len(step.action.calls) for step in one.steps[len(one.steps) - steps :])
        self.counts["solved"] += one.success is True
        self.counts["undecided"] += one.success is None
        self.outcomes += one.outcome or 0.0

    def report(self, folder: Path) -> Imported:
        """Return the counts."""
        names = ("trajectories", "steps", "tasks", "calls", "solved", "undecided")
        return Imported(
            folder=folder,
            outcomes=self.outcomes,
            unread=tuple(self.unread),
            refused=dict(self.refused),
            **{name: self.counts[name] for name in names},
        )


def _renamed(steps: tuple[Step, ...], shared: int, ending: str) -> tuple[Step, ...]:
    made = list(steps[:shared])
    for step in steps[shared:]:
        parent = made[-1].id if made else None
        made.append(replace(step, id=f"{step.id}{ending}", parent=parent))
    return tuple(made)


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="surrogatepass")).digest()[:12]


def unread_in(journal: Journal) -> Iterator[Unread]:
    """Yield what an import could not read, as its journal says it."""
    for event in journal.events(kinds={Kind.NOTE}):
        if event.body.get("topic") == UNREAD:
            yield Unread(**{name: str(event.body.get(name, "")) for name in ("source", "place", "reason")})
