"""Issues of SWE-bench Lite whose tests run here: a release with the issue's test patch, and the few packages that it imports, in the sandbox.

An issue counts as runnable where the published patch makes a failing test of the test patch pass and breaks none. The releases are not the commits, and Python and the packages
are today's, so an issue that does not run here may well run in the published images.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from everystep.core.errors import ConfigError, ToolError
from everystep.environments.code.packages import code_folder, download
from everystep.environments.code.search import CodeIndex, index_code
from everystep.environments.code.swe_bench_lite import (
    ARCHIVE,
    Obtained,
    archives,
    code_of,
    issues,
    obtainable,
    python_files,
    within,
)
from everystep.environments.published import SAMPLES
from everystep.tools.code_answer import Change
from everystep.tools.code_map import lines_of
from everystep.tools.patches import apply_patch
from everystep.tools.suite import PASSED, Project, Variant, suite

REQUIRES: Mapping[str, tuple[str, ...]] = {
    "pallets__flask": (
        "werkzeug==2.2.3", "jinja2==3.1.6", "itsdangerous==2.2.0", "click==8.1.8", "markupsafe==2.1.5", "blinker==1.8.2",
        "pytest==7.4.4", "pluggy==1.5.0", "iniconfig==2.0.0", "packaging==24.2",  # its tests use what later ones have not
    ),
    "sympy__sympy": ("mpmath==1.3.0",),
}  # fmt: skip
"""The projects that are tried, with what they import: pure Python, or with a part in it that is enough."""
RUNNABLE = "code_issues.json.gz"
_SECONDS = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What the tests of an issue's test patch did: ``mended`` fail before the published patch and pass after it, ``kept`` pass on both, ``broken`` only before. ``why`` says why they could not be run."""

    id: str
    archive: str
    mended: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    why: str = ""

    @property
    def runnable(self) -> bool:
        """Whether the published patch is seen to mend the issue."""
        return bool(self.mended) and not self.broken


def with_tests(one: Obtained, folder: Path | None = None) -> Project:
    """Return the release with the test patch applied, before the published patch. ``ToolError`` where the release has no such tests; ``ConfigError`` with a command where a package is missing."""
    files = dict(python_files(one.archive))
    tests = apply_patch(within(one.issue.test_patch), files)
    known = archives(folder)
    for required in REQUIRES.get(one.issue.project, ()):
        name, _, version = required.partition("==")
        found = [path for path in known.get(name, []) if f"-{version}-" in path.name]
        if not found:
            raise ConfigError(
                f"{one.issue.id} needs {required}. Fetch it with: {download(required, binary=True)}"
            )
        files |= python_files(found[0])
    return Project(
        name=one.issue.id, files={**files, **tests}, tests=tuple(sorted(tests)), arguments=("--noconftest",) if "sympy" in one.issue.id else (),
        code=(".",),
    )  # fmt: skip


def ran(one: Obtained, folder: Path | None = None) -> Ran:
    """Run the tests of the test patch before and after the published patch."""
    empty = Ran(id=one.issue.id, archive=one.archive.name)
    try:
        there = with_tests(one, folder)
    except ToolError as error:
        return replace(empty, why=str(error))
    mended = apply_patch(within(one.issue.patch), there.files)
    before, after = suite(there, [Variant(), Variant(files=mended)], seconds=_SECONDS)
    old, new = before.having(PASSED), after.having(PASSED)
    why = (
        before.stopped
        or after.stopped
        or ("" if new else next(iter(after.told.values()), "no test ran")[-300:])
    )
    return replace(
        empty, mended=tuple(sorted(new - old)), kept=tuple(sorted(new & old)), broken=tuple(sorted(old - new)), why=why
    )  # fmt: skip


def issue_index(one: Obtained) -> CodeIndex:
    """Return an issue's release as an index to search."""
    return index_code(code_of(one.archive))


def right_changes(one: Obtained, there: Project) -> tuple[Change, ...]:
    """Return the published patch as changes of whole files."""
    mended = apply_patch(within(one.issue.patch), there.files)
    return tuple(
        Change(path=path, first=1, last=len(lines_of(there.files[path].decode())), text=data.decode())
        for path, data in mended.items()
    )


def write_runnable(rows: Sequence[Ran], path: Path) -> None:
    """Write the issues that run, as packed JSON."""
    data = json.dumps([asdict(one) for one in rows if one.runnable]).encode()
    path.write_bytes(gzip.compress(data, mtime=0))


@cache
def runnable() -> tuple[Ran, ...]:
    """Return the issues that were seen to run, with the tests that the published patch makes pass and keeps."""
    rows = json.loads(gzip.decompress((SAMPLES / RUNNABLE).read_bytes()))
    return tuple(
        Ran(id=row["id"], archive=row["archive"], mended=tuple(row["mended"]), kept=tuple(row["kept"]))
        for row in rows
    )


def obtained(one: Ran, folder: Path | None = None) -> Obtained:
    """Return a runnable issue with its archive; ``ConfigError`` with the command that fetches it where it is missing."""
    path = (folder or code_folder()) / one.archive
    issue = next(found for found in issues() if found.id == one.id)
    if not path.is_file():
        name, version = ARCHIVE.findall(one.archive)[0]
        command = download(f"{name}=={version}", folder=folder, binary=one.archive.endswith(".whl"))
        raise ConfigError(f"{one.id} needs {str(path)!r}. Fetch it with: {command}")
    return Obtained(issue=issue, archive=path)


def all_ran(folder: Path | None = None, *, most: int = 1_000_000) -> Iterator[Ran]:
    """Yield what the tests did, for at most ``most`` issues of the projects that are tried, those of the newest releases first."""
    some = [one for one in obtainable(folder) if one.issue.project in REQUIRES]
    newest = {path: place for found in archives(folder).values() for place, path in enumerate(found)}
    for one in sorted(some, key=lambda one: (one.issue.project, newest[one.archive], one.issue.id))[:most]:
        yield ran(one, folder)
