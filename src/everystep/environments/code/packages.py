"""Small real Python packages with tests, as their authors published them: pinned source distributions, read out of a folder that ``pip download`` fills.

They are not packaged with Everystep. The folder is ``EVERYSTEP_CODE``, or ``code`` in ``EVERYSTEP_CACHE`` (``~/.cache/everystep``). An archive is read in memory, its hash is checked, and nothing of it
is run outside of the sandbox.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from everystep.core.errors import ConfigError, DataError, did_you_mean
from everystep.tools.suite import Project

VARIABLE = "EVERYSTEP_CODE"
_MOST = 20 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A pinned source distribution: its file and SHA-256, its licence, and where its code and tests are."""

    name: str
    version: str
    file: str
    sha256: str
    licence: str
    code: str
    tests: tuple[str, ...] = ("tests",)
    roots: tuple[str, ...] = (".",)
    arguments: tuple[str, ...] = ()


PACKAGES = {
    one.name: one
    for one in (
        Package(
            name="boltons", version="25.0.0", file="boltons-25.0.0.tar.gz", licence="BSD-3-Clause", code="boltons",
            sha256="e110fbdc30b7b9868cb604e3f71d4722dd8f4dcb4a5ddd06028ba8f1ab0b5ace",
            arguments=("--noconftest",),  # its conftest speaks to an older pytest
        ),
        Package(
            name="cachetools", version="5.5.2", file="cachetools-5.5.2.tar.gz", licence="MIT", code="src/cachetools", roots=("src",),
            sha256="1a661caa9175d26759571b2e19580f9d6393969e5dfca11fdb1f947a23e640d4",
        ),
        Package(
            name="inflection", version="0.5.1", file="inflection-0.5.1.tar.gz", licence="MIT", code="inflection",
            tests=("test_inflection.py",), sha256="1a29730d366e996aaacffb2f1f1cb9593dc38e2ddd30c91250c6dde09ea9b417",
        ),
        Package(
            name="mistune", version="3.1.3", file="mistune-3.1.3.tar.gz", licence="BSD-3-Clause", code="src/mistune", roots=("src", "."),
            sha256="a7035c21782b2becb6be62f8f25d3df81ccb4d6fa477a6525b15af06539f02a0",
        ),
        Package(
            name="sqlparse", version="0.5.3", file="sqlparse-0.5.3.tar.gz", licence="BSD-3-Clause", code="sqlparse",
            sha256="09f67787f56a0b16ecdbde1bfc7f5d9c3371ca683cfeaa8e6ff60b4807ec9272",
        ),
        Package(
            name="toolz", version="1.0.0", file="toolz-1.0.0.tar.gz", licence="BSD-3-Clause", code="toolz", tests=("toolz/tests",),
            sha256="2c86e3d9a04798ac556793bced838816296a2f085017664e4995cb40a1047a02",
        ),
    )
}  # fmt: skip
"""The packages by name."""


def code_folder() -> Path:
    """Return the folder in which downloaded archives are looked for."""
    named = os.environ.get(VARIABLE)
    cache = os.environ.get("EVERYSTEP_CACHE")
    return Path(named) if named else (Path(cache) if cache else Path.home() / ".cache" / "everystep") / "code"


def download(*wanted: str, folder: Path | None = None, binary: bool = False) -> str:
    """Return the command that fetches ``NAME==VERSION`` into the folder, as source or (``binary``) as wheel."""
    kind = "--only-binary :all: --ignore-requires-python" if binary else "--no-binary :all:"
    return f"pip download --no-deps {kind} -d {folder or code_folder()} {' '.join(wanted)}"


def package(name: str) -> Package:
    """Return a pinned package by name."""
    if name not in PACKAGES:
        raise ConfigError(f"no package {name!r}. {did_you_mean(name, PACKAGES)}")
    return PACKAGES[name]


@lru_cache(maxsize=16)
def project(name: str, folder: Path | None = None) -> Project:
    """Return a package's files. ``ConfigError`` with the command that fetches it where it is missing; ``DataError`` where the archive is another."""
    one = package(name)
    place = (folder or code_folder()) / one.file
    if not place.is_file():
        command = download(*(f"{p.name}=={p.version}" for p in PACKAGES.values()), folder=folder)
        raise ConfigError(
            f"the archive {str(place)!r} is needed. Fetch it, and the other packages, with: {command}"
        )
    data = place.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != one.sha256:
        raise DataError(
            f"{str(place)!r} has SHA-256 {found}, expected {one.sha256}. Delete it and fetch {one.name}=={one.version} again."
        )
    return Project(
        name=name, files=unpacked(data), roots=one.roots, tests=one.tests, arguments=one.arguments, code=(one.code,)
    )  # fmt: skip


def unpacked(archive: bytes) -> dict[str, bytes]:
    """Return the files of a ``.tar.gz`` without its outermost folder. Links and names that lead out of it are left out."""
    found: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as packed:
            for info in packed:
                path = PurePosixPath(info.name)
                if not info.isreg() or path.is_absolute() or ".." in path.parts or len(path.parts) < 2:
                    continue
                total += info.size
                data = packed.extractfile(info)
                if total > _MOST or data is None:
                    raise DataError(
                        f"the archive unpacks to more than {_MOST} bytes; expected a small package."
                    )
                found[PurePosixPath(*path.parts[1:]).as_posix()] = data.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"the archive cannot be read: {error}. Fetch it again.") from None
    return found
