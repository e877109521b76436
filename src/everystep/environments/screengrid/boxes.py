"""Where the elements of a ScreenGrid page stand: boxes on a grid of 8 columns and 6 rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from everystep.environments.screengrid.parts import BACK, KEY, SCROLL, App, Part

COLUMNS, ROWS = 8, 6
SCALE = 1000
"""Coordinates are whole numbers from 0 to ``SCALE`` - 1, from the left and from the top."""
ARRANGEMENTS = 4
"""Bit 0: mirrored left to right. Bit 1: upside down."""
INSET = 1 / 8
"""The share of a cell that is left free on each side of a box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Where an element stands. ``part`` is its number on the page, -1 for ``done``; ``cell`` is column, row, columns and rows.

    ``box`` is left, top, right and bottom in thousandths of the screen; right and bottom are the last ones inside.
    """

    part: int
    cell: tuple[int, int, int, int]
    box: tuple[int, int, int, int]

    @property
    def centre(self) -> tuple[int, int]:
        """The middle of the box, in thousandths."""
        left, top, right, bottom = self.box
        return (left + right) // 2, (top + bottom) // 2


@lru_cache(maxsize=1 << 12)
def spots_of(app: App, page: int, arrangement: int = 0) -> tuple[Spot, ...]:
    """Return the place of every element that a page can show, and of ``done`` at the end. No two overlap."""
    parts = app.pages[page].parts
    cells = _cells(parts)
    return tuple(
        Spot(part=part, cell=moved, box=_box(moved))
        for part, cell in cells
        for moved in [_arranged(cell, arrangement)]
    )


def hit(spots: Iterable[Spot], x: int, y: int) -> Spot | None:
    """Return the spot that a point lies in, ``None`` for none."""
    for spot in spots:
        left, top, right, bottom = spot.box
        if left <= x <= right and top <= y <= bottom:
            return spot
    return None


def overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """Return the intersection over union of two boxes, both ends included."""
    width = min(one[2], other[2]) - max(one[0], other[0]) + 1
    height = min(one[3], other[3]) - max(one[1], other[1]) + 1
    shared = max(0, width) * max(0, height)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (one, other)]
    return shared / (sum(areas) - shared)


def _cells(parts: tuple[Part, ...]) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Controls stand in the first row, typed words in the last ones, everything else between."""
    numbered = list(enumerate(parts))
    keys = [number for number, part in numbered if part.kind == KEY]
    content = [number for number, part in numbered if part.kind not in (KEY, SCROLL, BACK)]
    wide = len(content) <= 4
    cells = []
    for place, number in enumerate(content):
        cells.append((number, (0, 1 + place, 8, 1) if wide else (place % 2 * 4, 1 + place // 2, 4, 1)))
    first = ROWS - -(-len(keys) // 4)
    for place, number in enumerate(keys):
        cells.append((number, (place % 4 * 2, first + place // 4, 2, 1)))
    for number, part in numbered:
        if part.kind in (SCROLL, BACK):
            column = {"back": 0, "up": 2, "down": 4}[part.label]
            cells.append((number, (column, 0, 2, 1)))
    return [*sorted(cells), (-1, (6, 0, 2, 1))]


def _arranged(cell: tuple[int, int, int, int], arrangement: int) -> tuple[int, int, int, int]:
    column, row, width, height = cell
    if arrangement & 1:
        column = COLUMNS - column - width
    if arrangement & 2:
        row = ROWS - row - height
    return column, row, width, height


def _box(cell: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    column, row, width, height = cell
    return (
        round((column + INSET) * SCALE / COLUMNS),
        round((row + INSET) * SCALE / ROWS),
        round((column + width - INSET) * SCALE / COLUMNS) - 1,
        round((row + height - INSET) * SCALE / ROWS) - 1,
    )
