"""The plan: a graph of nodes that is expanded, repaired and frozen while it runs.

A linear list, a tree that is branched and pruned, and a graph of steps are special cases. Every change is an ``Edit``; the
list of edits rebuilds the plan. Nothing scans the plan: an edit costs what it touches, the next ready node O(log n).

Nodes wait only for nodes of their own level (same parent), or for finished ones: so no level can wait for what waits for it,
and a level can be replanned by itself. A composite is expanded when it is reached and finishes when its children are settled, with the result of its last one. What is finished stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import islice

from everystep.core.errors import ConfigError, did_you_mean
from everystep.run.nodes import (
    FROZEN,
    Alternative,
    Edit,
    Fault,
    Node,
    NodeKind,
    Op,
    Problem,
    Status,
    check_nodes,
)

__all__ = ["Alternative", "Edit", "Fault", "Node", "NodeKind", "Op", "Plan", "Problem", "Status"]

_SETTLED = frozenset({Status.DONE, Status.SKIPPED})
_BEGINNING = frozenset({Status.PENDING, Status.READY})
_Key = tuple[float, tuple[int, ...], str, int]


@dataclass(slots=True, eq=False)
class _Spot:
    """Where one node stands."""

    node: Node
    parent: str
    path: tuple[int, ...]
    serial: int
    status: Status = Status.PENDING
    waiting: int = 0
    dependents: dict[str, None] = field(default_factory=dict)
    children: dict[str, None] = field(default_factory=dict)
    numbered: int = 0
    open: int = 0
    failed: int = 0
    reason: str = ""
    result: str = ""
    origin: str = ""
    attempt: int = 0
    successor: str = ""
    predecessor: str = ""
    at_work: bool = False

    def facts(self) -> tuple[object, ...]:
        """Return everything that two equal plans share."""
        return (
            self.node,
            self.parent,
            self.path,
            self.status,
            self.waiting,
            sorted(self.dependents),
            list(self.children),
            (self.numbered, self.open, self.failed, self.attempt),
            (self.reason, self.result, self.origin, self.successor, self.predecessor, self.at_work),
        )


class Plan:
    """The nodes of one run and where each stands.

    Methods named as participles (``started``, ``finished``) make an edit; ``apply`` makes it happen. ``problems`` says what is wrong with an
    edit before that: ask it first where a model wrote the nodes.

    >>> plan = Plan([Node(id="a", instruction="fetch"), Node(id="b", instruction="sum", needs=("a",))])
    >>> for edit in (plan.started("a"), plan.finished("a")):
    ...     plan.apply(edit)
    >>> plan.next().id, plan.complete
    ('b', False)
    """

    def __init__(self, nodes: Sequence[Node] = ()) -> None:
        top = Node(id="", instruction="", kind=NodeKind.COMPOSITE)
        self._spots = {"": _Spot(top, parent="", path=(), serial=0, status=Status.RUNNING)}
        self._serial = 0
        self._heap: list[_Key] = []
        self._busy: dict[str, str] = {}
        self._parked: dict[str, list[_Key]] = {}
        self._counts: Counter[Status] = Counter()
        self._at_work = 0
        self._orphans: dict[str, None] = {}
        self._first: list[Edit] | tuple[Edit, ...] = []
        if nodes:
            self.apply(self.added(nodes))

    @classmethod
    def rebuilt(cls, edits: Iterable[Edit]) -> Plan:
        """Return the plan that ``edits`` made. Nodes that were running are handed out by ``next`` again."""
        plan = cls()
        plan._first = ()
        for edit in edits:
            plan.apply(edit)
        lost = sorted((spot for spot in plan._spots.values() if spot.at_work), key=lambda spot: spot.path)
        plan._orphans = {spot.node.id: None for spot in lost}
        return plan

    def edits(self) -> tuple[Edit, ...]:
        """Return the edits that made the plan so far, for the journal. From then on whoever applies an edit journals it."""
        self._first = tuple(self._first)
        return self._first

    # --- looking --------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._spots) - 1

    def __contains__(self, name: object) -> bool:
        return name != "" and name in self._spots

    def __iter__(self) -> Iterator[Node]:
        """Yield the nodes in plan order, each before its children."""
        stack = list(reversed(self._ordered(self._spots[""])))
        while stack:
            spot = stack.pop()
            yield spot.node
            stack += reversed(self._ordered(spot))

    def _ordered(self, spot: _Spot) -> list[_Spot]:
        """Return the children in plan order; an alternative has the place of the node that it stands for."""
        return sorted((self._spots[name] for name in spot.children), key=lambda one: (one.path, one.attempt))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return self._busy == other._busy and {name: spot.facts() for name, spot in self._spots.items()} == {
            name: spot.facts() for name, spot in other._spots.items()
        }

    __hash__ = None  # type: ignore[assignment]

    def node(self, name: str) -> Node:
        """Return a node; ``ConfigError`` where there is none."""
        return self._spot(name).node

    def status(self, name: str) -> Status:
        """Return where a node stands."""
        return self._spot(name).status

    def is_running(self, name: str) -> bool:
        """Whether there is such a node and it was started and not ended."""
        return name in self and self._spots[name].status is Status.RUNNING

    def reason(self, name: str) -> str:
        """Return why a node failed, was skipped or was given up."""
        return self._spot(name).reason

    def result(self, name: str) -> str:
        """Return what was noted when a node finished."""
        return self._spot(name).result

    def parent(self, name: str) -> str:
        """Return the node that holds a node, "" for the top level."""
        return self._spot(name).parent

    def children(self, name: str = "") -> tuple[str, ...]:
        """Return what a node holds, in plan order."""
        spot = self._spots[""] if name == "" else self._spot(name)
        return tuple(one.node.id for one in self._ordered(spot))

    def index(self, name: str) -> str:
        """Return the place of a node in the plan, such as ``2.1.3``."""
        return ".".join(str(number + 1) for number in self._spot(name).path)

    def count(self, status: Status) -> int:
        """Return how many nodes stand so."""
        return self._counts[status]

    def covered(self, name: str) -> bool:
        """Whether the work goes on although a node failed: it was optional, or an alternative takes its place."""
        spot = self._spot(name)
        return spot.status is Status.FAILED and (spot.node.optional or bool(spot.successor))

    @property
    def complete(self) -> bool:
        """Whether everything at the top level is settled; of an empty plan it is not."""
        top = self._spots[""]
        return bool(top.children) and not top.open and not top.failed

    @property
    def stuck(self) -> bool:
        """Whether nothing is ready or running and the plan is not complete: it needs a repair."""
        return not (self.complete or self._counts[Status.READY] or self._at_work)

    def ready(self) -> list[Node]:
        """Return all ready nodes in the order in which they should start. For one use ``next``."""
        spots = [spot for spot in self._spots.values() if spot.status is Status.READY]
        return [spot.node for spot in sorted(spots, key=_key)]

    def next(self) -> Node | None:
        """Return the ready node to start now, ``None`` without one. One whose resources are in use waits."""
        if self._orphans:
            return self._spots[next(iter(self._orphans))].node
        while self._heap:
            key = self._heap[0]
            spot = self._live(key)
            if spot is None:
                heappop(self._heap)
                continue
            held = next((one for one in _resources(spot) if one in self._busy), None)
            if held is None:
                return spot.node
            heappop(self._heap)
            heappush(self._parked.setdefault(held, []), key)
            for other in _resources(spot):
                if other not in self._busy:
                    self._wake(other)
        return None

    # --- edits ----------------------------------------------------------------------------------

    def added(self, nodes: Sequence[Node]) -> Edit:
        """Return the edit that adds nodes, each under its own parent."""
        return Edit(op=Op.ADD, nodes=tuple(nodes))

    def expanded(self, name: str, nodes: Sequence[Node]) -> Edit:
        """Return the edit that puts nodes under a composite, which then runs until they are settled."""
        return Edit(op=Op.EXPAND, node=name, nodes=tuple(nodes))

    def replaced(self, level: str, nodes: Sequence[Node], reason: str = "") -> Edit:
        """Return the edit that plans the rest of a level anew: what has not begun there is dropped for ``nodes``.

        Finished and running nodes stay. Failures in the level are forgiven, so a level whose rest is empty is settled.
        """
        return Edit(op=Op.REPLACE, node=level, nodes=tuple(nodes), reason=reason)

    def started(self, name: str) -> Edit:
        """Return the edit that starts a ready node."""
        return Edit(op=Op.START, node=name)

    def finished(self, name: str, result: str = "") -> Edit:
        """Return the edit that finishes a node; what is open below it is given up."""
        return Edit(op=Op.FINISH, node=name, result=result)

    def failed(self, name: str, reason: str) -> Edit:
        """Return the edit that fails a node: its next alternative takes its place, if it has one."""
        return Edit(op=Op.FAIL, node=name, reason=reason)

    def skipped(self, name: str, reason: str) -> Edit:
        """Return the edit that skips an optional node."""
        return Edit(op=Op.SKIP, node=name, reason=reason)

    def pruned(self, name: str, reason: str) -> Edit:
        """Return the edit that goes back to a node: its later siblings and all that is below it are given up (AgentOccam's prune)."""
        return Edit(op=Op.PRUNE, node=name, reason=reason)

    def branched(self, parent: str, instruction: str) -> Edit:
        """Return the edit that starts a new node under a running one (AgentOccam's branch)."""
        number = (self._spots[""] if parent == "" else self._spot(parent)).numbered + 1
        prefix = f"{parent}." if parent else ""
        while f"{prefix}{number}" in self._spots:
            number += 1
        node = Node(id=f"{prefix}{number}", instruction=instruction, parent=parent)
        return Edit(op=Op.BRANCH, node=parent, nodes=(node,))

    def problems(
        self,
        edit: Edit,
        *,
        tools: Collection[str] | None = None,
        graph: Mapping[str, Collection[str]] | None = None,
        given: Collection[str] | None = None,
    ) -> tuple[Problem, ...]:
        """Return what is wrong with an edit; O(nodes that it names). See ``check_nodes`` for the optional checks."""
        found = self._misplaced(edit)
        if not edit.nodes:
            return found
        home = edit.node if edit.op in (Op.EXPAND, Op.REPLACE, Op.BRANCH) else ""
        nodes = [replace(node, parent=home) if home and not node.parent else node for node in edit.nodes]
        dropped = self._dropped(edit.node) if edit.op is Op.REPLACE and not found else frozenset()

        def outside(name: str) -> Node | None:
            spot = self._spots.get(name) if name and name not in dropped else None
            return None if spot is None else spot.node

        found += check_nodes(nodes, tools=tools, graph=graph, given=given, outside=outside)
        names = {node.id for node in nodes}
        for node in nodes:
            found += self._clashes(node, names, dropped)
            near = edit.op is Op.ADD or node.parent == home or node.parent in names
            told = f"node {node.id[:60]!r} belongs under {home[:60]!r}, not under {node.parent[:60]!r}."
            found += _unless(near, Fault.FORM, node.id, told)
        return found

    def check_edit(self, edit: Edit) -> None:
        """Raise ``ConfigError`` with everything that is wrong with an edit."""
        found = self.problems(edit)
        if found:
            told = " ".join(map(str, found[:5]))
            raise ConfigError(f"this {edit.op.value} cannot be done: {told}")

    def check(
        self,
        *,
        tools: Collection[str] | None = None,
        graph: Mapping[str, Collection[str]] | None = None,
        given: Collection[str] | None = None,
    ) -> tuple[Problem, ...]:
        """Return what is wrong with the whole plan, given the tools and types that there are."""
        nodes = [replace(spot.node, parent=spot.parent) for name, spot in self._spots.items() if name]
        found = check_nodes(nodes, tools=tools, graph=graph, given=given)
        gone = {name[:60] for name, spot in self._spots.items() if spot.status in FROZEN}
        return tuple(  # needs of another level are finished ones; what a frozen node never got may be gone
            one
            for one in found
            if one.fault is not Fault.FAR_NEED and not (one.fault is Fault.UNKNOWN_NEED and one.node in gone)
        )

    def apply(self, edit: Edit) -> None:
        """Make an edit happen, whole or not at all; ``ConfigError`` where it cannot be."""
        self.check_edit(edit)
        if isinstance(self._first, list):
            self._first.append(edit)
        if edit.op is Op.ADD:
            self._insert(edit.nodes, "")
        elif edit.op is Op.EXPAND:
            self._expand(edit)
        elif edit.op is Op.REPLACE:
            self._replace(edit)
        elif edit.op is Op.BRANCH:
            self._insert(edit.nodes, edit.node)
            self._start(self._spots[edit.nodes[0].id])
        else:
            _CHANGES[edit.op](self, self._spots[edit.node], edit)

    # --- what is wrong with an edit -------------------------------------------------------------

    def _misplaced(self, edit: Edit) -> tuple[Problem, ...]:
        if edit.op is Op.ADD or (edit.node == "" and edit.op in (Op.REPLACE, Op.BRANCH)):
            return _unless(bool(edit.nodes) or edit.op is Op.REPLACE, Fault.EMPTY, "", "it names no nodes.")
        spot = self._spots.get(edit.node) if edit.node else None
        if spot is None:
            hint = did_you_mean(edit.node[:60], islice(self._spots, 1, 1000))
            told = f"there is no node {edit.node[:60]!r}. {hint}"
            return (Problem(fault=Fault.UNKNOWN_NODE, node=edit.node[:60], detail=told),)
        found: tuple[Problem, ...] = ()
        allowed = _ALLOWED[edit.op]
        if spot.status not in allowed:
            expected = ", ".join(sorted(one.value for one in allowed))
            told = f"node {edit.node[:60]!r} is {spot.status.value}; expected {expected}."
            found = _unless(False, Fault.STATUS, edit.node, told)
        if edit.op is Op.SKIP and not spot.node.optional:
            found += _unless(False, Fault.STATUS, edit.node, f"node {edit.node[:60]!r} is not optional.")
        if edit.op is Op.START and spot.status is Status.READY:
            held = [one for one in _resources(spot) if one in self._busy]
            told = f"resource {held[:1]} of node {edit.node[:60]!r} is in use."
            found += _unless(not held, Fault.STATUS, edit.node, told)
        if edit.op is Op.EXPAND:
            told = f"node {edit.node[:60]!r} is atomic; only a composite can be expanded."
            found += _unless(spot.node.composite, Fault.STATUS, edit.node, told)
            found += _unless(bool(edit.nodes), Fault.EMPTY, edit.node, "it names no nodes.")
        if edit.op is Op.BRANCH:
            found += _unless(len(edit.nodes) == 1, Fault.FORM, edit.node, "a branch is one node.")
        return found

    def _clashes(self, node: Node, names: Collection[str], dropped: Collection[str]) -> tuple[Problem, ...]:
        """Return how a new node clashes with those that exist."""
        shown = node.id[:60]
        found: tuple[Problem, ...] = ()
        if node.id in self._spots and node.id not in dropped:
            found += _unless(False, Fault.DUPLICATE, shown, f"there is a node {shown!r} already.")
        holder = self._spots.get(node.parent) if node.parent not in names else None
        if holder is not None and holder.status in FROZEN:
            told = f"parent {node.parent[:60]!r} of node {shown!r} is {holder.status.value}."
            found += _unless(False, Fault.STATUS, shown, told)
        for need in node.needs:
            spot = self._spots.get(need) if need not in names and need not in dropped and need else None
            if spot is None:
                continue
            spot = self._latest(spot)
            lost = spot.status is Status.PRUNED or (spot.status is Status.FAILED and not spot.node.optional)
            told = f"node {shown!r} needs {need[:60]!r}, which is {spot.status.value}."
            found += _unless(not lost, Fault.LOST_NEED, shown, told)
            near = spot.parent == node.parent or spot.status in FROZEN
            told = (
                f"node {shown!r} needs {need[:60]!r}, which is in another part of the plan and not finished."
            )
            found += _unless(near, Fault.FAR_NEED, shown, told)
        return found

    def _dropped(self, level: str) -> frozenset[str]:
        """Return what replacing the rest of a level removes, with all that is below it."""
        children = self._spots[level].children
        stack = [name for name in children if self._spots[name].status in _BEGINNING]
        found = set()
        while stack:
            name = stack.pop()
            found.add(name)
            stack += self._spots[name].children
        return frozenset(found)

    # --- changes --------------------------------------------------------------------------------

    def _insert(self, nodes: Sequence[Node], home: str) -> None:
        for node in nodes:
            parent = node.parent or home
            self._serial += 1
            self._spots[node.id] = _Spot(node, parent=parent, path=(), serial=self._serial, origin=node.id)
            self._counts[Status.PENDING] += 1
        for node in nodes:
            spot = self._spots[node.id]
            self._number(spot)
            for need in dict.fromkeys(node.needs):
                before = self._latest(self._spots[need])
                if not _settled(before):
                    before.dependents[node.id] = None
                    spot.waiting += 1
        for name in dict.fromkeys(self._spots[node.id].parent for node in nodes):
            holder = self._spots[name]
            self._count_work(holder)
            if holder.status is Status.READY and holder.node.composite:
                self._set(holder, Status.RUNNING)
        self._awaken([node.id for node in reversed(nodes)])

    def _number(self, spot: _Spot) -> None:
        """Give a node its path; nodes of a batch may come before their parents."""
        chain = [spot]
        while not chain[-1].path and (holder := self._spots[chain[-1].parent]).node.id and not holder.path:
            chain.append(holder)
        for one in reversed(chain):
            if one.path:
                continue
            holder = self._spots[one.parent]
            one.path = (*holder.path, holder.numbered)
            holder.numbered += 1
            holder.open += 1
            holder.children[one.node.id] = None

    def _awaken(self, names: list[str]) -> None:
        """Make those ready that wait for nothing; a composite that has children begins, and they are looked at in turn."""
        while names:
            spot = self._spots[names.pop()]
            if spot.status is not Status.PENDING or spot.waiting:
                continue
            if self._spots[spot.parent].status is not Status.RUNNING:
                continue
            if spot.node.composite and spot.children:
                self._set(spot, Status.RUNNING)
                names += spot.children
            else:
                self._set(spot, Status.READY)
                heappush(self._heap, _key(spot))

    def _expand(self, edit: Edit) -> None:
        self._insert(edit.nodes, edit.node)
        self._orphans.pop(edit.node, None)

    def _replace(self, edit: Edit) -> None:
        spot = self._spots[edit.node]
        for name in self._dropped(edit.node):
            self._remove(name)
        spot.failed = 0
        self._insert(edit.nodes, edit.node)
        self._close(spot)

    def _remove(self, name: str) -> None:
        spot = self._spots.pop(name)
        self._counts[spot.status] -= 1
        for need in spot.node.needs:
            before = self._spots.get(need)
            if before is not None:
                self._latest(before).dependents.pop(name, None)
        holder = self._spots.get(spot.parent)
        if holder is not None:
            holder.open -= 1
            holder.children.pop(name, None)
        if spot.predecessor in self._spots:
            self._spots[spot.predecessor].successor = ""
        self._let_go(spot)

    def _start(self, spot: _Spot, edit: Edit | None = None) -> None:  # noqa: ARG002
        if spot.status is Status.RUNNING:
            self._orphans.pop(spot.node.id, None)
            return
        self._set(spot, Status.RUNNING)
        for one in _resources(spot):
            self._busy[one] = spot.node.id
        self._awaken(list(spot.children))

    def _finish(self, spot: _Spot, edit: Edit) -> None:
        self._abandon(spot.children, f"{spot.node.id!r} is done")
        spot.result = edit.result
        self._settle(spot, Status.DONE)

    def _skip(self, spot: _Spot, edit: Edit) -> None:
        self._abandon(spot.children, f"{spot.node.id!r} is skipped")
        spot.reason = edit.reason
        self._settle(spot, Status.SKIPPED)

    def _fail(self, spot: _Spot, edit: Edit) -> None:
        self._abandon(spot.children, f"{spot.node.id!r} failed")
        spot.reason = edit.reason
        if spot.node.alternatives:
            self._end(spot, Status.FAILED)
            self._succeed(spot)
        elif spot.node.optional:
            self._settle(spot, Status.FAILED)
        else:
            self._end(spot, Status.FAILED)
            holder = self._spots[spot.parent]
            holder.open -= 1
            holder.failed += 1

    def _succeed(self, spot: _Spot) -> None:
        """Put the next alternative in the place of a failed node."""
        way, *rest = spot.node.alternatives
        attempt = spot.attempt + 1
        while f"{spot.origin}~{attempt}" in self._spots:
            attempt += 1
        node = replace(
            spot.node,
            id=f"{spot.origin}~{attempt}",
            instruction=way.instruction,
            tool=way.tool,
            arguments=way.arguments,
            alternatives=tuple(rest),
        )
        self._serial += 1
        heir = _Spot(node, spot.parent, spot.path, self._serial, origin=spot.origin, attempt=attempt)
        heir.dependents, spot.dependents = spot.dependents, {}
        spot.successor, heir.predecessor = node.id, spot.node.id
        self._spots[node.id] = heir
        self._spots[spot.parent].children[node.id] = None
        self._counts[Status.PENDING] += 1
        self._awaken([node.id])

    def _prune(self, spot: _Spot, edit: Edit) -> None:
        siblings = self._ordered(self._spots[spot.parent])
        later = [one.node.id for one in siblings if one.path > spot.path]
        self._abandon([*later, *spot.children], edit.reason)

    def _abandon(self, names: Iterable[str], reason: str) -> None:
        """Give up nodes that are not frozen, what is below them, and what waits for them."""
        stack = list(names)
        while stack:
            spot = self._spots[stack.pop()]
            if spot.status in FROZEN:
                continue
            spot.reason = reason
            self._end(spot, Status.PRUNED)
            self._spots[spot.parent].open -= 1
            stack += [*spot.children, *spot.dependents]

    def _settle(self, spot: _Spot, status: Status) -> None:
        """Freeze a node that others need not wait for any more, then every level that is settled with it."""
        self._end(spot, status)
        self._release(spot)
        self._close(self._spots[spot.parent])

    def _release(self, spot: _Spot) -> None:
        """Tell those that wait for a node, and its level, that it is settled."""
        for name in spot.dependents:
            self._spots[name].waiting -= 1
        names = list(reversed(spot.dependents))
        spot.dependents = {}
        self._spots[spot.parent].open -= 1
        self._awaken(names)

    def _close(self, spot: _Spot) -> None:
        """Finish a composite whose children are settled, then the one that holds it."""
        while spot.node.id and spot.node.composite and spot.children and not spot.open and not spot.failed:
            if spot.status is not Status.RUNNING:
                return
            spot.result = self._spots[next(reversed(spot.children))].result
            self._end(spot, Status.DONE)
            self._release(spot)
            spot = self._spots[spot.parent]

    def _end(self, spot: _Spot, status: Status) -> None:
        self._orphans.pop(spot.node.id, None)
        self._set(spot, status)
        self._let_go(spot)

    def _let_go(self, spot: _Spot) -> None:
        """Free the resources that an ended node held, or had been next in line for."""
        for one in _resources(spot):
            if self._busy.get(one) == spot.node.id:
                del self._busy[one]
            if one not in self._busy:
                self._wake(one)

    def _set(self, spot: _Spot, status: Status) -> None:
        self._counts[spot.status] -= 1
        self._counts[status] += 1
        spot.status = status
        self._count_work(spot)

    def _count_work(self, spot: _Spot) -> None:
        """Keep count of the nodes that somebody works on; a composite with children is none."""
        working = spot.status is Status.RUNNING and not (spot.node.composite and spot.children)
        if spot.node.id and working != spot.at_work:
            spot.at_work = working
            self._at_work += 1 if working else -1

    def _wake(self, resource: str) -> None:
        """Put the first node that waits for a resource back among the ready ones."""
        parked = self._parked.get(resource)
        while parked:
            key = heappop(parked)
            if self._live(key) is not None:
                heappush(self._heap, key)
                return
        self._parked.pop(resource, None)

    def _live(self, key: _Key) -> _Spot | None:
        spot = self._spots.get(key[2])
        return spot if spot is not None and spot.serial == key[3] and spot.status is Status.READY else None

    def _latest(self, spot: _Spot) -> _Spot:
        while spot.successor:
            spot = self._spots[spot.successor]
        return spot

    def _spot(self, name: str) -> _Spot:
        if name not in self:
            hint = did_you_mean(name[:60], islice(self._spots, 1, 1000))
            raise ConfigError(f"there is no node {name!r} in the plan. {hint}")
        return self._spots[name]


_LIVE = frozenset({Status.PENDING, Status.READY, Status.RUNNING})
_WORKED_ON = frozenset({Status.READY, Status.RUNNING})
_ALLOWED = {
    Op.EXPAND: _LIVE,
    Op.REPLACE: frozenset({Status.RUNNING}),
    Op.START: _WORKED_ON,
    Op.FINISH: _WORKED_ON,
    Op.FAIL: _WORKED_ON,
    Op.SKIP: _LIVE,
    Op.PRUNE: frozenset(Status),
    Op.BRANCH: frozenset({Status.RUNNING}),
}
_CHANGES = {
    Op.START: Plan._start,
    Op.FINISH: Plan._finish,
    Op.FAIL: Plan._fail,
    Op.SKIP: Plan._skip,
    Op.PRUNE: Plan._prune,
}


def _key(spot: _Spot) -> _Key:
    return (-spot.node.weight, spot.path, spot.node.id, spot.serial)


def _settled(spot: _Spot) -> bool:
    return spot.status in _SETTLED or (spot.status is Status.FAILED and spot.node.optional)


def _resources(spot: _Spot) -> tuple[str, ...]:
    return () if spot.node.composite else spot.node.resources


def _unless(condition: bool, fault: Fault, node: str, told: str) -> tuple[Problem, ...]:
    return () if condition else (Problem(fault=fault, node=node[:60], detail=told),)
