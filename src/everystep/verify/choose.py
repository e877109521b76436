"""Choosing among executed candidates: a judge of single steps made into a judge of lists, and a judge of lists made into a chooser for branching."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from everystep.core.errors import ConfigError, JudgeError, ModelError
from everystep.core.ledger import Ledger
from everystep.core.protocols import Evidence, Judge, Looks
from everystep.core.records import Level, Verdict
from everystep.run.branch import Chooser, Tried
from everystep.verify.evidence import check_looks, sibling_evidence
from everystep.verify.verdicts import FAILED, share_of, verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """Judges a list of steps by what a judge of single steps says of each alone: the largest share of its range wins, the first of equals.

    A candidate of which the judge says nothing cannot win; where it says nothing of any that is a ``JudgeError``.
    """

    of: Judge
    levels: frozenset[Level] = frozenset({Level.LIST})

    @property
    def name(self) -> str:
        """Whose choice it is."""
        return f"best by {self.of.name}"

    @property
    def version(self) -> str:
        """The judge's version."""
        return self.of.version

    @property
    def looks(self) -> Looks:
        """What the judge looks at."""
        return self.of.looks

    async def judge(self, level: Level, evidence: Evidence) -> tuple[Verdict, ...]:
        """Return the choice, labelled with the id of the best, and the verdicts on the single candidates."""
        if level is not Level.LIST:
            raise ConfigError(f"judge {self.name!r} chooses from a list; asked for {level}.")
        said: list[Verdict] = []
        for number, target in enumerate(evidence.targets):
            alone = replace(
                evidence,
                targets=(target,),
                candidates=evidence.candidates[number : number + 1],
                results=evidence.results[number : number + 1],
                outcomes=evidence.outcomes[number : number + 1],
            )
            said += await self.of.judge(Level.STEP, alone)
        shares = {one.targets[0]: share for one in said if (share := share_of(one)) is not None}
        if not shares:
            raise JudgeError(
                f"judge {self.of.name!r} says nothing of any of {len(evidence.targets)} candidates."
            )
        best = max(shares, key=lambda target: shares[target])
        return (verdict(self, level, evidence, score=None, label=best), *said)


Score = Callable[[Sequence[Evidence]], Sequence[float]]
"""How good each of several steps is, from one call."""


def by_score(score: Score, looks: Looks) -> Chooser:
    """Return the chooser of greedy search: of each state the candidate that is scored best, the first of equals. One call of ``score`` for all states."""

    def choose(tried: Sequence[Tried]) -> list[int]:
        asked = [
            sibling_evidence(one.task, one.before, (step,), looks, results=(result,))
            for one in tried
            for step, result in zip(one.steps, one.results, strict=True)
        ]
        scores = iter(score(asked))
        own = [[next(scores) for _ in one.steps] for one in tried]
        return [some.index(max(some)) for some in own]

    return choose


@dataclass(slots=True, kw_only=True)
class Choosing:
    """A chooser for ``run.branch`` that asks a judge of lists, which sees the executed results if its ``looks`` say so.

    Where the judge comes to no choice the first candidate wins (SPORT's rule) and the verdict is labelled ``failed``, so that no pair is made
    of it. ``verdicts`` gathers the choices in order; calls are charged to ``ledger``. ``at_once`` states are judged at a time. A judge
    that wants to see what came later is refused.
    """

    judge: Judge
    ledger: Ledger = field(default_factory=Ledger)
    at_once: int = 1
    verdicts: list[Verdict] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_looks(self.judge.looks)
        if Level.LIST not in self.judge.levels:
            raise ConfigError(
                f"judge {self.judge.name!r} judges {', '.join(sorted(self.judge.levels))}, no lists. Wrap a judge of steps in Best."
            )
        if self.judge.looks.sees_future:
            raise ConfigError(
                f"judge {self.judge.name!r} looks at what came later; it cannot choose as it happens."
            )
        if self.at_once < 1:
            raise ConfigError(f"at_once is {self.at_once!r}; it must be 1 or more.")

    def __call__(self, tried: Sequence[Tried]) -> list[int]:
        """Return the number of the chosen candidate of each state."""
        found = asyncio.run(self._all(tried))
        self.ledger.add(judge_calls=len(tried))
        self.verdicts += found
        return [one.targets.index(one.label) if one.label in one.targets else 0 for one in found]

    async def _all(self, tried: Sequence[Tried]) -> list[Verdict]:
        gate = asyncio.Semaphore(self.at_once)

        async def one(state: Tried) -> Verdict:
            async with gate:
                return await self._choose(state)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(state)) for state in tried]
        return [task.result() for task in tasks]

    async def _choose(self, state: Tried) -> Verdict:
        evidence = sibling_evidence(
            state.task, state.before, state.steps, self.judge.looks, results=state.results
        )
        try:
            first, *_ = await self.judge.judge(Level.LIST, evidence)
        except (JudgeError, ModelError) as error:
            return verdict(
                self.judge, Level.LIST, evidence, score=None, label=FAILED, reason=str(error)[:500]
            )
        if first.label in first.targets:
            return first
        return replace(
            first, label=FAILED, reason=f"it named {str(first.label)[:80]!r}, which is no candidate"
        )
