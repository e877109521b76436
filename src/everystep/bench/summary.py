"""What a benchmark's rows say: measures with intervals, whole and by tag, pass^k, cost; as JSON, Markdown and Parquet."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import comb
from pathlib import Path
from typing import Any

from everystep.bench.benchmark import ROWS, Benchmark, Measure
from everystep.bench.running import Row
from everystep.core.errors import DataError
from everystep.evaluate.intervals import Interval, bootstrap_mean
from everystep.evaluate.step_metrics import measured

SUCCESS = "success"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the rows of one contestant say. ``lost`` attempts never ended; they count as failed in every measure."""

    cases: int
    attempts: int
    lost: int
    measures: Mapping[str, Interval]
    passes: Mapping[str, Interval]
    steps: float
    prompt_tokens: float
    sampled_tokens: float
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return asdict(self)


def summary(benchmark: Benchmark, rows: Sequence[Row]) -> Summary:
    """Sum up. Raises ``DataError`` where there are no rows."""
    if not rows:
        raise DataError("there is nothing to sum up: no case was attempted.")
    return Summary(
        cases=len({row.case for row in rows}),
        attempts=len(rows),
        lost=sum(bool(row.error) for row in rows),
        measures={one.name: measure(one, rows) for one in benchmark.measures},
        passes=passes(rows),
        steps=_mean([row.steps for row in rows]),
        prompt_tokens=_mean([row.prompt_tokens for row in rows]),
        sampled_tokens=_mean([row.sampled_tokens for row in rows]),
        seconds=_mean([row.seconds for row in rows]),
    )


def measure(one: Measure, rows: Sequence[Row]) -> Interval:
    """Return a measure of some rows with its 95 % interval; problems are resampled whole."""
    counts = [
        tuple(1.0 if column == ROWS else row.numbers.get(column, 0.0) for column in one.columns)
        for row in rows
    ]
    return measured(counts, [row.problem for row in rows], one.of)


def by_tag(benchmark: Benchmark, rows: Sequence[Row], tag: str) -> dict[str, dict[str, Interval]]:
    """Return the measures for each value of a tag, in the order of the values. Raises ``DataError`` where no row has the tag."""
    parts: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if tag in row.tags:
            parts[row.tags[tag]].append(row)
    if not parts:
        known = sorted({name for row in rows for name in row.tags})
        raise DataError(f"no case has the tag {tag!r}. Tags here: {', '.join(known) or 'none'}.")
    return {
        value: {one.name: measure(one, parts[value]) for one in benchmark.measures}
        for value in sorted(parts, key=_order)
    }


def passes(rows: Sequence[Row]) -> dict[str, Interval]:
    """Return pass^k (all of k attempts succeed; tau-bench, arXiv 2406.12045, section 4) and pass@k (one does; arXiv 2107.03374) for each k that every case has attempts for.

    Both are the unbiased estimates from n attempts of a case with c successes: C(c, k) / C(n, k), and 1 - C(n - c, k) / C(n, k), with the mean over cases.
    """
    won: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        if SUCCESS not in row.numbers:
            return {}
        won[row.case].append(row.numbers[SUCCESS] >= 1.0)
    most = min(map(len, won.values()))
    if most < 2:
        return {}
    found: dict[str, Interval] = {}
    for k in range(1, most + 1):
        every = [comb(sum(one), k) / comb(len(one), k) for one in won.values()]
        some = [1 - comb(len(one) - sum(one), k) / comb(len(one), k) for one in won.values()]
        found[f"pass^{k}"] = bootstrap_mean(every)
        if k > 1:  # one attempt is both
            found[f"pass@{k}"] = bootstrap_mean(some)
    return found


def report(benchmark: Benchmark, rows: Sequence[Row], tags: Sequence[str] = ()) -> str:
    """Return a Markdown page: measures with their definitions, pass^k, cost, and a table for each tag."""
    told = summary(benchmark, rows)
    lines = [f"# {benchmark.about.name}", "", benchmark.about.summary, ""]
    lines += ["| measure | value [95 % interval] | what it is |", "|---|---|---|"]
    for one in benchmark.measures:
        source = f" ({one.source})" if one.source else ""
        lines.append(f"| {one.name} | {told.measures[one.name]} | {one.definition}{source} |")
    lines += [f"| {name} | {value} | over repeated attempts |" for name, value in told.passes.items()]
    cost = (
        f"{told.attempts:,} attempts at {told.cases:,} cases, {told.lost:,} lost (counted as failed); a case takes {told.steps:.1f} steps, "
        f"{told.prompt_tokens:,.0f} tokens read, {told.sampled_tokens:,.0f} written, {told.seconds:.3g} s."
    )
    lines += ["", cost, *_why_lost(rows)]
    for tag in tags:
        parts = by_tag(benchmark, rows, tag)
        lines += [
            "",
            f"| {tag} | " + " | ".join(one.name for one in benchmark.measures) + " | attempts |",
            "|---|" + "---|" * (len(benchmark.measures) + 1),
        ]
        for value, some in parts.items():
            count = sum(row.tags.get(tag) == value for row in rows)
            lines.append(f"| {value} | " + " | ".join(map(str, some.values())) + f" | {count:,} |")
    lines += ["", f"Source: {benchmark.about.source}. Licence: {benchmark.about.licence}."]
    return "\n".join(lines) + "\n"


def _why_lost(rows: Sequence[Row]) -> list[str]:
    """Return the most frequent reasons of lost attempts, digits aside."""
    lost = [row.error for row in rows if row.error]
    kinds = Counter(re.sub(r"\d+", "N", one) for one in lost)
    shown = {
        kind: next(one for one in lost if re.sub(r"\d+", "N", one) == kind)
        for kind, _ in kinds.most_common(3)
    }
    return (
        [
            "",
            "Lost:",
            *(
                f"- {kinds[kind]:,} of {len(lost):,}: {' '.join(one.split())[:300]}"
                for kind, one in shown.items()
            ),
        ]
        if lost
        else []
    )


def write_parquet(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as a table: a column for each number and tag."""
    import pyarrow as pa  # heavy
    import pyarrow.parquet as pq

    flat = [
        {
            "case": row.case, "run": row.run, "problem": row.problem,
            **{f"number.{name}": float(value) for name, value in row.numbers.items()},
            **{f"tag.{name}": value for name, value in row.tags.items()},
            "steps": row.steps, "prompt_tokens": row.prompt_tokens, "sampled_tokens": row.sampled_tokens,
            "seconds": row.seconds, "answer": row.answer, "error": row.error,
        }
        for row in rows
    ]  # fmt: skip
    names = list(dict.fromkeys(name for row in flat for name in row))
    pq.write_table(pa.table({name: [row.get(name) for row in flat] for name in names}), path)


def _order(value: str) -> tuple[int, float, str]:
    """Order numbers by size, before words."""
    try:
        return (0, float(value), value)
    except ValueError:
        return (1, 0.0, value)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
