"""Any OpenAI-compatible chat endpoint, called concurrently and politely."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any

import httpx

from everystep.core.errors import ConfigError, ModelError
from everystep.core.protocols import Generation, Request, Sampling, Turn, Usage
from everystep.core.records import Json, Message, Stop, ToolCall

_MAX_BYTES = 8_000_000  # of one answer; a longer one is not an answer
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a model is served and how to ask it.

    ``base_url`` ends before ``/chat/completions``. ``key_variable`` names the environment variable that
    holds the key, ``None`` where none is needed. ``timeout_s`` bounds one attempt as a whole, ``retries``
    are further attempts after 408, 409, 425, 429, 5xx, time-outs and broken connections, after the
    server's Retry-After (given up where that is beyond ``longest_wait_s``) or a doubling ``backoff_s``.
    ``requests_per_minute`` spaces the starts of attempts. ``tools`` are JSON schemas in OpenAI's form,
    ``extra`` further fields of the body. ``limit_field`` is ``max_completion_tokens`` for newer OpenAI
    models. ``choice_field`` is the server's field for a list of permitted answers (vLLM:
    ``guided_choice``); without one, allowed answers are listed at the end of the last message.
    """

    base_url: str
    model: str
    key_variable: str | None = "OPENAI_API_KEY"
    timeout_s: float = 120.0
    retries: int = 5
    backoff_s: float = 0.5
    longest_wait_s: float = 120.0
    concurrency: int = 16
    requests_per_minute: float | None = None
    tools: tuple[Mapping[str, Json], ...] = ()
    extra: Mapping[str, Json] = field(default_factory=dict)
    limit_field: str = "max_tokens"
    choice_field: str | None = None


@dataclass(slots=True)
class _Line:
    """What belongs to one event loop."""

    loop: asyncio.AbstractEventLoop
    client: httpx.AsyncClient
    slots: asyncio.Semaphore


class _Refused(Exception):  # noqa: N818
    """An attempt gave no answer. ``wait_s`` is what the server asked for; ``again`` says whether to retry."""

    def __init__(self, why: str, *, again: bool, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.again = again
        self.wait_s = wait_s


class ChatSampler:
    """A sampler over an OpenAI-compatible endpoint: async per request, with a synchronous facade.

    A session keeps its messages; a request adds its new ones, and a failed one leaves them as they
    were. Failures of one request (refusals, time-outs, answers that are not what the protocol says) give
    ``Stop.ERROR`` with a reason that never contains the key. Tool calls come as ``Generation.calls``; an answer
    of calls only has their JSON as its text. When calls were made, the next user message is sent as the
    result of the first call that has none. The texts in ``allowed`` are matched without regard to case
    and surrounding space; another answer is returned as it is, for the environment to refuse.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        if endpoint.concurrency < 1 or endpoint.retries < 0 or endpoint.timeout_s <= 0:
            raise ConfigError(f"{endpoint!r}: expected concurrency >= 1, retries >= 0 and timeout_s > 0.")
        rate = endpoint.requests_per_minute
        if rate is not None and not rate > 0:
            raise ConfigError(f"requests_per_minute {rate!r}: expected more than 0, or None.")
        try:
            scheme = httpx.URL(endpoint.base_url).scheme
        except httpx.InvalidURL:
            scheme = ""
        if scheme not in ("http", "https"):
            raise ConfigError(f"base_url {endpoint.base_url!r}: expected http:// or https://.")
        self.endpoint = endpoint
        self._key = ""
        if endpoint.key_variable is not None:
            self._key = os.environ.get(endpoint.key_variable, "").strip()
            if not self._key:
                raise ModelError(
                    f"environment variable {endpoint.key_variable!r} is not set; it must hold the key for "
                    f"{endpoint.base_url!r}. Set it, or set key_variable to None for a server without keys."
                )
        self._sessions: dict[str, list[dict[str, Any]]] = {}
        self._line: _Line | None = None
        self._next_start = 0.0
        self._usage = Usage()
        self._requests = 0

    @property
    def policy(self) -> str:
        return self.endpoint.model

    @property
    def usage(self) -> Usage:
        """All tokens so far, as the server counted them."""
        return self._usage

    @property
    def attempts(self) -> int:
        """HTTP requests so far, retries included."""
        return self._requests

    # --- asking ---------------------------------------------------------------------------------

    async def sample_one(self, request: Request, sampling: Sampling) -> Generation:
        """Answer one request. Cancelling it is safe."""
        line = self._here()
        history = self._sessions.get(request.session, [])
        try:
            added = _rendered(request, history, list_allowed=self.endpoint.choice_field is None)
            body = self._body(request, sampling, [*history, *added])
            async with line.slots:
                answer = await self._ask(line.client, body, request.seed)
            generation, message = _read(answer, request)
        except (ModelError, _Refused) as error:
            return Generation(text="", stop=Stop.ERROR, error=self._clean(str(error)))
        self._sessions[request.session] = [*history, *added, message]
        self._usage = _sum(self._usage, generation.usage)
        return generation

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """Answer all requests concurrently, in order; not to be called inside a running event loop."""

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise ModelError("sample was called inside a running event loop. Await sample_one there.")

        async def gather() -> list[Generation]:
            try:
                return await asyncio.gather(*(self.sample_one(request, sampling) for request in requests))
            finally:
                await self.close()

        return asyncio.run(gather())

    async def close(self) -> None:
        """Close the connections; the sessions stay."""
        line, self._line = self._line, None
        if line is not None:
            await line.client.aclose()

    # --- sessions -------------------------------------------------------------------------------

    def release(self, sessions: Sequence[str]) -> None:
        """Forget conversations."""
        for session in sessions:
            self._sessions.pop(session, None)

    def fork(self, session: str, new_session: str) -> None:
        """Make ``new_session`` continue from where ``session`` is now."""
        if session not in self._sessions:
            raise ModelError(f"cannot fork session {session!r}: it is not open. Ask it for a turn first.")
        self._sessions[new_session] = list(self._sessions[session])

    def prime(self, session: str, turns: Sequence[Turn]) -> None:
        """Open ``session`` behind turns that were taken before."""
        history: list[dict[str, Any]] = []
        for turn in turns:
            history += [_wire(message) for message in turn.messages]
            history.append({"role": "assistant", "content": turn.text})
        self._sessions[session] = history

    # --- parts ----------------------------------------------------------------------------------

    def _here(self) -> _Line:
        loop = asyncio.get_running_loop()
        if self._line is None or self._line.loop is not loop:
            headers = {"content-type": "application/json"}
            if self._key:
                headers["authorization"] = f"Bearer {self._key}"
            client = httpx.AsyncClient(headers=headers, timeout=self.endpoint.timeout_s)
            self._line = _Line(loop, client, asyncio.Semaphore(self.endpoint.concurrency))
        return self._line

    def _body(self, request: Request, sampling: Sampling, messages: list[dict[str, Any]]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": messages,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            self.endpoint.limit_field: sampling.max_tokens,
            "seed": request.seed & 0x7FFFFFFF,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if self.endpoint.tools:
            body["tools"] = list(self.endpoint.tools)
        if self.endpoint.choice_field is not None and request.allowed is not None:
            body[self.endpoint.choice_field] = list(request.allowed)
        return body | dict(self.endpoint.extra)

    async def _ask(self, client: httpx.AsyncClient, body: dict[str, Any], seed: int) -> Any:
        jitter = Random(seed)
        for attempt in range(self.endpoint.retries + 1):
            await self._turn()
            try:
                async with asyncio.timeout(self.endpoint.timeout_s):
                    return await self._attempt(client, body)
            except (TimeoutError, httpx.TimeoutException):
                refused = _Refused(f"no answer within {self.endpoint.timeout_s:g} s", again=True)
            except httpx.HTTPError as error:
                refused = _Refused(f"the connection broke ({type(error).__name__})", again=True)
            except _Refused as error:
                refused = error
            if (refused.wait_s or 0.0) > self.endpoint.longest_wait_s:
                refused = _Refused(f"{refused}, and asks to wait {refused.wait_s:g} s", again=False)
            if not refused.again or attempt == self.endpoint.retries:
                tries = f" after {attempt + 1} attempts" if attempt else ""
                raise _Refused(
                    f"{self.endpoint.model!r} at {self.endpoint.base_url!r}: {refused}{tries}.", again=False
                )
            backoff = self.endpoint.backoff_s * 2.0**attempt * (0.5 + jitter.random())
            await asyncio.sleep(backoff if refused.wait_s is None else refused.wait_s)
        raise AssertionError("unreachable")

    async def _turn(self) -> None:
        """Wait for this attempt's place under the rate limit."""
        rate = self.endpoint.requests_per_minute
        self._requests += 1
        if rate is None:
            return
        now = time.monotonic()
        start = max(now, self._next_start)
        self._next_start = start + 60.0 / rate
        await asyncio.sleep(start - now)

    async def _attempt(self, client: httpx.AsyncClient, body: dict[str, Any]) -> Any:
        url = f"{self.endpoint.base_url.rstrip('/')}/chat/completions"
        data = bytearray()
        async with client.stream("POST", url, content=json.dumps(body).encode()) as response:
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > _MAX_BYTES:
                    raise _Refused(f"the answer is longer than {_MAX_BYTES} bytes", again=False)
        if response.status_code != 200:
            what = " ".join(data[:2000].decode("utf-8", "replace").split())[:300]
            raise _Refused(
                f"status {response.status_code}: {what or 'no text'}",
                again=response.status_code in _RETRIED,
                wait_s=_retry_after(response.headers.get("retry-after")),
            )
        try:
            return _loads(data)
        except ValueError:
            kind = response.headers.get("content-type", "no content type")
            raise _Refused(f"the answer is not JSON ({kind})", again=True) from None

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


# --- the wire -------------------------------------------------------------------------------------


def _wire(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        wire["tool_calls"] = [
            {
                "id": call.id or f"call_{index}",
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for index, call in enumerate(message.calls)
        ]
    if message.call_id is not None:
        wire["tool_call_id"] = message.call_id
    return wire


def _rendered(request: Request, history: list[dict[str, Any]], *, list_allowed: bool) -> list[dict[str, Any]]:
    """Return the new messages as they are sent; open calls of the last answer get their results first."""
    if not request.messages:
        raise ModelError(f"session {request.session!r} was asked without a new message. Give at least one.")
    last = history[-1] if history else {}
    answered = {message.call_id for message in request.messages}
    waiting = [call["id"] for call in last.get("tool_calls", ()) if call["id"] not in answered]
    results, others = [], []
    for message in request.messages:
        unnamed = message.role == "tool" and message.call_id is None
        if waiting and (message.role == "user" or unnamed):
            results.append({"role": "tool", "tool_call_id": waiting.pop(0), "content": message.content})
        elif unnamed:  # the call stood in the text, so the endpoint knows of none
            others.append({"role": "user", "content": message.content})
        elif message.role == "tool":
            results.append(_wire(message))
        else:
            others.append(_wire(message))
    results += [{"role": "tool", "tool_call_id": one, "content": "see the other result"} for one in waiting]
    added = [*results, *others]
    if request.allowed is not None and list_allowed:
        options = "\n".join(request.allowed)
        added[-1] = added[-1] | {
            "content": f"{added[-1]['content']}\n\nAnswer with exactly one of these lines:\n{options}"
        }
    return added


def _read(answer: Any, request: Request) -> tuple[Generation, dict[str, Any]]:
    """Return the generation in an endpoint's answer, and the message to keep."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        error = answer.get("error") if isinstance(answer, dict) else None
        detail = f" It says: {json.dumps(error)[:300]}" if error else ""
        raise ModelError(f"the answer has no choices; expected an OpenAI chat completion.{detail}")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise ModelError("the answer's first choice has no message; expected an OpenAI chat completion.")
    text = _content(message.get("content"))
    calls = _calls(message.get("tool_calls"))
    kept: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        kept = _wire(Message(role="assistant", content=text, calls=calls))
    reason = choices[0].get("finish_reason")
    stop = Stop.TOOL if calls else Stop.LENGTH if reason == "length" else Stop.STOP
    if calls and not text:
        text = "\n".join(json.dumps({"name": call.name, "arguments": call.arguments}) for call in calls)
    if request.allowed is not None:
        match = {one.strip().casefold(): one for one in reversed(request.allowed)}.get(
            text.strip().casefold()
        )
        text, stop = (text, stop) if match is None else (match, Stop.ALLOWED)
    return Generation(text=text, stop=stop, usage=_usage(answer.get("usage")), calls=calls), kept


def _loads(text: str | bytes | bytearray) -> Any:
    """Parse strict JSON; whatever is wrong with it is a ``ValueError``."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _content(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    raise ModelError(f"the answer's content is of type {type(content).__name__}; expected text.")


def _calls(calls: Any) -> tuple[ToolCall, ...]:
    if calls is None:
        return ()
    if not isinstance(calls, list):
        raise ModelError("the answer's tool_calls are not a list.")
    read = []
    for index, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str):
            raise ModelError(f"tool call {index} of the answer has no function name.")
        arguments = function.get("arguments") or "{}"
        try:
            values = _loads(arguments) if isinstance(arguments, str) else arguments
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise ModelError(
                f"the arguments of tool call {name!r} are not a JSON object: {str(arguments)[:200]!r}."
            )
        identifier = call.get("id")
        read.append(
            ToolCall(
                name=name, arguments=values, id=identifier if isinstance(identifier, str) else f"call_{index}"
            )
        )
    return tuple(read)


def _usage(usage: Any) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else 0
    prompt = _count(usage.get("prompt_tokens"))
    return Usage(
        prompt=max(0, prompt - cached), cached=cached, completion=_count(usage.get("completion_tokens"))
    )


def _count(value: Any) -> int:
    return value if type(value) is int and value >= 0 else 0


def _sum(one: Usage, two: Usage) -> Usage:
    return Usage(
        prompt=one.prompt + two.prompt,
        cached=one.cached + two.cached,
        completion=one.completion + two.completion,
    )


def _retry_after(value: str | None, now: Callable[[], float] = time.time) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, section 10.2.3): a number or a date."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now())
    except (TypeError, ValueError):
        return None
