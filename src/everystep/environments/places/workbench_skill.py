"""What a robot does for one subgoal at the workbench: a reactive controller that sees the present and knows no other subgoal.

It stands for a learned action policy: it follows ``pick up X``, ``place X in Y``, ``open Y`` and ``close Y``, and makes errors at a stated rate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from everystep.core.protocols import Generation, Request, Sampling, Situation
from everystep.core.records import Json, Message, Stop

CLOSED = ("fridge", "drawer")
"""Stations with a door."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Percept:
    """The view of a controller: its subgoal and what it sees now, as one JSON object."""

    window: int = 0

    def messages(self, situation: Situation) -> tuple[Message, ...]:
        """Return the prompt of one tick."""
        seen = {"goal": situation.goal, "seen": dict(situation.observation.info)}
        return (Message(role="user", content=json.dumps(seen)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """A sampler that does what its subgoal asks for; with probability ``error`` it takes a step in some direction instead."""

    error: float = 0.0
    policy: str = "controller"

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:  # noqa: ARG002
        """Answer all requests from what they show."""
        return [Generation(text=self._act(request), stop=Stop.STOP) for request in requests]

    def release(self, sessions: Sequence[str]) -> None:
        """Nothing is kept."""

    def _act(self, request: Request) -> str:
        shown = json.loads(request.messages[-1].content)
        rng = Random(request.seed)
        if rng.random() < self.error:
            return f"go {rng.choice(('north', 'south', 'west', 'east'))}"
        return toward(shown["seen"], shown["goal"])


def subgoals(instruction: str, *, doors: bool = True) -> list[str]:
    """Return the plan of a task in the verbs of the standard action procedure.

    >>> subgoals("put the jar in the fridge .")
    ['pick up jar', 'open fridge', 'place jar in fridge']
    """
    found = []
    for part in instruction.removesuffix(" .").split(" , then "):
        thing, station = part.removeprefix("put the ").split(" in the ")
        found += [
            f"pick up {thing}",
            *([f"open {station}"] if doors and station in CLOSED else []),
            f"place {thing} in {station}",
        ]
    return found


def toward(seen: Mapping[str, Json], goal: str) -> str:
    """Return the next action for a subgoal. It looks at nothing but ``Observation.info`` and knows nothing of other subgoals."""
    words = goal.split()
    stations, places = _pairs(seen["stations"]), _texts(seen["places"])
    if words[:2] == ["pick", "up"]:
        place = places.get(words[2], "")
        if not place:
            return "wait"
        target = spot(seen, place)
        if place in CLOSED and _here(seen, target) and place not in _list(seen["open"]):
            return f"open {place}"
        return _walk(seen, target) or ("align" if not seen["aligned"] else f"grasp {words[2]}")
    if words[0] in ("open", "close"):
        return _walk(seen, stations[words[1]]) or f"{words[0]} {words[1]}"
    if words[0] == "place":
        target = stations[words[3]]
        shut = words[3] in CLOSED and words[3] not in _list(seen["open"])
        return _walk(seen, target) or (f"open {words[3]}" if shut else "release")
    return "wait"


def spot(seen: Mapping[str, Json], place: str) -> tuple[int, ...]:
    """Return where a station or a spot on the floor (``floor X Y``) is."""
    return _pairs(seen["stations"]).get(place) or tuple(int(one) for one in place.split()[1:])


def walk(seen: Mapping[str, Json], place: str) -> str:
    """Return the next step on the way to a place, "" when the robot is there."""
    return _walk(seen, spot(seen, place))


def place_of(seen: Mapping[str, Json], thing: str) -> str:
    """Return where a thing is, "" when it is held."""
    return _texts(seen["places"]).get(thing, "")


def reached(seen: Mapping[str, Json], goal: str) -> bool:
    """Say whether a subgoal is reached."""
    words, places = goal.split(), _texts(seen["places"])
    if words[:2] == ["pick", "up"]:
        return seen["holding"] == words[2]
    if words[0] in ("open", "close"):
        return (words[1] in _list(seen["open"])) == (words[0] == "open")
    return words[0] == "place" and places.get(words[1]) == words[3] and seen["holding"] != words[1]


def _walk(seen: Mapping[str, Json], target: tuple[int, ...]) -> str:
    robot = seen["robot"]
    assert isinstance(robot, list)  # noqa: S101 -- ``observe`` wrote it
    x, y = (int(str(one)) for one in robot)
    if x != target[0]:
        return "go east" if x < target[0] else "go west"
    if y != target[1]:
        return "go south" if y < target[1] else "go north"
    return ""


def _here(seen: Mapping[str, Json], target: tuple[int, ...]) -> bool:
    return not _walk(seen, target)


def _list(value: Json) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _texts(value: Json) -> dict[str, str]:
    return {key: str(one) for key, one in value.items()} if isinstance(value, dict) else {}


def _pairs(value: Json) -> dict[str, tuple[int, ...]]:
    if not isinstance(value, dict):
        return {}
    return {key: tuple(int(str(n)) for n in one) for key, one in value.items() if isinstance(one, list)}
