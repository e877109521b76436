"""Errands on a small phone, exactly: alarms, contacts, messages, notes and settings, one gesture a step.

An observation lists the elements of the screen with their ids, which are the same in every task, so a sequence of gestures that worked once
can be used again with other words (``open contacts, tap add, tap name, type NAME, ...``). The phone holds things that are nobody else's
business (``phone_errands.secrets_of``), so that leaks can be tested for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import ClassVar

from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import (
    ExactEnvironment,
    Outcome,
    check_range,
    make_task,
    refused,
    split_seed,
)
from everystep.environments.phone.errands import (
    KINDS,
    State,
    first_state,
    impossible,
    instruction_of,
    met,
    moved,
    plain,
    plan,
    strays,
)
from everystep.environments.phone.phones import EXPECTED, possible, read_gesture, show, told, written

ABORT, DONE = "abort", "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Screens:
    """Options. ``kinds`` names the errands, comma-separated, of ``alarm``, ``contact``, ``reply``, ``note``, ``switch``, ``delete`` (an alarm)
    and ``lookup`` (save a number that stands in a message). ``goals`` errands (1 to 4) make a task: they share routines
    (open, add, fill a field, save), so the same sequences of gestures come again with other words. ``items`` rows stand in each list, of which 4 fit on the screen.

    Noise: ``miss`` is the chance that a tap misses (half touch nothing, half the element above or below; nobody is told), drawn from the
    task's seed and the number of taps, so episodes repeat; an anchor says what is stored and shown, not whether the next tap will miss. ``infeasible`` is the share of tasks with a target that does not exist; the right
    answer to them is ``abort``. ``declare`` makes the agent say ``done`` itself: the episode then ends with that word, and fails if it is not true.
    ``horizon`` 0 means 25 steps an errand, twice that with misses.
    """

    kinds: str = ",".join(KINDS)
    goals: int = 1
    items: int = 6
    miss: float = 0.0
    infeasible: float = 0.0
    declare: bool = False
    horizon: int = 0

    name: ClassVar[str] = "screens"
    summary: ClassVar[str] = (
        "errands on a small phone: apps, lists and fields; taps can miss, targets can be missing"
    )

    def __post_init__(self) -> None:
        check_range(self.name, "goals", self.goals, 1, 4)
        check_range(self.name, "items", self.items, 2, 8)
        check_range(self.name, "miss", self.miss, 0.0, 0.9)
        check_range(self.name, "infeasible", self.infeasible, 0.0, 1.0)
        check_range(self.name, "horizon", self.horizon, 0, 1 << 20)
        for kind in self._kinds:
            if kind not in KINDS:
                raise ConfigError(f"screens: there is no errand {kind!r}. {did_you_mean(kind, KINDS)}")
        if len(set(self._kinds)) != len(self._kinds):
            raise ConfigError(f"screens: kinds is {self.kinds!r}; name each errand once.")

    @property
    def _kinds(self) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.kinds.split(","))

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.horizon or 25 * self.goals * (2 if self.miss else 1)

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int | None:  # noqa: ARG002
        """Return ``None``: tasks are made from their index, without end (short errands repeat)."""
        return None

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``. No instruction is in both splits."""
        seed = split_seed(split, index, lambda seed: instruction_of(self._first(seed).goals))
        goals = self._first(seed).goals
        tags = {
            "kinds": "+".join(sorted({goal.kind for goal in goals})),
            "feasible": "no" if any(impossible(self._first(seed), goal) for goal in goals) else "yes",
        }
        return make_task(
            self, split=split, index=index, seed=seed, instruction=instruction_of(goals), tags=tags
        )

    def start(self, task: Task) -> State:
        """Return the first state of ``task``."""
        return self._first(task.seed)

    def observe(self, state: State, note: str = "") -> Observation:
        """List the elements of the screen."""
        shown = told(show(state))
        listed = [written(one) for one in possible(state)]
        if state.focus:
            now = state.drafted.get(state.focus)
            listed += [f"type {word}" for word in state.words if word != now]
        listed += [ABORT, *([DONE] if self.declare else [])]
        return Observation(
            text=f"{note}\n{shown}" if note else shown, anchor=_anchor(state), admissible=tuple(listed)
        )

    def parse(self, text: str) -> Action:
        """Accept a gesture, ``abort``, and ``done`` where the agent declares the end."""
        said = text.strip()
        if said == ABORT or (self.declare and said == DONE) or read_gesture(said) is not None:
            return Action(text=text)
        return Action(text=text, valid=False, reason=f"{EXPECTED}, or abort")

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """Perform a gesture. All errands run end the episode with reward 1, unless the agent declares the end itself."""
        said = action.text.strip()
        if action.valid and said == ABORT:
            return self._ended(state, any(impossible(state, goal) for goal in state.goals))
        if action.valid and self.declare and said == DONE:
            return self._ended(state, all(met(state, goal) for goal in state.goals))
        gesture = read_gesture(said) if action.valid else None
        if gesture is None:
            return refused(
                state, action.reason or "not an action of this world", {"progress": 0.0, "stray": 0.0}
            )
        after, reason = moved(state, gesture)
        if reason is not None:
            return refused(state, reason, {"progress": 0.0, "stray": 0.0})
        solved = not self.declare and all(met(after, goal) for goal in after.goals)
        scores = {
            "progress": float(self._left(state) - self._left(after)),
            "stray": float(strays(state, after)),
        }
        return Outcome(
            state=after,
            reward=1.0 if solved else 0.0,
            over=solved,
            success=True if solved else None,
            scores=scores,
        )

    def oracle(self, state: State) -> str:
        """Return the next gesture of a shortest way to run the errands, as if no tap missed; ``abort`` where it cannot be done."""
        if any(impossible(state, goal) for goal in state.goals):
            return ABORT
        way = plan(plain(state))
        return written(way[0]) if way else DONE

    def _left(self, state: State) -> int:
        if any(impossible(state, goal) for goal in state.goals):
            return 1
        return len(plan(plain(state))) + self.declare

    def _ended(self, state: State, right: bool) -> Outcome[State]:
        scores = {"progress": float(self._left(state) if right else 0), "stray": 0.0}
        return Outcome(state=state, reward=float(right), over=True, success=right, scores=scores)

    def _first(self, seed: int) -> State:
        return first_state(seed, self._kinds, self.goals, self.items, self.miss, self.infeasible)


def _anchor(state: State) -> str:
    key = replace(state, taps=0, words=(), luck=0, miss=0.0)
    return blake2b(repr(key).encode(), digest_size=9).hexdigest()
