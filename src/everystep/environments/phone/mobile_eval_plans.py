"""Mobile-Eval-E as a question: which operations will it take? (Wang et al. 2025, arXiv 2501.11733). One answer ends an episode.

There is no phone, so what is compared is the list of operations with the one that a person took, each in one spelling (``mobile_eval.plain``). The published score, the share of the rubrics that a run satisfies, is a
person's judgement of a run on a phone; the rubrics are in the task's reference for a judge that is asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from everystep.core.errors import ConfigError, WorldError, did_you_mean
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import ExactEnvironment, Outcome, check_place, make_task
from everystep.environments.phone.mobile_eval import EvalTask, load, plain, sample

DATA = ("published", "sample")
_LIMIT, _MOST = 20_000, 200
_BULLET = re.compile(r"^\s*(?:[-*]|\d{1,3}[.):])\s*")
_ASK = (
    "Which operations does this take on a phone, from the home screen? Write them in their order, one a line and nothing else: "
    "open APP; tap ELEMENT; type 'TEXT'; tap enter; swipe up to ...; back; home."
)


@dataclass(frozen=True, slots=True)
class State:
    """A task by its number, and whether it was answered."""

    number: int
    answered: bool = False


def operations_of(text: str) -> tuple[str, ...]:
    """Return the operations of a list, one a line, each in one spelling; bullets and numbers in front are left out.

    >>> operations_of("1. Open Maps\\n2. tap on the search bar\\n- type 'tea'")
    ('open <app>', 'tap search bar', 'type <text>')
    """
    lines = (_BULLET.sub("", line) for line in text[:_LIMIT].splitlines())
    return tuple(told for line in lines if (told := plain(line)))


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileEvalPlans:
    """Option: ``data`` is ``published`` (25 tasks) or ``sample`` (two). All tasks are in the split ``test``."""

    data: str = "published"

    name: ClassVar[str] = "mobile_eval_plans"
    summary: ClassVar[str] = "the operations that a phone task will take (Mobile-Eval-E)"

    def __post_init__(self) -> None:
        if self.data not in DATA:
            raise ConfigError(f"mobile_eval_plans: data is {self.data!r}. {did_you_mean(self.data, DATA)}")

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return 1

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int:
        """Return the number of tasks: all are for testing."""
        check_place(split, 0)
        return len(_tasks(self.data)) if split == "test" else 0

    def task(self, split: str, index: int) -> Task:
        """Return task ``index``; the reference has the person's operations and the rubrics."""
        check_place(split, index, self.size(split))
        one = _tasks(self.data)[index]
        reference: Any = {"operations": list(one.operations), "rubrics": list(one.rubrics)}
        tags = {"scenario": one.scenario, "apps": str(len(one.apps))}
        return make_task(self, split=split, index=index, seed=index, instruction=_ASK, reference=reference, tags=tags)  # fmt: skip

    def start(self, task: Task) -> State:
        """Return the beginning of ``task``."""
        if not 0 <= task.seed < len(_tasks(self.data)):
            raise WorldError(f"task {task.id!r} names task {task.seed}; there are {len(_tasks(self.data))}.")
        return State(task.seed)

    def observe(self, state: State, note: str = "") -> Observation:
        """Show the task and the apps that it needs."""
        one = _tasks(self.data)[state.number]
        lines = [*([note] if note else []), f"Task: {one.instruction}", f"Apps: {', '.join(one.apps)}"]
        return Observation(text="\n".join(lines), anchor=f"{one.id} {state.answered}")

    def parse(self, text: str) -> Action:
        """Accept a list of 1 to 200 operations."""
        count = len(operations_of(text)) if len(text) <= _LIMIT else 0
        if not 1 <= count <= _MOST:
            return Action(text=text, valid=False, reason=f"expected 1 to {_MOST} operations, one a line")
        return Action(text=text)

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """End the episode: reward 1 for the person's operations in their order."""
        right = action.valid and operations_of(action.text) == self.wanted(state.number)
        reason = None if action.valid else action.reason
        return Outcome(state=State(state.number, answered=True), reward=float(right), over=True, success=right, reason=reason)  # fmt: skip

    def oracle(self, state: State) -> str:
        """Return what the person did."""
        return "\n".join(_tasks(self.data)[state.number].operations)

    def wanted(self, number: int) -> tuple[str, ...]:
        """Return the person's operations in one spelling."""
        return operations_of("\n".join(_tasks(self.data)[number].operations))


@lru_cache(maxsize=2)
def _tasks(data: str) -> tuple[EvalTask, ...]:
    return tuple(sample() if data == "sample" else load())
