"""A world in which one may say something before one acts: the last part of a turn is the action, what stands before it is not looked at.

An agent that corrects itself says in its own turn what was wrong. Worlds with strict actions would refuse that; in this one they need not know.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from everystep.core.errors import ConfigError
from everystep.core.protocols import Environment, Oracle, Snapshots, Transition, World
from everystep.core.records import Action, Observation, Task

MARK = "\naction: "
"""Stands between what is said and the action."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reflecting:
    """``world`` with turns of the form ``SAID`` + ``mark`` + ``ACTION``; a turn without the mark is an action.

    Where the world lists its admissible actions, each is listed alone and behind each of ``sayings``, so that a model which may only write admissible
    turns can say these. What is said is not bound to that list: a model that writes freely may say anything. Tasks are those of the world.
    """

    world: World
    sayings: tuple[str, ...] = ()
    mark: str = MARK

    def __post_init__(self) -> None:
        if not self.mark or any(self.mark in saying for saying in self.sayings):
            raise ConfigError(
                f"the mark is {self.mark!r}; expected a text that no saying contains, for the last one ends what is said."
            )

    @property
    def name(self) -> str:
        """The world's name: tasks and stored steps are the world's."""
        return self.world.name

    @property
    def summary(self) -> str:
        return f"{self.world.summary}; something may be said before an action"

    @property
    def max_steps(self) -> int:
        return self.world.max_steps

    def make(self) -> Environment:
        """Return an environment with the abilities of the world's own: an oracle, and snapshots where there are both."""
        inner = self.world.make()
        if isinstance(inner, Oracle) and isinstance(inner, Snapshots):
            return _Exact(inner, self)
        return _Known(inner, self) if isinstance(inner, Oracle) else _Said(inner, self)

    def task(self, split: str, index: int) -> Task:
        """Return the world's task."""
        return self.world.task(split, index)

    def size(self, split: str) -> int | None:
        """Return the number of tasks of a split."""
        return self.world.size(split)


class _Said:
    """The environment of ``Reflecting``."""

    def __init__(self, inner: Any, form: Reflecting) -> None:
        self._inner, self._form = inner, form

    def reset(self, task: Task) -> Observation:
        return self._listed(self._inner.reset(task))

    def parse(self, text: str) -> Action:
        action: Action = self._inner.parse(self._act(text))
        return replace(action, text=text)

    def step(self, action: Action) -> Transition:
        found: Transition = self._inner.step(replace(action, text=self._act(action.text)))
        return replace(found, observation=self._listed(found.observation))

    def close(self) -> None:
        self._inner.close()

    def _act(self, text: str) -> str:
        return text.rpartition(self._form.mark)[2]

    def _listed(self, seen: Observation) -> Observation:
        acts, form = seen.admissible, self._form
        if acts is None:
            return seen
        said = tuple(f"{saying}{form.mark}{act}" for saying in form.sayings for act in acts)
        return replace(seen, admissible=(*acts, *said))


class _Known(_Said):
    def oracle(self) -> str:
        best: str = self._inner.oracle()
        return best


class _Exact(_Known):
    def snapshot(self) -> Any:
        return self._inner.snapshot()

    def restore(self, state: Any) -> Observation:
        return self._listed(self._inner.restore(state))
