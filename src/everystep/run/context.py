"""What a model is shown of a run: a view of the trace that is made for one step and never stored.

A window costs the same at every step, however long the run: the last steps, a digest of the older ones, and what
memory recalls. The full history is shown through one conversation that only grows at its end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from everystep.core.errors import ConfigError
from everystep.core.protocols import Situation
from everystep.core.records import Message, Step

_CUT = " [...] "


Digest = Callable[[str, Step], str]
"""Folds a step that leaves the window into the digest of the older ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The goal, a digest, notes, the last ``steps`` steps and the observation; each text is cut to ``chars`` characters."""

    steps: int = 8
    chars: int = 4000
    system: str = ""

    def __post_init__(self) -> None:
        if self.steps < 0 or self.chars < 50:
            raise ConfigError(
                f"a window of {self.steps!r} steps and {self.chars!r} characters a text: expected 0 or more steps "
                "and 50 or more characters."
            )

    @property
    def window(self) -> int:
        return self.steps

    def messages(self, situation: Situation) -> tuple[Message, ...]:
        """Return the whole prompt of one step."""
        task = situation.task
        lines = [task.instruction] if task.instruction else []
        if situation.goal and situation.goal != task.instruction:
            lines.append(f"Now: {situation.goal}")
        if situation.digest:
            lines.append(f"Before: {situation.digest}")
        lines += [f"Note: {note}" for note in situation.notes]
        for step in situation.recent[len(situation.recent) - self.steps :] if self.steps else ():
            if step.observation.text:
                lines.append(cut(step.observation.text, self.chars))
            lines.append(f"> {cut(step.action.text, self.chars)}")
        if situation.observation.text:
            lines.append(cut(situation.observation.text, self.chars))
        if situation.feedback:
            lines.append(f"The last attempt did not count: {situation.feedback}")
        user = Message(role="user", content="\n".join(lines))
        return (Message(role="system", content=self.system), user) if self.system else (user,)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The full history as one conversation; each step adds its own messages only, and a KV cache can be kept.

    The model must be able to continue a conversation in several ways (``core.protocols.Forks``).
    """

    chars: int = 4000
    system: str = ""

    @property
    def window(self) -> int:
        return 0

    def messages(self, situation: Situation) -> tuple[Message, ...]:
        """Return what opens the conversation."""
        return Window(steps=0, chars=self.chars, system=self.system).messages(situation)

    def further(self, situation: Situation) -> tuple[Message, ...]:
        """Return what the last step added."""
        text = cut(situation.observation.text, self.chars)
        if situation.feedback:
            text = f"{text}\nThe last attempt did not count: {situation.feedback}"
        return (Message(role="user", content=text),)


def cut(text: str, chars: int) -> str:
    """Return ``text`` with its middle left out where it is longer than ``chars``.

    >>> cut("0123456789" * 10, 20)
    '012345 [...] 3456789'
    """
    if len(text) <= chars:
        return text
    half = (chars - len(_CUT)) // 2
    return f"{text[:half]}{_CUT}{text[len(text) - (chars - len(_CUT) - half) :]}"
