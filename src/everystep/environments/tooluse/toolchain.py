"""ToolChain: a chain of table look-ups and arithmetic, to be done with tools, then answered.

Every task has a reference tool trace, so calls can be matched with it, and an answer that equals a
result half-way earns a part of the reward. Results and operands are spelled digit by digit: a small
vocabulary holds numbers of any length, and ``digits`` makes them too long to reckon without tools.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import ClassVar

from everystep.core.errors import ConfigError
from everystep.core.records import Action, Json, Observation, Task, ToolCall
from everystep.environments.exact import (
    ExactEnvironment,
    Outcome,
    check_range,
    make_task,
    split_seed,
)
from everystep.environments.reasoning.numerals import read, spell

ITEMS = ("fig", "pear", "plum", "lime", "date", "kiwi", "corn", "bean")
OPERATIONS = {"add": "plus", "subtract": "minus", "multiply": "times"}
_CALL = re.compile(r"call\s+([a-z]+)\s*\(([^()]*)\)", re.ASCII)
_ANSWER = re.compile(r"answer\s+(.+)", re.ASCII)
_RULES = (
    "work from left to right . tools : call lookup ( item = NAME ) , call add ( a = N , b = N ) , "
    "call subtract ( a = N , b = N ) , call multiply ( a = N , b = N ) . then : answer N ."
)
_NO_TOOLS = "work from left to right . there are no tools : answer N ."


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A table, the question and its ``parts`` (operation, item or number), and the calls that answer it with their results."""

    seed: int
    table: tuple[tuple[str, int], ...]
    question: str
    parts: tuple[tuple[str, str | int], ...]
    literals: tuple[int, ...]
    calls: tuple[str, ...]
    results: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class State:
    """What has been called so far with its result: a set, so neither order nor repeats matter."""

    problem: Problem
    known: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChain:
    """Options: ``turns``, the tool calls that a task needs, or at most needs where ``fewest`` is given; ``digits`` of its
    operands; ``items`` in the table, which the instruction tells if it is ``shown``; ``mode`` ``choose`` lists up to ``choices``
    admissible actions (the right one, the rest distractors), ``free`` takes any text; ``horizon`` 0 means ``2 * turns + 2``.

    ``answers``: so many answers can be chosen at any time, the right one and slips, beside the ``choices``: when to stop calling
    tools is the agent's decision, and a guess is right once in ``answers``. ``tools=False`` leaves only those: the table must be shown.
    With ``notes`` every observation says how far the chain is and what is left of the question, so that no turn needs memory.
    ``partial``: an answer that equals the k-th of n results, not the last, earns ``partial * k / n``. ``rules=False``
    leaves out how calls are written, two thirds of the instruction: enough for a model that has seen demonstrations.
    """

    turns: int = 3
    fewest: int = 0
    digits: int = 2
    items: int = 4
    mode: str = "choose"
    choices: int = 6
    horizon: int = 0
    answers: int = 0
    shown: bool = False
    tools: bool = True
    notes: bool = False
    partial: float = 0.5
    rules: bool = True

    name: ClassVar[str] = "toolchain"
    summary: ClassVar[str] = (
        "chains of look-ups and arithmetic with tools, a reference trace, partial answers"
    )

    def __post_init__(self) -> None:
        check_range(self.name, "turns", self.turns, 1, 32)
        check_range(self.name, "digits", self.digits, 1, 12)
        check_range(self.name, "items", self.items, 2, len(ITEMS))
        check_range(self.name, "choices", self.choices, 2, 64)
        check_range(self.name, "horizon", self.horizon, 0, 1_000_000)
        check_range(self.name, "fewest", self.fewest, 0, self.turns)
        check_range(self.name, "answers", self.answers, 0, 9)
        check_range(self.name, "partial", self.partial, 0, 1)
        if self.mode not in ("choose", "free"):
            raise ConfigError(f"toolchain: mode is {self.mode!r}; it must be 'choose' or 'free'.")
        if self.answers == 1 or (self.answers and self.mode == "free"):
            raise ConfigError(
                f"toolchain: answers is {self.answers!r} in mode {self.mode!r}; it must be 0, or 2 or more in mode 'choose'."
            )
        if not self.tools and not (self.shown and (self.answers or self.mode == "free")):
            raise ConfigError(
                "toolchain: without tools the table must be shown (shown=true), and in mode 'choose' there must be answers "
                "to choose from (answers=4)."
            )

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.horizon or 2 * self.turns + 2

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int | None:  # noqa: ARG002
        """Return ``None``: tasks are made from their index, without end."""
        return None

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``, with its answer and its reference calls."""
        seed = split_seed(split, index, lambda seed: self._content(self._problem(seed)))
        problem = self._problem(seed)
        return make_task(
            self,
            split=split,
            index=index,
            seed=seed,
            instruction=self._instruction(problem),
            reference=problem.results[-1],
            reference_calls=tuple(call for text in problem.calls for call in self.parse(text).calls),
            tags={"turns": str(len(problem.calls)), "digits": str(self.digits)},
        )

    def start(self, task: Task) -> State:
        """Return the first state of ``task``: nothing is known."""
        return State(self._problem(task.seed))

    def observe(self, state: State, note: str = "") -> Observation:
        """Show the last result, and the notes if asked for; the anchor is the set of calls made so far."""
        anchor = " ; ".join(sorted(text for text, _ in state.known)) or "start"
        told = note or "no result yet"
        return Observation(
            text=f"{told} . {_notes(state)}" if self.notes else told,
            anchor=anchor,
            admissible=self._listed(state) if self.mode == "choose" else None,
        )

    def parse(self, text: str) -> Action:
        """Read ``call TOOL ( NAME = VALUE , ... )`` or ``answer NUMBER``, strictly but for spaces."""
        stripped = text.strip()
        if match := _CALL.fullmatch(stripped):
            call = _read_call(match[1], match[2])
            if isinstance(call, str):
                return Action(text=text, valid=False, reason=call)
            return Action(text=text, calls=(call,))
        if (match := _ANSWER.fullmatch(stripped)) and read(match[1]) is not None:
            return Action(text=text)
        return Action(
            text=text, valid=False, reason="expected: call TOOL ( NAME = VALUE , ... ) or answer NUMBER"
        )

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """Run a tool, or take the answer, which ends the episode with a reward from 0 to 1."""
        read_again = self.parse(action.text)
        if not (action.valid and read_again.valid):
            reason = action.reason or read_again.reason or "not an action of this world"
            return _failed(state, reason, {"format": 0.0})
        call = read_again.calls[0] if read_again.calls else None
        answer = None if call else read(action.text.strip().removeprefix("answer"))
        text = write_call(call) if call else f"answer {spell(answer or 0)}"
        if self.mode == "choose" and text not in self._listed(state):
            return _failed(state, "not among the choices", {"format": 1.0})
        if call is None:
            return _answered(state, answer, self.partial)
        result = _run(state.problem, call) if self.tools else "there are no tools"
        if isinstance(result, str):
            return _failed(state, result, {"format": 1.0, "executed": 0.0})
        after = State(state.problem, state.known | {(text, result)})
        progress = float(_missing(state) - _missing(after))
        return Outcome(
            state=after,
            note=f"result {spell(result)}",
            scores={"valid": 1.0, "progress": progress, "format": 1.0, "executed": 1.0},
        )

    def oracle(self, state: State) -> str:
        """Return the next reference call that was not made yet, or the answer."""
        made = {text for text, _ in state.known}
        following = (text for text in state.problem.calls if text not in made and self.tools)
        return next(following, f"answer {spell(state.problem.results[-1])}")

    def _listed(self, state: State) -> tuple[str, ...]:
        answers = _slips(state.problem, self.answers) if self.answers else ()
        calls = _choices(state.problem, state.known, self.choices) if self.tools else ()
        return tuple(sorted({*answers, *calls}))

    def _instruction(self, problem: Problem) -> str:
        told = " , ".join(f"{name} {spell(value)}" for name, value in problem.table)
        rules = "" if not self.rules else _RULES if self.tools else _NO_TOOLS
        parts = [
            problem.question,
            f"table : {told}" if self.shown else "",
            rules,
        ]
        return " . ".join(part for part in parts if part)

    def _problem(self, seed: int) -> Problem:
        turns = Random(f"turns {seed}").randint(self.fewest, self.turns) if self.fewest else self.turns
        return _problem(turns, self.digits, self.items, seed)

    @staticmethod
    def _content(problem: Problem) -> str:
        return f"{problem.question} {problem.table}"


def write_call(call: ToolCall) -> str:
    """Return the canonical text of a call.

    >>> write_call(ToolCall(name="add", arguments={"a": 37, "b": 5}))
    'call add ( a = 3 7 , b = 5 )'
    """
    told = " , ".join(
        f"{name} = {spell(value) if isinstance(value, int) else value}"
        for name, value in call.arguments.items()
    )
    return f"call {call.name} ( {told} )"


def _read_call(name: str, arguments: str) -> ToolCall | str:
    """Return the call, or what is wrong with it."""
    expected = ("item",) if name == "lookup" else ("a", "b") if name in OPERATIONS else None
    if expected is None:
        return f"there is no tool {name}"
    parts = [part.partition("=") for part in arguments.split(",")]
    if tuple(part[0].strip() for part in parts) != expected:
        return f"{name} takes {' , '.join(expected)}"
    values: dict[str, Json] = {}
    for key, _, value in parts:
        number = read(value)
        if name == "lookup":
            values["item"] = value.strip()
        elif number is None:
            return f"{key.strip()} must be a number"
        else:
            values[key.strip()] = number
    return ToolCall(name=name, arguments=values)


def _run(problem: Problem, call: ToolCall) -> int | str:
    """Return the result of a call, or the error that the tool gives."""
    if call.name == "lookup":
        item = call.arguments["item"]
        return next((value for name, value in problem.table if name == item), "the table has no such item")
    a, b = call.arguments["a"], call.arguments["b"]
    assert isinstance(a, int)  # noqa: S101 -- for the type checker; the parser read numbers
    assert isinstance(b, int)  # noqa: S101
    return _apply(call.name, a, b)


def _apply(operation: str, a: int, b: int) -> int:
    return a + b if operation == "add" else a - b if operation == "subtract" else a * b


def _failed(state: State, reason: str, scores: Mapping[str, float]) -> Outcome[State]:
    return Outcome(
        state=state,
        note=f"error {reason}",
        reason=reason,
        scores={"valid": 0.0, "progress": 0.0, **scores},
    )


def _answered(state: State, answer: int | None, partial: float) -> Outcome[State]:
    results = state.problem.results
    right = answer == results[-1]
    reached = max((k for k, result in enumerate(results, start=1) if result == answer), default=0)
    return Outcome(
        state=state,
        note="right" if right else "wrong",
        reward=1.0 if right else partial * reached / len(results),
        over=True,
        success=right,
        scores={
            "valid": 1.0,
            "progress": float(_missing(state)) if right else 0.0,
            "format": 1.0,
            "answer": float(right),
        },
    )


def _notes(state: State) -> str:
    """Return how far the chain is, and what is left of the question with the values that are known.

    ``so far 3 7 . left plus value of plum``, and after that look-up ``so far 3 7 . left plus 5 5``.
    """
    known = dict(state.known)

    def value_of(operand: str | int) -> int | None:
        if isinstance(operand, int):
            return operand
        return known.get(write_call(ToolCall(name="lookup", arguments={"item": operand})))

    parts = state.problem.parts
    value, done = value_of(parts[0][1]), 0
    while value is not None:
        done += 1
        operand = value_of(parts[done][1]) if done < len(parts) else None
        if operand is None:
            break
        following = known.get(write_call(ToolCall(name=parts[done][0], arguments={"a": value, "b": operand})))
        if following is None:
            break
        value = following
    left = [(name, told if (found := value_of(told)) is None else found) for name, told in parts[done:]]
    so_far = "" if value is None else f"so far {spell(value)} . "
    return f"{so_far}left {_question(left) or 'nothing'}"


def _missing(state: State) -> int:
    made = {text for text, _ in state.known}
    return 1 + sum(text not in made for text in state.problem.calls)


def _question(parts: Sequence[tuple[str, str | int]]) -> str:
    """Return parts of a question in words: ``value of fig plus 5``."""
    told = [
        (OPERATIONS.get(name, ""), f"value of {one}" if isinstance(one, str) else spell(one))
        for name, one in parts
    ]
    return " ".join(word for pair in told for word in pair if word)


@lru_cache(maxsize=4096)
def _problem(turns: int, digits: int, items: int, seed: int) -> Problem:
    rng = Random(seed)
    low, high = (10 ** (digits - 1) if digits > 1 else 1), 10**digits - 1
    table = tuple((name, rng.randint(low, high)) for name in rng.sample(ITEMS, items))
    calls: list[ToolCall] = []
    results: list[int] = []
    literals: list[int] = []

    def call(name: str, **arguments: int | str) -> int:
        calls.append(ToolCall(name=name, arguments=dict(arguments)))
        value = (
            dict(table)[str(arguments["item"])]
            if name == "lookup"
            else _apply(name, int(arguments["a"]), int(arguments["b"]))
        )
        results.append(value)
        return value

    unused = [name for name, _ in table]
    told: str | int
    item = unused.pop(rng.randrange(len(unused)))
    value = call("lookup", item=item)
    parts: list[tuple[str, str | int]] = [("", item)]
    while len(calls) < turns:
        operation = rng.choice(list(OPERATIONS))
        if turns - len(calls) >= 2 and unused and operation != "multiply" and rng.random() < 0.5:
            item = unused.pop(rng.randrange(len(unused)))
            operand, told = call("lookup", item=item), item
        else:
            operand = rng.randint(2, 9) if operation == "multiply" else rng.randint(low, high)
            literals.append(operand)
            told = operand
        if operation == "subtract" and operand > value:
            operation = "add"
        parts.append((operation, told))
        value = call(operation, a=value, b=operand)
    return Problem(
        seed=seed,
        table=table,
        question=_question(parts),
        parts=tuple(parts),
        literals=tuple(literals),
        calls=tuple(map(write_call, calls)),
        results=tuple(results),
    )


@lru_cache(maxsize=65536)
def _choices(problem: Problem, known: frozenset[tuple[str, int]], count: int) -> tuple[str, ...]:
    """Return the admissible actions of a state: what is right, and distractors, in alphabetical order."""
    made = {text for text, _ in known}
    right = next((text for text in problem.calls if text not in made), None)
    if right is None:
        right = f"answer {spell(problem.results[-1])}"
    rng = Random(f"{problem.seed} {sorted(made)}")
    pool = _distractors(problem, known)
    others = [text for kind in rng.sample(pool, min(count, len(pool))) if (text := _spelled(kind)) != right]
    return tuple(sorted([right, *others[: count - 1]]))


@lru_cache(maxsize=4096)
def _slips(problem: Problem, count: int) -> tuple[str, ...]:
    """Return the right answer and others that differ from it in one digit, each at a place of its own where there are enough."""
    right = problem.results[-1]
    rng = Random(f"answers {problem.seed}")
    told = str(right)
    found = {right}
    for place in rng.sample(range(len(told)), len(told)) * count:
        if len(found) == count:
            break
        digits = [digit for digit in "0123456789"[place == 0 :] if digit != told[place]]
        found.add(int(told[:place] + rng.choice(digits) + told[place + 1 :]))
    return tuple(f"answer {spell(value)}" for value in sorted(found))


def _distractors(
    problem: Problem, known: frozenset[tuple[str, int]]
) -> list[tuple[str, str] | tuple[str, int] | tuple[str, int, int]]:
    """Return every call and answer that the known values and the question's numbers allow, not yet spelled."""
    values = sorted({value for _, value in known})
    operands = sorted({*values, *problem.literals})
    lookups = [("lookup", name) for name, _ in problem.table]
    answers = [("answer", value) for value in values]
    calls = [(name, a, b) for name in OPERATIONS for a in values for b in operands if a != b]
    return [*lookups, *answers, *calls]


def _spelled(kind: tuple[str, str] | tuple[str, int] | tuple[str, int, int]) -> str:
    if len(kind) == 3:
        return f"call {kind[0]} ( a = {spell(kind[1])} , b = {spell(kind[2])} )"
    value = kind[1]
    return f"answer {spell(value)}" if isinstance(value, int) else f"call lookup ( item = {value} )"
