"""A stream of real images whose quality drifts: name the digit on each of them.

The images are the scanned handwritten digits that scikit-learn ships (UCI Optical Recognition of Handwritten Digits, Alpaydin and
Kaynak 1998; 1,797 of 8 x 8 pixels); scikit-image corrupts them. Severity is 0 for the first third of the stream, rises to ``peak``,
stays there for a while and falls back to 0. Four disjoint pools: the images of ``train`` streams, those of ``test`` streams, and images for
fitting a model and for calibrating it (``pool``).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache, lru_cache
from random import Random
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from skimage import exposure, filters, transform, util
from sklearn.datasets import load_digits

from everystep.core.errors import ConfigError, DataError, did_you_mean
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import (
    ExactEnvironment,
    Outcome,
    check_range,
    make_task,
    refused,
    split_seed,
)

Array = NDArray[np.float64]

SIDE = 8
"""Pixels of a side."""
LABELS = tuple("0123456789")
KINDS = ("noise", "pepper", "blur", "contrast", "gamma", "rotation")
"""Ways to corrupt an image."""
_COURSE = (
    (0.0, 0.0),
    (0.33, 0.0),
    (0.6, 1.0),
    (0.75, 1.0),
    (1.0, 0.0),
)  # place in the stream, share of the peak


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Images of one purpose: ``image_NHW`` in [0, 1], their labels, 0 to 9."""

    image_NHW: Array
    label_N: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class State:
    """Where the stream stands: whose it is, the image that is shown, how many were named right."""

    split: str
    seed: int
    place: int = 0
    right: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageStream:
    """Options: the ``kind`` of corruption, its ``peak`` severity (0 for none at all, up to 5), the ``length`` of a stream, and the
    share of images that must be named right (``needed``).
    """

    kind: str = "rotation"
    peak: float = 5.0
    length: int = 240
    needed: float = 0.95

    name: ClassVar[str] = "image_stream"
    summary: ClassVar[str] = "name the digits in a stream of real scans whose quality drifts"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"image_stream: unknown kind {self.kind!r}. {did_you_mean(self.kind, KINDS)}")
        check_range(self.name, "peak", self.peak, 0, 5)
        check_range(self.name, "length", self.length, 1, 300)
        check_range(self.name, "needed", self.needed, 0, 1)

    @property
    def max_steps(self) -> int:
        """The step limit of an episode: twice its images, for answers that are none."""
        return 2 * self.length

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int | None:  # noqa: ARG002
        """Return ``None``: streams are made from their index, without end."""
        return None

    def task(self, split: str, index: int) -> Task:
        """Return stream ``index`` of ``split``."""
        seed = split_seed(split, index, str)
        goal = f"Each picture shows a digit as {SIDE} rows of {SIDE} brightness values, 00 to ff. Answer with the digit."
        tags = {"kind": self.kind if self.peak else "none"}
        return make_task(self, split=split, index=index, seed=seed, instruction=goal, tags=tags)

    def start(self, task: Task) -> State:
        return State(task.split, task.seed)

    def observe(self, state: State, note: str = "") -> Observation:
        """Show the present image."""
        anchor = f"{state.place} {state.right}"
        if state.place == self.length:
            return Observation(text=note or "the stream is over", anchor=anchor, admissible=())
        text = shown(self.image(state.split, state.seed, state.place)[0])
        return Observation(text=f"{note}\n{text}" if note else text, anchor=anchor, admissible=LABELS)

    def parse(self, text: str) -> Action:
        label = text.strip()
        if label in LABELS:
            return Action(text=label)
        return Action(text=text, valid=False, reason="expected one digit")

    def advance(self, state: State, action: Action) -> Outcome[State]:
        if not action.valid or action.text not in LABELS:
            return refused(state, action.reason or "expected one digit", {"right": 0.0})
        right = action.text == self.oracle(state)
        after = State(state.split, state.seed, state.place + 1, state.right + right)
        over = after.place == self.length
        success = after.right >= self.needed * self.length if over else None
        scores = {"right": float(right)}
        return Outcome(state=after, reward=right / self.length, over=over, success=success, scores=scores)

    def oracle(self, state: State) -> str:
        return str(self.image(state.split, state.seed, state.place)[1])

    def severity(self, place: int) -> float:
        """Return the severity of the image at a place of the stream, 0 to ``peak``."""
        places, shares = zip(*_COURSE, strict=True)
        return self.peak * float(np.interp(place / self.length, places, shares))

    def image(self, split: str, seed: int, place: int) -> tuple[Array, int]:
        """Return one image of a stream, corrupted, and its label."""
        images = pool(split)
        which = _order(split, seed)[place]
        random = np.random.default_rng((seed, place))
        clean = images.image_NHW[which]
        return corrupted(clean, self.kind, self.severity(place), random), int(images.label_N[which])


@lru_cache(maxsize=64)
def _order(split: str, seed: int) -> tuple[int, ...]:
    numbers = list(range(len(pool(split).label_N)))
    Random(seed).shuffle(numbers)
    return tuple(numbers)


@cache
def pool(purpose: str) -> Pool:
    """Return the images of ``train`` or ``test`` streams, or those for ``fit`` or ``held`` (calibration); no image is in two.

    >>> [len(pool(purpose).label_N) for purpose in ("fit", "held", "train", "test")]
    [720, 372, 347, 358]
    """
    data: Any = load_digits()
    parts = {"test": (0,), "train": (1,), "held": (2,), "fit": (3, 4)}
    if purpose not in parts:
        raise ConfigError(f"there are no images for {purpose!r}. {did_you_mean(purpose, parts)}")
    part_N = np.array([zlib.crc32(one.astype(np.uint8).tobytes()) % 5 for one in data.images])
    mine = np.isin(part_N, parts[purpose])
    return Pool(image_NHW=data.images[mine] / 16.0, label_N=data.target[mine].astype(np.int64))


def corrupted(image_HW: Array, kind: str, severity: float, random: np.random.Generator) -> Array:
    """Return an image with values in [0, 1] after one corruption of scikit-image at ``severity`` (0: as it was, to 5).

    >>> corrupted(np.full((8, 8), 0.5), "contrast", 5.0, np.random.default_rng(0)).max().round(3)
    np.float64(0.025)
    """
    if severity <= 0:
        return image_HW
    if kind == "noise":
        made = util.random_noise(image_HW, mode="gaussian", var=(0.1 * severity) ** 2, rng=random)
    elif kind == "pepper":
        made = util.random_noise(image_HW, mode="s&p", amount=0.07 * severity, rng=random)
    elif kind == "blur":
        made = filters.gaussian(image_HW, sigma=0.3 * severity)
    elif kind == "contrast":
        top = 1 - 0.19 * severity
        made = exposure.rescale_intensity(image_HW, in_range=(0.0, 1.0), out_range=(0.0, top))
    elif kind == "gamma":
        made = exposure.adjust_gamma(image_HW, 1 + 0.5 * severity)
    else:
        made = transform.rotate(image_HW, 12 * severity)
    result: Array = np.clip(np.asarray(made, dtype=float), 0.0, 1.0)
    return result


def shown(image_HW: Array) -> str:
    """Return an image as rows of hexadecimal brightness values."""
    return "\n".join(" ".join(f"{round(255 * value):02x}" for value in row) for row in image_HW.tolist())


def read_image(text: str) -> Array:
    """Return the pixels, in [0, 1], of the image that stands in the last lines of ``text``.

    >>> read_image("Look:" + (chr(10) + " ".join(["ff"] * 8)) * 8).sum()
    np.float64(64.0)
    """
    rows = [line.split() for line in text.splitlines()[-SIDE:]]
    if [len(row) for row in rows] != [SIDE] * SIDE:
        raise DataError(f"no image of {SIDE} rows of {SIDE} values stands at the end of {text[-80:]!r}.")
    try:
        values = [[int(value, 16) for value in row] for row in rows]
    except ValueError as error:
        raise DataError(f"the image has a value that is no hexadecimal number: {error}.") from None
    return np.asarray(values, dtype=float) / 255
