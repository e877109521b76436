"""How good a localisation is: whether a right file, a right unit is the first, or among the first five."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby

from everystep.core.errors import ConfigError
from everystep.core.records import Json
from everystep.environments.code.packages import download
from everystep.environments.code.search import WAYS, CodeIndex, localise
from everystep.environments.code.swe_bench_lite import Obtained, code_of, gold, obtainable
from everystep.evaluate.intervals import Interval, bootstrap_mean, paired_difference
from everystep.tools.code_map import CodeMap

Numbers = Mapping[str, float]
PLACES = (1, 5)
CHANCE = "chance"


def hits(ranked: Sequence[str], right: Collection[str], name: str) -> dict[str, float]:
    """Return for the first place and the first five whether one of ``right`` is there.

    >>> hits(["a", "b"], {"b"}, "file")
    {'file top-1': 0.0, 'file top-5': 1.0}
    """
    return {f"{name} top-{k}": float(any(one in right for one in ranked[:k])) for k in PLACES}


def by_chance(count: int, right: int) -> dict[int, float]:
    """Return the chance that of the first 1 and 5 in a random order of ``count`` at least one is among ``right`` right ones.

    >>> by_chance(10, 1)
    {1: 0.1, 5: 0.5}
    """
    found = {}
    for k in PLACES:
        miss = 1.0
        for drawn in range(min(k, count)):
            miss *= max(0, count - right - drawn) / (count - drawn)
        found[k] = round(1 - miss, 12)
    return found


def found(
    index: CodeIndex, statement: str, paths: Collection[str], units: Collection[str]
) -> dict[str, Numbers]:
    """Return for each way to localise, and for a random order (``chance``), whether a right file and a right unit are there."""
    chance: dict[str, float] = {}
    for kind, count, right in (("file", len(index.paths), paths), ("unit", len(index.units), units)):
        chance |= {f"{kind} top-{k}": value for k, value in by_chance(count, len(right)).items()}
    rows: dict[str, Numbers] = {CHANCE: chance}
    for way, one in localise(index, statement).items():
        rows[way] = hits(one.paths, paths, "file") | hits(one.units, units, "unit")
    return rows


def over_issues(search: Callable[[CodeMap], CodeIndex]) -> list[tuple[Obtained, dict[str, Numbers]]]:
    """Return what is found for every issue of SWE-bench Lite whose source is at hand, archive by archive."""
    rows: list[tuple[Obtained, dict[str, Numbers]]] = []
    for archive, some in groupby(obtainable(), key=lambda one: one.archive):
        code = code_of(archive)
        index = search(code)
        rows += [(one, found(index, one.issue.statement, *gold(one, code))) for one in some]
    if not rows:
        raise ConfigError(
            f"no fetched release fits an issue. Fetch some, for example: {download('flask==2.0.0', 'requests==2.7.0', binary=True)}"
        )
    return rows


def told_issues(
    rows: Sequence[tuple[Obtained, dict[str, Numbers]]], of: int, baseline: str = WAYS[0]
) -> dict[str, Json]:
    """Return the means with 95 % intervals over issues (and of the paired difference to a way), the last way by project, and the archives."""
    told: dict[str, Json] = {"issues": of, "obtained": len(rows)}
    for way, first in rows[0][1].items():
        values = {key: [row[way][key] for _, row in rows] for key in first}
        base = {key: [row[baseline][key] for _, row in rows] for key in first}
        told[way] = {
            key: {
                "mean": _rounded(bootstrap_mean(some)),
                "gain": _rounded(paired_difference(some, base[key])),
            }
            for key, some in values.items()
        }
    projects: dict[str, Json] = {}
    for name in sorted({one.issue.project for one, _ in rows}):
        mine = [row[WAYS[-1]] for one, row in rows if one.issue.project == name]
        means: dict[str, Json] = {key: round(sum(row[key] for row in mine) / len(mine), 3) for key in mine[0]}
        projects[name] = {"obtained": len(mine), **means}
    archives: Json = {one.issue.id: one.archive.name for one, _ in rows}
    return {**told, "projects": projects, "archives": archives}


def _rounded(one: Interval) -> list[Json]:
    return [round(value, 4) for value in (one.value, one.low, one.high)]
