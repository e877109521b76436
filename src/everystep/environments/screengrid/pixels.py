"""ScreenGrid as pixels: a small colour picture of a screen, and a mark where an action lands.

A picture has 48 rows and 64 columns, a cell of the grid is 8 by 8 pixels. An element is a block in the colour of its kind; the pattern on it
is that of its label, and one of 4 by 4 points at its right end that of the word that it shows. Boxes in thousandths of the screen fit the picture.
"""

from __future__ import annotations

import zlib
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from everystep.environments.screengrid.boxes import COLUMNS, ROWS, SCALE
from everystep.environments.screengrid.parts import (
    BACK,
    BUTTON,
    CHOICE,
    DONE,
    KEY,
    LINK,
    ROW,
    SCROLL,
    SWITCH,
)
from everystep.environments.screengrid.screen import CLICK, State, box_of, view

Image: TypeAlias = npt.NDArray[np.uint8]

CELL = 8
HEIGHT, WIDTH = ROWS * CELL, COLUMNS * CELL
"""Pixels."""
PAPER = (245, 245, 245)
COLOURS = {
    LINK: (66, 133, 244),
    ROW: (200, 200, 205),
    SWITCH: (52, 168, 83),
    CHOICE: (171, 71, 188),
    BUTTON: (251, 140, 0),
    KEY: (120, 144, 156),
    SCROLL: (0, 172, 193),
    BACK: (141, 110, 99),
    DONE: (219, 68, 55),
}
"""Red, green and blue of each kind of element."""
INK = (20, 20, 20)
MARK = (255, 0, 255)
RADIUS = 3
"""Pixels of the circle that marks a point."""

_LABEL = (6, 4)  # columns and rows of the pattern of a label
_SHOWN = (4, 4)


def render(state: State) -> Image:
    """Return the screen of ``state`` as an array [48, 64, 3] of red, green and blue.

    Equal screens give equal pictures. The title of the page stands nowhere, as on many a phone: what is on the page tells where one is.
    """
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    image[:] = PAPER
    for element in view(state).elements:
        left, top, right, bottom = pixels_of(element.box)
        image[top:bottom, left:right] = COLOURS[element.kind]
        label, _, shown = element.text.partition(" ")
        _stamp(image, label, left + 1, top + 1, _LABEL)
        if shown:
            _stamp(image, shown, right - 1 - _SHOWN[0], top + 1, _SHOWN)
    return image


def marked(image: Image, state: State, action: str) -> Image:
    """Return ``image`` with a frame around the element that ``action`` taps, or a circle at the point that it clicks.

    An action whose target is not on the screen of ``state`` marks nothing.
    """
    made = image.copy()
    point = CLICK.fullmatch(action.strip())
    if point is not None:
        _circle(made, int(point[1]) * WIDTH // SCALE, int(point[2]) * HEIGHT // SCALE)
        return made
    box = box_of(state, action)
    if box is not None:
        left, top, right, bottom = pixels_of(box)
        made[top, left:right] = made[bottom - 1, left:right] = MARK
        made[top:bottom, left] = made[top:bottom, right - 1] = MARK
    return made


def pixels_of(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Return a box in thousandths as pixels: left, top, and right and bottom (excluded).

    >>> pixels_of((0, 0, 999, 999))
    (0, 0, 64, 48)
    """
    left, top, right, bottom = box
    return (
        round(left * WIDTH / SCALE),
        round(top * HEIGHT / SCALE),
        round((right + 1) * WIDTH / SCALE),
        round((bottom + 1) * HEIGHT / SCALE),
    )


def _stamp(image: Image, word: str, left: int, top: int, size: tuple[int, int]) -> None:
    """Put the pattern of a word: as many bits of its checksum as the size has points."""
    columns, rows = size
    bits = zlib.crc32(word.encode())
    for place in range(columns * rows):
        if bits >> place & 1:
            image[top + place // columns, left + place % columns] = INK


def _circle(image: Image, x: int, y: int) -> None:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    away = np.hypot(rows - y, columns - x)
    image[np.abs(away - RADIUS) < 0.5] = MARK
