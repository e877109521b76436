"""Interactive segmenters: an image, a box and clicks in; a mask out. The tool that the world ``refinemask`` hands to an agent.

A segmenter keeps nothing of a session: it gets all prompts of the session each time, so a session can be saved, copied and repeated, and one
session cannot change another. The two that come here are classical algorithms of scikit-image, fast enough for rollouts (about 4 ms
and 1 ms on 48 x 48 pixels). Checkpoints of SAM or MedSAM are not packaged anywhere; one that you have takes part as a ``Segmenter``, its image
embedding cached by the image:

    SEGMENTERS.add("medsam", MyMedSAM(checkpoint))
    RefineMask(segmenter="medsam")
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from skimage.filters import sobel
from skimage.segmentation import random_walker, watershed

from everystep.core.registry import Registry

Image = NDArray[np.float64]
Mask = NDArray[np.bool_]

_FORE, _BACK = 1, 2
_CORE = 0.15
"""Half axes of the ellipse in the middle of a box that counts as foreground, as a share of the box's sides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """All that was asked for in a session, in pixels: a box (left, top, right, bottom; right and bottom excluded) and clicks.

    ``points`` are (x, y, positive). An empty ``Prompts`` has an empty mask.
    """

    box: tuple[int, int, int, int] | None = None
    points: tuple[tuple[int, int, bool], ...] = ()


class Segmenter(Protocol):
    """A tool that turns prompts into a mask. The same image and prompts always give the same mask."""

    def segment(self, image_HW: Image, prompts: Prompts) -> Mask:
        """Return the mask, of the image's shape; ``image_HW`` has values in [0, 1]."""
        ...


def seeds(shape: tuple[int, int], prompts: Prompts) -> NDArray[np.int64]:
    """Return marks ``[H, W]``: 1 where the prompts say object, 2 where they say background, 0 where they say nothing.

    Outside of the box is background; without a box, or with one around everything, the frame of the picture is. The middle of the
    box is object, unless a negative click touches it. A click marks 3 x 3 pixels; the last word on a pixel counts.

    >>> seeds((5, 5), Prompts(points=((2, 2, True),)))[0].tolist(), seeds((5, 5), Prompts(points=((2, 2, True),)))[2].tolist()
    ([2, 2, 2, 2, 2], [2, 1, 1, 1, 2])
    """
    marks_HW = np.zeros(shape, dtype=np.int64)
    core_HW = np.zeros(shape, dtype=np.bool_)
    if prompts.box is not None:
        left, top, right, bottom = prompts.box
        marks_HW[:] = _BACK
        marks_HW[top:bottom, left:right] = 0
        y_HW, x_HW = np.mgrid[: shape[0], : shape[1]] + 0.5
        across = (x_HW - (left + right) / 2) / (_CORE * (right - left))
        down = (y_HW - (top + bottom) / 2) / (_CORE * (bottom - top))
        core_HW = across**2 + down**2 <= 1
    if not (marks_HW == _BACK).any():
        marks_HW[[0, -1]] = _BACK
        marks_HW[:, [0, -1]] = _BACK
    clicks = [
        (slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2), positive)
        for x, y, positive in prompts.points
    ]
    if not any(core_HW[rows, columns].any() for rows, columns, positive in clicks if not positive):
        marks_HW[core_HW] = _FORE
    for rows, columns, positive in clicks:
        marks_HW[rows, columns] = _FORE if positive else _BACK
    return marks_HW


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomWalker:
    """Random walks from every pixel to the seeds (Grady 2006, IEEE TPAMI 28(11), eq. 1 to 10). ``beta`` is how hard edges are to cross."""

    beta: float = 400.0

    def segment(self, image_HW: Image, prompts: Prompts) -> Mask:
        """Return the pixels from which a walker comes to the object first."""
        marks_HW = seeds(_shape(image_HW), prompts)
        if (plain := _without_contest(marks_HW)) is not None:
            return plain
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # small images are solved directly: what it suggests is slower here
            found = random_walker(image_HW, marks_HW, beta=self.beta, mode="bf")
        return np.asarray(found == _FORE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watershed:
    """Flooding of the gradient's relief from the seeds (Meyer 1991; Soille and Ansoult 1990)."""

    def segment(self, image_HW: Image, prompts: Prompts) -> Mask:
        """Return the basins of the object's seeds."""
        marks_HW = seeds(_shape(image_HW), prompts)
        if (plain := _without_contest(marks_HW)) is not None:
            return plain
        return np.asarray(watershed(sobel(image_HW), marks_HW) == _FORE)


SEGMENTERS: Registry[Segmenter] = Registry("segmenter")
"""The segmenters by name; add your own."""
SEGMENTERS.add("random_walker", RandomWalker())
SEGMENTERS.add("watershed", Watershed())


def _shape(image_HW: Image) -> tuple[int, int]:
    return image_HW.shape[0], image_HW.shape[1]


def _without_contest(marks_HW: NDArray[np.int64]) -> Mask | None:
    """Return the mask where only one side has seeds, or every pixel is one; ``None`` where there is something to decide."""
    if not (marks_HW == _FORE).any() or (marks_HW != 0).all():
        return np.asarray(marks_HW == _FORE)
    return None if (marks_HW == _BACK).any() else np.ones(marks_HW.shape, dtype=np.bool_)
