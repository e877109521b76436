"""The journal: the append-only events of one run in one SQLite file, from which everything is rebuilt.

One row an event, holding only what the event added, so the cost of an append does not grow with the
run. While a run lives the file is in write-ahead mode: others can read it at any time, and an event
that ``append`` returned from survives the death of the process (``kill -9``). A power cut may take the
last moments; ``sync`` forces everything to the disk, call it before an act that cannot be undone.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from everystep.core.errors import StoreError, did_you_mean
from everystep.core.trace import Event, Kind, Trace, replay
from everystep.run.journal_file import (
    INSERT,
    acquire,
    become_plain,
    check_version,
    connect_read_only,
    damaged,
    existing,
    is_damage,
    last_readable,
    scalar,
    store_error,
    text_of,
    write_fresh,
)
from everystep.run.salvage import readable, wal_damage, wal_of

_CHUNK = 512
_AT_ONCE = 8
_INSERTS = [INSERT + ", (?, ?, ?, ?)" * (rows - 1) for rows in range(_AT_ONCE + 1)]
_SKIPPED: Mapping[str, Any] = {}


class Journal:
    """The events of one run. Open it with ``create``, ``open`` or ``read``; close it, or use ``with``.

    >>> from everystep.core.trace import Kind
    >>> folder = getfixture("tmp_path")
    >>> with Journal.create(folder / "journal.db", {"command": "train"}) as journal:
    ...     journal.append(Kind.METRICS, {"success": 0.5})
    2
    >>> with Journal.read(folder / "journal.db") as journal:
    ...     journal.trace().metrics
    [{'success': 0.5}]
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection | None,
        *,
        lock: sqlite3.Connection | None = None,
        clock: Callable[[], float] = time.time,
        damage: str | None = None,
    ) -> None:
        self.path = path
        self._connection = connection
        self._lock = lock
        self._clock = clock
        self._damage = damage
        self._guard = threading.RLock()
        self._pid = os.getpid()
        self._last = 0

    @classmethod
    def create(
        cls, path: Path | str, run: Mapping[str, Any], *, clock: Callable[[], float] = time.time
    ) -> Self:
        """Start the journal of a new run; its first event says what the run is.

        The file appears whole or not at all. Raises ``StoreError`` if there is one already.
        """
        path = Path(path).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = acquire(path)
        try:
            for taken in (path, wal_of(path)):
                if taken.exists():
                    raise StoreError(
                        f"{str(taken)!r} exists already. Continue that run with `everystep resume`, "
                        "or choose another run name."
                    )
            write_fresh(path, [Event(seq=1, time=clock(), kind=Kind.RUN, body=run)]).replace(path)
            return cls._writer(path, lock, clock)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def open(cls, path: Path | str, *, clock: Callable[[], float] = time.time) -> Self:
        """Open the journal of an interrupted run to append to it.

        Raises ``StoreError`` if it is missing, damaged (see ``repair``), written by a newer version, or
        if another process writes to it.
        """
        path = existing(path)
        lock = acquire(path)
        try:
            damage = wal_damage(path)
            if damage is not None:
                raise damaged(path, damage, last_readable(path))
            return cls._writer(path, lock, clock)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def _writer(cls, path: Path, lock: sqlite3.Connection, clock: Callable[[], float]) -> Self:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            check_version(path, connection)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("UPDATE meta SET pid = ?, host = ?", (os.getpid(), platform.node()))
            connection.execute("PRAGMA synchronous=NORMAL")
            journal = cls(path, connection, lock=lock, clock=clock)
            journal._last = scalar(connection, "SELECT max(seq) FROM events") or 0
        except sqlite3.Error as error:
            connection.close()
            raise store_error(path, error) from None
        except BaseException:
            connection.close()
            raise
        return journal

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Open a journal to read it, also while another process writes to it.

        A damaged journal opens too: ``events`` yields what is readable and then raises.
        """
        path = existing(path)
        damage = wal_damage(path)
        if damage is not None and wal_damage(path) != damage:
            damage = None  # the log was being rewritten while it was looked at
        try:
            connection = connect_read_only(path)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise store_error(path, error) from None
            return cls(path, None, damage=str(error))
        return cls(path, connection, damage=damage)

    @property
    def last(self) -> int:
        """The number of the last event."""
        if self._lock is not None:
            return self._last
        if self._damage is not None:
            return last_readable(self.path)
        with self._guard:
            return scalar(self._open_connection(), "SELECT max(seq) FROM events") or 0

    def append(self, kind: Kind, body: Any) -> int:
        """Write one event, a record or a mapping of JSON values, and return its number.

        When it returns, the event survives the death of this process.
        """
        return self.append_many([(kind, body)])[0]

    def append_many(self, events: Iterable[tuple[Kind, Any]]) -> range:
        """Write several events in one transaction, all or none; return their numbers."""
        texts = [(_known(kind), text_of(kind, body)) for kind, body in events]
        with self._guard:
            connection = self._open_connection()
            if self._lock is None or os.getpid() != self._pid:
                raise StoreError(
                    f"journal {str(self.path)!r} is open for reading here; "
                    "only the process that opened it with `create` or `open` may append."
                )
            first, now = self._last + 1, self._clock()
            rows = [(seq, now, kind, text) for seq, (kind, text) in zip(count(first), texts, strict=False)]
            try:
                if 0 < len(rows) <= _AT_ONCE:  # one statement is one transaction
                    connection.execute(_INSERTS[len(rows)], list(chain.from_iterable(rows)))
                else:
                    connection.execute("BEGIN")
                    connection.executemany(INSERT, rows)
                    connection.execute("COMMIT")
            except sqlite3.Error as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise store_error(self.path, error) from None
            self._last += len(rows)
        return range(first, first + len(rows))

    def sync(self) -> None:
        """Force every event so far to the disk, so that it survives a power cut too."""
        with self._guard:
            connection = self._open_connection()
            try:
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("UPDATE meta SET synced = ?", (self._last,))
                connection.execute("PRAGMA synchronous=NORMAL")
            except sqlite3.Error as error:
                raise store_error(self.path, error) from None

    def events(
        self, after: int = 0, *, kinds: Collection[Kind] | None = None, void: bool = True
    ) -> Iterator[Event]:
        """Yield the events after number ``after``, all kinds or some, in order, in bounded memory.

        ``void=False`` leaves out the events that a later ``RESUMED`` made void. Events that are appended while
        one iterates are seen. A damaged journal yields all that is readable and then raises ``StoreError``.
        """
        gone = [] if void else self._void()
        last, damage = after, self._damage
        if self._connection is not None or damage is None:
            try:
                for event in self._healthy(after, kinds):
                    last = event.seq
                    if event.body is not _SKIPPED and not _within(gone, event.seq):
                        yield event
            except _DamageError as error:
                damage = damage or str(error)
        if damage is None:
            return
        for event in readable(self.path, last):
            last = event.seq
            if (kinds is None or event.kind in kinds) and not _within(gone, event.seq):
                yield event
        raise damaged(self.path, damage, last)

    def newest(self, kind: Kind) -> Event | None:
        """Return the last event of a kind, found from the end, ``None`` where there is none."""
        query = "SELECT seq, time, kind, body FROM events WHERE kind = ? ORDER BY seq DESC LIMIT 1"
        with self._guard:
            try:
                row = self._open_connection().execute(query, (kind.value,)).fetchone()
            except sqlite3.Error as error:
                raise store_error(self.path, error) from None
        if row is None:
            return None
        try:
            return Event(seq=row[0], time=row[1], kind=kind, body=_body(row[3], row[0]))
        except _DamageError as error:
            raise damaged(self.path, str(error), row[0] - 1) from None

    def counts(self) -> dict[str, int]:
        """Return how many events of each kind there are, counted by SQLite without reading their bodies.

        >>> with Journal.create(getfixture("tmp_path") / "j.db", {}) as journal:
        ...     journal.counts()
        {'run': 1}
        """
        query = "SELECT kind, count(*) FROM events GROUP BY kind"
        with self._guard:
            try:
                return dict(self._open_connection().execute(query).fetchall())
            except sqlite3.Error as error:
                if is_damage(error):
                    raise damaged(self.path, str(error), last_readable(self.path)) from None
                raise store_error(self.path, error) from None

    def _healthy(self, after: int, kinds: Collection[Kind] | None) -> Iterator[Event]:
        """Yield the events as SQLite gives them; those of other kinds with an unread body."""
        while True:
            rows, failure = self._chunk(after)
            for seq, seconds, text, body in rows:
                if seq != after + 1:
                    raise _DamageError(f"event {after + 1} is missing")
                kind = _stored_kind(text, seq)
                read = kinds is None or kind in kinds
                yield Event(seq=seq, time=seconds, kind=kind, body=_body(body, seq) if read else _SKIPPED)
                after = seq
            if failure is not None:
                raise failure
            if len(rows) < _CHUNK:
                return

    def _chunk(self, after: int) -> tuple[list[tuple[int, float, str, str]], _DamageError | None]:
        """Return the next rows in one short read, so that a slow reader never holds up the writer."""
        query = "SELECT seq, time, kind, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        rows: list[tuple[int, float, str, str]] = []
        with self._guard:
            try:
                rows.extend(self._open_connection().execute(query, (after, _CHUNK)))
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise store_error(self.path, error) from None
                return rows, _DamageError(str(error))
        return rows, None

    def _void(self) -> list[tuple[int, int]]:
        """Return the open intervals of event numbers that resumes made void."""
        gone = []
        try:
            for event in self.events(kinds={Kind.RESUMED}):
                gone.append((event.body["after"], event.seq))  # noqa: PERF401 - keeps what came before damage
        except StoreError:
            pass  # the caller meets the same damage when it reads on
        return gone

    def trace(self) -> Trace:
        """Fold the events that count into the step tree."""
        return replay(self.events(void=False))

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"journal {str(self.path)!r} is closed. Open it again.")
        return self._connection

    def close(self) -> None:
        """Close the journal. A finished journal is one plain file that can be copied and archived."""
        with self._guard:
            if self._connection is not None:
                if self._lock is not None and os.getpid() == self._pid:
                    become_plain(self._connection)
                self._connection.close()
                self._connection = None
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def scratch() -> Iterator[Journal]:
    """Yield a journal that is deleted at the end: for short runs of which only the outcome counts.

    >>> with scratch() as journal:
    ...     journal.append(Kind.METRICS, {"success": 1.0})
    2
    """
    with (
        TemporaryDirectory(prefix="everystep-") as folder,
        Journal.create(Path(folder) / "journal.sqlite", {}) as journal,
    ):
        yield journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What ``repair`` did: events 1 to ``last`` were kept, the damaged file is now called ``damaged``."""

    path: Path
    damaged: Path | None
    last: int


def repair(path: Path | str) -> Repaired:
    """Put a journal with everything that is still readable in the place of a damaged one.

    The damaged file and its write-ahead log are renamed, never deleted or changed. A healthy journal
    is left as it is (``damaged`` is ``None``).
    """
    path = existing(path)
    lock = acquire(path)
    try:
        with Journal.read(path) as journal:
            last = _last_if_healthy(journal)
        if last is not None:
            return Repaired(path=path, damaged=None, last=last)
        events = list(readable(path))
        if not events:
            raise StoreError(
                f"nothing can be read of journal {str(path)!r}; it was left as it is. Restore it from a copy, "
                "or start a new run."
            )
        aside = (path.with_name(f"{path.name}.damaged-{n}") for n in count(1))
        damaged = next(one for one in aside if not one.exists() and not wal_of(one).exists())
        fresh = write_fresh(path, events)
        if wal_of(path).exists():
            wal_of(path).rename(wal_of(damaged))
        path.with_name(path.name + "-shm").unlink(missing_ok=True)
        path.rename(damaged)
        fresh.replace(path)
        return Repaired(path=path, damaged=damaged, last=events[-1].seq)
    finally:
        lock.close()


def _last_if_healthy(journal: Journal) -> int | None:
    last = 0
    try:
        for event in journal.events():
            last = event.seq
    except StoreError:
        return None
    return last


def _within(intervals: list[tuple[int, int]], seq: int) -> bool:
    return any(low < seq < high for low, high in intervals)


class _DamageError(Exception):
    """The file no longer says what was written. The message says how one can tell."""


def _known(kind: Kind) -> str:
    if type(kind) is Kind:
        return kind.value
    try:
        return Kind(kind).value
    except ValueError:
        hint = did_you_mean(kind, [one.value for one in Kind])
        raise StoreError(f"cannot write an event of unknown kind {kind!r}. {hint}") from None


def _stored_kind(kind: str, seq: int) -> Kind:
    try:
        return Kind(kind)
    except ValueError:
        raise _DamageError(f"event {seq} has the unknown kind {kind!r}") from None


def _body(text: str, seq: int) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except (TypeError, ValueError):
        body = None
    if not isinstance(body, dict):
        raise _DamageError(f"the body of event {seq} is not a JSON object")
    return body
