"""Tools of an MCP server, through the official SDK: over the server's standard input and output, or streamable HTTP.

A server is not trusted. What it returns is shown as data; its sizes and times are bounded; it gets no variables of ours
and can ask us nothing (no sampling, no elicitation, no roots). What it says about its own tools (annotations) counts only where it is
declared ``trusted``, and a pinned fingerprint refuses tools that were changed since somebody looked at them.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp_types as types
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from everystep.core.acts import Effect, Reversal, Risk
from everystep.core.errors import ConfigError, ToolError
from everystep.core.records import Json
from everystep.tools.tool import Tool, ToolResult

_RELAY = Path(__file__).with_name("relay.py")
_MOST_PAGES, _MOST_TOOLS = 50, 256
_MOST_TEXT, _MOST_SCHEMA = 4_000, 100_000
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A server that is started as a program. It gets ``environment`` and a few plain variables (HOME, PATH, USER ...), no others."""

    line: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server behind an address (streamable HTTP). ``headers`` go to its origin and nowhere else."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class McpServer:
    """A connection to one server, held by a thread of its own, so that its tools can be called from any event loop.

    ``name`` goes before the names of its tools. ``only`` are the tools (by the server's names) that are taken. ``effects`` say what a tool
    does, by the server's names; other tools count as irreversible with medium risk, unless the server is ``trusted``: then its
    annotations count. ``pinned`` is the fingerprint that its tools must have. A message is at most ``most_bytes`` long. What a
    server writes to standard error goes to ``log``, or nowhere.

    Use it as a context manager: ``with McpServer("time", Program(line=("mcp-server-time",))) as server: ToolBox(server.tools)``.
    """

    def __init__(
        self,
        name: str,
        where: Program | Address,
        *,
        only: Sequence[str] | None = None,
        effects: Mapping[str, Effect] | None = None,
        trusted: bool = False,
        pinned: str | None = None,
        timeout_s: float = 60.0,
        start_s: float = 30.0,
        restarts: int = 3,
        most_bytes: int = 8_000_000,
        max_output_chars: int = 20_000,
        log: Path | None = None,
    ) -> None:
        if not name or _UNFIT.search(name) or len(name) > 24:
            raise ConfigError(f"server name {name!r}: expected 1 to 24 letters, digits, '_' or '-'.")
        self.name = name
        self.tools: tuple[Tool, ...] = ()
        self.left_out: Mapping[str, str] = {}
        self.fingerprint = ""
        self._where = where
        self._only = None if only is None else frozenset(only)
        self._effects = dict(effects or {})
        self._trusted = trusted
        self._pinned = pinned
        self._timeout_s = timeout_s
        self._start_s = start_s
        self._restarts = restarts
        self._ends = 0
        self._opening = threading.Lock()
        self._most_bytes = most_bytes
        self._most_chars = max_output_chars
        self._log = log
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Client | None = None
        self._thread: threading.Thread | None = None
        self._stop: asyncio.Event | None = None

    def __enter__(self) -> McpServer:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> tuple[Tool, ...]:
        """Connect and return the tools. Raises ``ToolError`` where that fails."""
        if self._thread is not None:
            raise ToolError(f"MCP server {self.name!r} is open already.")
        self._connect()
        return self.tools

    def close(self) -> None:
        """End the connection, and the server where we started it."""
        self._disconnect()
        self._thread = None

    async def call(self, name: str, arguments: Mapping[str, Json]) -> ToolResult:
        """Call the tool that the server calls ``name``. Raises ``ToolError`` where it gives no result.

        A call is made once. When the connection has ended, the next call makes it anew, up to ``restarts`` times, if the tools are still the same.
        """
        if self._thread is None:
            raise ToolError(f"MCP server {self.name!r} is not open.")
        if self._client is None:
            await asyncio.to_thread(self._reconnect)
        loop, client = self._loop, self._client
        if loop is None or client is None:
            raise ToolError(f"MCP server {self.name!r} is not open.")
        try:
            asked = asyncio.run_coroutine_threadsafe(
                client.call_tool(name, dict(arguments), read_timeout_seconds=self._timeout_s), loop
            )
            return _result(await asyncio.wrap_future(asked), self._most_bytes)
        except Exception as error:
            if isinstance(error, MCPError) and error.error.code == types.CONNECTION_CLOSED:
                self._client = None
            raise ToolError(f"MCP server {self.name!r}: {_why(error)}.") from None

    def _reconnect(self) -> None:
        with self._opening:
            if self._client is not None or self._thread is None:
                return
            self._ends += 1
            if self._ends > self._restarts:
                raise ToolError(
                    f"MCP server {self.name!r} has ended {self._ends} times and is not started again."
                )
            self._disconnect()
            self._connect()

    def _connect(self) -> None:
        ready: Future[list[types.Tool]] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._live(ready)), name=f"mcp {self.name}", daemon=True
        )
        self._thread.start()
        try:
            self._take(ready.result(self._start_s))
        except BaseException as error:
            self.close()
            if isinstance(error, ToolError) or not isinstance(error, Exception):
                raise
            late = isinstance(error, TimeoutError)
            why = f"it did not answer within {self._start_s} s" if late else _why(error)
            raise ToolError(
                f"MCP server {self.name!r} cannot be used: {why}. Run its command by hand to see more."
            ) from None

    def _disconnect(self) -> None:
        if self._loop is not None and self._stop is not None:
            with suppress(RuntimeError):  # its loop has ended
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(10.0)
        self._client = self._loop = None

    async def _live(self, ready: Future[list[types.Tool]]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            us = types.Implementation(name="everystep", version="0.1")
            async with Client(self._transport(), cache=None, client_info=us) as client:
                self._client = client
                ready.set_result(await _listed(client))
                await self._stop.wait()
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error if isinstance(error, Exception) else ToolError("it was stopped"))
        finally:
            self._client = None

    def _take(self, listed: Sequence[types.Tool]) -> None:
        """Turn the server's list into tools."""
        left_out: dict[str, str] = {}
        tools: dict[str, Tool] = {}
        for one in listed:
            if self._only is not None and one.name not in self._only:
                continue
            name = f"{self.name}_{_UNFIT.sub('_', one.name)}"[:64]
            schema = json.dumps(one.input_schema)
            if len(schema) > _MOST_SCHEMA:
                left_out[one.name] = (
                    f"its schema has {len(schema)} characters; expected at most {_MOST_SCHEMA}"
                )
            elif name in tools:
                raise ToolError(f"MCP server {self.name!r} has two tools called {name!r}. It is not used.")
            else:
                tools[name] = self._tool(name, one)
        for missing in sorted((self._only or frozenset()) - {one.name for one in listed}):
            raise ToolError(f"MCP server {self.name!r} has no tool {missing!r}.")
        told = [(one.name, one.description, one.input_schema) for one in listed]
        self.fingerprint = sha256(json.dumps(sorted(told, key=lambda t: t[0])).encode()).hexdigest()[:32]
        if self._pinned is None:
            self._pinned = self.fingerprint  # a restart must not change them
        if self._pinned != self.fingerprint:
            raise ToolError(
                f"the tools of MCP server {self.name!r} are not those that were pinned: fingerprint {self.fingerprint!r}, "
                f"expected {self._pinned!r}. Look at them, then pin them anew."
            )
        self.tools, self.left_out = tuple(tools.values()), left_out

    def _tool(self, name: str, one: types.Tool) -> Tool:
        theirs = one.name

        async def call(arguments: Mapping[str, Json], *, key: str) -> ToolResult:  # noqa: ARG001
            return await self.call(theirs, arguments)

        effect = self._effects.get(theirs)
        return Tool(
            name=name,
            description=(one.description or "")[:_MOST_TEXT],
            schema=one.input_schema,
            effect=effect
            or effect_of(name, one.annotations if self._trusted else None, resource=f"mcp:{self.name}"),
            call=call,
            timeout_s=self._timeout_s + self._start_s,  # the connection may have to be made anew
            max_output_chars=self._most_chars,
        )

    @asynccontextmanager
    async def _transport(self) -> AsyncIterator[Any]:
        where = self._where
        async with AsyncExitStack() as stack:
            if isinstance(where, Program):
                log = stack.enter_context(open(self._log or os.devnull, "a"))  # noqa: SIM115 -- it is one
                relay = ("-I", "-S", "-c", _RELAY.read_text(), str(self._most_bytes))
                started = StdioServerParameters(
                    command=sys.executable,
                    args=[*relay, *where.line],
                    env=dict(where.environment),
                    cwd=where.folder,
                    encoding_error_handler="replace",
                )
                streams = await stack.enter_async_context(stdio_client(started, errlog=log))
            else:
                http = httpx2.AsyncClient(
                    transport=_Bounded(self._most_bytes),
                    headers={"Accept-Encoding": "identity", **where.headers},
                    timeout=httpx2.Timeout(self._timeout_s),
                    trust_env=False,
                )
                await stack.enter_async_context(http)
                streams = await stack.enter_async_context(
                    streamable_http_client(where.url, http_client=http, max_sse_event_size=self._most_bytes)
                )
            yield await stack.enter_async_context(_plain(*streams))


def effect_of(name: str, hints: types.ToolAnnotations | None, *, resource: str = "") -> Effect:
    """Return the effect that annotations claim; without any, or silent ones, it is irreversible with medium risk.

    >>> effect_of("get", types.ToolAnnotations(read_only_hint=True, open_world_hint=False)).repeatable
    True
    """
    resources = (resource,) if resource else ()
    if hints is None:
        return Effect(name=name, reversal=Reversal.IRREVERSIBLE, risk=Risk.MEDIUM, resources=resources)
    if hints.read_only_hint:
        return Effect(name=name, risk=Risk.NONE if hints.open_world_hint is False else Risk.LOW)
    additive = hints.destructive_hint is False
    return Effect(
        name=name,
        reversal=Reversal.COMPENSATABLE if additive else Reversal.IRREVERSIBLE,
        risk=Risk.LOW if additive else Risk.HIGH if hints.destructive_hint else Risk.MEDIUM,
        idempotent=hints.idempotent_hint is True,
        resources=resources,
    )


# --- what a server says -------------------------------------------------------------------------------


async def _listed(client: Client) -> list[types.Tool]:
    """Return all tools of a server, whose list must come to an end."""
    found: list[types.Tool] = []
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if len(found) > _MOST_TOOLS:
            raise ToolError(f"it lists more than {_MOST_TOOLS} tools")
        if cursor is None:
            return found
    raise ToolError(f"its list of tools has more than {_MOST_PAGES} pages")


def _result(result: types.CallToolResult, most_bytes: int) -> ToolResult:
    parts = []
    for block in result.content:
        if isinstance(block, types.TextContent):
            parts.append(block.text)
        elif isinstance(block, types.EmbeddedResource) and isinstance(
            block.resource, types.TextResourceContents
        ):
            parts.append(block.resource.text)
        elif isinstance(block, types.ResourceLink):
            parts.append(f"[link to {block.uri}]")
        else:
            parts.append(f"[{block.type}, not shown]")
    data: Json = result.structured_content
    if not parts and data is not None:
        parts.append(json.dumps(data, ensure_ascii=False))
    text = "\n".join(parts) or "[no output]"
    return ToolResult(text=text[:most_bytes], error=result.is_error is True, data=data)


def _why(error: BaseException) -> str:
    """Return a short reason for what the SDK raised; groups of errors tell their first one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, MCPError | ToolError) and text else f"{type(error).__name__}: {text}"


# --- the wire -----------------------------------------------------------------------------------------


@asynccontextmanager
async def _plain(reads: Any, writes: Any) -> AsyncIterator[Any]:
    """Pass messages on, without the output schemas in lists of tools: a pattern in one could make the SDK's check of a result take for ever."""
    send, receive = anyio.create_memory_object_stream[Any](0)

    async def forward() -> None:
        async with send:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                async for message in reads:
                    await send.send(message if isinstance(message, Exception) else _without_schemas(message))

    async with anyio.create_task_group() as group:
        group.start_soon(forward)
        try:
            yield receive, writes
        finally:
            receive.close()
            group.cancel_scope.cancel()


def _without_schemas(message: Any) -> Any:
    if isinstance(message.message, types.JSONRPCResponse):
        tools = message.message.result.get("tools")
        for one in tools if isinstance(tools, list) else []:
            if isinstance(one, dict):
                one.pop("outputSchema", None)
    return message


class _Bounded(httpx2.AsyncHTTPTransport):
    """HTTP whose answers end after ``most`` bytes, but for streams of events, which the SDK bounds by event."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            raise httpx2.DecodingError("the answer is compressed, which was not asked for", request=request)
        if "text/event-stream" not in response.headers.get("content-type", ""):
            assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 -- for the type checker
            response.stream = _Cut(response.stream, self._most)
        return response


class _Cut(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, most: int) -> None:
        self._stream, self._most = stream, most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._most
        async for chunk in self._stream:
            left -= len(chunk)
            if left < 0:
                raise httpx2.ReadError(f"the answer is longer than {self._most} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
