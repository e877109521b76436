"""Spans for OpenTelemetry, with the names of its GenAI conventions.

The conventions are in development and in a repository of their own, ``open-telemetry/semantic-conventions-genai``; these names are those of
November 2026. A run is ``invoke_agent``, the samples of a step are ``chat``, an act that calls a tool is ``execute_tool``. They have no name
for work on a plan node (their ``plan`` is the making of a plan), an act in a simulated world, or a gate: these are ``everystep.node``,
``everystep.act`` and ``everystep.gate``. What models and tools wrote is not recorded unless asked for, since spans leave the machine.
"""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context

from everystep.core.records import End, Json

_OPERATIONS = {"run": "invoke_agent", "chat": "chat", "act": "execute_tool"}
_SUBJECTS = {"run": "agent", "chat": "model", "act": "tool"}
_NAMES = {
    "model": "gen_ai.request.model",
    "samples": "gen_ai.request.choice.count",
    "agent": "gen_ai.agent.name",
    "tool": "gen_ai.tool.name",
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
}
_LABELS = frozenset({"model", "agent", "tool", "role", "task", "end", "permit"})  # texts that nobody wrote


class Spans:
    """An observer (``core.protocols.Observer``) that writes the spans of one run at a time.

    ``content`` also records what was written: goals, actions, reasons. ``provider`` names who serves the model, as
    ``gen_ai.provider.name`` (``openai``, ``anthropic``).
    """

    def __init__(
        self, tracer: Tracer | None = None, *, content: bool = False, provider: str = "everystep"
    ) -> None:
        self.tracer = tracer or trace.get_tracer("everystep")
        self.content = content
        self.provider = provider
        self._run: Span | None = None
        self._open: dict[tuple[str, str], Span] = {}

    def started(self, operation: str, key: str, facts: Mapping[str, Json]) -> None:
        """Open the span of an operation, below its run's and its node's."""
        above = self._open.get(("node", key.rpartition("/")[0])) or self._run
        subject = str(facts.get(_SUBJECTS.get(operation, "")) or "")
        name = _OPERATIONS.get(operation)
        if operation == "act" and not subject:
            name = None  # nothing is called: it happens in a simulated world
        attributes = {f"everystep.{operation}": key, **self._told(facts)}
        if name is not None:
            attributes["gen_ai.operation.name"] = name
        if operation == "chat":
            attributes["gen_ai.provider.name"] = self.provider
        span = self.tracer.start_span(
            f"everystep.{operation}" if name is None else f"{name} {subject}".strip(),
            context=None if above is None else set_span_in_context(above),
            kind=SpanKind.CLIENT if operation == "chat" else SpanKind.INTERNAL,
            attributes=attributes,
        )
        if operation == "run":
            self._run = span
        self._open[operation, key] = span

    def ended(self, operation: str, key: str, facts: Mapping[str, Json]) -> None:
        """Close the span of an operation; the end of a run closes what was interrupted in it."""
        span = self._open.pop((operation, key), None)
        if span is None:
            return
        if operation == "run":
            self._interrupted(facts)
            self._run = None
            if facts.get("end") in (End.ERROR, End.CANCELLED):
                _fail(span, str(facts["end"]))
        span.set_attributes(self._told(facts))
        span.end()

    def _interrupted(self, facts: Mapping[str, Json]) -> None:
        while self._open:
            _, span = self._open.popitem()
            _fail(span, str(facts.get("end") or "interrupted"))
            span.end()

    def _told(self, facts: Mapping[str, Json]) -> dict[str, bool | int | float | str]:
        """Return what may be recorded: numbers and labels; texts of models, tools and people where asked for."""
        told: dict[str, bool | int | float | str] = {}
        for name, value in facts.items():
            if isinstance(value, str) and not (value and (name in _LABELS or self.content)):
                continue
            if isinstance(value, bool | int | float | str):
                told[_NAMES.get(name, f"everystep.{name}")] = value
        return told


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
