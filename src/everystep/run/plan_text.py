"""Where plans come from: a list, a tree, a graph with weights, or what a model wrote.

``parse_plan`` reads a model's JSON strictly and within limits: nothing is repaired or guessed, and whatever is wrong is a named
problem that can be told to the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from math import isfinite
from typing import Any, TypeAlias

from everystep.core.records import Json
from everystep.run.nodes import Alternative, Fault, Node, NodeKind, Problem, check_nodes

PLAN_FORMAT = """Answer with JSON only: a list of steps in order, or {"steps": [...]}. A step is a text, or an object:
{"id": "b", "instruction": "what to do", "needs": ["a"], "tool": "name", "arguments": {}, "done": "when it is reached",
 "optional": false, "alternatives": ["another way"], "kind": "atomic" or "composite", "consumes": [], "produces": [], "max_steps": 5}
Only "instruction" is required. Without "needs" in any step each step needs the one before it."""
"""What to tell a model that is to write a plan."""

_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n?```", re.DOTALL)
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_SIZES = {"text": 2000, "id": 64, "list": 64}
Outline: TypeAlias = "str | tuple[str, Sequence[Outline]]"
"""A step, or a step with what it consists of."""


def linear(instructions: Sequence[str]) -> tuple[Node, ...]:
    """Return nodes ``1``, ``2``, ... of which each needs the one before.

    >>> [(node.id, node.needs) for node in linear(["fetch", "add"])]
    [('1', ()), ('2', ('1',))]
    """
    return tuple(
        Node(id=str(number), instruction=text, needs=(str(number - 1),) if number > 1 else ())
        for number, text in enumerate(instructions, start=1)
    )


def tree(outline: Sequence[Outline], *, in_order: bool = True) -> tuple[Node, ...]:
    """Return nodes ``1``, ``1.1``, ``1.2``, ``2``, ...; with ``in_order`` each needs its elder sibling.

    >>> [(node.id, node.parent, node.kind.value) for node in tree([("make tea", ["boil water", "pour"])])]
    [('1', '', 'composite'), ('1.1', '1', 'atomic'), ('1.2', '1', 'atomic')]
    """
    found: list[Node] = []
    stack: list[tuple[str, int, Outline]] = [("", i, one) for i, one in reversed(list(enumerate(outline, 1)))]
    while stack:
        parent, number, one = stack.pop()
        prefix = f"{parent}." if parent else ""
        name = f"{prefix}{number}"
        text, parts = (one, ()) if isinstance(one, str) else one
        found.append(
            Node(
                id=name,
                instruction=text,
                parent=parent,
                needs=(f"{prefix}{number - 1}",) if in_order and number > 1 else (),
                kind=NodeKind.COMPOSITE if parts else NodeKind.ATOMIC,
            )
        )
        stack += [(name, i, part) for i, part in reversed(list(enumerate(parts, 1)))]
    return tuple(found)


def graph(
    nodes: Mapping[str, str] | Sequence[Node], edges: Sequence[tuple[str, str] | tuple[str, str, float]]
) -> tuple[Node, ...]:
    """Return nodes with the needs that ``edges`` (before, after, and a weight) say.

    ``nodes`` maps ids to instructions. The weights of the edges into a node add up to its weight, so that of several ready nodes the one that most often
    follows goes first; edges without a weight count nothing.

    >>> [(node.id, node.needs, node.weight) for node in graph({"a": "fill", "b": "boil"}, [("a", "b", 0.7)])]
    [('a', (), 1.0), ('b', ('a',), 0.7)]
    """
    given = (
        [Node(id=name, instruction=text) for name, text in nodes.items()]
        if isinstance(nodes, Mapping)
        else nodes
    )
    needs: dict[str, dict[str, None]] = {}
    weights: dict[str, float] = {}
    for before, after, *weight in edges:
        needs.setdefault(after, {})[str(before)] = None
        if weight:
            weights[after] = weights.get(after, 0.0) + float(weight[0])
    return tuple(
        replace(
            node,
            needs=tuple(dict.fromkeys((*node.needs, *needs.get(node.id, ())))),
            weight=weights.get(node.id, node.weight),
        )
        for node in given
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLimits:
    """How large a model's plan may be."""

    chars: int = 100_000
    nodes: int = 1000
    depth: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRead:
    """What a model's plan says: nodes, or (then there are none) what is wrong with it."""

    nodes: tuple[Node, ...] = ()
    problems: tuple[Problem, ...] = ()


class _WrongError(Exception):
    def __init__(self, fault: Fault, detail: str, node: str = "") -> None:
        super().__init__(detail)
        self.problem = Problem(fault=fault, node=node[:60], detail=detail)


def parse_plan(text: str, limits: PlanLimits | None = None) -> PlanRead:
    """Read a plan as ``PLAN_FORMAT`` describes it, on its own or in one fenced block. Never raises.

    >>> [node.id for node in parse_plan('["fetch the table", "add the numbers"]').nodes]
    ['1', '2']
    >>> [str(one) for one in parse_plan("First, I would fetch the table.").problems]
    ['not json: the plan is not JSON: Expecting value at character 0.']
    """
    try:
        nodes = _nodes(_loads(text, limits or PlanLimits()), limits or PlanLimits())
    except _WrongError as wrong:
        return PlanRead(problems=(wrong.problem,))
    problems = check_nodes(nodes)
    return PlanRead(problems=problems) if problems else PlanRead(nodes=nodes)


def _loads(text: str, limits: PlanLimits) -> Any:
    if len(text) > limits.chars:
        raise _WrongError(
            Fault.TOO_LONG, f"the plan has {len(text)} characters; the limit is {limits.chars}."
        )
    text = text.strip()
    if (fenced := _FENCE.fullmatch(text)) is not None:
        text = fenced[1]
    if _depth(text) > limits.depth:
        raise _WrongError(Fault.TOO_DEEP, f"the plan is nested more than {limits.depth} deep.")
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise _WrongError(
            Fault.NOT_JSON, f"the plan is not JSON: {error.msg} at character {error.pos}."
        ) from None
    except (ValueError, RecursionError) as error:
        raise _WrongError(Fault.NOT_JSON, f"the plan is not JSON: {str(error)[:100]}.") from None


_BRACKETS = re.compile(r'[\[{\]}]|"(?:[^"\\]|\\.)*+"?', re.DOTALL)  # an open string runs to the end: linear


def _depth(text: str) -> int:
    """Return how deep brackets are nested outside of strings, in one pass."""
    depth = deepest = 0
    for match in _BRACKETS.finditer(text):
        sign = match[0]
        if sign in ("[", "{"):
            depth += 1
            deepest = max(deepest, depth)
        elif sign in ("]", "}"):
            depth -= 1
    return deepest


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    if not isfinite(number := float(text)):
        raise ValueError(f"{text[:20]} is too large a number")
    return number


def _nodes(data: Any, limits: PlanLimits) -> tuple[Node, ...]:
    if isinstance(data, dict):
        if set(data) != {"steps"}:
            raise _WrongError(Fault.FORM, "the plan is an object; expected a list, or {'steps': [...]}.")
        data = data["steps"]
    if not isinstance(data, list):
        raise _WrongError(Fault.FORM, f"the plan is a {type(data).__name__}; expected a list of steps.")
    if not data:
        raise _WrongError(Fault.EMPTY, "the plan has no steps.")
    if len(data) > limits.nodes:
        raise _WrongError(Fault.TOO_MANY, f"the plan has {len(data)} steps; the limit is {limits.nodes}.")
    nodes = [_node(one, str(number)) for number, one in enumerate(data, start=1)]
    if not any(isinstance(one, dict) and "needs" in one for one in data):
        nodes = [nodes[0], *(replace(after, needs=(before.id,)) for before, after in pairwise(nodes))]
    return tuple(nodes)


def _node(data: Any, number: str) -> Node:
    if isinstance(data, str):
        data = {"instruction": data}
    if not isinstance(data, dict):
        raise _WrongError(Fault.FORM, f"step {number} is a {type(data).__name__}; expected a text or object.")
    unknown = next((name for name in data if name not in _READERS), None)
    if unknown is not None:
        raise _WrongError(Fault.FORM, f"step {number} has an unknown field {unknown[:60]!r}.", number)
    if "instruction" not in data:
        raise _WrongError(Fault.FORM, f"step {number} has no instruction.", number)
    values = {name: _READERS[name](value, f"{name} of step {number}") for name, value in data.items()}
    name = values.setdefault("id", number)
    if not _ID.fullmatch(name) or len(name) > _SIZES["id"]:
        raise _WrongError(
            Fault.BAD_ID,
            f"id {name[:60]!r} of step {number}: expected up to {_SIZES['id']} letters, digits, '_', '.', '-'.",
            number,
        )
    return Node(**values)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _WrongError(Fault.FORM, f"{where} is a {type(value).__name__}; expected a text.")
    if len(value) > _SIZES["text"]:
        raise _WrongError(
            Fault.TOO_LONG, f"{where} has {len(value)} characters; the limit is {_SIZES['text']}."
        )
    if _CONTROL.search(value):
        raise _WrongError(Fault.FORM, f"{where} has control characters.")
    return value


def _instruction(value: Any, where: str) -> str:
    text = _text(value, where)
    if not text.strip():
        raise _WrongError(Fault.EMPTY, f"{where} is empty.")
    return text


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _WrongError(Fault.FORM, f"{where} is a {type(value).__name__}; expected a list of texts.")
    if len(value) > _SIZES["list"]:
        raise _WrongError(Fault.TOO_MANY, f"{where} has {len(value)} entries; the limit is {_SIZES['list']}.")
    return tuple(_text(one, where) for one in value)


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise _WrongError(Fault.FORM, f"{where} is a {type(value).__name__}; expected true or false.")
    return value


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _WrongError(Fault.FORM, f"{where} is a {type(value).__name__}; expected a number.")
    if not -1e9 < value < 1e9 or not isfinite(value):
        raise _WrongError(Fault.FORM, f"{where} is out of range; expected -1e9 to 1e9.")
    return float(value)


def _count(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**9:
        raise _WrongError(Fault.FORM, f"{where}: expected a whole number from 1 to 1e9.")
    return value


def _kind(value: Any, where: str) -> NodeKind:
    if value not in list(NodeKind):
        raise _WrongError(Fault.FORM, f"{where}: expected 'atomic' or 'composite'.")
    return NodeKind(value)


def _arguments(value: Any, where: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise _WrongError(Fault.FORM, f"{where} is a {type(value).__name__}; expected an object.")
    return value


def _alternatives(value: Any, where: str) -> tuple[Alternative, ...]:
    return tuple(Alternative(instruction=text) for text in _texts(value, where))


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "id": _text,
    "instruction": _instruction,
    "needs": _texts,
    "kind": _kind,
    "done": _text,
    "optional": _flag,
    "alternatives": _alternatives,
    "resources": _texts,
    "consumes": _texts,
    "produces": _texts,
    "tool": _text,
    "arguments": _arguments,
    "weight": _number,
    "max_steps": _count,
}
assert set(_READERS) == {f.name for f in fields(Node)} - {"parent"}  # noqa: S101 -- a new field needs a reader
