"""Spans as an exporter gets them: names of the GenAI conventions, who is below whom, and nothing that anybody wrote."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from everystep.core.acts import Effect, Permission
from everystep.core.errors import WorldError
from everystep.core.protocols import Environment, Generation, Request, Sampling, Situation, Transition, Usage
from everystep.core.records import Action, End, Stop, Task, ToolCall
from everystep.run.decide import Role, Way
from everystep.run.journal import Journal
from everystep.run.loop import Runner
from everystep.run.observe import Spans
from everystep.run.parts import Outcome, Parts
from everystep.run.plan import Node, Plan
from everystep.run.vote import Majority
from stepping import Bank, hanoi, voter

SECRET = "the harbour bell rings at noon"
TASK = Task(id="pay-once", instruction=f"Pay. {SECRET}", environment="bank")


class Caller:
    """Calls one tool, in words that are nobody's business."""

    policy = "big-model"

    def sample(self, requests: list[Request], sampling: Sampling) -> list[Generation]:
        call = ToolCall(name="pay", arguments={"note": SECRET})
        usage = Usage(prompt=30, cached=12, completion=5)
        return [Generation(text=SECRET, stop=Stop.TOOL, calls=(call,), usage=usage) for _ in requests]

    def release(self, sessions: list[str]) -> None:
        pass


class Yes:
    """Lets everything happen."""

    async def permit(self, situation: Situation, action: Action, effect: Effect) -> Permission:
        return Permission(allowed=True, reason=SECRET)


class Broken(Bank):
    """A world that breaks when somebody acts in it."""

    async def act(self, action: Action, *, key: str) -> Transition:
        raise WorldError("it is gone")


def run(
    folder: Path, environment: Environment, spans: Spans, *, plan: Plan | None = None, task: Task = TASK
) -> Outcome:
    role = Role(name="payer", ways=(Way(sampler=Caller()),), vote=Majority(3))
    parts = Parts(operator=role, gate=Yes(), observers=(spans,))
    with Journal.create(folder / "journal", {}) as journal:
        runner = Runner(
            run="run-7", task=task, environment=environment, parts=parts, journal=journal, plan=plan
        )
        return asyncio.run(runner.run())


def recorder(**options: object) -> tuple[Spans, InMemorySpanExporter]:
    provider, memory = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    return Spans(provider.get_tracer("test"), **options), memory  # type: ignore[arg-type]


def by_name(memory: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in memory.get_finished_spans()}


def parent_of(span: ReadableSpan, memory: InMemorySpanExporter) -> str | None:
    names = {one.context.span_id: one.name for one in memory.get_finished_spans()}
    return None if span.parent is None else names[span.parent.span_id]


def test_a_run_is_an_agent_that_chats_and_calls_tools_in_the_names_of_the_conventions(tmp_path: Path) -> None:
    spans, memory = recorder(provider="openai")
    assert run(tmp_path, Bank([], steps=2), spans).end is End.DONE
    counted = Counter(span.name for span in memory.get_finished_spans())
    assert counted == {
        "invoke_agent payer": 1,
        "chat big-model": 2,
        "everystep.gate": 2,
        "execute_tool pay": 2,
    }
    found = by_name(memory)
    agent, chat, act = found["invoke_agent payer"], found["chat big-model"], found["execute_tool pay"]
    assert dict(agent.attributes or {}) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "payer",
        "everystep.run": "run-7",
        "everystep.task": "pay-once",
        "everystep.end": "done",
    }
    assert dict(chat.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "big-model",
        "gen_ai.request.choice.count": 2,  # of three votes two agree
        "gen_ai.usage.input_tokens": 2 * 42,  # the cached ones are among them
        "gen_ai.usage.output_tokens": 2 * 5,
        "everystep.chat": "main/1",
        "everystep.role": "payer",
    }
    assert dict(act.attributes or {}) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "pay",
        "everystep.act": "main/1",
        "everystep.valid": True,
        "everystep.reward": 0.0,
    }
    assert (agent.kind, chat.kind, act.kind) == (SpanKind.INTERNAL, SpanKind.CLIENT, SpanKind.INTERNAL)
    assert (found["everystep.gate"].attributes or {})["everystep.permit"] == "act"


def test_what_a_run_does_is_below_it_and_what_a_node_does_is_below_the_node(tmp_path: Path) -> None:
    spans, memory = recorder()
    plan = Plan(
        [
            Node(id="first", instruction=SECRET, max_steps=1),
            Node(id="second", instruction=SECRET, max_steps=1),
        ]
    )
    run(tmp_path, Bank([], steps=2), spans, plan=plan)
    finished = memory.get_finished_spans()
    assert len({span.context.trace_id for span in finished}) == 1
    below = Counter((span.name, parent_of(span, memory)) for span in finished)
    assert below["invoke_agent payer", None] == 1
    assert below["everystep.node", "invoke_agent payer"] >= 1
    others = {name: above for name, above in below if name.startswith(("chat", "execute", "everystep.gate"))}
    assert set(others.values()) == {"everystep.node"}
    assert "gen_ai.operation.name" not in (by_name(memory)["everystep.node"].attributes or {})


@pytest.mark.parametrize("content", [False, True])
def test_nothing_that_anybody_wrote_leaves_unless_asked_for(tmp_path: Path, content: bool) -> None:
    spans, memory = recorder(content=content)
    plan = Plan([Node(id="first", instruction=SECRET, max_steps=1)])
    run(tmp_path, Bank([], steps=1), spans, plan=plan)
    text = "".join(span.to_json() for span in memory.get_finished_spans())
    assert (SECRET in text) is content
    spans.started("some new operation", "main/0", {"reason": SECRET, "count": 2})
    spans.ended("some new operation", "main/0", {"why": SECRET})
    assert (SECRET in memory.get_finished_spans()[-1].to_json()) is content


def test_a_simulated_world_is_no_tool(tmp_path: Path) -> None:
    spans, memory = recorder()
    task, environment, sampler = hanoi(disks=2)
    with Journal.create(tmp_path / "journal", {}) as journal:
        parts = Parts(operator=voter(sampler), observers=(spans,))
        asyncio.run(Runner(run="r", task=task, environment=environment, parts=parts, journal=journal).run())
    names = Counter(span.name for span in memory.get_finished_spans())
    assert names["everystep.act"] == 3
    assert not any(name.startswith("execute_tool") for name in names)


def test_a_world_that_breaks_leaves_no_span_open_and_says_so(tmp_path: Path) -> None:
    spans, memory = recorder()
    assert run(tmp_path, Broken([]), spans).end is End.ERROR
    found = by_name(memory)
    for name in ("execute_tool pay", "invoke_agent payer"):
        assert found[name].status.status_code is StatusCode.ERROR
        assert (found[name].attributes or {})["error.type"] == "error"
    assert found["chat big-model"].status.status_code is StatusCode.UNSET


def test_spans_that_were_never_opened_are_no_error() -> None:
    spans, memory = recorder()
    spans.ended("act", "main/0", {"valid": True})
    assert memory.get_finished_spans() == ()
