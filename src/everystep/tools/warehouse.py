"""Tables in DuckDB that an agent may ask anything and cannot harm: sources are read-only, what it makes lies beside them.

The sources are a database file that is attached read-only, so the engine itself refuses to change them. Queries run in a read-only
transaction: a statement that reads may hide one that writes (``WITH x AS (INSERT ...)``), which its kind does not show. Files, the network,
extensions and Python's own variables are out of reach and the settings are locked. A statement is one SELECT, and is bounded in time,
memory and rows. DuckDB runs in this process: a crash of the engine is a crash of ours. SQL can see the name of the source file.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

import duckdb

from everystep.core.acts import Effect, Reversal, Risk
from everystep.core.errors import ConfigError, StoreError, ToolError
from everystep.core.records import Json
from everystep.tools.function import tool_of
from everystep.tools.tool import Tool, reading

Value: TypeAlias = bool | int | float | str | None

TYPES = ("BIGINT", "DOUBLE", "VARCHAR", "BOOLEAN")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_INSERTED = 200  # rows of one statement
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": "1",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "python_scan_all_frames": "false",
}
_LOCKS = ("temp_directory = ''", "enable_external_access = false", "lock_configuration = true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table to be stored: its columns, each a name and one of ``TYPES``, and its rows."""

    columns: tuple[tuple[str, str], ...]
    rows: Sequence[Sequence[Value]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one statement, and of the tables (``made``) that an agent may make."""

    time_s: float = 10.0
    memory_mb: int = 256
    rows: int = 1000
    chars: int = 20_000
    made: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What a query gave; ``more`` says that rows beyond the limit were left out."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A query with parameters that an agent keeps, to be used as ``SELECT * FROM name(...)``."""

    name: str
    parameters: tuple[str, ...]
    sql: str


def write_tables(path: Path, tables: Mapping[str, Table]) -> None:
    """Write a database file with ``tables``, to be the source of a warehouse. Raises ``StoreError`` where one is there already."""
    if path.exists():
        raise StoreError(f"{str(path)!r} exists already. Choose another file.")
    with duckdb.connect(str(path)) as connection:
        for name, table in tables.items():
            wrong = next((kind for _, kind in table.columns if kind not in TYPES), None)
            if wrong is not None:
                raise ConfigError(
                    f"table {name!r} has a column of type {wrong!r}; known: {', '.join(TYPES)}."
                )
            told = ", ".join(f"{_quoted(column)} {kind}" for column, kind in table.columns)
            connection.execute(f"CREATE TABLE {_quoted(name)} ({told})")
            marks = f"({', '.join('?' * len(table.columns))})"
            for start in range(0, len(table.rows), _INSERTED):
                some = table.rows[start : start + _INSERTED]
                values = [value for row in some for value in row]
                lines = ", ".join([marks] * len(some))
                connection.execute(f"INSERT INTO {_quoted(name)} VALUES {lines}", values)  # noqa: S608


class Warehouse:
    """One connection to a database file that is only read (``source``), and to a place of its own for what an agent makes (``work``).

    ``work`` is a file, or memory that is gone with the process. Whatever SQL says, nothing but ``ToolError`` is raised.
    """

    def __init__(self, source: Path, *, work: Path | None = None, limits: Limits | None = None) -> None:
        if not source.is_file():
            raise ConfigError(f"{str(source)!r} is not a database file. Make one with write_tables.")
        self.limits = limits or Limits()
        self._guard = threading.Lock()
        memory = {"memory_limit": f"{self.limits.memory_mb}MB"}
        self._connection = duckdb.connect(":memory:", config={**_CONFIG, **memory})
        for place, name, mode in ((work, "work", ""), (source, "source", " (READ_ONLY)")):
            file = ":memory:" if place is None else str(place).replace("'", "''")
            self._connection.execute(f"ATTACH '{file}' AS {name}{mode}")
        self._connection.execute("SET search_path = 'work.main,source.main'")
        for setting in _LOCKS:
            self._connection.execute(f"SET {setting}")

    def tables(self) -> dict[str, tuple[str, ...]]:
        """Return the tables and the columns of each with their types, those of the source first."""
        listed = (
            "SELECT table_catalog, table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_catalog IN ('source', 'work') ORDER BY table_catalog, table_name, ordinal_position"
        )
        found: dict[str, tuple[str, ...]] = {}
        with self._guard:
            for place, table, column, kind in self._connection.execute(listed).fetchall():
                name = table if place == "source" else f"work.{table}"
                found[name] = (*found.get(name, ()), f"{column} {kind}")
        return found

    def query(self, sql: str, parameters: Sequence[Value] = ()) -> Rows:
        """Return what one SELECT gives."""
        self._one_select(sql)
        with self._running(), self._reading():
            cursor = self._connection.execute(sql, list(parameters))
            columns = tuple(one[0] for one in cursor.description or ())
            rows = cursor.fetchmany(self.limits.rows + 1)
        kept = tuple(rows[: self.limits.rows])
        return Rows(columns=columns, rows=kept, more=len(rows) > len(kept))

    def problem(self, sql: str) -> str | None:
        """Return why one SELECT cannot be run, ``None`` if it can: it is planned and not run."""
        try:
            self._one_select(sql)
            with self._running(), self._reading():
                self._connection.execute(f"EXPLAIN {sql}")
        except ToolError as error:
            return str(error)
        return None

    def build(self, name: str, sql: str) -> int:
        """Make the table ``work.name`` from one SELECT, in place of an older one; return how many rows it has."""
        self._named(name)
        why = self.problem(sql)
        if why is not None:
            raise ToolError(why)
        if sum(one.startswith("work.") for one in self.tables()) >= self.limits.made:
            raise ToolError(f"there are {self.limits.made} tables already. Use one of their names.")
        with self._running():
            self._connection.execute(f"CREATE OR REPLACE TABLE work.main.{name} AS {sql}")
            (rows,) = self._connection.execute(f"SELECT count(*) FROM work.main.{name}").fetchone() or (0,)  # noqa: S608
        return int(rows)

    def keep(self, method: Method, *, example: Sequence[Value], same_as: str) -> None:
        """Keep a method, if for ``example`` it gives the rows of the query ``same_as``, in the same order."""
        self._named(method.name, *method.parameters)
        self._one_select(method.sql)
        if len(example) != len(method.parameters):
            raise ToolError(f"{len(example)} example values for {len(method.parameters)} parameters.")
        wanted = self.query(same_as)
        tried = f"{method.name}__tried"
        self._define(tried, method)
        marks = ", ".join("?" * len(example))
        try:
            given = self.query(f"SELECT * FROM work.main.{tried}({marks})", example)  # noqa: S608 -- a checked name
            if given.rows != wanted.rows:
                raise ToolError(f"method {method.name!r} does not give the rows of the other query.")
            self._define(method.name, method)
        finally:
            with self._running():
                self._connection.execute(f"DROP MACRO TABLE work.main.{tried}")

    def _define(self, name: str, method: Method) -> None:
        told = ", ".join(method.parameters)
        with self._running():
            self._connection.execute(
                f"CREATE OR REPLACE MACRO work.main.{name}({told}) AS TABLE {method.sql}"
            )

    def close(self) -> None:
        """Close the connection."""
        with self._guard:
            self._connection.close()

    def _one_select(self, sql: str) -> None:
        if len(sql) > self.limits.chars:
            raise ToolError(f"the statement has {len(sql)} characters; expected {self.limits.chars} at most.")
        try:
            sql.encode()
            with self._guard:
                found = self._connection.extract_statements(sql)
        except (duckdb.Error, RuntimeError, ValueError) as error:
            raise ToolError(_told(error)) from None
        if len(found) != 1 or found[0].type != duckdb.StatementType.SELECT:
            kinds = ", ".join(str(one.type).rpartition(".")[2] for one in found[:5]) or "nothing"
            raise ToolError(f"expected one SELECT, found {kinds}.")

    def _named(self, *names: str) -> None:
        wrong = next((one for one in names if not _NAME.fullmatch(one)), None)
        if wrong is not None or len(set(names)) < len(names):
            raise ToolError(
                f"names {names!r}: expected different ones of small letters, digits and '_', at most 40."
            )

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Hold the connection, stop what takes too long, and turn what DuckDB says into ``ToolError``."""
        with self._guard:
            timer = threading.Timer(self.limits.time_s, self._connection.interrupt)
            timer.daemon = True
            timer.start()
            try:
                yield
            except duckdb.InterruptException:
                raise ToolError(f"the statement took more than {self.limits.time_s} s.") from None
            except (duckdb.Error, RuntimeError, ValueError) as error:
                raise ToolError(_told(error)) from None
            finally:
                timer.cancel()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        self._connection.execute("BEGIN TRANSACTION READ ONLY")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")


def warehouse_tools(
    warehouse: Warehouse,
    *,
    build: bool = True,
    kept: Callable[[Method], object] | None = None,
) -> tuple[Tool, ...]:
    """Return ``tables`` and ``query``, with ``build`` also the tool that makes tables, and with ``kept`` the one that keeps methods.

    ``kept`` hears of every method that was kept: note it in the journal, it is an invention of the agent.
    """

    def tables() -> dict[str, list[str]]:
        """List the tables and their columns. Tables of your own are called work.NAME."""
        return {name: list(columns) for name, columns in warehouse.tables().items()}

    def query(sql: str) -> str:
        """Run one SELECT and see its rows.

        Args:
            sql: One SELECT statement in DuckDB's dialect.
        """
        found = warehouse.query(sql)
        rows = [[_plain(value) for value in row] for row in found.rows]
        told: dict[str, Json] = {"columns": list(found.columns), "rows": [list(row) for row in rows]}
        return json.dumps(told | ({"more": True} if found.more else {}), ensure_ascii=False)

    def build_table(name: str, sql: str) -> str:
        """Make a table of your own from one SELECT; an older one of that name is replaced.

        Args:
            name: Its name: small letters, digits and _.
            sql: One SELECT statement.
        """
        return f"table {name} has {warehouse.build(name, sql)} rows"

    def keep_method(
        name: str,
        parameters: list[str],
        sql: str,
        example: list[bool | int | float | str | None],
        same_as: str,
    ) -> str:
        """Keep a query with parameters, to be used as SELECT * FROM NAME(...). It is kept only if the example agrees.

        Args:
            name: Its name: small letters, digits and _.
            parameters: The names of its parameters.
            sql: One SELECT statement that uses them.
            example: A value for each parameter.
            same_as: One SELECT that gives the rows that the method must give for the example.
        """
        method = Method(name=name, parameters=tuple(parameters), sql=sql)
        warehouse.keep(method, example=example, same_as=same_as)
        if kept is not None:
            kept(method)
        return f"method {name} is kept"

    making = Effect(
        name="build_table",
        reversal=Reversal.COMPENSATABLE,
        risk=Risk.LOW,
        idempotent=True,
        resources=("warehouse",),
    )
    found = [tool_of(tables, effect=reading("tables")), tool_of(query, effect=reading("query"))]
    if build:
        found.append(tool_of(build_table, effect=making))
    if kept is not None:
        keeping = Effect(
            name="keep_method",
            reversal=Reversal.COMPENSATABLE,
            risk=Risk.LOW,
            idempotent=True,
            resources=("warehouse",),
        )
        found.append(tool_of(keep_method, effect=keeping))
    return tuple(found)


def _plain(value: Any) -> Json:
    if value is None or isinstance(value, bool | int | str):
        return value
    return value if isinstance(value, float) and isfinite(value) else str(value)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
