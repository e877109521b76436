"""BFCL's multi-turn cases (Patil et al. 2025, "The Berkeley Function Calling Leaderboard"): a user's requests, one after another, to be met with calls of stateful tools.

Cases, tools and the checks of state and results are those of the package ``bfcl-eval``, which is loaded here and nowhere else. Its own checker
evaluates text as Python; here a call is JSON whose function and arguments are looked up, and nothing that a model wrote is evaluated. As there, a
tool that is not told (yet) can be called, and what is wrong with arguments is for the tool to say.
"""

from __future__ import annotations

import ast
import copy
import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any, ClassVar

from bfcl_eval.constants.executable_backend_config import (
    CLASS_FILE_PATH_MAPPING,
    MULTI_TURN_FUNC_DOC_FILE_MAPPING,
    STATELESS_CLASSES,
)
from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker import response_checker, state_checker

from everystep.core.errors import ConfigError, WorldError, did_you_mean
from everystep.core.protocols import Transition
from everystep.core.records import Action, Json, Observation, Task, ToolCall
from everystep.environments.exact import check_place, check_range, make_task, rebuilt, split_of
from everystep.tools.wire import ANSWER, read_calls

CATEGORIES = ("base", "miss_func", "miss_param", "long_context")
MORE_TOOLS = "There are more tools now. What about it now?"
LONGEST_RESULT = 4000
_TYPES = {"dict": "object", "float": "number", "tuple": "array"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One case: what the user says in each turn, the reference calls of each turn, the tools and those that come later."""

    id: str
    requests: tuple[str, ...]
    reference: tuple[tuple[ToolCall, ...], ...]
    classes: tuple[str, ...]
    start: Mapping[str, Any]
    hidden: frozenset[str]
    later: Mapping[int, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BFCL:
    """Options: ``category`` is base, miss_func (tools that come later), miss_param (a request that says too little) or long_context; ``calls`` is how many
    acts a turn has before it is over (20 in the benchmark).
    """

    category: str = "base"
    calls: int = 20

    name: ClassVar[str] = "bfcl"
    summary: ClassVar[str] = "a user's requests to stateful tools, turn by turn (BFCL multi-turn)"

    def __post_init__(self) -> None:
        check_range(self.name, "calls", self.calls, 1, 1000)
        if self.category not in CATEGORIES:
            raise ConfigError(
                f"bfcl: category is {self.category!r}. {did_you_mean(self.category, CATEGORIES)}"
            )

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return 8 * (self.calls + 1)

    def make(self) -> BFCLEnvironment:
        """Return an environment for tasks of this world."""
        return BFCLEnvironment(self)

    def size(self, split: str) -> int:
        """Return the number of cases of ``split``."""
        check_place(split, 0)
        return len(_places(self.category, split))

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``; cases with the same number share a split in every category."""
        check_place(split, index, self.size(split))
        place = _places(self.category, split)[index]
        case = load_cases(self.category)[place]
        return make_task(
            self,
            split=split,
            index=index,
            seed=place,
            instruction="",
            reference_calls=tuple(call for calls in case.reference for call in calls),
            tags={"case": case.id, "turns": str(len(case.requests)), "tools": "+".join(case.classes)},
        )


@dataclass(slots=True)
class _Running:
    """An episode: the tools as the agent and as the reference left them, what was returned so far, and the turn."""

    task: Task
    case: Case
    mine: dict[str, Any]
    theirs: dict[str, Any]
    turn: int = 0
    acts: int = 0
    steps: int = 0
    results: list[str] = field(default_factory=list)
    called: bool = False
    wrong: str | None = None
    over: bool = False
    seen: Observation = field(default_factory=lambda: Observation(text=""))


class BFCLEnvironment:
    """One episode at a time. An agent calls tools as JSON; ``{"answer": ...}``, or plain words, end the turn."""

    def __init__(self, world: BFCL) -> None:
        self._world = world
        self._now: _Running | None = None

    def reset(self, task: Task) -> Observation:
        """Begin the case of ``task``."""
        self._world = rebuilt(self._world, task)
        case = load_cases(self._world.category)[task.seed]
        tools = _instances(case)
        now = _Running(task=task, case=case, mine=tools, theirs=copy.deepcopy(tools))
        self._now = now
        lines = [
            'To call a tool, write {"tool": NAME, "arguments": {...}}. To answer the user, write {"answer": TEXT}.'
        ]
        now.seen = self._shown(now, "\n".join([*lines, _manual(self.tools()), f"User: {case.requests[0]}"]))
        return now.seen

    def tools(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what can be called in this turn: the descriptions by name, with JSON schemas."""
        now = self._begun()
        hidden = set(now.case.hidden)
        hidden |= {name for turn, names in now.case.later.items() if turn > now.turn for name in names}
        return {name: one for name, one in _described(now.case.classes).items() if name not in hidden}

    def parse(self, text: str) -> Action:
        """Read calls; text without a brace is an answer."""
        if "{" not in text:
            return Action(text=text, calls=(ToolCall(name=ANSWER, arguments={ANSWER: text.strip()}),))
        calls = read_calls(text)
        if isinstance(calls, str):
            return Action(text=text, valid=False, reason=calls)
        reason = self._reason(calls)
        return (
            Action(text=text, calls=calls)
            if reason is None
            else Action(text=text, valid=False, reason=reason)
        )

    def step(self, action: Action) -> Transition:
        """Make the calls, or end the turn; after the last turn the reward says whether every turn was met."""
        now = self._begun()
        if now.over:
            raise WorldError("step was called, but the episode has ended. Call reset or restore first.")
        now.steps += 1
        now.acts += 1
        reason = action.reason if not action.valid else self._reason(action.calls)
        ends = not reason and action.calls[0].name == ANSWER
        told = f"Not done: {reason}" if reason else ""
        if not reason and not ends:
            results = [_called(now.mine, call) for call in action.calls]
            now.results += results
            now.called = True
            told = "\n".join(
                one if len(one) <= LONGEST_RESULT else f"{one[:LONGEST_RESULT]} ..." for one in results
            )
        scores = {"valid": float(not reason)}
        if ends or now.acts >= self._world.calls:
            return self._turned(now, told, reason, scores)
        now.seen = self._shown(now, told)
        truncated = now.over = now.steps >= self._world.max_steps
        return Transition(
            observation=now.seen,
            reward=0.0,
            truncated=truncated,
            valid=not reason,
            reason=reason,
            scores=scores,
        )

    def _turned(self, now: _Running, told: str, reason: str | None, scores: dict[str, float]) -> Transition:
        wrong = _checked(now)
        now.wrong = now.wrong or wrong
        now.turn, now.acts, now.called = now.turn + 1, 0, False
        over = now.over = now.turn >= len(now.case.requests)
        said = "" if over else f"User: {now.case.requests[now.turn]}"
        if now.turn in now.case.later:
            described = _described(now.case.classes)
            said = f"{_manual({name: described[name] for name in now.case.later[now.turn]})}\n{said}"
        now.seen = self._shown(now, "\n".join(part for part in (told, said) if part))
        met = now.wrong is None
        return Transition(
            observation=now.seen,
            reward=float(over and met),
            terminated=over,
            success=met if over else None,
            valid=reason is None,
            reason=reason,
            scores={**scores, "turn": float(wrong is None)},
        )

    def oracle(self) -> str:
        """Return the next reference call of the turn, or the end of it. It follows the reference from the start only."""
        now = self._begun()
        calls = [
            {"tool": call.name, "arguments": dict(call.arguments)} for call in now.case.reference[now.turn]
        ]
        if len(calls) >= self._world.calls and not now.acts:
            return json.dumps(calls)  # all at once: one at a time, the turn would be over too soon
        if now.acts < len(calls) < self._world.calls:
            return json.dumps(calls[now.acts])
        return json.dumps({ANSWER: "done"})

    def snapshot(self) -> _Running:
        """Return the complete state."""
        return copy.deepcopy(self._begun())

    def restore(self, state: Any) -> Observation:
        """Put back a snapshot."""
        if not isinstance(state, _Running):
            raise WorldError(
                f"cannot restore a {type(state).__name__}. Give back what snapshot returned, unchanged."
            )
        self._world = rebuilt(self._world, state.task)
        self._now = copy.deepcopy(state)
        return self._now.seen

    def close(self) -> None:
        """Forget the episode."""
        self._now = None

    def _begun(self) -> _Running:
        if self._now is None:
            raise WorldError("no episode has begun. Call reset first.")
        return self._now

    def _shown(self, now: _Running, text: str) -> Observation:
        return Observation(text=text, info={"turn": now.turn})

    def _reason(self, calls: Sequence[ToolCall]) -> str | None:
        if not calls:
            return "no call and no answer"
        known = _described(self._begun().case.classes)
        for call in calls:
            if call.name == ANSWER:
                if len(calls) > 1:
                    return "an answer stands alone, without other calls"
            elif call.name not in known:
                return f"there is no tool {call.name[:80]!r}. {did_you_mean(call.name[:80], self.tools())}"
        return None


def _checked(now: _Running) -> str | None:
    """Play the reference of the turn and say what is not met, by the benchmark's own checks."""
    calls = now.case.reference[now.turn]
    results = [_called(now.theirs, call) for call in calls]
    if not calls:
        return None  # the request cannot be met yet; the benchmark asks nothing of such a turn
    if not now.called:
        return "nothing was called"
    for verdict in (
        state_checker(now.mine, now.theirs),
        response_checker(list(now.results), results, now.turn),
    ):
        if not verdict["valid"]:
            return str(verdict["error_type"])
    return None


def _called(tools: Mapping[str, Any], call: ToolCall) -> str:
    """Call a tool by its name and return what it gave, as text; whatever happens in it is a result."""
    for one in tools.values():
        method = getattr(one, call.name, None) if not call.name.startswith("_") else None
        if callable(method):
            try:
                value = method(**copy.deepcopy(dict(call.arguments)))
            except Exception as error:  # the tools raise many types
                return f"Error during execution: {error}"
            if isinstance(value, dict):
                try:
                    return json.dumps(value)
                except TypeError:
                    pass
            return str(value)
    return f"Error during execution: there is no tool {call.name!r}"


def _instances(case: Case) -> dict[str, Any]:
    made = {}
    for name in case.classes:
        one = getattr(importlib.import_module(CLASS_FILE_PATH_MAPPING[name]), name)()
        if name not in STATELESS_CLASSES:
            one._load_scenario(
                copy.deepcopy(case.start.get(name, {})), long_context="long_context" in case.id
            )
        made[name] = one
    return made


def _manual(tools: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n".join(
        f"- {name}: {' '.join(str(one['description']).split())} Arguments: {json.dumps(one['parameters'])}"
        for name, one in tools.items()
    )


# --- reading --------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _places(category: str, split: str) -> tuple[int, ...]:
    cases = load_cases(category)
    return tuple(n for n, case in enumerate(cases) if split_of(case.id.rsplit("_", 1)[1]) == split)


@lru_cache(maxsize=4)
def load_cases(category: str) -> tuple[Case, ...]:
    """Load the 200 cases of a category from the package; once a process."""
    name = f"BFCL_v4_multi_turn_{category}.json"
    answers = {one["id"]: one["ground_truth"] for one in _lines(f"possible_answer/{name}")}
    return tuple(_case(one, answers[one["id"]]) for one in _lines(name))


def _lines(name: str) -> list[dict[str, Any]]:
    text = files("bfcl_eval").joinpath("data", *name.split("/")).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _case(raw: Mapping[str, Any], answers: Sequence[Sequence[str]]) -> Case:
    return Case(
        id=str(raw["id"]),
        requests=tuple(
            "\n".join(str(one["content"]) for one in turn) if turn else MORE_TOOLS for turn in raw["question"]
        ),
        reference=tuple(
            tuple(_call(text, tuple(raw["involved_classes"])) for text in turn) for turn in answers
        ),
        classes=tuple(raw["involved_classes"]),
        start=raw["initial_config"],
        hidden=frozenset(raw.get("excluded_function", ())),
        later={int(turn): tuple(names) for turn, names in raw.get("missed_function", {}).items()},
    )


def _call(text: str, classes: tuple[str, ...]) -> ToolCall:
    """Read a reference call such as ``cd(folder='a')``: literals only; arguments by place get their names."""
    node = ast.parse(text.strip(), mode="eval").body
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ConfigError(f"bfcl: {text!r} is no reference call.")
    names = list(_described(classes)[node.func.id]["parameters"]["properties"])
    placed: dict[str, Json] = {names[at]: ast.literal_eval(one) for at, one in enumerate(node.args)}
    named: dict[str, Json] = {str(one.arg): ast.literal_eval(one.value) for one in node.keywords}
    return ToolCall(name=node.func.id, arguments=placed | named)


@lru_cache(maxsize=64)
def _described(classes: tuple[str, ...]) -> Mapping[str, Mapping[str, Any]]:
    found = {}
    for name in classes:
        for one in _lines(f"multi_turn_func_doc/{MULTI_TURN_FUNC_DOC_FILE_MAPPING[name]}"):
            found[str(one["name"])] = {
                "description": one["description"],
                "parameters": _schema(one["parameters"]),
            }
    return found


def _schema(value: Any) -> Any:
    """Return a description with JSON schema's names of types."""
    if isinstance(value, dict):
        kind = value.get("type")
        made = {key: _schema(one) for key, one in value.items()}
        return made | {"type": _TYPES.get(kind, kind)} if isinstance(kind, str) else made
    return [_schema(one) for one in value] if isinstance(value, list) else value
