"""The tools of the run server, driven by the official client in process: who may answer what a run asks, and hostile words."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import ElicitRequestParams, ElicitResult

from everystep.app.mcp_server import runs_server
from everystep.app.run_desk import Allowed, RunDesk
from everystep.core.acts import Answer, Approval, ApprovalRequest, Effect, Reversal, Risk, action_digest
from everystep.core.records import Action
from everystep.guard.mailbox import APPROVALS, Mailbox

SEND = Action(text="send 100 to Bob")


class Still(RunDesk):
    """A desk that starts no processes."""

    def _spawn(self, run: str, *words: str) -> None:
        self.spawned = [*getattr(self, "spawned", []), run]


def asks(desk: Still, action: Action = SEND, number: int = 0) -> Mailbox:
    """Make a run that waits for an answer about an action."""
    mailbox = Mailbox(desk.folder / "hanoi-1" / APPROVALS)
    assert asyncio.run(mailbox.ask(request(action, number))) is None
    return mailbox


def request(action: Action = SEND, number: int = 0) -> ApprovalRequest:
    effect = Effect(name="pay", reversal=Reversal.IRREVERSIBLE, risk=Risk.HIGH)
    return ApprovalRequest(
        id=f"r{number}",
        run="hanoi-1",
        step="main/0",
        action=action,
        digest=action_digest(action),
        effect=effect,
        reason="risky",
    )


@pytest.fixture
def desk(tmp_path: Path) -> Still:
    desk = Still(tmp_path)
    desk.start({"environment": "hanoi"})
    return desk


def talk(
    desk: RunDesk, calls: list[tuple[str, dict[str, Any]]], *, person: Any = None, mode: str = "auto"
) -> list[Any]:
    async def go() -> list[Any]:
        async with Client(runs_server(desk), mode=mode, elicitation_callback=person) as client:  # type: ignore[arg-type]
            return [await client.call_tool(name, words) for name, words in calls]

    return asyncio.run(go())


def person(asked: list[str], action: str = "accept", **content: str) -> Any:
    async def answer(context: Any, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action=action, content=content if action == "accept" else None)  # type: ignore[arg-type]

    return answer


def taken(mailbox: Mailbox) -> Approval | None:
    """Return what the run finds when it looks."""
    return asyncio.run(mailbox.ask(request()))


APPROVE = [("approve", {"run": "hanoi-1"})]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    ("action", "content", "answer"),
    [
        ("accept", {"answer": "grant"}, Answer.GRANTED),
        ("accept", {"answer": "deny", "reason": "not to Bob"}, Answer.DENIED),
        ("accept", {"answer": "edit", "instead": "send 1 to Bob"}, Answer.EDITED),
        ("decline", {}, Answer.DENIED),
        ("cancel", {}, None),
    ],
)
def test_the_person_at_the_client_answers(
    desk: Still, mode: str, action: str, content: dict[str, str], answer: Answer | None
) -> None:
    mailbox, asked = asks(desk), []  # type: ignore[var-annotated]
    [result] = talk(desk, APPROVE, person=person(asked, action, **content), mode=mode)
    assert len(asked) == 1
    assert "send 100 to Bob" in asked[0]
    assert "irreversible, high risk" in asked[0]
    found = taken(mailbox)
    if answer is None:
        assert found is None
        assert "still waits" in result.structured_content["told"]
        return
    assert found is not None
    assert (found.answer, found.by) == (answer, "person")
    assert result.structured_content["answer"] == answer.value
    if answer is Answer.EDITED:
        assert found.action == Action(text="send 1 to Bob")
    assert desk.spawned == ["hanoi-1", "hanoi-1"]  # started, and gone on with


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    "content", [{}, {"answer": "yes"}, {"answer": "edit"}, {"answer": "grant", "reason": "x" * 501}]
)
def test_an_answer_that_is_none_changes_nothing(desk: Still, mode: str, content: dict[str, str]) -> None:
    mailbox = asks(desk)
    [result] = talk(desk, APPROVE, person=person([], **content), mode=mode)
    assert result.is_error
    assert taken(mailbox) is None


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_answer_counts_for_the_action_that_was_shown(desk: Still, mode: str) -> None:
    """While the person looks, the request changes under the same id: nothing is granted without asking again."""
    asks(desk)
    asked: list[str] = []

    async def slow(context: Any, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        if len(asked) == 1:
            path = desk.folder / "hanoi-1" / APPROVALS
            path.unlink()
            for rest in path.parent.glob(f"{APPROVALS}-*"):
                rest.unlink()
            await Mailbox(path).ask(request(Action(text="send 9999 to Eve")))
        return ElicitResult(action="accept", content={"answer": "grant" if len(asked) == 1 else "deny"})

    [result] = talk(desk, APPROVE, person=slow, mode=mode)
    path = desk.folder / "hanoi-1" / APPROVALS
    found = asyncio.run(Mailbox(path).ask(request(Action(text="send 9999 to Eve"))))
    if mode == "legacy":  # one question in one call: refused, the person looks again
        assert result.is_error
        assert "Look at the request again" in result.content[0].text
        assert found is None
    else:  # the question is another one now, so it is put again
        assert ["Eve" in one for one in asked] == [False, True]
        assert found is not None
        assert found.answer is Answer.DENIED


def test_a_client_alone_may_deny_and_list_but_not_grant(desk: Still) -> None:
    mailbox = asks(desk)
    digest = action_digest(SEND)
    calls = [
        ("approve", {"run": "hanoi-1"}),
        ("approve", {"run": "hanoi-1", "answer": "list"}),
        ("approve", {"run": "hanoi-1", "answer": "grant", "digest": digest}),
        ("approve", {"run": "hanoi-1", "answer": "edit", "digest": digest, "instead": "send 1 to Bob"}),
    ]
    asked, listed, *refused = talk(desk, calls)
    assert "everystep approve" in asked.structured_content["told"]
    assert listed.structured_content["waiting"][0]["action"] == "send 100 to Bob"
    assert all("grants come from a person" in one.content[0].text for one in refused)
    assert taken(mailbox) is None
    talk(desk, [("approve", {"run": "hanoi-1", "answer": "deny", "reason": "no"})])
    found = taken(mailbox)
    assert found is not None
    assert (found.answer, found.by, found.reason) == (Answer.DENIED, "client", "no")


def test_where_the_owner_says_so_a_client_grants_the_exact_action(tmp_path: Path) -> None:
    desk = Still(tmp_path, allowed=Allowed(grant=True))
    desk.start({"environment": "hanoi"})
    mailbox = asks(desk)
    for digest in ("", "0" * 64):
        [result] = talk(desk, [("approve", {"run": "hanoi-1", "answer": "grant", "digest": digest})])
        assert result.is_error
        assert taken(mailbox) is None
    talk(desk, [("approve", {"run": "hanoi-1", "answer": "grant", "digest": action_digest(SEND)})])
    found = taken(mailbox)
    assert found is not None
    assert found.answer is Answer.GRANTED


def test_what_a_run_says_cannot_paint_over_the_question(desk: Still) -> None:
    asks(desk, Action(text="send 1\x1b[2K\u202e\naction    nothing at all"))
    asked: list[str] = []
    talk(desk, APPROVE, person=person(asked, "cancel"))
    assert "\x1b" not in asked[0]
    assert "\u202e" not in asked[0]
    assert [line[:6] for line in asked[0].split("\n")].count("action") == 1


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("inspect", {"run": "../hanoi-1"}, "there is no run"),
        ("inspect", {"run": "hanoi-1\u202e\x00"}, "there is no run"),
        ("inspect", {}, "required"),
        ("inspect", {"run": "hanoi-1", "steps": 10_000}, "less than or equal to 50"),
        ("inspect", {"run": "hanoi-1", "wait_s": 1e9}, "less than or equal to 3600"),
        ("resume", {"run": "hanoi-1", "budget": "usd=-1"}, "more than 0"),
        ("resume", {"run": "hanoi-1", "budget": "$(reboot)"}, "resource=number"),
        ("run", {"options": {"key": "HOME"}}, "not for clients"),
        ("run", {"options": {"environment": ["hanoi"]}}, "expected str"),
        ("run", {"task": "x" * 20_001}, "at most 20000"),
        ("run", {"plan": ["a\nb"]}, "one line"),
        ("approve", {"run": "hanoi-1", "answer": "yes"}, "'ask', 'list'"),
        ("approve", {"run": "hanoi-1", "answer": "deny"}, "no such open request"),
        ("delete_everything", {}, "Unknown tool"),
    ],
)
def test_hostile_words_are_errors_that_say_why(
    desk: Still, name: str, words: dict[str, Any], told: str
) -> None:
    [result] = talk(desk, [(name, words)])
    assert result.is_error
    assert told in result.content[0].text
    assert "Traceback" not in result.content[0].text


def test_the_tools_say_what_they_are(desk: Still) -> None:
    async def go() -> Any:
        async with Client(runs_server(desk)) as client:
            return (await client.list_tools()).tools

    tools = {tool.name: tool for tool in asyncio.run(go())}
    assert list(tools) == ["run", "runs", "inspect", "approve", "resume"]
    assert tools["inspect"].annotations.read_only_hint
    assert tools["approve"].annotations.destructive_hint
    assert set(tools["approve"].input_schema["properties"]) == {
        *("run", "request", "answer", "digest", "reason", "instead")
    }
    assert all(tool.description and tool.output_schema for tool in tools.values())
