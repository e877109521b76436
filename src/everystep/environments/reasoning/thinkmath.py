"""ThinkMath: one question, and a decision before it: think, line by line, or answer at once.

The questions are StepMath's chains, short and long ones mixed, on a clock of ten: only the last digit of a value is kept, so that a very small
model can learn its sums. The agent's first turn is a judge segment and a mode tag (``judge hard mode on``), its second the answer, with a think
segment before it exactly if the mode is on. So each segment is a step, and can have credit of its own. Thinking costs tokens and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from string import ascii_lowercase
from typing import ClassVar

from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.records import Action, Observation, Step, Task
from everystep.environments.exact import (
    ExactEnvironment,
    Outcome,
    check_range,
    make_task,
    refused,
    split_seed,
)
from everystep.environments.reasoning.numerals import NUMBER, read
from everystep.environments.reasoning.stepmath import Problem

JUDGEMENTS = ("easy", "hard")
MODES = ("on", "off")
DECISION, ANSWER = "decision", "answer"
"""The two segments of an episode, each a step."""
THINGS = (
    *("cups", "balls", "boxes", "lamps", "coins", "books", "hats", "shoes"),
    *("keys", "pens", "nuts", "eggs", "bags", "maps", "cards", "bells"),
)
"""What is counted. It changes nothing: it makes questions different whose sums are the same."""

_CLOCK = 10
_DECIDE = re.compile(r"judge (?P<judgement>easy|hard) mode (?P<mode>on|off)", re.ASCII)
_REPLY = re.compile(rf"(?:think (?P<lines>[-+=a-z0-9 ]*?) )?answer (?P<answer>{NUMBER})", re.ASCII)
_TEXT_LIMIT = 400


@dataclass(frozen=True, slots=True)
class State:
    """The question, and the mode once it is decided."""

    thing: str
    problem: Problem
    mode: str = ""
    over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkMath:
    """Options: an easy question has 1 to ``easy`` steps that each add or subtract one, a hard one ``low`` to ``high`` steps with operands of 1
    to ``top``; ``hard`` is the share of hard ones. ``force`` lists decisions for one mode only (``on`` or ``off``; empty: both).
    """

    easy: int = 4
    low: int = 5
    high: int = 8
    hard: float = 0.348
    top: int = 2
    force: str = ""

    name: ClassVar[str] = "thinkmath"
    summary: ClassVar[str] = "sums in a chain, with a decision first: think line by line, or answer at once"

    def __post_init__(self) -> None:
        for option, value in (("easy", self.easy), ("low", self.low)):
            check_range(self.name, option, value, 1, 24)
        check_range(self.name, "high", self.high, self.low, 24)
        check_range(self.name, "hard", self.hard, 0.0, 1.0)
        check_range(self.name, "top", self.top, 1, 9)
        if self.force and self.force not in MODES:
            raise ConfigError(f"thinkmath: force is {self.force!r}. {did_you_mean(self.force, MODES)}")

    @property
    def max_steps(self) -> int:
        """The step limit of an episode: a decision and an answer, and as many that could not be taken."""
        return 4

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int | None:  # noqa: ARG002
        """Return ``None``: tasks are made from their index, without end."""
        return None

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split`` with its answer; the tag ``steps`` says how long its chain is."""
        seed = split_seed(split, index, lambda seed: question(self._start(seed)))
        state = self._start(seed)
        return make_task(
            self,
            split=split,
            index=index,
            seed=seed,
            instruction=question(state),
            reference=state.problem.values[-1],
            tags={"steps": str(len(state.problem.values))},
        )

    def start(self, task: Task) -> State:
        """Return the first state of ``task``: nothing is decided."""
        return self._start(task.seed)

    def observe(self, state: State, note: str = "") -> Observation:
        """Ask for the decision, then for the answer. That a mode is forced is not shown."""
        shown = "done" if state.over else "solve" if state.mode else "decide"
        modes = (self.force,) if self.force else MODES
        return Observation(
            text=f"{note} . {shown}" if note else shown,
            anchor=f"{shown} {state.mode}".strip(),
            admissible=None
            if state.mode
            else tuple(decide(one, mode) for one in JUDGEMENTS for mode in modes),
        )

    def parse(self, text: str) -> Action:
        """Read ``judge easy mode off``, or ``answer 2`` with ``think b + 5 = 2`` and so on before it."""
        told = text.strip()
        if len(told) <= _TEXT_LIMIT and (_DECIDE.fullmatch(told) or _read(told) is not None):
            return Action(text=text)
        return Action(
            text=text, valid=False, reason="expected: judge WORD mode WORD, or: think LINES answer NUMBER"
        )

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """Take the decision, or the answer: it ends the episode, with reward 1 if it is right and keeps to the mode."""
        told = action.text.strip() if action.valid and len(action.text) <= _TEXT_LIMIT else ""
        if not state.mode:
            decided = _DECIDE.fullmatch(told)
            if decided is None or (self.force and decided["mode"] != self.force):
                return refused(state, action.reason or "not a decision that can be taken here")
            return Outcome(state=replace(state, mode=decided["mode"]))
        reply, over = _read(told), replace(state, over=True)
        if reply is None or (reply.lines is not None) != (state.mode == "on"):
            reason = action.reason or f"mode {state.mode} asks for another form"
            return Outcome(state=over, over=True, success=False, reason=reason)
        right = reply.answer == state.problem.values[-1]
        return Outcome(state=over, reward=float(right), over=True, success=right)

    def oracle(self, state: State) -> str:
        """Return a decision (think about more than ``easy`` steps, unless it is forced), or the right answer."""
        if state.mode:
            return solve(state.problem, think=state.mode == "on")
        hard = self.force == "on" if self.force else len(state.problem.values) > self.easy
        return decide(JUDGEMENTS[hard], "on" if hard else "off")

    def _start(self, seed: int) -> State:
        return _drawn(self.easy, self.low, self.high, self.hard, self.top, seed)


@dataclass(frozen=True, slots=True)
class Reply:
    """What an answer says: its think lines, ``None`` where there is no think segment, and the number."""

    lines: str | None
    answer: int


def forced(task: Task, mode: str) -> Task:
    """Return the same task with one mode only to choose from: what is seen stays the same, and its id, and so its group."""
    return replace(task, config={**task.config, "force": mode})


def force_of(task: Task) -> str:
    """Return the mode that a task forces, empty where it leaves the choice."""
    return str(task.config.get("force", ""))


def mode_of(step: Step) -> str | None:
    """Return the mode that a decision chose; ``None`` for a step that is no decision."""
    decided = _DECIDE.fullmatch(step.action.text.strip()) if step.action.valid else None
    return None if decided is None else decided["mode"]


def segment_of(step: Step) -> str:
    """Return the segment that a step is."""
    return ANSWER if mode_of(step) is None else DECISION


def decide(judgement: str, mode: str) -> str:
    """Return the text of a decision."""
    return f"judge {judgement} mode {mode}"


def question(state: State) -> str:
    """Return the text of a question: what is counted, the first value, then each operation, under letters.

    >>> question(State("cups", Problem(seed=0, first=7, operations=(("+", 5), ("-", 3)), values=(2, 9))))
    'cups a 7 b + 5 c - 3'
    """
    told = "".join(
        f" {label} {operation} {operand}" for label, operation, operand in _labelled(state.problem)
    )
    return f"{state.thing} {ascii_lowercase[0]} {state.problem.first}{told}"


def solve(problem: Problem, *, think: bool) -> str:
    """Return the right answer, with the value after each operation before it where it thinks.

    >>> solve(Problem(seed=0, first=7, operations=(("+", 5), ("-", 3)), values=(2, 9)), think=True)
    'think b + 5 = 2 c - 3 = 9 answer 9'
    """
    answer = f"answer {problem.values[-1]}"
    if not think:
        return answer
    lines = (
        f"{label} {operation} {operand} = {value}"
        for (label, operation, operand), value in zip(_labelled(problem), problem.values, strict=True)
    )
    return f"think {' '.join(lines)} {answer}"


def words() -> set[str]:
    """Return texts with every word of this world: what a tokenizer must know."""
    longest = Problem(
        seed=0, first=0, operations=(("+", 1), ("-", 2)) * 12, values=tuple(range(10)) * 2 + (0,) * 4
    )
    every = {question(State(thing, longest)) for thing in THINGS} | {solve(longest, think=True)}
    return every | {decide(*one) for one in zip(JUDGEMENTS, MODES, strict=True)} | {"decide", "solve", "done"}


def _labelled(problem: Problem) -> list[tuple[str, str, int]]:
    return [(ascii_lowercase[place], *one) for place, one in enumerate(problem.operations, 1)]


@lru_cache(maxsize=4096)
def _drawn(easy: int, low: int, high: int, hard: float, top: int, seed: int) -> State:
    rng = Random(seed)
    steps, largest = (rng.randint(low, high), top) if rng.random() < hard else (rng.randint(1, easy), 1)
    value = first = rng.randrange(_CLOCK)
    operations: list[tuple[str, int]] = []
    values: list[int] = []
    for _ in range(steps):
        operation, operand = rng.choice("+-"), rng.randint(1, largest)
        value = (value + operand if operation == "+" else value - operand) % _CLOCK
        operations.append((operation, operand))
        values.append(value)
    problem = Problem(seed=seed, first=first, operations=tuple(operations), values=tuple(values))
    return State(rng.choice(THINGS), problem)


@lru_cache(maxsize=4096)
def _read(text: str) -> Reply | None:
    match = _REPLY.fullmatch(text)
    answer = None if match is None else read(match["answer"])
    return None if match is None or answer is None else Reply(match["lines"], answer)
