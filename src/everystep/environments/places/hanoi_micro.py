"""Towers of Hanoi in micro-steps: the prompt of one step, its strict answer, and a policy whose errors are stated.

The prompt holds the strategy, the previous move and the state, and nothing else, as in MAKER's notebook (arXiv 2511.09030).
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from everystep.core.protocols import Generation, Request, Sampling, Situation
from everystep.core.records import Action, Message, Observation, Step, Stop, Task
from everystep.environments.places.hanoi import PEGS, Hanoi

Pegs = list[list[int]]
STRATEGY = (
    "Towers of Hanoi. Pegs are 0, 1 and 2, each a list of disks from bottom to top; disk 1 is the smallest. Move one top disk at a time, "
    "never onto a smaller one. If the previous move did not move disk 1, move disk 1 by {turn} (0 comes after 2). Otherwise make the only legal "
    "move that does not move disk 1. Answer with two lines and nothing else:\nmove = [disk, from, to]\nnext_state = [[...], [...], [...]]"
)
_ANSWER = re.compile(r"move = (\[[\d, ]{1,20}\])\nnext_state = (\[[\d,\[\] ]{1,2000}\])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Micro:
    """The view of a micro-agent: strategy, previous move, state. ``wording`` names the prompt; another one errs elsewhere."""

    turn: int
    wording: int = 0
    window: int = 1

    def messages(self, situation: Situation) -> tuple[Message, ...]:
        """Return the whole prompt; it has the same length at every step."""
        before = pegs_move(situation.recent[-1].action.text) if situation.recent else None
        lines = f"previous move: {json.dumps(before)}\nstate: {json.dumps(pegs_of(situation.observation))}"
        system = STRATEGY.format(turn=f"{self.turn:+d} peg{'' if self.turn == 1 else 's'}")
        return (
            Message(role="system", content=f"{system}\n(wording {self.wording})"),
            Message(role="user", content=lines),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepper:
    """Follows the prompt's strategy; a sample errs with probability ``error``, at ``hard`` of the states with ``hard_error``.

    ``spread`` wrong answers differ from each other; otherwise all err alike, the worst case. ``ramble`` of the samples are over-long, and
    half of those are wrong in the same way: errors that flags catch and votes do not.
    """

    error: float
    hard: float = 0.0
    hard_error: float = 0.6
    spread: bool = False
    ramble: float = 0.0
    policy: str = "stepper"

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:  # noqa: ARG002
        """Answer all requests from their prompts."""
        return [self._answer(request) for request in requests]

    def release(self, sessions: Sequence[str]) -> None:
        """Nothing is kept."""

    def _answer(self, request: Request) -> Generation:
        system, user = (message.content for message in request.messages)
        before, state = (json.loads(line.partition(": ")[2]) for line in user.split("\n"))
        turn = int(system.split("move disk 1 by ", 1)[1].split(" ", 1)[0])
        rng = Random(request.seed)
        error = self.error
        if self.hard and zlib.crc32(f"{user}{system[-12:]}".encode()) % 100_000 < 100_000 * self.hard:
            error = self.hard_error
        rambles = rng.random() < self.ramble
        right = next_move(state, before, turn)
        others = [one for one in legal_moves(state) if one != right]
        wrong = rng.random() < (0.5 if rambles else error)
        move = others[rng.randrange(len(others)) if self.spread else 0] if wrong and others else right
        text = f"move = {json.dumps(move)}\nnext_state = {json.dumps(moved(state, move))}"
        return Generation(text=f"{'Let me think again. ' * 30}\n{text}" if rambles else text, stop=Stop.STOP)


def read_answer(text: str) -> Action:
    """Parse an answer strictly: three integers, and three lists that hold each disk once. Whether the move is legal is not asked."""
    found = _ANSWER.fullmatch(text.strip()[-2200:])
    if found is None:
        return Action(
            text=text, valid=False, reason="expected two lines: move = [...] and next_state = [...]"
        )
    try:
        move, state = json.loads(found[1]), json.loads(found[2])
    except ValueError:
        return Action(text=text, valid=False, reason="move or next_state is not a list")
    flat = [disk for peg in state if isinstance(peg, list) for disk in peg]
    whole = (
        len(state) == 3
        and all(type(one) is int for one in flat)
        and sorted(flat) == list(range(1, len(flat) + 1))
    )
    if (
        not whole
        or len(move) != 3
        or not all(type(one) is int for one in move)
        or not {*move[1:]} <= {0, 1, 2}
    ):
        return Action(
            text=text, valid=False, reason="move must be three integers, next_state hold each disk once"
        )
    return Action(text=f"move {move[0]} from {PEGS[move[1]]} to {PEGS[move[2]]}")


def pegs_of(observation: Observation) -> Pegs:
    """Return the pegs, bottom to top, from the world's text."""
    shown = [part.partition(" : ")[2] for part in observation.text.split(" . ")[-3:]]
    return [[int(disk) for disk in peg.split()] if peg != "empty" else [] for peg in shown]


def pegs_move(text: str) -> list[int]:
    """Return ``[disk, from, to]`` of an action of the world."""
    words = text.split()
    return [int(words[1]), PEGS.index(words[3]), PEGS.index(words[5])]


def legal_moves(state: Pegs) -> list[list[int]]:
    """Return every legal move."""
    tops = [peg[-1] if peg else 1 << 30 for peg in state]
    return [[tops[i], i, j] for i in range(3) for j in range(3) if tops[i] < tops[j]]


def next_move(state: Pegs, before: list[int] | None, turn: int) -> list[int]:
    """Return the strategy's move."""
    small = next((i for i, peg in enumerate(state) if peg and peg[-1] == 1), 0)
    if before is None or before[0] != 1:
        return [1, small, (small + turn) % 3]
    return next((move for move in legal_moves(state) if move[0] != 1), [1, small, (small + turn) % 3])


def moved(state: Pegs, move: list[int]) -> Pegs:
    """Return the state after a move."""
    after = [list(peg) for peg in state]
    after[move[2]].append(after[move[1]].pop())
    return after


def turn_of(world: Hanoi, task: Task) -> int:
    """Return which way disk 1 goes round: it depends on the goal and on whether the number of disks is even."""
    first = world.start(task)
    way = (first.goal - first.pegs[0]) % 3
    return way if world.disks % 2 else 3 - way


def situations(world: Hanoi, task: Task, *, count: int, seed: int) -> Iterator[Situation]:
    """Yield ``count`` steps of the right path, drawn evenly, as a micro-agent would see them."""
    steps = (1 << world.disks) - 1
    chosen = set(Random(seed).sample(range(steps), min(count, steps)))
    environment, turn = world.make(), turn_of(world, task)
    seen, before = environment.reset(task), None
    for index in range(max(chosen) + 1):
        move = next_move(pegs_of(seen), pegs_move(before.action.text) if before else None, turn)
        if index in chosen:
            recent = (before,) if before else ()
            yield Situation(
                run="probe",
                task=task,
                node="main",
                goal="",
                step=f"probe/{index}",
                index=index,
                observation=seen,
                recent=recent,
            )
        action = Action(text=f"move {move[0]} from {PEGS[move[1]]} to {PEGS[move[2]]}")
        before = Step(id=str(index), parent=None, index=index, observation=seen, action=action)
        seen = environment.step(action).observation
