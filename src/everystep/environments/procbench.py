"""ProcBench (Fujisawa et al. 2024): follow a procedure exactly. A step is one state of the procedure, and its truth is known.

The published form asks for all states at once; here each is asked for by itself, so that steps can be voted on, checked and repaired.
Scores are the published ones: prefix accuracy (the right states before the first wrong one, over the longer of both sequences) and
sequential match (all are right).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import ClassVar

from everystep.core.errors import ConfigError, DataError, WorldError, did_you_mean
from everystep.core.records import Action, Json, Observation, Task
from everystep.environments.exact import (
    ExactEnvironment,
    Outcome,
    check_place,
    check_range,
    make_task,
    refused,
    split_of,
)
from everystep.environments.published import SAMPLES, find_file, read_text, source_folder

SOURCE = "https://github.com/ifujisawa/proc-bench (MIT): run its generator"
FAMILIES: Mapping[str, str] = {
    "task01": "sort",
    "task02": "gather",
    "task03": "count",
    "task04": "search",
    "task05": "copy",
    "task06": "substitute",
    "task07": "encode",
    "task08": "split1",
    "task09": "split2",
    "task10": "compose",
    "task11": "decompose",
    "task12": "rhythm",
    "task13": "compare",
    "task14": "count2",
    "task15": "decode",
    "task16": "pushpop",
    "task17": "rotate",
    "task18": "fill_word",
    "task19": "delete_char",
    "task20": "delete_word",
    "task21": "cumulate",
    "task22": "move_cyclic",
    "task23": "find_cyclic",
}
"""The published numbers of the families and the names of their templates."""
BANDS: Mapping[str, tuple[int, int]] = {"short": (2, 6), "medium": (7, 16), "long": (17, 25)}
"""How many states a case has, in the published bands."""

_LIMIT = 20_000
_GATHERED = ("count", "compare")
"""Families whose final state is made of all states before it: these are shown too."""
_ASKED = (
    "Work step by step. You are shown the current state; answer with the next state and nothing else, as JSON: "
    'a string in double quotes, a number, or a list such as ["a", "b"].'
)
_LAST = "Write FINAL and a space before the final state."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One problem with its truth, equal to itself only. ``states`` are the intermediate states and the final one, as JSON values."""

    family: str
    number: int
    prompt: str
    first: Json
    states: tuple[Json, ...]

    @property
    def band(self) -> str:
        """The published band of its length; ``other`` for lengths that have none."""
        return next((name for name, (low, high) in BANDS.items() if low <= len(self.states) <= high), "other")


@dataclass(frozen=True, slots=True)
class State:
    """The states that were answered so far, each as canonical JSON text, and how many at the start are right."""

    case: Case
    answers: tuple[str, ...] = ()
    right: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcBench:
    """Options: ``cases`` is ``sample`` (76 packaged ones), ``published`` (EVERYSTEP_DATA/procbench) or the path of a file;
    ``family`` and ``band`` (``short``, ``medium``, ``long``) select from them.

    ``strict``: a wrong state ends the episode; else it goes on from what was answered. ``ending`` ``known`` tells the number of steps,
    ``agent`` leaves it to the agent to say which state is the final one. ``reward`` ``match`` is 1 for a sequential match,
    ``prefix`` a share for each right state, together the prefix accuracy. ``horizon`` bounds the answers.
    """

    cases: str = "sample"
    family: str = "any"
    band: str = "any"
    strict: bool = True
    ending: str = "known"
    reward: str = "match"
    horizon: int = 60

    name: ClassVar[str] = "procbench"
    summary: ClassVar[str] = "ProcBench: follow a procedure, every state of it known; 2 to 25 steps"

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

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.horizon

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int:
        """Return the number of cases of ``split``."""
        check_place(split, 0)
        return len(_selected(load_cases(self.cases), self.family, self.band, split))

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``; a case belongs to a split by what it contains."""
        check_place(split, index, self.size(split))
        number = _selected(load_cases(self.cases), self.family, self.band, split)[index]
        case = load_cases(self.cases)[number]
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
        cases = load_cases(self.cases)
        if not 0 <= task.seed < len(cases):
            raise WorldError(f"task {task.id!r} names case {task.seed}; there are {len(cases)}.")
        return State(cases[task.seed])

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


def load_cases(cases: str) -> tuple[Case, ...]:
    """Return the cases of ``sample``, ``published`` or a file; ``ConfigError`` if they are not there."""
    if cases == "sample":
        return _load(SAMPLES / "procbench_sample.jsonl")
    path = Path(cases)
    if cases != "published" and path.is_file():
        return _load(path)
    folder = source_folder("procbench") if cases == "published" else path
    return _load(find_file(folder, "procbench_cases.jsonl", SOURCE))


@cache
def _load(path: Path) -> tuple[Case, ...]:
    return tuple(_case(json.loads(line), path) for line in read_text(path).splitlines() if line.strip())


def _case(entry: Mapping[str, Json], path: Path) -> Case:
    try:
        label = entry["label"]
        assert isinstance(label, dict)  # noqa: S101 -- a wrong shape is told below
        between = label["intermediate"]
        assert isinstance(between, list)  # noqa: S101
        return Case(
            family=FAMILIES[str(entry["task"])],
            number=int(str(entry["i"])),
            prompt=str(entry["prompt"]),
            first=label["init"],
            states=(*between, label["final"]),
        )
    except (KeyError, AssertionError, ValueError) as error:
        raise DataError(
            f"{path.name}: a line is no case of ProcBench ({error!r}); expected task, i, prompt and label with init, "
            f"intermediate and final, as made by {SOURCE}."
        ) from None


@lru_cache(maxsize=128)
def _selected(cases: tuple[Case, ...], family: str, band: str, split: str) -> tuple[int, ...]:
    return tuple(
        number
        for number, case in enumerate(cases)
        if family in ("any", case.family)
        and band in ("any", case.band)
        and split_of(f"{case.family} {case.number}") == split
    )
