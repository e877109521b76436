"""Household: ALFWorld's six errands in its own words, in an exact world: every state can be saved, and a shortest plan is known.

Homes are drawn by ``homes``; the published ALFWorld games are not included. Where ``alfworld`` is installed a test plays the same homes in the real engine: the same
answers, word for word (``arrives=True``). Differences: receptacles never share a place (there, going to a neighbour can do nothing), things are not sliced, a lamp
stays on, and to examine a thing that lies there is possible but not listed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from everystep.core.errors import ConfigError
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import (
    REFUSED,
    ExactEnvironment,
    Outcome,
    check_range,
    make_task,
    refused,
    split_seed,
)
from everystep.environments.places.errands import HELD, NOWHERE, State, done, fits, plan, treat
from everystep.environments.places.homes import (
    ERRANDS,
    LAMP,
    ROOMS,
    TOOLS,
    TREATED,
    USUAL,
    Home,
    draw_home,
)

NOTHING = "Nothing happens."

_NAME = r"([a-z]+ [0-9]{1,3})"
_FORMS: dict[str, re.Pattern[str]] = {
    "go": re.compile(f"go to {_NAME}"),
    "open": re.compile(f"open {_NAME}"),
    "close": re.compile(f"close {_NAME}"),
    "take": re.compile(f"take {_NAME} from {_NAME}"),
    "move": re.compile(f"move {_NAME} to {_NAME}"),
    "put": re.compile(f"put {_NAME} (?:in/on|in|on) {_NAME}"),
    "use": re.compile(f"use {_NAME}"),
    "clean": re.compile(f"clean {_NAME} with {_NAME}"),
    "heat": re.compile(f"heat {_NAME} with {_NAME}"),
    "cool": re.compile(f"cool {_NAME} with {_NAME}"),
    "examine": re.compile(f"examine {_NAME}"),
    "look": re.compile("look"),
    "inventory": re.compile("inventory"),
}
_EXPECTED = (
    "expected: go to R, open R, close R, take T from R, move T to R, clean / heat / cool T with R, use T, "
    "examine T or R, look, inventory; names are numbered, as in 'mug 1'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Household:
    """Options: the ``errand`` (``any``, ``place``, ``look``, ``clean``, ``heat``, ``cool``, ``two``), the ``room`` (``any``, ``kitchen``,
    ``bedroom``, ``bathroom``, ``livingroom``), at most ``numbered`` receptacles of one kind, so many other ``things``, the step limit ``horizon``.

    With ``usual`` things lie where such things usually lie, else anywhere they fit. ``idle`` lists the actions that only look, too.
    ``arrives``: going somewhere is answered with "You arrive at ..." first, as the 0.4 engine does and most logs leave out.
    ``expert``: the oracle ``knows`` where everything is (its plan is a shortest one), or ``searches``, the likeliest places first.
    """

    errand: str = "any"
    room: str = "any"
    numbered: int = 3
    things: int = 12
    horizon: int = 50
    usual: bool = True
    idle: bool = True
    arrives: bool = False
    expert: str = "knows"

    name: ClassVar[str] = "household"
    summary: ClassVar[str] = "errands in a home in ALFWorld's words: find, clean, heat, cool, place, light"

    def __post_init__(self) -> None:
        check_range(self.name, "numbered", self.numbered, 1, 30)
        check_range(self.name, "things", self.things, 0, 100)
        check_range(self.name, "horizon", self.horizon, 1, 1_000_000)
        for option, value, known in (
            ("errand", self.errand, ("any", *ERRANDS)),
            ("room", self.room, ("any", *ROOMS)),
            ("expert", self.expert, ("knows", "searches")),
        ):
            if value not in known:
                raise ConfigError(f"household: {option} is {value!r}; it must be one of {', '.join(known)}.")
        self._home(0)  # an errand that the room does not have is refused here

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.horizon

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int | None:  # noqa: ARG002
        """Return ``None``: tasks are made from their index, without end."""
        return None

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``."""
        seed = split_seed(split, index, lambda seed: self._home(seed).content)
        home = self._home(seed)
        tags = {"errand": home.errand.how, "type": ERRANDS[home.errand.how], "room": home.room}
        instruction = f"Your task is to: {home.errand.wording}"
        return make_task(self, split=split, index=index, seed=seed, instruction=instruction, tags=tags)

    def start(self, task: Task) -> State:
        """Return the first state of ``task``."""
        home = self._home(task.seed)
        return State(home, home.places)

    def observe(self, state: State, note: str = "") -> Observation:
        """Say what the last action showed; at the start, what stands in the room. The anchor leaves out what was seen."""
        masks = (state.opened, state.clean, state.hot, state.cool, state.lit)
        anchor = f"{state.here} {' '.join(f'{mask:x}' for mask in masks)} {' '.join(map(str, state.places))}"
        text = NOTHING if note == REFUSED else note or _room(state.home)
        return Observation(text=text, anchor=anchor, admissible=tuple(self._listed(state)))

    def parse(self, text: str) -> Action:
        """Accept the commands of ALFWorld 0.4, and ``put T in/on R`` of earlier versions."""
        if _read(text) is None:
            return Action(text=text, valid=False, reason=_EXPECTED)
        return Action(text=text)

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """Do it. ``progress`` is by how many steps the shortest plan became shorter. Success earns 1 and ends the episode."""
        words = _read(action.text) if action.valid else None
        if words is None:
            return refused(state, action.reason or _EXPECTED, {"progress": 0.0})
        made = _ACTS[words[0]](state, words[1:])
        if isinstance(made, str):
            return refused(state, made, {"progress": 0.0})
        after, note = made
        if words[0] == "go" and self.arrives:
            note = f"You arrive at {words[1]}. {note}"
        if after.here != NOWHERE and not after.closed(after.here):
            after = replace(after, seen=after.seen | 1 << after.here)
        solved = done(after)
        progress = (
            0.0 if after.places is state.places and words[0] in _LOOKS else float(_left(state) - _left(after))
        )
        return Outcome(
            state=after,
            note=note,
            reward=float(solved),
            over=solved,
            success=True if solved else None,
            scores={"progress": progress},
        )

    def oracle(self, state: State) -> str:
        """Return the next action of a shortest plan, or of a search where ``expert`` is ``searches``."""
        if self.expert == "knows":
            way = plan(state)
            return way[0] if way else "look"
        known = frozenset(
            thing for thing, place in enumerate(state.places) if place == HELD or state.seen >> place & 1
        )
        way = plan(state, known)
        return way[0] if way else _search(state)

    def _listed(self, state: State) -> list[str]:
        home, here, held = state.home, state.here, state.held
        listed = [f"go to {name}" for place, name in enumerate(home.receptacles) if place != here]
        if here != NOWHERE:
            name, kind, shut = home.receptacles[here], home.kinds[here], state.closed(here)
            if home.openable[here]:
                listed.append(f"{'open' if shut else 'close'} {name}")
            near = [thing for thing, place in enumerate(state.places) if place == here and not shut]
            lamps = [thing for thing in near if home.thing_kinds[thing] == LAMP]
            if held is None:
                listed += [f"take {home.things[thing]} from {name}" for thing in near if thing not in lamps]
            else:
                if not shut and fits(home, held, here):
                    listed.append(f"move {home.things[held]} to {name}")
                listed += [
                    f"{how} {home.things[held]} with {name}"
                    for how, tool in TOOLS.items()
                    if tool == kind and home.thing_kinds[held] in TREATED[how]
                ]
            listed += [f"use {home.things[lamp]}" for lamp in lamps]
        if self.idle:
            shown = [home.receptacles[here]] if here != NOWHERE else []
            shown += [home.things[held]] if held is not None else []
            listed += [f"examine {name}" for name in shown]
            listed += ["look", "inventory"]
        return listed

    def _home(self, seed: int) -> Home:
        return draw_home(self.errand, self.room, self.numbered, self.things, self.usual, seed)


def _left(state: State) -> int:
    return len(plan(state) or ())


def _search(state: State) -> str:
    """Return an action that looks where nobody has looked: here, else where such things usually lie."""
    home, here = state.home, state.here
    if here != NOWHERE and state.closed(here) and not state.seen >> here & 1:
        return f"open {home.receptacles[here]}"
    usual = USUAL[home.errand.thing]

    def rank(place: int) -> tuple[int, int]:
        kind = home.kinds[place]
        return (usual.index(kind) if kind in usual else len(usual), place)

    unseen = [place for place in range(len(home.receptacles)) if not state.seen >> place & 1]
    return f"go to {home.receptacles[min(unseen, key=rank)]}"


def _read(text: str) -> tuple[str, ...] | None:
    """Return the verb and its names, ``None`` if this is no command."""
    words = text.strip()
    verb = words.partition(" ")[0]
    match = _FORMS[verb].fullmatch(words) if verb in _FORMS else None
    return (verb, *match.groups()) if match else None


# --- what each command does: the new state with what is told, or why it cannot be done ---------------------

_Made = tuple[State, str] | str


def _go(state: State, names: Sequence[str]) -> _Made:
    place = _place(state, names[0])
    if place is None:
        return f"there is no {names[0]} here"
    if place == state.here:
        return f"you are at {names[0]} already"
    after = replace(state, here=place)
    return after, _contents(after)


def _open(state: State, names: Sequence[str]) -> _Made:
    place = _place(state, names[0])
    if place is None or place != state.here:
        return f"you are not at {names[0]}"
    if not state.closed(place):
        return f"{names[0]} is open, or cannot be opened"
    after = replace(state, opened=state.opened | 1 << place)
    return after, f"You open the {names[0]}. {_contents(after)}"


def _close(state: State, names: Sequence[str]) -> _Made:
    place = _place(state, names[0])
    if place is None or place != state.here:
        return f"you are not at {names[0]}"
    if not state.opened >> place & 1:
        return f"{names[0]} is not open"
    return replace(state, opened=state.opened & ~(1 << place)), f"You close the {names[0]}."


def _take(state: State, names: Sequence[str]) -> _Made:
    thing, place = _thing(state, names[0]), _place(state, names[1])
    if state.held is not None:
        return f"you hold {state.home.things[state.held]} already"
    if (
        thing is None
        or place is None
        or place != state.here
        or state.places[thing] != place
        or state.closed(place)
    ):
        return f"{names[0]} cannot be seen on or in {names[1]} from where you are"
    if state.home.thing_kinds[thing] == LAMP:
        return "a lamp cannot be taken; use it"
    return _lay(state, thing, HELD), f"You pick up the {names[0]} from the {names[1]}."


def _move(state: State, names: Sequence[str]) -> _Made:
    return _laid(state, names, "You move the {} to the {}.")


def _put(state: State, names: Sequence[str]) -> _Made:
    return _laid(state, names, "You put the {} in/on the {}.")


def _laid(state: State, names: Sequence[str], told: str) -> _Made:
    held, place = _held(state, names[0]), _place(state, names[1])
    if held is None:
        return f"you do not hold {names[0]}"
    if place is None or place != state.here:
        return f"you are not at {names[1]}"
    if state.closed(place):
        return f"{names[1]} is closed"
    if not fits(state.home, held, place):
        return f"{names[0]} does not belong on or in {names[1]}"
    return _lay(state, held, place), told.format(*names)


def _treating(how: str) -> Callable[[State, Sequence[str]], _Made]:
    def act(state: State, names: Sequence[str]) -> _Made:
        held, place = _held(state, names[0]), _place(state, names[1])
        if held is None:
            return f"you do not hold {names[0]}"
        if place is None or place != state.here or state.home.kinds[place] != TOOLS[how]:
            return f"to {how} something, be at a {TOOLS[how]} and name it"
        if state.home.thing_kinds[held] not in TREATED[how]:
            return f"one cannot {how} {names[0]}"
        return treat(state, how, held), f"You {how} the {names[0]} using the {names[1]}."

    return act


def _use(state: State, names: Sequence[str]) -> _Made:
    lamp = _thing(state, names[0])
    if (
        lamp is None
        or state.home.thing_kinds[lamp] != LAMP
        or state.here == NOWHERE
        or state.places[lamp] != state.here
    ):
        return f"there is no lamp {names[0]} where you are"
    return replace(state, lit=state.lit | 1 << lamp), f"You turn on the {names[0]}."


def _examine(state: State, names: Sequence[str]) -> _Made:
    if _place(state, names[0]) == state.here != NOWHERE:
        return state, _contents(state)
    thing = _thing(state, names[0])
    seen = thing is not None and (
        state.places[thing] == HELD or (state.places[thing] == state.here and not state.closed(state.here))
    )
    if thing is None or not seen:
        return f"{names[0]} is not where you are"
    name, bit = names[0], 1 << thing
    if state.home.thing_kinds[thing] == LAMP:
        return state, f"This {name} is {'on' if state.lit & bit else 'off'}."
    warmth = "hot" if state.hot & bit else "cool" if state.cool & bit else ""
    if state.clean & bit:
        return state, f"This is a {f'{warmth} and clean' if warmth else 'clean'} {name}."
    if warmth:
        return state, f"This is a {'cold' if warmth == 'cool' else warmth} {name}."
    return state, f"There's nothing special about {name}."


def _look(state: State, names: Sequence[str]) -> _Made:  # noqa: ARG001
    if state.here == NOWHERE:
        return state, _room(state.home)
    return state, f"You are facing the {state.home.receptacles[state.here]}. Next to it, you see nothing."


def _inventory(state: State, names: Sequence[str]) -> _Made:  # noqa: ARG001
    held = state.held
    return (
        state,
        "You are not carrying anything."
        if held is None
        else f"You are carrying: a {state.home.things[held]}.",
    )


_ACTS: dict[str, Callable[[State, Sequence[str]], _Made]] = {
    "go": _go,
    "open": _open,
    "close": _close,
    "take": _take,
    "move": _move,
    "put": _put,
    "use": _use,
    "clean": _treating("clean"),
    "heat": _treating("heat"),
    "cool": _treating("cool"),
    "examine": _examine,
    "look": _look,
    "inventory": _inventory,
}
_LOOKS = ("examine", "look", "inventory")


def _lay(state: State, thing: int, place: int) -> State:
    return replace(state, places=(*state.places[:thing], place, *state.places[thing + 1 :]))


def _place(state: State, name: str) -> int | None:
    return state.home.receptacles.index(name) if name in state.home.receptacles else None


def _thing(state: State, name: str) -> int | None:
    return state.home.things.index(name) if name in state.home.things else None


def _held(state: State, name: str) -> int | None:
    held = state.held
    return held if held is not None and state.home.things[held] == name else None


def _room(home: Home) -> str:
    return (
        f"You are in the middle of a room. Looking quickly around you, you see {_listing(home.receptacles)}."
    )


def _contents(state: State) -> str:
    """Describe the receptacle where the agent is."""
    home, here = state.home, state.here
    name = home.receptacles[here]
    if state.closed(here):
        return f"The {name} is closed."
    things = [home.things[thing] for thing, place in enumerate(state.places) if place == here]
    told = f"you see {_listing(things)}."
    return f"The {name} is open. In it, {told}" if home.openable[here] else f"On the {name}, {told}"


def _listing(names: Sequence[str]) -> str:
    """Join names as ALFWorld does.

    >>> _listing(["cup 1", "mug 2", "egg 1"]), _listing(["cup 1"]), _listing([])
    ('a cup 1, a mug 2, and a egg 1', 'a cup 1', 'nothing')
    """
    told = [f"a {name}" for name in names]
    if len(told) > 1:
        told[-1] = f"and {told[-1]}"
    return ", ".join(told) or "nothing"
