"""What can be told from the text of a phone's screen alone: its elements, whether a gesture can be done, and whether it was.

Nothing here sees the state of the phone, so it knows as much as a model that reads the screen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from everystep.core.protocols import Gesture
from everystep.environments.phone.phones import APPS, FIELDS, HOME, LIST, MENU, NEW, ROWS, SUBMIT

_HEAD = re.compile(r"^screen (\w+) (\w+) \. keyboard (?:on (\w+)|off)$", re.MULTILINE)
_ELEMENT = re.compile(r"^\[([\w-]+)\] (\w+) (['\"])(.*)\3( disabled)?$", re.MULTILINE)
_ROW = re.compile(r"(?:alarm|contact|thread|note|switch)\d+")


@dataclass(frozen=True, slots=True)
class Look:
    """A screen as it is read: ``elements`` by id, each with its kind, text and whether it reacts."""

    app: str
    page: str
    focus: str
    elements: dict[str, tuple[str, str, bool]]

    def text(self, name: str) -> str:
        """Return the text of an element, empty where it is not shown."""
        return self.elements.get(name, ("", "", False))[1]

    @property
    def rows(self) -> dict[str, str]:
        """The rows of a list that are shown, with their texts."""
        return {name: text for name, (_, text, _) in self.elements.items() if _ROW.fullmatch(name)}


def look(text: str) -> Look:
    """Read a screen's text; what is not a screen has no app and no elements.

    >>> look("screen clock new . keyboard off\\n[time] field ''\\n[save] button 'save' disabled").elements["save"]
    ('button', 'save', False)
    """
    head = _HEAD.search(text)
    found = {m[1]: (m[2], m[4], not m[5]) for m in _ELEMENT.finditer(text)}
    return Look(head[1] if head else "", head[2] if head else "", (head[3] or "") if head else "", found)


def can(seen: Look, gesture: Gesture) -> bool:
    """Say whether a gesture can be done on this screen, as far as the screen shows it."""
    kind, target = gesture.kind, gesture.target
    if kind == "tap":
        return seen.elements.get(target, ("", "", False))[2]
    if kind == "hold":
        return seen.page == LIST and seen.app in ("clock", "contacts", "notes") and target in seen.rows
    if kind == "type":
        return bool(seen.focus)
    if kind == "swipe":  # whether a list goes on is not shown
        full = target == "up" and len(seen.rows) == ROWS
        first = next(iter(seen.rows), "x1")
        return seen.page == LIST and seen.app != HOME and (full or (target == "down" and first[-1] != "1"))
    if kind == "open":
        return target in APPS
    return kind in ("back", "home") and seen.app not in ("", HOME)


def outcome(before: Look, gesture: Gesture, after: Look) -> tuple[str, str]:
    """Return ``A`` (it did what it should), ``B`` (something else happened) or ``C`` (nothing changed), and why not ``A``."""
    if _came(before, gesture, after):
        return "A", ""
    if before == after:
        return "C", "nothing changed"
    return "B", f"the screen shows {after.app} {after.page}, which is not what was meant"


def _came(before: Look, gesture: Gesture, after: Look) -> bool:
    kind, target = gesture.kind, gesture.target
    if kind == "open":
        return (after.app, after.page) == (target, LIST)
    if kind == "home":
        return after.app == HOME
    if kind == "back":
        if before.app == HOME:
            return False
        return after.app == HOME if before.page == LIST else (after.app, after.page) == (before.app, LIST)
    if kind == "type":
        return bool(before.focus) and after.text(before.focus) == gesture.text
    if kind == "swipe":
        return list(before.rows) != list(after.rows) and after.page == LIST
    if kind == "hold":
        return after.page == MENU and after.text("about") == before.text(target)
    return _tapped(before, target, after)


def _tapped(before: Look, target: str, after: Look) -> bool:
    if before.app == HOME:
        return (after.app, after.page) == (target, LIST)
    if target in FIELDS.get((before.app, before.page), ()):
        return (after.app, after.page, after.focus) == (before.app, before.page, target)
    if target == "add":
        return (after.app, after.page) == (before.app, NEW)
    if target == "send":
        said = f"me: {before.text('reply')}"
        return bool(before.text("reply")) and any(one[1] == said for one in after.elements.values())
    if target == SUBMIT.get(before.app) or target == "delete":
        return (after.app, after.page) == (before.app, LIST) and before.page != LIST
    if before.app == "messages":
        last = before.text(target).partition(" - ")[2]
        lines = [text for name, (_, text, _) in after.elements.items() if name.startswith("line")]
        return bool(lines) and lines[-1] == last
    if before.app in ("clock", "settings"):
        name, _, was = before.text(target).rpartition(" ")
        flipped = f"{name} {'off' if was == 'on' else 'on'}"
        others = {k: v for k, v in before.rows.items() if k != target}
        return after.text(target) == flipped and others == {
            k: v for k, v in after.rows.items() if k != target
        }
    shown = after.text("name") if before.app == "contacts" else after.text("text")
    return after.page == "card" and shown == before.text(target)
