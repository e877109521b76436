"""A robot's workbench in text: stations on a floor, things to carry, grasps that slip. Exact, with its luck in the seed.

The robot walks a tick at a time. A grasp needs the robot to be where the thing is, and works better in an aligned pose; what it
carries may fall on the way. The luck of a tick depends on the task's seed and the tick only, so a run repeats to the bit. Ours; the verbs of
subgoals (pick up, place, open, close, turn on, turn off) are those of Agentic Robot's standard action procedure.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

from everystep.core.records import Action, Json, Observation, Task
from everystep.environments.exact import (
    ExactEnvironment,
    Outcome,
    check_range,
    make_task,
    refused,
    split_seed,
)
from everystep.environments.places.workbench_skill import CLOSED, toward

THINGS = ("cup", "bowl", "spoon", "plate", "jar", "book", "lamp", "ball", "box", "brush")
STATIONS = ("table", "shelf", "fridge", "drawer", "sink", "desk")
_STEPS: Mapping[str, tuple[int, int]] = {"north": (0, -1), "south": (0, 1), "west": (-1, 0), "east": (1, 0)}
_ACTION = re.compile(r"(go|grasp|open|close) ([a-z]+)|align|release|wait")


@dataclass(frozen=True, slots=True)
class Bench:
    """``places`` says at which station each thing is, "" while it is held. ``goals`` are (thing, station) in the order asked for."""

    robot: tuple[int, int]
    aligned: bool
    holding: str
    places: tuple[tuple[str, str], ...]
    open: tuple[str, ...]
    stations: tuple[tuple[str, tuple[int, int]], ...]
    goals: tuple[tuple[str, str], ...]
    seed: int
    tick: int = 0

    def station_here(self) -> str:
        """Return the station that the robot stands at, "" for none."""
        return next((name for name, at in self.stations if at == self.robot), "")

    def done(self) -> bool:
        """Whether every thing is where it should be."""
        places = dict(self.places)
        return not self.holding and all(places[thing] == station for thing, station in self.goals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """Options: ``things`` to carry (1 to 8), the ``side`` of the floor, ``slip``: the chance that a grasp in an aligned pose fails (three
    times that when it is not aligned), ``drop``: the chance that a thing falls at a step, ``shut``: fridge and drawer begin closed.
    """

    things: int = 2
    side: int = 4
    slip: float = 0.1
    drop: float = 0.02
    shut: bool = True
    horizon: int = 200

    name: ClassVar[str] = "workbench"
    summary: ClassVar[str] = (
        "a robot carries things between stations; grasps slip, things fall, doors are closed"
    )

    def __post_init__(self) -> None:
        check_range(self.name, "things", self.things, 1, 8)
        check_range(self.name, "side", self.side, 3, 12)
        check_range(self.name, "slip", self.slip, 0.0, 0.33)
        check_range(self.name, "drop", self.drop, 0.0, 0.5)
        check_range(self.name, "horizon", self.horizon, 1, 100_000)

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.horizon

    def make(self) -> ExactEnvironment[Bench]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int | None:  # noqa: ARG002
        """Return ``None``: tasks are made from their index, without end."""
        return None

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``."""
        seed = split_seed(split, index, lambda seed: repr(self._first(seed)))
        goals = self._first(seed).goals
        asked = " , then ".join(f"put the {thing} in the {station}" for thing, station in goals)
        tags = {"things": str(self.things)}
        return make_task(self, split=split, index=index, seed=seed, instruction=f"{asked} .", tags=tags)

    def start(self, task: Task) -> Bench:
        """Return the first state of ``task``."""
        return self._first(task.seed)

    def observe(self, state: Bench, note: str = "") -> Observation:
        """Describe the robot, the stations and what is there; what is in a closed station is not seen."""
        places = dict(state.places)
        parts = []
        for name, at in state.stations:
            shut = name in CLOSED and name not in state.open
            there = [thing for thing, place in places.items() if place == name]
            seen = "closed" if shut else " ".join(there) or "nothing"
            parts.append(f"{name} at {at[0]} {at[1]} : {seen}")
        fallen = [
            f"{thing} on the floor at {place[6:]}"
            for thing, place in places.items()
            if place.startswith("floor ")
        ]
        pose = "aligned" if state.aligned else "not aligned"
        robot = (
            f"you are at {state.robot[0]} {state.robot[1]} , {pose} , holding {state.holding or 'nothing'}"
        )
        text = " . ".join([*([note] if note else []), robot, *parts, *fallen])
        info: dict[str, Json] = {
            "robot": list(state.robot),
            "aligned": state.aligned,
            "holding": state.holding,
            "places": {**places},
            "open": list(state.open),
            "stations": {name: list(at) for name, at in state.stations},
        }
        anchor = repr((state.robot, state.aligned, state.holding, state.places, state.open))
        return Observation(text=text, anchor=anchor, admissible=self._admissible(state), info=info)

    def parse(self, text: str) -> Action:
        """Accept ``go DIRECTION``, ``align``, ``grasp THING``, ``release``, ``open STATION``, ``close STATION`` and ``wait``."""
        if _ACTION.fullmatch(text.strip()):
            return Action(text=text.strip())
        return Action(
            text=text, valid=False, reason="expected: go, align, grasp, release, open, close or wait"
        )

    def advance(self, state: Bench, action: Action) -> Outcome[Bench]:
        """Do one tick. All things in their places end the episode with reward 1."""
        after = replace(state, tick=state.tick + 1)
        if not action.valid:
            return refused(after, action.reason or "not an action of this world")
        verb, _, what = action.text.partition(" ")
        luck = Random(zlib.crc32(f"{state.seed}/{state.tick}".encode())).random()
        if verb == "go":
            return self._go(after, what, luck)
        if verb == "align":
            return Outcome(state=replace(after, aligned=True))
        if verb in ("open", "close"):
            return self._door(after, verb, what)
        if verb == "grasp":
            return self._grasp(after, what, luck)
        return self._release(after) if verb == "release" else Outcome(state=after)

    def oracle(self, state: Bench) -> str:
        """Return a next action that leads to the goal."""
        seen, places, goals = self.observe(state).info, dict(state.places), dict(state.goals)
        if state.holding:
            return toward(seen, f"place {state.holding} in {goals[state.holding]}")
        wrong = next((thing for thing, station in state.goals if places[thing] != station), None)
        return "wait" if wrong is None else toward(seen, f"pick up {wrong}")

    # --- rules ----------------------------------------------------------------------------------

    def _go(self, state: Bench, direction: str, luck: float) -> Outcome[Bench]:
        step = _STEPS.get(direction)
        if step is None:
            return refused(state, f"there is no direction {direction!r}")
        x, y = state.robot[0] + step[0], state.robot[1] + step[1]
        if not (0 <= x < self.side and 0 <= y < self.side):
            return refused(state, "there is a wall")
        after = replace(state, robot=(x, y), aligned=False)
        if state.holding and luck < self.drop:
            return Outcome(
                state=_put(after, state.holding, f"floor {x} {y}"), note=f"the {state.holding} fell"
            )
        return Outcome(state=after)

    def _door(self, state: Bench, verb: str, station: str) -> Outcome[Bench]:
        if station not in CLOSED or state.station_here() != station:
            return refused(state, f"there is no door of {station!r} here")
        others = tuple(one for one in state.open if one != station)
        return Outcome(state=replace(state, open=(*others, station) if verb == "open" else others))

    def _grasp(self, state: Bench, thing: str, luck: float) -> Outcome[Bench]:
        if state.holding:
            return refused(state, f"the hand holds the {state.holding}")
        if thing not in _within(state):
            return refused(state, f"the {thing} is not in reach")
        if luck < (self.slip if state.aligned else 3 * self.slip):
            return Outcome(state=replace(state, aligned=False), note="the grasp slipped")
        return Outcome(state=replace(_put(state, thing, ""), holding=thing))

    def _release(self, state: Bench) -> Outcome[Bench]:
        if not state.holding:
            return refused(state, "the hand is empty")
        station = state.station_here()
        if station in CLOSED and station not in state.open:
            return refused(state, f"the {station} is closed")
        place = station or f"floor {state.robot[0]} {state.robot[1]}"
        after = _put(state, state.holding, place)
        over = after.done()
        return Outcome(state=after, reward=1.0 if over else 0.0, over=over, success=True if over else None)

    def _admissible(self, state: Bench) -> tuple[str, ...]:
        x, y = state.robot
        moves = [
            f"go {name}"
            for name, (dx, dy) in _STEPS.items()
            if 0 <= x + dx < self.side and 0 <= y + dy < self.side
        ]
        if not state.aligned:
            moves.append("align")
        here = state.station_here()
        if here in CLOSED:
            moves.append(f"{'close' if here in state.open else 'open'} {here}")
        if not state.holding:
            moves += [f"grasp {thing}" for thing in _within(state)]
        elif here not in CLOSED or here in state.open:
            moves.append("release")
        return (*moves, "wait")

    def _first(self, seed: int) -> Bench:
        rng = Random(seed)
        cells = rng.sample([(x, y) for x in range(self.side) for y in range(self.side)], len(STATIONS) + 1)
        things = rng.sample(THINGS, self.things)
        places = tuple((thing, rng.choice(STATIONS[:2])) for thing in things)
        goals = tuple((thing, rng.choice(STATIONS[2:])) for thing in things)
        return Bench(
            robot=cells[-1],
            aligned=False,
            holding="",
            places=places,
            open=() if self.shut else CLOSED,
            stations=tuple(zip(STATIONS, cells[:-1], strict=True)),
            goals=goals,
            seed=seed,
        )


def _put(state: Bench, thing: str, place: str) -> Bench:
    places = tuple((name, place if name == thing else at) for name, at in state.places)
    return replace(state, places=places, holding="" if place else state.holding)


def _within(state: Bench) -> list[str]:
    here, floor = state.station_here(), f"floor {state.robot[0]} {state.robot[1]}"
    shut = here in CLOSED and here not in state.open
    return [thing for thing, at in state.places if at == floor or (at == here and here and not shut)]
