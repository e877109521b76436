"""How near a gesture on a screen comes to the reference gesture: the step rewards of agents that operate screens.

Three published rules stand beside each other. ``smooth`` is Step-GUI's (arXiv:2512.15431): bounded, falling with the fourth power of the deviation. ``graded``
is SEAgent's (released code): 1 for the kind, and the value on top. ``hit`` is Mobile-R1's (arXiv:2506.20332): inside the box or equal, or nothing. Coordinates and
boxes (left, top, right, bottom) are in one unit, and ``size`` is the width and height of the screen in it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from everystep.core.errors import ConfigError
from everystep.core.protocols import ScreenView
from everystep.credit.overlap import character_bleu

Box = tuple[float, float, float, float]

_CLICK = re.compile(r"click (\d{1,4}) (\d{1,4})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointed:
    """A gesture as it is compared: its kind, and the point, the box, the way (``dx``, ``dy``) or the text that it has."""

    kind: str
    point: tuple[float, float] | None = None
    box: Box | None = None
    way: tuple[float, float] | None = None
    text: str | None = None


def pointed(action: str, view: ScreenView) -> Pointed | None:
    """Return the gesture that an action is on a screen: ``click X Y``, or the id of an element; ``None`` where there is no such element.

    Elements are clicked in their middle, but keys are typed, lists are scrolled, and ``back`` and ``done`` are kinds alone. A click that meets an
    element has its box: as a reference it stands for every point in it.
    """
    said = action.strip()
    click = _CLICK.fullmatch(said)
    if click is not None:
        point = (float(click[1]), float(click[2]))
        met = (one.box for one in view.elements if _inside(point, one.box))
        return Pointed(kind="click", point=point, box=next(met, None))
    for element in view.elements:
        if element.id == said:
            if element.kind in ("back", "done"):
                return Pointed(kind=element.kind)
            if element.kind in ("key", "scroll"):
                return Pointed(kind=element.kind, text=element.text)
            return Pointed(kind="click", point=_middle(element.box)[:2], box=element.box)
    return None


def point_reward(
    point: tuple[float, float], reference: tuple[float, float], tolerance: tuple[float, float]
) -> float:
    """Return ``exp(-(dx**4 + dy**4))``, each deviation divided by its tolerance (Step-GUI); in (0, 1].

    >>> point_reward((3, 4), (3, 4), (10, 10)), round(point_reward((13, 4), (3, 4), (10, 10)), 4)
    (1.0, 0.3679)
    """
    if min(tolerance) <= 0:
        raise ConfigError(f"tolerance is {tolerance!r}; both must be above 0.")
    dx, dy = ((a - b) / t for a, b, t in zip(point, reference, tolerance, strict=True))
    return math.exp(-(dx**4 + dy**4))


def box_reward(box: Box, reference: Box, tolerance: tuple[float, float]) -> float:
    """Return ``0.8 * exp(-(cx**4 + cy**4 + 0.5 * w**4 + 0.5 * h**4)) + 0.2 * IoU`` (Step-GUI): deviations of centre and size over their tolerance.

    >>> box_reward((0, 0, 10, 10), (0, 0, 10, 10), (5, 5))
    1.0
    >>> round(box_reward((5, 0, 15, 10), (0, 0, 10, 10), (5, 5)), 6)
    0.36097
    """
    if min(tolerance) <= 0:
        raise ConfigError(f"tolerance is {tolerance!r}; both must be above 0.")
    (ax, ay, aw, ah), (bx, by, bw, bh) = (_middle(one) for one in (box, reference))
    tx, ty = tolerance
    apart = ((ax - bx) / tx) ** 4 + ((ay - by) / ty) ** 4
    apart += 0.5 * ((aw - bw) / tx) ** 4 + 0.5 * ((ah - bh) / ty) ** 4
    return 0.8 * math.exp(-apart) + 0.2 * overlap(box, reference)


def way_reward(way: tuple[float, float], reference: tuple[float, float]) -> float:
    """Return the cosine of two directions, mapped from [-1, 1] to [0, 1] (Step-GUI's slides); 0 where one has no length.

    >>> way_reward((0, 2), (0, 1)), way_reward((1, 0), (0, 1)), way_reward((0, -1), (0, 1))
    (1.0, 0.5, 0.0)
    """
    lengths = math.hypot(*way) * math.hypot(*reference)
    if lengths == 0:
        return 0.0
    return (1 + (way[0] * reference[0] + way[1] * reference[1]) / lengths) / 2


def overlap(one: Box, other: Box) -> float:
    """Return intersection over union of two boxes; 0 where both are empty.

    >>> overlap((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    both = width * height
    union = _area(one) + _area(other) - both
    return both / union if union > 0 else 0.0


def smooth(made: Pointed | None, reference: Pointed, tolerance: tuple[float, float]) -> float:
    """Return Step-GUI's reward of a gesture: 0 for another kind (or none that could be read, ``None``), else the rule of what it has; 1 for what has only a kind.

    Texts must be equal but for case and space: the published form asks a language model how near they are.
    """
    if made is None or made.kind != reference.kind:
        return 0.0
    if reference.point is not None:
        return 0.0 if made.point is None else point_reward(made.point, reference.point, tolerance)
    if reference.box is not None:
        return 0.0 if made.box is None else box_reward(made.box, reference.box, tolerance)
    if reference.way is not None:
        return 0.0 if made.way is None else way_reward(made.way, reference.way)
    if reference.text is not None:
        return float(_plain(made.text) == _plain(reference.text))
    return 1.0


def graded(made: Pointed | None, reference: Pointed, size: tuple[float, float]) -> float:
    """Return SEAgent's reward of a gesture, in [0, 2]: 1 for the kind, and the value: points 1 less the L1 distance in shares of the screen, boxes their
    overlap, texts BLEU-4 of characters; nothing more for a kind alone. 0 for another kind or none that could be read (``None``).
    """
    if made is None or made.kind != reference.kind:
        return 0.0
    value = 0.0
    if reference.point is not None and made.point is not None:
        away = (abs(a - b) / s for a, b, s in zip(made.point, reference.point, size, strict=True))
        value = max(0.0, 1.0 - sum(away))
    elif reference.box is not None and made.box is not None:
        value = overlap(made.box, reference.box)
    elif reference.text is not None and made.text is not None:
        value = character_bleu(made.text, reference.text)
    return 1.0 + value


def hit(made: Pointed | None, reference: Pointed) -> float:
    """Return Mobile-R1's reward of a gesture: 1 for a point in the reference's box, or for equal kind and text; else 0."""
    if made is None or made.kind != reference.kind:
        return 0.0
    if reference.box is not None:
        return float(made.point is not None and _inside(made.point, reference.box))
    return float(made.point == reference.point and made.way == reference.way and made.text == reference.text)


def _inside(point: tuple[float, float], box: Box) -> bool:
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def _middle(box: Box) -> tuple[float, float, float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _plain(text: str | None) -> str | None:
    return None if text is None else " ".join(text.lower().split())
