"""What rules go by, in a DuckDB file: a row a trajectory, a row a step, who walks through which step. No texts.

The file lives in the work folder of a filter. Every stage is one transaction and is done once: a process that is killed goes on after the last one.
DuckDB keeps to its memory limit and spills to the work folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from everystep.core.errors import DataError, StoreError
from everystep.data.source import Source

MEMORY_MB = 512
"""DuckDB's memory limit."""

_STEP_COLUMNS = """
  step AS id, parent, trajectory AS owner_id, "index" AS idx, agent, valid, stop, undone, reward,
  action_calls IS NOT NULL AND len(action_calls) > 2 AS calls,
  len(action_text) + len(coalesce(action_calls, '')) AS act_chars, len(observation_text) AS seen_chars,
  CASE WHEN token_ids IS NULL THEN NULL ELSE len(token_ids) END AS tokens,
  md5_number_lower(concat(observation_text, chr(31), action_text, chr(31), action_calls)) AS both_digest,
  md5_number_lower(concat(action_text, chr(31), action_calls)) AS act_digest,
  md5_number_lower(observation_text) AS seen_digest
"""


class Facts:
    """The DuckDB file of one filter. Open it with ``opened``."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, source: Source) -> None:
        self.source = source
        self._connection = connection

    def run(self, query: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a query and return its rows."""
        try:
            return self._connection.execute(query, values or []).fetchall()
        except duckdb.Error as error:
            raise DataError(
                f"the steps of {str(self.source.path)!r} cannot be reckoned with: {error}"
            ) from None

    def stream(self, query: str, size: int = 8192) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a query in chunks."""
        cursor = self._connection.cursor()
        try:
            cursor.execute(query)
            while rows := cursor.fetchmany(size):
                yield rows
        finally:
            cursor.close()

    def numpy(self, query: str) -> dict[str, Any]:
        """Return the columns of a query as arrays."""
        found: dict[str, Any] = self._connection.execute(query).fetchnumpy()
        return found

    def register(self, name: str, table: Any) -> None:
        """Make an Arrow table known to queries by a name."""
        self._connection.register(name, table)

    @contextmanager
    def stage(self, name: str) -> Iterator[bool]:
        """Do something once, all or nothing. Gives false where it is done already."""
        if self.run("SELECT 1 FROM done WHERE stage = ?", [name]):
            yield False
            return
        self.run("BEGIN")
        try:
            yield True
            self.run("INSERT INTO done VALUES (?)", [name])
            self.run("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise

    def scan(self, name: str, columns: str) -> str:
        """Return the query of a table of the source with the number of each row over all files as ``row``."""
        parts = []
        first = 0
        for part, file in enumerate(self.source.tables(name)):
            where = str(file).replace("'", "''")
            parts.append(
                f"SELECT {first} + file_row_number AS row, {part} AS part, {columns} "
                f"FROM read_parquet('{where}', file_row_number=true)"
            )
            first += int(self.run(f"SELECT count(*) FROM read_parquet('{where}')")[0][0])
        return " UNION ALL ".join(parts)


@contextmanager
def opened(source: Source, work: Path, *, key: str, memory_mb: int = MEMORY_MB) -> Iterator[Facts]:
    """Open the facts of ``source`` in the folder ``work`` and load them where that is not done yet.

    ``key`` names what they are for: work that was begun for something else is not gone on with.
    """
    work.mkdir(parents=True, exist_ok=True)
    try:
        connection = duckdb.connect(str(work / f"facts-{source.fingerprint}-{key}.duckdb"))
    except duckdb.Error as error:
        raise StoreError(
            f"cannot open the work of a filter in {str(work)!r}: {error}. Does another process filter into it?"
        ) from None
    try:
        connection.execute(f"SET memory_limit='{memory_mb}MB'")
        connection.execute(
            f"SET threads={max(1, min(4, os.cpu_count() or 1, int(os.environ.get('OMP_NUM_THREADS') or 4)))}"
        )
        connection.execute("SET temp_directory=?", [str(work / "spill")])
        connection.execute("SET preserve_insertion_order=false")
        connection.execute("SET autoinstall_known_extensions=false")
        connection.execute("CREATE TABLE IF NOT EXISTS done (stage TEXT PRIMARY KEY)")
        facts = Facts(connection, source)
        _load(facts)
        yield facts
    finally:
        connection.close()


def _load(facts: Facts) -> None:
    with facts.stage("steps") as todo:
        if todo:
            facts.run(
                f"CREATE TABLE step AS SELECT *, NULL::INT AS masked FROM ({facts.scan('steps', _STEP_COLUMNS)})"
            )
    with facts.stage("trajectories") as todo:
        if todo:
            columns = (
                'trajectory AS id, task, "group" AS grp, outcome, success, "end" AS ends, leaf, prefix, '
                "NULL::INT AS dropped, NULL::INT AS cut, NULL::INT AS cut_by"
            )
            facts.run(
                f"CREATE TABLE trajectory AS SELECT row AS ord, * EXCLUDE (row) FROM ({facts.scan('trajectories', columns)})"
            )
            twice = facts.run("SELECT id FROM trajectory GROUP BY id HAVING count(*) > 1 LIMIT 1")
            if twice:
                raise DataError(f"the trajectory {twice[0][0]!r} occurs twice; ids must be unique.")
    with facts.stage("walks") as todo:
        if todo:
            _walk(facts)
    with facts.stage("sums") as todo:
        if todo:
            facts.run(_SUMS)


def _walk(facts: Facts) -> None:
    """Say which steps each trajectory walks through, and at which place. A branch begins with steps of others."""
    facts.run(
        "CREATE TABLE walk AS SELECT t.ord, s.row, s.idx FROM step s "
        "JOIN trajectory t ON t.part = s.part AND t.id = s.owner_id"
    )
    facts.run(
        """
        INSERT INTO walk
        WITH RECURSIVE up AS (
          SELECT t.ord, t.part, s.parent, s.row, s.idx FROM trajectory t
            JOIN walk w ON w.ord = t.ord JOIN step s ON s.row = w.row WHERE t.prefix IS NOT NULL
              AND NOT EXISTS (SELECT 1 FROM step p WHERE p.part = t.part AND p.id = s.parent AND p.owner_id = t.id)
          UNION ALL
          SELECT t.ord, t.part, t.leaf, NULL, NULL FROM trajectory t WHERE t.prefix IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM walk w WHERE w.ord = t.ord)
          UNION ALL
          SELECT u.ord, u.part, s.parent, s.row, s.idx FROM up u JOIN step s ON s.part = u.part AND s.id = u.parent
        )
        SELECT ord, row, idx FROM up u WHERE row IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM walk w WHERE w.ord = u.ord AND w.row = u.row)
        """
    )
    facts.run("ALTER TABLE walk RENAME TO walk_")
    facts.run(
        "CREATE TABLE walk AS SELECT ord, row, CAST(row_number() OVER (PARTITION BY ord ORDER BY idx, row) - 1 AS INT) AS pos FROM walk_"
    )
    facts.run("DROP TABLE walk_")


_SUMS = """
CREATE OR REPLACE TABLE trajectory AS
SELECT t.*, coalesce(n.steps, 0) AS steps, coalesce(n.chars, 0) AS chars, coalesce(n.tokens, 0) AS tokens,
  coalesce(n.guessed, false) AS guessed, n.returned
FROM trajectory t LEFT JOIN (
  SELECT w.ord, count(*) AS steps, sum(s.act_chars + s.seen_chars) AS chars,
    sum(coalesce(s.tokens, ceil((s.act_chars + s.seen_chars) / 4.0)))::BIGINT AS tokens,
    bool_or(s.tokens IS NULL) AS guessed, CASE WHEN count(s.reward) = count(*) THEN sum(s.reward) END AS returned
  FROM walk w JOIN step s ON s.row = w.row GROUP BY w.ord) n ON n.ord = t.ord
"""


def value_query(facts: Facts, of: str) -> str:
    """Return the query (``row``, ``value``) of a value of the steps: reward, score/NAME, verdict/JUDGE or credit/ESTIMATOR."""
    kind, _, name = of.partition("/")
    quoted = name.replace("'", "''")
    if kind == "reward":
        return "SELECT row, reward AS value FROM step"
    if kind == "score":
        path = '$."' + quoted.replace('"', '\\"') + '"'
        scores = facts.scan("steps", f"TRY_CAST(json_extract(scores, '{path}') AS DOUBLE) AS value")
        return f"SELECT row, value FROM ({scores})"
    table = values_table(facts, of)
    latest = (
        f"SELECT target, trajectory, arg_max(value, row) AS value FROM ({table}) GROUP BY target, trajectory"
    )
    if kind == "credit":
        return (
            f"SELECT s.row, avg(v.value) AS value FROM ({latest}) v JOIN step s ON s.id = v.target "
            "JOIN trajectory t ON t.id = v.trajectory JOIN walk w ON w.ord = t.ord AND w.row = s.row GROUP BY s.row"
        )
    return f"SELECT s.row, v.value FROM ({latest}) v JOIN step s ON s.id = v.target"


def values_table(facts: Facts, of: str) -> str:
    """Return the query of the stored rows of ``verdict/JUDGE``, ``credit/ESTIMATOR`` or another level's verdicts."""
    kind, _, name = of.partition("/")
    file = facts.source.values
    stored = "step" if kind == "verdict" else kind
    if file is not None:
        where = str(file).replace("'", "''")
        table = f"SELECT file_row_number AS row, * FROM read_parquet('{where}', file_row_number=true)"
        chosen = f"SELECT * FROM ({table}) WHERE kind = '{stored}' AND name = '{name.replace(chr(39), chr(39) * 2)}'"
        if facts.run(f"SELECT 1 FROM ({chosen}) LIMIT 1"):
            return chosen
        known = facts.run(
            f"SELECT DISTINCT name FROM ({table}) WHERE kind = '{stored}' ORDER BY name LIMIT 20"
        )
        names = ", ".join(one[0] for one in known) or "none"
    else:
        names = "none"
    what = "no credit by the estimator" if kind == "credit" else f"no {stored} verdict by the judge"
    raise DataError(f"{str(facts.source.path)!r} holds {what} {name!r}. Known: {names}.")
