"""Approvals in the browser: a page on loopback that lists a run's open requests and takes answers.

It binds to 127.0.0.1 only. Every request for data carries a random token in a header, which the printed address hands to
the page behind ``#``, so it reaches no log and no other site. Foreign Host and Origin headers are refused (DNS rebinding),
answers are JSON posts (no form of another site can make one).
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from everystep.core.acts import Answer, ApprovalRequest
from everystep.core.errors import StoreError
from everystep.core.records import Json
from everystep.guard.approval import action_text, described, edited_action
from everystep.guard.mailbox import answer, list_open

TOKEN_HEADER = "X-Everystep-Token"  # noqa: S105 -- the header's name
_MOST_BYTES = 1_000_000
_TIMEOUT_S = 10.0

_SCRIPT = """
const token = location.hash.slice(1), list = document.getElementById("list"), head = {"X-Everystep-Token": token};
let shown = "";
const say = text => { document.getElementById("told").textContent = text; };
async function send(body) {
  const reply = await fetch("/answer", {method: "POST", headers: {...head, "Content-Type": "application/json"}, body: JSON.stringify(body)});
  say((await reply.json()).error || "answered");
  shown = ""; await load();
}
function button(label, act) {
  const one = document.createElement("button"); one.textContent = label; one.onclick = act; return one;
}
function card(item) {
  const box = document.createElement("section"), text = document.createElement("pre");
  const edit = document.createElement("textarea"), why = document.createElement("input");
  text.textContent = item.text; edit.value = item.action; why.placeholder = "reason";
  const body = answer => ({request: item.id, digest: item.digest, answer, reason: why.value});
  box.append(text, why, button("Grant", () => send(body("granted"))), button("Deny", () => send(body("denied"))),
    document.createElement("br"), edit, button("Do this instead", () => send({...body("edited"), action: edit.value})));
  return box;
}
async function load() {
  const reply = await fetch("/requests", {headers: head}).catch(() => null);
  if (!reply) { say("The run no longer listens."); return; }
  const data = await reply.json(), now = JSON.stringify(data);
  if (data.error) { say(data.error); return; }
  if (now === shown) { return; }
  shown = now; list.replaceChildren(...data.requests.map(card));
  say(data.requests.length ? "" : "Nothing waits for an answer.");
}
load(); setInterval(load, 2000);
"""
_STYLE = (
    "body{font:15px system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}section{border:1px solid #888;"
    "border-radius:6px;padding:1rem;margin:1rem 0}pre{white-space:pre-wrap;overflow-wrap:anywhere}"
    "button{margin:.3rem}textarea{width:100%;box-sizing:border-box;min-height:4rem}"
)
_PAGE = (
    f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Everystep approvals</title><style>{_STYLE}</style>'
    f'<h1>Approvals</h1><p id="told" role="status"></p><div id="list"></div><script>{_SCRIPT}</script></html>'
)


def _hash_source(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


_POLICY = (
    f"default-src 'none'; script-src {_hash_source(_SCRIPT)}; style-src {_hash_source(_STYLE)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class ApprovalServer:
    """Serves the requests of one file of approvals until ``close``; ``url`` is what a person opens."""

    def __init__(
        self,
        path: Path,
        *,
        port: int = 0,
        token: str | None = None,
        by: str = "browser",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.token = token or secrets.token_urlsafe(32)
        self.by = by
        self.clock = clock
        try:
            self._server = _Server(self, port)
        except OSError as error:
            raise StoreError(
                f"cannot listen on 127.0.0.1:{port}: {error}. Choose another port, or 0."
            ) from None
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The address with the token, for the person who may answer."""
        return f"http://127.0.0.1:{self.port}/#{self.token}"

    @property
    def hosts(self) -> frozenset[str]:
        """The Host headers that are answered."""
        return frozenset({f"127.0.0.1:{self.port}", f"localhost:{self.port}"})

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- what the handler asks -------------------------------------------------------------------

    def requests(self) -> Json:
        """Return the open requests as JSON."""
        return {"requests": [_shown(one) for one in list_open(self.path, now=self.clock())]}

    def take(self, body: Json) -> Json:
        """Take one answer; raises ``StoreError`` for one that cannot count."""
        allowed = {"request", "digest", "answer", "reason", "action"}
        if not isinstance(body, dict) or not set(body) <= allowed:
            raise StoreError(f"an answer is an object with {', '.join(sorted(allowed))}.")
        text = {name: value for name, value in body.items() if isinstance(value, str)}
        if len(text) != len(body) or not {"request", "digest", "answer"} <= set(text):
            raise StoreError("an answer needs the texts request, digest and answer.")
        if text["answer"] not in (Answer.GRANTED, Answer.DENIED, Answer.EDITED):
            raise StoreError(f"answer {text['answer']!r}: expected granted, denied or edited.")
        kind, action, now = Answer(text["answer"]), None, self.clock()
        if kind is Answer.EDITED:
            asked = next((one for one in list_open(self.path, now=now) if one.id == text["request"]), None)
            if asked is None:
                raise StoreError(f"there is no open request {text['request']!r}. Reload the page.")
            action = edited_action(text.get("action", ""), asked.action)
        given = answer(
            self.path,
            text["request"],
            kind,
            digest=text["digest"],
            by=self.by,
            reason=text.get("reason", "")[:1000],
            action=action,
            now=now,
        )
        return {"answer": given.answer.value}


def _shown(request: ApprovalRequest) -> Json:
    return {
        "id": request.id,
        "digest": request.digest,
        "text": described(request),
        "action": action_text(request.action),
        "expires": request.expires,
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, owner: ApprovalServer, port: int) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a connection that breaks is the client's affair."""


class _Handler(BaseHTTPRequestHandler):
    server_version = "everystep"
    sys_version = ""
    timeout = _TIMEOUT_S
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
        """Log nothing: what is asked here is nobody else's business."""

    def do_GET(self) -> None:
        """Serve the page, which holds no data, or the open requests to whoever has the token."""
        if not self._is_ours():
            return
        if self.path == "/":
            self._send(HTTPStatus.OK, _PAGE.encode(), "text/html; charset=utf-8")
        elif self.path == "/requests":
            if self._has_token():
                self._answer(self.server.owner.requests)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    def do_POST(self) -> None:
        """Take an answer."""
        if not self._is_ours() or not self._has_token():
            return
        if self.path != "/answer":
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")
            return
        if self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
            return
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or int(length[:9]) > _MOST_BYTES or len(length) > 9:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {_MOST_BYTES} bytes")
            return
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            self._refuse(HTTPStatus.BAD_REQUEST, "the body is not JSON")
            return
        self._answer(lambda: self.server.owner.take(body))

    def _is_ours(self) -> bool:
        owner, host, origin = self.server.owner, self.headers.get("Host", ""), self.headers.get("Origin")
        if host not in owner.hosts or (
            origin is not None and origin.removeprefix("http://") not in owner.hosts
        ):
            self._refuse(HTTPStatus.FORBIDDEN, "this page answers on loopback only")
            return False
        return True

    def _has_token(self) -> bool:
        given = self.headers.get(TOKEN_HEADER, "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self.server.owner.token.encode()):
            self._refuse(
                HTTPStatus.UNAUTHORIZED, "the token is missing or wrong; open the address that was printed"
            )
            return False
        return True

    def _answer(self, work: Callable[[], Json]) -> None:
        try:
            value = work()
        except StoreError as error:
            self._refuse(HTTPStatus.CONFLICT, str(error))
            return
        self._send(HTTPStatus.OK, json.dumps(value).encode(), "application/json")

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True
        self._send(status, json.dumps({"error": why}).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Content-Security-Policy", _POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
