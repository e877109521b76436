"""PlanBench's Blocksworld (Valmeekam et al. 2023, arXiv 2206.10498): write a plan, or say whether a given one is valid. One answer ends an episode.

The questions are the published ones, word for word, with their one example; the data is not packaged (``EVERYSTEP_DATA``). A plan is read line by line as the published code does it: a line counts that
has a verb and exactly as many blocks as it needs, other lines are passed over. It is right when every action's preconditions are met and the goal holds at the end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from everystep.core.errors import ConfigError, DataError, did_you_mean
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import (
    ExactEnvironment,
    Outcome,
    check_place,
    check_range,
    free_text,
    make_task,
)
from everystep.environments.published import find_file, read_text

SOURCE = "https://github.com/karthikv792/LLMs-Planning (MIT): plan-bench"
FILES: Mapping[str, str] = {
    "generation": "task_1_plan_generation.json",
    "verification": "task_3_plan_verification.json",
}
COLOURS = (
    "red",
    "blue",
    "orange",
    "yellow",
    "white",
    "magenta",
    "black",
    "cyan",
    "green",
    "violet",
    "silver",
    "gold",
)
"""The blocks in words; in a published plan they are a, b, c, ..."""
END = "[PLAN END]"
_LIMIT = 20_000
_NEEDS: Mapping[str, int] = {"unstack": 2, "stack": 2, "pick-up": 1, "put-down": 1}
_VERB = re.compile(r"\b(unstack|stack|pick[ -]?up|put[ -]?down)\b")
_BLOCK = re.compile(rf"\b({'|'.join(COLOURS)})\b")
_FACT = re.compile(
    r"the (?:(?P<clear>\w+) block is clear|hand is (?P<empty>empty)|(?P<up>\w+) block is on top of the (?P<down>\w+) block|(?P<table>\w+) block is on the table)"
)
_STEP = re.compile(r"\bstep\s*#?\s*(\d{1,3})\b")

Act = tuple[str, ...]
"""A verb (``unstack``, ``stack``, ``pick-up``, ``put-down``) and its blocks by colour."""
Fact = tuple[str, ...]
"""``clear X``, ``empty``, ``on X Y``, ``table X`` or ``holding X``."""


# --- the domain ---------------------------------------------------------------------------------------


def facts_of(text: str) -> frozenset[Fact]:
    """Return the facts that a sentence of the published form states.

    >>> sorted(facts_of("the red block is clear, the hand is empty, the red block is on top of the blue block"))
    [('clear', 'red'), ('empty',), ('on', 'red', 'blue')]
    """
    found: set[Fact] = set()
    for match in _FACT.finditer(text):
        told = match.groupdict()
        if told["clear"]:
            found.add(("clear", told["clear"]))
        elif told["empty"]:
            found.add(("empty",))
        elif told["up"]:
            found.add(("on", told["up"], told["down"]))
        else:
            found.add(("table", told["table"]))
    return frozenset(found)


def needs_of(act: Act) -> tuple[Fact, ...]:
    """Return an action's preconditions."""
    verb, one, *other = act
    match verb:
        case "pick-up":
            return ("clear", one), ("table", one), ("empty",)
        case "put-down":
            return (("holding", one),)
        case "unstack":
            return ("on", one, other[0]), ("clear", one), ("empty",)
        case _:
            return ("clear", other[0]), ("holding", one)


def after(state: frozenset[Fact], act: Act) -> frozenset[Fact]:
    """Return the state behind an action whose preconditions are met."""
    verb, one, *other = act
    gone = set(needs_of(act))
    match verb:
        case "pick-up":
            new: set[Fact] = {("holding", one)}
        case "put-down":
            new = {("clear", one), ("table", one), ("empty",)}
        case "unstack":
            new = {("holding", one), ("clear", other[0])}
        case _:
            new = {("on", one, other[0]), ("clear", one), ("empty",)}
    return frozenset((state - gone) | new)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What is wrong with a plan: from 1 on the first ``step`` whose preconditions are not met, with those that are ``unmet``; with no such step the unmet part of the goal."""

    step: int | None = None
    unmet: frozenset[Fact] = frozenset()

    @property
    def valid(self) -> bool:
        """Whether nothing is."""
        return not self.unmet


def check(state: frozenset[Fact], goal: frozenset[Fact], plan: Iterable[Act]) -> Checked:
    """Carry out a plan and say what is wrong with it."""
    for number, act in enumerate(plan, start=1):
        unmet = frozenset(needs_of(act)) - state
        if unmet:
            return Checked(step=number, unmet=unmet)
        state = after(state, act)
    return Checked(unmet=goal - state)


def plan_of(text: str) -> tuple[Act, ...]:
    """Read a plan in words, up to its end mark.

    >>> plan_of("1. unstack the red block from the blue block\\nput down the red block\\nthen rest\\n[PLAN END]\\npick up the red block")
    (('unstack', 'red', 'blue'), ('put-down', 'red'))
    """
    made = []
    for line in text.partition(END)[0].lower().splitlines():
        verb = _VERB.search(line)
        blocks = _BLOCK.findall(line)
        if verb is not None:
            name = {"pick": "pick-up", "put": "put-down"}.get(re.split(r"[ -]|up|down", verb[1])[0], verb[1])
            if len(blocks) == _NEEDS[name]:
                made.append((name, *blocks))
    return tuple(made)


def published_plan(acts: Iterable[str]) -> tuple[Act, ...]:
    """Read a plan as the files have it.

    >>> published_plan(["(unstack d c)", "(put-down d)"])
    (('unstack', 'yellow', 'orange'), ('put-down', 'yellow'))
    """
    made = []
    for act in acts:
        verb, *letters = act.strip("()").split()
        made.append((verb, *(COLOURS[ord(letter) - ord("a")] for letter in letters)))
    return tuple(made)


def said(plan: Iterable[Act]) -> str:
    """Return a plan in words."""
    words = {
        "pick-up": "pick up the {} block", "put-down": "put down the {} block",
        "stack": "stack the {} block on top of the {} block", "unstack": "unstack the {} block from on top of the {} block",
    }  # fmt: skip
    return "\n".join([*(words[verb].format(*blocks) for verb, *blocks in plan), END])


# --- the published cases ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCase:
    """A published case: the question, the state and goal of its last statement, the plan that is given there (verification), the published answer and, for GPT-4's plans, its verdict."""

    number: int
    question: str
    state: frozenset[Fact]
    goal: frozenset[Fact]
    given: tuple[Act, ...]
    gold: tuple[Act, ...] = ()
    answer: str = ""
    response: str | None = None
    extracted: tuple[Act, ...] = ()
    correct: bool | None = None


@cache
def plan_cases(part: str) -> tuple[PlanCase, ...]:
    """Return the published cases of ``generation`` or ``verification``. ``ConfigError`` where the file is not there, ``DataError`` for another form."""
    path = find_file("planbench", FILES[part], SOURCE)
    try:
        return tuple(map(_case, json.loads(read_text(path))["instances"]))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError(f"{str(path)!r} has another form than PlanBench's: {error!r}.") from None


def _case(raw: Mapping[str, Any]) -> PlanCase:
    statement = raw["query"].rpartition("[STATEMENT]")[2]
    start, _, rest = statement.partition("My goal is")
    wanted, _, plan = rest.partition("My plan is as follows")
    published = raw["ground_truth_plan"]
    told = isinstance(published, str)
    return PlanCase(
        number=raw["instance_id"],
        question=raw["query"],
        state=facts_of(start),
        goal=facts_of(wanted),
        given=plan_of(plan.partition("[PLAN]")[2]),
        gold=() if told else published_plan(published),
        answer=published.strip() if told else "",
        response=raw.get("llm_raw_response"),
        extracted=published_plan(raw.get("extracted_llm_plan", ())),
        correct=raw.get("llm_correct"),
    )


def verdict_of(text: str) -> tuple[bool | None, int | None]:
    """Return what an answer says of a plan: whether it is valid, ``None`` where it does not say, and the step that it names.

    >>> verdict_of("The above plan is invalid. The following action at step 2 has unmet preconditions"), verdict_of("The above plan is valid.")
    ((False, 2), (True, None))
    """
    told = text.lower()
    step = _STEP.search(told)
    if re.search(r"\b(invalid|not valid|isn't valid)\b", told):
        return False, int(step[1]) if step else None
    return (True, None) if re.search(r"\bvalid\b", told) else (None, None)


# --- the world ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class State:
    """Which case, and whether it was answered."""

    number: int
    answered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanBench:
    """Options: ``part`` is generation (write a plan) or verification (say whether the given one is valid, and at which step an action fails). All cases are in the split ``test``."""

    part: str = "generation"

    name: ClassVar[str] = "planbench"
    summary: ClassVar[str] = "Blocksworld in words: write a plan, or check one (PlanBench)"

    def __post_init__(self) -> None:
        if self.part not in FILES:
            raise ConfigError(f"planbench: part is {self.part!r}. {did_you_mean(self.part, FILES)}")

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return 1

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for cases of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int:
        """Return the number of cases: all are for testing."""
        check_place(split, 0)
        return len(plan_cases(self.part)) if split == "test" else 0

    def task(self, split: str, index: int) -> Task:
        """Return case ``index``."""
        check_place(split, index, self.size(split))
        case = plan_cases(self.part)[index]
        length = len(case.gold or case.given)
        return make_task(
            self, split=split, index=index, seed=index, instruction="",
            reference=said(case.gold) if case.gold else case.answer,
            tags={"case": str(case.number), "length": str(length), "blocks": str(len({name for fact in case.state for name in fact[1:]}))},
        )  # fmt: skip

    def start(self, task: Task) -> State:
        """Return the case of ``task``."""
        check_range(self.name, "seed", task.seed, 0, len(plan_cases(self.part)) - 1)
        return State(task.seed)

    def observe(self, state: State, note: str = "") -> Observation:
        """Show the question."""
        text = plan_cases(self.part)[state.number].question
        return Observation(
            text=f"{note}\n{text}" if note else text, anchor=f"{state.number} {state.answered}"
        )

    def parse(self, text: str) -> Action:
        """Accept any text up to 20,000 characters that is not blank."""
        return free_text(text, _LIMIT, "an answer")

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """End the episode: reward 1 for a plan that reaches the goal, or for the right verdict."""
        case = plan_cases(self.part)[state.number]
        scores: dict[str, float] = {}
        if self.part == "generation":
            right = action.valid and check(case.state, case.goal, plan_of(action.text)).valid
        else:
            truth, told = verdict_of(case.answer), verdict_of(action.text)
            right = action.valid and told[0] == truth[0]
            scores["located"] = float(action.valid and told == truth)
        return Outcome(
            state=State(state.number, answered=True), reward=float(right), over=True, success=right, scores=scores,
            reason=None if action.valid else action.reason,
        )  # fmt: skip

    def oracle(self, state: State) -> str:
        """Return the published plan, or the published answer."""
        case = plan_cases(self.part)[state.number]
        return said(case.gold) if case.gold else case.answer
