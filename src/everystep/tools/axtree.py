"""The accessibility tree of a page, as a browser gives it: a small frozen tree and its text.

Protocol: https://chromedevtools.github.io/devtools-protocol/tot/Accessibility/ (``getFullAXTree``). The raw text has a line a node: number, role, name and what the browser tells
of it, as web agents of plain trees are shown (WebArena, arXiv 2307.13854, section 3.2), here with all properties but addresses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from everystep.core.errors import WorldError

MOST_NODES = 20_000
"""Nodes of a page after these are counted and not shown."""
DEEPEST = 150
"""A tree that is deeper is refused."""
ROOT = "RootWebArea"
TEXT = "StaticText"
_UNSEEN = ("InlineTextBox",)
_BARE = ("none", "presentation")


@dataclass(frozen=True, slots=True, kw_only=True)
class AXNode:
    """A node: ``id`` is its number in document order from 1, or 0 where none is shown; ``dom`` the browser's number of its element, 0 for none.

    ``props`` are further properties in the browser's order. ``fold`` joins the children in one line where it is set.
    """

    role: str
    name: str = ""
    value: str = ""
    id: int = 0
    props: tuple[tuple[str, str], ...] = ()
    children: tuple[AXNode, ...] = ()
    dom: int = 0
    fold: str = ""

    def prop(self, name: str) -> str:
        """Return a property, or nothing where there is none."""
        return next((value for key, value in self.props if key == name), "")


def tree_of(
    nodes: Sequence[Mapping[str, Any]],
    clickable: frozenset[int] = frozenset(),
    without: frozenset[int] = frozenset(),
) -> AXNode:
    """Return the tree of DevTools' list; nodes that the browser ignores give way to their children. ``clickable`` elements and those that can take the focus get a property of that name, those in ``without`` are left out with all that is in them.

    ``WorldError`` for a list without a root, with a cycle, or too deep. What is listed as a child and is not there is left out.
    """
    known = {}
    for one in nodes:
        if not isinstance(one, Mapping) or not isinstance(one.get("nodeId"), str):
            raise WorldError(f"an accessibility tree has a node without a 'nodeId': {str(one)[:80]!r}.")
        if one["nodeId"] in known:
            continue  # Chromium lists some nodes twice
        known[one["nodeId"]] = {**one, "childIds": ()} if one.get("backendDOMNodeId") in without else one
    if not known:
        raise WorldError("an accessibility tree without nodes. Open a page first.")
    children = {name: [one for one in node.get("childIds") or () if one in known] for name, node in known.items()}  # fmt: skip
    below = {one for some in children.values() for one in some}
    tops = [name for name in known if name not in below and known[name].get("backendDOMNodeId") not in without]  # fmt: skip
    if not tops:
        raise WorldError("an accessibility tree has no root: its nodes hold each other.")
    gone = {name for name, one in known.items() if one.get("backendDOMNodeId") in without}
    children = {name: [one for one in some if one not in gone] for name, some in children.items()}
    made = _made(tops[0], known, children, clickable)
    top = made[0] if len(made) == 1 else AXNode(role=ROOT, children=made)
    return numbered(top)


def _made(
    name: str, known: Mapping[str, Any], children: Mapping[str, Sequence[str]], clickable: frozenset[int]
) -> tuple[AXNode, ...]:
    """Build from below without recursion: the input is not ours."""
    built: dict[str, tuple[AXNode, ...]] = {}
    seen: set[str] = set()
    count = 0
    stack: list[tuple[str, int, bool]] = [(name, 0, False)]
    while stack:
        one, depth, ready = stack.pop()
        if ready:
            inner = tuple(node for child in children[one] for node in built.pop(child, ()))
            built[one] = _node(known[one], inner, clickable)
            continue
        if one in seen:
            raise WorldError(f"an accessibility tree is none: node {one!r} is held twice, or holds itself.")
        if depth > DEEPEST:
            raise WorldError(f"an accessibility tree is deeper than {DEEPEST} nodes; it is not read.")
        seen.add(one)
        count += 1
        if count > MOST_NODES:
            continue
        stack.append((one, depth, True))
        stack += [(child, depth + 1, False) for child in reversed(children[one])]
    left = len(known) - MOST_NODES if count > MOST_NODES else 0
    note = (AXNode(role=TEXT, name=f"({left} more nodes are not shown)"),) if left > 0 else ()
    top = built[name]
    return (replace(top[0], children=top[0].children + note), *top[1:]) if top else note


def _node(told: Mapping[str, Any], inner: tuple[AXNode, ...], clickable: frozenset[int]) -> tuple[AXNode, ...]:  # fmt: skip
    role, dom = _value(told, "role"), told.get("backendDOMNodeId")
    dom = dom if isinstance(dom, int) else 0
    if role in _UNSEEN:
        return ()
    if told.get("ignored") or role in _BARE:
        return (AXNode(role="generic", children=inner, dom=dom, props=(("clickable", "true"),)),) if dom in clickable else inner  # fmt: skip
    props = [
        (str(one["name"]), _told(value))
        for one in told.get("properties") or ()
        if isinstance(value := one.get("value"), Mapping) and value.get("value") is not None
    ]
    if dom in clickable or ("focusable", "true") in props:
        props.append(("clickable", "true"))  # what takes the focus takes keys and clicks
    if description := _value(told, "description"):
        props.append(("description", description))
    return (
        AXNode(role=role or "generic", name=_value(told, "name"), value=_value(told, "value"), props=tuple(props), children=inner, dom=dom),
    )  # fmt: skip


def _value(told: Mapping[str, Any], key: str) -> str:
    held = told.get(key)
    return "" if not isinstance(held, Mapping) or held.get("value") is None else _told(held)


def _told(held: Mapping[str, Any]) -> str:
    value = held["value"]
    return str(value).lower() if isinstance(value, bool) else str(value)


def numbered(top: AXNode) -> AXNode:
    """Return the tree with its nodes numbered in document order, from 1."""
    number = 0

    def walk(node: AXNode) -> AXNode:
        nonlocal number
        number += 1
        own = number
        return replace(node, id=own, children=tuple([walk(child) for child in node.children]))

    return walk(top)


def renumbered(top: AXNode, numbers: Mapping[int, int]) -> AXNode:
    """Return the tree with the numbers that its elements are given, 0 for all others."""

    def walk(node: AXNode) -> AXNode:
        children = tuple([walk(child) for child in node.children])
        return replace(node, id=numbers.get(node.dom, 0) if node.dom else 0, children=children)

    return walk(top)


def reached_through(top: AXNode) -> AXNode:
    """Return the tree in which a clickable node without a number is reached through a numbered one in it that is not clickable itself: clicks on that are clicks on it.

    It is the first that has a text, else the first.
    """
    chosen = set()
    for node in nodes_of(top):
        if _listens(node) and not node.id and node.role != ROOT:
            inner, stack = [], list(reversed(node.children))
            while stack:
                one = stack.pop()
                if not _listens(one):
                    inner += [one] if one.id else []
                    stack += reversed(one.children)
            inner.sort(key=lambda one: not any(part.name.strip() for part in nodes_of(one)))
            chosen |= {one.id for one in inner[:1]}

    def walk(node: AXNode) -> AXNode:
        props = (*node.props, ("clickable", "true")) if node.id in chosen else node.props
        return replace(node, props=props, children=tuple([walk(child) for child in node.children]))

    return walk(top)


def _listens(node: AXNode) -> bool:
    return node.prop("clickable") == "true"


def nodes_of(top: AXNode) -> Iterator[AXNode]:
    """Yield the nodes in document order."""
    stack = [top]
    while stack:
        node = stack.pop()
        yield node
        stack += reversed(node.children)


def raw_text(top: AXNode) -> str:
    """Return the whole tree as text, a line a node.

    >>> print(raw_text(AXNode(role="link", name="Pens", id=2, props=(("focusable", "true"),))))
    [2] link 'Pens' focusable: true
    """
    lines = []
    stack = [(top, 0)]
    while stack:
        node, depth = stack.pop()
        lines.append("\t" * depth + raw_line(node))
        stack += [(child, depth + 1) for child in reversed(node.children)]
    return "\n".join(lines)


def raw_line(node: AXNode) -> str:
    """Return the line of one node."""
    parts = [f"[{node.id}]" if node.id else "", node.role, repr(node.name)]
    if node.value:
        parts.append(f"value: {node.value}")
    parts += [f"{key}: {value}" for key, value in node.props if key not in ("url", "clickable")]
    return " ".join(filter(None, parts))
