"""Towers of Hanoi in text: n disks, three pegs, an exact distance from every legal state in O(n)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from everystep.core.errors import ConfigError
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import (
    ExactEnvironment,
    Outcome,
    check_range,
    make_task,
    refused,
    split_seed,
)

PEGS = ("a", "b", "c")

_MOVE = re.compile(r"move (\d{1,2}) from ([abc]) to ([abc])")


@dataclass(frozen=True, slots=True)
class State:
    """``pegs[d]`` is the peg (0 to 2) of disk ``d + 1``; disk 1 is the smallest."""

    pegs: tuple[int, ...]
    goal: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hanoi:
    """Options: the number of ``disks``; ``start_from`` is ``full`` (all disks on one peg, six different
    tasks) or ``random`` (any legal state); ``horizon`` 0 means twice the length of the longest optimal solution.
    """

    disks: int = 3
    start_from: str = "random"
    horizon: int = 0

    name: ClassVar[str] = "hanoi"
    summary: ClassVar[str] = "towers of Hanoi: bring all disks to one peg; optimal next move known everywhere"

    def __post_init__(self) -> None:
        check_range(self.name, "disks", self.disks, 2, 64)
        check_range(self.name, "horizon", self.horizon, 0, 1 << 65)
        if self.start_from not in ("full", "random"):
            raise ConfigError(f"hanoi: start_from is {self.start_from!r}; it must be 'full' or 'random'.")

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.horizon or 2 * ((1 << self.disks) - 1)

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int | None:  # noqa: ARG002
        """Return ``None``: tasks are made from their index, without end (small worlds repeat)."""
        return None

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``."""
        seed = split_seed(split, index, lambda seed: repr(self._first(seed)))
        goal = PEGS[self._first(seed).goal]
        instruction = (
            f"bring all disks to peg {goal} . move one top disk at a time , never onto a smaller one ."
        )
        tags = {"disks": str(self.disks)}
        return make_task(self, split=split, index=index, seed=seed, instruction=instruction, tags=tags)

    def start(self, task: Task) -> State:
        """Return the first state of ``task``."""
        return self._first(task.seed)

    def observe(self, state: State, note: str = "") -> Observation:
        """Describe the pegs, largest disk first."""
        stacks = _stacks(state.pegs)
        shown = " . ".join(
            f"peg {name} : {' '.join(map(str, reversed(stack))) or 'empty'}"
            for name, stack in zip(PEGS, stacks, strict=True)
        )
        tops = [stack[0] if stack else self.disks + 1 for stack in stacks]
        moves = tuple(
            f"move {tops[i]} from {PEGS[i]} to {PEGS[j]}"
            for i in range(3)
            for j in range(3)
            if tops[i] < tops[j]
        )
        text = f"{note} . {shown}" if note else shown
        return Observation(text=text, anchor="".join(map(str, state.pegs)), admissible=moves)

    def parse(self, text: str) -> Action:
        """Accept ``move DISK from PEG to PEG``."""
        if _MOVE.fullmatch(text.strip()):
            return Action(text=text)
        return Action(text=text, valid=False, reason="expected: move DISK from PEG to PEG")

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """Move a top disk. All disks on the goal peg end the episode with reward 1."""
        match = _MOVE.fullmatch(action.text.strip()) if action.valid else None
        if match is None:
            return refused(state, action.reason or "not an action of this world", {"progress": 0.0})
        disk, origin, target = int(match[1]), PEGS.index(match[2]), PEGS.index(match[3])
        reason = _obstacle(state.pegs, disk, origin, target)
        if reason is not None:
            return refused(state, reason, {"progress": 0.0})
        after = State((*state.pegs[: disk - 1], target, *state.pegs[disk:]), state.goal)
        solved = all(peg == state.goal for peg in after.pegs)
        progress = float(distance(state.pegs, state.goal) - distance(after.pegs, state.goal))
        return Outcome(
            state=after,
            reward=1.0 if solved else 0.0,
            over=solved,
            success=True if solved else None,
            scores={"progress": progress},
        )

    def oracle(self, state: State) -> str:
        """Return the next move of the shortest solution."""
        disk, target = next_move(state.pegs, state.goal)
        return f"move {disk} from {PEGS[state.pegs[disk - 1]]} to {PEGS[target]}"

    def _first(self, seed: int) -> State:
        rng = Random(seed)
        goal = rng.randrange(3)
        if self.start_from == "full":
            return State(((goal + rng.randrange(1, 3)) % 3,) * self.disks, goal)
        while True:
            pegs = tuple(rng.randrange(3) for _ in range(self.disks))
            if any(peg != goal for peg in pegs):
                return State(pegs, goal)


def next_move(pegs: tuple[int, ...], goal: int) -> tuple[int, int]:
    """Return (disk, target peg) of the first move of the shortest solution, in O(n).

    The largest disk that is not in its place must go there, for which all smaller ones must stand on
    the third peg; the last such wish, going down, can be executed.

    >>> next_move((0, 0, 0), 2)
    (1, 2)
    """
    found: tuple[int, int] | None = None
    target = goal
    for disk in range(len(pegs), 0, -1):
        if pegs[disk - 1] != target:
            found = (disk, target)
            target = 3 - target - pegs[disk - 1]
    if found is None:
        raise ValueError("every disk is already on the goal peg; there is no next move.")
    return found


def distance(pegs: tuple[int, ...], goal: int) -> int:
    """Return the number of moves of the shortest solution, in O(n).

    >>> distance((0,) * 10, 2)
    1023
    """
    total, target = 0, goal
    for disk in range(len(pegs), 0, -1):
        if pegs[disk - 1] != target:
            total += 1 << (disk - 1)
            target = 3 - target - pegs[disk - 1]
    return total


def _stacks(pegs: tuple[int, ...]) -> tuple[list[int], list[int], list[int]]:
    stacks: tuple[list[int], list[int], list[int]] = ([], [], [])
    for disk, peg in enumerate(pegs, start=1):
        stacks[peg].append(disk)
    return stacks


def _obstacle(pegs: tuple[int, ...], disk: int, origin: int, target: int) -> str | None:
    if not 1 <= disk <= len(pegs):
        return f"there is no disk {disk}"
    if pegs[disk - 1] != origin:
        return f"disk {disk} is not on peg {PEGS[origin]}"
    if origin == target:
        return "a disk must go to another peg"
    smaller = pegs[: disk - 1]
    if origin in smaller:
        return f"disk {disk} is not on top"
    if target in smaller:
        return "a disk must not lie on a smaller one"
    return None
