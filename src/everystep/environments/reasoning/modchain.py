"""ModChain: chain arithmetic modulo a small base, worked out in one answer of running values; every problem has the same number of places.

How hard a problem is has two sides that are independent: how many steps it has, and which operators stand in it. An operator that somebody does not
know is guessed right with one chance in ``base`` a step, so problems of many unknown steps are never solved by chance, those of one often.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from types import MappingProxyType
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

OPERATORS: Mapping[str, Callable[[int, int], int]] = MappingProxyType(
    {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "#": lambda a, b: a + 2 * b,
        "@": lambda a, b: 2 * a + b,
        "^": max,
        "!": min,
        "%": lambda a, b: a * a + b,
    }
)
"""What each operator does to the value so far and the operand, before the base is taken out."""

_ANSWER = re.compile(r"\s*(?:=\s*[0-9]\s*)+", re.ASCII)
_TEXT_LIMIT = 400


@dataclass(frozen=True, slots=True)
class Problem:
    """The first value, the operators with their operands, and the value after each."""

    first: int
    steps: tuple[tuple[str, int], ...]
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class State:
    """The problem, and whether it was answered."""

    problem: Problem
    answered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModChain:
    """Options: the number of ``steps``; the ``operators`` that may stand in a problem; the ``base``; ``places`` that a question is filled up to.

    One answer ends an episode: reward 1 if all running values are right, and 0 otherwise. Score ``right``: the share of right ones.
    """

    steps: int = 4
    operators: str = "+-*"
    base: int = 7
    places: int = 8

    name: ClassVar[str] = "modchain"
    summary: ClassVar[str] = "chain arithmetic modulo a small base, all running values in one answer"

    def __post_init__(self) -> None:
        check_range(self.name, "places", self.places, 1, 32)
        check_range(self.name, "steps", self.steps, 1, self.places)
        check_range(self.name, "base", self.base, 2, 10)
        if not self.operators or not set(self.operators) <= OPERATORS.keys():
            raise ConfigError(
                f"modchain: operators is {self.operators!r}; choose some of {''.join(OPERATORS)!r}."
            )

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return 1

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int | None:  # noqa: ARG002
        """Return ``None``: tasks are made from their index, without end."""
        return None

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split`` with its answer."""
        seed = split_seed(split, index, lambda seed: self._question(self._problem(seed)))
        problem = self._problem(seed)
        return make_task(
            self,
            split=split,
            index=index,
            seed=seed,
            instruction="",
            reference=_answer(problem.values),
            tags={"steps": str(self.steps), "operators": self.operators},
        )

    def start(self, task: Task) -> State:
        """Return the first state of ``task``."""
        return State(self._problem(task.seed))

    def observe(self, state: State, note: str = "") -> Observation:
        """Show the question."""
        shown = self._question(state.problem)
        return Observation(text=f"{note} . {shown}" if note else shown, anchor=f"{shown} {state.answered}")

    def parse(self, text: str) -> Action:
        """Read an answer: an equals sign and a digit for each step."""
        if len(text) > _TEXT_LIMIT or not _ANSWER.fullmatch(text):
            return Action(text=text, valid=False, reason="expected: = 3 = 0, a value for each step")
        return Action(text=text)

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """End the episode: reward 1 if the answer has every running value and nothing else."""
        after = State(state.problem, answered=True)
        if not action.valid:
            made = refused(after, action.reason or "not an action of this world", {"right": 0.0})
            return Outcome(state=after, reason=made.reason, over=True, success=False, scores=made.scores)
        found = [int(one) for one in action.text if one.isdigit()]
        true = state.problem.values
        right = sum(one == other for one, other in zip(found, true, strict=False)) / len(true)
        solved = tuple(found) == true
        return Outcome(state=after, reward=float(solved), over=True, success=solved, scores={"right": right})

    def oracle(self, state: State) -> str:
        """Return the right answer."""
        return _answer(state.problem.values)

    def _question(self, problem: Problem) -> str:
        told = [f"{operator} {operand}" for operator, operand in problem.steps]
        empty = [". ."] * (self.places - len(told))
        return " ".join([str(problem.first), *told, *empty])

    def _problem(self, seed: int) -> Problem:
        return _problem(self.steps, self.operators, self.base, seed)


def hasty(task: Task, world: ModChain, *, right: float, rng: Random) -> str:
    """Return an answer that takes each operator for what it is with probability ``right``, else for a plus."""
    problem = world.start(task).problem
    value, values = problem.first, []
    for operator, operand in problem.steps:
        value = OPERATORS[operator if rng.random() < right else "+"](value, operand) % world.base
        values.append(value)
    return _answer(tuple(values))


def _answer(values: tuple[int, ...]) -> str:
    return " ".join(f"= {value}" for value in values)


@lru_cache(maxsize=4096)
def _problem(steps: int, operators: str, base: int, seed: int) -> Problem:
    rng = Random(seed)
    value = first = rng.randrange(base)
    chain, values = [], []
    for _ in range(steps):
        operator, operand = rng.choice(operators), rng.randrange(1, base)
        value = OPERATORS[operator](value, operand) % base
        chain.append((operator, operand))
        values.append(value)
    return Problem(first, tuple(chain), tuple(values))
