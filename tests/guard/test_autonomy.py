"""The gate: the table, hysteresis, and that nothing risky happens without a grant of exactly that action."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.acts import (
    PERMITS,
    RISKS,
    Answer,
    Approval,
    ApprovalRequest,
    Effect,
    Permission,
    Permit,
    Reversal,
    Risk,
    action_digest,
)
from everystep.core.errors import ConfigError, StoreError
from everystep.core.protocols import Gate, Situation
from everystep.core.records import Action, Observation, Task, ToolCall
from everystep.guard.approval import Approver, Callback, always, answered
from everystep.guard.autonomy import Autonomy, Policy, Trust, check_table, fixed, need_for
from everystep.guard.mailbox import Mailbox, answer, list_open

SEND = Action(text="", calls=(ToolCall(name="mail", arguments={"to": "a"}),))
OTHER = Action(text="", calls=(ToolCall(name="mail", arguments={"to": "b"}),))
shares = st.floats(0, 1)


def effect(risk: Risk) -> Effect:
    return Effect(name="mail", reversal=Reversal.IRREVERSIBLE, risk=risk)


def situation(step: str = "s1") -> Situation:
    task = Task(id="t", instruction="write to a", environment="box")
    return Situation(
        run="r", task=task, node="n", goal="write", step=step, index=0, observation=Observation(text="")
    )


@dataclass
class Time:
    """A clock that only sleeping moves."""

    now: float = 1000.0
    naps: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


def permit(gate: Gate, risk: Risk, action: Action = SEND, step: str = "s1") -> Permission:
    return asyncio.run(gate.permit(situation(step), action, effect(risk)))


def gate(approver: Approver | None, *, reliability: float = 0.9, policy: Policy | None = None) -> Autonomy:
    watch = Time()
    return Autonomy(
        reliability=fixed(reliability), approver=approver, policy=policy, clock=watch, sleep=watch.sleep
    )


# --- the table --------------------------------------------------------------------------------------


@given(shares, shares, st.sampled_from(RISKS), st.sampled_from(RISKS))
def test_more_risk_or_less_reliability_never_frees(a: float, b: float, one: Risk, two: Risk) -> None:
    policy = Policy()
    low, high = sorted((one, two), key=RISKS.index)
    freer = PERMITS.index(policy.permit(low, max(a, b)))
    assert freer <= PERMITS.index(policy.permit(high, max(a, b)))
    assert freer <= PERMITS.index(policy.permit(low, min(a, b)))


@given(shares)
def test_high_risk_is_never_done_without_asking(reliability: float) -> None:
    assert Policy().permit(Risk.HIGH, reliability) in (Permit.ASK, Permit.REFUSE)


@pytest.mark.parametrize(
    "row",
    [
        (),
        ((0.5, Permit.ACT),),
        ((0.5, Permit.ACT), (0.5, Permit.ASK), (0.0, Permit.ASK)),
        ((0.5, Permit.ASK), (0.0, Permit.ACT)),
        ((1.5, Permit.ACT), (0.0, Permit.ASK)),
        ((0.0, Permit.ACT),),  # freer than medium risk
    ],
)
def test_a_table_that_contradicts_itself_is_refused(row: tuple[tuple[float, Permit], ...]) -> None:
    table = dict(Policy().table) | {Risk.HIGH: row}
    with pytest.raises(ConfigError, match="autonomy"):
        check_table(table)


def test_risk_above_the_ceiling_is_refused_at_any_reliability() -> None:
    policy = Policy(ceiling=Risk.LOW)
    assert permit(gate(always(Answer.GRANTED), reliability=1.0, policy=policy), Risk.MEDIUM).allowed is False


# --- hysteresis -------------------------------------------------------------------------------------


@given(st.lists(shares, min_size=1, max_size=30), st.integers(1, 6))
def test_trust_is_never_above_any_of_the_last_readings(readings: list[float], clean: int) -> None:
    trust = Trust(clean=clean)
    for number, reading in enumerate(readings):
        assert trust.read(reading) == min(readings[max(0, number - clean) : number + 1])


def test_trust_falls_at_once_and_rises_after_the_clean_decisions() -> None:
    values = iter([0.9, 0.6, 0.9, 0.9, 0.9, 0.9])
    subject = Autonomy(
        reliability=lambda *_: next(values), approver=always(Answer.DENIED), policy=Policy(clean=3)
    )
    facts = [permit(subject, Risk.NONE).facts["trusted"] for _ in range(6)]
    assert facts == [0.9, 0.6, 0.6, 0.6, 0.6, 0.9]


def test_a_wrong_outcome_keeps_trust_down_for_as_many_decisions_again() -> None:
    values = iter([0.5, 0.9, 0.9, 0.9, 0.9])
    subject = Autonomy(reliability=lambda *_: next(values), policy=Policy(clean=2))
    seen = []
    for _ in range(5):
        seen.append(permit(subject, Risk.NONE).facts["trusted"])
        if len(seen) == 2:
            subject.outcome(False)
    assert seen == [0.5, 0.5, 0.5, 0.5, 0.9]


def test_the_state_goes_into_a_checkpoint_and_back() -> None:
    first, second = gate(None, reliability=0.3), gate(None, reliability=0.9)
    permit(first, Risk.NONE)
    second.load(first.dump())
    assert permit(second, Risk.NONE).facts["trusted"] == 0.3
    with pytest.raises(StoreError, match="no state of a gate"):
        second.load({"trust": [2.0]})


@pytest.mark.parametrize("reading", [float("nan"), -0.1, 1.1, float("inf")])
def test_a_reliability_that_is_no_share_counts_as_none(reading: float) -> None:
    subject = Autonomy(reliability=lambda *_: reading, approver=always(Answer.GRANTED))
    assert permit(subject, Risk.HIGH).permit is Permit.REFUSE


# --- asking -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("given_", [Answer.DENIED, Answer.TIMEOUT])
def test_without_a_grant_the_act_does_not_happen(given_: Answer) -> None:
    permission = permit(gate(always(given_)), Risk.HIGH)
    assert not permission.allowed
    assert permission.approval is not None
    assert permission.approval.answer is given_


def test_nobody_to_ask_is_a_refusal() -> None:
    assert permit(gate(None), Risk.HIGH).permit is Permit.REFUSE
    assert permit(gate(None, reliability=0.6), Risk.LOW).permit is Permit.REFUSE  # nobody could object


def test_a_grant_lets_this_action_through_once() -> None:
    asked: list[ApprovalRequest] = []

    def decide(request: ApprovalRequest) -> Approval:
        asked.append(request)
        return answered(request, Answer.GRANTED)

    subject = gate(Callback(decide))
    assert permit(subject, Risk.HIGH).allowed
    assert permit(subject, Risk.HIGH).allowed
    assert len(asked) == 2  # the second time is asked about again


@pytest.mark.parametrize("late", [False, True])
def test_a_grant_for_another_action_is_void(late: bool) -> None:
    kept: list[Approval] = []

    def decide(request: ApprovalRequest) -> Approval:
        kept.append(answered(request, Answer.GRANTED))
        return kept[0]

    subject = gate(Callback(decide))
    assert permit(subject, Risk.HIGH, SEND).allowed
    step = "s2" if late else "s1"
    denied = permit(subject, Risk.HIGH, OTHER, step)
    assert not denied.allowed
    assert "void" in denied.reason


def test_an_edit_is_a_new_action_and_good_once() -> None:
    answers = iter([Answer.EDITED, Answer.DENIED])

    def decide(request: ApprovalRequest) -> Approval:
        kind = next(answers)
        return answered(request, kind, action=OTHER if kind is Answer.EDITED else None)

    subject = gate(Callback(decide))
    permission = permit(subject, Risk.HIGH, SEND)
    assert not permission.allowed
    assert permission.action == OTHER
    assert permission.approval is not None
    assert permission.approval.digest == action_digest(OTHER) != action_digest(SEND)
    assert permit(subject, Risk.HIGH, OTHER, "s2").allowed  # the person wrote it
    assert not permit(subject, Risk.HIGH, OTHER, "s3").allowed  # once


def test_an_edit_whose_digest_lies_is_void() -> None:
    def decide(request: ApprovalRequest) -> Approval:
        edited = answered(request, Answer.EDITED, action=OTHER)
        return Approval(
            request=request.id,
            step=request.step,
            digest=edited.digest,
            answer=Answer.EDITED,
            action=Action(text="x"),
        )

    permission = permit(gate(Callback(decide)), Risk.HIGH)
    assert not permission.allowed
    assert permission.action is None


def test_a_veto_waits_its_time_and_then_acts() -> None:
    watch = Time()
    subject = Autonomy(
        reliability=fixed(0.6),
        approver=Callback(lambda _: None),
        policy=Policy(veto_s=30),
        clock=watch,
        sleep=watch.sleep,
    )
    permission = permit(subject, Risk.LOW)
    assert permission.allowed
    assert permission.permit is Permit.VETO
    assert sum(watch.naps) == 30


def test_an_objection_at_the_last_moment_counts() -> None:
    watch = Time()

    def decide(request: ApprovalRequest) -> Approval | None:
        return answered(request, Answer.DENIED) if watch.now >= 1030 else None

    subject = Autonomy(
        reliability=fixed(0.6),
        approver=Callback(decide),
        policy=Policy(veto_s=30),
        clock=watch,
        sleep=watch.sleep,
    )
    assert not permit(subject, Risk.LOW).allowed


def test_a_grant_after_the_expiry_does_not_count() -> None:
    watch = Time()

    def decide(request: ApprovalRequest) -> Approval | None:
        return answered(request, Answer.GRANTED, time=watch.now) if watch.now >= 1060 else None

    subject = Autonomy(
        reliability=fixed(0.9),
        approver=Callback(decide),
        policy=Policy(expiry_s=60),
        clock=watch,
        sleep=watch.sleep,
    )
    permission = permit(subject, Risk.HIGH)
    assert not permission.allowed
    assert permission.approval is not None
    assert permission.approval.answer is Answer.TIMEOUT


def test_an_approver_that_hangs_is_left_at_the_expiry() -> None:
    class Hangs:
        async def ask(self, request: ApprovalRequest) -> Approval | None:
            await asyncio.Event().wait()
            return answered(request, Answer.GRANTED)

    subject = Autonomy(reliability=fixed(0.9), approver=Hangs(), policy=Policy(expiry_s=0.02))
    assert not permit(subject, Risk.HIGH).allowed


def test_a_request_that_is_waited_for_is_told_before_the_wait() -> None:
    order: list[str] = []

    def decide(request: ApprovalRequest) -> Approval:
        order.append("answer")
        return answered(request, Answer.GRANTED)

    def asked(request: ApprovalRequest) -> None:
        assert request.digest == action_digest(SEND)
        order.append("asked")

    subject = Autonomy(reliability=fixed(0.9), approver=Callback(decide), asked=asked)
    permit(subject, Risk.NONE)
    permit(subject, Risk.HIGH)
    assert order == ["asked", "answer"]


# --- stopping and resuming ----------------------------------------------------------------------------


def paused(path: Path, watch: Time) -> Autonomy:
    policy = Policy(pause=True, expiry_s=100)
    return Autonomy(
        reliability=fixed(0.9),
        approver=Mailbox(path, clock=watch),
        policy=policy,
        clock=watch,
        sleep=watch.sleep,
    )


def test_a_run_pauses_and_finds_the_answer_when_it_is_resumed(tmp_path: Path) -> None:
    path, watch = tmp_path / "approvals.sqlite", Time()
    assert permit(paused(path, watch), Risk.HIGH).pending
    assert permit(
        paused(path, watch), Risk.HIGH
    ).pending  # resumed too early: the same request, not a second one
    (request,) = list_open(path, now=watch.now)
    answer(path, request.id, Answer.GRANTED, digest=request.digest, by="ann", now=watch.now)
    granted = permit(paused(path, watch), Risk.HIGH)
    assert granted.allowed
    assert granted.approval is not None
    assert granted.approval.by == "ann"
    assert permit(paused(path, watch), Risk.HIGH).pending  # the grant is used up


def test_a_grant_that_is_not_used_in_time_is_void(tmp_path: Path) -> None:
    path, watch = tmp_path / "approvals.sqlite", Time()
    permit(paused(path, watch), Risk.HIGH)
    (request,) = list_open(path, now=watch.now)
    answer(path, request.id, Answer.GRANTED, digest=request.digest, now=watch.now)
    watch.now += 100
    late = permit(paused(path, watch), Risk.HIGH)
    assert (late.allowed, late.pending) == (False, False)
    assert permit(paused(path, watch), Risk.HIGH).pending  # a new request


def test_nobody_answered_while_the_run_was_stopped(tmp_path: Path) -> None:
    path, watch = tmp_path / "approvals.sqlite", Time()
    permit(paused(path, watch), Risk.HIGH)
    watch.now += 100
    assert list_open(path, now=watch.now) == []
    late = permit(paused(path, watch), Risk.HIGH)
    assert late.approval is not None
    assert late.approval.answer is Answer.TIMEOUT


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=30, max_size=60),
    st.sampled_from([0, 3]),
    st.floats(0.1, 0.9),
)
def test_a_threshold_for_a_share_of_questions_is_kept_by_the_gate(
    stream: list[tuple[float, bool]], clean: int, share: float
) -> None:
    scores, wrong = [one for one, _ in stream], [bad for _, bad in stream]
    need = need_for([(scores, wrong)], asked=share, clean=clean)

    def asked(bar: float) -> int:
        trust, count = Trust(clean=clean), 0
        for score, mistaken in stream:
            if trust.read(score) < bar:
                count += 1
                if mistaken:
                    trust.spoil()
                    trust.read(score)
        return count

    best = min(abs(asked(bar) / len(stream) - share) for bar in scores)
    assert abs(asked(need) / len(stream) - share) <= best + 1e-9
