"""AndroidControl: what people did next on their phones, step by step (Li et al. 2024, arXiv 2406.03679), as UI-S1 publishes it with its check of each step.

1,543 episodes of 8,444 steps: the goal, the action of each step in pixels, what it was for in words, and boxes of what could be met. **The screenshots are not there**, so an agent is told the goal, the screen's size and what
was done so far: it can know what kind of action comes and what is typed or opened, but finds a point by luck only. The size is that of the episode's own swipes, which are written for it; without one it is 1080 by 2400, or 1440 by
3120 where a point or a box lies outside. Thirteen episodes are packaged (``data=sample``); the others are read from ``EVERYSTEP_DATA``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from everystep.core.errors import ConfigError, DataError, WorldError, did_you_mean
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import (
    ExactEnvironment,
    Outcome,
    check_place,
    check_range,
    make_task,
    split_of,
)
from everystep.environments.phone.android_acts import (
    POINTED,
    Act,
    Gold,
    command_of,
    matched,
    read_act,
    write_act,
)
from everystep.environments.phone.strokes import Box, Point
from everystep.environments.published import SAMPLES, find_file, read_text

FOLDER, FILE = "android_control", "android_control_evaluation_std.jsonl"
SOURCE = "https://github.com/X-PLUG/MobileAgent (MIT), UI-S1/evaluation/dataset; AndroidControl itself is Apache-2.0"
SIZES = ((1080, 2400), (1440, 3120))
ASKED, DATA = ("step", "episode"), ("published", "sample")
_SAMPLE = "android_control_sample.jsonl"
WRONG, RIGHT = "wrong", "right"
_MOST_STEPS = 64
_ASK = """You operate an Android phone for somebody. You are told the goal, the size of the screen in pixels and the actions so far; say the next action, as one JSON object:
{"action": "click", "coordinate": [x, y]} | {"action": "long_press", "coordinate": [x, y]} | {"action": "swipe", "direction": "down"} (the way that the page goes on: up, down, left, right) | {"action": "type", "text": "..."} | {"action": "open", "text": "APP"} | {"action": "wait"} | {"action": "system_button", "button": "Back"}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldStep:
    """One step: what was done and counts as right, and what it was for in a person's words."""

    gold: Gold
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """One episode: its goal, the screen's width and height in pixels, and its steps."""

    id: str
    goal: str
    size: tuple[int, int]
    steps: tuple[GoldStep, ...]

    @property
    def commands(self) -> tuple[str, ...]:
        """What was done, as short commands in small letters."""
        return tuple(command_of(step.gold.act).lower() for step in self.steps)


@dataclass(frozen=True, slots=True)
class State:
    """An episode by its number, the step that comes next, and how many answers so far were right."""

    number: int
    place: int
    right: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AndroidControl:
    """Options: ``data`` is ``published`` or ``sample``; ``ask`` for one ``step`` behind the gold ones before it, or for an ``episode`` that goes on while the answers are right; so many actions of ``history`` are shown; ``words`` tells what the step is for."""

    data: str = "published"
    ask: str = "step"
    history: int = 8
    words: bool = False

    name: ClassVar[str] = "android_control"
    summary: ClassVar[str] = (
        "the next action on a phone, from the goal and the actions so far (AndroidControl)"
    )

    def __post_init__(self) -> None:
        for option, value, known in (("ask", self.ask, ASKED), ("data", self.data, DATA)):
            if value not in known:
                raise ConfigError(f"android_control: {option} is {value!r}. {did_you_mean(value, known)}")
        check_range(self.name, "history", self.history, 0, _MOST_STEPS)

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return 1 if self.ask == "step" else _MOST_STEPS

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int:
        """Return the number of steps or episodes of a split; an episode belongs to one by its id."""
        check_place(split, 0)
        return len(_places(self.data, self.ask, split))

    def task(self, split: str, index: int) -> Task:
        """Return step or episode ``index``; the reference is the gold action, or those of the episode."""
        check_place(split, index, self.size(split))
        number, place = _places(self.data, self.ask, split)[index]
        walk = walks(self.data)[number]
        length = len(walk.steps)
        gold = walk.steps[place].gold.act
        mine = walk.steps[place : place + 1] if self.ask == "step" else walk.steps
        tags = {"length": str(length), "episode": walk.id}
        if self.ask == "step":
            tags |= {"kind": gold.kind, "step": str(place + 1)}
        return make_task(
            self, split=split, index=index, seed=number * _MOST_STEPS + place, instruction=_ASK,
            reference=[write_act(step.gold.act, walk.size) for step in mine], tags=tags,
        )  # fmt: skip

    def start(self, task: Task) -> State:
        """Return the step that ``task`` asks for."""
        number, place = divmod(task.seed, _MOST_STEPS)
        if not (0 <= number < len(walks(self.data)) and place < len(walks(self.data)[number].steps)):
            raise WorldError(f"task {task.id!r} names step {place} of episode {number}, which is not there.")
        return State(number, place)

    def observe(self, state: State, note: str = "") -> Observation:
        """Show the goal, the screen's size and the last actions."""
        walk = walks(self.data)[state.number]
        place = min(state.place, len(walk.steps) - 1)
        done = [write_act(step.gold.act, walk.size) for step in walk.steps[:place]]
        lines = [note] if note else []
        lines += [f"Goal: {walk.goal}", f"Screen: {walk.size[0]} x {walk.size[1]}"]
        if self.history:
            lines += ["Actions so far:", *(done[-self.history :] or ["none"])]
        if self.words:
            lines.append(f"Now: {walk.steps[place].words}")
        return Observation(text="\n".join(lines), anchor=f"{walk.id} {state.place}")

    def parse(self, text: str) -> Action:
        """Accept whatever holds one action; where a point lies on a screen is known when it is compared."""
        read = read_act(text, SIZES[0])
        return Action(text=text, valid=False, reason=read) if isinstance(read, str) else Action(text=text)

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """Compare an answer with the gold step. What cannot be read is wrong; a wrong answer ends an episode."""
        walk = walks(self.data)[state.number]
        read = read_act(action.text, walk.size)
        act = None if isinstance(read, str) else read
        match = matched(act, walk.steps[state.place].gold)
        after = State(state.number, state.place + 1, state.right + match.action)
        over = self.ask == "step" or not match.action or after.place == len(walk.steps)
        length = len(walk.steps)
        return Outcome(
            state=after, reward=float(match.action), over=over,
            success=(match.action if self.ask == "step" else after.right == length) if over else None,
            scores={"kind": float(match.kind), "action": float(match.action), "exact": float(match.exact), "progress": after.right / length},
            note=RIGHT if match.action else WRONG, reason=read if isinstance(read, str) else None,
        )  # fmt: skip

    def oracle(self, state: State) -> str:
        """Return the gold action."""
        walk = walks(self.data)[state.number]
        return write_act(walk.steps[min(state.place, len(walk.steps) - 1)].gold.act, walk.size)


def walks(data: str = "published") -> tuple[Walk, ...]:
    """Return the episodes of the file (or the packaged ``sample``), in order. ``ConfigError`` says where it comes from, ``DataError`` which line is of another form."""
    return _walks(SAMPLES / _SAMPLE if data == "sample" else find_file(FOLDER, FILE, SOURCE))


@lru_cache(maxsize=2)
def _walks(path: Path) -> tuple[Walk, ...]:
    found = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            try:
                found.append(walk_of(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise DataError(
                    f"line {number} of {str(path)!r} is no episode of AndroidControl: {error!r}. Get it from {SOURCE}."
                ) from None
    return tuple(found)


def walk_of(record: Mapping[str, Any]) -> Walk:
    """Read one record of the file."""
    steps = record["steps"]
    if not 1 <= len(steps) <= _MOST_STEPS:
        raise ValueError(f"{len(steps)} steps, expected 1 to {_MOST_STEPS}")
    size = _size(steps)
    return Walk(
        id=str(record["episode_id"]), goal=str(record["goal"]), size=size,
        steps=tuple(GoldStep(gold=_gold(one["check_options"], size), words=str(one["step_instruction"])) for one in steps),
    )  # fmt: skip


def _gold(told: Mapping[str, Any], size: tuple[int, int]) -> Gold:
    boxes = tuple(_box(one, size) for one in told.get("candidate_bbox", ()))
    point: Point | None = None
    if told["action"] in POINTED:
        x, y = told["coordinate"]
        point = x / size[0], y / size[1]
    text = told.get("text", told.get("button", ""))
    return Gold(act=Act(kind=told["action"], point=point, way=told.get("direction", ""), text=text), boxes=boxes)  # fmt: skip


def _box(told: Sequence[float], size: tuple[int, int]) -> Box:
    left, top, right, bottom = told
    return left / size[0], top / size[1], right / size[0], bottom / size[1]


def _size(steps: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Return the screen's width and height. Swipes are written from a quarter to three quarters of one side, in the middle of the other."""
    most = [0.0, 0.0]
    for step in steps:
        done, check = step["action_content"], step["check_options"]
        if done["action"] == "swipe":
            (x, y), (other_x, other_y) = done["coordinate"], done["coordinate2"]
            wide = 2 * x if x == other_x else max(x, other_x) * 4 / 3
            high = max(y, other_y) * 4 / 3 if x == other_x else 2 * y
            return round(wide), round(high)
        spots = [check["coordinate"]] if "coordinate" in check else []
        for x, y in (*spots, *(box[2:] for box in check.get("candidate_bbox", ()))):
            most = [max(most[0], x), max(most[1], y)]
    return next((one for one in SIZES if most[0] <= one[0] and most[1] <= one[1]), SIZES[-1])


@lru_cache(maxsize=8)
def _places(data: str, ask: str, split: str) -> tuple[tuple[int, int], ...]:
    """Return the episodes of a split with the place of the step that is asked for."""
    mine = [number for number, walk in enumerate(walks(data)) if split_of(walk.id) == split]
    if ask == "episode":
        return tuple((number, 0) for number in mine)
    return tuple((number, place) for number in mine for place in range(len(walks(data)[number].steps)))
