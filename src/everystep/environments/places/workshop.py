"""A workshop in text: things are made of parts, in several levels, while somebody moves parts and machines jam.

What is made of what, where everything lies and what is jammed can be seen on a board at any time. Not on it: some machines want oil before they
make a certain thing; one learns that by trying. What changes at a step depends on the task's seed and the step only. Ours, after the test that the
Deep Agent paper suggests: task graphs whose preconditions show at run time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
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
from everystep.environments.places.workshop_plan import whole

HAND, NOT_MADE, USED = "hand", "", "used"
STATIONS = ("saw 1", "press 1", "oven 1", "lathe 1")
_RAW = ("rod", "bolt", "plank", "plate", "wire", "pipe")
_MADE = ("engine", "frame", "panel", "gear")
_JAMS = 0.25
_NAME = "([a-z]+ [0-9]{1,3})"
_FORMS = {
    "go": re.compile(f"go to {_NAME}"),
    "take": re.compile(f"take {_NAME} from {_NAME}"),
    "lay": re.compile(f"lay {_NAME} on {_NAME}"),
    "clear": re.compile(f"clear {_NAME}"),
    "oil": re.compile(f"oil {_NAME}"),
    "make": re.compile(f"make {_NAME} at {_NAME}"),
    "check": re.compile(f"check {_NAME} at {_NAME}"),
}
_EXPECTED = "expected: go to P, take T from P, lay T on P, clear P, oil P, make T at P or check T at P, with numbered names"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made: thing 0. ``parts`` are numbers of things, none for raw ones; ``station`` is where a thing is made, ``oily`` whether it needs oil."""

    things: tuple[str, ...]
    parts: tuple[tuple[int, ...], ...]
    station: tuple[str, ...]
    oily: tuple[bool, ...]
    bins: tuple[str, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Shop:
    """A workshop at one moment. ``places[i]`` is where thing ``i`` lies: a bin, a station, ``hand``, "" before it is made, ``used`` after."""

    order: Order
    places: tuple[str, ...]
    here: str = "door 1"
    jammed: tuple[str, ...] = ()
    oiled: tuple[str, ...] = ()
    turn: int = 0

    @property
    def held(self) -> int | None:
        """The number of the thing in the hand."""
        return self.places.index(HAND) if HAND in self.places else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Options: things are made of ``parts`` others, in ``levels``; ``bins`` for the raw ones; ``change``: the chance at a step that a part is moved or a
    machine jams; ``hidden``: the share of made things that need oil.
    """

    parts: int = 3
    levels: int = 2
    bins: int = 5
    change: float = 0.1
    hidden: float = 0.25
    horizon: int = 300

    name: ClassVar[str] = "workshop"
    summary: ClassVar[str] = "make a thing of parts in several levels, while parts are moved and machines jam"

    def __post_init__(self) -> None:
        check_range(self.name, "parts", self.parts, 2, 4)
        check_range(self.name, "levels", self.levels, 1, 4)
        check_range(self.name, "bins", self.bins, 2, 20)
        check_range(self.name, "change", self.change, 0.0, 1.0)
        check_range(self.name, "hidden", self.hidden, 0.0, 1.0)
        check_range(self.name, "horizon", self.horizon, 1, 1_000_000)

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.horizon

    def make(self) -> ExactEnvironment[Shop]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int | None:  # noqa: ARG002
        """Return ``None``: tasks are made from their index, without end."""
        return None

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``."""

        def content(seed: int) -> str:
            shop = self._shop(seed)
            return f"{shop.order.things} {shop.order.station} {shop.order.oily} {shop.places}"

        seed = split_seed(split, index, content)
        return make_task(
            self, split=split, index=index, seed=seed, instruction=f"make {self._shop(seed).order.things[0]}"
        )

    def start(self, task: Task) -> Shop:
        """Return the first state of ``task``."""
        return self._shop(task.seed)

    def observe(self, state: Shop, note: str = "") -> Observation:
        """Say what the last act did; ``info`` is the board. The luck goes on with the step, so no state comes back and there is no anchor."""
        order = state.order
        board: Mapping[str, Json] = {
            "here": state.here,
            "places": {
                name: place
                for name, place in zip(order.things, state.places, strict=True)
                if place not in (NOT_MADE, USED)
            },
            "jammed": list(state.jammed),
            "recipes": {
                order.things[one]: [order.station[one], *(order.things[part] for part in parts)]
                for one, parts in enumerate(order.parts)
                if parts and state.places[one] != USED
            },
        }
        return Observation(
            text=note or f"You are at {state.here}.", admissible=tuple(_listed(state)), info=board
        )

    def parse(self, text: str) -> Action:
        """Accept the seven kinds of acts."""
        return Action(text=text.strip()) if _read(text) else Action(text=text, valid=False, reason=_EXPECTED)

    def advance(self, state: Shop, action: Action) -> Outcome[Shop]:
        """Do it, then let the workshop change. Success, when the thing that was ordered is made, earns 1."""
        words = _read(action.text) if action.valid else None
        if words is None:
            return refused(state, action.reason or _EXPECTED)
        made = _done(state, *words)
        if isinstance(made, str):
            return refused(state, made)
        after, note = made
        over = after.places[0] != NOT_MADE
        after = replace(after if over else _changed(after, self.change), turn=state.turn + 1)
        return Outcome(state=after, note=note, reward=float(over), over=over, success=True if over else None)

    def oracle(self, state: Shop) -> str:
        """Return the next act of a plan that knows the present and where oil is needed."""
        act = whole(self.observe(state).info, f"make {state.order.things[0]}")[0]
        words = act.split()
        if words[0] == "make" and _wants_oil(state, " ".join(words[1:3])):
            return f"oil {state.here}"
        return act

    def _shop(self, seed: int) -> Shop:
        return _drawn(seed, self.parts, self.levels, self.bins, self.hidden)


@lru_cache(maxsize=4096)
def _drawn(seed: int, width: int, levels: int, bins: int, hidden: float) -> Shop:
    rng = Random(f"workshop {seed}")
    counts: dict[str, int] = {}
    things: list[str] = []
    parts: list[tuple[int, ...]] = []

    def add(level: int) -> int:
        kind = rng.choice(_MADE if level else _RAW)
        counts[kind] = counts.get(kind, 0) + 1
        number = len(things)
        things.append(f"{kind} {counts[kind]}")
        parts.append(())
        parts[number] = tuple(add(level - 1) for _ in range(width)) if level else ()
        return number

    add(levels)
    names = tuple(f"bin {number + 1}" for number in range(bins))
    station = tuple(rng.choice(STATIONS) if some else "" for some in parts)
    oily = tuple(bool(some) and rng.random() < hidden for some in parts)
    places = tuple(NOT_MADE if some else rng.choice(names) for some in parts)
    return Shop(Order(tuple(things), tuple(parts), station, oily, names, seed), places)


def _read(text: str) -> tuple[str, ...] | None:
    words = text.strip()
    verb = words.partition(" ")[0]
    match = _FORMS[verb].fullmatch(words) if verb in _FORMS else None
    return (verb, *match.groups()) if match else None


def _listed(state: Shop) -> list[str]:
    order, here = state.order, state.here
    listed = [f"go to {place}" for place in (*order.bins, *STATIONS) if place != here]
    lying = [
        (name, place) for name, place in zip(order.things, state.places, strict=True) if _lies(order, place)
    ]
    listed += [f"check {name} at {place}" for name, place in lying]
    if here not in (*order.bins, *STATIONS):
        return listed
    if state.held is None:
        listed += [f"take {name} from {here}" for name, place in lying if place == here]
    else:
        listed.append(f"lay {order.things[state.held]} on {here}")
    if here in STATIONS:
        listed.append(f"oil {here}")
        listed += [f"clear {here}"] if here in state.jammed else []
        listed += [f"make {name} at {here}" for name in order.things if _why_not(state, name) is None]
    return listed


def _lies(order: Order, place: str) -> bool:
    return place in order.bins or place in STATIONS


def _wants_oil(state: Shop, name: str) -> bool:
    return state.order.oily[state.order.things.index(name)] and state.here not in state.oiled


def _why_not(state: Shop, name: str) -> str | None:
    """Say why a thing cannot be made here now, as far as the board tells."""
    order = state.order
    number = order.things.index(name) if name in order.things else -1
    if number < 0 or not order.parts[number] or order.station[number] != state.here:
        return f"{name} is not made at {state.here}"
    if state.places[number] != NOT_MADE:
        return f"{name} is made already"
    if state.here in state.jammed:
        return f"{state.here} is jammed; clear it"
    missing = [order.things[part] for part in order.parts[number] if state.places[part] != state.here]
    return f"{', '.join(missing)} must lie on {state.here}" if missing else None


def _done(state: Shop, verb: str, one: str, place: str = "") -> tuple[Shop, str] | str:
    """Return the state after an act with what is told, or why it cannot be done."""
    order, here = state.order, state.here
    if verb == "go":
        if one not in (*order.bins, *STATIONS) or one == here:
            return f"there is no way from {here} to {one}"
        return replace(state, here=one), f"You are at {one}."
    if verb in ("clear", "oil"):
        if one != here or one not in STATIONS or (verb == "clear" and one not in state.jammed):
            return f"{one} cannot be {'cleared' if verb == 'clear' else 'oiled'} from here, or need not be"
        if verb == "oil":
            return replace(state, oiled=tuple(sorted({*state.oiled, one}))), f"You oil the {one}."
        return replace(
            state, jammed=tuple(name for name in state.jammed if name != one)
        ), f"You clear the {one}."
    thing = order.things.index(one) if one in order.things else None
    if thing is None:
        return f"there is no {one}"
    if verb == "check":
        if state.places[thing] != place or not _lies(order, place):
            return f"{one} is not at {place}"
        return state, f"The {one} is at {place}."
    if place != here:
        return f"you are not at {place}"
    if verb == "take":
        if state.held is not None or state.places[thing] != here:
            return f"{one} is not at {here}" if state.held is None else "your hand is full"
        return _put(state, thing, HAND), f"You take the {one} from the {here}."
    if verb == "lay":
        if state.held != thing:
            return f"you do not hold {one}"
        return _put(state, thing, here), f"You lay the {one} on the {here}."
    why = _why_not(state, one)
    if why is not None:
        return why
    if _wants_oil(state, one):
        return f"to make {one}, oil {here} first"
    after = _put(state, thing, here)
    for part in order.parts[thing]:
        after = _put(after, part, USED)
    return replace(
        after, oiled=tuple(name for name in state.oiled if name != here)
    ), f"You make the {one} at the {here}."


def _put(state: Shop, thing: int, place: str) -> Shop:
    return replace(state, places=(*state.places[:thing], place, *state.places[thing + 1 :]))


def _changed(state: Shop, chance: float) -> Shop:
    """Return the state after somebody moved a thing that nobody has laid out yet, or a machine jammed, or nothing."""
    order = state.order
    rng = Random(f"{order.seed}/{state.turn}")
    if rng.random() >= chance:
        return state
    if rng.random() < _JAMS:
        return replace(state, jammed=tuple(sorted({*state.jammed, rng.choice(STATIONS)})))
    wanted = {part: order.station[one] for one, parts in enumerate(order.parts) for part in parts}
    loose = [
        one
        for one, place in enumerate(state.places)
        if _lies(order, place) and place not in (wanted.get(one), state.here)
    ]
    return _put(state, rng.choice(loose), rng.choice(order.bins)) if loose else state
