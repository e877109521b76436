"""Questions about real tables, in DuckDB: Spider's, as InterCode packaged them, with the rows that answer them.

Gold rows are those of the gold query in SQLite; only questions whose gold query gives them in DuckDB, too, are kept (74 of 87: DuckDB wants
every column under GROUP BY, and compares no text with numbers).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from functools import cache
from pathlib import Path

from everystep.core.errors import ToolError
from everystep.core.records import Json
from everystep.environments.code.intercode_sql import Question, asks_for_order, load_dataset
from everystep.tools.warehouse import Table, Warehouse, write_tables

_KINDS: Mapping[type, str] = {int: "BIGINT", float: "DOUBLE"}


def tables_of(image: bytes) -> dict[str, Table]:
    """Return the tables of a serialised SQLite database, each column with the narrowest type that holds its values."""
    found: dict[str, Table] = {}
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(image)
        listed = (
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
        )
        for (name,) in connection.execute(listed).fetchall():
            cursor = connection.execute(f'SELECT * FROM "{name}"')  # noqa: S608 -- a table's own name
            rows = cursor.fetchall()
            columns = []
            for place, about in enumerate(cursor.description):
                kinds = {type(row[place]) for row in rows} - {type(None)}
                kind = _KINDS.get(next(iter(kinds)), "VARCHAR") if len(kinds) == 1 else "VARCHAR"
                columns.append((about[0], "DOUBLE" if kinds == {int, float} else kind))
            found[name] = Table(columns=tuple(columns), rows=rows)
    return found


@cache
def source_of(database: str, folder: Path) -> Path:
    """Return the DuckDB file of one database of the sample, written on first use."""
    path = folder / f"{database}.duckdb"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_tables(path, tables_of(load_dataset("sample").images[database]))
    return path


@cache
def questions(folder: Path) -> tuple[Question, ...]:
    """Return the questions of the sample whose gold query gives the gold rows in DuckDB, too."""
    data = load_dataset("sample")
    boxes = {name: Warehouse(source_of(name, folder)) for name in data.images}
    kept = tuple(one for one in data.questions if right(boxes[one.database], one, one.gold))
    for box in boxes.values():
        box.close()
    return kept


def right(warehouse: Warehouse, question: Question, answer: Json) -> bool:
    """Return whether an answer, a SELECT or the name of a table, has the gold rows; their order counts where it was asked for."""
    try:
        sql = f"SELECT * FROM work.{answer}" if f"work.{answer}" in warehouse.tables() else str(answer)  # noqa: S608
        rows = [repr(row) for row in warehouse.query(sql).rows]
    except ToolError:
        return False
    wanted = [repr(row) for row in load_dataset("sample").answer(question.number)]
    return rows == wanted if asks_for_order(question.gold) else sorted(rows) == sorted(wanted)
