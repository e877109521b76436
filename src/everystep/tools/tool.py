"""A tool is data: a name, what it takes, what it does to the world, and the function that does it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from everystep.core.acts import Effect, Reversal, Risk
from everystep.core.records import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a call gave: text for the agent, ``data`` for programs. ``error`` means that the tool says it failed."""

    text: str
    error: bool = False
    data: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What became of a call in doubt: ``result`` if it happened, ``known`` is false if nobody can tell."""

    known: bool
    result: ToolResult | None = None


class Call(Protocol):
    """Does what the tool does. ``key`` is the idempotency key. It may raise: the tool box turns that into a result."""

    def __call__(self, arguments: Mapping[str, Json], *, key: str) -> Awaitable[ToolResult]: ...


class Settle(Protocol):
    """Finds out whether the call with this key did happen."""

    def __call__(self, arguments: Mapping[str, Json], *, key: str) -> Awaitable[Settlement]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool. ``schema`` is the JSON schema of its arguments, an object.

    ``problem`` says what is wrong with arguments before a call, ``None`` if nothing; without it the schema's first level is
    checked. A call that takes longer than ``timeout_s`` seconds is a failed one. ``max_output_chars`` bounds what the agent sees.
    """

    name: str
    description: str
    schema: Mapping[str, Json]
    effect: Effect
    call: Call = field(repr=False)
    settle: Settle | None = field(default=None, repr=False)
    problem: Callable[[Mapping[str, Json]], str | None] | None = field(default=None, repr=False)
    timeout_s: float = 60.0
    max_output_chars: int = 20_000


def reading(name: str, *, resources: tuple[str, ...] = ()) -> Effect:
    """Return the effect of a tool that only reads."""
    return Effect(name=name, resources=resources)


def unknown(name: str, *, resources: tuple[str, ...] = ()) -> Effect:
    """Return the effect of a tool of which nothing is known: it cannot be taken back, and something is at stake."""
    return Effect(name=name, reversal=Reversal.IRREVERSIBLE, risk=Risk.MEDIUM, resources=resources)
