"""The runner: every event is a place to be killed at, nothing is done twice, and a step costs the same at the end as at the start."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from itertools import count
from pathlib import Path

import pytest

from everystep.core.acts import Effect, Permission, Permit, Risk
from everystep.core.budget import Budget
from everystep.core.protocols import (
    Generation,
    Request,
    Sampling,
    Situation,
    Transition,
)
from everystep.core.records import Action, End, Step, Task
from everystep.core.trace import Event, Kind, fold
from everystep.models.scripted import Scripted
from everystep.run.context import History, Window
from everystep.run.decide import AtCap, Role, Way
from everystep.run.journal import Journal
from everystep.run.journal_file import write_fresh
from everystep.run.loop import Runner
from everystep.run.parts import Bounds, Parts, Patience
from everystep.run.resume import take_up
from everystep.run.vote import AheadBy, Single
from stepping import Bank, Progress, Unsure, go, hanoi, moves, runner, voter


def test_a_voted_run_makes_no_error_and_its_journal_is_a_trajectory(tmp_path: Path) -> None:
    task, environment, sampler = hanoi()
    with Journal.create(tmp_path / "j", {}) as journal:
        outcome = asyncio.run(runner(journal, Parts(operator=voter(sampler)), task, environment).run())
        trace = journal.trace()
    assert (outcome.end, outcome.success, outcome.steps) == (End.DONE, True, 31)
    trajectory = trace.trajectory("r")
    assert [step.scores["progress"] for step in trajectory.steps] == [1.0] * 31
    assert outcome.cost["samples"] == sampler.calls == sum(step.cost["samples"] for step in trajectory.steps)
    assert any(event.kind is Kind.VOTE for events in trace.decisions.values() for event in events)


def test_the_same_seed_gives_the_same_run_to_the_bit(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        task, environment, sampler = hanoi(rate=0.3)
        with Journal.create(tmp_path / name, {}) as journal:
            asyncio.run(runner(journal, Parts(operator=voter(sampler)), task, environment, seed=7).run())
            texts.append([(event.kind, event.body) for event in journal.events()])
    assert texts[0] == texts[1]


@pytest.mark.parametrize("checkpoint_every", [7, 1000])
def test_killed_after_every_event_it_goes_on_with_the_same_steps(
    tmp_path: Path, checkpoint_every: int
) -> None:
    """Votes, flags, undone steps and checkpoints: cut the journal after each event in turn and go on."""

    def parts(sampler: Unsure) -> Parts:
        return Parts(operator=voter(sampler, 1), verifiers=(Progress(),), patience=Patience(failed=9))

    bounds = Bounds(checkpoint_every=checkpoint_every)
    task, environment, sampler = hanoi(rate=0.4)
    ticks = count()
    with Journal.create(tmp_path / "whole", {}, clock=lambda: float(next(ticks))) as journal:
        whole = asyncio.run(runner(journal, parts(sampler), task, environment, bounds=bounds).run())
        events = list(journal.events())
        expected = moves(journal)
    assert any(one.body.get("undone") for one in events if one.kind is Kind.STEP)
    for cut in range(1, len(events)):
        if events[cut].time == events[cut - 1].time:
            continue  # written in one transaction: both are there or neither
        write_fresh(tmp_path / "cut", events[:cut]).replace(tmp_path / "cut")
        task, environment, sampler = hanoi(rate=0.4)
        with Journal.open(tmp_path / "cut") as journal:
            again = runner(journal, parts(sampler), task, environment, bounds=bounds)
            asyncio.run(take_up(again))
            outcome = asyncio.run(again.run())
            assert moves(journal) == expected, cut
        assert (outcome.end, outcome.steps, outcome.reward, outcome.cost) == (
            whole.end,
            whole.steps,
            whole.reward,
            whole.cost,
        ), cut


# --- acts outside of the process ------------------------------------------------------------------


def payer() -> Role:
    def answer(request: Request) -> str:
        paid = int(request.messages[-1].content.split("balance ")[-1].split()[0])
        return f"pay {paid}"

    return Role(name="agent", ways=(Way(sampler=Scripted(answer), context=Window(steps=1)),))


TASK = Task(id="pay", instruction="pay twenty times", environment="bank")


class DiedError(BaseException):
    """Stands for kill -9: nothing after it runs."""


class Fragile(Journal):
    """A journal whose process dies after a stated number of events."""

    dies_after = 0

    def append_many(self, events: object) -> range:
        done = super().append_many(events)  # type: ignore[arg-type]
        if self.dies_after and self.last >= self.dies_after:
            raise DiedError
        return done


@pytest.mark.parametrize("acted", [True, False])
@pytest.mark.parametrize("steps", [7, pytest.param(200, marks=pytest.mark.slow)])
def test_no_irreversible_act_happens_twice_wherever_the_process_dies(
    tmp_path: Path, acted: bool, steps: int
) -> None:
    """``acted``: the process dies between the act and the journal's second phase, or right after each append."""
    booked: list[str] = []
    with Journal.create(tmp_path / "whole", {}) as journal:
        asyncio.run(runner(journal, Parts(operator=payer()), TASK, Bank(booked, steps=steps)).run())
        total, expected = journal.last, moves(journal)
    assert len(booked) == len(set(booked)) == steps
    for death in range(2, total + 1):
        booked = []
        path = tmp_path / f"{death}"
        Journal.create(path, {}).close()
        for attempt in range(2):
            bank = Bank(booked, steps=steps)
            with Fragile.open(path) as journal:
                if attempt == 0:
                    journal.dies_after = death
                    if acted:
                        bank.act = _dying(bank, journal, death)  # type: ignore[method-assign]
                        journal.dies_after = 0
                again = runner(journal, Parts(operator=payer()), TASK, bank)
                try:
                    asyncio.run(go(again))
                except DiedError:
                    continue
                assert moves(journal) == expected
                break
        assert len(booked) == len(set(booked)) == steps, death
        path.unlink()


def _dying(bank: Bank, journal: Journal, death: int) -> object:
    act = Bank.act

    async def dies(action: Action, *, key: str) -> Transition:
        done = await act(bank, action, key=key)
        if journal.last >= death:
            raise DiedError
        return done

    return dies


@pytest.mark.parametrize(("choice", "extra"), [("skip", 0), ("repeat", 1)])
def test_an_act_that_nobody_can_check_pauses_the_run_until_somebody_decides(
    tmp_path: Path, choice: str, extra: int
) -> None:
    booked: list[str] = []
    path = tmp_path / "j"
    Journal.create(path, {}).close()
    with Journal.open(path) as journal:
        bank = Bank(booked, tells=False)
        bank.act = _dying(bank, journal, 8)  # type: ignore[method-assign]
        with pytest.raises(DiedError):
            asyncio.run(runner(journal, Parts(operator=payer()), TASK, bank).run())
    paid = len(booked)
    with Journal.open(path) as journal:
        outcome = asyncio.run(go(runner(journal, Parts(operator=payer()), TASK, Bank(booked, tells=False))))
        assert outcome.end is None
        assert "--in-doubt" in outcome.why
        assert len(booked) == paid
    with Journal.open(path) as journal:
        parts = Parts(operator=payer(), in_doubt=choice)
        # what the agent sees after a skipped act has no balance, so its script goes on from the number of acts
        parts = Parts(operator=_blind_payer(booked), in_doubt=choice)
        outcome = asyncio.run(go(runner(journal, parts, TASK, Bank(booked, tells=False))))
    assert outcome.end is End.DONE
    assert Counter(booked).most_common(1)[0][1] == 1 + extra


def _blind_payer(booked: list[str]) -> Role:
    return Role(name="agent", ways=(Way(sampler=Scripted(lambda request: f"pay {len(booked)}")),))


# --- gates ----------------------------------------------------------------------------------------


class Ask:
    """Lets nothing through that it does not know the grant of."""

    def __init__(self, *, grants: dict[str, Permission]) -> None:
        self.grants, self.asked = grants, []

    async def permit(self, situation: Situation, action: Action, effect: Effect) -> Permission:
        self.asked.append(action.text)
        return self.grants.get(
            action.text,
            Permission(allowed=False, permit=Permit.ASK, pending=True, reason="payments need a grant"),
        )


def test_a_run_waits_for_a_grant_and_goes_on_with_the_very_action_that_was_asked_about(
    tmp_path: Path,
) -> None:
    booked: list[str] = []
    path = tmp_path / "j"
    Journal.create(path, {}).close()
    one = Bank(booked, steps=1)
    with Journal.open(path) as journal:
        first = asyncio.run(go(runner(journal, Parts(operator=payer(), gate=Ask(grants={})), TASK, one)))
    assert (first.end, booked) == (None, [])
    assert first.waiting is not None
    assert first.waiting.action.text == "pay 0"
    assert first.waiting.effect.risk is Risk.HIGH
    other = Role(name="agent", ways=(Way(sampler=Scripted(lambda request: "pay something else")),))
    gate = Ask(grants={"pay 0": Permission(allowed=True, permit=Permit.ASK)})
    with Journal.open(path) as journal:
        last = asyncio.run(go(runner(journal, Parts(operator=other, gate=gate), TASK, one)))
        assert [text for _, text in moves(journal)] == ["pay 0"]
    assert (last.end, gate.asked, len(booked)) == (End.DONE, ["pay 0"], 1)


def test_an_edited_action_is_a_new_step_and_a_refused_one_is_told_to_the_agent(tmp_path: Path) -> None:
    booked: list[str] = []
    told = []

    def answer(request: Request) -> str:
        told.append(request.messages[-1].content)
        return "pay all" if len(told) == 1 else "look"

    gate = Ask(
        grants={
            "pay all": Permission(
                allowed=False, permit=Permit.ASK, reason="too much", action=Action(text="pay 1")
            ),
            "pay 1": Permission(allowed=False, permit=Permit.REFUSE, reason="no payments today"),
            "look": Permission(allowed=True),
        }
    )
    role = Role(name="agent", ways=(Way(sampler=Scripted(answer)),))
    with Journal.create(tmp_path / "j", {}) as journal:
        parts = Parts(operator=role, gate=gate)
        asyncio.run(runner(journal, parts, TASK, Bank(booked), bounds=Bounds(max_steps=1)).run())
        attempts = [event.body for event in journal.events(kinds={Kind.ATTEMPT})]
        assert [(one["step"], one["action"]["text"]) for one in attempts] == [
            ("main/0", "pay all"),
            ("main/0.1", "pay 1"),
        ]
        assert moves(journal) == [("main/0.2", "look")]
    assert "no payments today" in told[-1]
    assert booked == []


# --- limits ---------------------------------------------------------------------------------------


def test_a_budget_is_never_exceeded_and_the_rest_can_be_done_later(tmp_path: Path) -> None:
    task, environment, sampler = hanoi(rate=0.0)
    path = tmp_path / "j"
    Journal.create(path, {}).close()
    parts = Parts(operator=voter(sampler, 3))
    with Journal.open(path) as journal:
        outcome = asyncio.run(go(runner(journal, parts, task, environment, budget=Budget({"calls": 20}))))
    assert (outcome.end, outcome.steps, sampler.calls) == (End.BUDGET, 6, 18)
    task, environment, sampler = hanoi(rate=0.0)
    with Journal.open(path) as journal:
        budget = Budget({"calls": 93})
        outcome = asyncio.run(
            go(runner(journal, Parts(operator=voter(sampler, 3)), task, environment, budget=budget))
        )
    assert (outcome.end, outcome.steps, budget.used("calls")) == (End.DONE, 31, 93)


def test_at_the_cap_the_step_fails_escalates_or_takes_the_leader_as_asked(tmp_path: Path) -> None:
    task, environment, right = hanoi(disks=3, rate=0.0)
    ends = {}
    for at_cap in AtCap:
        torn = Scripted(lambda request: request.allowed[request.seed % len(request.allowed)])  # type: ignore[index]
        way = Way(sampler=torn)
        fallback = Role(name="expert", ways=(Way(sampler=right),), constrain=True)
        role = Role(
            name="agent",
            ways=(way,),
            vote=AheadBy(9, cap=9),
            at_cap=at_cap,
            fallback=fallback,
            constrain=True,
        )
        with Journal.create(tmp_path / at_cap, {}) as journal:
            outcome = asyncio.run(
                runner(journal, Parts(operator=role), task, environment, bounds=Bounds(max_steps=7)).run()
            )
            ends[at_cap] = (outcome.end, outcome.steps)
    assert ends[AtCap.ESCALATE] == (End.DONE, 7)
    assert ends[AtCap.FAIL] == (End.FAILED, 0)
    assert ends[AtCap.BEST] == (End.TRUNCATED, 7)


def test_every_conversation_is_released_also_when_another_role_decides(tmp_path: Path) -> None:
    task, environment, right = hanoi(disks=3, rate=0.0)
    asked: set[str] = set()

    class Torn(Scripted):
        def sample(self, requests, sampling):  # type: ignore[no-untyped-def]
            asked.update(one.session for one in requests)
            return super().sample(requests, sampling)

        def release(self, sessions):  # type: ignore[no-untyped-def]
            asked.difference_update(sessions)
            super().release(sessions)

    torn = Torn(lambda request: request.allowed[request.seed % len(request.allowed)])  # type: ignore[index]
    expert = Role(name="expert", ways=(Way(sampler=right),), constrain=True)
    role = Role(
        name="agent",
        ways=(Way(sampler=torn),),
        vote=AheadBy(9, cap=9),
        at_cap=AtCap.ESCALATE,
        fallback=expert,
        constrain=True,
    )
    with Journal.create(tmp_path / "j", {}) as journal:
        outcome = asyncio.run(runner(journal, Parts(operator=role), task, environment).run())
    assert (outcome.end, asked) == (End.DONE, set())


def test_a_model_that_is_down_pauses_the_run(tmp_path: Path) -> None:
    task, environment, sampler = hanoi(disks=3, rate=0.0)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    down = Role(name="agent", ways=(Way(sampler=Scripted([])),))
    path = tmp_path / "j"
    with Journal.create(path, {}) as journal:
        outcome = asyncio.run(runner(journal, Parts(operator=down), task, environment, sleep=sleep).run())
    assert outcome.end is None
    assert "no model answers" in outcome.why
    assert waits == [1.0, 2.0, 4.0]
    task, environment, sampler = hanoi(disks=3, rate=0.0)
    with Journal.open(path) as journal:
        outcome = asyncio.run(go(runner(journal, Parts(operator=voter(sampler)), task, environment)))
    assert outcome.end is End.DONE


def test_cancelling_ends_the_journal_and_the_run_can_go_on(tmp_path: Path) -> None:
    task, environment, sampler = hanoi(disks=4, rate=0.0)

    class Slow:
        policy = "slow"

        async def sample_one(self, request: Request, sampling: Sampling) -> Generation:
            await asyncio.sleep(0 if sampler.calls < 10 else 60)
            return sampler._answer(request)

        def release(self, sessions: list[str]) -> None:
            pass

    path = tmp_path / "j"
    slow = Role(name="agent", ways=(Way(sampler=Slow()),), vote=AheadBy(2))

    async def stopped(one: Runner) -> None:
        async with asyncio.timeout(0.5):
            await one.run()

    with Journal.create(path, {}) as journal:
        with pytest.raises(TimeoutError):
            asyncio.run(stopped(runner(journal, Parts(operator=slow), task, environment)))
        assert fold(journal.events()).end == {
            "end": "cancelled",
            "why": "the run was cancelled",
            "steps": 5,
            "cost": {"samples": 10.0},
        }
    task, environment, sampler = hanoi(disks=4, rate=0.0)
    with Journal.open(path) as journal:
        outcome = asyncio.run(go(runner(journal, Parts(operator=voter(sampler)), task, environment)))
    assert (outcome.end, outcome.steps) == (End.DONE, 15)


def test_what_a_flag_or_a_parser_does_wrong_is_a_flag_and_never_an_exception(tmp_path: Path) -> None:
    task, environment, sampler = hanoi(disks=3, rate=0.0)

    class Broken:
        name = "broken"

        def __call__(self, candidate: object, situation: Situation) -> str | None:
            if situation.index == 3 and situation.attempt == 0:
                raise ZeroDivisionError("oh")
            return None

    with Journal.create(tmp_path / "j", {}) as journal:
        role = voter(sampler, 1, flags=(Broken(),))
        outcome = asyncio.run(runner(journal, Parts(operator=role), task, environment).run())
        flags = [event.body for event in journal.events(kinds={Kind.FLAG})]
    assert outcome.end is End.DONE
    assert {(one["flag"], one["reason"]) for one in flags} == {("broken", "ZeroDivisionError: oh")}


def test_the_full_history_is_one_conversation_that_only_grows(tmp_path: Path) -> None:
    task, environment, sampler = hanoi(disks=3, rate=0.0)
    sizes: list[int] = []

    class Talks(Scripted):
        def sample(self, requests, sampling):  # type: ignore[no-untyped-def]
            sizes.extend(sum(len(m.content) for m in one.messages) for one in requests)
            return super().sample(requests, sampling)

    model = Talks(lambda request: sampler._answer(request).text)
    role = Role(name="agent", ways=(Way(sampler=model, context=History()),), vote=AheadBy(2))
    with Journal.create(tmp_path / "j", {}) as journal:
        outcome = asyncio.run(runner(journal, Parts(operator=role), task, environment).run())
    assert outcome.end is End.DONE
    assert max(sizes[2:]) < sizes[0]


def test_a_step_looks_at_no_more_at_the_end_than_at_the_start(tmp_path: Path) -> None:
    """Count what a step touches: rows read, characters shown, objects kept."""
    task, environment, sampler = hanoi(disks=9, rate=0.0)
    shown: list[int] = []

    class Counting(Window):
        def messages(self, situation):  # type: ignore[no-untyped-def]
            shown.append(len(situation.recent))
            return super().messages(situation)

    role = Role(name="agent", ways=(Way(sampler=sampler, context=Counting(steps=4)),), vote=Single())
    with Journal.create(tmp_path / "j", {}) as journal:
        one = runner(journal, Parts(operator=role), task, environment, bounds=Bounds(checkpoint_every=50))
        outcome = asyncio.run(one.run())
        sizes = [len(str(event.body)) for event in journal.events(kinds={Kind.CHECKPOINT})]
    assert outcome.steps == 511
    assert max(shown) == 4
    assert max(sizes) < 1.2 * min(sizes)
    assert sum(len(place.recent) for place in one.course.places.values()) == 4
    assert len(one.decider._open) == 0


def test_what_was_taken_back_is_a_sibling_in_the_tree(tmp_path: Path) -> None:
    task, environment, sampler = hanoi(rate=0.5)
    with Journal.create(tmp_path / "j", {}) as journal:
        parts = Parts(operator=voter(sampler, 1), verifiers=(Progress(),), patience=Patience(failed=20))
        outcome = asyncio.run(runner(journal, parts, task, environment).run())
        trace = journal.trace()
    undone = [step for step in trace.steps.values() if step.undone]
    walked = trace.trajectory("r").steps
    assert (outcome.steps, len(walked)) == (31, 31)
    assert undone
    parents = {step.parent for step in walked}
    assert all(step.parent in parents for step in undone)
    assert all(step.scores["progress"] > 0 for step in walked)


def test_copies_are_not_needed(tmp_path: Path) -> None:
    """A run's journal is one file when it is done: it can be copied and read elsewhere."""
    task, environment, sampler = hanoi(disks=3, rate=0.0)
    with Journal.create(tmp_path / "j", {}) as journal:
        asyncio.run(runner(journal, Parts(operator=voter(sampler)), task, environment).run())
    shutil.copy(tmp_path / "j", tmp_path / "k")
    with Journal.read(tmp_path / "k") as journal:
        steps: list[Step] = list(journal.trace().steps.values())
        events: list[Event] = list(journal.events())
    assert len(steps) == 7
    assert events[-1].kind is Kind.END
