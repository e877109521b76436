"""Strokes on a touch screen: where a finger touched and lifted, when that was a tap, and when two strokes are the same action.

The rule is that of Android in the Wild (Rawles et al. 2023, arXiv 2307.10088; released code), by which Auto-UI is scored too. Points are (x, y) and boxes (left, top, right,
bottom), all in shares of the screen's width and height, from the upper left corner.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Point = tuple[float, float]
Box = tuple[float, float, float, float]

TAP = 0.04
"""A finger that lifts no farther than this from where it touched made a tap."""
NEAR = 0.14
"""Two taps no farther apart than this are the same action."""
GROWTH = 1.4
"""A box is enlarged by this much of its width and height: to 240 %."""

SCROLLS: Mapping[str, tuple[Point, Point]] = {
    "up": ((0.5, 0.8), (0.5, 0.2)),
    "down": ((0.5, 0.2), (0.5, 0.8)),
    "left": ((0.8, 0.5), (0.2, 0.5)),
    "right": ((0.2, 0.5), (0.8, 0.5)),
}
"""The four canonical drags, by the way that the finger goes: where it touches and where it lifts."""
RELEASED_SCROLLS: Mapping[str, tuple[Point, Point]] = {
    **SCROLLS,
    "left": SCROLLS["up"],
    "right": SCROLLS["down"],
}
"""The canonical drags of Auto-UI's released code: left equals up, and right equals down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stroke:
    """An action on a touch screen. ``kind`` is ``stroke`` where a finger touched; any other kind (a key, typing, the end) has no points."""

    kind: str = "stroke"
    touch: Point = (0.0, 0.0)
    lift: Point = (0.0, 0.0)


STROKE = Stroke().kind


def is_tap(touch: Point, lift: Point) -> bool:
    """Say whether a finger that touched and lifted there made a tap, not a drag.

    >>> is_tap((0.5, 0.5), (0.5, 0.53)), is_tap((0.5, 0.5), (0.5, 0.55))
    (True, False)
    """
    return math.dist(touch, lift) <= TAP


def inside(point: Point, box: Box) -> bool:
    """Say whether a point lies in a box, its edges included."""
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def enlarged(box: Box, by: float) -> Box:
    """Return a box that is larger by a share of its width and height, around the same middle.

    >>> enlarged((0.25, 0.5, 0.75, 0.75), 1.0)
    (0.0, 0.375, 1.0, 0.875)
    """
    dx, dy = (box[2] - box[0]) * by / 2, (box[3] - box[1]) * by / 2
    return box[0] - dx, box[1] - dy, box[2] + dx, box[3] + dy


def annotated(box: Box) -> Box:
    """Return a box as Android in the Wild enlarges it: what would stand out above or to the left of the screen is added below or to the right.

    >>> annotated((0.0, 0.5, 0.5, 0.75))
    (0.0, 0.325, 1.0, 0.925)
    """
    left, top, *_ = enlarged(box, GROWTH)
    left, top = max(0.0, left), max(0.0, top)
    width, height = ((box[2] - box[0]) * (1 + GROWTH), (box[3] - box[1]) * (1 + GROWTH))
    return left, top, left + min(1.0, width), top + min(1.0, height)


def main_axis(touch: Point, lift: Point) -> str:
    """Return the axis along which a finger went farther, ``x`` or ``y``; ``y`` where both are as far."""
    return "x" if abs(lift[0] - touch[0]) > abs(lift[1] - touch[1]) else "y"


def way_of(touch: Point, lift: Point) -> str:
    """Return the way that a finger went: up, down, left or right.

    >>> way_of((0.5, 0.8), (0.5, 0.2)), way_of((0.2, 0.5), (0.7, 0.6))
    ('up', 'right')
    """
    if main_axis(touch, lift) == "y":
        return "up" if lift[1] < touch[1] else "down"
    return "left" if lift[0] < touch[0] else "right"


def same_action(one: Stroke, other: Stroke, boxes: Iterable[Box] = ()) -> bool:
    """Say whether two actions would lead to a similar screen; ``boxes`` are the elements that the screen shows.

    Actions without a finger are the same where their kinds are: what is typed does not count. Two taps are the same inside one enlarged box, or near each other; two drags along the same
    axis, whichever way they go. A tap is never a drag.
    """
    if one.kind != STROKE or other.kind != STROKE:
        return one.kind == other.kind
    taps = is_tap(one.touch, one.lift), is_tap(other.touch, other.lift)
    if taps[0] != taps[1]:
        return False
    if not taps[0]:
        return main_axis(one.touch, one.lift) == main_axis(other.touch, other.lift)
    if math.dist(one.touch, other.touch) <= NEAR:
        return True
    return any(inside(one.touch, box) and inside(other.touch, box) for box in map(annotated, boxes))


def canonical(
    stroke: Stroke, *, decimals: int = 4, scrolls: Mapping[str, tuple[Point, Point]] = SCROLLS
) -> Stroke:
    """Return a stroke as Auto-UI writes it (arXiv 2309.11436, released code): a tap is rounded and lifts where it touches, a drag becomes one of four.

    >>> canonical(Stroke(touch=(0.12345, 0.5), lift=(0.13, 0.5)))
    Stroke(kind='stroke', touch=(0.1235, 0.5), lift=(0.1235, 0.5))
    >>> canonical(Stroke(touch=(0.3, 0.4), lift=(0.9, 0.5))).lift
    (0.8, 0.5)
    """
    if stroke.kind != STROKE:
        return Stroke(kind=stroke.kind)
    if is_tap(stroke.touch, stroke.lift):
        at = round(stroke.touch[0], decimals), round(stroke.touch[1], decimals)
        return Stroke(touch=at, lift=at)
    touch, lift = scrolls[way_of(stroke.touch, stroke.lift)]
    return Stroke(touch=touch, lift=lift)
