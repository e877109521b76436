"""The known way on a local web site: from what a goal wants and what is shown to the next action."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from everystep.core.errors import WorldError
from everystep.environments.web.site import BASE, Goal, Site, Want, page_at, route
from everystep.tools.axtree import AXNode


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """Where an episode stands: the site and its state, the open page, the pages seen so far, and the elements that are shown, by number."""

    site: Site
    state: Any
    address: str
    visited: Collection[str]
    shown: Mapping[int, AXNode]


def next_action(goal: Goal, here: Here) -> str:
    """Return the next action of the known way. ``WorldError`` where there is none."""
    for want in goal.wants(here.state):
        if want.kind == "stop":
            return f"stop [{want.text}]"
        found = _toward(want, here)
        if found:
            return found
    raise WorldError(f"there is no known way on for {goal.text!r}.")


def number_of(here: Here, role: str, name: str, nth: int = 0) -> int:
    """Return the number of the ``nth`` element with a role and a name. ``WorldError`` where it is not shown."""
    found = [number for number, one in here.shown.items() if one.role == role and one.name.strip() == name]
    if len(found) <= nth:
        raise WorldError(f"there is no {role} {name!r} number {nth + 1} on {here.address!r}.")
    return found[nth]


def _toward(want: Want, here: Here) -> str:
    """Return the action that a wish needs now, or nothing where it is fulfilled."""
    if want.kind == "visit":
        return "" if want.path in here.visited else _to(want.path, here)
    if want.kind == "search":
        return "" if want.path in here.visited else _search(want.text, here)
    if here.address != want.path:
        return _to(want.path, here)
    if want.kind == "press":
        return f"click [{number_of(here, 'button', want.name, want.nth)}]"
    role = {"fill": "textbox", "choose": "combobox", "tick": "checkbox"}[want.kind]
    number = number_of(here, role, want.name, want.nth)
    node = here.shown[number]
    if want.kind == "tick":
        return "" if (node.prop("checked") == "true") == (want.text == "on") else f"click [{number}]"
    return "" if node.value == want.text else f"type [{number}] [{want.text}]"


def _to(path: str, here: Here) -> str:
    """Return the click that leads toward a page: along links, by the search where they do not lead there, else from home."""
    way = route(here.site, here.state, here.address, path)
    if way:
        for number, node in here.shown.items():
            if node.role == "link" and node.prop("url") == BASE + way[0]:
                return f"click [{number}]"
    if way is None and page_at(here.site, here.state, here.address) is not None:
        return _search(here.site.title(path), here)
    return "go_home"


def _search(text: str, here: Here) -> str:
    box = number_of(here, "searchbox", "Search")
    if here.shown[box].value != text:
        return f"type [{box}] [{text}]"
    return f"click [{number_of(here, 'button', 'Search')}]"
