"""KeyDoor: a small text grid. Fetch the key, then walk to the door. Sparse reward: 10 or nothing.

The usual first world for step credit: states come back on many paths, so anchors form groups. With
``nonce`` every observation carries words that depend on everything done so far and the anchor
contains them: a state does not come back, and methods that group by anchor lose their groups
(episodes that have acted alike from the start still agree, because a task always gives the same episode; ``salted`` makes
copies of a task that share no state).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import ClassVar

from everystep.core.errors import ConfigError
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import (
    ExactEnvironment,
    Outcome,
    check_range,
    make_task,
    split_seed,
)
from everystep.environments.reasoning.numerals import spell

MOVES: Mapping[str, tuple[int, int]] = {"north": (-1, 0), "south": (1, 0), "east": (0, 1), "west": (0, -1)}
THINGS = ("cup", "ball", "box", "lamp", "coin", "book", "hat", "shoe")
NONCE_WORDS = (
    *("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "haven"),
    *("inlet", "jade", "kelp", "lotus", "maple", "nettle", "olive", "pearl"),
)
REWARD = 10.0

_TAKE = "take"
_NONCE_BITS = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What stays the same during an episode. Cells are numbered row by row."""

    start: int
    door: int
    things: tuple[tuple[str, int], ...]
    moves: tuple[Mapping[str, int], ...]
    to_key: tuple[int, ...]
    to_door: tuple[int, ...]
    places: tuple[str, ...]
    walls: str
    content: str


@dataclass(frozen=True, slots=True)
class State:
    """Where the agent stands, what it holds (a bit for each thing, bit 0 the key), the nonce, and how many steps it has taken."""

    layout: Layout
    cell: int
    held: int = 0
    nonce: int = 0
    taken: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDoor:
    """Options: cells a ``side`` of the grid, other things that can be taken (``distractors``), inner
    ``walls``, the step limit ``horizon``, and ``nonce`` (observations and anchors do not come back), which begins from ``salt``.

    With ``deadline`` the step limit is a rule of the task and not of the run: the observation says how many steps are left, and who
    has not reached the door when they are used up has failed. The anchor still has no clock. With ``compass`` key, door and other things are
    told by where they lie from here (``key north east``) and not by their places: easier to read.
    """

    side: int = 5
    distractors: int = 0
    walls: int = 0
    horizon: int = 30
    nonce: bool = False
    salt: int = 0
    deadline: bool = False
    compass: bool = False

    name: ClassVar[str] = "keydoor"
    summary: ClassVar[str] = "text grid: fetch the key, then reach the door; sparse reward 10 or 0"

    def __post_init__(self) -> None:
        check_range(self.name, "side", self.side, 3, 30)
        check_range(self.name, "distractors", self.distractors, 0, min(len(THINGS), self.side))
        check_range(self.name, "walls", self.walls, 0, self.side * self.side // 3)
        check_range(self.name, "horizon", self.horizon, 1, 1_000_000)
        if self.salt and not self.nonce:
            raise ConfigError("keydoor: option 'salt' has no effect without 'nonce'. Set nonce=true.")

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
        seed = split_seed(split, index, lambda seed: self._layout(seed).content)
        goal = "take the key , then go to the door . actions : north , south , east , west , take ."
        return make_task(self, split=split, index=index, seed=seed, instruction=goal)

    def start(self, task: Task) -> State:
        """Return the first state of ``task``."""
        layout = self._layout(task.seed)
        return State(layout, layout.start, 0, _mix(task.seed + self.salt, "") if self.nonce else 0)

    def observe(self, state: State, note: str = "") -> Observation:
        """Describe ``state``: where the agent is, where the other things are, what it holds."""
        layout, held = state.layout, state.held
        anchor = f"{state.cell} {held}"
        parts = [note] if note else []
        parts.append(f"you {layout.places[state.cell]}")
        here = False
        holding = ""
        for bit, (thing, cell) in enumerate(layout.things):
            if held >> bit & 1:
                holding += f" {thing}"
            else:
                parts.append(f"{thing} {self._told(state, cell)}")
                here = here or cell == state.cell
        fixed = f"door {self._told(state, layout.door)}{layout.walls}"
        parts.append(f"{fixed} . holding{holding or ' nothing'}")
        if self.nonce:
            anchor = f"{anchor} {state.nonce}"
            parts.append(" ".join(NONCE_WORDS[state.nonce >> shift & 15] for shift in (12, 8, 4, 0)))
        if self.deadline:
            parts.append(f"left {spell(self.horizon - state.taken)}")
        moves = tuple(layout.moves[state.cell])
        return Observation(
            text=" . ".join(parts), anchor=anchor, admissible=(*moves, _TAKE) if here else moves
        )

    def parse(self, text: str) -> Action:
        """Accept one of the four directions or ``take``."""
        word = text.strip()
        if word in MOVES or word == _TAKE:
            return Action(text=text)
        return Action(text=text, valid=False, reason="expected north, south, east, west or take")

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """Move or take. Standing on the door with the key ends the episode with reward 10."""
        word = action.text.strip()
        layout, cell, held = state.layout, state.cell, state.held
        reason = None
        if not action.valid or (word not in MOVES and word != _TAKE):
            reason = action.reason or "not an action of this world"
        elif word == _TAKE:
            bits = (bit for bit, (_, place) in enumerate(layout.things) if place == cell)
            bit = next((bit for bit in bits if not held >> bit & 1), None)
            if bit is None:
                reason = "there is nothing to take here"
            else:
                held |= 1 << bit
        elif word in layout.moves[cell]:
            cell = layout.moves[cell][word]
        else:
            reason = "there is no way in that direction"
        nonce = _mix(state.nonce, word) if self.nonce else 0
        taken = state.taken + 1 if self.deadline else 0
        after = State(layout, cell, held, nonce, taken)
        solved = bool(held & 1) and cell == layout.door
        late = self.deadline and taken >= self.horizon and not solved
        progress = float(_distance(state) - _distance(after))
        return Outcome(
            state=after,
            reward=REWARD if solved else 0.0,
            over=solved or late,
            success=True if solved else False if late else None,
            scores={"progress": progress, "closer": float(progress > 0)},
            reason=reason,
        )

    def oracle(self, state: State) -> str:
        """Return the first action of a shortest way to the goal."""
        layout = state.layout
        if not state.held & 1 and state.cell == layout.things[0][1]:
            return _TAKE
        to = layout.to_door if state.held & 1 else layout.to_key
        moves = layout.moves[state.cell]
        return min(moves, key=lambda name: to[moves[name]])

    def _told(self, state: State, cell: int) -> str:
        """Where ``cell`` is: its place, or with the compass the way there."""
        if not self.compass:
            return state.layout.places[cell]
        (row, column), (to_row, to_column) = divmod(state.cell, self.side), divmod(cell, self.side)
        down = "south" if to_row > row else "north" if to_row < row else ""
        across = "east" if to_column > column else "west" if to_column < column else ""
        return f"{down} {across}".strip() or "here"

    def _layout(self, seed: int) -> Layout:
        return _layout(self.side, self.distractors, self.walls, seed)


def salted(task: Task, salt: int) -> Task:
    """Return ``task`` of a world with a nonce with another start of the nonce: the same in all that matters, and no state in common.

    The id stays, so that episodes of the copies are compared with each other.
    """
    return replace(task, config={**task.config, "salt": salt})


def _distance(state: State) -> int:
    layout = state.layout
    if state.held & 1:
        return layout.to_door[state.cell]
    return layout.to_key[state.cell] + 1 + layout.to_door[layout.things[0][1]]


def _mix(nonce: int, word: str) -> int:
    # A multiplication by an odd number and an odd addend: no short cycles, and other words lead elsewhere.
    told = sum(ord(letter) << (5 * place) for place, letter in enumerate(word[:8]))
    mixed = (nonce * 6364136223846793005 + 2 * told + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
    return (mixed ^ mixed >> 29) & ((1 << _NONCE_BITS) - 1)


@lru_cache(maxsize=4096)
def _layout(side: int, distractors: int, walls: int, seed: int) -> Layout:
    rng = Random(seed)
    while True:
        cells = rng.sample(range(side * side), 3 + distractors + walls)
        start, key, door, *rest = cells
        blocked = sorted(rest[distractors:])
        moves = _moves(side, blocked)
        to_door = _distances(moves, door)
        if all(to_door[cell] >= 0 for cell in (start, key, *rest[:distractors])):
            break
    names = rng.sample(THINGS, distractors)
    places = tuple(f"{cell // side} {cell % side}" for cell in range(side * side))
    told = " . wall " + " , ".join(places[cell] for cell in blocked) if blocked else ""
    things = (("key", key), *zip(names, rest[:distractors], strict=True))
    return Layout(
        start=start,
        door=door,
        things=things,
        moves=moves,
        to_key=_distances(moves, key),
        to_door=to_door,
        places=places,
        walls=told,
        content=f"{side} {start} {door} {sorted(things)} {blocked}",
    )


def _moves(side: int, blocked: Iterable[int]) -> tuple[dict[str, int], ...]:
    walls = set(blocked)

    def around(cell: int) -> dict[str, int]:
        row, column = divmod(cell, side)
        found = {}
        for name, (down, right) in MOVES.items():
            to = (row + down) * side + column + right
            if 0 <= row + down < side and 0 <= column + right < side and to not in walls:
                found[name] = to
        return found

    return tuple(around(cell) if cell not in walls else {} for cell in range(side * side))


def _distances(moves: tuple[dict[str, int], ...], goal: int) -> tuple[int, ...]:
    """Return the number of moves from every cell to ``goal`` by breadth-first search, -1 for none."""
    found = [-1] * len(moves)
    found[goal] = 0
    queue = deque([goal])
    while queue:
        cell = queue.popleft()
        for near in moves[cell].values():
            if found[near] < 0:
                found[near] = found[cell] + 1
                queue.append(near)
    return tuple(found)
