"""Shortest ways to run an errand in a home: exact, because a plan is a choice of things and places and the rest follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations

from everystep.environments.places.homes import FITS, LAMP, TOOLS, Home

HELD = -1
NOWHERE = -1
"""The place of a thing in the hand, and of the agent in the middle of the room."""


@dataclass(frozen=True, slots=True)
class State:
    """A home during an episode. ``places[i]`` is the receptacle of thing ``i`` or ``HELD``, ``here`` where the agent is.

    The rest are masks: ``opened`` and ``seen`` (looked into so far) over receptacles; ``clean``, ``hot``, ``cool`` and ``lit`` over things.
    """

    home: Home
    places: tuple[int, ...]
    here: int = NOWHERE
    opened: int = 0
    clean: int = 0
    hot: int = 0
    cool: int = 0
    lit: int = 0
    seen: int = 0

    @property
    def held(self) -> int | None:
        """The number of the thing in the hand."""
        return self.places.index(HELD) if HELD in self.places else None

    def closed(self, place: int) -> bool:
        """Whether the receptacle is one that can be opened, and closed now."""
        return self.home.openable[place] and not self.opened >> place & 1


def fits(home: Home, thing: int, place: int) -> bool:
    """Say whether the thing may be put into the receptacle. Lamps stay where they are."""
    return home.kinds[place] in FITS.get(home.thing_kinds[thing], ())


def treated(state: State, thing: int) -> bool:
    """Say whether the thing is clean, hot or cool as the errand wants it."""
    masks = {"clean": state.clean, "heat": state.hot, "cool": state.cool}
    return state.home.errand.how not in masks or bool(masks[state.home.errand.how] >> thing & 1)


def done(state: State) -> bool:
    """Say whether the errand is run."""
    home, errand = state.home, state.home.errand
    wanted = [thing for thing, kind in enumerate(home.thing_kinds) if kind == errand.thing]
    if errand.how == "look":
        near = (thing for thing, place in enumerate(state.places) if place == state.here != NOWHERE)
        return state.held in wanted and any(state.lit >> lamp & 1 for lamp in near)
    placed = [
        state.places[thing]
        for thing in wanted
        if state.places[thing] != HELD
        and home.kinds[state.places[thing]] == errand.target
        and treated(state, thing)
    ]
    return len(placed) > len(set(placed)) if errand.how == "two" else bool(placed)


@dataclass(frozen=True, slots=True)
class Walk:
    """The actions so far of a plan that is being made, and the state they lead to."""

    state: State
    actions: tuple[str, ...] = ()

    def then(self, state: State, action: str) -> Walk:
        """Return the walk with one more action."""
        return Walk(state, (*self.actions, action))

    def go(self, place: int, *, inside: bool = True) -> Walk:
        """Go to a receptacle and, to reach ``inside``, open it."""
        walk, name = self, self.state.home.receptacles[place]
        if walk.state.here != place:
            walk = walk.then(replace(walk.state, here=place), f"go to {name}")
        if inside and walk.state.closed(place):
            walk = walk.then(replace(walk.state, opened=walk.state.opened | 1 << place), f"open {name}")
        return walk

    def take(self, thing: int) -> Walk:
        """Fetch a thing with an empty hand."""
        walk = self.go(self.state.places[thing])
        home, place = walk.state.home, walk.state.here
        return walk.then(
            _moved(walk.state, thing, HELD), f"take {home.things[thing]} from {home.receptacles[place]}"
        )

    def put(self, thing: int, place: int) -> Walk:
        """Bring the thing in the hand to a receptacle."""
        walk = self.go(place)
        home = walk.state.home
        return walk.then(
            _moved(walk.state, thing, place), f"move {home.things[thing]} to {home.receptacles[place]}"
        )

    def treat(self, thing: int, place: int) -> Walk:
        """Clean, heat or cool the thing in the hand; an appliance need not be open for that."""
        walk = self.go(place, inside=False)
        home, how = walk.state.home, walk.state.home.errand.how
        return walk.then(
            treat(walk.state, how, thing), f"{how} {home.things[thing]} with {home.receptacles[place]}"
        )


def treat(state: State, how: str, thing: int) -> State:
    """Return the state after the thing was cleaned, heated (it is not cool then) or cooled (not hot)."""
    bit = 1 << thing
    if how == "clean":
        return replace(state, clean=state.clean | bit)
    hot, cool = state.hot & ~bit, state.cool & ~bit
    return replace(state, hot=hot | bit * (how == "heat"), cool=cool | bit * (how == "cool"))


@lru_cache(maxsize=1 << 14)
def plan(state: State, known: frozenset[int] | None = None) -> tuple[str, ...] | None:
    """Return a shortest sequence of actions that runs the errand, ``None`` if the things in ``known`` (by default all) do not suffice."""
    if done(state):
        return ()
    home, errand = state.home, state.home.errand
    things = [thing for thing in range(len(home.things)) if known is None or thing in known]
    wanted = [thing for thing in things if home.thing_kinds[thing] == errand.thing]
    if errand.how == "look":
        lamps = [thing for thing in things if home.thing_kinds[thing] == LAMP]
        walks = (_light(walk, lamp) for lamp in lamps for thing in wanted for walk in _fetch(state, thing))
    else:
        goals = [place for place, kind in enumerate(home.kinds) if kind == errand.target]
        walks = (walk for goal in goals for walk in _deliveries(state, wanted, goal))
    return min((walk.actions for walk in walks), key=len, default=None)


def _deliveries(state: State, wanted: Sequence[int], goal: int) -> Iterator[Walk]:
    if state.home.errand.how != "two":
        for thing in wanted:
            yield from _deliver(Walk(state), thing, goal)
        return
    missing = [thing for thing in wanted if state.places[thing] != goal]
    if len(missing) < len(wanted):
        for thing in missing:
            yield from _deliver(Walk(state), thing, goal)
        return
    for first, second in permutations(wanted, 2):
        for walk in _deliver(Walk(state), first, goal):
            yield from _deliver(walk, second, goal)


def _deliver(walk: Walk, thing: int, goal: int) -> Iterator[Walk]:
    home, tool = walk.state.home, TOOLS.get(walk.state.home.errand.how)
    for fetched in _fetch(walk.state, thing):
        held = Walk(fetched.state, walk.actions + fetched.actions)
        if treated(held.state, thing):
            yield held.put(thing, goal)
            continue
        for place, kind in enumerate(home.kinds):
            if kind == tool:
                yield held.treat(thing, place).put(thing, goal)


def _fetch(state: State, thing: int) -> Iterator[Walk]:
    """Yield the ways to have the thing in the hand: another one in it must be put down first, anywhere it fits."""
    held = state.held
    if held is None or held == thing:
        yield Walk(state) if held == thing else Walk(state).take(thing)
        return
    for place in range(len(state.home.receptacles)):
        if fits(state.home, held, place):
            yield Walk(state).put(held, place).take(thing)


def _light(walk: Walk, lamp: int) -> Walk:
    state = walk.state
    walk = walk.go(state.places[lamp])
    if state.lit >> lamp & 1:
        return walk
    return walk.then(replace(walk.state, lit=state.lit | 1 << lamp), f"use {state.home.things[lamp]}")


def _moved(state: State, thing: int, place: int) -> State:
    return replace(state, places=(*state.places[:thing], place, *state.places[thing + 1 :]))
