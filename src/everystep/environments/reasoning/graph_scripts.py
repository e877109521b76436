"""What comes next, asked of an agent: an everyday task, its steps as an article lists them, and the steps so far (Zhou et al., ACL 2023, arXiv 2305.17542).

An episode is a start sequence of held-out paths. Asked for the ``next`` step, the agent names up to three, the likeliest first; asked for the ``rest``, it goes on until it says that it is
finished. Right is whatever some held-out path did.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import ClassVar

from everystep.core.errors import ConfigError, WorldError, did_you_mean
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import (
    SPLITS,
    ExactEnvironment,
    Outcome,
    check_place,
    check_range,
    make_task,
    refused,
)
from everystep.environments.reasoning.graph_paths import Part, Start, procedures, split, starts

FINISHED = "finished"
GUESSES = 3
"""The steps that are named when the next one is asked for: the published F1 is that of the first three."""
ASKED = ("next", "rest")


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A start sequence, the task that it belongs to, and paths that others took."""

    part: Part
    start: Start
    examples: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class State:
    """A case and the steps that were named."""

    case: Case
    named: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphScripts:
    """Options: ``ask`` is ``next`` or ``rest``; ``examples`` paths of others are shown (training paths); ``divided`` is the seed of the 80/20 split by path."""

    ask: str = "next"
    examples: int = 0
    divided: int = 0

    name: ClassVar[str] = "graph_scripts"
    summary: ClassVar[str] = "the next step, or the rest, of 17 everyday tasks that people do in many orders"

    def __post_init__(self) -> None:
        if self.ask not in ASKED:
            raise ConfigError(f"graph_scripts: ask is {self.ask!r}. {did_you_mean(self.ask, ASKED)}")
        check_range(self.name, "examples", self.examples, 0, 50)
        check_range(self.name, "divided", self.divided, 0, 1_000_000)

    @property
    def max_steps(self) -> int:
        """The step limit of an episode: a few answers may be refused."""
        return 2 * GUESSES if self.ask == "next" else 16

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for start sequences."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int:
        """Return the number of start sequences of a split."""
        check_place(split, 0)
        return len(_cases(self.divided, self.examples, split))

    def task(self, split: str, index: int) -> Task:
        """Return start sequence ``index``; the reference has the steps of the list, the next steps with their counts, and the completions."""
        check_place(split, index, self.size(split))
        case = _cases(self.divided, self.examples, split)[index]
        steps = case.part.procedure.steps
        lines = [
            f"The task is to {case.part.procedure.name}. An article lists these steps:",
            *(f"- {step}" for step in steps),
            "People take them in different orders and leave some out.",
        ]
        if case.examples:
            lines += ["What some did:", *(" / ".join(path) for path in case.examples)]
        if self.ask == "next":
            lines.append(
                "You see what somebody has done so far. Name the step that comes next, word for word as in the list; then the second likeliest, then the third."
            )
        else:
            lines.append(
                f"You see what somebody has done so far. Name the step that comes next, word for word as in the list, then the one after it, and so on; say {FINISHED!r} when nothing comes any more."
            )
        return make_task(
            self,
            split=split,
            index=index,
            seed=index if split == "test" else -index - 1,
            instruction="\n".join(lines),
            reference={
                "steps": list(steps),
                "next": dict(case.start.next),
                "completions": [list(one) for one in case.start.completions],
            },
            tags={
                "task": case.part.procedure.name,
                "done": str(len(case.start.done)),
                "right": str(len(case.start.next)),
            },
        )

    def start(self, task: Task) -> State:
        """Return the start sequence of ``task``."""
        known = _cases(self.divided, self.examples, task.split or "test")
        index = task.seed if task.seed >= 0 else -task.seed - 1
        if index >= len(known):
            raise WorldError(f"task {task.id!r} names start sequence {index}; there are {len(known)}.")
        return State(known[index])

    def observe(self, state: State, note: str = "") -> Observation:
        """Show the steps so far; the admissible answers are the steps that are left."""
        so_far = state.case.start.done if self.ask == "next" else (*state.case.start.done, *state.named)
        lines = [note] if note else []
        lines.append("Done so far: " + " / ".join(so_far))
        if self.ask == "next" and state.named:
            lines.append("Named as next: " + " / ".join(state.named))
        return Observation(
            text="\n".join(lines),
            admissible=tuple(self._open(state)),
            anchor="\n".join((*so_far, "", *state.named)),
        )

    def parse(self, text: str) -> Action:
        """Accept any line that is not blank; what is a step is known where it is executed."""
        told = text.strip()
        if not told or "\n" in told:
            return Action(text=text, valid=False, reason="expected one step of the list and nothing else")
        return Action(text=told)

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """Take note of a step. ``success`` is that the first one named is right (``next``), or that some held-out path went on so (``rest``)."""
        if not action.valid:
            return refused(state, action.reason or "not an action of this world")
        step = step_of(action.text, self._open(state))
        if step is None:
            return refused(state, "that is none of the steps that are left, word for word as in the list")
        named = state.named if step == FINISHED else (*state.named, step)
        after = State(state.case, named)
        start = state.case.start
        if self.ask == "rest":
            over = step == FINISHED or self._open(after) == [FINISHED]
            right = over and named in start.completions
            return Outcome(state=after, reward=float(right), over=over, success=right if over else None)
        over = len(named) == GUESSES or not self._open(after)
        first = len(named) == 1 and named[0] in start.next
        return Outcome(
            state=after, reward=float(first), over=over, success=named[0] in start.next if over else None
        )

    def oracle(self, state: State) -> str:
        """Return a right next step that is not named yet, the frequent ones first; of the rest, the first completion that agrees with what was named."""
        start, left = state.case.start, self._open(state)
        if self.ask == "next":
            right = sorted((step for step in start.next if step in left), key=lambda step: -start.next[step])
            return (right or left)[0]
        count = len(state.named)
        fitting = next((one for one in start.completions if one[:count] == state.named), None)
        return fitting[count] if fitting is not None and len(fitting) > count else FINISHED

    def _open(self, state: State) -> list[str]:
        gone = {*state.case.start.done, *state.named}
        left = [step for step in state.case.part.procedure.steps if step not in gone]
        return [*left, FINISHED] if self.ask == "rest" else left


def step_of(text: str, steps: Iterable[str]) -> str | None:
    """Return the step that an answer names; case, spaces, a dash before it and the end point do not count.

    >>> step_of("- Peel the  bananas", ["peel the bananas.", "pour milk into the bananas."])
    'peel the bananas.'
    """
    told = _plain(text)
    return next((step for step in steps if _plain(step) == told), None)


def _plain(text: str) -> str:
    return " ".join(text.lower().rstrip(". ").lstrip("- ").split())


@lru_cache(maxsize=8)
def _cases(divided: int, examples: int, which: str) -> tuple[Case, ...]:
    made = []
    for part in split(procedures(), divided):
        paths = part.test if which == SPLITS[1] else part.train
        rng = Random(f"{divided} examples {part.procedure.name}")
        shown = tuple(rng.sample(part.train, min(examples, len(part.train))))
        made += [Case(part, start, shown) for start in starts(paths)]
    return tuple(made)
