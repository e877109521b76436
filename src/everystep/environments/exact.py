"""Exact worlds: an environment made from pure functions over an immutable state.

A world of this kind says how a task starts, what is seen, and what an action leads to; it holds no
clock. This module adds what all of them share: the life of an episode, the step limit, snapshots, states as JSON,
and splits that cannot overlap because a task belongs to a split by what it contains.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, Protocol, TypeVar

from everystep.core.codec import decode, decode_fields, encode
from everystep.core.errors import ConfigError, StoreError, WorldError, did_you_mean
from everystep.core.protocols import Transition
from everystep.core.records import Action, Json, Observation, Task, ToolCall

S = TypeVar("S")
W = TypeVar("W")

SPLITS = ("train", "test")
TEST_SHARE = 5
"""One task content in this many belongs to the test split."""

REFUSED = "nothing happens"
"""What is said before the note of an action that could not be executed."""

_ATTEMPTS = 1 << 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[S]):
    """What an action led to, before the clock is looked at.

    ``reason`` says why the action could not be executed, ``None`` if it was. ``note`` is put before
    the description of the state. ``over`` means that the episode ended by its own rules.
    """

    state: S
    note: str = ""
    reward: float = 0.0
    over: bool = False
    success: bool | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None


class Rules(Protocol[S]):
    """A world as pure functions. ``S`` is immutable, so a state can be kept and shared freely."""

    @property
    def name(self) -> str: ...

    @property
    def max_steps(self) -> int: ...

    def start(self, task: Task) -> S: ...

    def observe(self, state: S, note: str = "") -> Observation: ...

    def parse(self, text: str) -> Action: ...

    def advance(self, state: S, action: Action) -> Outcome[S]: ...

    def oracle(self, state: S) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode(Generic[S]):
    """A complete snapshot: nothing in it ever changes, so it can be restored any number of times."""

    rules: Rules[S]
    task: Task
    state: S
    observation: Observation
    note: str = ""
    turn: int = 0
    over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """What has to be kept of an episode beside its task: the fields of the state that are not as they were at the start."""

    state: Mapping[str, Json] = field(default_factory=dict)
    note: str = ""
    turn: int = 0
    over: bool = False


class ExactEnvironment(Generic[S]):
    """One episode at a time of a world that is given by ``Rules``.

    A task carries its own options in ``Task.config``; they decide, whatever the options of the world
    that made this environment, so tasks of several difficulties can run in one environment.
    """

    def __init__(self, rules: Rules[S]) -> None:
        self._rules = rules
        self._episode: Episode[S] | None = None
        self._state: S
        self._observation: Observation
        self._note = ""
        self._turn = 0
        self._over = True
        self._task: Task | None = None

    def reset(self, task: Task) -> Observation:
        """Begin the episode of ``task``. A task of another world raises ``WorldError``."""
        self._rules = rebuilt(self._rules, task)
        self._task = task
        self._state = self._rules.start(task)
        self._note, self._turn, self._over = "", 0, False
        self._observation = self._rules.observe(self._state)
        return self._observation

    def parse(self, text: str) -> Action:
        return self._rules.parse(text)

    def step(self, action: Action) -> Transition:
        """Execute ``action``. Raises ``WorldError`` before ``reset`` and after the end."""
        if self._over:
            what = "has ended" if self._task is not None else "has not begun"
            raise WorldError(f"step was called, but the episode {what}. Call reset or restore first.")
        outcome = self._rules.advance(self._state, action)
        self._state = outcome.state
        self._turn += 1
        truncated = not outcome.over and self._turn >= self._rules.max_steps
        self._over = outcome.over or truncated
        note = outcome.note
        if outcome.reason is not None:
            note = f"{REFUSED} : {note}" if note else REFUSED
        self._note = note
        self._observation = self._rules.observe(self._state, note)
        return Transition(
            observation=self._observation,
            reward=outcome.reward,
            terminated=outcome.over,
            truncated=truncated,
            success=outcome.success,
            scores=outcome.scores,
            valid=outcome.reason is None,
            reason=outcome.reason,
        )

    def oracle(self) -> str:
        """Return a best next action of the current state."""
        if self._over:
            raise WorldError("the oracle was asked, but no episode is running. Call reset or restore first.")
        return self._rules.oracle(self._state)

    def snapshot(self) -> Episode[S]:
        """Return the complete state of the episode, also of one that has ended."""
        if self._task is None:
            raise WorldError("there is nothing to save: no episode has begun. Call reset first.")
        return Episode(
            rules=self._rules,
            task=self._task,
            state=self._state,
            observation=self._observation,
            note=self._note,
            turn=self._turn,
            over=self._over,
        )

    def restore(self, state: Any) -> Observation:
        """Put back a snapshot of this world, from this environment or from another one."""
        if not isinstance(state, Episode):
            raise WorldError(
                f"cannot restore a {type(state).__name__}. Give back what snapshot returned, unchanged."
            )
        if state.rules.name != self._rules.name:
            raise WorldError(f"cannot restore a snapshot of {state.rules.name!r} in {self._rules.name!r}.")
        self._rules, self._task = state.rules, state.task
        self._state, self._observation = state.state, state.observation
        self._note, self._turn, self._over = state.note, state.turn, state.over
        return state.observation

    def dump(self) -> Json:
        """Return the episode as a JSON value, without what the task says already: the size of what has changed since its start."""
        if self._task is None:
            raise WorldError("there is nothing to save: no episode has begun. Call reset first.")
        first: Any = self._rules.start(self._task)
        now: Any = self._state
        pairs = ((f.name, getattr(first, f.name), getattr(now, f.name)) for f in fields(first))
        changed = {name: encode(value) for name, was, value in pairs if value is not was and value != was}
        made: Json = encode(Dump(state=changed, note=self._note, turn=self._turn, over=self._over))
        return made

    def load(self, task: Task, state: Json) -> Observation:
        """Go on with an episode of ``task`` that was dumped, here or in another process. Raises ``WorldError`` where it does not fit."""
        rules = rebuilt(self._rules, task)
        first: Any = rules.start(task)
        try:
            kept = decode(Dump, state)
            now: Any = replace(first, **decode_fields(type(first), kept.state))
            seen = rules.observe(now, kept.note)
        except (StoreError, ValueError, TypeError, LookupError) as error:
            raise WorldError(
                f"this is no state of task {task.id!r}: {error} Give back what dump returned, with the same task."
            ) from None
        self._rules, self._task, self._state, self._observation = rules, task, now, seen
        self._note, self._turn, self._over = kept.note, kept.turn, kept.over
        return seen

    def close(self) -> None:
        self._task, self._over = None, True


def refused(state: S, reason: str, scores: Mapping[str, float] | None = None) -> Outcome[S]:
    """Return the outcome of an action that cannot be executed: the state stays as it is."""
    return Outcome(state=state, reason=reason, scores=scores or {})


def changed_options(world: Any) -> dict[str, Json]:
    """Return the options of a world's dataclass that differ from their defaults.

    >>> from everystep.environments.places.hanoi import Hanoi
    >>> changed_options(Hanoi(disks=5))
    {'disks': 5}
    """
    default = type(world)()
    pairs = ((f.name, getattr(world, f.name), getattr(default, f.name)) for f in fields(world))
    return {name: value for name, value, usual in pairs if value != usual}


def rebuilt(world: W, task: Task) -> W:
    """Return the world with the task's own options; ``world`` itself where they are the same.

    Raises ``WorldError`` for a task of another world and ``ConfigError`` for an option that there is not.
    """
    known: Any = world
    if task.environment != known.name:
        raise WorldError(
            f"task {task.id!r} is of environment {task.environment!r}, this one is "
            f"{known.name!r}. Make the environment from the task's own world."
        )
    options = dict(task.config)
    if options == changed_options(known):
        return world
    cls: Any = type(world)
    check_known(cls, options)
    made: W = cls(**options)
    return made


def check_known(cls: Any, options: Mapping[str, Json]) -> None:
    """Raise ``ConfigError`` for an option that the world's dataclass does not have."""
    known = [f.name for f in fields(cls)]
    for option in options:
        if option not in known:
            raise ConfigError(f"{cls.__name__} has no option {option!r}. {did_you_mean(option, known)}")


def check_range(world: str, option: str, value: float, low: float, high: float) -> None:
    """Raise ``ConfigError`` unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise ConfigError(f"{world}: option {option!r} is {value!r}; it must lie from {low} to {high}.")


def free_text(text: str, most: int, what: str) -> Action:
    """Return any text up to ``most`` characters that is not blank as an action, another one as an invalid one that says ``what`` was expected.

    >>> free_text(" ", 1000, "an answer").reason
    'expected an answer of 1 to 1,000 characters'
    """
    if not text.strip() or len(text) > most:
        return Action(text=text, valid=False, reason=f"expected {what} of 1 to {most:,} characters")
    return Action(text=text)


def check_place(split: str, index: int, size: int | None = None) -> None:
    """Raise ``ConfigError`` for a split or an index that does not exist."""
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}. {did_you_mean(split, SPLITS)}")
    if index < 0 or (size is not None and index >= size):
        bound = "without end" if size is None else f"0 to {size - 1}"
        raise ConfigError(f"task index {index!r} is out of range: split {split!r} has indices {bound}.")


def split_of(content: str) -> str:
    """Return the split that a task with this content belongs to: one in five is ``test``.

    >>> sorted({split_of(str(n)) for n in range(20)})
    ['test', 'train']
    """
    return "test" if zlib.crc32(content.encode()) % TEST_SHARE == 0 else "train"


def split_seed(split: str, index: int, content: Callable[[int], str]) -> int:
    """Return the seed of task ``index`` of ``split``, such that the content belongs to the split.

    ``content(seed)`` names what a task contains. Seeds are tried in a fixed order, so the result is a
    pure function of its arguments and no content is ever in two splits.
    """
    check_place(split, index)
    first = index * _ATTEMPTS
    for seed in range(first, first + _ATTEMPTS):
        if split_of(content(seed)) == split:
            return seed
    raise ConfigError(
        f"no task of split {split!r} was found: the world has too few different tasks. "
        "Choose options with more of them (a larger size, more steps)."
    )


def make_task(
    world: Any,
    *,
    split: str,
    index: int,
    seed: int,
    instruction: str,
    reference: Json = None,
    reference_calls: tuple[ToolCall, ...] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Task:
    """Return a task whose ``config`` is enough to build its world again."""
    config = changed_options(world)
    told = ",".join(f"{name}={value}" for name, value in config.items())
    return Task(
        id=f"{world.name}({told}):{split}:{index}" if told else f"{world.name}:{split}:{index}",
        instruction=instruction,
        environment=world.name,
        seed=seed,
        config=config,
        reference=reference,
        reference_calls=reference_calls,
        tags=tags or {},
        split=split,
    )
