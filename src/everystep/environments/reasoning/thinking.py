"""A world without acts: everything is thought. Nodes of a plan end by what is said (``Parts.finish``), nothing is ever done."""

from __future__ import annotations

from everystep.core.protocols import Transition
from everystep.core.records import Action, Observation, Task


class Thinking:
    """An environment that shows nothing and does nothing; every act is refused."""

    def reset(self, task: Task) -> Observation:  # noqa: ARG002
        """Begin."""
        return Observation(text="")

    def parse(self, text: str) -> Action:
        """Take any text."""
        return Action(text=text)

    def step(self, action: Action) -> Transition:  # noqa: ARG002
        """Refuse."""
        why = "there is nothing to act on here"
        return Transition(observation=Observation(text=why), reward=0.0, valid=False, reason=why)

    def close(self) -> None:
        """Nothing is open."""
