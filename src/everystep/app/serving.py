"""``everystep serve`` and ``everystep serve-screens``: our MCP servers over stdio or HTTP on loopback.

HTTP binds to 127.0.0.1 only and asks for a bearer token that is random, new at each start, and printed once. Before anything else is
looked at, Host and Origin must be ours (DNS rebinding) and the token must be right. Stdio belongs to whoever started it and asks for nothing.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tyro
import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp, Receive, Scope, Send

from everystep.app.flags import parse
from everystep.app.mcp_screens import screens_server
from everystep.app.mcp_server import runs_server
from everystep.app.run_desk import Allowed, RunDesk
from everystep.app.run_models import model_of
from everystep.app.screen_agent import StepByStep
from everystep.core.errors import ConfigError
from everystep.core.protocols import AsyncSampler, Sampler, Sampling
from everystep.environments.phone.errands import filled
from everystep.environments.phone.handsets import Handset, risk_on_phones, specialist
from everystep.guard.secrets import Vault

PATH = "/mcp"
"""Where the server listens, under its address."""
_MOST_BYTES = 1_000_000
_HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How clients reach the server: one of the two."""

    stdio: bool = False
    """Talk over standard input and output: for a client that starts this command itself."""
    http: bool = False
    """Listen on 127.0.0.1; the address and a new token are printed on standard error."""
    port: int = 8765
    """With --http: the port; 0 takes a free one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """Everystep as an MCP server: clients start runs, look at them, put questions to a person, go on with them.

    everystep serve runs --stdio

    everystep serve runs --http --models chat:qwen3@http://127.0.0.1:8000/v1
    """

    runs: tyro.conf.Positional[Path]
    """The folder of the runs. Each run is a process of its own and goes on when the server ends."""
    way: tyro.conf.OmitArgPrefixes[Way]
    models: tuple[str, ...] = ()
    """Models that clients may name beside oracle, noisy, random and smollm, exactly as for `everystep run --model`."""
    tools: tuple[str, ...] = ()
    """Tools that clients may give to a run, exactly as for `everystep run --tools`. By default none."""
    at_once: int = 8
    """Runs that clients may have going on at a time."""
    clients_grant: bool = False
    """Let a client grant risky acts by itself. By default a grant comes from a person: at the client (MCP elicitation), or by `everystep approve`."""


def serve(words: Sequence[str]) -> int:
    """Serve the runs of a folder."""
    asked = parse(Serve, words, command="serve", default=Serve(runs=Path("runs"), way=Way()))
    allowed = Allowed(models=asked.models, tools=asked.tools, runs=asked.at_once, grant=asked.clients_grant)
    return _serve(runs_server(RunDesk(asked.runs, allowed=allowed)), asked.way)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeScreens:
    """A screen as an MCP server of two levels: single gestures, and whole tasks for an agent on the device.

    The device is the small phone of the environment `screens`.

    everystep serve-screens --stdio --private
    """

    way: tyro.conf.OmitArgPrefixes[Way]
    private: bool = False
    """Only whole tasks, and nothing that stands on the screen leaves: the answer is a summary in the client's own words."""
    phone: int = 0
    """Seed of what is stored in the phone."""
    miss: float = 0.0
    """Chance that a tap misses."""
    model: str = "oracle"
    """The agent on the device. oracle: a specialist that knows this phone. Or as for `everystep run --model`: noisy:0.1, local:FOLDER,
    smollm, chat:MODEL@URL (then screens go to that address)."""
    key: str | None = None
    """Name of the environment variable with the endpoint's key."""
    max_tokens: int = 64
    """Tokens of one answer of a local or chat model."""
    journals: Path = Path("screen-runs")
    """Folder for the journals of tasks; they hold what was on the screen, and stay here."""
    secrets: Path | None = None
    """A private JSON file (mode 0600) of names and values that are scrubbed from everything that goes out."""


def serve_screens(words: Sequence[str]) -> int:
    """Serve a screen."""
    asked = parse(ServeScreens, words, command="serve-screens", default=ServeScreens(way=Way()))
    if not 0 <= asked.miss <= 0.9:
        raise ConfigError(f"--miss {asked.miss!r}; it must lie from 0 to 0.9.")
    return _serve(screens_of(asked), asked.way)


def screens_of(asked: ServeScreens) -> MCPServer[None]:
    """Return the MCP server that the options describe."""
    if asked.private and _elsewhere(asked.model):
        raise ConfigError(
            f"--private: --model {asked.model} would send what is on the screen to another machine. Name a model on this one."
        )
    phone = Handset(replace(filled(asked.phone), miss=asked.miss, luck=asked.phone))
    agent = StepByStep(
        lambda screen, task: _agent(asked, phone, task),  # noqa: ARG005 -- the phone is the only screen
        folder=asked.journals,
        effects=risk_on_phones,
        sampling=Sampling(max_tokens=asked.max_tokens),
    )
    vault = None if asked.secrets is None else Vault.from_file(asked.secrets, {})
    return screens_server(phone, agent, private=asked.private, vault=vault)


def _agent(asked: ServeScreens, phone: Handset, task: str) -> Sampler | AsyncSampler:
    return model_of(asked.model, answer=lambda _: specialist(phone, task), key=asked.key).sampler


def _elsewhere(model: str) -> bool:
    """Whether a model is asked at an address of another machine."""
    name, _, rest = model.partition(":")
    return name == "chat" and urlsplit(rest.rpartition("@")[2]).hostname not in _HERE


# --- transports -----------------------------------------------------------------------------------


def _serve(server: MCPServer[Any], way: Way) -> int:
    if way.stdio == way.http:
        raise ConfigError("say how clients reach the server: --stdio or --http.")
    if way.stdio:
        server.run("stdio")
        return 0
    with _loopback(way.port) as listener:
        port = int(listener.getsockname()[1])
        token = secrets.token_urlsafe(32)
        sys.stderr.write(
            f"everystep: listening on http://127.0.0.1:{port}{PATH}\n"
            f"everystep: clients send this header, which is not shown again:\nAuthorization: Bearer {token}\n"
        )
        sys.stderr.flush()
        app = guarded(server, port=port, token=token)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=2,
        )
        with suppress(KeyboardInterrupt):
            asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
    return 0


def _loopback(port: int) -> socket.socket:
    if not 0 <= port < 1 << 16:
        raise ConfigError(f"--port {port}: expected 0 to 65535.")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on 127.0.0.1:{port}: {error}. Choose another --port, or 0."
        ) from None
    return listener


def guarded(server: MCPServer[Any], *, port: int, token: str) -> ASGIApp:
    """Return the server as an ASGI application that answers only to whoever has the token, at this port of this machine."""
    hosts = [f"127.0.0.1:{port}", f"localhost:{port}"]
    origins = [f"http://{host}" for host in hosts]
    inner = server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=_MOST_BYTES,
        transport_security=TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=origins),
    )
    return Guard(inner, hosts=hosts, origins=origins, token=token)


class Guard:
    """Looks at Host, Origin and token before anything else does."""

    def __init__(self, inner: ASGIApp, *, hosts: Sequence[str], origins: Sequence[str], token: str) -> None:
        self._inner = inner
        self._hosts = {one.encode() for one in hosts}
        self._origins = {one.encode() for one in origins}
        self._wanted = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._inner(scope, receive, send)
            return
        status, why, more = refusal
        headers = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store"), *more]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": why})

    def _refusal(self, scope: Scope) -> tuple[int, bytes, list[tuple[bytes, bytes]]] | None:
        given: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            given.setdefault(name.lower(), []).append(value)
        hosts, origins = given.get(b"host", []), given.get(b"origin", [])
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return 421, b"this server answers on loopback only\n", []
        if origins and (len(origins) != 1 or origins[0] not in self._origins):
            return 403, b"this server answers no other site\n", []
        tokens = given.get(b"authorization", [])
        if len(tokens) != 1 or not hmac.compare_digest(tokens[0], self._wanted):
            return 401, b"the token is missing or wrong\n", [(b"www-authenticate", b"Bearer")]
        return None
