"""Asking people: the terminal, the mailbox between processes, the page on loopback."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.acts import (
    Answer,
    Approval,
    ApprovalRequest,
    Effect,
    Permit,
    Risk,
    action_digest,
)
from everystep.core.errors import StoreError
from everystep.core.records import Action, ToolCall
from everystep.guard.approval import answered, described, edited_action, flaw, resolve, visible
from everystep.guard.approval_http import TOKEN_HEADER, ApprovalServer
from everystep.guard.mailbox import Mailbox, answer, list_open
from everystep.guard.terminal import Terminal

SEND = Action(text="", calls=(ToolCall(name="mail", arguments={"to": "a"}),))


def request(
    action: Action = SEND, *, permit: Permit = Permit.ASK, expires: float | None = 2000.0
) -> ApprovalRequest:
    digest = action_digest(action)
    return ApprovalRequest(
        id=f"id-{digest[:8]}",
        run="r",
        step="s1",
        action=action,
        digest=digest,
        effect=Effect(name="mail", risk=Risk.HIGH),
        reason="it leaves the house",
        permit=permit,
        expires=expires,
        context="write to a",
    )


def now() -> float:
    return 1000.0


# --- what an answer is good for -------------------------------------------------------------------------


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_grant_fits_its_own_action_only(one: str, two: str) -> None:
    first, second = request(Action(text=one)), request(Action(text=two))
    grant = answered(first, Answer.GRANTED)
    assert flaw(first, grant) is None
    assert (flaw(replace(second, id=first.id), grant) is None) == (one == two)


def test_a_request_that_shows_another_action_than_it_hashes_is_void() -> None:
    forged = replace(request(), action=Action(text="rm -r /"))
    assert flaw(forged, answered(forged, Answer.GRANTED)) is not None


def test_an_edit_that_changes_nothing_is_a_grant() -> None:
    same = answered(request(), Answer.EDITED, action=replace(SEND, text="spelled otherwise"))
    assert (same.answer, same.action) == (Answer.GRANTED, None)


def test_an_edit_needs_an_action_and_a_grant_must_not_have_one() -> None:
    for kind, action in ((Answer.EDITED, None), (Answer.GRANTED, SEND)):
        with pytest.raises(StoreError, match="its action is"):
            answered(request(), kind, action=action)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "[1]", '{"name": 1}', '{"name": "a", "arguments": []}', '{"name": "a", "x": 1}']
)
def test_an_edit_that_is_no_action_is_refused(text: str) -> None:
    with pytest.raises(StoreError):
        edited_action(text, SEND)


@given(st.text())
def test_nothing_that_is_shown_can_steer_a_terminal(text: str) -> None:
    assert all(c.isprintable() or c == "\n" for c in visible(text))
    shown = described(request(Action(text=text)))
    assert [line for line in shown.split("\n") if line.startswith("digest")] == [
        f"digest    {action_digest(Action(text=text))[:16]}"
    ]


# --- the terminal ---------------------------------------------------------------------------------------


def at_terminal(*lines: str, asked: ApprovalRequest | None = None) -> tuple[Approval, str]:
    script, shown = iter(lines), []
    terminal = Terminal(read=lambda: next(script, ""), show=shown.append, clock=now)
    approval = asyncio.run(resolve(asked or request(), terminal, clock=now))
    assert approval is not None
    return approval, "\n".join(shown)


def test_the_terminal_shows_the_exact_action_and_takes_a_grant() -> None:
    approval, shown = at_terminal("g\n")
    assert approval.answer is Answer.GRANTED
    assert '"to":"a"' in shown
    assert "high risk" in shown


def test_the_terminal_takes_a_denial_with_its_reason() -> None:
    approval, _ = at_terminal("deny not to him\n")
    assert (approval.answer, approval.reason) == (Answer.DENIED, "not to him")


def test_the_terminal_takes_an_edit_and_refuses_one_that_is_no_action() -> None:
    approval, shown = at_terminal("e\n", "not json\n", "e\n", '{"name": "mail", "arguments": {"to": "b"}}\n')
    assert approval.answer is Answer.EDITED
    assert approval.action is not None
    assert approval.action.calls[0].arguments == {"to": "b"}
    assert "not JSON" in shown


def test_noise_is_a_denial_and_the_end_of_input_is_nobody() -> None:
    assert at_terminal("what\n", "maybe\n", "later\n")[0].answer is Answer.DENIED
    assert at_terminal()[0].answer is Answer.TIMEOUT
    assert at_terminal(asked=request(permit=Permit.VETO))[0].answer is Answer.DENIED


def test_a_line_typed_for_an_expired_request_does_not_grant_the_next() -> None:
    typed: list[str] = []
    ready = threading.Semaphore(0)

    def read() -> str:
        ready.acquire()
        return typed.pop(0)

    def type_(line: str) -> None:
        typed.append(line)
        ready.release()

    async def both() -> tuple[Approval | None, Approval | None]:
        terminal = Terminal(read=read, show=lambda _: None, clock=now)
        first = await resolve(request(expires=1000.01), terminal, clock=now)
        type_("grant\n")  # meant for the first one
        type_("deny\n")
        return first, await resolve(request(Action(text="other")), terminal, clock=now)

    first, second = asyncio.run(both())
    assert first is not None
    assert first.answer is Answer.TIMEOUT
    assert second is not None
    assert second.answer is Answer.DENIED


def test_the_real_standard_input_can_be_a_pipe() -> None:
    program = """
import asyncio
from everystep.core.acts import *
from everystep.core.records import Action
from everystep.guard.approval import resolve
from everystep.guard.terminal import Terminal
action = Action(text="pay")
asked = ApprovalRequest(id="i", run="r", step="s", action=action, digest=action_digest(action), effect=Effect(name="pay"), reason="")
async def main():
    terminal = Terminal()
    for _ in range(3):
        print((await resolve(asked, terminal, clock=lambda: 0.0)).answer)
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], input="grant\ndeny\n", capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["granted", "denied", "timeout"], done.stderr


# --- the mailbox ----------------------------------------------------------------------------------------


def ask(path: Path, asked: ApprovalRequest, time: float = 1000.0) -> Approval | None:
    return asyncio.run(Mailbox(path, clock=lambda: time).ask(asked))


def test_another_process_can_answer(tmp_path: Path) -> None:
    path = tmp_path / "approvals.sqlite"
    assert ask(path, request()) is None
    program = (
        "import sys\nfrom pathlib import Path\nfrom everystep.core.acts import Answer\n"
        "from everystep.guard.mailbox import answer, list_open\npath = Path(sys.argv[1])\n"
        "(one,) = list_open(path, now=1500.0)\n"
        "answer(path, one.id, Answer.GRANTED, digest=one.digest, by='ann', now=1500.0)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=60)
    approval = ask(path, request(), 1501.0)
    assert approval is not None
    assert (approval.answer, approval.by) == (Answer.GRANTED, "ann")
    assert ask(path, request(), 1502.0) is None  # used: a new request


def test_the_mailbox_refuses_answers_that_cannot_count(tmp_path: Path) -> None:
    path, asked = tmp_path / "a.sqlite", request()
    with pytest.raises(StoreError, match="no approvals"):
        list_open(path)
    ask(path, asked)
    with pytest.raises(StoreError, match="no open request"):
        answer(path, "nobody", Answer.GRANTED, digest=asked.digest, now=1000.0)
    with pytest.raises(StoreError, match="digest"):
        answer(path, asked.id, Answer.GRANTED, digest="0" * 64, now=1000.0)
    with pytest.raises(StoreError, match="expired"):
        answer(path, asked.id, Answer.GRANTED, digest=asked.digest, now=2000.0)
    answer(path, asked.id, Answer.DENIED, digest=asked.digest, now=1000.0)
    with pytest.raises(StoreError, match="answer already"):
        answer(path, asked.id, Answer.GRANTED, digest=asked.digest, now=1000.0)
    denied = ask(path, asked, 5000.0)
    assert denied is not None
    assert denied.answer is Answer.DENIED  # a denial counts whenever it is found


def test_an_edit_travels_with_its_digest(tmp_path: Path) -> None:
    path, asked, other = tmp_path / "a.sqlite", request(), Action(text="write it down")
    ask(path, asked)
    answer(path, asked.id, Answer.EDITED, digest=asked.digest, action=other, now=1000.0)
    approval = ask(path, asked, 1001.0)
    assert approval is not None
    assert (approval.action, approval.digest) == (other, action_digest(other))


def test_of_two_that_take_one_grant_only_one_gets_it(tmp_path: Path) -> None:
    path, asked = tmp_path / "a.sqlite", request()
    ask(path, asked)
    answer(path, asked.id, Answer.GRANTED, digest=asked.digest, now=1000.0)
    found: list[Approval | None] = []
    threads = [threading.Thread(target=lambda: found.append(ask(path, asked))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one is not None for one in found) == 1


def test_a_damaged_mailbox_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"no database at all, but long enough to be one" * 100)
    with pytest.raises(StoreError, match="cannot use the approvals"):
        Mailbox(path)


# --- the page on loopback -------------------------------------------------------------------------------


Ask = Callable[..., tuple[int, Any, http.client.HTTPResponse]]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[ApprovalServer, Ask]]:
    path = tmp_path / "a.sqlite"
    ask(path, request())
    with ApprovalServer(path, clock=now) as server:

        def call(
            method: str, where: str, body: Any = None, **headers: str | None
        ) -> tuple[int, Any, http.client.HTTPResponse]:
            named: dict[str, str | None] = {TOKEN_HEADER: server.token, "Content-Type": "application/json"}
            named |= {name.replace("_", "-"): value for name, value in headers.items()}
            with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as line:
                text = body if isinstance(body, str | None) else json.dumps(body)
                line.request(
                    method,
                    where,
                    body=text,
                    headers={name: value for name, value in named.items() if value is not None},
                )
                reply = line.getresponse()
                data = reply.read()
                return reply.status, json.loads(data) if data.startswith(b"{") else data.decode(), reply

        yield server, call


def test_the_page_lists_and_takes_an_answer(served: tuple[ApprovalServer, Ask]) -> None:
    server, call = served
    status, data, _ = call("GET", "/requests")
    assert status == 200
    (one,) = data["requests"]
    assert one["digest"] == request().digest
    body = {"request": one["id"], "digest": one["digest"], "answer": "edited", "action": '{"name": "mail"}'}
    assert call("POST", "/answer", body)[:2] == (200, {"answer": "edited"})
    approval = ask(server.path, request())
    assert approval is not None
    assert approval.answer is Answer.EDITED
    assert call("GET", "/requests")[1] == {"requests": []}


def test_the_page_itself_holds_no_data_and_loads_nothing_from_elsewhere(
    served: tuple[ApprovalServer, Ask],
) -> None:
    server, call = served
    status, page, reply = call("GET", "/", **{TOKEN_HEADER: None})
    assert status == 200
    assert server.token not in page
    assert "id-" not in page
    assert "http" not in page
    assert "src=" not in page
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("method", "where", "headers", "status"),
    [
        ("GET", "/requests", {TOKEN_HEADER: None}, 401),
        ("GET", "/requests", {TOKEN_HEADER: "guess"}, 401),
        ("GET", "/requests", {TOKEN_HEADER: "\xff"}, 401),
        ("GET", "/requests", {"Host": "evil.example"}, 403),
        ("GET", "/", {"Host": "evil.example"}, 403),
        ("GET", "/requests", {"Origin": "http://evil.example"}, 403),
        ("GET", "/requests", {"Origin": "null"}, 403),
        ("POST", "/answer", {TOKEN_HEADER: None}, 401),
        ("POST", "/answer", {"Host": "evil.example:80"}, 403),
        ("POST", "/answer", {"Content_Type": "text/plain"}, 415),
        ("POST", "/answer", {"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ("POST", "/answer", {"Content_Length": "99999999"}, 413),
        ("POST", "/answer", {"Content_Length": "-1"}, 413),
        ("POST", "/requests", {}, 404),
        ("GET", "/answer", {}, 404),
        ("PUT", "/answer", {}, 501),
    ],
)
def test_requests_that_are_not_from_the_page_change_nothing(
    served: tuple[ApprovalServer, Ask], method: str, where: str, headers: dict[str, str | None], status: int
) -> None:
    server, call = served
    asked = request()
    body = {"request": asked.id, "digest": asked.digest, "answer": "granted"}
    got, _, _ = call(method, where, body if method == "POST" else None, **headers)
    assert got == status
    assert len(list_open(server.path, now=1000.0)) == 1


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[" * 100_000,
        "[]",
        {},
        {"request": 1, "digest": "", "answer": "granted"},
        {"request": "id", "digest": "d", "answer": "timeout"},
        {"request": "id", "digest": "d", "answer": "edited", "action": "{}"},
        {"request": "id", "digest": "d", "answer": "granted", "more": "x"},
        {"request": request().id, "digest": "0" * 64, "answer": "granted"},
        {"request": request().id, "digest": request().digest, "answer": "edited"},
    ],
)
def test_bad_answers_are_refused_with_a_reason(served: tuple[ApprovalServer, Ask], body: Any) -> None:
    server, call = served
    status, data, _ = call("POST", "/answer", body)
    assert status in (400, 409)
    assert data["error"]
    assert len(list_open(server.path, now=1000.0)) == 1
