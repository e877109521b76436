"""A SQLite database in memory that any SQL text may be thrown at.

It cannot hang (instructions are counted), fill the memory (sizes are capped), leave the database
(ATTACH, PRAGMA, virtual tables and extensions are refused) or read the clock and random numbers, so
the same statements always give the same results. A few MySQL forms are understood (``SHOW TABLES``,
``DESCRIBE``, ``USE``, ``information_schema``, the database's name before a table, some functions), since
published runs and many models write them.
"""

from __future__ import annotations

import hashlib
import math
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from everystep.core.errors import WorldError

Value: TypeAlias = int | float | str | bytes | None
Row: TypeAlias = tuple[Value, ...]

INSTRUCTIONS = 1_000_000
"""Virtual-machine instructions that one statement may take."""
RESULT_ROWS = 50_000
RESULT_BYTES = 4_000_000
TEXT_LIMIT = 10_000
"""Characters of a statement."""
VALUE_BYTES = 4_000
"""Bytes of one value or row. With the instructions it bounds what sorting can pile up in memory."""
PAGES = 4_096

EXPANSION = 20_000
"""Copies of subqueries that the WITH clauses of a statement may amount to: planning them is not interruptible."""

_TICK = 1_000
_COMMENT = re.compile(r"\s*(?:--[^\n]*(?:\n|$)|/\*.*?\*/)", re.DOTALL)
_QUOTED = re.compile(r"('(?:[^']|'')*')|(\"[^\"]*\"|`[^`]*`|\[[^\]]*\])|--[^\n]*|/\*.*?(?:\*/|$)", re.DOTALL)
_WITH = re.compile(
    r"([\w$]+)\s*(?:\([^()]*\)\s*)?\bas\s*(?:not\s+)?(?:materialized\s*)?\(\s*(?=select\b|values\b|with\b)"
)
_VERBS = frozenset(
    (
        "select",
        "with",
        "values",
        "explain",
        "insert",
        "replace",
        "update",
        "delete",
        "create",
        "drop",
        "alter",
    )
)
_DESCRIBE = re.compile(
    r"(?:desc|describe|(?:show\s+(?:full\s+)?(?:columns|fields)\s+(?:from|in)))\s+[`\"']?(\w+)[`\"']?",
    re.IGNORECASE,
)
_SHOW = re.compile(r"show\s+tables", re.IGNORECASE)
_USE = re.compile(r"use\s+[`\"']?\w+[`\"']?", re.IGNORECASE)
_CLOCK = ("date", "time", "datetime", "julianday", "unixepoch", "strftime")
_REFUSED_FUNCTIONS = frozenset(
    (
        *("random", "randomblob", "load_extension", "current_date", "current_time", "current_timestamp"),
        *("sqlite_version", "sqlite_source_id", "sqlite_compileoption_get", "sqlite_compileoption_used"),
        *("zeroblob", "printf", "format", "fts3_tokenizer", "changes", "total_changes", "last_insert_rowid"),
    )
)
_READING = frozenset((sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE))
_WRITING = frozenset(
    (
        *(sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE, sqlite3.SQLITE_ALTER_TABLE),
        *(sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_INDEX),
        *(
            sqlite3.SQLITE_DROP_TABLE,
            sqlite3.SQLITE_DROP_VIEW,
            sqlite3.SQLITE_DROP_INDEX,
            sqlite3.SQLITE_REINDEX,
        ),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a statement gave: rows (``None`` where it gives none), or an error."""

    rows: tuple[Row, ...] | None = None
    error: str | None = None


class SqlBox:
    """One connection to one private copy of the database ``name``, given as SQLite's serialised bytes."""

    def __init__(self, name: str, image: bytes) -> None:
        self._name = name
        self._wrote = False
        self._open(image)

    @property
    def pristine(self) -> bool:
        """Whether nothing has been written since the image was loaded."""
        return not self._wrote

    def run(self, sql: str) -> Result:
        """Run one statement. Whatever the text says, this returns."""
        if len(sql) > TEXT_LIMIT:
            return Result(error=f"the statement is longer than {TEXT_LIMIT} characters")
        text = _bare(sql)
        try:
            known = self._mysql(text)
            if known is not None:
                return known
            first = text.split(None, 1)[0][:40] if text.strip() else ""
            verb = re.match(r"\(*([a-z]*)", first.lower())
            if verb is None or verb[1] not in _VERBS:
                return Result(error=f'near "{first}": syntax error')
            if _expansion(text) > EXPANSION:
                return Result(error="the WITH clauses of the statement are used too often")
            return self._execute(self._unqualified(text))
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            return Result(error=str(error).splitlines()[0][:300] if str(error) else type(error).__name__)

    def save(self) -> bytes:
        """Return the database as bytes that ``load`` and the constructor accept."""
        return self._connection.serialize() if self._wrote else self._image

    def load(self, image: bytes, *, pristine: bool) -> None:
        """Replace the database by ``image``; ``pristine`` tells whether it is as it was at first."""
        if self._wrote or image is not self._image:
            self._connection.close()
            self._open(image)
        self._wrote = not pristine

    def digest(self) -> str:
        """Return a key of the contents, ``pristine`` before anything was written."""
        if not self._wrote:
            return "pristine"
        image = bytearray(self._connection.serialize())
        image[24:28] = image[92:100] = b""  # counters of changes, not contents
        return hashlib.sha1(image, usedforsecurity=False).hexdigest()[:16]

    def close(self) -> None:
        self._connection.close()

    def _open(self, image: bytes) -> None:
        connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False, cached_statements=0
        )
        connection.deserialize(image)
        self._tables = _describe(connection, self._name)
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        for pragma in ("temp_store=MEMORY", f"max_page_count={PAGES}", f"temp.max_page_count={PAGES}"):
            connection.execute(f"PRAGMA {pragma}")
        for limit, value in (
            (sqlite3.SQLITE_LIMIT_LENGTH, VALUE_BYTES),
            (sqlite3.SQLITE_LIMIT_SQL_LENGTH, TEXT_LIMIT * 4),
            (sqlite3.SQLITE_LIMIT_COLUMN, 200),
            (sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 100),
            (sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 50),
            (sqlite3.SQLITE_LIMIT_VDBE_OP, 25_000),
            (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
            (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200),
            (sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH, 2),
        ):
            connection.setlimit(limit, value)
        for name, function in _FUNCTIONS.items():
            connection.create_function(name, -1, function, deterministic=True)
        connection.set_authorizer(self._authorize)
        connection.set_progress_handler(self._tick, _TICK)
        self._connection = connection
        self._image = image
        self._wrote = False
        self._ticks = 0

    def _unqualified(self, text: str) -> str:
        """Return ``text`` without this database's own name before the names of its tables."""
        name = self._name.lower()
        if name in self._tables or name not in text.lower():
            return text

        def bare(match: re.Match[str]) -> str:
            return match[1] if match[1].strip('`"').lower() in self._tables else match[0]

        return re.sub(
            rf"[`\"]?\b{re.escape(name)}\b[`\"]?\s*\.\s*([`\"]?\w+[`\"]?)", bare, text, flags=re.IGNORECASE
        )

    def _tick(self) -> int:
        self._ticks += 1
        return int(self._ticks * _TICK > INSTRUCTIONS)

    def _authorize(
        self, action: int, _first: str | None, second: str | None, place: str | None, _inner: str | None
    ) -> int:
        if action in _READING:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION:
            refused = (second or "").lower() in _REFUSED_FUNCTIONS
            return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK
        if action in _WRITING and place == "main":
            self._wrote = True
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    def _execute(self, sql: str) -> Result:
        self._ticks = 0
        cursor = self._connection.execute(sql)
        try:
            if cursor.description is None:
                return Result()
            rows: list[Row] = []
            size = 0
            for row in cursor:
                rows.append(row)
                size += sum(len(value) for value in row if isinstance(value, str | bytes)) + 16 * len(row)
                if len(rows) > RESULT_ROWS or size > RESULT_BYTES:
                    return Result(error="the result is too large")
            return Result(rows=tuple(rows))
        finally:
            cursor.close()

    def _mysql(self, text: str) -> Result | None:
        """Answer ``SHOW TABLES``, ``DESCRIBE table`` and ``USE name``; ``None`` for anything else."""
        if _USE.fullmatch(text):
            return Result()
        if _SHOW.fullmatch(text):
            return self._execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        if (match := _DESCRIBE.fullmatch(text)) is None:
            return None
        columns = self._execute(
            "SELECT column_name, data_type FROM information_schema.columns "  # noqa: S608 -- a word
            f"WHERE table_name = '{match[1]}' ORDER BY ordinal_position"
        )
        return columns if columns.rows else Result(error=f"no such table: {match[1]}")


def _describe(connection: sqlite3.Connection, name: str) -> frozenset[str]:
    """Attach the tables of MySQL's ``information_schema`` and return the names of the tables, in small letters."""
    connection.execute("ATTACH ':memory:' AS information_schema")
    connection.executescript(
        "CREATE TABLE information_schema.tables (table_schema TEXT COLLATE NOCASE, table_name TEXT COLLATE NOCASE, "
        "table_type TEXT); CREATE TABLE information_schema.columns (table_schema TEXT COLLATE NOCASE, "
        "table_name TEXT COLLATE NOCASE, column_name TEXT COLLATE NOCASE, ordinal_position INTEGER, data_type TEXT)"
    )
    names = [row[0] for row in connection.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")]
    for table in names:
        connection.execute("INSERT INTO information_schema.tables VALUES (?, ?, 'BASE TABLE')", (name, table))
        connection.execute(
            "INSERT INTO information_schema.columns "
            "SELECT ?, ?, name, cid + 1, lower(type) FROM pragma_table_info(?, 'main')",
            (name, table, table),
        )
    return frozenset(table.lower() for table in names)


def build_image(statements: tuple[str, ...]) -> bytes:
    """Return the serialised database that ``statements`` make."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript("\n".join(statements))
        connection.commit()
        return connection.serialize()
    except sqlite3.Error as error:
        raise WorldError(f"the statements of a database do not run: {error}. The data is damaged.") from None
    finally:
        connection.close()


def _bare(sql: str) -> str:
    """Return ``sql`` without comments before it and without the semicolon after it."""
    while match := _COMMENT.match(sql):
        sql = sql[match.end() :]
    return sql.strip().rstrip(";").rstrip()


def _expansion(sql: str) -> int:
    """Return an upper bound of how many copies of subqueries the WITH clauses of ``sql`` amount to.

    Each use of a clause is a copy of it, and of the clauses that it uses: the bound is the product of the
    times that their names occur.

    >>> _expansion("WITH a AS (SELECT 1), b AS (SELECT * FROM a, a), c AS (SELECT * FROM b, b) SELECT * FROM c")
    4
    """
    words: dict[str, str] = {}

    def plain(match: re.Match[str]) -> str:
        if match[2] is None:
            return " "
        name = match[2][1:-1].lower()
        return words.setdefault(name, f" {name} " if name.isidentifier() else f" q${len(words)} ")

    text = _QUOTED.sub(plain, sql).lower()
    if "with" not in text:
        return 1
    times = Counter(re.findall(r"[\w$]+", text))
    return math.prod(max(1, times[name] - 1) for name in _WITH.findall(text))


def _clock(name: str) -> Callable[..., Value]:
    """Return SQLite's date function ``name``, but without the present time."""

    def function(*values: Value) -> Value:
        moments = values[1:] if name == "strftime" else values
        if not moments or any(isinstance(value, str) and value.strip().lower() == "now" for value in moments):
            raise ValueError("the clock cannot be read")
        marks = ", ".join("?" * len(values))
        found: Value = _DATES.execute(f"SELECT {name}({marks})", values).fetchone()[0]
        return found

    return function


_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATES = sqlite3.connect(":memory:", check_same_thread=False)


def _text(value: Value) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _concat(*values: Value) -> Value:
    return None if None in values else "".join(map(_text, values))


def _if(condition: Value, yes: Value, no: Value) -> Value:
    return yes if condition else no


def _left(value: Value, count: Value) -> Value:
    return None if value is None or count is None else _text(value)[: max(0, int(count))]


def _part(start: int, end: int) -> Callable[[Value], Value]:
    """Return a function that reads a part of a date such as 2014-03-09 as a number, ``None`` from other texts."""

    def function(value: Value) -> Value:
        text = "" if value is None else _text(value)
        return int(text[start:end]) if _DATE.match(text) else None

    return function


_FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    **{name: _clock(name) for name in _CLOCK},
    "concat": _concat,
    "if": _if,
    "left": _left,
    "year": _part(0, 4),
    "month": _part(5, 7),
    "day": _part(8, 10),
    "char_length": lambda value: None if value is None else len(_text(value)),
    "lcase": lambda value: None if value is None else _text(value).lower(),
    "ucase": lambda value: None if value is None else _text(value).upper(),
}
