"""A real run behind the gate: a payment needs a grant, an edit is a new step, secrets stay out of the folder."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from everystep.core.acts import Answer
from everystep.core.protocols import Request, Transition
from everystep.core.records import Action, End, Observation, Task
from everystep.core.trace import Kind
from everystep.guard.approval import always
from everystep.guard.autonomy import Autonomy, Policy, fixed
from everystep.guard.levels import AutonomyLevel, derived_level, evidence_of
from everystep.guard.mailbox import Mailbox, answer, list_open
from everystep.guard.sealed import sealed_environment, sealed_sampler
from everystep.guard.secrets import TEXT, Secret, Vault
from everystep.models.scripted import Scripted
from everystep.run.context import Window
from everystep.run.decide import Role, Way
from everystep.run.journal import Journal
from everystep.run.parts import Bounds, Outcome, Parts
from stepping import Bank, go, moves, runner


def payer() -> Role:
    def answer(request: Request) -> str:
        return f"pay {request.messages[-1].content.split('balance ')[-1].split()[0]}"

    return Role(name="agent", ways=(Way(sampler=Scripted(answer), context=Window(steps=1)),))


TASK = Task(id="pay", instruction="pay", environment="bank")


def paid(path: Path, booked: list[str], gate: Autonomy, *, steps: int = 2) -> Outcome:
    with Journal.open(path) as journal:
        bank = Bank(booked, steps=steps)
        return asyncio.run(go(runner(journal, Parts(operator=payer(), gate=gate), TASK, bank)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Journal.create(tmp_path / "journal.sqlite", {}).close()
    return tmp_path / "journal.sqlite"


@pytest.mark.parametrize("nobody", [Answer.DENIED, Answer.TIMEOUT, None])
def test_no_payment_without_a_grant(path: Path, nobody: Answer | None) -> None:
    booked: list[str] = []
    outcome = paid(path, booked, Autonomy(reliability=fixed(1.0), approver=nobody and always(nobody)))
    assert (outcome.end, booked) == (End.FAILED, [])


def test_with_grants_the_run_ends_and_its_level_says_that_a_person_granted_each_act(path: Path) -> None:
    booked: list[str] = []
    outcome = paid(path, booked, Autonomy(reliability=fixed(1.0), approver=always(Answer.GRANTED)))
    assert (outcome.end, len(booked)) == (End.DONE, 2)
    with Journal.read(path) as journal:
        evidence = evidence_of(journal.trace())
    assert evidence.asked == 2
    assert derived_level(evidence) is AutonomyLevel.L2


def test_a_stopped_run_goes_on_with_the_answer_from_another_process(path: Path) -> None:
    booked: list[str] = []
    box = path.with_name("approvals.sqlite")

    def gate() -> Autonomy:
        return Autonomy(reliability=fixed(1.0), approver=Mailbox(box), policy=Policy(pause=True))

    assert paid(path, booked, gate(), steps=1).end is None
    assert paid(path, booked, gate(), steps=1).end is None
    assert booked == []
    (request,) = list_open(box)
    answer(box, request.id, Answer.GRANTED, digest=request.digest)
    assert paid(path, booked, gate(), steps=1).end is End.DONE
    assert len(booked) == 1


def test_an_edited_action_is_a_new_step(path: Path) -> None:
    booked: list[str] = []
    box = path.with_name("approvals.sqlite")

    def gate() -> Autonomy:
        return Autonomy(reliability=fixed(1.0), approver=Mailbox(box), policy=Policy(pause=True))

    paid(path, booked, gate(), steps=1)
    (request,) = list_open(box)
    instead = Action(text="pay only 1")
    answer(box, request.id, Answer.EDITED, digest=request.digest, action=instead)
    assert paid(path, booked, gate(), steps=1).end is End.DONE
    with Journal.read(path) as journal:
        assert moves(journal) == [("main/0.1", "pay only 1")]
    assert len(booked) == 1


class Login(Bank):
    """Echoes what was typed."""

    async def act(self, action: Action, *, key: str) -> Transition:
        self.booked.append(action.text)
        done = len(self.booked) >= self.steps
        seen = Observation(text=f"you typed {action.text}")
        return Transition(observation=seen, reward=0.0, terminated=done, success=done or None)


def test_a_run_with_a_secret_leaves_none_in_its_folder(path: Path) -> None:
    value = "correct-horse-battery"
    vault = Vault([Secret(name="PIN", value=value, tools=(TEXT,))])
    typed: list[str] = []
    asked: list[Request] = []

    def script(request: Request) -> str:
        asked.append(request)
        return "type {{secret:PIN}}"

    role = Role(name="agent", ways=(Way(sampler=sealed_sampler(Scripted(script), vault)),))
    box = path.with_name("approvals.sqlite")
    gate = Autonomy(reliability=fixed(1.0), approver=Mailbox(box), policy=Policy(pause=True))
    task = vault.scrub_record(Task(id="t", instruction=f"log in with {value}", environment="site"))
    for _ in range(4):
        with Journal.open(path) as journal:
            site = sealed_environment(Login(typed, steps=2), vault)
            parts = Parts(operator=role, gate=gate)
            outcome = asyncio.run(go(runner(journal, parts, task, site, bounds=Bounds(max_steps=3))))
            if outcome.end is not None:
                break
            (request,) = list_open(box)
            assert request.action.text == "type {{secret:PIN}}"
            answer(box, request.id, Answer.GRANTED, digest=request.digest)
            with Journal.read(path) as reading:
                assert reading.newest(Kind.ASKED) is not None
    assert outcome.end is End.DONE
    assert typed == [f"type {value}"] * 2
    assert all(value not in message.content for request in asked for message in request.messages)
    files = [one for one in path.parent.iterdir() if one.is_file()]
    assert len(files) >= 2
    assert not any(value.encode() in one.read_bytes() for one in files)
