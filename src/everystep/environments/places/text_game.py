"""Text games whose engine runs elsewhere and cannot save its state: an episode is its task and what was done since, and is put back by doing it again.

A game says how an episode begins and what an action leads to; this module adds what all of them share: the life of an episode, snapshots, states as JSON, the
published way as the oracle. When the engine ends, the episode whose call it was in is lost; the others are played again in a new one, and what they see must be the same.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from everystep.core.codec import decode, encode
from everystep.core.errors import ConfigError, StoreError, WorldError
from everystep.core.protocols import Transition
from everystep.core.records import Action, Json, Observation, Task
from everystep.environments.exact import check_range, rebuilt
from everystep.tools.java import Kind, Machine, hold, let_go

LONGEST = 300
"""Characters of an action."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the engine says after an action.

    ``told`` is what the action led to, ``look`` the place, ``goal`` what is to be done, empty where the task's instruction says it. ``points`` is the score so far, at most 1.
    ``admissible`` are the actions that can be executed now, ``None`` where they are not asked for. ``reason`` says why the engine did nothing.
    """

    told: str
    look: str
    inventory: str
    goal: str = ""
    points: float = 0.0
    over: bool = False
    success: bool = False
    admissible: tuple[str, ...] | None = None
    reason: str | None = None


class Game(Protocol):
    """One engine with one episode at a time. Equal tasks and actions give equal answers, whatever else the engine has played."""

    def begin(self, task: Task) -> Seen: ...

    def act(self, text: str) -> Seen: ...

    def gold(self, task: Task) -> Sequence[str]: ...

    def end(self) -> None: ...


class GameWorld(Protocol):
    """What the environment asks of a world of text games. With ``anchors`` what was seen of each place stands for the state; where it is ``strict``, what is not listed is refused; a task that is ``alone`` must not share its machine."""

    @property
    def name(self) -> str: ...

    @property
    def max_steps(self) -> int: ...

    @property
    def jar(self) -> Path: ...

    @property
    def timeout_s(self) -> float: ...

    @property
    def anchors(self) -> bool: ...

    @property
    def strict(self) -> bool: ...

    def alone(self, task: Task) -> bool: ...

    def game_of(self, machine: Machine) -> Game: ...


def check_options(world: str, *, horizon: int, timeout_s: float, held_out: str) -> None:
    """Check the options that all text games have; ``ConfigError`` names the one that is wrong."""
    check_range(world, "horizon", horizon, 1, 10_000)
    check_range(world, "timeout_s", timeout_s, 0.1, 3600)
    if held_out not in ("test", "dev"):
        raise ConfigError(f"{world}: held_out is {held_out!r}; expected test or dev.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """An episode: its task, what the engine did, the steps taken, why the last one was refused."""

    task: Task
    done: tuple[str, ...]
    steps: int
    refused: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """An episode beside its task."""

    done: tuple[str, ...] = ()
    steps: int = 0
    refused: str = ""


_NUMBERS = count(1)


@dataclass(slots=True)
class _Held:
    """What an environment has to give back."""

    number: int
    kind: Kind | None = None
    game: Game | None = None

    def give_back(self, *, end: bool) -> None:
        if self.game is not None:
            self.game.end()
        if self.kind is not None:
            let_go(self.kind, self.number, end=end)
        self.kind = self.game = None


class TextGame:
    """One episode at a time in a virtual machine that all environments of this kind in the process share."""

    def __init__(self, world: GameWorld) -> None:
        self._world = world
        self._held = _Held(next(_NUMBERS))
        weakref.finalize(self, self._held.give_back, end=False)
        self._machine: Machine | None = None
        self._game: Game
        self._task: Task | None = None
        self._done: list[str] = []
        self._places: dict[str, str] = {}
        self._seen: Seen
        self._steps = 0
        self._refused = ""
        self._over = True
        self._gold: tuple[str, ...] | None = None

    def reset(self, task: Task) -> Observation:
        """Begin the episode of ``task``."""
        self._task, self._over = None, True
        self._world = rebuilt(self._world, task)
        self._begin(task)
        return self._observed()

    def _begin(self, task: Task) -> None:
        """Let the engine begin, in the machine that runs now."""
        kind = self._kind(task)
        if self._held.kind not in (None, kind):
            self._held.give_back(end=True)
        machine = hold(kind, self._held.number)
        if machine is not self._machine or self._held.game is None:
            self._machine, self._game = machine, self._world.game_of(machine)
            self._held.game = self._game
        self._held.kind = kind
        if self._task is None or self._task != task:
            self._gold = None
        self._done, self._places, self._steps, self._refused = [], {}, 0, ""
        self._hear(self._game.begin(task))
        self._task, self._over = task, False

    def _kind(self, task: Task) -> Kind:
        return self._world.jar, self._world.timeout_s, self._held.number * self._world.alone(task)

    def _hear(self, seen: Seen) -> None:
        self._seen = seen
        self._places[seen.look.partition(".")[0]] = seen.look

    def parse(self, text: str) -> Action:
        """Read one line of text; what is listed decides where it is."""
        reason = self._reason(text)
        return Action(text=text) if reason is None else Action(text=text, valid=False, reason=reason)

    def _reason(self, text: str) -> str | None:
        told = text.strip()
        if not told:
            return "nothing was said"
        if len(text) > LONGEST or not told.isprintable():
            return f"expected one line of at most {LONGEST} printable characters"
        listed = self._seen.admissible if self._task is not None and self._world.strict else None
        if listed is not None and told not in listed:
            return f"{told[:80]!r} is not one of the actions that are listed"
        return None

    def step(self, action: Action) -> Transition:
        """Let the engine do it. The reward is what it adds to the score."""
        if self._over or self._task is None:
            raise WorldError("step was called, but no episode is running. Call reset or restore first.")
        before = self._seen.points
        reason = (action.reason or "not an action") if not action.valid else self._reason(action.text)
        if reason is None:
            self._play(action.text.strip())
            reason = self._seen.reason
        self._refused = reason or ""
        self._steps += 1
        over = self._seen.over
        truncated = not over and self._steps >= self._world.max_steps
        self._over = over or truncated
        return Transition(
            observation=self._observed(),
            reward=self._seen.points - before,
            terminated=over,
            truncated=truncated,
            success=self._seen.success if over else None,
            valid=reason is None,
            reason=reason,
            scores={"valid": float(reason is None), "score": self._seen.points},
        )

    def _play(self, text: str) -> None:
        """Do it in the engine; where that has ended meanwhile, play the episode again first."""
        assert self._task is not None  # noqa: S101 -- an episode runs
        if self._machine is None or not self._machine.usable:
            self._again(
                Saved(task=self._task, done=tuple(self._done), steps=self._steps, refused=self._refused)
            )
        try:
            seen = self._game.act(text)
        except WorldError:
            self._over = True
            raise
        self._done.append(text)
        self._hear(seen)

    def _again(self, saved: Saved) -> None:
        """Play an episode again from its start, and see that it comes out as it did."""
        was, self._over = self._seen, True
        self._begin(saved.task)
        for text in saved.done:
            self._hear(self._game.act(text))
        self._done, self._steps, self._refused = list(saved.done), saved.steps, saved.refused
        if self._seen != was:
            self._over = True
            raise WorldError(
                f"the engine of task {saved.task.id!r} ended, and in a new one the same {len(saved.done)} actions led elsewhere. The episode is lost."
            )

    def _observed(self) -> Observation:
        seen = self._seen
        parts = [f"refused: {self._refused}"] if self._refused else []
        parts += [f"task: {seen.goal}"] if seen.goal else []
        parts += [seen.told] if seen.told not in seen.look else []
        parts += [one for one in (seen.look, seen.inventory) if one]
        anchor = None
        if self._world.anchors:
            known = (seen.look or seen.told, seen.inventory, str(seen.points), *sorted(self._places.values()))
            anchor = blake2b("\n".join(known).encode(), digest_size=12).hexdigest()
        return Observation(
            text="\n".join(parts), anchor=anchor, admissible=seen.admissible, info={"score": seen.points}
        )

    def oracle(self) -> str:
        """Return the next action of the published way. It leads on from its own start; what was done beside it is passed over."""
        if self._over or self._task is None:
            raise WorldError("the oracle was asked, but no episode is running. Call reset or restore first.")
        if self._gold is None:
            finder = self._world.game_of(hold(self._kind(self._task), self._held.number))
            self._gold = tuple(finder.gold(self._task))
            finder.end()
            if self._world.alone(self._task):
                self._again(self.snapshot())
        at = 0
        for text in self._done:
            at += at < len(self._gold) and text == self._gold[at]
        listed = self._seen.admissible if self._world.strict else None
        if at >= len(self._gold) or (listed is not None and self._gold[at] not in listed):
            raise WorldError(
                f"the published way of task {self._task.id!r} was left, so what is best now is not known."
            )
        return self._gold[at]

    def snapshot(self) -> Saved:
        """Return what the episode is made of."""
        if self._task is None:
            raise WorldError("there is nothing to save: no episode has begun. Call reset first.")
        return Saved(task=self._task, done=tuple(self._done), steps=self._steps, refused=self._refused)

    def restore(self, state: Any) -> Observation:
        """Put back a snapshot by playing it again; one that goes on from here is played on."""
        if not isinstance(state, Saved):
            raise WorldError(
                f"cannot restore a {type(state).__name__}. Give back what snapshot returned, unchanged."
            )
        world = rebuilt(self._world, state.task)
        length = len(self._done)
        goes_on = (
            self._task == state.task and self._machine is not None and self._machine.usable
            and state.done[:length] == tuple(self._done)
        )  # fmt: skip
        self._world = world
        if not goes_on:
            self._over = True
            self._begin(state.task)
            length = 0
        for text in state.done[length:]:
            self._play(text)
        self._steps, self._refused = state.steps, state.refused
        self._over = self._seen.over or self._steps >= world.max_steps
        return self._observed()

    def dump(self) -> Json:
        """Return the episode as JSON: what was done."""
        saved = self.snapshot()
        made: Json = encode(Dump(done=saved.done, steps=saved.steps, refused=saved.refused))
        return made

    def load(self, task: Task, state: Json) -> Observation:
        """Go on with an episode of ``task`` that was dumped, here or in another process."""
        try:
            kept = decode(Dump, state)
        except (StoreError, ValueError, TypeError, LookupError) as error:
            raise WorldError(
                f"this is no state of task {task.id!r}: {error} Give back what dump returned."
            ) from None
        return self.restore(Saved(task=task, done=kept.done, steps=kept.steps, refused=kept.refused))

    def close(self) -> None:
        """Forget the episode, and end the engine where nobody else in this process plays in it."""
        self._task, self._over, self._machine = None, True, None
        self._held.give_back(end=True)
