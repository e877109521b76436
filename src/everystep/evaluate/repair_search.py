"""A search for repairs of known bugs: what a regression gate, a retry with feedback and more candidates are worth, on the same candidates."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from everystep.environments.code.bugs import Bug, buggy
from everystep.environments.code.proposals import proposals
from everystep.environments.code.repair import problem_of, score
from everystep.environments.code.search import WAYS, CodeIndex, localise
from everystep.tools.code_answer import Change
from everystep.tools.suite import PASSED, Variant, suite
from everystep.verify.gate import Checked, Feedback, check, chosen, frames_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Whether the gate is on, and what follows when no candidate is chosen: nothing, a ``retry`` with feedback, or as many ``more`` without."""

    gate: bool
    then: str = ""


GATES: Mapping[str, Way] = {
    "no gate": Way(gate=False),
    "gate": Way(gate=True),
    "no gate, retry": Way(gate=False, then="retry"),
    "gate, retry": Way(gate=True, then="retry"),
    "gate, as many more": Way(gate=True, then="more"),
}
"""The ways to choose among candidates."""


def proposed(
    bug: Bug, index: CodeIndex, *, units: int, seed: str, feedback: Feedback | None = None
) -> Iterator[Change]:
    """Yield mutations of the localised units; with feedback, of those that it went through first, and in its lines more often."""
    told = bug.statement if feedback is None else f"{bug.statement}\n{feedback.told}"
    ranked = list(localise(index, told)[WAYS[-1]].units)
    lines: Collection[tuple[str, int]] = ()
    if feedback is not None:
        through = [index.code.files[path].at(line) for path, line in feedback.frames]
        ranked = list(dict.fromkeys([*(one.id for one in through if one), *ranked]))
        lines = set(feedback.frames)
    known = [one for one in ranked if one.partition("::")[2]]
    yield from proposals(buggy(bug), known[:units], seed=f"{seed} {bug.id} {feedback is None}", lines=lines)


def search(bug: Bug, index: CodeIndex, *, k: int, units: int, seed: str) -> dict[str, Mapping[str, float]]:
    """Search a repair with ``k`` candidates a try, seeing one failing test and all that pass; return for each of ``GATES`` what was submitted and what it did."""
    there, wanted = buggy(bug), bug.failing[:1]
    before = suite(there, [Variant()])[0].having(PASSED)
    first = list(islice(proposed(bug, index, units=units, seed=seed), 2 * k))
    tried = check(there, [(one,) for one in first], wanted=wanted, before=before)
    told = next((one.why for one in tried[:k] if one.applied and not one.passed and one.why), bug.told)
    feedback = Feedback(test=wanted[0], told=told, frames=frames_of(told, index.code))
    fresh = (
        one
        for one in proposed(bug, index, units=units, seed=seed, feedback=feedback)
        if one not in set(first[:k])
    )
    again = check(there, [(one,) for one in islice(fresh, k)], wanted=wanted, before=before)
    after = {"": [], "retry": again, "more": tried[k:]}
    fixed: dict[tuple[Change, ...], bool] = {}
    rows: dict[str, Mapping[str, float]] = {}
    for name, way in GATES.items():
        one = chosen(tried[:k], gate=way.gate) or chosen(after[way.then], gate=way.gate)
        rows[name] = {
            "submitted": float(one is not None),
            "fixed": float(one is not None and _whole(bug, one, fixed)),
            "breaks tests": float(one is not None and bool(one.broke)),
        }
    return rows


def _whole(bug: Bug, one: Checked, known: dict[tuple[Change, ...], bool]) -> bool:
    """Whether all tests that pass on the published package pass: those that the search did not see too."""
    if one.broke:
        return False
    if one.changes not in known:
        known[one.changes] = score(problem_of(bug), one.changes).fixed
    return known[one.changes]
