"""A judged vote: when nobody is asked, and who is taken."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from everystep.core.errors import ConfigError
from everystep.core.protocols import Candidate, Generation, Situation
from everystep.core.records import Action, Observation, Stop, Task
from everystep.run.vote import Judged

HERE = Situation(
    run="r", task=Task(id="t", instruction="", environment="e"), node="n", goal="", step="s", index=0, observation=Observation(text="")
)  # fmt: skip


def taken(
    texts: Sequence[str], share: float = 0.6, strict: bool = True
) -> tuple[str | None, list[list[str]]]:
    asked: list[list[str]] = []

    async def pick(_: Situation, some: Sequence[Candidate]) -> int:
        asked.append([one.action.text for one in some])
        return len(some) - 1

    rule = Judged(len(texts), pick, final=(lambda one: one.action.text.startswith("stop")) if strict else None, share=share)  # fmt: skip
    count = rule.start(HERE)
    for number, text in enumerate(texts):
        count.add(Candidate(sample=number, action=Action(text=text), generation=Generation(text=text, stop=Stop.STOP), key=text))  # fmt: skip
    found = asyncio.run(rule.choose(HERE, count))
    return None if found is None else found.action.text, asked


def test_equal_answers_need_no_judge() -> None:
    assert taken(["click [1]"] * 4) == ("click [1]", [])


def test_most_want_to_stop_so_the_longest_stop_is_taken_unasked() -> None:
    assert taken(["stop [a]", "stop [a b c]", "stop [a]", "click [1]", "click [2]"]) == ("stop [a b c]", [])


def test_fewer_stops_are_judged_and_equal_ones_shown_once() -> None:
    told, asked = taken(["stop [a]", "click [1]", "click [1]", "stop [b]", "click [2]"])
    assert told == "click [2]"
    assert asked == [["stop [a]", "click [1]", "stop [b]", "click [2]"]]


def test_without_final_answers_the_judge_is_always_asked() -> None:
    assert taken(["stop [a]", "stop [b]", "stop [c]"], strict=False)[1] != []


def test_a_share_outside_its_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="share"):
        taken(["x"], share=0.0)
