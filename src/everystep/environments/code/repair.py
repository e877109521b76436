"""Repair of code: an issue with its failing tests, the units that localisation names; the answer is whole units; the package's tests decide, in the sandbox.

Bugs are small mutations of pinned packages (``code_bugs``), or issues of SWE-bench Lite whose tests run here (``swe_bench_run``). An answer that cannot be applied, or does not mend it, may be followed by one more, as ``attempts`` says: with the failing
test, what it told, and the units that it went through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import ClassVar

from everystep.core.errors import ConfigError, ToolError, WorldError
from everystep.core.protocols import Transition
from everystep.core.records import Action, Observation, Task
from everystep.environments.code.bugs import Bug, bank, baseline, buggy, right_text
from everystep.environments.code.packages import project
from everystep.environments.code.search import WAYS, CodeIndex, index_code, localise
from everystep.environments.code.swe_bench_run import (
    Ran,
    issue_index,
    obtained,
    right_changes,
    runnable,
    with_tests,
)
from everystep.environments.exact import check_place, check_range, make_task
from everystep.tools.code_answer import Change, changed, read_changes, write_changes
from everystep.tools.code_map import map_source, map_sources
from everystep.tools.suite import PASSED, Project, Results, Variant, suite

_LIMIT = 200_000
_SECONDS = 40.0
_TOLD = 3000
CASES = ("injected", "published")
ANSWER = "Answer with every changed unit in full: a line '### path.py::name', then the unit between ```python and ```."


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something to mend: the ``project`` as it is, its ``index``, the tests that must ``pass`` in the end, those of them that do not now, and a right answer."""

    id: str
    statement: str
    project: Project
    index: CodeIndex
    passing: frozenset[str]
    failing: frozenset[str]
    right: tuple[Change, ...]
    seconds: float = _SECONDS


@lru_cache(maxsize=8)
def package_index(name: str) -> CodeIndex:
    """Return a package, as it was published, as an index to search; a bug changes a word of it."""
    return index_code(map_sources(project(name).sources().items()))


def problem_of(bug: Bug) -> Problem:
    """Return an injected bug as a problem."""
    return Problem(
        id=bug.id, statement=bug.statement, project=buggy(bug), index=package_index(bug.package),
        passing=baseline(bug.package), failing=frozenset(bug.failing),
        right=(Change(path=bug.path, unit=bug.unit, text=right_text(bug)),),
    )  # fmt: skip


@lru_cache(maxsize=1)
def problem_of_issue(one: Ran) -> Problem:
    """Return an issue of SWE-bench Lite as a problem; only the tests of its test patch are run, and they are named in the statement."""
    found = obtained(one)
    there = with_tests(found)
    some = "\n".join(f"- {name}" for name in one.mended[:5])
    return Problem(
        id=one.id, statement=f"{found.issue.statement}\n\nThese tests fail:\n{some}", project=there, index=issue_index(found),
        passing=frozenset([*one.mended, *one.kept]), failing=frozenset(one.mended), right=right_changes(found, there),
        seconds=6 * _SECONDS,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What an answer did: whether it was ``applied``; whether all tests that must pass do (``fixed``); how many that passed before do not any more (``broken``)."""

    applied: bool
    fixed: bool = False
    broken: int = 0
    told: str = ""


def score(problem: Problem, changes: Sequence[Change]) -> Score:
    """Apply an answer and run the tests, alone in a sandbox of their own."""
    try:
        files = changed(changes, problem.project.files)
    except ToolError as error:
        return Score(applied=False, told=str(error))
    results = suite(problem.project, [Variant(files=files)], seconds=problem.seconds)[0]
    lost = problem.passing - results.having(PASSED)
    return Score(applied=True, fixed=not lost, broken=len(lost - problem.failing), told=_told(results, lost))


def _told(results: Results, lost: frozenset[str]) -> str:
    if results.stopped:
        return f"the tests were stopped: {results.stopped}"
    first = next((name for name in sorted(lost) if name in results.told), "")
    return f"{first} fails:\n{results.told[first][-_TOLD:]}" if first else ""


class Repairing:
    """One problem at a time."""

    def __init__(self, world: CodeRepair) -> None:
        self._world = world
        self._problem: Problem | None = None
        self._tries = 0

    def reset(self, task: Task) -> Observation:
        """Show the issue and the units that localisation names."""
        self._problem, self._tries = self._world.problem(task.seed), 0
        found = localise(self._problem.index, self._problem.statement)[WAYS[-1]].units
        shown = self._shown([one for one in found if one.partition("::")[2]][: self._world.units])
        return Observation(text=f"{self._problem.statement}\n\n{shown}", anchor=self._problem.id)

    def _shown(self, units: Sequence[str]) -> str:
        files = self._now().project.files
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
        problem = self._now()
        self._tries += 1
        told = Score(applied=False, told=action.reason or "not an action of this world")
        if action.valid:
            told = score(problem, read_changes(action.text))
        over = told.fixed or self._tries >= self._world.attempts
        text = "all tests pass" if told.fixed else told.told or "tests fail"
        observation = Observation(text=text, anchor=f"{problem.id} answered {self._tries}")
        if over:
            self._problem = None
        return Transition(
            observation=observation, reward=float(told.fixed), terminated=over, success=told.fixed if over else None,
            scores={"applied": float(told.applied), "fixed": float(told.fixed), "broken": float(told.broken)},
            valid=action.valid, reason=action.reason if not action.valid else None,
        )  # fmt: skip

    def oracle(self) -> str:
        """Return what was published."""
        return write_changes(self._now().right)

    def _now(self) -> Problem:
        if self._problem is None:
            raise WorldError("there is no bug to mend: reset the environment with a task first.")
        return self._problem

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRepair:
    """Options: ``cases`` are ``injected`` bugs or ``published`` issues; ``attempts`` at one; ``units`` that are shown. All are in the split ``test``."""

    cases: str = "injected"
    attempts: int = 1
    units: int = 5

    name: ClassVar[str] = "code_repair"
    summary: ClassVar[str] = "mend a bug in a real package by whole units; its tests decide, in the sandbox"

    def __post_init__(self) -> None:
        if self.cases not in CASES:
            raise ConfigError(f"cases {self.cases!r}; expected one of {', '.join(CASES)}.")
        check_range(self.name, "attempts", self.attempts, 1, 5)
        check_range(self.name, "units", self.units, 1, 50)

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.attempts

    def make(self) -> Repairing:
        """Return an environment for bugs of this world. ``ConfigError`` where the package that runs tests is missing."""
        if find_spec("pytest") is None:
            raise ConfigError(
                "code_repair runs the tests of projects with pytest. Install it with: pip install pytest"
            )
        return Repairing(self)

    def size(self, split: str) -> int:
        """Return the number of problems."""
        check_place(split, 0)
        return len(self._rows()) if split == "test" else 0

    def _rows(self) -> tuple[Bug, ...] | tuple[Ran, ...]:
        return bank() if self.cases == "injected" else runnable()

    def problem(self, seed: int) -> Problem:
        """Return problem number ``seed``, with its project."""
        check_range(self.name, "seed", seed, 0, len(self._rows()) - 1)
        one = self._rows()[seed]
        return problem_of(one) if isinstance(one, Bug) else problem_of_issue(one)

    def task(self, split: str, index: int) -> Task:
        """Return problem ``index``."""
        check_place(split, index, self.size(split))
        one = self._rows()[index]
        tags = (
            {"package": one.package, "operator": one.operator}
            if isinstance(one, Bug)
            else {"package": one.id.partition("__")[2].rpartition("-")[0]}
        )
        return make_task(
            self, split=split, index=index, seed=index, instruction=f"Mend the bug. {ANSWER}", tags=tags
        )
