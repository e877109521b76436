"""RefineMask: outline a structure on a real medical image by boxes and clicks that a real interactive segmenter turns into a mask.

One call a turn, five turns at most: ``add_bbox`` (four numbers from 0 to 999: left, top, right, bottom), ``add_point`` (two numbers, then
``positive`` or ``negative``), ``stop_action``. Text without a call, or with an unknown tool, ends the episode. Images and truth: see ``refinemask_images``;
the tool: see ``segmenters``. The session of an episode is its prompts, an immutable value, so sessions share nothing and are saved with the state.

A model that reads text sees a grid of cells, each with its brightness (its darkness, where a dark object is asked for) and how much of it the mask
covers; never the truth. ``view`` draws the picture for one that sees. The reward of a step is how much the quality, (IoU + Dice) / 2, has changed: an episode's sum is its final quality, wherever it ends.
Scores of a step are ``iou`` and ``dice`` after it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.records import Action, Observation, Task, ToolCall
from everystep.environments.exact import (
    ExactEnvironment,
    Outcome,
    check_place,
    check_range,
    make_task,
    refused,
)
from everystep.environments.images.refinemask_images import SIDE, STRUCTURES, numbers, overlay, picture
from everystep.environments.images.segmenters import SEGMENTERS, Mask, Prompts

TURNS = 5
"""Turns of an episode, the stop among them."""
GRID = 6
"""Cells of a side of the grid that is shown, and that admissible boxes and clicks lie on."""
BOX, POINT, STOP = "add_bbox", "add_point", "stop_action"
SIGNS = {"positive": True, "negative": False}
_SCALE = 1000
_LEVELS = "abcd"
_COVER = 3
_GAIN = 0.01  # a further turn has to be worth this much IoU to the oracle
_EXPECTED = f"expected {BOX} X1 Y1 X2 Y2, {POINT} X Y positive or negative, or {STOP}"
_TOOL = re.compile(r"\s*([a-z_]{1,20})(?:\s+(\S.{0,80}?))?\s*", re.ASCII)
_NUMBER = re.compile(r"\d{1,3}", re.ASCII)


@dataclass(frozen=True, slots=True)
class State:
    """A session with the segmenter: whose picture, the box and the clicks (x, y, positive), all in thousandths of the picture, and the turns used."""

    number: int
    box: tuple[int, int, int, int] | None = None
    points: tuple[tuple[int, int, bool], ...] = ()
    turns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineMask:
    """Options. ``structures`` names them, comma-separated, of ``nucleus``, ``ventricle``, ``cell``, ``disc``, ``gland`` and ``canal``; the last four have
    test pictures only. ``segmenter`` is the tool, of ``segmenters.SEGMENTERS``. An episode that is stopped with an IoU of ``needed`` or more counts as
    success. ``rules`` tells the tools and the meaning of the grid in every instruction; a small model that has learned them needs no telling.
    """

    structures: str = "nucleus,ventricle"
    segmenter: str = "random_walker"
    needed: float = 0.6
    rules: bool = True

    name: ClassVar[str] = "refinemask"
    summary: ClassVar[str] = "outline a structure on real medical images with an interactive segmenter"
    max_steps: ClassVar[int] = TURNS

    def __post_init__(self) -> None:
        check_range(self.name, "needed", self.needed, 0.0, 1.0)
        for structure in self._structures:
            if structure not in STRUCTURES:
                hint = did_you_mean(structure, STRUCTURES)
                raise ConfigError(f"refinemask: there is no structure {structure!r}. {hint}")
        if len(set(self._structures)) != len(self._structures):
            raise ConfigError(f"refinemask: structures is {self.structures!r}; name each once.")
        SEGMENTERS[self.segmenter]

    @property
    def _structures(self) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.structures.split(","))

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int | None:
        """Return the number of pictures of a split; each comes in eight rotations, the first time round in one of them."""
        check_place(split, 0)
        return len(numbers(self._structures, split))

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``. Train and test pictures share no pixel."""
        check_place(split, index, self.size(split))
        number = numbers(self._structures, split)[index]
        structure = picture(number).structure
        goal = f"outline the {'bright' if STRUCTURES[structure][0] else 'dark'} object in the middle ."
        if self.rules:
            goal += (
                f" cells : {'bright' if STRUCTURES[structure][0] else 'dark'}ness a to d , mask 0 to {_COVER} . tools : {BOX} X1 Y1 X2 Y2 , {POINT} X Y positive , "
                f"{POINT} X Y negative , {STOP} . numbers 0 to 999 , {TURNS} turns ."
            )
        return make_task(
            self, split=split, index=index, seed=number, instruction=goal, tags={"structure": structure}
        )

    def start(self, task: Task) -> State:
        """Return an empty session on the picture of ``task``."""
        picture(task.seed)
        return State(task.seed)

    def observe(self, state: State, note: str = "") -> Observation:
        """Show the grid. ``info`` names the picture, for a model that sees: ``everystep.environments.images.refinemask.view``."""
        rows = _shown(state.number, self.mask(state).tobytes())
        return Observation(
            text=f"{note}\n{rows}" if note else rows,
            anchor=_anchor(state),
            admissible=ACTIONS,
            info={"picture": state.number, "side": SIDE},
        )

    def parse(self, text: str) -> Action:
        """Read one call. What is no call of a known tool ends the episode; a call with wrong arguments is refused."""
        found = _TOOL.fullmatch(text)
        if found is None or found[1] not in (BOX, POINT, STOP):
            return Action(text=text, valid=False, reason=_EXPECTED)
        call = _read(found[1], (found[2] or "").split())
        if isinstance(call, str):
            return Action(text=text, calls=(ToolCall(name=found[1]),), valid=False, reason=call)
        return Action(text=text, calls=(call,))

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """Give the call to the segmenter."""
        before = self.quality(state)
        scores = {"iou": before[0], "dice": before[1]}
        # Parsed again: what is executed is the text, whatever calls somebody attached to it.
        read = self.parse(action.text)
        if not read.calls:
            reason = action.reason or read.reason or _EXPECTED
            return Outcome(state=state, over=True, success=False, scores=scores, reason=reason)
        if not action.valid or not read.valid:
            return refused(
                replace(state, turns=state.turns + 1), action.reason or read.reason or _EXPECTED, scores
            )
        if read.calls[0].name == STOP:
            return Outcome(state=state, over=True, success=before[0] >= self.needed, scores=scores)
        after = _prompted(state, read.text.split())
        iou, dice = self.quality(after)
        reward = (iou + dice - sum(before)) / 2
        return Outcome(state=after, reward=reward, scores={"iou": iou, "dice": dice})

    def oracle(self, state: State) -> str:
        """Return the next call of an annotator who knows the truth and has tried each call before ("hybrid prompting").

        Two ways are looked at: the tightest box and then clicks, or clicks alone; a click goes to the cell that lies deepest in an error. The
        better way is taken as far as its best mask; a further turn must be worth 0.01 IoU.
        """
        truth_HW = picture(state.number).truth_HW
        plans = [self._clicked(state, [])]
        if state.box is None and state.turns < TURNS - 1:
            box = _tightest(truth_HW)
            plans.append(self._clicked(_prompted(state, box.split()), [box]))
        iou, calls = max(plans, key=lambda plan: plan[0] - _GAIN * len(plan[1]))
        now = self.quality(state)[0]
        return calls[0] if calls and iou > now + _GAIN * len(calls) else STOP

    def mask(self, state: State) -> Mask:
        """Return the mask of a session, ``[SIDE, SIDE]``."""
        return _mask(self.segmenter, state.number, state.box, state.points)

    def quality(self, state: State) -> tuple[float, float]:
        """Return IoU and Dice of a session's mask, each in [0, 1]."""
        mask_HW, truth_HW = self.mask(state), picture(state.number).truth_HW
        shared, both = int((mask_HW & truth_HW).sum()), int(mask_HW.sum()) + int(truth_HW.sum())
        return shared / (both - shared), 2 * shared / both

    def _clicked(self, state: State, calls: list[str]) -> tuple[float, list[str]]:
        """Return the best IoU that corrective clicks come to from here, and the calls to there, after those of ``calls``."""
        truth_HW = picture(state.number).truth_HW
        best, best_calls = self.quality(state)[0], list(calls)
        calls = list(calls)
        while state.turns < TURNS - 1:
            click = _corrective(self.mask(state), truth_HW)
            if click is None or click in calls:
                break
            calls.append(click)
            state = _prompted(state, click.split())
            iou = self.quality(state)[0]
            if iou > best + _GAIN * (len(calls) - len(best_calls)):
                best, best_calls = iou, list(calls)
        return best, best_calls


def view(world: RefineMask, state: State) -> NDArray[np.uint8]:
    """Return the picture with the present mask laid over it, ``[SIDE, SIDE, 3]``."""
    return overlay(picture(state.number).image_HW, world.mask(state))


def _written(cell: float) -> int:
    """Return a place on the grid, in cells, as a number from 0 to 999."""
    return min(_SCALE - 1, round(cell / GRID * _SCALE))


_LINES = tuple(_written(line) for line in range(GRID + 1))
_CENTRES = tuple(_written(cell + 0.5) for cell in range(GRID))
ACTIONS: tuple[str, ...] = (
    *(
        f"{BOX} {_LINES[left]} {_LINES[top]} {_LINES[right]} {_LINES[bottom]}"
        for left in range(GRID - 1)
        for top in range(GRID - 1)
        for right in range(left + 2, GRID + 1)
        for bottom in range(top + 2, GRID + 1)
    ),
    *(f"{POINT} {x} {y} {sign}" for x in _CENTRES for y in _CENTRES for sign in SIGNS),
    STOP,
)
"""The calls on the grid, at every turn: boxes of two cells or more a side, the middle of every cell, and the stop. Other numbers may be written too."""


CELLS: tuple[str, ...] = tuple(f"{level}{cover}" for level in _LEVELS for cover in range(_COVER + 1))
"""What a cell of the grid can look like."""


def _read(tool: str, words: list[str]) -> ToolCall | str:
    """Return the call, or what is wrong with its arguments."""
    sign = words.pop() if tool == POINT and words else None
    count = {BOX: 4, POINT: 2, STOP: 0}[tool]
    if len(words) != count or not all(_NUMBER.fullmatch(word) for word in words):
        return f"{tool} takes {count or 'no'} numbers from 0 to {_SCALE - 1}{' and a sign' if tool == POINT else ''}"
    values = [int(word) for word in words]
    if tool == POINT:
        if sign not in SIGNS:
            return f"the sign of a point is {' or '.join(SIGNS)}"
        return ToolCall(name=tool, arguments={"x": values[0], "y": values[1], "sign": sign})
    if tool == BOX:
        left, top, right, bottom = (_line(value) for value in values)
        if left >= right or top >= bottom:
            return "the box is empty: X1 must be less than X2, Y1 less than Y2"
        return ToolCall(name=tool, arguments={"box": [*values]})
    return ToolCall(name=tool)


def _prompted(state: State, words: list[str]) -> State:
    """Return the session after a call that was read. A new box replaces the old one; a click takes the place of one at the same point."""
    if words[0] == BOX:
        left, top, right, bottom = (int(word) for word in words[1:])
        return replace(state, box=(left, top, right, bottom), turns=state.turns + 1)
    x, y, positive = int(words[1]), int(words[2]), SIGNS[words[3]]
    others = tuple(point for point in state.points if point[:2] != (x, y))
    return replace(state, points=(*others, (x, y, positive)), turns=state.turns + 1)


def _line(value: int) -> int:
    """Return the line between pixels, 0 to ``SIDE``, that a number from 0 to 999 stands for."""
    return round(value * SIDE / _SCALE)


def _pixel(value: int) -> int:
    return min(SIDE - 1, value * SIDE // _SCALE)


@lru_cache(maxsize=1 << 17)
def _mask(
    segmenter: str,
    number: int,
    box: tuple[int, int, int, int] | None,
    points: tuple[tuple[int, int, bool], ...],
) -> Mask:
    lines = None if box is None else (_line(box[0]), _line(box[1]), _line(box[2]), _line(box[3]))
    pixels = tuple((_pixel(x), _pixel(y), positive) for x, y, positive in points)
    if lines is None and not any(positive for _, _, positive in points):
        mask_HW = np.zeros((SIDE, SIDE), dtype=np.bool_)
    else:
        mask_HW = SEGMENTERS[segmenter].segment(picture(number).image_HW, Prompts(box=lines, points=pixels))
    mask_HW = mask_HW.copy()  # a segmenter may reuse its buffer; what is kept here must never change
    mask_HW.flags.writeable = False
    return mask_HW


@lru_cache(maxsize=1 << 14)
def _shown(number: int, mask: bytes) -> str:
    """Return a line a row of cells: how much a cell looks like the object, and how much of it the mask covers, in thirds."""
    seen = picture(number)
    light_HW = seen.image_HW if STRUCTURES[seen.structure][0] else 1 - seen.image_HW
    level = np.minimum((_cells(light_HW) * len(_LEVELS)).astype(int), len(_LEVELS) - 1)
    cover = _cells(np.frombuffer(mask, dtype=np.bool_).reshape(SIDE, SIDE))
    return "\n".join(
        " ".join(f"{_LEVELS[one]}{round(_COVER * part)}" for one, part in zip(*row, strict=True))
        for row in zip(level.tolist(), cover.tolist(), strict=True)
    )


def _cells(array_HW: NDArray[np.generic]) -> NDArray[np.float64]:
    size = SIDE // GRID
    return np.asarray(array_HW.astype(np.float64).reshape(GRID, size, GRID, size).mean(axis=(1, 3)))


def _anchor(state: State) -> str:
    key = f"{state.number} {state.box} {sorted(state.points)}"
    return blake2b(key.encode(), digest_size=9).hexdigest()


def _tightest(truth_HW: Mask) -> str:
    """Return the smallest admissible box around the truth."""
    size = SIDE // GRID
    ends = []
    for axis in (1, 0):
        places = np.flatnonzero(truth_HW.any(axis=1 - axis))
        first, last = int(places[0]) // size, int(places[-1]) // size + 1
        if last - first < 2:
            first, last = (first, last + 1) if last < GRID else (first - 1, last)
        ends.append((first, last))
    (left, right), (top, bottom) = ends
    return f"{BOX} {_LINES[left]} {_LINES[top]} {_LINES[right]} {_LINES[bottom]}"


def _corrective(mask_HW: Mask, truth_HW: Mask) -> str | None:
    """Return a click on the cell whose middle lies deepest in an error, ``None`` where no error holds one."""
    best, click = 0.0, None
    for error_HW, sign in ((truth_HW & ~mask_HW, "positive"), (mask_HW & ~truth_HW, "negative")):
        depth_HW = distance_transform_edt(np.pad(error_HW, 1))[1:-1, 1:-1]
        for x in _CENTRES:
            for y in _CENTRES:
                depth = float(depth_HW[_pixel(y), _pixel(x)])
                if depth > best:
                    best, click = depth, f"{POINT} {x} {y} {sign}"
    return click
