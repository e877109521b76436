"""Revise: an answer of several values that is written as a whole, round by round, and can be bettered a little each time.

Each value is the one before it plus a number, modulo ``base``, and the answer is written with the last value first. So a value cannot be worked out
from what is being written; but each one follows at once from the value before it in the answer that stands. Correct values spread by one
a round for whoever applies that rule, and an answer of ``values`` values takes as many rounds.
"""

from __future__ import annotations

import re
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
    refused,
    split_seed,
)

MODES = ("improve", "diverge")
"""What a round asks for: a better answer, or a markedly different one."""
NOTHING = "-"
"""What stands for a value that was not written yet."""

_ANSWER = re.compile(r"[0-9](?:\s*[0-9])*", re.ASCII)
_TEXT_LIMIT = 400


@dataclass(frozen=True, slots=True)
class Chain:
    """The first number, what is added to it one after the other, and the values that come out; none in the order of writing."""

    first: int
    added: tuple[int, ...]
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class State:
    """The answer that stands, in the order of writing; ``None`` before the first."""

    chain: Chain
    answer: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revise:
    """Options: the number of ``values`` and their ``base``; the ``rounds`` of an episode; the ``answer`` that stands when it begins, empty for none;
    ``mode`` improve or diverge, which is shown and changes nothing else.

    The quality of an answer is its share of right values, 0 where none stands. A round is rewarded by the share of what was missing that it gained,
    ``(new - old) / (1 - old)``, no less than 0; a round on a right answer by 0. Scores: ``quality``, and its ``change``.
    """

    values: int = 6
    base: int = 10
    rounds: int = 1
    answer: str = ""
    mode: str = "improve"

    name: ClassVar[str] = "revise"
    summary: ClassVar[str] = "an answer that is written anew round by round and bettered a little each time"

    def __post_init__(self) -> None:
        check_range(self.name, "values", self.values, 1, 32)
        check_range(self.name, "base", self.base, 2, 10)
        check_range(self.name, "rounds", self.rounds, 1, 1_000_000)
        if self.mode not in MODES:
            raise ConfigError(f"revise: mode is {self.mode!r}; it must be one of {', '.join(MODES)}.")
        if self.answer and self.read(self.answer) is None:
            raise ConfigError(
                f"revise: answer is {self.answer!r}; expected {self.values} digits below {self.base}, or none."
            )

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.rounds

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int | None:  # noqa: ARG002
        """Return ``None``: tasks are made from their index, without end."""
        return None

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split`` with its answer."""
        seed = split_seed(split, index, lambda seed: str(self._chain(seed)))
        chain = self._chain(seed)
        return make_task(
            self,
            split=split,
            index=index,
            seed=seed,
            instruction=_question(chain),
            reference=spell(chain.values[::-1]),
            tags={"values": str(self.values)},
        )

    def start(self, task: Task) -> State:
        """Return the first state of ``task``."""
        return State(self._chain(task.seed), self.read(self.answer) if self.answer else None)

    def observe(self, state: State, note: str = "") -> Observation:
        """Show the answer that stands, with the first number behind it, and what is asked for."""
        stands = spell(state.answer) if state.answer else " ".join([NOTHING] * self.values)
        shown = f"values {stands} {state.chain.first} . {self.mode}"
        return Observation(text=f"{note} . {shown}" if note else shown, anchor=stands)

    def parse(self, text: str) -> Action:
        """Read an answer: its digits, spaced or not."""
        if self.read(text) is None:
            return Action(
                text=text, valid=False, reason=f"expected: {self.values} digits from 0 to {self.base - 1}"
            )
        return Action(text=text)

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """Put an answer in the place of the one that stands. The right one ends the episode."""
        before = self.quality(state)
        new = self.read(action.text) if action.valid else None
        if new is None:
            reason = action.reason or "not an action of this world"
            return refused(state, reason, {"quality": before, "change": 0.0})
        after = replace(state, answer=new)
        quality = self.quality(after)
        return Outcome(
            state=after,
            reward=max(0.0, (quality - before) / (1.0 - before)) if before < 1.0 else 0.0,
            over=quality == 1.0,
            success=True if quality == 1.0 else None,
            scores={"quality": quality, "change": quality - before},
        )

    def oracle(self, state: State) -> str:
        """Return the right answer."""
        return spell(state.chain.values[::-1])

    def quality(self, state: State) -> float:
        """Return the share of right values in the answer that stands; 0 for none."""
        pairs = zip(state.answer or (), state.chain.values[::-1], strict=False)
        return sum(wrote == right for wrote, right in pairs) / self.values

    def read(self, text: str) -> tuple[int, ...] | None:
        """Read an answer strictly; ``None`` where it is none."""
        if len(text) > _TEXT_LIMIT or not _ANSWER.fullmatch(text.strip()):
            return None
        found = tuple(int(one) for one in text if not one.isspace())
        return found if len(found) == self.values and max(found) < self.base else None

    def _chain(self, seed: int) -> Chain:
        return _chain(self.values, self.base, seed)


def revision(task: Task, answer: str, *, mode: str = "improve") -> Task:
    """Return the task to revise ``answer``, an answer to ``task``: the history is in the task, and the model reads only what stands."""
    config = {name: value for name, value in task.config.items() if name not in ("answer", "mode")}
    config |= {"answer": answer} | ({} if mode == "improve" else {"mode": mode})
    base = task.id.partition(" after ")[0]
    return replace(task, id=f"{base} after {''.join(answer.split())} {mode}", config=config)


def next_values(task: Task, world: Revise) -> tuple[int | None, ...]:
    """Return, in the order of writing, the value that the rule gives for each place from the answer that stands in ``task``.

    ``None`` where the value before it was not written. Whoever writes these gets one more value right a round.
    """
    state = replace(world, **dict(task.config)).start(task)  # type: ignore[arg-type]
    chain = state.chain
    stands: tuple[int | None, ...] = state.answer[::-1] if state.answer else (None,) * world.values
    before = (chain.first, *stands[:-1])
    found = [
        None if one is None else (one + more) % world.base
        for one, more in zip(before, chain.added, strict=True)
    ]
    return tuple(found[::-1])


def repeating(task: Task, world: Revise, *, follow: float, rng: Random) -> str:
    """Return an answer in which each value follows the rule with probability ``follow``. The others repeat what stands, or are random where nothing does
    or where something else is asked for."""
    now = replace(world, **dict(task.config))  # type: ignore[arg-type]
    stands = now.start(task).answer if now.mode == "improve" else None
    answer = []
    for place, value in enumerate(next_values(task, world)):
        other = stands[place] if stands else rng.randrange(world.base)
        answer.append(value if value is not None and rng.random() < follow else other)
    return spell(tuple(answer))


def spell(values: tuple[int, ...]) -> str:
    """Write values with spaces between.

    >>> spell((4, 0, 7))
    '4 0 7'
    """
    return " ".join(map(str, values))


def _question(chain: Chain) -> str:
    return f"add {spell(chain.added[::-1])}"


@lru_cache(maxsize=4096)
def _chain(values: int, base: int, seed: int) -> Chain:
    rng = Random(seed)
    value = first = rng.randrange(base)
    added, found = [], []
    for _ in range(values):
        added.append(rng.randrange(1, base))
        value = (value + added[-1]) % base
        found.append(value)
    return Chain(first, tuple(added), tuple(found))
