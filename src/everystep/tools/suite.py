"""The tests of a project, run in the sandbox on the project as it is and on changed versions of it.

Each run starts from the files in memory and leaves nothing behind. Versions of one run share a scratch folder and a started interpreter, one process for each; so what is compared there should not
be hostile to each other: run those one by one. The sandbox keeps code from doing harm, not from telling a lie about its own tests.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from everystep.core.errors import ToolError
from everystep.tools.sandbox import Ended, Limits, Sandbox

PASSED, FAILED = "passed", "failed"
_INSIDE = Path(__file__).with_name("suite_inside.py")
_QUIET = (
    "-q",
    "-p",
    "no:cacheprovider",
    "--tb=short",
    "--color=no",
    "-rN",
    "--continue-on-collection-errors",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Files by path, where its imports start (``roots``), what pytest is given (``tests``, ``arguments``), and where its own code is (``code``)."""

    name: str
    files: Mapping[str, bytes]
    roots: tuple[str, ...] = (".",)
    tests: tuple[str, ...] = ("tests",)
    arguments: tuple[str, ...] = ()
    code: tuple[str, ...] = ("src",)

    def sources(self) -> dict[str, bytes]:
        """Return the Python files of its own code, without its tests."""
        return {
            path: data
            for path, data in self.files.items()
            if path.endswith(".py") and _below(path, self.code) and not _below(path, self.tests)
        }


def _below(path: str, folders: Sequence[str]) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in folders)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Changed files, and the tests to run (all if none is named)."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The outcome of each test by its id: passed, failed or skipped; the text of the first failures; ``stopped`` where the run itself did not end (``time``, ``died``)."""

    outcomes: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)
    stopped: str = ""

    def having(self, outcome: str) -> frozenset[str]:
        """Return the tests with this outcome."""
        return frozenset(name for name, found in self.outcomes.items() if found == outcome)


async def run_suite(
    project: Project, variants: Sequence[Variant], *, seconds: float = 60.0, first: bool = False
) -> list[Results]:
    """Run the tests on each variant, ``seconds`` at most for one; with ``first`` a run ends at its first failure. ``ToolError`` where no sandbox can be had, or pytest is missing."""
    orders = {
        "roots": list(project.roots), "tests": list(project.tests), "arguments": [*_QUIET, *project.arguments],
        "time_s": seconds, "first": first,
        "variants": [
            {"files": {path: data.decode("latin-1") for path, data in one.files.items()}, "only": list(one.only)}
            for one in variants
        ],
    }  # fmt: skip
    limits = Limits(
        time_s=seconds * len(variants) + 30.0, memory_bytes=2 << 30, scratch_bytes=256 << 20, entries=20_000,
        output_bytes=(1 << 20) + (1 << 19) * len(variants),
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="everystep-suite-") as folder:
        for path, data in project.files.items():
            place = Path(folder) / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        box = Sandbox(Path(folder), limits=limits, environment={"OMP_NUM_THREADS": "1"})
        given = (json.dumps(orders) + "\n").encode()
        outcome = await box.run(("python", "-I", "-c", _INSIDE.read_text()), given=given)
    errors = outcome.errors.decode("utf-8", "replace").strip()
    if "No module named 'pytest'" in errors:
        raise ToolError("running a project's tests needs pytest. Install it with: pip install pytest")
    rows = []
    for line in outcome.output.decode("utf-8", "replace").splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            break  # the line that a stop cut
        rows.append(Results(outcomes=said["outcomes"], told=said["told"], stopped=said.get("ended", "")))
    if len(rows) < len(variants) and outcome.ended is Ended.EXITED:
        raise ToolError(
            f"the tests of {project.name!r} could not be started: {errors[-400:] or 'no reason told'}."
        )
    missing = Results(stopped=outcome.ended.value)
    return [*rows, *([missing] * (len(variants) - len(rows)))]


def suite(
    project: Project, variants: Sequence[Variant], *, seconds: float = 60.0, first: bool = False
) -> list[Results]:
    """Do what ``run_suite`` does, from code that may be inside of an event loop of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, run_suite(project, variants, seconds=seconds, first=first)).result()
