"""How to make a thing in the workshop, from what its board shows now: one level, or every act to the end.

This is what a planner has to know of the workshop; the scripted one of ``recipes/deep_agent.py`` answers with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from everystep.core.records import Json

HAND = "hand"


@dataclass(slots=True)
class _Board:
    """The board as a plan changes it in the mind."""

    here: str
    places: dict[str, str]
    jammed: set[str]
    recipes: Mapping[str, list[str]]
    acts: list[str] = field(default_factory=list)

    def go(self, place: str) -> None:
        """Go, where one is not there."""
        if self.here != place:
            self.acts.append(f"go to {place}")
            self.here = place


def parts_of(seen: Mapping[str, Json], thing: str) -> list[str]:
    """Return the parts of a thing that have to be made first."""
    board = _board(seen)
    return [part for part in board.recipes[thing][1:] if part in board.recipes and part not in board.places]


def whole(seen: Mapping[str, Json], goal: str) -> list[str]:
    """Return every act to the goal, ``make X`` or ``assemble X``: parts that are not there yet are made first.

    >>> seen = {"here": "door 1", "places": {"rod 1": "bin 2"}, "jammed": ["saw 1"], "recipes": {"gear 1": ["saw 1", "rod 1"]}}
    >>> whole(seen, "make gear 1")
    ['go to bin 2', 'take rod 1 from bin 2', 'go to saw 1', 'lay rod 1 on saw 1', 'clear saw 1', 'make gear 1 at saw 1']
    """
    board = _board(seen)
    _make(board, goal.partition(" ")[2])
    return board.acts


def _make(board: _Board, thing: str) -> None:
    for part in board.recipes[thing][1:]:
        if part in board.recipes and part not in board.places:
            _make(board, part)
    _assemble(board, thing)


def _assemble(board: _Board, thing: str) -> None:
    station, *parts = board.recipes[thing]
    held = next((one for one, place in board.places.items() if place == HAND), None)
    if held is not None and held not in parts:  # put it down, where one stands or else at the machine
        if board.here.startswith("door"):
            board.go(station)
        board.acts.append(f"lay {held} on {board.here}")
        board.places[held] = board.here
    for part in sorted(parts, key=lambda one: board.places.get(one) != HAND):
        place = board.places.get(part)
        if place == station:
            continue
        if place != HAND and place is not None:
            board.go(place)
            board.acts.append(f"take {part} from {place}")
        board.go(station)
        board.acts.append(f"lay {part} on {station}")
        board.places[part] = station
    board.go(station)
    if station in board.jammed:
        board.acts.append(f"clear {station}")
        board.jammed.discard(station)
    board.acts.append(f"make {thing} at {station}")
    board.places = {one: place for one, place in board.places.items() if one not in parts} | {thing: station}


def _board(seen: Mapping[str, Any]) -> _Board:
    return _Board(seen["here"], dict(seen["places"]), set(seen["jammed"]), seen["recipes"])
