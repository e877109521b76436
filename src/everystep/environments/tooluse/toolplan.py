"""Plans of tool calls in the form of TaskBench: nodes with a tool and arguments, links between tools, ``<node-i>`` for what call ``i`` gave.

This is the form on the wire, which published plans and answers of models have; ``run.plan_tools`` turns it into the nodes of a plan that runs.
Source: TaskBench (arXiv 2311.18760), and its released form of predictions.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from everystep.environments.tooluse.toolgraph import ToolGraph

MOST_CHARS = 50_000
MOST_NODES = 64
MOST_PARTS = 256  # links, steps, arguments of a call
_LONGEST = 4000  # characters of one name or value
_REFERENCE = re.compile(r"<node-(\d{1,4})>")
_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)

FORM = (
    'Answer with JSON only: {"task_steps": ["Step 1: ..."], "task_nodes": [{"task": "a tool", "arguments": [...]}], '
    '"task_links": [{"source": "a tool", "target": "a tool"}]}.'
)
"""What a model is told about the form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """A value that a call is given, and its name where it has one."""

    value: str
    name: str = ""

    @property
    def refers(self) -> int | None:
        """The number of the call whose result it is: the first ``<node-i>`` in it, as published; ``None`` without one."""
        found = _REFERENCE.search(self.value)
        return int(found[1]) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One node: a tool and what it is given."""

    tool: str
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolPlan:
    """A plan: calls, links as pairs of tools (source, target), and steps in words."""

    calls: tuple[Call, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    steps: tuple[str, ...] = ()

    @property
    def tools(self) -> list[str]:
        """The tool of each call."""
        return [call.tool for call in self.calls]

    @property
    def references(self) -> list[tuple[int, int]]:
        """The pairs (call that gives, call that takes) that arguments make; those to itself or to no call are left out."""
        return [
            (one.refers, taker)
            for taker, call in enumerate(self.calls)
            for one in call.arguments
            if one.refers is not None and one.refers != taker and one.refers < len(self.calls)
        ]

    def edges(self, *, resource: bool) -> frozenset[tuple[str, str]]:
        """Return the edges that are scored: in a resource domain those that arguments make, else the stated links.

        >>> plan = chain("a", "b")
        >>> plan.edges(resource=False), plan.edges(resource=True)
        (frozenset({('a', 'b')}), frozenset({('a', 'b')}))
        """
        if not resource:
            return frozenset(self.links)
        return frozenset((self.calls[a].tool, self.calls[b].tool) for a, b in self.references)

    @property
    def kind(self) -> str:
        """``single``, ``chain`` (each link joins neighbours, in order) or ``dag``."""
        if len(self.calls) < 2:
            return "single"
        joined = {*self.references} or {*_numbered(self)}
        return "chain" if joined == {(number, number + 1) for number in range(len(self.calls) - 1)} else "dag"

    def as_json(self) -> dict[str, Any]:
        """Return the published form."""
        return {
            "task_steps": list(self.steps),
            "task_nodes": [
                {"task": call.tool, "arguments": [_written(one) for one in call.arguments]}
                for call in self.calls
            ],
            "task_links": [{"source": a, "target": b} for a, b in self.links],
        }


def _written(one: Argument) -> Any:
    return {"name": one.name, "value": one.value} if one.name else one.value


def _numbered(plan: ToolPlan) -> list[tuple[int, int]]:
    """Return the links as pairs of numbers of calls; see ``joined``."""
    return [pair for link in plan.links if (pair := joined(plan, link)) is not None]


def joined(plan: ToolPlan, link: tuple[str, str]) -> tuple[int, int] | None:
    """Return the calls that a link between two tools joins: the first source with a target behind it, else the first of each; ``None`` where a tool has no call.

    >>> joined(chain("a", "b", "a"), ("b", "a")), joined(chain("a"), ("a", "c"))
    ((1, 2), None)
    """
    sources = [number for number, tool in enumerate(plan.tools) if tool == link[0]]
    targets = [number for number, tool in enumerate(plan.tools) if tool == link[1]]
    if not sources or not targets:
        return None
    for source in sources:
        for target in targets:
            if target > source:
                return source, target
    pairs = [(source, target) for source in sources for target in targets if source != target]
    return pairs[0] if pairs else None


def chain(*tools: str) -> ToolPlan:
    """Return a chain of tools, each given what the one before it gave."""
    calls = tuple(
        Call(tool=tool, arguments=(Argument(value=f"<node-{number - 1}>"),) if number else ())
        for number, tool in enumerate(tools)
    )
    return ToolPlan(calls=calls, links=tuple(pairwise(tools)))


# --- reading ------------------------------------------------------------------------------------------------


def read_plan(text: str) -> ToolPlan | str:
    """Return the plan that a text holds, by itself or in its one fenced block, or a sentence that says what is wrong. Never raises.

    >>> read_plan('{"task_nodes": [{"task": "Translation", "arguments": ["hello"]}], "task_links": []}').tools
    ['Translation']
    >>> read_plan("First translate it.")
    'no JSON object was found.'
    """
    body = read_object(text)
    return body if isinstance(body, str) else plan_of(body)


def read_object(text: str) -> Mapping[str, Any] | str:
    """Return the JSON object that a text is, or that its one fenced block is, or what is wrong. Never raises; strict JSON of at most 50,000 characters and 32 levels."""
    if len(text) > MOST_CHARS:
        return f"the answer has {len(text)} characters; expected at most {MOST_CHARS}."
    inner = text.strip()
    if not inner.startswith("{"):
        blocks = _FENCE.findall(text)
        if len(blocks) != 1:
            return (
                "no JSON object was found."
                if not blocks
                else f"{len(blocks)} blocks were found; expected one."
            )
        inner = blocks[0]
    try:
        body = json.loads(inner, object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        return "the answer is nested too deeply."
    except ValueError as error:
        return f"the answer is not JSON: {str(error)[:100]}."
    if not isinstance(body, dict):
        return f"the plan is a {type(body).__name__}; expected an object."
    return body if _shallow(body) else "the answer is nested too deeply."


def _shallow(body: Any, most: int = 32) -> bool:
    level = [body]
    for _ in range(most):
        level = [
            part
            for one in level
            if isinstance(one, dict | list)
            for part in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return True
    return False


def plan_of(body: Any) -> ToolPlan | str:
    """Return the plan of a JSON value in the published form, or what is wrong with it. Further fields are left out; arguments may be texts or have names.

    Released predictions write arguments in several ways; numbers become text, lists are joined by a space (as the published scorer does), an argument with neither
    ``name`` nor ``value`` is its first entry.
    """
    if not isinstance(body, dict):
        return f"the plan is a {type(body).__name__}; expected an object."
    nodes, links, steps = body.get("task_nodes"), body.get("task_links", []), body.get("task_steps", [])
    if not isinstance(nodes, list) or len(nodes) > MOST_NODES:
        return f"expected 'task_nodes' with a list of at most {MOST_NODES} calls."
    if not isinstance(links, list) or not isinstance(steps, list) or max(len(links), len(steps)) > MOST_PARTS:
        return f"'task_links' and 'task_steps' are lists of at most {MOST_PARTS} entries."
    calls = []
    for number, node in enumerate(nodes):
        call = _call(node, number)
        if isinstance(call, str):
            return call
        calls.append(call)
    pairs: list[tuple[str, str]] = []
    for link in links:
        ends = (link.get("source"), link.get("target")) if isinstance(link, dict) else (None, None)
        if not all(isinstance(end, str) and 0 < len(end) <= _LONGEST for end in ends):
            return f"link {len(pairs)} is not {{'source': a tool, 'target': a tool}}."
        pairs.append((str(ends[0]), str(ends[1])))
    told = tuple(step[:_LONGEST] if isinstance(step, str) else _text(step) for step in steps)
    return ToolPlan(calls=tuple(calls), links=tuple(pairs), steps=told)


def _call(node: Any, number: int) -> Call | str:
    tool = node.get("task") if isinstance(node, dict) else None
    if not isinstance(tool, str) or not 0 < len(tool) <= _LONGEST:
        return f"node {number} names no tool in 'task'."
    given = node.get("arguments") or []
    if isinstance(given, dict):
        given = [{"name": name, "value": value} for name, value in given.items()]
    if not isinstance(given, list) or len(given) > MOST_PARTS:
        return f"the arguments of node {number} are no list of at most {MOST_PARTS}."
    return Call(tool=tool, arguments=tuple(map(_argument, given)))


def _argument(given: Any) -> Argument:
    if not isinstance(given, dict):
        return Argument(value=_text(given))
    if not {"name", "value"} & given.keys() and given:
        name, value = next(iter(given.items()))
        return Argument(name=name[:_LONGEST], value=_text(value))
    return Argument(name=_text(given.get("name", "")), value=_text(given.get("value", "")))


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_text, value[:MOST_PARTS]))[:_LONGEST]
    return (value if isinstance(value, str) else json.dumps(value))[:_LONGEST]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


# --- comparing ----------------------------------------------------------------------------------------------

_IMAGE = ("jpg", "png", "jpeg", "gif", "bmp", "tiff", "svg", "ico")
_AUDIO = ("mp3", "wav", "wma", "ogg", "aac", "flac", "aiff", "au")
_VIDEO = ("mp4", "avi", "mov", "flv", "wmv", "mkv", "webm", "m4v", "mpg", "mpeg")


def content_type(value: str) -> str:
    """Return the published guess at a literal's type, from a file ending in it.

    >>> content_type("example.jpg"), content_type("hello")
    ('image', 'text')
    """
    for kind, endings in (("image", _IMAGE), ("audio", _AUDIO), ("video", _VIDEO)):
        if any(f".{ending}" in value for ending in endings):
            return kind
    return "text"


def resolved(plan: ToolPlan, graph: ToolGraph) -> list[list[tuple[str, str]]]:
    """Return the arguments of each call as (name, value), as they are scored.

    In a resource domain the name is a type: of the result that is referred to (the value is then that tool), else the one guessed from the value. References to itself are
    left out, those to no call stay as text. In other domains both are as stated.
    """
    if not graph.resource:
        return [[(one.name, one.value) for one in call.arguments] for call in plan.calls]
    found = []
    for number, call in enumerate(plan.calls):
        given = []
        for one in call.arguments:
            if one.refers == number:
                continue
            if one.refers is not None and one.refers < len(plan.calls):
                giver = plan.calls[one.refers].tool
                tool = graph.tools.get(giver)
                given.append((tool.gives[0] if tool and tool.gives else "none" if tool else "other", giver))
            else:
                given.append((content_type(one.value), one.value))
        found.append(given)
    return found


def same_plan(plan: ToolPlan, gold: ToolPlan, graph: ToolGraph) -> bool:
    """Say whether two plans are one: the same calls with the same arguments, in any order, and the same edges. Where gold has no arguments they are not looked at."""
    bare = not any(call.arguments for call in gold.calls)

    def calls(one: ToolPlan) -> Mapping[Any, int]:
        given: Sequence[Sequence[Any]] = [[] for _ in one.calls] if bare else resolved(one, graph)
        return Counter((call.tool, tuple(sorted(some))) for call, some in zip(one.calls, given, strict=True))

    return calls(plan) == calls(gold) and plan.edges(resource=graph.resource) == gold.edges(
        resource=graph.resource
    )
