"""SWE-bench Lite (Jimenez et al. 2024, arXiv:2310.06770): 300 issues of twelve Python projects, with the patch that mended each.

The statements and patches come from a published table (Agentless, MIT). The sources are not in it: an issue can be used where a release that ``pip download`` fetched has every line that its patch
expects, at the same paths. A release is not the commit: what was changed between them elsewhere in the project is not as it was.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path, PurePosixPath

from everystep.core.errors import DataError, ToolError
from everystep.environments.code.packages import code_folder
from everystep.environments.published import find_file
from everystep.tools.code_map import CodeMap, map_source
from everystep.tools.patches import FilePatch, apply_patch, changed_lines, read_patch

FILE = "swebench_lite_classifications.csv"
SOURCE = "https://github.com/OpenAutoCoder/Agentless (classification/swebench_lite_classifications.csv, MIT)"
DISTRIBUTIONS: Mapping[str, str] = {
    "astropy__astropy": "astropy", "django__django": "django", "matplotlib__matplotlib": "matplotlib", "mwaskom__seaborn": "seaborn",
    "pallets__flask": "flask", "psf__requests": "requests", "pydata__xarray": "xarray", "pylint-dev__pylint": "pylint",
    "pytest-dev__pytest": "pytest", "scikit-learn__scikit-learn": "scikit_learn", "sphinx-doc__sphinx": "sphinx", "sympy__sympy": "sympy",
}  # fmt: skip
"""The distribution of each project, as its files are named."""
_PREFIXES = ("src/", "lib/")
ARCHIVE = re.compile(r"([A-Za-z0-9_.]+?)-(\d[^-]*?)(?:-.*\.whl|\.tar\.gz)$")
"""Name and version in the name of an archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """An issue: its statement, the patch that mended it, and the patch of the tests that show it."""

    id: str
    statement: str
    patch: tuple[FilePatch, ...]
    test_patch: tuple[FilePatch, ...]

    @property
    def project(self) -> str:
        """Return ``owner__name``."""
        return self.id.rpartition("-")[0]


@cache
def issues(folder: Path | None = None) -> tuple[Issue, ...]:
    """Return the 300 issues in the order of the table; ``ConfigError`` says where it comes from."""
    path = find_file(folder or "swe_bench_lite", FILE, SOURCE)
    csv.field_size_limit(10_000_000)
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    try:
        return tuple(
            Issue(
                id=row["instance_id"], statement=row["problem_statement"], patch=read_patch(row["patch"]),
                test_patch=read_patch(row["test_patch"]),
            )
            for row in csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""))
        )  # fmt: skip
    except (KeyError, ValueError, csv.Error) as error:
        raise DataError(
            f"{str(path)!r} is not the expected table: {error!r}. Get it from {SOURCE}."
        ) from None


def archives(folder: Path | None = None) -> dict[str, list[Path]]:
    """Return the fetched archives of each distribution, the newest version first."""
    found: dict[str, list[tuple[tuple[int, ...], Path]]] = {}
    place = folder or code_folder()
    for path in sorted(place.iterdir()) if place.is_dir() else []:
        if (named := ARCHIVE.match(path.name)) is not None:
            version = tuple(int(one) for one in re.findall(r"\d+", named[2]))
            found.setdefault(named[1].lower().replace("-", "_"), []).append((version, path))
    return {name: [path for _, path in sorted(some, reverse=True)] for name, some in found.items()}


@lru_cache(maxsize=2)
def python_files(path: Path) -> Mapping[str, bytes]:
    """Return the Python files of a wheel or a source distribution; ``src/`` and ``lib/`` are cut off the paths, as wheels have none."""
    return {
        _plain("/".join(PurePosixPath(name).parts[not path.name.endswith(".whl") :])): read()
        for name, read in _members(path)
        if name.endswith(".py")
    }


def _members(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as packed:
                for name in packed.namelist():
                    yield name, lambda name=name: packed.read(name)  # type: ignore[misc]
        else:
            with tarfile.open(path, "r:gz") as source:
                for info in source:
                    data = source.extractfile(info) if info.isreg() else None
                    if data is not None:
                        yield info.name, data.read
    except (zipfile.BadZipFile, tarfile.TarError, OSError) as error:
        raise DataError(f"{str(path)!r} cannot be read: {error}. Delete it and fetch it again.") from None


def _plain(path: str) -> str:
    return next((path.removeprefix(one) for one in _PREFIXES if path.startswith(one)), path)


def within(patch: Sequence[FilePatch]) -> tuple[FilePatch, ...]:
    """Return a patch with paths as wheels have them."""
    return tuple(FilePatch(path=_plain(one.path), hunks=one.hunks, new=one.new) for one in patch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Obtained:
    """An issue with the archive that its patch fits."""

    issue: Issue
    archive: Path


def obtainable(folder: Path | None = None) -> list[Obtained]:
    """Return the issues whose patch fits a fetched release, by archive; of several the newest, which is nearest to the mending."""
    known = archives(folder)
    found: dict[str, Obtained] = {}
    for project, name in DISTRIBUTIONS.items():
        some = [one for one in issues() if one.project == project]
        for path in known.get(name, []):
            files = python_files(path)
            for one in some:
                if one.id not in found and fits(one.patch, files):
                    found[one.id] = Obtained(issue=one, archive=path)
    return sorted(found.values(), key=lambda one: (one.archive.name, one.issue.id))


def fits(patch: Sequence[FilePatch], files: Mapping[str, bytes]) -> bool:
    """Whether every line that a patch expects is there."""
    try:
        apply_patch(within(patch), files)
    except ToolError:
        return False
    return True


@lru_cache(maxsize=1)
def code_of(archive: Path) -> CodeMap:
    """Return the map of an archive's own code: Python files that are no tests."""
    sources = python_files(archive)
    return CodeMap(
        files={
            path: map_source(data, path)
            for path, data in sorted(sources.items())
            if "/" in path and not {"tests", "test", "testing"} & set(PurePosixPath(path).parts[:-1])
        }
    )


def gold(one: Obtained, code: CodeMap) -> tuple[frozenset[str], frozenset[str]]:
    """Return the files, and the units (``path::name``, ``path::`` for top-level code), that the published patch changes."""
    places: set[str] = set()
    patch = [part for part in within(one.issue.patch) if part.path in code.files]
    for part in patch:
        file = code.files[part.path]
        for line in changed_lines(part, file.lines):
            unit = file.at(line)
            places.add(unit.id if unit else f"{part.path}::")
    return frozenset(part.path for part in patch), frozenset(places)
