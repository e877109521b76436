"""StepMath: arithmetic in a chain, one thought line and one expression line a step, each step checked exactly.

What the agent writes becomes the value that the next step starts from, so a mistake is carried on
until it is taken ``back``. Three facts are scored apart: whether the expression is right, whether the
thought names the right operation, and how much nearer the solution came.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
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
from everystep.environments.reasoning.numerals import NUMBER, read, spell

VERBS = {"+": "add", "-": "subtract", "*": "multiply by"}

_STEP = re.compile(
    rf"thought\s*:\s*(?P<thought>[^:]*?)\s*step\s*:\s*"
    rf"(?:(?P<back>back)|(?P<left>{NUMBER})\s*(?P<operation>[-+*])\s*(?P<right>{NUMBER})\s*=\s*(?P<result>{NUMBER}))",
    re.ASCII,
)
_TEXT_LIMIT = 400
_NOTHING = {"correct": 0.0, "thought": 0.0, "progress": 0.0}
_BACK = "thought: that was wrong\nstep: back"

MISTAKES = ("slip", "operation", "stale", "drift")
THOUGHTS = ("operation", "filler", "hedged")
FILLER = "now the next step"
SURE, UNSURE = "surely", "perhaps"
HEDGES_RIGHTLY = 0.8
"""The share of hedged thoughts that are sure of a right step or unsure of a wrong one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The first value, the operations with their operands, and the value after each of them."""

    seed: int
    first: int
    operations: tuple[tuple[str, int], ...]
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """What an action says: its thought without spaces, and (a, operation, b, result) or ``None`` for ``back``."""

    thought: str
    expression: tuple[int, str, int, int] | None


@dataclass(frozen=True, slots=True)
class State:
    """The results written so far, right or wrong."""

    problem: Problem
    written: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMath:
    """Options: the number of ``steps``; ``digits`` of an operand; the ``operations`` used; ``mode`` ``free`` takes any
    text, ``choose`` lists up to ``choices`` steps of which one is right; ``horizon`` 0 means three times ``steps``. Without ``undo`` a
    step stands once it is written.

    ``mistakes`` are the kinds that are listed beside the right step, with commas: ``slip`` (a result that is 1 or 10 off), ``drift`` (1 to 9 off,
    always to the same side in a problem, so that two do not cancel), ``operation`` (another one), ``stale`` (a true equation that starts from an
    earlier value than the last). ``thoughts``: ``operation`` names what the
    expression does, ``filler`` says nothing, ``hedged`` (in mode ``choose``) also says how sure it is, rightly in four of five.
    """

    steps: int = 4
    digits: int = 1
    operations: str = "+-*"
    mode: str = "free"
    choices: int = 5
    horizon: int = 0
    undo: bool = True
    mistakes: str = "slip,operation"
    thoughts: str = "operation"

    name: ClassVar[str] = "stepmath"
    summary: ClassVar[str] = "chain arithmetic with a thought and an expression a step, checked exactly"

    def __post_init__(self) -> None:
        check_range(self.name, "steps", self.steps, 1, 64)
        check_range(self.name, "digits", self.digits, 1, 12)
        check_range(self.name, "choices", self.choices, 2, 16)
        check_range(self.name, "horizon", self.horizon, 0, 1_000_000)
        if not self.operations or set(self.operations) - set(VERBS):
            raise ConfigError(f"stepmath: operations is {self.operations!r}; choose some of '+-*'.")
        if self.mode not in ("choose", "free"):
            raise ConfigError(f"stepmath: mode is {self.mode!r}; it must be 'choose' or 'free'.")
        kinds = self.mistakes.split(",")
        if not set(kinds) <= set(MISTAKES) or self.thoughts not in THOUGHTS:
            raise ConfigError(
                f"stepmath: mistakes is {self.mistakes!r} and thoughts {self.thoughts!r}; choose some of "
                f"{','.join(MISTAKES)}, and one of {', '.join(THOUGHTS)}."
            )
        if self.mode == "free" and self.thoughts == "hedged":
            raise ConfigError(
                "stepmath: in mode 'free' thoughts are the agent's own; 'hedged' needs mode 'choose'."
            )
        longest = self.digits + self.steps * (self.digits if "*" in self.operations else 1)
        if longest > 36:
            raise ConfigError(
                f"stepmath: {self.steps} steps with {self.digits} digits grow beyond 36 digits. "
                "Use fewer steps or digits, or leave '*' out of the operations."
            )

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.horizon or 3 * self.steps

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int | None:  # noqa: ARG002
        """Return ``None``: tasks are made from their index, without end."""
        return None

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split`` with its answer."""
        seed = split_seed(split, index, lambda seed: _question(self._problem(seed)))
        problem = self._problem(seed)
        return make_task(
            self,
            split=split,
            index=index,
            seed=seed,
            instruction=_question(problem),
            reference=problem.values[-1],
            tags={"steps": str(self.steps), "digits": str(self.digits)},
        )

    def start(self, task: Task) -> State:
        """Return the first state of ``task``: nothing is written."""
        return State(self._problem(task.seed))

    def observe(self, state: State, note: str = "") -> Observation:
        """Show the value that the next step starts from, and how many steps are written."""
        shown = f"value {spell(_value(state))} . steps {spell(len(state.written))}"
        return Observation(
            text=f"{note} . {shown}" if note else shown,
            anchor=" ".join(map(str, state.written)) or "start",
            admissible=self._listed(state) if self.mode == "choose" else None,
        )

    def parse(self, text: str) -> Action:
        """Read ``thought: ...`` and ``step: A + B = C`` or ``step: back``; line breaks are spaces."""
        if _read(text) is None:
            return Action(text=text, valid=False, reason="expected: thought: WORDS step: A + B = C")
        return Action(text=text)

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """Write a step or take one back. The last step ends the episode: reward 1 if its value is right."""
        line = _read(action.text) if action.valid else None
        if line is None:
            return refused(state, action.reason or "not an action of this world", _NOTHING)
        if self.mode == "choose" and not any(line == _read(listed) for listed in self._listed(state)):
            return refused(state, "not among the choices", _NOTHING)
        if line.expression is None:
            if not (state.written and self.undo):
                why = "nothing is written that could be taken back" if self.undo else "what is written stands"
                return refused(state, why, _NOTHING)
            after = State(state.problem, state.written[:-1])
            return Outcome(
                state=after, note="taken back", scores={**_NOTHING, "progress": _gain(state, after)}
            )
        operation, operand = state.problem.operations[len(state.written)]
        value, result = _value(state), line.expression[3]
        correct = line.expression == (value, operation, operand, _apply(operation, value, operand))
        expected = FILLER if self.thoughts == "filler" else _thought(operation, operand)
        thought = _unhedged(line.thought) == _squeeze(expected)
        after = State(state.problem, (*state.written, result))
        over = len(after.written) == self.steps
        solved = over and result == state.problem.values[-1]
        scores = {"correct": float(correct), "thought": float(thought), "progress": _gain(state, after)}
        return Outcome(
            state=after,
            reward=float(solved),
            over=over,
            success=solved if over else None,
            scores=scores,
        )

    def oracle(self, state: State) -> str:
        """Return the right next step, or ``back`` while a wrong one stands; without ``undo``, the true equation from what stands."""
        if self.undo and len(state.written) > _right(state):
            return _BACK
        return _write(state, _true(state), self.thoughts)

    def _listed(self, state: State) -> tuple[str, ...]:
        return _choices(state, self)

    def _problem(self, seed: int) -> Problem:
        return _problem(self.steps, self.digits, self.operations, seed)


def write_step(left: int, operation: str, right: int, result: int, *, thought: str = "") -> str:
    r"""Return the text of a step, by default with a thought that names the operation.

    >>> write_step(7, "+", 5, 12)
    'thought: add 5\nstep: 7 + 5 = 1 2'
    """
    expression = f"{spell(left)} {operation} {spell(right)} = {spell(result)}"
    return f"thought: {thought or _thought(operation, right)}\nstep: {expression}"


Expression = tuple[int, str, int, int]
"""Left side, operation, right side, result."""


def _true(state: State) -> Expression:
    """Return the right next expression from what stands."""
    operation, operand = state.problem.operations[len(state.written)]
    value = _value(state)
    return value, operation, operand, _apply(operation, value, operand)


def _write(state: State, expression: Expression, thoughts: str) -> str:
    """Return the text of a step with its thought."""
    if thoughts == "operation":
        return write_step(*expression)
    if thoughts == "filler":
        return write_step(*expression, thought=FILLER)
    rightly = Random(f"{state.problem.seed} {state.written} {expression}").random() < HEDGES_RIGHTLY
    hedge = SURE if (expression == _true(state)) == rightly else UNSURE
    return write_step(*expression, thought=f"{hedge} {_thought(expression[1], expression[2])}")


def _unhedged(thought: str) -> str:
    return thought.removeprefix(SURE).removeprefix(UNSURE)


@lru_cache(maxsize=4096)
def _read(text: str) -> Line | None:
    match = _STEP.fullmatch(text.strip()) if len(text) <= _TEXT_LIMIT else None
    if match is None:
        return None
    thought = _squeeze(match["thought"])
    if match["back"]:
        return Line(thought, None)
    left, right, result = (read(match[name]) for name in ("left", "right", "result"))
    if left is None or right is None or result is None:
        return None
    return Line(thought, (left, match["operation"], right, result))


def _squeeze(text: str) -> str:
    return "".join(text.split())


def _thought(operation: str, operand: int) -> str:
    return f"{VERBS[operation]} {spell(operand)}"


def _question(problem: Problem) -> str:
    told = "".join(f" . {_thought(operation, operand)}" for operation, operand in problem.operations)
    return f"start with {spell(problem.first)}{told} ."


def _apply(operation: str, a: int, b: int) -> int:
    return a + b if operation == "+" else a - b if operation == "-" else a * b


def _value(state: State) -> int:
    return state.written[-1] if state.written else state.problem.first


def _right(state: State) -> int:
    """Return how many steps are right before the first wrong one."""
    pairs = zip(state.written, state.problem.values, strict=False)
    return next((k for k, (wrote, true) in enumerate(pairs) if wrote != true), len(state.written))


def _gain(before: State, after: State) -> float:
    return float(_distance(before) - _distance(after))


def _distance(state: State) -> int:
    """Return the number of actions to the solution: steps to take back, then steps to write."""
    right = _right(state)
    return len(state.written) - right + len(state.problem.values) - right


@lru_cache(maxsize=4096)
def _problem(steps: int, digits: int, operations: str, seed: int) -> Problem:
    rng = Random(seed)
    low, high = (10 ** (digits - 1) if digits > 1 else 2), 10**digits - 1
    value = first = rng.randint(low, high)
    chain: list[tuple[str, int]] = []
    values: list[int] = []
    for _ in range(steps):
        operand = rng.randint(low, high)
        operation = rng.choice(operations)
        if operation == "-" and operand > value and "+" in operations:
            operation = "+"
        value = _apply(operation, value, operand)
        chain.append((operation, operand))
        values.append(value)
    return Problem(seed=seed, first=first, operations=tuple(chain), values=tuple(values))


@lru_cache(maxsize=65536)
def _choices(state: State, world: StepMath) -> tuple[str, ...]:
    """Return the right step, likely mistakes, and ``back`` where a step can be taken back, in alphabetical order."""
    done = len(state.written)
    if done == len(state.problem.operations):
        return ()
    right = _true(state)
    wrong = [one for kind in world.mistakes.split(",") for one in _mistakes(state, right, kind, world)]
    listed = [_write(state, right, world.thoughts)]
    if state.written and world.undo:
        listed.append(_BACK)
    rng = Random(f"{state.problem.seed} {state.written}")
    drawn = rng.sample(wrong, min(world.choices - len(listed), len(wrong)))
    return tuple(sorted({*listed, *(_write(state, one, world.thoughts) for one in drawn)}))


def _mistakes(state: State, right: Expression, kind: str, world: StepMath) -> list[Expression]:
    """Return the mistakes of a kind; another operation is one of the world's, where it has another."""
    value, operation, operand, result = right
    if kind == "slip":
        return [(value, operation, operand, result + error) for error in (-10, -1, 1, 10)]
    if kind == "operation":
        known = [other for other in VERBS if other != operation]
        others = [other for other in known if other in world.operations] or known
        return [(value, other, operand, _apply(other, value, operand)) for other in others]
    if kind == "drift":
        side = Random(f"side {state.problem.seed}").choice((-1, 1))
        errors = Random(f"drift {state.problem.seed} {state.written}").sample(range(1, 10), 2)
        return [(value, operation, operand, result + side * error) for error in errors]
    earlier = {state.problem.first, *state.written} - {value}
    return [(old, operation, operand, _apply(operation, old, operand)) for old in sorted(earlier)]
