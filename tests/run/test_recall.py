"""How a model is asked: windows of the conversation, votes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from everystep.core.errors import ConfigError
from everystep.core.protocols import Generation, Request, Sampling, Turn
from everystep.core.records import Message, Stop
from everystep.run.recall import Manner, Recalling, RecallingAsync, most_frequent, recalling


@dataclass
class Told:
    """A model that says what it was shown, and counts what is open."""

    policy: str = "told"
    primed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    say: Sequence[str] = ()

    def prime(self, session: str, turns: Sequence[Turn]) -> None:
        self.primed[session] = tuple(f"{turn.messages[-1].content}>{turn.text}" for turn in turns)
        self.open.add(session)

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        return [self.one(request) for request in requests]

    def one(self, request: Request) -> Generation:
        self.open.add(request.session)
        if self.say:
            return Generation(text=self.say[request.seed % len(self.say)], stop=Stop.STOP)
        past = self.primed.get(request.session, ())
        return Generation(text=f"a{len(past)}:{'|'.join(past)}", stop=Stop.STOP)

    def release(self, sessions: Sequence[str]) -> None:
        for session in sessions:
            self.open.discard(session)
            self.primed.pop(session, None)


class Remote(Told):
    """The same, one request at a time."""

    async def sample_one(self, request: Request, sampling: Sampling) -> Generation:
        await asyncio.sleep(0)
        return self.one(request)


class Unprimed:
    """A model that only knows the first turn."""

    policy = "once"

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        return [Generation(text="x", stop=Stop.STOP) for _ in requests]

    def release(self, sessions: Sequence[str]) -> None:
        pass


def turn(text: str, session: str = "s", seed: int = 0) -> Request:
    return Request(session=session, messages=(Message(role="user", content=text),), seed=seed)


def test_a_window_shows_the_first_turn_and_the_last_ones() -> None:
    of = Told()
    model = Recalling(of, Manner(window=1))
    said = [model.sample([turn(text)], Sampling())[0].text for text in "abcd"]
    assert [text[:2] for text in said] == ["a0", "a1", "a2", "a2"]
    assert said[1] == "a1:a>a0:"
    assert said[3].startswith("a2:a>a0:|c>a2:")
    assert not of.open
    model.release(["s"])
    assert model.sample([turn("a")], Sampling())[0].text == "a0:"


def test_without_a_window_everything_is_shown_and_with_zero_the_task_alone() -> None:
    for manner, shown in ((Manner(), "a3"), (Manner(window=0), "a1")):
        model = Recalling(Told(), manner)
        assert [model.sample([turn(text)], Sampling()) for text in "abcd"][-1][0].text[:2] == shown


def test_the_most_frequent_last_line_is_taken_and_errors_have_no_vote() -> None:
    bad = Generation(text="5", stop=Stop.ERROR, error="broken")
    right = [Generation(text=text, stop=Stop.STOP) for text in ("one\n4", "4", "5")]
    assert most_frequent([bad, bad, bad, *right]).text == "one\n4"
    assert most_frequent([bad, bad]) is bad
    assert most_frequent([Generation(text="", stop=Stop.STOP)]).text == ""


def test_votes_are_drawn_with_seeds_of_their_own_and_everything_is_released() -> None:
    of = Told(say=("x", "y", "y"))
    model = Recalling(of, Manner(votes=31))
    made = model.sample([turn("a", session=one, seed=7) for one in ("s", "t")], Sampling(temperature=1.0))
    assert [one.text for one in made] == ["y", "y"]
    assert not of.open


def test_a_remote_model_is_asked_in_the_same_manner() -> None:
    of = Remote()
    model = recalling(of, Manner(window=1, votes=3))
    assert isinstance(model, RecallingAsync)

    async def said() -> list[str]:
        return [(await model.sample_one(turn(text), Sampling())).text[:2] for text in "abcd"]

    assert asyncio.run(said()) == ["a0", "a1", "a2", "a2"]
    assert not of.open


def test_what_cannot_be_primed_is_told_at_the_second_turn() -> None:
    model = Recalling(Unprimed(), Manner(votes=2))
    assert model.sample([turn("a")], Sampling())[0].text == "x"
    with pytest.raises(ConfigError, match="cannot be put behind turns"):
        model.sample([turn("b")], Sampling())
    with pytest.raises(ConfigError, match="1 or more"):
        Manner(votes=0)
