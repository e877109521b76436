"""Text as a world: each step is a piece of a solution, written down as it is; the last one says the answer.

For studies of stepwise solutions that no environment checks: the only thing that is decided is whether the final answer is the task's reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from everystep.core.errors import ConfigError, WorldError
from everystep.core.protocols import Transition
from everystep.core.records import Action, Observation, Task

FINAL = r"(?i)\b(?:the )?(?:final )?answer(?: is)?\s*[:=]?\s*(?P<answer>.+?)[.\s]*$"
_LONGEST = 100_000


def same_text(answer: str, reference: str) -> bool:
    """Say whether two answers are equal but for spaces and case; numbers are compared as numbers.

    >>> same_text("1,200.0", "1200"), same_text("x + 1", "x+1"), same_text("7", "8")
    (True, True, False)
    """
    one, other = ("".join(text.split()).casefold() for text in (answer, reference))
    if one == other:
        return True
    try:
        return float(one.replace(",", "")) == float(other.replace(",", ""))
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Solutions:
    """The world of ``tasks``. A step that matches ``final`` (a group ``answer``) in its last line ends the solution; ``same`` compares with the task's reference.

    ``cue`` is what is seen between steps.
    """

    tasks: tuple[Task, ...]
    final: str = FINAL
    same: Callable[[str, str], bool] = same_text
    cue: str = "Next step."
    max_steps: int = 64
    name: str = "solutions"
    summary: str = "stepwise solutions in text; the final answer is compared"

    def __post_init__(self) -> None:
        if not self.tasks or "answer" not in re.compile(self.final).groupindex:
            raise ConfigError("solutions need tasks, and a pattern `final` with a group named answer.")

    def make(self) -> _Written:
        """Return an environment."""
        return _Written(self)

    def task(self, split: str, index: int) -> Task:
        """Return a task of a split."""
        return [one for one in self.tasks if one.split == split][index]

    def size(self, split: str) -> int | None:
        """Return the number of tasks of a split."""
        return sum(one.split == split for one in self.tasks)


class _Written:
    """The environment of ``Solutions``."""

    def __init__(self, world: Solutions) -> None:
        self._world = world
        self._task: Task | None = None
        self._steps = 0

    def reset(self, task: Task) -> Observation:
        self._task, self._steps = task, 0
        return Observation(text="", anchor="0")

    def parse(self, text: str) -> Action:
        if not text.strip() or len(text) > _LONGEST:
            return Action(text=text, valid=False, reason=f"expected a step of 1 to {_LONGEST} characters")
        return Action(text=text)

    def step(self, action: Action) -> Transition:
        if self._task is None:
            raise WorldError("step was called, but no solution is being written. Call reset first.")
        self._steps += 1
        seen = Observation(text=self._world.cue)
        match = re.search(self._world.final, action.text.strip().splitlines()[-1]) if action.valid else None
        if match is None:
            cut = self._steps >= self._world.max_steps
            return Transition(
                observation=seen, reward=0.0, truncated=cut, valid=action.valid, reason=action.reason
            )
        right = self._world.same(match["answer"], str(self._task.reference))
        self._task = None
        return Transition(observation=seen, reward=float(right), terminated=True, success=right)

    def close(self) -> None:
        self._task = None
