"""Stored steps through rules into parts: Parquet folders with a loss weight a step, and a manifest of what was dropped by which rule.

``OUT/part-00000`` and so on are folders in the form of ``run/store.py``, each readable by itself, with the column ``weight`` in their steps.
``OUT/manifest.json`` names rules, counts and parts; ``OUT/dropped.parquet`` every trajectory and step that was dropped, cut or masked, and by
which rule. A part has its name only when it is whole: what a killed filter leaves can be used, and the same call goes on where it stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from everystep.core.codec import VERSION, dumps
from everystep.core.errors import ConfigError, StoreError
from everystep.core.records import End
from everystep.data.apply import apply_rule, drop_empty
from everystep.data.facts import MEMORY_MB, Facts, opened
from everystep.data.rules import Rule, as_table, name_of
from everystep.data.source import Rows, read_manifest, staged
from everystep.run.folder import write_json
from everystep.run.store import part_folders
from everystep.run.tables import TABLES

PART_STEPS = 50_000
"""About how many kept steps a part has."""

WORK = ".work"
EMPTY = "empty"
"""The last rule of every filter: a trajectory without a step to learn from goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """What one rule did."""

    rule: str
    trajectories: int
    steps_masked: int
    trajectories_cut: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """What a filter did. ``learned`` counts the kept steps whose weight is not zero."""

    folder: Path
    trajectories_in: int
    steps_in: int
    trajectories: int
    steps: int
    learned: int
    parts: int
    resumed: int
    tokens_guessed: bool
    dropped: tuple[Dropped, ...] = field(default=())


Progress = Callable[[str], None]


def filter_steps(
    path: Path,
    folder: Path,
    rules: Sequence[Rule],
    *,
    part_steps: int = PART_STEPS,
    memory_mb: int = MEMORY_MB,
    progress: Progress | None = None,
) -> Filtered:
    """Filter the stored steps of a run, a journal or a Parquet folder into ``folder``; go on with a filter that was killed.

    Raises ``ConfigError`` without rules, ``StoreError`` if ``folder`` holds another filter's result or something else, ``DataError`` for
    values that a rule needs and the steps do not have.
    """
    if not rules:
        raise ConfigError("a filter needs rules, such as --rules success length:max_steps=20.")
    say = progress or (lambda _: None)
    work = folder / WORK
    told = read_manifest(folder)
    if told is None and folder.exists() and any(one.name != WORK for one in folder.iterdir()):
        raise StoreError(f"{str(folder)!r} is not empty and holds no filter's result. Choose another folder.")
    source = staged(path, work)
    what = {
        "source": source.fingerprint,
        "rules": [as_table(rule) for rule in rules],
        "part_steps": part_steps,
    }
    if told is not None and told.get("what") != what:
        raise StoreError(
            f"{str(folder)!r} holds the result of another filter (other rules, or the source has changed). Choose another folder."
        )
    if told is not None and told.get("state") == "done":
        return _result(folder, told, resumed=len(told["parts"]))
    with opened(source, work, key=_key(what), memory_mb=memory_mb) as facts:
        for number, rule in enumerate(rules):
            with facts.stage(f"rule {number}") as todo:
                if todo:
                    say(f"rule {number}: {name_of(rule)}")
                    apply_rule(facts, number, rule, work)
        with facts.stage("rule empty") as todo:
            if todo:
                drop_empty(facts, len(rules))
        with facts.stage("plan") as todo:
            if todo:
                _plan(facts, part_steps)
        manifest = _manifest(facts, path, what, [*map(name_of, rules), EMPTY])
        resumed = _write_parts(facts, folder, manifest, rules, say)
        _write_dropped(facts, folder, [*map(name_of, rules), EMPTY])
    manifest["state"] = "done"
    write_json(folder / "manifest.json", manifest)
    shutil.rmtree(work, ignore_errors=True)
    return _result(folder, manifest, resumed=resumed)


def _key(what: Mapping[str, Any]) -> str:
    return sha256(dumps(dict(what)).encode()).hexdigest()[:12]


# --- what to write --------------------------------------------------------------------------------


def _plan(facts: Facts, part_steps: int) -> None:
    """Give each kept trajectory a part, and each of its steps an owner in it: the first that walks through it."""
    facts.run(
        "CREATE TABLE kept AS SELECT *, coalesce(cut, steps) AS length, "
        "CAST(greatest(sum(steps) OVER (ORDER BY ord ROWS UNBOUNDED PRECEDING) - 1, 0) // "
        f"{part_steps} AS INT) AS out FROM (SELECT *, row_number() OVER (ORDER BY ord) AS nth FROM trajectory) WHERE dropped IS NULL"
    )
    facts.run(
        "CREATE TABLE placed AS SELECT k.out, w.ord, w.row, w.pos, min(w.ord) OVER (PARTITION BY k.out, w.row) AS owner "
        "FROM kept k JOIN walk w ON w.ord = k.ord AND w.pos < k.length"
    )


def _manifest(facts: Facts, path: Path, what: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    whole = facts.run(
        "SELECT count(*), coalesce(sum(steps), 0), coalesce(bool_or(guessed), false) FROM trajectory"
    )[0]
    rows = facts.run("SELECT count(*) FROM step")[0][0]
    kept = facts.run("SELECT count(*) FROM kept")[0][0]
    steps = facts.run(
        "SELECT count(*), count(*) FILTER (masked IS NULL) FROM "
        "(SELECT DISTINCT p.row, s.masked FROM placed p JOIN step s ON s.row = p.row)"
    )[0]
    return {
        "version": VERSION,
        "what": dict(what),
        "from": str(path),
        "state": "running",
        "in": {"trajectories": whole[0], "steps": rows, "tokens_guessed": whole[2]},
        "kept": {"trajectories": kept, "steps": steps[0], "steps_with_weight": steps[1]},
        "dropped": [_did(facts, number, name) for number, name in enumerate(names)],
        "parts": [],
    }


def _did(facts: Facts, number: int, name: str) -> dict[str, Any]:
    gone = facts.run(f"SELECT count(*) FROM trajectory WHERE dropped = {number}")[0][0]
    some = facts.run(f"SELECT id FROM trajectory WHERE dropped = {number} ORDER BY ord LIMIT 3")
    masked = facts.run(f"SELECT count(*) FROM step WHERE masked = {number}")[0][0]
    cut = facts.run(f"SELECT count(*) FROM trajectory WHERE cut_by = {number} AND dropped IS NULL")[0][0]
    return {
        "rule": name,
        "number": number,
        "trajectories": gone,
        "steps_masked": masked,
        "trajectories_cut": cut,
        "examples": [one[0] for one in some],
    }


# --- writing --------------------------------------------------------------------------------------


def _write_parts(
    facts: Facts, folder: Path, manifest: dict[str, Any], rules: Sequence[Rule], say: Progress
) -> int:
    """Write the parts that are not there yet; return how many were."""
    rows, resumed = Rows(facts.source), 0
    numbers = [one[0] for one in facts.run("SELECT DISTINCT out FROM kept ORDER BY out")]
    for number in numbers:
        name = f"part-{number:05d}"
        if (folder / name).is_dir():
            resumed += 1
        else:
            fresh = folder / WORK / name  # it moves when it is whole
            shutil.rmtree(fresh, ignore_errors=True)
            _write_part(facts, rows, fresh, number, rules)
            fresh.replace(folder / name)
            say(f"{name} of {len(numbers)}")
        manifest["parts"].append(name)
        write_json(folder / "manifest.json", manifest)
    if not numbers:
        write_json(folder / "manifest.json", manifest)
    return resumed


def _write_part(facts: Facts, rows: Rows, folder: Path, number: int, rules: Sequence[Rule]) -> None:
    folder.mkdir(parents=True)
    placed = facts.run(
        "SELECT p.row, p.ord, t.id, s.masked FROM placed p JOIN trajectory t ON t.ord = p.ord JOIN step s ON s.row = p.row "
        f"WHERE p.out = {number} AND p.ord = p.owner ORDER BY p.ord, p.pos"
    )
    order = sorted(range(len(placed)), key=lambda place: placed[place][0])
    table = rows.take([placed[place][0] for place in order])
    back = [0] * len(order)
    for place, one in enumerate(order):
        back[one] = place
    table = table.take(pa.array(back, pa.int64()))
    heads = _trajectories(facts, number, rules)
    where = {head["trajectory"]: head for head in heads}
    owners = [one[2] for one in placed]
    for column in ("run", "task", "group", "trajectory", "phase", "iteration"):
        values = [where[owner][column] for owner in owners]
        table = _put(table, column, pa.array(values, TABLES["steps"][column]))
    weights = [0.0 if one[3] is not None else 1.0 for one in placed]
    table = _put(table, "weight", pa.array(weights, pa.float64()))
    _write(folder / "steps.parquet", table)
    schema = pa.schema(list(TABLES["trajectories"].items()))
    _write(folder / "trajectories.parquet", pa.Table.from_pylist(heads, schema))
    tasks = _tasks(facts, {head["task"] for head in heads})
    _write(folder / "tasks.parquet", tasks)


def _put(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.append_column(name, column) if place < 0 else table.set_column(place, name, column)


def _write(path: Path, table: pa.Table) -> None:
    named = table.replace_schema_metadata({"everystep": str(VERSION)})
    try:
        pq.write_table(named, path, compression="zstd", row_group_size=4096)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(
            f"cannot write {str(path)!r}: {error}. Check the disk and go on with the same call."
        ) from None


def _trajectories(facts: Facts, number: int, rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """Return the rows of the part's trajectories; one that was cut has no outcome any more."""
    told = facts.run(
        "SELECT k.ord, k.cut, k.cut_by, count(*) FILTER (p.owner = p.ord) AS own, "
        "arg_max(s.id, p.pos) AS leaf, arg_max(t.id, p.pos) FILTER (p.owner <> p.ord) AS prefix "
        "FROM kept k LEFT JOIN placed p ON p.ord = k.ord AND p.out = k.out LEFT JOIN step s ON s.row = p.row "
        f"LEFT JOIN trajectory t ON t.ord = p.owner WHERE k.out = {number} GROUP BY k.ord, k.cut, k.cut_by ORDER BY k.ord"
    )
    ords = ",".join(str(one[0]) for one in told)
    columns = ", ".join(f'"{name}"' for name in TABLES["trajectories"])
    stored = {
        row[0]: dict(zip(TABLES["trajectories"], row[1:], strict=True))
        for row in facts.run(
            f"SELECT row, {columns} FROM ({facts.scan('trajectories', columns)}) WHERE row IN ({ords})"
        )
    }
    heads = []
    for ord_, cut, cut_by, own, leaf, prefix in told:
        head = {**stored[ord_], "own_steps": own, "leaf": leaf, "prefix": prefix}
        if cut is not None:
            lost = {name: None for name in head if name.startswith("final_")} | {
                "outcome": None,
                "success": None,
            }
            reason = f"cut before step {cut} by the rule {name_of(rules[cut_by])!r}"
            head |= lost | {"end": End.TRUNCATED.value, "error": reason}
        heads.append(head)
    return heads


def _tasks(facts: Facts, names: Iterable[str]) -> pa.Table:
    columns = ", ".join(f'"{name}"' for name in TABLES["tasks"])
    facts.register("wanted", pa.table({"name": pa.array(sorted(names), pa.string())}))
    found = facts.run(
        f"SELECT {columns} FROM (SELECT *, row_number() OVER (PARTITION BY task ORDER BY row) AS nth "
        f"FROM ({facts.scan('tasks', columns)}) WHERE task IN (SELECT name FROM wanted)) WHERE nth = 1 ORDER BY row"
    )
    rows = [dict(zip(TABLES["tasks"], one, strict=True)) for one in found]
    return pa.Table.from_pylist(rows, pa.schema(list(TABLES["tasks"].items())))


_DROPPED = pa.schema(
    [("what", pa.string()), ("trajectory", pa.string()), ("step", pa.string()), ("rule", pa.string())]
)


def _write_dropped(facts: Facts, folder: Path, names: Sequence[str]) -> None:
    """Write every trajectory and step that a rule dropped, cut or masked."""
    queries = (
        ("dropped", "SELECT id, NULL, dropped FROM trajectory WHERE dropped IS NOT NULL ORDER BY ord"),
        (
            "cut",
            """SELECT t.id, s.id, t.cut_by FROM trajectory t JOIN walk w ON w.ord = t.ord AND w.pos = t.cut
            JOIN step s ON s.row = w.row WHERE t.cut IS NOT NULL AND t.dropped IS NULL ORDER BY t.ord""",
        ),
        ("masked", "SELECT owner_id, id, masked FROM step WHERE masked IS NOT NULL ORDER BY row"),
    )
    fresh = folder / "dropped.new"
    with pq.ParquetWriter(fresh, _DROPPED, compression="zstd") as writer:
        for what, query in queries:
            for rows in facts.stream(query):
                table = [
                    {"what": what, "trajectory": one[0], "step": one[1], "rule": names[one[2]]}
                    for one in rows
                ]
                writer.write_table(pa.Table.from_pylist(table, _DROPPED))
    fresh.replace(folder / "dropped.parquet")


def _result(folder: Path, told: Mapping[str, Any], *, resumed: int) -> Filtered:
    keys = ("rule", "trajectories", "steps_masked", "trajectories_cut")
    return Filtered(
        folder=folder,
        trajectories_in=told["in"]["trajectories"],
        steps_in=told["in"]["steps"],
        trajectories=told["kept"]["trajectories"],
        steps=told["kept"]["steps"],
        learned=told["kept"]["steps_with_weight"],
        parts=len(told["parts"]),
        resumed=resumed,
        tokens_guessed=told["in"]["tokens_guessed"],
        dropped=tuple(Dropped(**{key: one[key] for key in keys}) for one in told["dropped"]),
    )


def weights_in(folder: Path) -> dict[str, float]:
    """Return the loss weights of a filtered folder's steps by id, empty where it has none."""
    weights: dict[str, float] = {}
    for part in part_folders(folder):
        with pq.ParquetFile(part / "steps.parquet") as opened_:
            if "weight" not in opened_.schema_arrow.names:
                continue
            for batch in opened_.iter_batches(columns=["step", "weight"]):
                weights.update(
                    zip(batch.column("step").to_pylist(), batch.column("weight").to_pylist(), strict=True)
                )
    return weights
