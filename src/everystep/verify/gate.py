"""The regression gate: a change to code is taken only if it passes the tests that show the bug and breaks none that passed before.

All candidates run on the tests that are wanted; those that pass run on all. Where none is left, the proposer is asked once more, with a failing test, what it told, and the code that it went through
(SuperCoder2.0, arXiv:2409.11190). What runs, runs in the sandbox.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from everystep.core.errors import ToolError
from everystep.tools.code_answer import Change, changed
from everystep.tools.code_map import CodeMap
from everystep.tools.suite import PASSED, Project, Results, Variant, suite

_FRAME = re.compile(r"^(?:E?\s*File \")?([\w./-]+\.py)\"?(?:, line |:)(\d+)", re.MULTILINE)
Changes = Sequence[Change]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One candidate: whether it could be ``applied`` (``why`` not), whether the wanted tests ``passed``, and which it ``broke`` (``None``: not run on all)."""

    changes: tuple[Change, ...]
    applied: bool
    passed: bool = False
    broke: frozenset[str] | None = None
    why: str = ""

    @property
    def sound(self) -> bool:
        """Whether the gate lets it through."""
        return self.passed and self.broke is not None and not self.broke


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What a proposer is told before its second try: a failing test, what it said, and the places (path and line) that it went through."""

    test: str
    told: str
    frames: tuple[tuple[str, int], ...] = ()


Propose = Callable[[Feedback | None], Sequence[Changes]]


def frames_of(told: str, code: CodeMap) -> tuple[tuple[str, int], ...]:
    """Return the places of a traceback that are in the code, the innermost first."""
    found = [(path.removeprefix("./"), int(line)) for path, line in _FRAME.findall(told)]
    return tuple((path, line) for path, line in reversed(found) if path in code.files)


def check(
    project: Project, candidates: Sequence[Changes], *, wanted: Sequence[str], before: frozenset[str], seconds: float = 30.0
) -> list[Checked]:  # fmt: skip
    """Return what comes of each candidate. ``before`` are the tests that passed on the project as it is; ``wanted`` those that must pass now."""
    made: list[dict[str, bytes] | str] = []
    for one in candidates:
        try:
            made.append(changed(one, project.files))
        except ToolError as error:
            made.append(str(error))
    tried = [n for n, files in enumerate(made) if isinstance(files, dict)]
    first = _run(project, made, tried, tuple(wanted), seconds)
    passed = [n for n in tried if set(wanted) <= first[n].having(PASSED)]
    whole = _run(project, made, passed, (), seconds)
    rows = []
    for n, changes in enumerate(candidates):
        applied = n in first
        told = str(made[n]) if not applied else next(iter(first[n].told.values()), first[n].stopped)
        broke = before - whole[n].having(PASSED) if n in whole else None
        rows.append(
            Checked(changes=tuple(changes), applied=applied, passed=n in whole, broke=broke, why=told)
        )
    return rows


def _run(
    project: Project, made: Sequence[dict[str, bytes] | str], some: Sequence[int], only: tuple[str, ...], seconds: float
) -> dict[int, Results]:  # fmt: skip
    if not some:
        return {}
    variants = [Variant(files=files, only=only) for n in some if isinstance(files := made[n], dict)]
    return dict(zip(some, suite(project, variants, seconds=seconds), strict=True))


def chosen(rows: Sequence[Checked], *, gate: bool) -> Checked | None:
    """Return the first candidate that the gate lets through; without the gate the first that passes the wanted tests."""
    return next((one for one in rows if (one.sound if gate else one.passed)), None)


def repair(
    project: Project, propose: Propose, *, wanted: Sequence[str], before: frozenset[str], feedback: Feedback | None = None, gate: bool = True, seconds: float = 30.0
) -> tuple[Checked | None, list[Checked]]:  # fmt: skip
    """Return the chosen candidate, ``None`` where there is none, and all that were tried. With ``feedback`` the proposer is asked once more when its first candidates fail."""
    rows = check(project, propose(None), wanted=wanted, before=before, seconds=seconds)
    found = chosen(rows, gate=gate)
    if found is None and feedback is not None:
        rows += check(project, propose(feedback), wanted=wanted, before=before, seconds=seconds)
        found = chosen(rows, gate=gate)
    return found, rows
