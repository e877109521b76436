"""Tables that an agent may ask anything: what SQL cannot do, and what the tools can."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("duckdb")

from everystep.core.errors import StoreError, ToolError
from everystep.core.records import Task
from everystep.tools.toolbox import ToolBox
from everystep.tools.warehouse import Limits, Method, Table, Warehouse, warehouse_tools, write_tables

PEOPLE = Table(
    columns=(("id", "BIGINT"), ("name", "VARCHAR"), ("age", "DOUBLE")),
    rows=((1, "Ada", 36.5), (2, "Bo", None), (3, "Cy'; DROP TABLE people; --", 20.0)),
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.duckdb"
    write_tables(path, {"people": PEOPLE})
    return path


@pytest.fixture
def warehouse(source: Path) -> Warehouse:
    return Warehouse(source, limits=Limits(time_s=20.0, rows=100))


def test_what_was_written_is_read(warehouse: Warehouse, source: Path) -> None:
    assert warehouse.query("FROM people ORDER BY id").rows == PEOPLE.rows
    assert warehouse.query("SELECT name FROM people WHERE id = ?", [3]).rows == ((PEOPLE.rows[2][1],),)
    assert warehouse.tables() == {"people": ("id BIGINT", "name VARCHAR", "age DOUBLE")}
    with pytest.raises(StoreError):
        write_tables(source, {})


WRITES = (
    "INSERT INTO people VALUES (9, 'x', 1)",
    "INSERT INTO source.people VALUES (9, 'x', 1)",
    "WITH x AS (INSERT INTO source.people VALUES (9, 'x', 1) RETURNING id) SELECT * FROM x",
    "WITH x AS (DELETE FROM people RETURNING id) SELECT * FROM x",
    "UPDATE people SET age = 0",
    "DELETE FROM people",
    "DROP TABLE people",
    "CREATE TABLE mine AS SELECT 1",
    "CREATE TEMP TABLE mine AS SELECT 1",
    "SELECT 1; DROP TABLE work.kept",
    "DETACH source",
    "ATTACH ':memory:' AS other",
    "ATTACH '/tmp/everystep_other.duckdb'",
    "EXPLAIN ANALYZE DELETE FROM work.kept",
    "WITH x AS (DELETE FROM work.kept RETURNING n) SELECT * FROM x",
    "PREPARE p AS SELECT 1",
    "CALL pragma_version()",
    "",
    "-- nothing",
)
REACHES = (
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM read_parquet('http://127.0.0.1:9/x')",
    "COPY people TO '/tmp/everystep_people.csv'",
    "EXPORT DATABASE '/tmp/everystep_export'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET memory_limit = '64GB'",
    "RESET lock_configuration",
    "PRAGMA database_list",
    "SELECT * FROM python_value",
    "SELECT getenv('HOME')",
    "SELECT * FROM duckdb_secrets()",
)


@pytest.mark.parametrize("sql", WRITES + REACHES)
def test_sql_neither_writes_nor_reaches_out(warehouse: Warehouse, sql: str) -> None:
    python_value = [{"secret": 1}]  # DuckDB would find it by its name
    warehouse.build("kept", "SELECT 1 AS n")
    with pytest.raises(ToolError):
        warehouse.query(sql)
    assert sql in REACHES or warehouse.problem(sql) is not None  # a function may look only when it runs
    with pytest.raises(ToolError):
        warehouse.build("mine", sql)
    assert warehouse.query("SELECT count(*) FROM people").rows == ((3,),)
    assert warehouse.query("FROM work.kept").rows == ((1,),)
    assert set(warehouse.tables()) == {"people", "work.kept"}
    assert python_value


def test_the_source_file_stays_as_it_was(warehouse: Warehouse, source: Path) -> None:
    before = source.read_bytes()
    warehouse.build("mine", "SELECT * FROM people WHERE age > 30")
    for sql in WRITES:
        with pytest.raises(ToolError):
            warehouse.query(sql)
    warehouse.close()
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range + b.range = 7",
        "SELECT pg_sleep(30)",
    ],
)
def test_a_long_statement_is_stopped_and_the_next_one_runs(source: Path, sql: str) -> None:
    warehouse = Warehouse(source, limits=Limits(time_s=0.3))
    with pytest.raises(ToolError, match="more than"):
        warehouse.query(sql)
    warehouse.limits = Limits()
    assert warehouse.query("SELECT 1").rows == ((1,),)
    assert threading.active_count() < 20


def test_memory_rows_and_text_are_bounded(source: Path) -> None:
    warehouse = Warehouse(source, limits=Limits(memory_mb=64, rows=10, chars=200, made=2))
    with pytest.raises(ToolError):
        warehouse.query("SELECT list(range) FROM range(100000000)")
    many = warehouse.query("SELECT * FROM range(1000000)")
    assert (len(many.rows), many.more) == (10, True)
    with pytest.raises(ToolError, match="characters"):
        warehouse.query("SELECT " + "1 + " * 100 + "1")
    for name in ("a", "b"):
        assert warehouse.build(name, "SELECT 1") == 1
    with pytest.raises(ToolError, match="already"):
        warehouse.build("c", "SELECT 1")
    for name in ("a; drop", "A", "", "a" * 41, "work.a"):
        with pytest.raises(ToolError):
            warehouse.build(name, "SELECT 1")


def test_a_method_is_kept_only_if_it_gives_the_rows_of_a_plain_query(warehouse: Warehouse) -> None:
    older = Method(name="older", parameters=("least",), sql="SELECT name FROM people WHERE age >= least")
    warehouse.keep(older, example=[30], same_as="SELECT name FROM people WHERE age >= 30")
    assert warehouse.query("SELECT * FROM older(10)").rows == (("Ada",), (PEOPLE.rows[2][1],))
    worse = Method(name="older", parameters=("least",), sql="SELECT name FROM people WHERE age < least")
    with pytest.raises(ToolError, match="does not give"):
        warehouse.keep(worse, example=[30], same_as="SELECT name FROM people WHERE age >= 30")
    assert len(warehouse.query("SELECT * FROM older(10)").rows) == 2  # the old one still stands
    for sql in ("SELECT 1; DROP TABLE people", "DROP TABLE people", "SELECT missing FROM people"):
        with pytest.raises(ToolError):
            warehouse.keep(Method(name="bad", parameters=(), sql=sql), example=[], same_as="SELECT 1")
    with pytest.raises(ToolError, match="example"):
        warehouse.keep(older, example=[], same_as="SELECT 1")


def test_what_an_agent_made_is_there_after_a_restart(source: Path, tmp_path: Path) -> None:
    place = tmp_path / "work.duckdb"
    first = Warehouse(source, work=place)
    first.build("mine", "SELECT 7 AS n")
    first.close()
    assert Warehouse(source, work=place).query("SELECT n FROM mine").rows == ((7,),)


def test_the_tools_of_a_box(warehouse: Warehouse) -> None:
    heard: list[Method] = []
    box = ToolBox(warehouse_tools(warehouse, kept=heard.append), max_steps=20)
    box.reset(Task(id="t", instruction="", environment="warehouse"))

    def call(tool: str, **arguments: object) -> str:
        action = box.parse(json.dumps({"tool": tool, "arguments": arguments}))
        return asyncio.run(box.act(action, key="k")).observation.text

    assert "people" in call("tables")
    assert '[1, "Ada", 36.5]' in call("query", sql="SELECT * FROM people WHERE id = 1")
    assert "has 2 rows" in call("build_table", name="mine", sql="SELECT * FROM people WHERE age > 0")
    failed = call("query", sql="SELECT nothing FROM people")
    assert "failed" in failed
    assert "nothing" in failed
    given = {
        "name": "m",
        "parameters": ["n"],
        "sql": "SELECT n + 1 AS a",
        "example": [1],
        "same_as": "SELECT 2",
    }
    assert "is kept" in call("keep_method", **given)
    assert [one.name for one in heard] == ["m"]
    assert box.effect(box.parse('{"tool": "query", "arguments": {"sql": ""}}')).repeatable
    names = [one.name for one in warehouse_tools(warehouse, build=False)]
    assert names == ["tables", "query"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(max_size=60), st.text(alphabet="select from*();'\"\\-,ü\x00\ud800", max_size=60)))
def test_any_text_is_an_answer_or_a_tool_error(warehouse: Warehouse, sql: str) -> None:
    for use in (warehouse.query, lambda text: warehouse.build("mine", text)):
        with suppress(ToolError):
            use(sql)
    assert warehouse.query("SELECT count(*) FROM people").rows == ((3,),)
