"""ProcBench (Fujisawa et al. 2024): follow a procedure exactly. A step is one state of the procedure, and its truth is known.

The published form asks for all states at once; here each is asked for by itself, so that steps can be voted on, checked and repaired.
Scores are the published ones: prefix accuracy (the right states before the first wrong one, over the longer of both sequences) and
sequential match (all are right).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from everystep.core.errors import ConfigError, WorldError, did_you_mean
from everystep.core.records import Action, Json, Observation, Task
from everystep.environments.exact import (
    ExactEnvironment,
    Outcome,
    check_place,
    check_range,
    make_task,
    refused,
    split_of,
    split_seed,
)
from everystep.environments.procedures.families import CHECKED, drawn, family_of, prompt
from everystep.environments.reasoning.procbench_cases import (
    BANDS,
    FAMILIES,
    Case,
    find_cases,
    load_cases,
    read_cases,
)

GENERATED = "generated"
"""The name of the cases that are drawn from a seed, without end."""
LENGTHS = (2, 25)
"""How many states a generated case has where nothing else is asked for, as the published ones have."""

_LIMIT = 20_000
_MOST = 100
_GATHERED = ("count", "compare")
"""Families whose final state is made of all states before it: these are shown too."""
_ASKED = (
    "Work step by step. You are shown the current state; answer with the next state and nothing else, as JSON: "
    'a string in double quotes, a number, or a list such as ["a", "b"].'
)
_LAST = "Write FINAL and a space before the final state."


@dataclass(frozen=True, slots=True)
class State:
    """The states that were answered so far, each as canonical JSON text, and how many at the start are right."""

    case: Case
    answers: tuple[str, ...] = ()
    right: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcBench:
    """Options: ``cases`` is ``sample`` (76 packaged ones), ``published`` (EVERYSTEP_DATA/procbench), the path of a file, or ``generated``: drawn
    from a seed, without end, by our own generators. ``family``, ``band`` (``short``, ``medium``, ``long``) and ``lengths`` (``LOW-HIGH``, numbers of states)
    select from them. Generated cases have 2 to 25 states unless ``lengths`` says otherwise, up to 100, and are of the 19 families that were checked unless ``family`` names
    one of the other four.

    ``strict``: a wrong state ends the episode; else it goes on from what was answered. ``ending`` ``known`` tells the number of steps,
    ``agent`` leaves it to the agent to say which state is the final one. ``reward`` ``match`` is 1 for a sequential match,
    ``prefix`` a share for each right state, together the prefix accuracy. ``horizon`` bounds the answers.
    """

    cases: str = "sample"
    family: str = "any"
    band: str = "any"
    lengths: str = "any"
    strict: bool = True
    ending: str = "known"
    reward: str = "match"
    horizon: int = 60

    name: ClassVar[str] = "procbench"
    summary: ClassVar[str] = (
        "ProcBench: follow a procedure, every state of it known; 2 to 25 steps; published or generated"
    )

    def __post_init__(self) -> None:
        check_range(self.name, "horizon", self.horizon, 1, 1_000_000)
        for option, value, known in (
            ("family", self.family, ("any", *FAMILIES.values())),
            ("band", self.band, ("any", *BANDS)),
            ("ending", self.ending, ("known", "agent")),
            ("reward", self.reward, ("match", "prefix")),
        ):
            if value not in known:
                raise ConfigError(f"procbench: {option} is {value!r}. {did_you_mean(value, known)}")
        low, high = self.bounds
        if self.cases == GENERATED:
            check_range(self.name, "lengths", low, 2, _MOST)
            check_range(self.name, "lengths", high, 2, min(_MOST, self.horizon))

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest number of states of a case, by ``lengths`` and ``band``."""
        low, high = LENGTHS if self.cases == GENERATED else (0, 1_000_000)
        if self.lengths != "any":
            told = re.fullmatch(r"(\d{1,6})-(\d{1,6})", self.lengths)
            if told is None:
                raise ConfigError(
                    f"procbench: lengths is {self.lengths!r}; write any, or LOW-HIGH such as 2-6."
                )
            low, high = int(told[1]), int(told[2])
        if self.band != "any":
            low, high = max(low, BANDS[self.band][0]), min(high, BANDS[self.band][1])
        if low > high:
            raise ConfigError(
                f"procbench: no number of states is in lengths {self.lengths!r} and band {self.band!r}. "
                "Choose a band that overlaps, or leave one of both out."
            )
        return low, high

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.horizon

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int | None:
        """Return the number of cases of ``split``, ``None`` for generated ones: there is no end of them."""
        check_place(split, 0)
        return None if self.cases == GENERATED else len(self._selected(split))

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``; a case belongs to a split by what it contains."""
        check_place(split, index, self.size(split))
        number = (
            split_seed(split, index, lambda seed: self._case(seed).prompt)
            if self.cases == GENERATED
            else self._selected(split)[index]
        )
        case = self._case(number)
        parts = (case.prompt.strip(), _ASKED, _LAST if self.ending == "agent" else "")
        return make_task(
            self,
            split=split,
            index=index,
            seed=number,
            instruction="\n\n".join(part for part in parts if part),
            reference=list(case.states),
            tags={"family": case.family, "band": case.band, "length": str(len(case.states))},
        )

    def start(self, task: Task) -> State:
        """Return the first state of ``task``."""
        return State(self._case(task.seed))

    def _selected(self, split: str) -> tuple[int, ...]:
        return _selected(find_cases(self.cases), self.family, self.bounds, split)

    def _case(self, number: int) -> Case:
        if self.cases == GENERATED:
            return _generated(
                number, tuple(CHECKED) if self.family == "any" else (self.family,), *self.bounds
            )
        cases = load_cases(self.cases)
        if not 0 <= number < len(cases):
            raise WorldError(f"a task of procbench names case {number}; there are {len(cases)}.")
        return cases[number]

    def observe(self, state: State, note: str = "") -> Observation:
        """Show the number of the step and the current state; the anchor is the states answered so far."""
        case, step = state.case, len(state.answers) + 1
        of = f" of {len(case.states)}" if self.ending == "known" else ""
        lines = [note] if note else []
        if case.family in _GATHERED and state.answers:
            lines.append(f"States so far: {', '.join(state.answers)}")
        lines.append(
            f"Step {step}{of}. Current state: {state.answers[-1] if state.answers else canonical(case.first)}"
        )
        return Observation(text="\n".join(lines), anchor="\n".join(state.answers) or "start")

    def parse(self, text: str) -> Action:
        """Accept one JSON string, number or list of them, and ``FINAL`` before it where the agent ends the case."""
        read = self._read(text)
        if isinstance(read, str):
            return Action(text=text, valid=False, reason=read)
        return Action(text=text)

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """Compare the state with the truth. ``right`` is 1 or 0; ``prefix_accuracy`` counts what is still missing as wrong."""
        read = self._read(action.text) if action.valid else action.reason or "not an action of this world"
        if isinstance(read, str):
            return refused(state, read, {"right": 0.0, "prefix_accuracy": _accuracy(state)})
        value, final = read
        truth, answers = state.case.states, state.answers
        place = len(answers)
        if final and place >= len(truth) and answers[-1] == canonical(value):
            place -= (
                1  # the final state was answered as if it were not the last; the benchmark drops that one
            )
        whole = final and place + 1 == len(truth)
        right = place < len(truth) and same(truth[place], value) and (not final or whole)
        told = canonical(value)
        kept = (*answers[:place], told)
        unbroken = state.right >= place
        after = State(state.case, kept, max(state.right, place + 1) if right and unbroken else state.right)
        over = final or (self.strict and not right)
        if self.ending == "known":
            over = over or len(kept) == len(truth)
        match = over and after.right == len(kept) == len(truth)
        gained = _accuracy(after) - _accuracy(state) if self.reward == "prefix" else float(match)
        return Outcome(
            state=after,
            reward=gained,
            over=over,
            success=match if over else None,
            scores={
                "right": float(right),
                "prefix_accuracy": _accuracy(after),
                **(
                    {"sequential_match": float(match), "final_match": float(same(truth[-1], value))}
                    if over
                    else {}
                ),
            },
        )

    def oracle(self, state: State) -> str:
        """Return the true next state."""
        truth, step = state.case.states, len(state.answers)
        if self.ending == "known":
            return canonical(truth[min(step, len(truth) - 1)])
        last = step >= len(truth) - 1
        return f"FINAL {canonical(truth[-1])}" if last else canonical(truth[step])

    def _read(self, text: str) -> tuple[Json, bool] | str:
        """Return the state and whether it is called final, or what is wrong with the text."""
        told = text.strip()
        final = self.ending == "agent" and told.startswith("FINAL ")
        value = _value(told.removeprefix("FINAL ").strip() if final else told)
        if value is None:
            return "expected the next state as JSON: a string in double quotes, a number, or a list of these"
        return value, final


def canonical(value: Json) -> str:
    """Return the one JSON text of a state, which answers are compared and counted by.

    >>> canonical(["a",  1])
    '["a", 1]'
    """
    return json.dumps(value, ensure_ascii=True)


def state_key(action: Action) -> str:
    """Return what votes on a step are counted by: the state, however its JSON was spaced, and whether it was called final.

    >>> state_key(Action(text='["a","b"]')) == state_key(Action(text=' ["a",  "b"]'))
    True
    """
    told = action.text.strip()
    final = told.startswith("FINAL ")
    value = _value(told.removeprefix("FINAL ").strip())
    return told if value is None else f"FINAL {canonical(value)}" if final else canonical(value)


def same(truth: Json, answer: Json) -> bool:
    """Compare as the benchmark does: by the type of the truth, numbers and their texts being equal.

    >>> same(5, "5"), same(["a", "1"], ["a", 1]), same("ab", ["ab"])
    (True, True, False)
    """
    if isinstance(truth, list) and isinstance(answer, list):
        return list(map(str, truth)) == list(map(str, answer))
    return not isinstance(truth, list) and not isinstance(answer, list) and str(truth) == str(answer)


def _value(text: str) -> Json:
    """Return a state, ``None`` if the text is none: strict JSON of strings, whole numbers and flat lists of them."""
    if len(text) > _LIMIT or text[:1] not in '"[-0123456789':
        return None
    try:
        value = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    parts = value if isinstance(value, list) else [value]
    return value if all(type(part) in (str, int) for part in parts) else None


def _accuracy(state: State) -> float:
    return state.right / max(len(state.case.states), len(state.answers))


@lru_cache(maxsize=128)
def _selected(path: Path, family: str, bounds: tuple[int, int], split: str) -> tuple[int, ...]:
    return tuple(
        number
        for number, case in enumerate(read_cases(path))
        if family in ("any", case.family)
        and bounds[0] <= len(case.states) <= bounds[1]
        and split_of(f"{case.family} {case.number}") == split
    )


@lru_cache(maxsize=1024)
def _generated(seed: int, families: tuple[str, ...], low: int, high: int) -> Case:
    problem = drawn(seed, families, low, high)
    return Case(
        family=family_of(problem),
        number=seed,
        prompt=prompt(problem),
        first=problem.first,
        states=problem.states(),
    )
