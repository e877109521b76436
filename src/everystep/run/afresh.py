"""A model that is asked afresh at every step: what it must know of the past stands in the observation, nothing is kept of the conversation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from everystep.core.protocols import Generation, Request, Sampler, Sampling, Turn
from everystep.core.records import Message, Task


class Afresh:
    """A sampler that shows ``of`` only the newest messages of a conversation, as a user's, each time in a new one.

    Prompts stay as long as an observation, however many steps there were. The instruction of a task stands in its first message only, so the tasks should
    have it in their observations (``without_instruction``).
    """

    def __init__(self, of: Sampler) -> None:
        self.of = of
        self._turns: Counter[str] = Counter()

    @property
    def policy(self) -> str:
        """The policy of the model that is asked."""
        return self.of.policy

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """Ask each of the requests in a conversation of its own."""
        fresh = []
        for request in requests:
            self._turns[request.session] += 1
            messages = tuple([Message(role="user", content=one.content) for one in request.messages])
            fresh.append(replace(request, session=f"{request.session}~{self._turns[request.session]}", messages=messages))  # fmt: skip
        made = self.of.sample(fresh, sampling)
        self.of.release([one.session for one in fresh])
        return made

    def release(self, sessions: Sequence[str]) -> None:
        """Forget how often was asked."""
        for session in sessions:
            self._turns.pop(session, None)

    def prime(self, session: str, turns: Sequence[Turn]) -> None:
        """Do nothing: what came before is not shown."""


def without_instruction(tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks with empty instructions, for observations that say what is to be done."""
    return [replace(task, instruction="") for task in tasks]
