"""The chat sampler against a real server on this machine that misbehaves on cue."""

import asyncio
import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from everystep.core.errors import ConfigError, ModelError
from everystep.core.protocols import AsyncSampler, Forks, Primes, Request, Sampling, Turn
from everystep.core.records import Message, Stop, ToolCall
from everystep.models.chat import ChatSampler, Endpoint, _retry_after

KEY = "sk-very-secret-123"


def completion(text="hello", **message):
    return {
        "choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}},
    }


class Server:
    """Plays a list of replies; each is (status, headers, body) or a function of the request's body."""

    def __init__(self):
        self.replies, self.seen, self.times = [], [], []
        self.now, self.most = 0, 0
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    outer.now += 1
                    outer.most = max(outer.most, outer.now)
                    outer.seen.append((dict(self.headers), body))
                    outer.times.append(time.monotonic())
                    reply = outer.replies.pop(0) if outer.replies else (200, {}, completion())
                if callable(reply):
                    reply = reply(body)
                status, headers, payload = reply
                with lock:
                    outer.now -= 1
                if status == 0:  # hang up
                    self.connection.close()
                    return
                data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
                self.send_response(status)
                for name, value in ({"content-type": "application/json"} | headers).items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


@pytest.fixture
def server():
    one = Server()
    yield one
    one.http.shutdown()
    one.http.server_close()


@pytest.fixture
def make(server, monkeypatch):
    monkeypatch.setenv("EVERYSTEP_TEST_KEY", KEY)

    def build(**options):
        defaults = {"retries": 2, "backoff_s": 0.01, "timeout_s": 5.0, "key_variable": "EVERYSTEP_TEST_KEY"}
        return ChatSampler(Endpoint(base_url=server.url, model="m", **(defaults | options)))

    return build


def ask(text="hi", session="s", **options):
    return Request(session=session, messages=(Message(role="user", content=text),), **options)


def one(sampler, request=None, **sampling):
    [answer] = sampler.sample([request or ask()], Sampling(**sampling))
    return answer


def test_a_conversation_grows_by_its_new_messages(server, make):
    sampler = make()
    assert isinstance(sampler, AsyncSampler)
    assert isinstance(sampler, Forks)
    assert isinstance(sampler, Primes)
    first = one(sampler, ask("a", seed=2**40 + 5), temperature=0.5, max_tokens=7, stop=("x",))
    assert (first.text, first.stop, first.error) == ("hello", Stop.STOP, None)
    assert (first.usage.prompt, first.usage.cached, first.usage.completion) == (6, 4, 3)
    one(sampler, ask("b"))
    headers, body = server.seen[0]
    assert {k.lower(): v for k, v in headers.items()}["authorization"] == f"Bearer {KEY}"
    assert (body["temperature"], body["max_tokens"], body["stop"], body["seed"]) == (0.5, 7, ["x"], 5)
    assert [m["content"] for m in server.seen[1][1]["messages"]] == ["a", "hello", "b"]
    sampler.fork("s", "t")
    sampler.release(["s"])
    one(sampler, ask("c", session="t"))
    assert [m["content"] for m in server.seen[2][1]["messages"]] == ["a", "hello", "b", "hello", "c"]
    sampler.prime("p", [Turn(messages=(Message(role="user", content="q"),), text="r")])
    one(sampler, ask("c", session="p"))
    assert [m["content"] for m in server.seen[3][1]["messages"]] == ["q", "r", "c"]
    assert sampler.usage.completion == 12


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_passing_troubles_are_retried(server, make, status):
    server.replies = [(status, {}, {"error": "busy"}), (0, {}, b""), (200, {}, completion("at last"))]
    sampler = make()
    assert one(sampler).text == "at last"
    assert sampler.attempts == 3


def test_retries_end(server, make):
    server.replies = [(503, {}, {"error": {"message": f"down, key {KEY}"}})] * 9
    answer = one(make())
    assert answer.stop is Stop.ERROR
    assert "503" in answer.error
    assert "3 attempts" in answer.error
    assert KEY not in answer.error
    assert len(server.seen) == 3


def test_what_will_not_pass_is_not_retried(server, make):
    server.replies = [(401, {}, {"error": "bad key " + KEY})]
    answer = one(make())
    assert "401" in answer.error
    assert KEY not in answer.error
    assert len(server.seen) == 1


def test_retry_after_is_honoured(server, make):
    server.replies = [(429, {"retry-after": "0.3"}, {})]
    assert one(make()).error is None
    assert server.times[1] - server.times[0] >= 0.3
    server.replies = [(429, {"retry-after": "3600"}, {})]
    answer = one(make())
    assert "3600 s" in answer.error
    assert _retry_after("Thu, 01 Jan 1970 00:01:00 GMT", now=lambda: 10.0) == pytest.approx(50.0)
    assert _retry_after("soon") is None
    assert _retry_after("-5") == 0.0


def test_a_slow_answer_times_out_and_is_retried(server, make):
    def slow(_):
        time.sleep(0.6)
        return 200, {}, completion("late")

    server.replies = [slow, (200, {}, completion("in time"))]
    assert one(make(timeout_s=0.2)).text == "in time"
    server.replies = [slow]
    assert "no answer within 0.2 s" in one(make(timeout_s=0.2, retries=0)).error


BAD = {
    "html": (200, {"content-type": "text/html"}, b"<html>gateway</html>"),
    "cut": (200, {}, b'{"choices": [{"mess'),
    "deep": (200, {}, b"[" * 100_000),
    "no choices": (200, {}, {"choices": []}),
    "list": (200, {}, []),
    "null": (200, {}, b"null"),
    "no message": (200, {}, {"choices": [{}]}),
    "odd content": (200, {}, {"choices": [{"message": {"content": 5}}]}),
    "odd calls": (200, {}, completion(tool_calls=[{"function": {"name": "f", "arguments": "{oops"}}])),
    "calls without name": (200, {}, completion(tool_calls=[{"function": {}}])),
    "calls not a list": (200, {}, completion(tool_calls="f()")),
    "error with 200": (200, {}, {"error": {"message": "model " + KEY}}),
    "huge": (200, {}, b" " * 8_000_100),
}


@pytest.mark.parametrize("what", BAD)
def test_answers_against_the_protocol_are_errors_of_that_request(server, make, what):
    server.replies = [BAD[what]] * 3
    sampler = make()
    answer = one(sampler)
    assert answer.stop is Stop.ERROR
    assert answer.error
    assert KEY not in answer.error
    server.replies = []
    assert one(sampler, ask("again")).error is None
    assert [m["content"] for m in server.seen[-1][1]["messages"]] == ["again"]  # the failed turn left nothing


def test_one_failure_does_not_take_the_others_down(server, make):
    def reply(body):
        bad = "bad" in body["messages"][0]["content"]
        return (400, {}, {"error": "no"}) if bad else (200, {}, completion("fine"))

    server.replies = [reply] * 6
    requests = [ask("bad" if i == 2 else "good", session=str(i)) for i in range(6)]
    answers = make().sample(requests, Sampling())
    assert [a.stop is Stop.ERROR for a in answers] == [i == 2 for i in range(6)]


def test_concurrency_and_rate_are_limited(server, make):
    def slow(_):
        time.sleep(0.05)
        return 200, {}, completion()

    server.replies = [slow] * 8
    make(concurrency=2).sample([ask(session=str(i)) for i in range(8)], Sampling())
    assert server.most == 2
    server.times.clear()
    make(requests_per_minute=1200).sample([ask(session=str(i)) for i in range(5)], Sampling())
    assert server.times[-1] - server.times[0] >= 4 * 0.05 - 0.03


def test_tool_calls_become_records_and_get_their_results(server, make):
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "door"}'}}
    other = {"id": "c2", "type": "function", "function": {"name": "wait", "arguments": ""}}
    server.replies = [(200, {}, completion(None, tool_calls=[call, other]))]
    tools = ({"type": "function", "function": {"name": "look"}},)
    sampler = make(tools=tools)
    answer = one(sampler)
    assert answer.stop is Stop.TOOL
    assert answer.calls == (
        ToolCall(name="look", arguments={"at": "door"}, id="c1"),
        ToolCall(name="wait", id="c2"),
    )
    assert json.loads(answer.text.splitlines()[0]) == {"name": "look", "arguments": {"at": "door"}}
    assert server.seen[0][1]["tools"] == list(tools)
    one(sampler, ask("it is shut"))
    sent = server.seen[1][1]["messages"]
    assert [m["role"] for m in sent] == ["user", "assistant", "tool", "tool"]
    assert [m.get("tool_call_id") for m in sent[2:]] == ["c1", "c2"]
    assert sent[2]["content"] == "it is shut"


def test_allowed_answers_are_listed_and_matched(server, make):
    server.replies = [(200, {}, completion(" Go Left \n")), (200, {}, completion("fly"))]
    sampler = make()
    answer = one(sampler, ask("where?", allowed=("go left", "go right")))
    assert (answer.text, answer.stop) == ("go left", Stop.ALLOWED)
    assert "go left\ngo right" in server.seen[0][1]["messages"][0]["content"]
    wrong = one(sampler, ask("where?", allowed=("go left",)))
    assert (wrong.text, wrong.stop) == ("fly", Stop.STOP)
    one(make(choice_field="guided_choice"), ask("where?", allowed=("go left",)))
    assert server.seen[-1][1]["guided_choice"] == ["go left"]
    assert server.seen[-1][1]["messages"][0]["content"] == "where?"


def test_text_parts_lengths_and_strange_characters(server, make):
    parts = completion([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}])
    parts["choices"][0]["finish_reason"] = "length"
    parts["usage"] = {"prompt_tokens": -3, "completion_tokens": "many"}
    server.replies = [(200, {}, parts)]
    answer = one(make(), ask("lone \ud800"))
    assert (answer.text, answer.stop, answer.usage.completion) == ("ab", Stop.LENGTH, 0)


def test_wrong_settings_are_named_without_the_key(make, monkeypatch):
    with pytest.raises(ConfigError, match="base_url"):
        ChatSampler(Endpoint(base_url="ftp://x", model="m", key_variable=None))
    with pytest.raises(ConfigError, match="concurrency"):
        make(concurrency=0)
    with pytest.raises(ConfigError, match="requests_per_minute"):
        make(requests_per_minute=0.0)
    sampler = make()
    assert KEY not in repr(sampler) + repr(sampler.endpoint)
    monkeypatch.delenv("EVERYSTEP_TEST_KEY")
    with pytest.raises(ModelError, match="'EVERYSTEP_TEST_KEY' is not set"):
        make()
    [empty] = sampler.sample([Request(session="s", messages=())], Sampling())
    assert "without a new message" in empty.error


def test_the_facade_refuses_a_running_loop_and_the_coroutine_works_there(make):
    sampler = make()

    async def inside():
        with pytest.raises(ModelError, match="sample_one"):
            sampler.sample([ask()], Sampling())
        answers = await asyncio.gather(
            *(sampler.sample_one(ask(session=str(i)), Sampling()) for i in range(3))
        )
        await sampler.close()
        return answers

    assert [a.text for a in asyncio.run(inside())] == ["hello"] * 3
    assert one(sampler).text == "hello"  # another loop, a new connection


def test_a_dead_server_is_an_error_and_not_an_exception(make, server):
    sampler = ChatSampler(
        Endpoint(base_url="http://127.0.0.1:9", model="m", key_variable=None, retries=1, backoff_s=0.001)
    )
    assert "connection broke" in one(sampler).error
