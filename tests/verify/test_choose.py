"""Judges of lists as choosers: they see what was executed and no more, their errors have a stated rate, their failures cost a choice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from everystep.core.errors import ConfigError, JudgeError
from everystep.core.ledger import Ledger
from everystep.core.protocols import Evidence, Looks, Request, Sampling
from everystep.core.records import Action, Level, Observation, Step, Task
from everystep.models.scripted import Scripted
from everystep.run.branch import Tried, branch
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Job, Limits
from everystep.verify.choose import Best, Choosing, by_score
from everystep.verify.noise import Noise
from everystep.verify.rule import Rule, Said
from everystep.verify.verdicts import FAILED
from fragile import Fragile, task

TASK = Task(id="t", instruction="obey", environment="fragile", reference="42")


def tried(*texts: str, name: str = "s") -> Tried:
    steps = tuple(
        Step(
            id=f"{name}{n}",
            parent=None,
            index=0,
            observation=Observation(text="now"),
            action=Action(text=text),
            reward=float(n),
        )
        for n, text in enumerate(texts)
    )
    return Tried(
        task=TASK, before=(), steps=steps, results=tuple(Observation(text=f"then {text}") for text in texts)
    )


def longest(evidence: Evidence) -> Said:
    return min(1.0, len(evidence.step.action.text) / 10)


RULE = Rule(name="longest", function=longest)


def test_the_best_of_a_list_is_the_first_with_the_largest_score() -> None:
    choose = Choosing(judge=Best(of=RULE), ledger=(ledger := Ledger()))
    assert choose([tried("a", "bbb", "cc"), tried("dd", "ee", name="r")]) == [1, 0]
    assert [one.label for one in choose.verdicts] == ["s1", "r0"]
    assert {one.level for one in choose.verdicts} == {Level.LIST}
    assert ledger.judge_calls == 2


def test_it_sees_the_result_where_it_asks_for_it_and_nothing_else() -> None:
    seen: list[Evidence] = []

    def look(evidence: Evidence) -> Said:
        seen.append(evidence)
        return 0.5

    for looks in (Looks(), Looks(result=True)):
        Choosing(judge=Best(of=Rule(name="look", function=look, looks=looks)))([tried("a", "b")])
    blind, sighted = seen[:2], seen[2:]
    assert [one.results for one in blind] == [(), ()]
    assert [one.step.reward for one in blind] == [None, None]
    assert [[result.text for result in one.results if result] for one in sighted] == [["then a"], ["then b"]]
    assert [one.step.reward for one in sighted] == [0.0, 1.0]
    assert all(one.task.reference is None for one in seen)


def test_who_sees_the_future_cannot_choose_live() -> None:
    for looks in (Looks(outcome=True), Looks(after=1)):
        with pytest.raises(ConfigError, match="came later"):
            Choosing(judge=Best(of=Rule(name="seer", function=longest, looks=looks)))
    with pytest.raises(ConfigError, match="no lists"):
        Choosing(judge=RULE)


def test_without_a_choice_the_first_wins_and_the_verdict_says_so() -> None:
    def mute(evidence: Evidence) -> Said:
        return None

    def broken(evidence: Evidence) -> Said:
        raise JudgeError("no answer")

    for function in (mute, broken):
        choose = Choosing(judge=Best(of=Rule(name="x", function=function)))
        assert choose([tried("a", "b")]) == [0]
        assert choose.verdicts[0].label == FAILED


def test_wrong_choices_come_at_their_rate_and_name_any_other() -> None:
    judge = Noise(of=Best(of=RULE), wrong_choice=0.3, seed=3)
    choose = Choosing(judge=judge)
    picks = choose([tried("a", "bbb", "cc", name=f"s{n}.") for n in range(3000)])
    shares = [picks.count(number) / 3000 for number in range(3)]
    assert shares == pytest.approx([0.15, 0.7, 0.15], abs=0.025)
    assert choose([tried("a", "bbb", "cc", name=f"s{n}.") for n in range(3000)]) == picks
    assert Level.LIST not in Noise(of=Best(of=RULE)).levels
    with pytest.raises(ConfigError, match="wrong_choice"):
        asyncio.run(Noise(of=Best(of=RULE)).judge(Level.LIST, Evidence(task=TASK, targets=(), candidates=())))


def test_greedy_search_by_a_score_asks_once_for_all_states() -> None:
    calls: list[int] = []

    def score(evidence: Sequence[Evidence]) -> list[float]:
        calls.append(len(evidence))
        return [float(len(one.step.action.text)) for one in evidence]

    choose = by_score(score, Looks())
    assert choose([tried("a", "bbb", "ccc"), tried("dd", "e", name="r")]) == [1, 0]
    assert calls == [5]


def test_branching_follows_the_judge() -> None:
    def answer(request: Request) -> str:
        return ["bad", "a", "cut"][int(request.session.rpartition("~")[2])]

    def paid(evidence: Evidence) -> Said:
        return evidence.step.reward or 0.0

    choose = Choosing(judge=Best(of=Rule(name="paid", function=paid, looks=Looks(result=True))))
    found = branch(
        LocalHosts(Fragile()), Scripted(answer), Job(id="j", task=task("t"), group="g"), width=3, choose=choose,
        sampling=Sampling(), limits=Limits(max_steps=3),
    )  # fmt: skip
    assert [step.action.text for step in found.trajectory.steps] == ["a", "a", "a"]
    assert [one.targets for one in choose.verdicts] == [
        tuple(step.id for step in one.steps) for one in found.tried
    ]
