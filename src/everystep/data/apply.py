"""What each rule drops, as queries over the facts. Rules act in order; each sees what those before it left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from everystep.data.facts import Facts, value_query, values_table
from everystep.data.likeness import near_earlier, sketch_file, sketch_texts
from everystep.data.rules import (
    Budget,
    Duplicates,
    Errors,
    Length,
    Outcome,
    Percentile,
    PerTask,
    Rule,
    Score,
    Segment,
    Then,
)

_LEFT = "SELECT * FROM trajectory WHERE dropped IS NULL"
_LIVE = (
    "SELECT w.ord, w.pos, s.* FROM walk w JOIN trajectory t ON t.ord = w.ord JOIN step s ON s.row = w.row "
    "WHERE t.dropped IS NULL AND (t.cut IS NULL OR w.pos < t.cut) AND s.masked IS NULL"
)


def apply_rule(facts: Facts, number: int, rule: Rule, work: Path) -> None:
    """Mark what ``rule`` drops with its ``number``."""
    _RULES[type(rule)](facts, number, rule, work)


def drop_empty(facts: Facts, number: int) -> None:
    """Drop trajectories in which no step is left to learn from."""
    _drop(facts, number, f"SELECT ord FROM trajectory WHERE ord NOT IN (SELECT ord FROM ({_LIVE}))")


def _drop(facts: Facts, number: int, ords: str) -> None:
    facts.run(f"UPDATE trajectory SET dropped = {number} WHERE dropped IS NULL AND ord IN ({ords})")


def _fail(facts: Facts, number: int, rows: str, then: Then) -> None:
    """Do with the steps of a query what the rule says."""
    if then == "mask":
        live = f"SELECT row FROM ({_LIVE})"
        facts.run(
            f"UPDATE step SET masked = {number} WHERE masked IS NULL AND row IN ({rows}) AND row IN ({live})"
        )
        return
    failing = f"SELECT ord, min(pos) AS pos FROM ({_LIVE}) WHERE row IN ({rows}) GROUP BY ord"
    if then == "drop":
        _drop(facts, number, f"SELECT ord FROM ({failing})")
        return
    facts.run(
        f"UPDATE trajectory SET cut = f.pos, cut_by = {number} FROM ({failing}) f "
        "WHERE trajectory.ord = f.ord AND trajectory.dropped IS NULL"
    )


def _bounds(value: str, least: float | None, most: float | None) -> str:
    parts = [f"{value} >= {least!r}"] if least is not None else []
    parts += [f"{value} <= {most!r}"] if most is not None else []
    return " AND ".join(parts) or "true"


def _texts(values: tuple[str, ...]) -> str:
    return ", ".join("'" + one.replace("'", "''") + "'" for one in values)


def _order(by: str, seed: int = 0) -> str:
    return {
        "order": "ord",
        "outcome": "outcome DESC NULLS LAST, ord",
        "random": f"md5(concat('{seed} ', id)), ord",
    }[by]


# --- the rules ------------------------------------------------------------------------------------


def _outcome(facts: Facts, number: int, rule: Outcome, _: Path) -> None:
    keep = [_bounds("outcome", rule.at_least, rule.at_most)]
    if rule.success is not None:
        keep.append(f"success IS NOT DISTINCT FROM {str(rule.success).lower()}")
    if rule.ends:
        keep.append(f"ends IN ({_texts(rule.ends)})")
    _drop(facts, number, f"SELECT ord FROM trajectory WHERE NOT coalesce({' AND '.join(keep)}, false)")


def _score(facts: Facts, number: int, rule: Score, _: Path) -> None:
    unknown = "true" if rule.missing == "keep" else "false"
    keep = f"coalesce({_bounds('v.value', rule.at_least, rule.at_most)} AND v.value IS NOT NULL, false)"
    rows = (
        f"SELECT s.row FROM step s LEFT JOIN ({value_query(facts, rule.of)}) v ON v.row = s.row "
        f"WHERE NOT CASE WHEN v.value IS NULL THEN {unknown} ELSE {keep} END"
    )
    _fail(facts, number, rows, rule.then)


def _percentile(facts: Facts, number: int, rule: Percentile, _: Path) -> None:
    over = "PARTITION BY task" if rule.within == "task" else ""
    if rule.of in ("outcome", "return"):
        column = "outcome" if rule.of == "outcome" else "returned"
        table, key = f"SELECT ord, task, {column} AS value FROM ({_LEFT})", "ord"
    else:
        table = (
            f"SELECT DISTINCT l.row, t.task, v.value FROM ({_LIVE}) l JOIN trajectory t ON t.ord = l.ord "
            f"LEFT JOIN ({value_query(facts, rule.of)}) v ON v.row = l.row"
        )
        key = "row"
    ranked = (
        f"SELECT {key}, value, rank() OVER ({over} ORDER BY value DESC NULLS LAST) AS place, "
        f"count(value) OVER ({over}) AS known FROM ({table})"
    )
    worse = f"place > greatest(1, ceil({rule.top!r} * known))"
    lost = worse if rule.missing == "keep" else f"({worse} OR value IS NULL)"
    query = f"SELECT {key} FROM ({ranked}) WHERE {lost}" + (
        " AND value IS NOT NULL" if rule.missing == "keep" else ""
    )
    if key == "ord":
        _drop(facts, number, query)
    else:
        _fail(facts, number, query, rule.then)


def _errors(facts: Facts, number: int, rule: Errors, _: Path) -> None:
    wrong = ["NOT valid"] if rule.invalid else []
    wrong += ["coalesce(undone, false)"] if rule.undone else []
    wrong += [f"stop IN ({_texts(rule.stops)})"] if rule.stops else []
    rows = [f"SELECT row FROM step WHERE {' OR '.join(wrong)}"] if wrong else []
    if rule.reason is not None:
        matched = f"coalesce(regexp_matches(reason, {_texts((rule.reason,))}), false) AS wrong"
        rows.append(f"SELECT row FROM ({facts.scan('steps', matched)}) WHERE wrong")
    for label in rule.labels:  # JUDGE/LABEL
        judge, _slash, name = label.rpartition("/")
        table = values_table(facts, f"verdict/{judge}")
        rows.append(
            f"SELECT s.row FROM ({table}) v JOIN step s ON s.id = v.target WHERE v.label = {_texts((name,))}"
        )
    if rows:
        _fail(facts, number, " UNION ALL ".join(f"({one})" for one in rows), rule.then)


def _duplicates(facts: Facts, number: int, rule: Duplicates, work: Path) -> None:
    if rule.near is not None:
        _near(facts, number, rule, work)
        return
    scope = "task, " if rule.within == "task" else ""
    if rule.of == "step":
        order = "t.outcome DESC NULLS LAST, l.ord, l.pos" if rule.by == "outcome" else "l.ord, l.pos"
        first = (
            f"SELECT l.row, t.task, l.both_digest, row_number() OVER (PARTITION BY l.row ORDER BY {order}) AS again, "
            f"row_number() OVER (ORDER BY {order}) AS place FROM ({_LIVE}) l JOIN trajectory t ON t.ord = l.ord"
        )
        ranked = (
            f"SELECT row, row_number() OVER (PARTITION BY {scope}both_digest ORDER BY place) AS place "
            f"FROM ({first}) WHERE again = 1"
        )
        _fail(facts, number, f"SELECT row FROM ({ranked}) WHERE place > 1", "mask")
        return
    column = "both_digest" if rule.of == "trajectory" else "act_digest"
    whole = (
        f"SELECT t.ord, any_value(t.task) AS task, any_value(t.outcome) AS outcome, any_value(t.id) AS id, "
        f"md5(string_agg(s.{column}::TEXT, ' ' ORDER BY w.pos)) AS content FROM ({_LEFT}) t "
        "JOIN walk w ON w.ord = t.ord AND (t.cut IS NULL OR w.pos < t.cut) JOIN step s ON s.row = w.row GROUP BY t.ord"
    )
    ranked = f"SELECT ord, row_number() OVER (PARTITION BY {scope}content ORDER BY {_order(rule.by)}) AS place FROM ({whole})"
    _drop(facts, number, f"SELECT ord FROM ({ranked}) WHERE place > 1")


def _near(facts: Facts, number: int, rule: Duplicates, work: Path) -> None:
    """Sketch every step once, in the order of the files; then look for earlier ones among what is left."""
    total = int(facts.run("SELECT count(*) FROM step")[0][0])
    steps = sketch_file(work / "sketch-steps.bin", total)
    columns = ["action_text"] if rule.of == "actions" else ["observation_text", "action_text"]
    row = 0
    for file in facts.source.tables("steps"):
        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(batch_size=2048, columns=columns):
                lists = [batch.column(name).to_pylist() for name in columns]
                texts = pa.array(
                    ["\x1f".join(one or "" for one in each) for each in zip(*lists, strict=True)]
                )
                steps[row : row + len(texts)] = sketch_texts(texts)
                row += len(texts)
    if rule.of == "step":
        query = (
            f"SELECT l.row, min(hash(t.task)) AS scope, min(l.ord) AS ord, min(l.pos) AS pos, max(t.outcome) AS outcome "
            f"FROM ({_LIVE}) l JOIN trajectory t ON t.ord = l.ord GROUP BY l.row"
        )
        order = "outcome DESC NULLS LAST, ord, pos" if rule.by == "outcome" else "ord, pos"
        found = facts.numpy(f"SELECT row, scope FROM ({query}) ORDER BY {order}")
        names, sketches = found["row"], sketch_file(work / "sketch-some.bin", len(found["row"]))
        for begin in range(0, len(names), 8192):
            sketches[begin : begin + 8192] = steps[names[begin : begin + 8192]]
    else:
        found = facts.numpy(f"SELECT ord, hash(task) AS scope FROM ({_LEFT}) ORDER BY {_order(rule.by)}")
        names = found["ord"]
        sketches = sketch_file(work / "sketch-some.bin", len(names))
        place = np.full(int(names.max()) + 1 if len(names) else 1, -1, dtype=np.int64)
        place[names] = np.arange(len(names))
        walked = "SELECT w.ord, w.row FROM walk w JOIN trajectory t ON t.ord = w.ord WHERE t.dropped IS NULL AND (t.cut IS NULL OR w.pos < t.cut)"
        for chunk in facts.stream(walked):
            pairs = np.array(chunk, dtype=np.int64)
            np.minimum.at(sketches, place[pairs[:, 0]], steps[pairs[:, 1]])
    scope = (
        found["scope"].astype(np.uint64) if rule.within == "task" else np.zeros(len(names), dtype=np.uint64)
    )
    near = rule.near if rule.near is not None else 1.0
    again = names[near_earlier(sketches[: len(names)], scope, near) >= 0]
    facts.register("near_rows", pa.table({"name": pa.array(again, pa.int64())}))
    if rule.of == "step":
        _fail(facts, number, "SELECT name FROM near_rows", "mask")
    else:
        _drop(facts, number, "SELECT name FROM near_rows")
    del steps, sketches
    for name in ("sketch-steps.bin", "sketch-some.bin"):
        (work / name).unlink(missing_ok=True)


def _length(facts: Facts, number: int, rule: Length, _: Path) -> None:
    steps = _bounds("least(steps, coalesce(cut, steps))", rule.min_steps, rule.max_steps)
    keep = (
        f"{steps} AND {_bounds('tokens', None, rule.max_tokens)} AND {_bounds('chars', None, rule.max_chars)}"
    )
    _drop(facts, number, f"SELECT ord FROM trajectory WHERE NOT ({keep})")


def _per_task(facts: Facts, number: int, rule: PerTask, _: Path) -> None:
    order = _order(rule.by, rule.seed)
    ranked = f"SELECT ord, row_number() OVER (PARTITION BY task ORDER BY {order}) AS place FROM ({_LEFT})"
    _drop(facts, number, f"SELECT ord FROM ({ranked}) WHERE place > {rule.most}")


def _budget(facts: Facts, number: int, rule: Budget, _: Path) -> None:
    over = f"OVER (ORDER BY {_order(rule.by, rule.seed)} ROWS UNBOUNDED PRECEDING)"
    table = f"SELECT ord, sum(tokens) {over} AS tokens, sum(steps) {over} AS steps, count(*) {over} AS number FROM ({_LEFT})"
    keep = " AND ".join(
        _bounds(column, None, most)
        for column, most in (("tokens", rule.tokens), ("steps", rule.steps), ("number", rule.trajectories))
    )
    _drop(facts, number, f"SELECT ord FROM ({table}) WHERE NOT ({keep})")


def _segment(facts: Facts, number: int, rule: Segment, _: Path) -> None:
    keep = [f"agent IN ({_texts(rule.agents)})"] if rule.agents else []
    keep += [f"pos >= {rule.start}"] if rule.start is not None else []
    keep += [f"pos < {rule.stop}"] if rule.stop is not None else []
    keep += [f"calls = {str(rule.calls).lower()}"] if rule.calls is not None else []
    keep += ["pos = last"] if rule.last else []
    ends = f"SELECT *, max(pos) OVER (PARTITION BY ord) AS last FROM ({_LIVE})"
    kept = f"SELECT row FROM ({ends}) WHERE {' AND '.join(keep)}"
    _fail(facts, number, f"SELECT row FROM step WHERE row NOT IN ({kept})", "mask")


_RULES: dict[type, Callable[[Facts, int, Any, Path], None]] = {
    Outcome: _outcome,
    Score: _score,
    Percentile: _percentile,
    Errors: _errors,
    Duplicates: _duplicates,
    Length: _length,
    PerTask: _per_task,
    Budget: _budget,
    Segment: _segment,
}
