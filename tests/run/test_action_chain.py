"""Chain of action: what is asked and learned, what is read back, and a sampler that gives on the decision alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.core.protocols import Request, Sampling
from everystep.core.records import Message
from everystep.models.scripted import Scripted
from everystep.run.action_chain import (
    Chain,
    ChainSampler,
    Decided,
    answer_of,
    decided,
    kind_of,
    pairs_of,
    prompt_of,
)

ACTIONS = ("open maps", "click 3", "type 2 green tea", "click 9", "wait", "swipe down")
words = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
actions = st.lists(st.lists(words, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=9).filter(
    lambda some: not any("decision" in one or "plan" in one for one in some)
)
chains = st.builds(Chain, history=st.integers(0, 9), plan=st.integers(0, 5))


@given(chains, actions)
def test_what_is_learned_reads_back_as_the_decision_and_the_kinds_that_come(
    chain: Chain, some: list[str]
) -> None:
    for place, (_, answer) in enumerate(pairs_of(chain, some, goal="g")):
        kinds = tuple(map(kind_of, some[place : place + chain.plan]))
        assert decided(answer) == Decided(plan=kinds, decision=some[place])


@given(chains, actions)
def test_a_prompt_shows_the_last_actions_and_nothing_that_comes(chain: Chain, some: list[str]) -> None:
    for place, (prompt, _) in enumerate(pairs_of(chain, some, goal="g")):
        shown = some[max(0, place - chain.history) : place] if chain.history else None
        assert prompt == prompt_of(chain, done=shown or (), goal="g")
    assert ("before:" in prompt) is bool(chain.history)


def test_the_published_numbers_eight_before_and_four_kinds() -> None:
    long = [f"click {number}" for number in range(12)]
    prompt, answer = list(pairs_of(Chain(), long, goal="g", screens=["s"] * 12))[10]
    assert prompt == "before: " + " ; ".join(long[2:10]) + "\ngoal: g\ns"
    assert answer == "plan: click click\ndecision: click 10"
    assert answer_of(Chain(), long[0], long[1:]).splitlines()[0] == "plan: click click click click"
    assert answer_of(Chain(plan=0), "click 3", ACTIONS) == "decision: click 3"


@pytest.mark.parametrize("text", ["", "click 3", "plan: click", "decision:", "plan: click\ndecision:  \n"])
def test_an_answer_without_a_decision_has_none(text: str) -> None:
    assert decided(text).decision is None


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(ConfigError, match="history=-1"):
        Chain(history=-1)


def test_the_sampler_asks_each_turn_anew_with_its_own_last_decisions() -> None:
    asked: list[str] = []
    replies = iter(["plan: click\ndecision: click 1", "no idea", "decision: type 2 a", "decision: click 3"])

    def answer(request: Request) -> str:
        assert len(request.messages) == 1
        asked.append(request.messages[0].content)
        return next(replies)

    sampler = ChainSampler(Scripted(answer), Chain(history=1), show=str.upper)

    def turn(text: str, session: str = "a") -> str:
        request = Request(session=session, messages=(Message(role="user", content=text),))
        return sampler.sample([request], Sampling())[0].text

    assert [turn("one"), turn("two"), turn("three")] == ["click 1", "no idea", "type 2 a"]
    assert asked == ["before: none\nONE", "before: click 1\nTWO", "before: click 1\nTHREE"]
    sampler.release(["a"])
    assert turn("four") == "click 3"
    assert asked[-1] == "before: none\nFOUR"
