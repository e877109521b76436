"""Published step labels as benchmarks of judges: ProcessBench, PRMBench, BIG-Bench Mistake, Who&When, GUI-Critic (``evaluate.labelled``).

A judge of trajectories is asked for the first wrong step, one of steps about each step that is labelled; what it calls less than half good is wrong to it, and where it says nothing the step counts as
right. Labels never reach it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from everystep.bench.benchmark import About, Ask, Attempt, Benchmark, Case, Measure, Scored
from everystep.core.protocols import Evidence, Judge, Looks
from everystep.core.records import Level, Verdict
from everystep.evaluate.labelled import SETS, Labelled, labelled
from everystep.evaluate.step_metrics import (
    accuracy,
    erroneous_accuracy,
    error_f1,
    error_free_accuracy,
    first_error_counts,
    first_error_f1,
    location_accuracy,
    prm_score,
    step_counts,
)
from everystep.run.rollout import seed_of
from everystep.verify.judging import judged
from everystep.verify.verdicts import share_of, verdict

WRONG_BELOW = 0.5
_FIRST = ("erroneous", "found", "error_free", "said_so")
_STEPS = ("good_said_good", "bad_said_good", "bad_said_bad", "good_said_bad")
_HIT = ("tried", "hit")
_PAPERS = {
    "processbench": "arXiv 2412.06559, section 3.4",
    "prmbench": "arXiv 2501.03124",
    "bigbench_mistake": "arXiv 2311.08516",
    "who_and_when": "arXiv 2505.00212",
    "gui_critic": "arXiv 2506.04614",
}
_CASES = {
    "processbench": 1400,
    "prmbench": 2848,
    "bigbench_mistake": 1586,
    "who_and_when": 92,
    "gui_critic": 656,
}


def measures_of(name: str) -> tuple[Measure, ...]:
    """Return the published measures of a set, the main one first; their columns are what ``counts_of`` counts."""
    paper = _PAPERS[name]

    def of(label: str, columns: tuple[str, ...], measure: Callable[[Any], Any], definition: str) -> Measure:
        return Measure(name=label, columns=columns, of=measure, definition=definition, source=paper)

    wrong = of(
        "erroneous",
        _FIRST,
        erroneous_accuracy,
        "share of the wrong solutions whose first wrong step is found",
    )
    right = of("error-free", _FIRST, error_free_accuracy, "share of the right solutions that are said to be")
    if name == "processbench":
        return (
            of("F1", _FIRST, first_error_f1, "harmonic mean of the accuracies on wrong and on right solutions"),
            wrong,
            right,
        )  # fmt: skip
    if name == "bigbench_mistake":
        return (
            of("accuracy", _FIRST, location_accuracy, "first mistake, or that there is none, said exactly"),
            wrong,
            right,
        )
    if name == "prmbench":
        return (
            of("PRMScore", _STEPS, prm_score, "half the F1 on good steps and half that on wrong ones"),
            of("F1 on wrong steps", _STEPS, error_f1, "F1 on wrong steps"),
        )
    what = "decisive step said exactly" if name == "who_and_when" else "the last step rightly judged"
    return (of("accuracy", _HIT, accuracy, what),)


def counts_of(
    name: str, item: Labelled, scores: Sequence[float], wrong_below: float = WRONG_BELOW
) -> tuple[float, ...]:
    """Return what a set's measures count of one trajectory, from a score a step: in the order of their columns."""
    wrong = [at for at, score in enumerate(scores) if score < wrong_below]
    if name in ("processbench", "bigbench_mistake"):
        return first_error_counts(item.first, wrong[0] if wrong else None)
    if name == "prmbench":
        return step_counts(item.bad, wrong, item.known)
    if name == "gui_critic":
        return (1.0, float((scores[-1] < wrong_below) == bool(item.bad)))
    return (1.0, float(decisive(scores) == item.first))


def decisive(scores: Sequence[float]) -> int:
    """Return the first of the steps with the lowest score."""
    return min(range(len(scores)), key=scores.__getitem__)


@dataclass(slots=True)
class Known:
    """A judge that has the labels: what a perfect one would say."""

    bad: dict[str, frozenset[int]] = field(default_factory=dict)
    name: str = "oracle"
    version: str = "1"
    looks: Looks = field(default_factory=Looks)
    levels: frozenset[Level] = frozenset({Level.STEP})

    async def judge(self, level: Level, evidence: Evidence) -> tuple[Verdict, ...]:
        """Say 0 of a wrong step and 1 of another."""
        trajectory, _, place = evidence.targets[0].rpartition("/")
        return (verdict(self, level, evidence, score=float(int(place) not in self.bad.get(trajectory, ()))),)


@dataclass(frozen=True, slots=True)
class Guess:
    """A judge that guesses: of a trajectory one place or none, each as likely; of a step right or wrong."""

    seed: int = 0
    name: str = "random"
    version: str = "1"
    looks: Looks = field(default_factory=Looks)
    levels: frozenset[Level] = frozenset({Level.STEP, Level.TRAJECTORY})

    async def judge(self, level: Level, evidence: Evidence) -> tuple[Verdict, ...]:
        """Guess; the same again for the same target."""
        steps, random = evidence.candidates[0], Random(seed_of(self.seed, evidence.targets[0]))
        if level is Level.STEP:
            return (verdict(self, level, evidence, score=float(random.random() < 0.5)),)
        place = random.randrange(len(steps) + 1)
        return tuple(
            verdict(
                self,
                level if at is None else Level.STEP,
                evidence,
                score=float((place == len(steps)) if at is None else at != place),
                targets=None if at is None else (steps[at].id,),
            )
            for at in (None, *range(len(steps)))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeBenchmark:
    """A labelled set; a contestant is a judge. ``make`` is given a judge that has the labels, for the contestant ``oracle``."""

    name: str

    @property
    def about(self) -> About:
        """What one should know of it."""
        one = SETS[self.name]
        return About(
            name=self.name,
            kind="judge",
            summary=measures_of(self.name)[0].definition,
            source=one.source,
            licence=one.licence,
            cases=_CASES[self.name],
            needs=f"EVERYSTEP_DATA/{one.folder}",
            seconds=0.005,
        )

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The published measures of the set."""
        return measures_of(self.name)

    @property
    def failed(self) -> Mapping[str, float]:
        """An attempt that never ended counts as a wrong answer to an erroneous solution."""
        return dict.fromkeys(_FIRST + _STEPS + _HIT, 0.0) | {"erroneous": 1.0, "tried": 1.0}

    def cases(self) -> Iterator[Case]:
        """Yield the labelled trajectories."""
        for item in labelled(self.name):
            made = item.trajectory
            kind = item.kind.partition(":")[0]  # what is behind it is part of the label
            tags = {"kind": kind} if kind else {}
            yield Case(id=made.id, what=item, problem=item.problem, tags=tags)

    def open(self, make: Callable[..., Any]) -> Attempt:
        """Return how cases are judged."""
        known = Known()
        judge: Judge = make(known)
        runner = asyncio.Runner()

        def attempt(asks: Sequence[Ask]) -> list[Scored]:
            items: list[Labelled] = [ask.case.what for ask in asks]
            known.bad = {item.trajectory.id: item.bad for item in items}
            return runner.run(self._scored(items, judge))

        return attempt

    async def _scored(self, items: Sequence[Labelled], judge: Judge) -> list[Scored]:
        whole = Level.TRAJECTORY in judge.levels and self.name != "gui_critic"
        level = Level.TRAJECTORY if whole else Level.STEP
        shares: dict[str, float] = {}
        made = [item.trajectory for item in items]
        async for verdicts in judged(made, judge, level=level, at_once=len(items)):
            for one in verdicts:
                share = share_of(one)
                if share is not None and len(one.targets) == 1 and one.level is Level.STEP:
                    shares[one.targets[0]] = share
        return [self._row(item, shares) for item in items]

    def _row(self, item: Labelled, shares: Mapping[str, float]) -> Scored:
        steps = item.trajectory.steps
        scores = [shares.get(step.id, 1.0) for step in steps]
        first = next((at for at, score in enumerate(scores) if score < WRONG_BELOW), None)
        columns = self.measures[0].columns
        found = dict(zip(columns, counts_of(self.name, item, scores), strict=True))
        said = "all right" if first is None else f"first wrong: {first}"
        return Scored(numbers=found, steps=len(steps), answer=said)


def benchmark(name: str) -> Benchmark:
    """Return a labelled set as a benchmark of judges."""
    return JudgeBenchmark(name=name)
