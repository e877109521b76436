"""A model that is asked afresh at every step keeps nothing of the conversation."""

from __future__ import annotations

from everystep.core.protocols import Generation, Request, Sampling
from everystep.core.records import Message, Stop, Task
from everystep.run.afresh import Afresh, without_instruction


class Listens:
    """Notes what it is asked."""

    policy = "p"

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.released: list[str] = []

    def sample(self, requests: list[Request], sampling: Sampling) -> list[Generation]:
        self.asked += requests
        return [Generation(text="x", stop=Stop.STOP) for _ in requests]

    def release(self, sessions: list[str]) -> None:
        self.released += sessions

    def prime(self, session: str, turns: object) -> None:
        raise AssertionError(f"{session} was primed")


def test_each_turn_is_a_conversation_of_its_own_and_is_released() -> None:
    inner = Listens()
    sampler = Afresh(inner)  # type: ignore[arg-type]
    for role in ("user", "tool"):
        sampler.sample([Request(session="a", messages=(Message(role=role, content=role),))], Sampling())
    sampler.prime("a", ())
    sampler.release(["a"])
    assert [one.session for one in inner.asked] == ["a~1", "a~2"] == inner.released
    assert [(one.messages[0].role, one.messages[0].content) for one in inner.asked] == [("user", "user"), ("user", "tool")]  # fmt: skip


def test_tasks_lose_their_instruction_alone() -> None:
    task = Task(id="t", instruction="do", environment="e", seed=3)
    (made,) = without_instruction([task])
    assert (made.instruction, made.id, made.seed) == ("", "t", 3)
