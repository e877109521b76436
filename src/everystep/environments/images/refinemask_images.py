"""Real images with a structure to outline, read from packages that ship them; nothing is downloaded.

A picture is a square window of ``SIDE`` x ``SIDE`` pixels around one structure, grey, its contrast stretched. Truth is ``published`` where the package
ships the outline, else ``derived``: made here from the whole image at full resolution by the procedure that stands at the function.
Derived outlines are stand-ins for an expert's: they show what the structure's contrast shows.

| structure | image | package | truth |
|---|---|---|---|
| nucleus | fluorescence microscopy (Data Science Bowl 2018, CC0) | stardist | published instance labels |
| ventricle | T1 MRI, mean of 152 brains (ICBM 152, 2009a) | nilearn | derived from the published tissue maps |
| cell | phase of a cell (quantitative phase imaging) | scikit-image | derived |
| disc | fundus of an eye, optic disc | scikit-image | derived |
| gland | immunohistochemistry of colon, stained gland | scikit-image | derived |
| canal | CT of a thoracic vertebra, spinal canal | pydicom | derived |

Every structure is seen in windows of three sizes, each off the middle by chance. Pixels of ``train`` and ``test`` windows never overlap. The last four are single images: they are test only, structures that no training has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from random import Random

import numpy as np
import pydicom
from nibabel.loadsave import load
from numpy.typing import NDArray
from scipy import ndimage
from skimage import color, filters, io, measure, morphology, transform

from everystep.core.errors import WorldError
from everystep.environments.images.segmenters import Image, Mask

SIDE = 48
"""Pixels of a side of a picture."""
TURNS = 8
"""Each picture is used in its four rotations, mirrored and not."""
_CASES = 1000
_SLICES = range(84, 136)
_HELD_SLICES = range(104, 113)
_GAP = 3
_MIDDLE = 0.25
"""How far from the middle of a picture, in its sides, the middle of the structure may be: the instruction says "in the middle"."""
_BORDER = 344  # the column of the nuclei image where test windows begin


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A window: ``image_HW`` in [0, 1], ``truth_HW``, and which ``split`` it belongs to."""

    structure: str
    split: str
    image_HW: Image
    truth_HW: Mask


def pictures(structure: str) -> tuple[Picture, ...]:
    """Return every picture of a structure, unturned, in a fixed order."""
    return _pictures(structure)


@lru_cache(maxsize=4096)
def picture(number: int) -> Picture:
    """Return the picture of a number of ``numbers``."""
    place, turn = divmod(number, TURNS)
    which, index = divmod(place, _CASES)
    try:
        found = _pictures(tuple(STRUCTURES)[which])[index]
    except IndexError:
        raise WorldError(
            f"there is no picture number {number!r}. Take tasks from the world's task()."
        ) from None

    def turned(array: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.ascontiguousarray(np.rot90(array[:, ::-1] if turn >= 4 else array, turn % 4))

    image_HW, truth_HW = turned(found.image_HW), turned(found.truth_HW)
    image_HW.flags.writeable = truth_HW.flags.writeable = False
    return Picture(
        structure=found.structure,
        split=found.split,
        image_HW=image_HW.astype(np.float64, copy=False),
        truth_HW=truth_HW.astype(np.bool_, copy=False),
    )


@lru_cache(maxsize=64)
def numbers(structures: tuple[str, ...], split: str) -> tuple[int, ...]:
    """Return the numbers of all pictures of a split: first each picture once, shuffled, then the pictures again in other rotations."""
    order = list(STRUCTURES)
    places = [
        _CASES * order.index(structure) + index
        for structure in structures
        for index, one in enumerate(_pictures(structure))
        if one.split == split
    ]
    found = []
    for turn in range(TURNS):
        Random(turn).shuffle(places)
        found += [place * TURNS + turn for place in places]
    return tuple(found)


def overlay(image_HW: Image, mask_HW: Mask, alpha: float = 0.5) -> NDArray[np.uint8]:
    """Return the picture ``[H, W, 3]`` with the mask laid over it in green, as the model of the published system sees it.

    >>> overlay(np.zeros((1, 2)), np.array([[True, False]])).tolist()
    [[[0, 128, 0], [0, 0, 0]]]
    """
    seen_HWC = np.repeat(image_HW[:, :, None], 3, axis=2)
    seen_HWC[mask_HW] = (1 - alpha) * seen_HWC[mask_HW] + alpha * np.array([0.0, 1.0, 0.0])
    return np.round(255 * np.clip(seen_HWC, 0, 1)).astype(np.uint8)


# --- the sources ----------------------------------------------------------------------------------


def _nuclei() -> tuple[Picture, ...]:
    """Every labelled nucleus of 250 pixels or more that is whole and not at an edge; neighbours that touch it stay in the picture."""
    folder = _folder("stardist") / "data" / "images"
    image_HW = np.sqrt(np.asarray(io.imread(folder / "img2d.tif"), dtype=np.float64))
    labels_HW = np.asarray(io.imread(folder / "mask2d.tif"))
    random = Random("nucleus")
    height, width = labels_HW.shape
    found = []
    for region in measure.regionprops(labels_HW):
        top, left, bottom, right = region.bbox
        split, first, last = ("train", 0, _BORDER) if right <= _BORDER else ("test", _BORDER, width)
        if region.area < 250 or top == 0 or bottom == height or left <= first or right == last:
            continue
        part = (slice(None), slice(first, last))
        centre = region.centroid[0], region.centroid[1] - first
        for side in (44, 60, 80):
            window = _window(image_HW[part], (labels_HW == region.label)[part], centre, side, random)
            if _off_centre(window[1]) <= _MIDDLE:
                found.append(
                    Picture(structure="nucleus", split=split, image_HW=window[0], truth_HW=window[1])
                )
    return tuple(found)


def _ventricles() -> tuple[Picture, ...]:
    """Coronal slices of the right lateral ventricle: inside of the brain, where neither the published grey- nor the white-matter map is above a half."""
    folder = _folder("nilearn") / "datasets" / "data"

    def volume(name: str) -> NDArray[np.uint8]:
        return np.asarray(
            load(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz").dataobj,  # type: ignore[attr-defined]
            dtype=np.uint8,
        )

    t1, grey, white = volume("t1"), volume("gm"), volume("wm")
    middle = t1.shape[0] // 2 + 1
    random = Random("ventricle")
    found = []
    for place in _SLICES:
        tissue_HW = (grey[:, place] > 127) | (white[:, place] > 127)
        inside_HW = ndimage.binary_fill_holes(tissue_HW) & ~tissue_HW
        inside_HW[:middle] = False
        near = min(abs(place - one) for one in _HELD_SLICES)
        if 0 < near <= _GAP:
            continue
        for region in measure.regionprops(measure.label(inside_HW, connectivity=1)):
            top, left, bottom, right = region.bbox
            compact = region.area >= 80 and region.solidity >= 0.7 and region.axis_minor_length >= 6
            if not compact or region.centroid[1] < 60 or top == middle:
                continue
            split = "train" if near else "test"
            for share in (1.6, 2.2, 3.0):
                side = int(np.clip(share * max(bottom - top, right - left), 32, 96))
                window = _window(t1[:, place], _of(region, inside_HW.shape), region.centroid, side, random)
                found.append(
                    Picture(structure="ventricle", split=split, image_HW=window[0], truth_HW=window[1])
                )
    return tuple(found)


def _cell() -> tuple[Picture, ...]:
    """The largest part above Otsu's threshold after a blur of 2 pixels, holes filled."""
    image_HW = _shipped("cell.png")
    above_HW = filters.gaussian(image_HW, 2) > filters.threshold_otsu(image_HW)
    labels_HW = measure.label(ndimage.binary_fill_holes(above_HW))
    largest = max(measure.regionprops(labels_HW), key=lambda region: region.area)
    return _views("cell", image_HW, labels_HW == largest.label)


def _disc() -> tuple[Picture, ...]:
    """The ellipse with the moments of the largest part above Otsu's threshold of the green channel, its vessels closed over, near the disc."""
    colours_HWC = _shipped("retina.jpg")[300:1000, :700]
    closed_HW = ndimage.gaussian_filter(ndimage.grey_closing(colours_HWC[..., 1], size=(41, 41)), 5)
    near = (slice(150, 600), slice(30, 480))
    height, width = len(closed_HW), len(closed_HW[0])
    above_HW = np.zeros((height, width), dtype=np.bool_)
    above_HW[near] = closed_HW[near] > filters.threshold_otsu(closed_HW[near])
    part = max(measure.regionprops(measure.label(above_HW)), key=lambda region: region.area)
    y_HW, x_HW = np.mgrid[:height, :width]
    down, across = y_HW - part.centroid[0], x_HW - part.centroid[1]
    sine, cosine = np.sin(part.orientation), np.cos(part.orientation)
    along = (down * cosine + across * sine) / (part.axis_major_length / 2)
    beside = (across * cosine - down * sine) / (part.axis_minor_length / 2)
    return _views("disc", color.rgb2gray(colours_HWC / 255), along**2 + beside**2 <= 1)


def _gland() -> tuple[Picture, ...]:
    """The small gland: its part above Otsu's threshold of the brown stain (Ruifrok and Johnston's separation), blurred by 4 pixels, holes filled."""
    colours_HWC = _shipped("ihc.png")[..., :3].astype(np.uint8)
    stain_HW = ndimage.gaussian_filter(color.rgb2hed(colours_HWC)[..., 2], 4)
    labels_HW = measure.label(ndimage.binary_fill_holes(stain_HW > filters.threshold_otsu(stain_HW)))
    return _views("gland", color.rgb2gray(colours_HWC), labels_HW == labels_HW[407, 318])


def _canal() -> tuple[Picture, ...]:
    """The hole in the bone: stored values above 1150 after a blur of 0.7 pixels, closed by 2 pixels, wall it in."""
    path = _folder("pydicom") / "data" / "test_files" / "CT_small.dcm"
    image_HW = np.asarray(pydicom.dcmread(path).pixel_array, dtype=np.float64)
    wall_HW = morphology.closing(ndimage.gaussian_filter(image_HW, 0.7) > 1150, morphology.disk(2))
    labels_HW = measure.label(~wall_HW, connectivity=1)
    return _views("canal", image_HW, labels_HW == labels_HW[52, 60])


STRUCTURES: Mapping[str, tuple[bool, Callable[[], tuple[Picture, ...]]]] = {
    "nucleus": (True, _nuclei),
    "ventricle": (False, _ventricles),
    "cell": (True, _cell),
    "disc": (True, _disc),
    "gland": (False, _gland),
    "canal": (False, _canal),
}
"""Whether a structure is brighter than what is around it, and who reads its pictures. The order numbers the pictures: add at the end."""


@cache
def _pictures(structure: str) -> tuple[Picture, ...]:
    return STRUCTURES[structure][1]()


def _folder(package: str) -> Path:
    """Return where a package lies, without importing it: only its data is wanted."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return Path(found.origin).parent


def _shipped(name: str) -> Image:
    return np.asarray(io.imread(_folder("skimage") / "data" / name), dtype=np.float64)


def _of(region: measure._regionprops.RegionProperties, shape: tuple[int, ...]) -> Mask:
    mask_HW = np.zeros(shape, dtype=np.bool_)
    mask_HW[region.coords[:, 0], region.coords[:, 1]] = True
    return mask_HW


def _off_centre(truth_HW: Mask) -> float:
    return float(np.abs(np.argwhere(truth_HW).mean(axis=0) / SIDE - 0.5).max())


def _views(structure: str, image_HW: Image, truth_HW: Mask) -> tuple[Picture, ...]:
    """Return twelve windows around a single structure: three sizes, four places each. All belong to the test split."""
    (region,) = measure.regionprops(truth_HW.astype(np.int64))
    top, left, bottom, right = region.bbox
    random = Random(structure)
    found = []
    for share in (1.6, 2.2, 3.0):
        side = min(int(share * max(bottom - top, right - left)), *image_HW.shape)
        for _ in range(4):
            window = _window(image_HW, truth_HW, region.centroid, side, random)
            found.append(Picture(structure=structure, split="test", image_HW=window[0], truth_HW=window[1]))
    return tuple(found)


def _window(
    image_HW: NDArray[np.generic], truth_HW: Mask, centre: tuple[float, float], side: int, random: Random
) -> tuple[Image, Mask]:
    """Return a square window near ``centre``, off by up to a sixth of its side, at ``SIDE`` pixels a side, 1st to 99th percentile stretched to [0, 1]."""
    most = side // 6
    starts = [
        int(np.clip(round(middle + random.randint(-most, most) - side / 2), 0, size - side))
        for middle, size in zip(centre, truth_HW.shape, strict=True)
    ]
    cut = tuple(slice(start, start + side) for start in starts)
    image, truth = (
        transform.resize(array[cut].astype(np.float64), (SIDE, SIDE), order=1, anti_aliasing=True)
        for array in (image_HW, truth_HW)
    )
    low, high = np.percentile(image, [1, 99])
    return np.clip((image - low) / (high - low), 0.0, 1.0), truth > 0.5
