"""The records of a plan: nodes, edits, and what can be wrong with them. Also the checks of nodes on their own.

Nodes are often written by a model: checks return named problems and never raise for what they hold.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite

from everystep.core.errors import did_you_mean
from everystep.core.records import Json

_SHOWN = 60


class NodeKind(StrEnum):
    """Whether a node is worked on as it is, or planned further when it is reached."""

    ATOMIC = "atomic"
    COMPOSITE = "composite"


class Status(StrEnum):
    """Where a node stands. ``DONE``, ``FAILED``, ``SKIPPED`` and ``PRUNED`` are frozen: nothing changes them."""

    PENDING = "pending"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    PRUNED = "pruned"


FROZEN = frozenset({Status.DONE, Status.FAILED, Status.SKIPPED, Status.PRUNED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another way to a node's goal, tried when the one before failed."""

    instruction: str
    tool: str | None = None
    arguments: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A step of a plan. It is ready when everything in ``needs`` is settled and its ``parent`` runs ("" is the top level).

    ``done`` says in words when its goal is reached. An ``optional`` node may be skipped or fail and the others go on. ``alternatives`` are
    tried in order, each as a node of its own, ``id~1``, ``id~2``. Atomic nodes with a common entry in ``resources`` never run together.
    ``consumes`` and ``produces`` name types of data. Of several ready nodes the greatest ``weight`` goes first, then plan order.
    """

    id: str
    instruction: str
    needs: tuple[str, ...] = ()
    kind: NodeKind = NodeKind.ATOMIC
    parent: str = ""
    done: str = ""
    optional: bool = False
    alternatives: tuple[Alternative, ...] = ()
    resources: tuple[str, ...] = ()
    consumes: tuple[str, ...] = ()
    produces: tuple[str, ...] = ()
    tool: str | None = None
    arguments: Mapping[str, Json] = field(default_factory=dict)
    weight: float = 1.0
    max_steps: int | None = None

    @property
    def composite(self) -> bool:
        """Whether it is planned further when it is reached."""
        return self.kind is NodeKind.COMPOSITE


class Op(StrEnum):
    """What an edit does."""

    ADD = "add"  # nodes to the plan, each under its own parent
    EXPAND = "expand"  # nodes under ``node``, a composite
    REPLACE = "replace"  # the part of level ``node`` ("" is the top) that has not begun, by ``nodes``
    START = "start"
    FINISH = "finish"
    FAIL = "fail"
    SKIP = "skip"
    PRUNE = "prune"  # go back to ``node``: what comes after it and below it is given up
    BRANCH = "branch"  # one node under ``node``, started at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change of a plan. The list of all edits rebuilds the plan."""

    op: Op
    node: str = ""
    nodes: tuple[Node, ...] = ()
    reason: str = ""
    result: str = ""


class Fault(StrEnum):
    """What can be wrong with a plan or an edit."""

    NOT_JSON = "not json"
    FORM = "form"
    TOO_LONG = "too long"
    TOO_DEEP = "too deep"
    TOO_MANY = "too many"
    EMPTY = "empty"
    BAD_ID = "bad id"
    DUPLICATE = "duplicate id"
    UNKNOWN_NODE = "unknown node"
    UNKNOWN_NEED = "unknown need"
    FAR_NEED = "far need"  # a need of another level: it could wait for what waits for it
    LOST_NEED = "lost need"  # it failed or was given up, so it will never be settled
    CYCLE = "cycle"
    MISSING_TYPE = "missing type"
    UNKNOWN_TOOL = "unknown tool"
    FORBIDDEN_EDGE = "forbidden edge"
    STATUS = "status"  # the node's status does not allow this edit


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something wrong with a plan: the fault, the node, and a sentence that can be told to whoever wrote it."""

    fault: Fault
    node: str
    detail: str

    def __str__(self) -> str:
        return f"{self.fault.value}: {self.detail}"


def check_nodes(
    nodes: Sequence[Node],
    *,
    tools: Collection[str] | None = None,
    graph: Mapping[str, Collection[str]] | None = None,
    given: Collection[str] | None = None,
    outside: Callable[[str], Node | None] = lambda _: None,
) -> tuple[Problem, ...]:
    """Return what is wrong with nodes that belong together; O(nodes + needs).

    ``outside`` returns a node that exists already. With ``tools`` every tool must be among them; with ``graph`` (tool to
    the tools that may follow) every need between two nodes with tools must be an edge of it; with ``given`` (types that are there from the start) every consumed type
    must be given or produced by a node that comes before.

    >>> [str(one) for one in check_nodes([Node(id="a", instruction="", needs=("b",))])]
    ["unknown need: node 'a' needs 'b', which is not in the plan."]
    """
    found: list[Problem] = []
    by_id: dict[str, Node] = {}
    for node in nodes:
        if not node.id or "/" in node.id:
            found.append(_problem(Fault.BAD_ID, node.id, f"id {_show(node.id)} is empty or has a slash."))
        if node.id in by_id:
            found.append(_problem(Fault.DUPLICATE, node.id, f"there are two nodes {_show(node.id)}."))
        by_id[node.id] = node
        if not isfinite(node.weight) or (node.max_steps is not None and node.max_steps < 1):
            told = f"node {_show(node.id)}: weight {node.weight!r}, max_steps {node.max_steps!r}; expected a finite number and 1 or more."
            found.append(_problem(Fault.FORM, node.id, told))
    for node in nodes:
        found += _references(node, by_id, outside)
        if tools is not None:
            found += _tools(node, tools)
        if graph is not None and node.tool is not None:
            found += _edges(node, by_id, outside, graph)
    order = _order(by_id)
    if len(order) < len(by_id):
        stuck = next(name for name in by_id if name not in order)
        left = len(by_id) - len(order)
        found.append(
            _problem(Fault.CYCLE, stuck, f"{left} nodes wait in a circle, {_show(stuck)} among them.")
        )
    if given is not None:
        found += _types(order, by_id, outside, given)
    return tuple(found)


def _show(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def _problem(fault: Fault, node: str, detail: str) -> Problem:
    return Problem(fault=fault, node=node[:_SHOWN], detail=detail)


def _references(
    node: Node, by_id: Mapping[str, Node], outside: Callable[[str], Node | None]
) -> list[Problem]:
    found = []
    for need in node.needs:
        other = by_id.get(need)
        if other is None and outside(need) is None:
            told = f"node {_show(node.id)} needs {_show(need)}, which is not in the plan."
            found.append(_problem(Fault.UNKNOWN_NEED, node.id, told))
        elif other is not None and other.parent != node.parent:
            told = f"node {_show(node.id)} needs {_show(need)}, which has another parent."
            found.append(_problem(Fault.FAR_NEED, node.id, told))
    if node.parent and node.parent not in by_id and outside(node.parent) is None:
        told = f"node {_show(node.id)} has parent {_show(node.parent)}, which is not in the plan."
        found.append(_problem(Fault.UNKNOWN_NODE, node.id, told))
    return found


def _tools(node: Node, tools: Collection[str]) -> list[Problem]:
    used = [node.tool, *(one.tool for one in node.alternatives)]
    return [
        _problem(
            Fault.UNKNOWN_TOOL,
            node.id,
            f"node {_show(node.id)} uses tool {_show(tool)}, which does not exist. {did_you_mean(tool[:_SHOWN], tools)}",
        )
        for tool in used
        if tool is not None and tool not in tools
    ]


def _edges(
    node: Node,
    by_id: Mapping[str, Node],
    outside: Callable[[str], Node | None],
    graph: Mapping[str, Collection[str]],
) -> list[Problem]:
    found = []
    for need in node.needs:
        before = by_id.get(need) or outside(need)
        if before is not None and before.tool is not None and node.tool not in graph.get(before.tool, ()):
            told = f"{_show(node.tool or '')} may not follow {_show(before.tool)} (node {_show(node.id)})."
            found.append(_problem(Fault.FORBIDDEN_EDGE, node.id, told))
    return found


def _order(by_id: Mapping[str, Node]) -> dict[str, None]:
    """Return the ids in an order in which needs and parents come first; those in a circle are left out."""
    waiting: dict[str, int] = {}
    after: dict[str, list[str]] = {}
    for node in by_id.values():
        before = {need for need in (*node.needs, node.parent) if need and need in by_id}
        waiting[node.id] = len(before)
        for need in before:
            after.setdefault(need, []).append(node.id)
    free = deque(name for name, count in waiting.items() if not count)
    order: dict[str, None] = {}
    while free:
        name = free.popleft()
        order[name] = None
        for other in after.get(name, ()):
            waiting[other] -= 1
            if not waiting[other]:
                free.append(other)
    return order


def _types(
    order: Collection[str],
    by_id: Mapping[str, Node],
    outside: Callable[[str], Node | None],
    given: Collection[str],
) -> list[Problem]:
    found = []
    start = frozenset(given)
    there: dict[str, frozenset[str]] = {}  # what is there after a node
    for name in order:
        node = by_id[name]
        have = there.get(node.parent, start)
        for need in node.needs:
            other = outside(need)
            more = there[need] if need in there else frozenset(other.produces if other else ())
            have = have if more <= have else more if have <= more else have | more
        for kind in node.consumes:
            if kind not in have:
                told = f"node {_show(name)} consumes {_show(kind)}, which nothing before it produces."
                found.append(_problem(Fault.MISSING_TYPE, name, told))
        there[name] = have if have.issuperset(node.produces) else have | frozenset(node.produces)
    return found
