"""A journal's file: created whole, locked for one writer, checked, and its errors said in one voice."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from everystep.core.codec import VERSION, dumps
from everystep.core.errors import StoreError
from everystep.core.trace import Event, Kind
from everystep.run.salvage import PAGE_BYTES, readable, wal_of

_SCHEMA = """
BEGIN;
CREATE TABLE events (seq INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE meta (version INTEGER NOT NULL, pid INTEGER, host TEXT, synced INTEGER NOT NULL DEFAULT 0);
"""
INSERT = "INSERT INTO events VALUES (?, ?, ?, ?)"
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def existing(path: Path | str) -> Path:
    """Return the full path of a journal that must be there."""
    path = Path(path).resolve()
    if not path.is_file():
        raise StoreError(f"there is no journal at {str(path)!r}. Check the run name, or start a new run.")
    return path


def acquire(path: Path) -> sqlite3.Connection:
    """Take the write lock of a journal: a transaction held open on a file beside it.

    The operating system frees the lock when the process dies, so it can never be stale.
    """
    lock = sqlite3.connect(
        path.with_name(path.name + ".lock"), isolation_level=None, timeout=0, check_same_thread=False
    )
    try:
        lock.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        lock.close()
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise store_error(path, error) from None
        raise StoreError(
            f"journal {str(path)!r} is being written by {_holder(path)}. "
            "A run has one writer: wait for it or stop it, or read with Journal.read."
        ) from None
    return lock


def _holder(path: Path) -> str:
    try:
        connection = connect_read_only(path)
        pid, host = connection.execute("SELECT pid, host FROM meta").fetchone()
        connection.close()
    except (sqlite3.Error, StoreError):
        return "another process"
    return f"process {pid} on {host!r}"


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Connect without writing anything; a plain file on read-only storage works too."""
    uri = path.as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
    try:
        check_version(path, connection)
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        if wal_of(path).exists():
            raise
        connection = sqlite3.connect(f"{uri}?immutable=1", uri=True, check_same_thread=False)
        check_version(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def check_version(path: Path, connection: sqlite3.Connection) -> None:
    """Raise ``StoreError`` for a file that is no journal or that a newer version wrote."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"events", "meta"} <= tables:
        raise StoreError(f"{str(path)!r} is a SQLite file but not a journal of Everystep. Check the path.")
    version = scalar(connection, "SELECT version FROM meta")
    if version is None or version > VERSION:
        raise StoreError(
            f"journal {str(path)!r} has format {version!r} and this Everystep reads up to {VERSION}. "
            "Upgrade with `pip install -U everystep`."
        )


def write_fresh(path: Path, events: Iterable[Event]) -> Path:
    """Write a complete journal beside ``path`` and return where."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    connection = sqlite3.connect(fresh, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.executescript(_SCHEMA)
        connection.execute("INSERT INTO meta (version) VALUES (?)", (VERSION,))
        rows = ((one.seq, one.time, one.kind.value, text_of(one.kind, one.body)) for one in events)
        connection.executemany(INSERT, rows)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise store_error(path, error) from None
    finally:
        connection.close()
    return fresh


def become_plain(connection: sqlite3.Connection) -> None:
    """Leave write-ahead mode, so that the finished journal is one file."""
    try:
        connection.execute("PRAGMA busy_timeout=0")
        connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error:
        return  # somebody reads; the file stays in write-ahead mode and is as good


def scalar(connection: sqlite3.Connection, query: str) -> int | None:
    """Return the single number that a query gives, ``None`` for no row or NULL."""
    row = connection.execute(query).fetchone()
    return None if row is None else row[0]


def text_of(kind: Kind, body: Any) -> str:
    """Return the JSON text of an event's body."""
    try:
        return dumps(body)
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"cannot write the {str(kind)!r} event: {error}. Bodies are records or mappings of JSON values."
        ) from None


def is_damage(error: sqlite3.Error) -> bool:
    """Say whether an error means that the file is damaged, and not that it is busy or out of reach."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _CORRUPT  # no code: a text that is not UTF-8


def last_readable(path: Path) -> int:
    """Return the number of the last event that can be read, 0 for none."""
    last = 0
    for event in readable(path):
        last = event.seq
    return last


def damaged(path: Path, why: str, last: int) -> StoreError:
    """Return the one error for a damaged journal: the file, the last good event, the remedy."""
    return StoreError(
        f"journal {str(path)!r} is damaged after event {last}: {why}. Events 1 to {last} can be read; "
        "`everystep resume` continues from there and keeps the damaged file under another name."
    )


def store_error(path: Path, error: sqlite3.Error) -> StoreError:
    """Return what a SQLite error means for the journal."""
    if is_damage(error):
        return damaged(path, str(error), last_readable(path))
    return StoreError(
        f"cannot use journal {str(path)!r}: {error}. Check that the folder is writable and the disk has space."
    )
