"""A scripted judge of gestures on the small phone, with stated error rates (it answers the questions of ``guard.feasible.ByAsking``)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from everystep.core.protocols import Generation, Request, Sampling
from everystep.core.records import Stop
from everystep.environments.phone.looks import can, look, outcome
from everystep.environments.phone.phones import read_gesture


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A sampler that answers the questions of ``guard.feasible.ByAsking`` about phones, right but for its error rates."""

    false_no: float
    false_yes: float
    unsure: float
    policy: str = "judge"

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:  # noqa: ARG002
        """Answer yes, no or unsure."""
        return [Generation(text=self._judged(request), stop=Stop.STOP) for request in requests]

    def release(self, sessions: Sequence[str]) -> None:
        """Nothing is kept."""

    def _judged(self, request: Request) -> str:
        parts = dict(re.findall(r"<<([a-z ]+)\n(.*?)\n>>", request.messages[-1].content, re.DOTALL))
        rng, good = Random(request.seed), _good(parts)
        if rng.random() < self.unsure:
            return "unsure"
        wrong = rng.random() < (self.false_no if good else self.false_yes)
        return "yes" if good != wrong else "no: it does not look right"


def _good(parts: Mapping[str, str]) -> bool:
    gesture, before = read_gesture(parts["action"]), look(parts["observation"])
    if gesture is None:
        return True  # done and abort can always be said
    if "observation after it" not in parts:
        return can(before, gesture)
    return outcome(before, gesture, look(parts["observation after it"]))[0] == "A"
