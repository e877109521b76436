from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from everystep.core.errors import ConfigError, JudgeError
from everystep.core.protocols import Evidence, Looks, Situation
from everystep.core.records import Action, Level, Observation, Task
from everystep.core.trace import Kind
from everystep.run.journal import Journal
from everystep.run.parts import Parts
from everystep.verify.evidence import step_evidence
from everystep.verify.live import live
from everystep.verify.rule import RULES, Rule, Said
from stepping import hanoi, runner, voter
from verify.stored import written


def not_so(evidence: Evidence) -> Said:
    first = not evidence.before and evidence.step.action.text.startswith("move 1 ")
    return (0.0, "not that disk first") if first else 1.0


def test_a_judge_that_sees_the_future_is_refused_and_told_why() -> None:
    for looks in (Looks(after=1), Looks(outcome=True)):
        with pytest.raises(ConfigError, match=r"sees the future.*stored trajectories"):
            live(Rule(name="late", function=not_so, looks=looks))
    with pytest.raises(ConfigError, match="not single steps"):
        live(Rule(name="whole", function=not_so, levels=frozenset({Level.TRAJECTORY})))
    with pytest.raises(ConfigError, match="threshold"):
        live(RULES["always"], threshold=7)


def test_the_same_judge_guards_a_run(tmp_path: Path) -> None:
    task, environment, sampler = hanoi(disks=3, rate=0.0)
    guarded = Parts(operator=voter(sampler, k=1), feasible=(live(Rule(name="not so", function=not_so)),))
    checked = Parts(operator=voter(sampler, k=1), verifiers=(live(RULES["valid"]),))
    with Journal.create(tmp_path / "guarded.sqlite", {}) as journal:
        outcome = asyncio.run(runner(journal, guarded, task, environment).run())
        attempts = [event.body["reason"] for event in journal.events(kinds={Kind.ATTEMPT})]
    assert outcome.steps == 0
    assert any("not that disk first" in why for why in attempts)
    with Journal.create(tmp_path / "checked.sqlite", {}) as journal:
        outcome = asyncio.run(runner(journal, checked, task, environment).run())
        verdicts = [event.body for event in journal.events(kinds={Kind.VERDICT})]
    assert outcome.success
    assert len(verdicts) == outcome.steps
    assert {(one["judge"], one["score"]) for one in verdicts} == {("valid", 1.0)}


def situation() -> Situation:
    task = Task(id="t", instruction="i", environment="e", reference="secret")
    return Situation(
        run="r", task=task, node="", goal="g", step="s", index=0, observation=Observation(text="o")
    )


def test_a_judge_of_results_must_not_be_asked_before_the_act() -> None:
    with pytest.raises(ConfigError, match=r"Parts\.verifiers"):
        asyncio.run(live(RULES["valid"]).check(situation(), Action(text="x"), None))


def test_a_judge_that_fails_says_nothing_or_fails_the_step() -> None:
    def broken(evidence: Evidence) -> Said:
        assert evidence.task.reference is None  # the answer is never shown unasked, live either
        raise JudgeError("no idea")

    judge = Rule(name="broken", function=broken)
    calm, strict = (
        asyncio.run(live(judge, strict=one).check(situation(), Action(text="x"), None))
        for one in (False, True)
    )
    assert calm.score is None
    assert strict.score == 0.0
    assert calm.label == strict.label == "failed"


def test_scores_of_any_range_are_shares_live() -> None:
    evidence = next(step_evidence(written(["2 + 2 = 5"]), Looks()))
    (stored,) = asyncio.run(RULES["arithmetic"].judge(Level.STEP, evidence))
    assert stored.score == 0.0
    assert stored.reason == "2 + 2 = 5 does not hold"
    checked = asyncio.run(live(RULES["arithmetic"]).check(situation(), Action(text="2 + 2 = 4"), None))
    assert checked.score == 1.0
