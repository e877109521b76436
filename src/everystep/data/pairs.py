"""Preference pairs of stored steps: of sibling steps, of the trajectories of a task, and of what a pairwise judge said.

Siblings are steps with one parent (or first steps of a task) that see the same and act differently. A step's ``outcome`` is the mean outcome of
the trajectories that go through it. Of each context the pairs with the widest margins are taken.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from everystep.core.codec import decode, dumps
from everystep.core.errors import ConfigError, DataError, StoreError
from everystep.core.records import Level, PreferencePair
from everystep.data.facts import MEMORY_MB, Facts, opened, value_query, values_table
from everystep.data.filter import WORK
from everystep.data.source import staged
from everystep.run.folder import write_json

PAIRS = "pairs.jsonl"
By = Literal["siblings", "groups", "verdicts"]
_WHOLE = {"outcome": "outcome", "success": "success::INT::DOUBLE", "return": "returned"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """What came out. ``contexts`` have at least two different continuations; ``left_out`` says why some gave no pair."""

    folder: Path
    level: Level
    pairs: int
    contexts: int
    left_out: Mapping[str, int] = field(default_factory=dict)


def make_pairs(
    path: Path,
    folder: Path,
    *,
    by: By,
    of: str = "outcome",
    margin: float = 0.0,
    most: int = 4,
    visits: int = 1,
    memory_mb: int = MEMORY_MB,
) -> Paired:
    """Write ``pairs.jsonl`` (a ``PreferencePair`` a line) and ``manifest.json`` into ``folder``.

    ``of`` is what prefers: for ``groups`` outcome, success, return or ``verdict/JUDGE`` about trajectories; for ``siblings`` outcome, or a
    value of a step; for ``verdicts`` the judge's name. The difference is at least ``margin`` and never zero. Siblings that fewer than ``visits``
    trajectories go through are left out: of a stored search (``run.search``), those whose value rests on little. Raises ``StoreError`` if
    ``folder`` has pairs already, ``DataError`` where the value is not stored.
    """
    if margin < 0 or most < 1 or visits < 1:
        raise ConfigError(
            f"margin={margin!r}, most={most!r}, visits={visits!r}; expected a margin of 0 or more, and 1 or more."
        )
    if visits > 1 and by != "siblings":
        raise ConfigError(f"visits={visits!r} is about siblings; pairs by {by!r} have none. Leave it out.")
    if (folder / PAIRS).exists():
        raise StoreError(f"{str(folder)!r} holds pairs already. Choose another folder.")
    work = folder / WORK
    with opened(staged(path, work), work, key="pairs", memory_mb=memory_mb) as facts:
        level = Level.STEP if by == "siblings" else Level.TRAJECTORY
        if by == "verdicts":
            level, counts, pairs = _of_verdicts(facts, of, margin)
        else:
            _candidates(facts, by, of, visits)
            counts, pairs = _of_values(facts, by, of, margin, most, level)
        written = 0
        fresh = folder / f"{PAIRS}.new"
        with fresh.open("w", encoding="utf-8") as file:
            for pair in pairs:
                file.write(dumps(pair) + "\n")
                written += 1
    fresh.replace(folder / PAIRS)
    done = Paired(
        folder=folder,
        level=level,
        pairs=written,
        contexts=counts["contexts"],
        left_out={name: number for name, number in counts.items() if name != "contexts" and number},
    )
    about = {"from": str(path), "by": by, "of": of, "margin": margin, "most": most, "visits": visits}
    write_json(folder / "manifest.json", {**about, "pairs": written, **counts})
    shutil.rmtree(work, ignore_errors=True)
    return done


def read_pairs(folder: Path) -> Iterator[PreferencePair]:
    """Yield the pairs of a folder."""
    with (folder / PAIRS).open(encoding="utf-8") as file:
        for line in file:
            yield decode(PreferencePair, json.loads(line))


def _candidates(facts: Facts, by: By, of: str, visits: int) -> None:
    """Make the table of continuations: their context, what they are, and their value."""
    if by == "groups":
        if of in _WHOLE:
            value = f"SELECT ord, {_WHOLE[of]} AS value FROM trajectory"
        elif of.startswith("verdict/"):
            table = values_table(facts, f"trajectory/{of.partition('/')[2]}")
            value = f"SELECT t.ord, arg_max(v.value, v.row) AS value FROM ({table}) v JOIN trajectory t ON t.id = v.target GROUP BY t.ord"
        else:
            raise ConfigError(f"groups are paired by outcome, success, return or verdict/JUDGE; got {of!r}.")
        facts.run(
            "CREATE OR REPLACE TABLE one AS SELECT hash(t.grp, s.seen_digest) AS context, t.id, t.ord, md5(c.content) AS content, v.value "
            "FROM trajectory t JOIN walk w ON w.ord = t.ord AND w.pos = 0 JOIN step s ON s.row = w.row "
            "JOIN (SELECT w.ord, string_agg(s.act_digest::TEXT, ' ' ORDER BY w.pos) AS content FROM walk w JOIN step s ON s.row = w.row GROUP BY w.ord) c "
            f"ON c.ord = t.ord LEFT JOIN ({value}) v ON v.ord = t.ord"
        )
        return
    if of == "outcome":
        value = "SELECT w.row, avg(t.outcome) AS value FROM walk w JOIN trajectory t ON t.ord = w.ord GROUP BY w.row"
    elif of in _WHOLE:
        raise ConfigError(f"siblings are paired by outcome or a value of a step; got {of!r}.")
    else:
        value = value_query(facts, of)
    facts.run(
        "CREATE OR REPLACE TABLE one AS SELECT hash(t.task, coalesce(s.parent, ''), s.seen_digest) AS context, s.id, "
        "min(w.ord) AS ord, any_value(s.act_digest)::TEXT AS content, any_value(v.value) AS value "
        "FROM step s JOIN walk w ON w.row = s.row JOIN trajectory t ON t.ord = w.ord "
        f"LEFT JOIN ({value}) v ON v.row = s.row GROUP BY s.id, s.parent, s.seen_digest, t.task HAVING count(DISTINCT w.ord) >= {int(visits)}"
    )


def _of_values(
    facts: Facts, by: By, of: str, margin: float, most: int, level: Level
) -> tuple[dict[str, int], Iterator[PreferencePair]]:
    facts.run(
        "CREATE OR REPLACE TABLE several AS SELECT context, count(DISTINCT content) AS ways, count(DISTINCT value) AS values_ "
        "FROM one GROUP BY context HAVING count(*) > 1"
    )
    contexts, alike, unknown = facts.run(
        "SELECT count(*) FILTER (ways > 1), count(*) FILTER (ways = 1), count(*) FILTER (ways > 1 AND values_ < 2) FROM several"
    )[0]
    if not facts.run("SELECT 1 FROM one WHERE value IS NOT NULL LIMIT 1"):
        raise DataError(f"none of the steps of {str(facts.source.path)!r} has a value {of!r} to prefer by.")
    best = f"row_number() OVER (PARTITION BY o.context ORDER BY o.value DESC, o.ord, o.id) <= {most + 1}"
    worst = f"row_number() OVER (PARTITION BY o.context ORDER BY o.value, o.ord, o.id) <= {most + 1}"
    known = "FROM one o JOIN several s ON s.context = o.context WHERE s.values_ > 1 AND o.value IS NOT NULL"
    facts.run(
        f"CREATE OR REPLACE TABLE pairs AS SELECT * FROM (SELECT a.context, a.id AS chosen, b.id AS rejected, a.ord, a.value - b.value AS margin, "
        "row_number() OVER (PARTITION BY a.context ORDER BY a.value - b.value DESC, a.ord, b.ord, a.id, b.id) AS place "
        f"FROM (SELECT o.* {known} QUALIFY {best}) a JOIN (SELECT o.* {known} QUALIFY {worst}) b ON a.context = b.context "
        f"WHERE a.value > b.value AND a.value - b.value >= {margin!r} AND a.content <> b.content) WHERE place <= {most}"
    )
    made = facts.run("SELECT count(DISTINCT context) FROM pairs")[0][0]
    counts = {
        "contexts": int(contexts),
        "all continuations are equal": int(alike),
        "fewer than two different values": int(unknown),
        "the margin is too small": int(contexts - unknown - made),
    }
    source = f"{by}/{of}"
    before = (
        "SELECT p.chosen, p.rejected, p.margin, p.ord, p.place, "
        + ("list(s.id ORDER BY w.pos) FILTER (w.pos < here.pos)" if level is Level.STEP else "[]::TEXT[]")
        + " AS context FROM pairs p "
        + (
            "JOIN (SELECT w.ord, s.id, w.pos FROM walk w JOIN step s ON s.row = w.row) here ON here.ord = p.ord AND here.id = p.chosen "
            "JOIN walk w ON w.ord = p.ord JOIN step s ON s.row = w.row GROUP BY ALL ORDER BY p.ord, p.place, p.chosen, p.rejected"
            if level is Level.STEP
            else "ORDER BY p.ord, p.place, p.chosen, p.rejected"
        )
    )
    return counts, _stream(facts, before, level, source)


def _stream(facts: Facts, query: str, level: Level, source: str) -> Iterator[PreferencePair]:
    for rows in facts.stream(query):
        for chosen, rejected, margin, _, _, context in rows:
            yield PreferencePair(
                context=tuple(context or ()),
                chosen=chosen,
                rejected=rejected,
                level=level,
                margin=margin,
                source=source,
            )


def _of_verdicts(
    facts: Facts, judge: str, margin: float
) -> tuple[Level, dict[str, int], Iterator[PreferencePair]]:
    """A pair's verdict names the preferred one by its score: above the middle of 0 and 1 the first target, below it the second."""
    table = values_table(facts, f"pair/{judge.removeprefix('verdict/')}")
    rows = facts.run(f"SELECT target, other, value FROM ({table}) ORDER BY row")
    steps = facts.run(f"SELECT 1 FROM ({table}) v JOIN step s ON s.id = v.target LIMIT 1")
    level = Level.STEP if steps else Level.TRAJECTORY
    pairs = []
    for first, second, value in rows:
        wide = None if value is None else 2 * value - 1
        if wide and second is not None and abs(wide) >= margin:
            chosen, rejected = (first, second) if wide > 0 else (second, first)
            pairs.append(
                PreferencePair(
                    context=(),
                    chosen=chosen,
                    rejected=rejected,
                    level=level,
                    margin=abs(wide),
                    source=f"verdicts/{judge}",
                )
            )
    counts: dict[str, Any] = {"contexts": len(rows), "no preference, or a small one": len(rows) - len(pairs)}
    return level, counts, iter(pairs)
