"""The leaderboard: one HTML page of any number of benchmark results, by benchmark, with intervals drawn.

The page has no script. Everything that a model, a file or a user named goes through ``html.escape``, and a content security policy allows the page's own style by its hash and nothing
else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from everystep.app.pages import asset, source_hash, write_html
from everystep.bench.benchmark import Benchmark
from everystep.bench.catalog import benchmark
from everystep.bench.running import ROWS_FILE, read_rows
from everystep.bench.summary import Summary, summary
from everystep.core.errors import DataError
from everystep.evaluate.intervals import Interval
from everystep.run.folder import BENCH, open_run

_WIDE = 120  # pixels that an interval is drawn on
_STYLE = """
table { border-collapse: collapse; background: var(--panel); border: 1px solid var(--rule); border-radius: 10px; margin-top: .6rem; font-size: .9rem; }
th, td { padding: .4rem .8rem; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: middle; }
th { color: var(--quiet); font-weight: 600; font-size: .8rem; }
tr:first-child td { font-weight: 600; }
svg { display: block; margin-left: auto; } svg rect { fill: var(--band); } svg line { stroke: var(--accent); stroke-width: 2; }
.wide { overflow-x: auto; }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One contestant's results: the folder's model, options, and what its rows say. ``whole`` is false where cases are left."""

    model: str
    options: Mapping[str, Any]
    folder: Path
    found: Summary
    whole: bool


def leaderboard(folders: Sequence[Path]) -> str:
    """Return the page of some result folders. Contestants at the same benchmark with the same options stand in one table, the best first by its first measure.

    Raises ``ConfigError`` for a folder of another kind and ``DataError`` for one without rows.
    """
    if not folders:
        raise DataError("name one folder of results at least, such as runs/bench-gsm8k-1.")
    tables: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for folder in folders:
        stored = open_run(folder).config_of(BENCH)["options"]
        name, options = stored["name"], stored["options"]
        rows = read_rows(folder / ROWS_FILE)
        if not rows:
            raise DataError(f"{str(folder)!r} has no results yet. Go on with: everystep resume {folder}")
        chosen = benchmark(name, options)
        wanted = chosen.about.cases if stored["cases"] is None else stored["cases"]
        agent = stored.get("agent", "plain")
        entry = Entry(
            model=stored["model"] + ("" if agent == "plain" else f", asked {agent}"), options=options, folder=folder, found=summary(chosen, rows),
            whole=wanted is None or len(rows) >= wanted * stored["runs"],
        )  # fmt: skip
        cut = "" if stored["cases"] is None else f"first {stored['cases']:,} cases"
        told = ", ".join(
            [*(f"{key}={value}" for key, value in sorted(options.items())), *filter(None, [cut])]
        )
        tables[name, told].append(entry)
    body = "".join(_table(benchmark(name, some[0].options), told, some) for (name, told), some in sorted(tables.items()))  # fmt: skip
    style = asset("page.css") + _STYLE
    policy = f"default-src 'none'; style-src '{source_hash(style)}'; base-uri 'none'; form-action 'none'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Leaderboard</title>'
        f"<style>{style}</style></head>\n<body><main><h1>Leaderboard</h1>\n"
        '<p class="quiet">Measures with 95 % intervals that resample whole problems. Where intervals overlap much, the order says little.</p>\n'
        f"{body}</main></body></html>\n"
    )


def write_leaderboard(folders: Sequence[Path], out: Path) -> Path:
    """Write the page and return its path."""
    return write_html(leaderboard(folders).encode(), out)


def _table(chosen: Benchmark, told: str, entries: Sequence[Entry]) -> str:
    about, first = chosen.about, chosen.measures[0].name
    ordered = sorted(entries, key=lambda one: -one.found.measures[first].value)
    passes = list(dict.fromkeys(name for one in ordered for name in one.found.passes))
    scale = {
        it.name: max(1.0, *(one.found.measures[it.name].high for one in ordered)) for it in chosen.measures
    }
    heads = ["model", *(one.name for one in chosen.measures), *passes, "cases", "lost", "tokens a case", "s a case"]  # fmt: skip
    titles = {
        one.name: f"{one.definition} {f'({one.source})' if one.source else ''}" for one in chosen.measures
    }
    top = "".join(f'<th title="{escape(titles.get(head, ""))}">{escape(head)}</th>' for head in heads)
    rows = "".join(_row(chosen, one, passes, scale) for one in ordered)
    return (
        f"<section><h2>{escape(about.name)} <span class=quiet>{escape(told)}</span></h2>"
        f'<p class="quiet">{escape(about.summary)}. {escape(about.source)}</p>'
        f"<div class=wide><table><thead><tr>{top}</tr></thead><tbody>{rows}</tbody></table></div></section>\n"
    )


def _row(chosen: Benchmark, one: Entry, passes: Sequence[str], scale: Mapping[str, float]) -> str:
    found = one.found
    cells = [f"<td>{escape(one.model)}{'' if one.whole else ' <span class=warn>unfinished</span>'}</td>"]
    cells += [_drawn(found.measures[it.name], scale[it.name]) for it in chosen.measures]
    cells += [_drawn(found.passes[name], 1.0) if name in found.passes else "<td></td>" for name in passes]
    tokens = found.prompt_tokens + found.sampled_tokens
    cells += [
        f"<td class=n>{value}</td>"
        for value in (f"{found.cases:,}", f"{found.lost:,}", f"{tokens:,.0f}", f"{found.seconds:.3g}")
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _drawn(one: Interval, whole: float) -> str:
    low, value, high = (max(0.0, min(1.0, at / whole)) * _WIDE for at in (one.low, one.value, one.high))
    return (
        f'<td class=n title="{one.low:.4f} to {one.high:.4f}">{one.value:.3f}'
        f'<svg width="{_WIDE}" height="8" aria-hidden="true"><rect x="{low:.1f}" y="1" width="{max(1.0, high - low):.1f}" height="6"></rect>'
        f'<line x1="{value:.1f}" x2="{value:.1f}" y1="0" y2="8"></line></svg></td>'
    )
