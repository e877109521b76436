"""Actions of AndroidControl: how an answer is read, and when it counts as the gold one.

The file's own form is ``{"action": "click", "coordinate": [x, y]}``, in pixels. The names of AndroidControl itself (``action_type``, ``input_text``, ``scroll``, ``navigate_back``, ``open_app``, ``x`` and ``y``) are
read too. The published check is that of UI-S1 (X-PLUG/MobileAgent, folder UI-S1/evaluation): a box enlarged to 120 %, else a distance of 0.04 of the screen; texts that contain
each other; any swipe for a swipe. A direction is the way that the page goes on: a finger that goes up shows what is below, and that is ``down``. (The file's own coordinates of swipes to the
left and right have the finger go with the page; they are not what is compared.)
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from everystep.environments.phone.strokes import Box, Point, enlarged, inside, way_of

POINTED = ("click", "long_press")
TEXTED = ("type", "open")
KINDS = (*POINTED, "swipe", *TEXTED, "wait", "system_button")
WAYS = ("up", "down", "left", "right")
_PAGE: Mapping[str, str] = {"up": "down", "down": "up", "left": "right", "right": "left"}
BUTTONS = ("Back", "Home", "Menu", "Enter")
BOX_GROWTH = 0.2
"""A candidate box is enlarged by this much of its width and height."""
NEAR = 0.04
"""Without a box that is met, a point no farther than this from the gold one is right, in shares of the screen."""
_LIMIT = 20_000
_MOST_TEXT = 1_000
_NAMES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "tap": ("click", {}),
    "input_text": ("type", {}),
    "scroll": ("swipe", {}),
    "open_app": ("open", {}),
    "navigate_back": ("system_button", {"button": "Back"}),
    "navigate_home": ("system_button", {"button": "Home"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One action: ``point`` is in shares of the screen, ``way`` is that of a swipe, ``text`` what is typed, the app that is opened or the button that is pressed."""

    kind: str
    point: Point | None = None
    way: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gold:
    """What was done in a step, and what else would have been right: ``boxes`` (shares of the screen) of what was to be met."""

    act: Act
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """How far an answer is right. ``kind`` and ``action`` are published; ``exact`` asks more: equal texts, and for a swipe the way."""

    kind: bool = False
    action: bool = False
    exact: bool = False


def read_act(text: str, size: tuple[int, int]) -> Act | str:
    """Return the action that an answer holds, or why it holds none: the last JSON object of the text counts; ``size`` is the screen's width and height in pixels.

    >>> read_act('I tap it: {"action": "click", "coordinate": [540, 1200]}', (1080, 2400))
    Act(kind='click', point=(0.5, 0.5), way='', text='')
    >>> read_act('{"action": "fly"}', (1080, 2400))
    "unknown action 'fly'; expected one of click, long_press, swipe, type, open, wait, system_button"
    """
    if len(text) > _LIMIT:
        return f"expected at most {_LIMIT:,} characters"
    found = _object(text)
    if found is None:
        return 'expected one JSON object such as {"action": "click", "coordinate": [x, y]}'
    named = found.get("action", found.get("action_type"))
    if not isinstance(named, str):
        return "the object names no action"
    kind, more = _NAMES.get(named.strip().lower(), (named.strip().lower(), {}))
    if kind not in KINDS:
        return f"unknown action {named[:40]!r}; expected one of {', '.join(KINDS)}"
    return _act(kind, {**found, **more}, size)


def write_act(act: Act, size: tuple[int, int]) -> str:
    """Return an action in the file's form, in pixels.

    >>> write_act(Act(kind="click", point=(0.5, 0.25)), (1080, 2400))
    '{"action": "click", "coordinate": [540, 600]}'
    """
    told: dict[str, Any] = {"action": act.kind}
    if act.point is not None:
        told["coordinate"] = [round(act.point[0] * size[0]), round(act.point[1] * size[1])]
    if act.way:
        told["direction"] = act.way
    if act.text:
        told["button" if act.kind == "system_button" else "text"] = act.text
    return json.dumps(told, ensure_ascii=False)


def command_of(act: Act) -> str:
    """Return an action as a short command, points in hundredths of the screen.

    >>> command_of(Act(kind="click", point=(0.5, 0.2537))), command_of(Act(kind="type", text="green tea"))
    ('click 50 25', 'type green tea')
    """
    at = () if act.point is None else (str(round(100 * share)) for share in act.point)
    return " ".join(one for one in (act.kind, *at, act.way, act.text) if one)


def act_of(command: str) -> Act | None:
    """Return the action that a short command is, ``None`` where it is none.

    >>> act_of("click 50 25")
    Act(kind='click', point=(0.5, 0.25), way='', text='')
    >>> act_of("click on it") is None
    True
    """
    kind, _, rest = command.strip().partition(" ")
    if kind in POINTED:
        found = re.fullmatch(r"(\d{1,3}) (\d{1,3})", rest, re.ASCII)
        return None if found is None else Act(kind=kind, point=(int(found[1]) / 100, int(found[2]) / 100))
    if kind == "swipe":
        return Act(kind=kind, way=rest) if rest in WAYS else None
    if kind == "wait":
        return None if rest else Act(kind=kind)
    return Act(kind=kind, text=rest) if kind in KINDS and rest.strip() else None


def matched(act: Act | None, gold: Gold) -> Match:
    """Compare an answer with the gold step; ``None`` is an answer that could not be read, and always wrong."""
    want = gold.act
    if act is None:
        return Match()
    if want.kind == "open" and act.kind == "click" and gold.boxes:  # the app's icon is in sight
        return Match(kind=True, action=_hits(act.point, gold.boxes, _middle(gold.boxes[0])))
    if act.kind != want.kind:
        return Match()
    if want.kind in POINTED:
        right = _hits(act.point, gold.boxes, want.point)
        return Match(kind=True, action=right, exact=right)
    if want.kind in TEXTED:
        one, other = act.text.lower().strip(), want.text.lower().strip()
        return Match(kind=True, action=one in other or other in one, exact=one == other)
    if want.kind == "system_button":
        right = act.text.lower().strip() == want.text.lower().strip()
        return Match(kind=True, action=right, exact=right)
    return Match(kind=True, action=True, exact=act.way == want.way)


def _object(text: str) -> Mapping[str, Any] | None:
    """Return the last JSON object of a text, without those inside it."""
    decoder, place, found = json.JSONDecoder(), text.find("{"), None
    tries = 0
    while place >= 0 and tries < 64:
        tries += 1
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            found = value
        place = text.find("{", end)
    return found


def _act(kind: str, told: Mapping[str, Any], size: tuple[int, int]) -> Act | str:
    if kind == "wait":
        return Act(kind=kind)
    if kind in POINTED:
        point = _point(told.get("coordinate", [told.get("x"), told.get("y")]), size)
        return "expected a coordinate [x, y] in pixels" if point is None else Act(kind=kind, point=point)
    if kind == "swipe":
        way = told.get("direction")
        if way is None:
            ends = [_point(told.get(name), size) for name in ("coordinate", "coordinate2")]
            if ends[0] is None or ends[1] is None:
                return f"expected a direction ({', '.join(WAYS)}), or coordinate and coordinate2"
            way = _PAGE[way_of(ends[0], ends[1])]
        told_way = way.strip().lower() if isinstance(way, str) else ""
        return (
            Act(kind=kind, way=told_way) if told_way in WAYS else f"expected a direction ({', '.join(WAYS)})"
        )
    key = "button" if kind == "system_button" else "text"
    said = told.get(key, told.get("app_name") if kind == "open" else None)
    if not isinstance(said, str) or not said.strip() or len(said) > _MOST_TEXT:
        return f"expected {key!r}: a text of 1 to {_MOST_TEXT:,} characters"
    return Act(kind=kind, text=said)


def _point(value: object, size: tuple[int, int]) -> Point | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    if not all(type(one) in (int, float) and abs(one) < 1e6 and math.isfinite(one) for one in value):
        return None
    return value[0] / size[0], value[1] / size[1]


def _hits(point: Point | None, boxes: tuple[Box, ...], at: Point | None) -> bool:
    if point is None:
        return False
    if any(inside(point, enlarged(box, BOX_GROWTH)) for box in boxes):
        return True
    return at is not None and math.dist(point, at) <= NEAR


def _middle(box: Box) -> Point:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
