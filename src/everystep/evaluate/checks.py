"""How often a check of acts is right, on acts whose truth is known: the numbers to ask for before a check is believed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count

from everystep.core.protocols import AsyncSampler, Sampler, Situation, Transition
from everystep.core.records import Action, Observation, Task
from everystep.evaluate.intervals import Interval, proportion
from everystep.guard.feasible import ByAsking, When
from everystep.guard.learned import Linear

Act = tuple[str, str, str, bool, bool]
"""What was seen, the gesture, what was seen after it, whether it could be done, whether it was done."""


Check = Callable[[str, str, str], str]
"""Says ``yes``, ``no`` or ``unsure`` of what was seen, the gesture, and what was seen after it (empty before)."""


def held_out(check: Check, acts: Sequence[Act], when: When) -> dict[str, Interval]:
    """Return a check's shares on acts of tasks that it was not trained on: right (of all), ``false_no`` (of the good), ``false_yes`` (of the bad)."""
    good: list[str] = []
    bad: list[str] = []
    for seen, act, then, possible, right in acts:
        truth = possible if when is When.BEFORE else right
        said = check(seen, act, "" if when is When.BEFORE else then)
        (good if truth else bad).append(said)
    return {
        "right": proportion(good.count("yes") + bad.count("no"), len(acts)),
        "false_no": proportion(good.count("no"), len(good)),
        "false_yes": proportion(bad.count("yes"), len(bad)),
    }


def learned_labels(model: Linear, low: float = 0.4, high: float = 0.6) -> Check:
    """Return a trained check as a function of what was seen, the act, and what was seen after it."""

    def label(seen: str, act: str, then: str) -> str:
        p = model.probability("", seen, act, then)
        return "yes" if p > high else "no" if p < low else "unsure"

    return label


def asked_labels(sampler: Sampler | AsyncSampler, when: When, *, reasons: bool) -> Check:
    """Return a prompted check as such a function."""
    check, numbers = ByAsking(sampler=sampler, when=when, reasons=reasons), count()

    def label(seen: str, act: str, then: str) -> str:
        task = Task(id="held out", instruction="", environment="screens")
        shown = Observation(text=seen)
        situation = Situation(
            run="held out", task=task, node="main", goal="", step=str(next(numbers)), index=0, observation=shown
        )  # fmt: skip
        after = Transition(observation=Observation(text=then), reward=0.0) if when is When.AFTER else None
        return asyncio.run(check.check(situation, Action(text=act), after)).label or "unsure"

    return label
