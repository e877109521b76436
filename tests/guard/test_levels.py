"""The level of a run comes from its journal: labelled synthetic traces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.acts import Answer, Approval, ApprovalRequest, Effect, Permit, Risk, action_digest
from everystep.core.records import Action, Observation, Step, Task
from everystep.core.trace import Event, Kind, Trace, body_of, fold
from everystep.guard.levels import (
    AutonomyLevel,
    Capability,
    Evidence,
    derived_level,
    evidence_of,
    warnings,
)
from everystep.run.nodes import Edit, Node, Op

L = AutonomyLevel


def trace(
    steps: int,
    *,
    valid: bool = True,
    given: int = 0,
    planned: int = 0,
    asked: int = 0,
    edited: int = 0,
    vetoed: int = 0,
    stumbles: int = 0,
    stuck: bool = False,
    origin: str = "user",
    skills: int = 0,
) -> Trace:
    """Return the trace of ``steps`` steps, of which the first ``given`` serve a person's plan and the next ``planned`` the agent's."""
    bodies: list[tuple[Kind, Any]] = [
        (Kind.RUN, {}),
        (Kind.TASK, Task(id="t", instruction="do", environment="e", tags={"origin": origin})),
    ]

    def edit(op: Op, prefix: str, count: int) -> None:
        nodes = tuple(Node(id=f"{prefix}{i}", instruction="") for i in range(count))
        bodies.append((Kind.PLAN, Edit(op=op, nodes=nodes)))

    if given:
        edit(Op.ADD, "g", given)
    if planned:
        edit(Op.START if not given else Op.EXPAND, "g0", 0)
        edit(Op.ADD, "p", planned)
    parent = None
    for index in range(steps):
        node = f"g{index}" if index < given else f"p{index - given}" if index < given + planned else "main"
        identifier = f"{node}/{index}"
        action = Action(text="go", valid=valid)
        if index < stumbles:
            bodies.append((Kind.ATTEMPT, {"step": identifier, "cause": "infeasible", "reason": "no"}))
            identifier += ".1"
        permit = Permit.ASK if index < asked + edited else Permit.VETO
        if index < asked + edited + vetoed:
            digest, effect = action_digest(action), Effect(name="go", risk=Risk.HIGH)
            asking = ApprovalRequest(
                id="i",
                run="r",
                step=identifier,
                action=action,
                digest=digest,
                effect=effect,
                reason="",
                permit=permit,
            )
            answer = (
                Answer.GRANTED
                if index < asked
                else Answer.EDITED
                if index < asked + edited
                else Answer.DENIED
            )
            bodies += [
                (Kind.ASKED, asking),
                (Kind.ANSWERED, Approval(request="i", step=identifier, digest=digest, answer=answer)),
            ]
        step = Step(
            id=identifier,
            parent=parent,
            index=index,
            observation=Observation(text=""),
            action=action,
            node=node,
        )
        bodies.append((Kind.STEP, step))
        parent = identifier
    if stuck:
        bodies.append((Kind.ATTEMPT, {"step": "main/99", "cause": "failed", "reason": "no"}))
    bodies += [(Kind.NOTE, {"kind": "skill", "origin": "mined"})] * skills
    return fold([Event(seq=i + 1, kind=kind, body=body_of(body)) for i, (kind, body) in enumerate(bodies)])


LABELLED = [
    (L.L0, trace(0)),
    (L.L0, trace(4, edited=4)),
    (L.L1, trace(1)),
    (L.L1, trace(5, valid=False)),
    (L.L2, trace(10, given=10)),
    (L.L2, trace(10, given=6, planned=4)),
    (L.L2, trace(10, asked=6)),
    (L.L3, trace(10)),
    (L.L3, trace(10, given=4, planned=6)),
    (L.L3, trace(10, planned=10, asked=3)),
    (L.L3, trace(10, planned=10, origin="agent", vetoed=1)),
    (L.L3, trace(10, planned=10, origin="agent", stumbles=2, stuck=True)),
    (L.L4, trace(10, planned=10, origin="agent", stumbles=2)),
    (L.L5, trace(10, planned=10, origin="agent", skills=1)),
]


@pytest.mark.parametrize(("label", "run"), LABELLED)
def test_labelled_runs_get_their_level(label: AutonomyLevel, run: Trace) -> None:
    assert derived_level(evidence_of(run)) is label


def test_a_plan_that_the_agent_made_before_the_run_is_its_own() -> None:
    run = trace(10, given=10)
    assert evidence_of(run).outside_plan == 0
    assert derived_level(evidence_of(run, plan_given=False)) is L.L3


@pytest.mark.parametrize("declared", list(L))
@pytest.mark.parametrize(("label", "run"), LABELLED)
def test_a_claim_above_the_run_is_warned_about_and_no_other(
    declared: AutonomyLevel, label: AutonomyLevel, run: Trace
) -> None:
    assert bool(warnings(declared, evidence_of(run))) == (declared > label)


def test_each_capability_is_checked() -> None:
    claimed = Capability(
        observes=True, acts=True, plans=True, starts_goals=True, recovers=True, unsupervised=True
    )
    assert claimed.level is L.L4
    found = warnings(claimed, evidence_of(trace(10, given=10, asked=2, stumbles=1, stuck=True)))
    for name in ("plans", "starts_goals", "recovers", "unsupervised"):
        assert any(name in one for one in found)
    assert warnings(Capability(observes=True, acts=True), evidence_of(trace(10, planned=10))) == (
        "the run makes its own plan, which is not declared",
    )
    assert warnings(claimed, evidence_of(trace(10, planned=10, origin="agent"))) == ()


counts = st.integers(0, 20)


@given(
    st.builds(
        Evidence,
        steps=counts,
        acted=counts,
        reacted=counts,
        outside_plan=counts,
        own_goals=counts,
        inventions=counts,
    ),
    counts,
)
def test_more_supervision_never_raises_the_level(evidence: Evidence, more: int) -> None:
    for name in ("asked", "vetoed", "edited", "refused", "stumbled"):
        assert derived_level(replace(evidence, **{name: more})) <= derived_level(evidence)
