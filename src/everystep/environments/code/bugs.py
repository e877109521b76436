"""Known bugs in real packages: small mutations of their code that make tests fail which passed before.

A bug is kept only if the tests ended, and at least one that passed on the published code failed. The bugs that come with Everystep (``bank``) were made by ``inject``: the place and the new text of
each, the tests that fail, and what the first of them said. The packages themselves have to be fetched (``code_packages``).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from random import Random

from everystep.core.errors import DataError
from everystep.environments.code.packages import PACKAGES, project
from everystep.environments.published import SAMPLES
from everystep.tools.code_edit import unit_text
from everystep.tools.mutations import OPERATORS, Mutation, mutations
from everystep.tools.suite import FAILED, PASSED, Project, Results, Variant, suite

BANK = "code_bugs.json.gz"
_BATCH = 12
_TOLD = 2500
_SECONDS = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """Characters ``start`` to ``end`` of a file, ``old``, became ``new``. ``failing`` are the tests that fail because of it; ``told`` is what the first said."""

    id: str
    package: str
    path: str
    unit: str
    operator: str
    line: int
    start: int
    end: int
    old: str
    new: str
    failing: tuple[str, ...]
    told: str

    @property
    def place(self) -> str:
        """The unit that has the bug: ``path::name``."""
        return f"{self.path}::{self.unit}"

    @property
    def statement(self) -> str:
        """Say what is wrong in the manner of an issue: tests that fail, and what the first of them told."""
        some = "\n".join(f"- {name}" for name in self.failing[:5])
        more = f"\n- and {len(self.failing) - 5} more" if len(self.failing) > 5 else ""
        return f"{self.package}: these tests passed before and fail now:\n{some}{more}\n\nThe first one says:\n{self.told}"


def buggy(bug: Bug, folder: Path | None = None) -> Project:
    """Return the package with the bug in it."""
    good = project(bug.package, folder)
    text = good.files[bug.path].decode()
    if text[bug.start : bug.end] != bug.old:
        raise DataError(f"bug {bug.id!r} does not fit {bug.path!r} of {bug.package}. Use the pinned version.")
    changed = (text[: bug.start] + bug.new + text[bug.end :]).encode()
    return replace(good, files={**good.files, bug.path: changed})


def right_text(bug: Bug, folder: Path | None = None) -> str:
    """Return the published text of the unit that has the bug."""
    return unit_text(project(bug.package, folder).files[bug.path], bug.unit)


@lru_cache(maxsize=16)
def baseline(name: str, folder: Path | None = None) -> frozenset[str]:
    """Return the tests of a package that pass on its published code, twice."""
    found = suite(project(name, folder), [Variant(), Variant()], seconds=_SECONDS * 2)
    return found[0].having(PASSED) & found[1].having(PASSED)


def inject(name: str, *, count: int, seed: int, folder: Path | None = None) -> Iterator[Bug]:
    """Yield ``count`` bugs of a package: an operator drawn evenly, then a file by its number of functions, then a place. Fewer where the package is too small."""
    good, passing = project(name, folder), baseline(name, folder)
    rng = Random(f"{seed} {name}")
    pools = _pools(good)
    made = 0
    while made < count and pools:
        drawn = [one for one in (_draw(pools, good, rng) for _ in range(_BATCH)) if one is not None]
        found = suite(
            good,
            [Variant(files={path: one.of(text).encode()}) for path, text, one in drawn],
            seconds=_SECONDS,
        )
        for (path, text, one), results in zip(drawn, found, strict=True):
            bug = _bug(name, path, text, one, passing, results)
            if bug is not None and made < count:
                made += 1
                yield replace(bug, id=f"{name}-{seed}-{made}")


Pools = dict[str, dict[str, list[Mutation]]]


def _pools(good: Project) -> Pools:
    """Return the mutations by operator and file."""
    pools: Pools = {}
    for path, data in sorted(good.sources().items()):
        for one in mutations(data.decode()):
            pools.setdefault(one.operator, {}).setdefault(path, []).append(one)
    return pools


def _draw(pools: Pools, good: Project, rng: Random) -> tuple[str, str, Mutation] | None:
    """Take a sound mutation out of the pools."""
    while pools:
        operator = rng.choice([one for one in OPERATORS if one in pools])
        files = pools[operator]
        path = rng.choices(list(files), weights=[len({one.unit for one in some}) for some in files.values()])[
            0
        ]
        one = files[path].pop(rng.randrange(len(files[path])))
        if not files[path]:
            del files[path]
        if not files:
            del pools[operator]
        text = good.files[path].decode()
        if one.sound(text):
            return path, text, one
    return None


def _bug(
    name: str, path: str, text: str, one: Mutation, passing: frozenset[str], results: Results
) -> Bug | None:
    failing = sorted(test for test in results.having(FAILED) if test in passing)
    told = [test for test in failing if test in results.told]
    if results.stopped or not told:
        return None
    first = told[0]
    return Bug(
        id="", package=name, path=path, unit=one.unit, operator=one.operator, line=one.line, start=one.start, end=one.end,
        old=text[one.start : one.end], new=one.text, failing=(first, *(t for t in failing if t != first)),
        told=results.told[first][-_TOLD:],
    )  # fmt: skip


def write_bank(bugs: Sequence[Bug], path: Path) -> None:
    """Write bugs as packed JSON, the same bytes for the same bugs."""
    data = json.dumps([asdict(one) for one in bugs], ensure_ascii=False).encode()
    path.write_bytes(gzip.compress(data, mtime=0))


@lru_cache(maxsize=1)
def bank() -> tuple[Bug, ...]:
    """Return the bugs that come with Everystep; those of one package follow one another."""
    rows: list[Mapping[str, object]] = json.loads(gzip.decompress((SAMPLES / BANK).read_bytes()))
    return tuple(Bug(**{**row, "failing": tuple(row["failing"])}) for row in rows)  # type: ignore[arg-type]


def make_bank(*, each: int, seed: int = 0, folder: Path | None = None) -> list[Bug]:
    """Return ``each`` bugs of every package, made anew: some minutes."""
    return [bug for name in PACKAGES for bug in inject(name, count=each, seed=seed, folder=folder)]
