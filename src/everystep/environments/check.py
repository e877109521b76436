"""The checker of environments: does a world keep the contract that everything else builds on?

``check_environment`` plays a few short episodes and reports one finding for each clause. A finding
is ``True`` (kept), ``False`` (broken) or ``None`` (cannot be asked of this world, or only told).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from everystep.core.protocols import World
from everystep.environments import check_acting as acting
from everystep.environments import check_states as states
from everystep.environments.check_case import Case, Finding

_CLAUSES: dict[str, Callable[[Case], Finding]] = {
    "tasks are pure": states.tasks_are_pure,
    "splits are disjoint": states.splits_are_disjoint,
    "reset repeats": states.reset_repeats,
    "episodes repeat": states.episodes_repeat,
    "snapshots": states.snapshots,
    "portable": states.portable,
    "anchors have no clock": states.anchors_have_no_clock,
    "anchors are states": states.anchors_are_states,
    "admissible actions": acting.admissible,
    "hostile text": acting.hostile,
    "oracle": acting.oracle,
    "life of an episode": acting.life,
    "values are JSON": acting.values_are_json,
    "vocabulary": acting.vocabulary,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the checker found about a world."""

    world: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether no clause is broken."""
        return all(finding.ok is not False for finding in self.findings)

    @property
    def broken(self) -> tuple[str, ...]:
        """The names of the clauses that are broken."""
        return tuple(finding.name for finding in self.findings if finding.ok is False)


def check_environment(world: World, tasks: int = 3, seed: int = 0) -> Report:
    """Check ``world`` on ``tasks`` tasks of each split, with randomness from ``seed``.

    >>> from everystep.environments.places.hanoi import Hanoi
    >>> check_environment(Hanoi(), tasks=1).ok
    True
    """
    findings = []
    for name, check in _CLAUSES.items():
        try:
            findings.append(check(Case(name, world, tasks, seed)))
        except Exception as error:
            detail = f"raised {type(error).__name__}: {error}"
            findings.append(Finding(name=name, ok=False, detail=detail))
    return Report(world=world.name, findings=tuple(findings))


def format_report(report: Report) -> str:
    """Return the report as lines of text, one a finding."""
    marks = {True: "ok    ", False: "BROKEN", None: "-     "}
    lines = [f"{marks[finding.ok]} {finding.name}: {finding.detail}" for finding in report.findings]
    return "\n".join([f"{report.world}: {'ok' if report.ok else 'BROKEN'}", *lines])
