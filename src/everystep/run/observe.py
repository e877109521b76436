"""Spans for OpenTelemetry, with the names of its GenAI conventions (development status, semantic conventions 1.37).

A run is ``invoke_agent``, a plan node ``plan``, the samples of a step ``chat``, an act ``execute_tool``; a gate has a name of our own. What models
and tools wrote is not recorded unless asked for, since spans leave the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span, Tracer, set_span_in_context

from everystep.core.records import Json

_OPERATIONS = {"run": "invoke_agent", "node": "plan", "chat": "chat", "act": "execute_tool"}
_NAMES = {
    "model": "gen_ai.request.model",
    "agent": "gen_ai.agent.name",
    "tool": "gen_ai.tool.name",
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
}
_CONTENT = frozenset({"action", "goal"})


class Spans:
    """An observer (``core.protocols.Observer``) that writes spans; ``content`` also records goals and actions."""

    def __init__(self, tracer: Tracer | None = None, *, content: bool = False) -> None:
        self.tracer = tracer or trace.get_tracer("everystep")
        self.content = content
        self._run: Span | None = None
        self._open: dict[tuple[str, str], Span] = {}

    def started(self, operation: str, key: str, facts: Mapping[str, Json]) -> None:
        """Open the span of an operation, below its run's and its node's."""
        above = self._open.get(("node", key.rpartition("/")[0])) or self._run
        name = _OPERATIONS.get(operation, f"everystep.{operation}")
        subject = facts.get("model") or facts.get("agent") or facts.get("tool") or ""
        span = self.tracer.start_span(
            f"{name} {subject}".strip(), context=None if above is None else set_span_in_context(above)
        )
        span.set_attribute("gen_ai.operation.name", name)
        span.set_attribute(f"everystep.{operation}", key)
        self._set(span, facts)
        if operation == "run":
            self._run = span
        self._open[operation, key] = span

    def ended(self, operation: str, key: str, facts: Mapping[str, Json]) -> None:
        """Close the span of an operation."""
        span = self._open.pop((operation, key), None)
        if span is None:
            return
        self._set(span, facts)
        span.end()
        if operation == "run":
            self._run = None

    def _set(self, span: Span, facts: Mapping[str, Json]) -> None:
        for name, value in facts.items():
            if name in _CONTENT and not self.content:
                continue
            known: Any = value if isinstance(value, bool | int | float | str) else None
            if known is not None and known != "":
                span.set_attribute(_NAMES.get(name, f"everystep.{name}"), known)
