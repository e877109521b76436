"""Repair of code: an issue with its failing tests, the units that localisation names; the answer is whole units; the package's tests decide, in the sandbox.

Bugs are small mutations of pinned packages (``code_bugs``). An answer that cannot be applied, or does not mend it, may be followed by one more, as ``attempts`` says: with the failing
test, what it told, and the units that it went through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from everystep.core.errors import ToolError, WorldError
from everystep.core.protocols import Transition
from everystep.core.records import Action, Observation, Task
from everystep.environments.code_bugs import Bug, bank, baseline, buggy, right_text
from everystep.environments.code_packages import project
from everystep.environments.code_search import WAYS, CodeIndex, index_code, localise
from everystep.environments.exact import check_place, check_range, make_task
from everystep.tools.code_answer import Change, changed, read_changes, write_changes
from everystep.tools.code_map import map_source, map_sources
from everystep.tools.suite import PASSED, Results, Variant, suite

_LIMIT = 200_000
_SECONDS = 40.0
_TOLD = 3000
ANSWER = "Answer with every changed unit in full: a line '### path.py::name', then the unit between ```python and ```."


@lru_cache(maxsize=8)
def package_index(name: str) -> CodeIndex:
    """Return a package, as it was published, as an index to search; a bug changes a word of it."""
    return index_code(map_sources(project(name).sources().items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What an answer did: whether it was ``applied``; whether all tests that pass on the published package pass (``fixed``); how many that passed with the bug do not any more (``broken``)."""

    applied: bool
    fixed: bool = False
    broken: int = 0
    told: str = ""


def score(bug: Bug, changes: Sequence[Change]) -> Score:
    """Apply an answer to the package with the bug and run all of its tests, alone in a sandbox of their own."""
    there = buggy(bug)
    try:
        files = changed(changes, there.files)
    except ToolError as error:
        return Score(applied=False, told=str(error))
    results = suite(there, [Variant(files=files)], seconds=_SECONDS)[0]
    lost = baseline(bug.package) - results.having(PASSED)
    return Score(applied=True, fixed=not lost, broken=len(lost - set(bug.failing)), told=_told(results, lost))


def _told(results: Results, lost: frozenset[str]) -> str:
    if results.stopped:
        return f"the tests were stopped: {results.stopped}"
    first = next((name for name in sorted(lost) if name in results.told), "")
    return f"{first} fails:\n{results.told[first][-_TOLD:]}" if first else ""


class Repairing:
    """One bug at a time."""

    def __init__(self, world: CodeRepair) -> None:
        self._world = world
        self._bug: Bug | None = None
        self._tries = 0

    def reset(self, task: Task) -> Observation:
        """Show the issue and the units that localisation names."""
        check_range("code_repair", "seed", task.seed, 0, len(bank()) - 1)
        self._bug, self._tries = bank()[task.seed], 0
        found = localise(package_index(self._bug.package), self._bug.statement)[WAYS[-1]].units
        return Observation(
            text=f"{self._bug.statement}\n\n{self._shown(found[: self._world.units])}", anchor=self._bug.id
        )

    def _shown(self, units: Sequence[str]) -> str:
        files = buggy(self._now()).files
        parts = []
        for one in units:
            path, _, name = one.partition("::")
            file = map_source(files[path], path)
            unit = next((unit for unit in file.units if unit.name == name), None)
            if unit is not None:
                parts.append(Change(path=path, unit=name, text=file.text(unit)))
        return f"Units that may have to do with it:\n\n{write_changes(parts)}"

    def parse(self, text: str) -> Action:
        """Accept an answer that names changes."""
        if len(text) > _LIMIT:
            return Action(text=text, valid=False, reason=f"expected at most {_LIMIT:,} characters")
        try:
            read_changes(text)
        except ToolError as error:
            return Action(text=text, valid=False, reason=str(error))
        return Action(text=text)

    def step(self, action: Action) -> Transition:
        """Apply the answer and run the tests; the episode ends when they pass, or no attempt is left."""
        bug = self._now()
        self._tries += 1
        told = Score(applied=False, told=action.reason or "not an action of this world")
        if action.valid:
            told = score(bug, read_changes(action.text))
        over = told.fixed or self._tries >= self._world.attempts
        text = "all tests pass" if told.fixed else told.told or "tests fail"
        observation = Observation(text=text, anchor=f"{bug.id} answered {self._tries}")
        if over:
            self._bug = None
        return Transition(
            observation=observation, reward=float(told.fixed), terminated=over, success=told.fixed if over else None,
            scores={"applied": float(told.applied), "fixed": float(told.fixed), "broken": float(told.broken)},
            valid=action.valid, reason=action.reason if not action.valid else None,
        )  # fmt: skip

    def oracle(self) -> str:
        """Return the published text of the unit."""
        bug = self._now()
        return write_changes([Change(path=bug.path, unit=bug.unit, text=right_text(bug))])

    def _now(self) -> Bug:
        if self._bug is None:
            raise WorldError("there is no bug to mend: reset the environment with a task first.")
        return self._bug

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRepair:
    """Options: ``attempts`` at a bug; ``units`` that are shown. All bugs are in the split ``test``."""

    attempts: int = 1
    units: int = 5

    name: ClassVar[str] = "code_repair"
    summary: ClassVar[str] = "mend a bug in a real package by whole units; its tests decide, in the sandbox"

    def __post_init__(self) -> None:
        check_range(self.name, "attempts", self.attempts, 1, 5)
        check_range(self.name, "units", self.units, 1, 50)

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.attempts

    def make(self) -> Repairing:
        """Return an environment for bugs of this world."""
        return Repairing(self)

    def size(self, split: str) -> int:
        """Return the number of bugs."""
        check_place(split, 0)
        return len(bank()) if split == "test" else 0

    def task(self, split: str, index: int) -> Task:
        """Return bug ``index``."""
        check_place(split, index, self.size(split))
        bug = bank()[index]
        return make_task(
            self, split=split, index=index, seed=index, instruction=f"Mend the bug. {ANSWER}",
            tags={"package": bug.package, "operator": bug.operator},
        )  # fmt: skip
