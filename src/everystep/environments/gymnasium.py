"""Any registered Gymnasium environment with discrete or text actions, told in words.

An observation is written out (numbers of a Discrete or MultiDiscrete space, rounded numbers of a Box,
fields of a Dict, the text of a Text space), and the anchor is that text: right where the observation
shows the whole state. Saving and restoring is offered for environments for which copying them works,
which is tried when one is made.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from everystep.core.errors import ConfigError, WorldError
from everystep.core.protocols import Transition
from everystep.core.records import Action, Json, Observation, Task
from everystep.environments.exact import check_place, check_range, make_task, rebuilt

DEFAULT_STEPS = 200
BOX_LIMIT = 64
"""Numbers of a Box that are written out; a larger one (an image) is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gymnasium:
    """Options: the registered ``id`` and the ``kwargs`` it is made with; ``actions``, the words for actions 0, 1, ...
    with commas between (numbers if empty); ``instruction``; ``success_reward``, the last reward from which on an
    episode that terminated counts as success (without it success is unknown); ``horizon`` 0 means the registered limit.
    """

    id: str = "FrozenLake-v1"
    kwargs: Mapping[str, Json] = field(default_factory=dict)
    actions: str = ""
    instruction: str = ""
    success_reward: float | None = None
    horizon: int = 0

    name: ClassVar[str] = "gymnasium"
    summary: ClassVar[str] = "any registered Gymnasium environment with discrete or text actions"

    def __post_init__(self) -> None:
        check_range(self.name, "horizon", self.horizon, 0, 1_000_000)

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.horizon or _spec(self.id).max_episode_steps or DEFAULT_STEPS

    def make(self) -> GymEnvironment:
        """Return an environment, with snapshots if a trial shows that copies of it go on alike."""
        if _can_be_copied(build(self)):
            return CopiedGymEnvironment(self)
        return GymEnvironment(self)

    def size(self, split: str) -> int | None:  # noqa: ARG002
        """Return ``None``: a task is a seed."""
        return None

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``: even seeds train, odd ones test."""
        check_place(split, index)
        told = self.instruction or f"play {self.id} ."
        if self.actions:
            told += " actions : " + " , ".join(name.strip() for name in self.actions.split(",")) + " ."
        return make_task(self, split=split, index=index, seed=2 * index + (split == "test"), instruction=told)


class GymEnvironment:
    """A Gymnasium environment behind Everystep's protocol."""

    def __init__(self, world: Gymnasium) -> None:
        self._world = world
        self._env = build(world)
        self._names = _action_names(world, self._env)
        self._task: Task | None = None
        self._turn = 0
        self._over = True
        self._observation: Observation

    def reset(self, task: Task) -> Observation:
        """Begin the episode with the task's seed."""
        world = rebuilt(self._world, task)
        if world != self._world:
            self._env.close()
            self._world, self._env = world, build(world)
            self._names = _action_names(world, self._env)
        seen, info = self._call(lambda: self._env.reset(seed=task.seed))
        self._task, self._turn, self._over = task, 0, False
        self._observation = self._seen(seen, info)
        return self._observation

    def parse(self, text: str) -> Action:
        """Accept the words (or numbers) of the actions, or what the Text space contains."""
        if self._names is None:
            if self._env.action_space.contains(text):
                return Action(text=text)
            return Action(
                text=text, valid=False, reason="the text is too long or has letters that are not allowed"
            )
        if text.strip() in self._names:
            return Action(text=text)
        return Action(text=text, valid=False, reason=f"expected one of: {', '.join(self._names)}"[:400])

    def step(self, action: Action) -> Transition:
        """Take the action; one that is not valid takes a turn and changes nothing."""
        if self._over:
            raise WorldError("step was called, but no episode is running. Call reset or restore first.")
        self._turn += 1
        reason = self.parse(action.text).reason if action.valid else action.reason or "not a valid action"
        reward, terminated, truncated = 0.0, False, False
        if reason is None:
            choice = action.text if self._names is None else self._names[action.text.strip()]
            seen, gained, terminated, truncated, info = self._call(lambda: self._env.step(choice))
            reward = float(gained)
            self._observation = self._seen(seen, info)
        else:
            # The observation stays, so its text is marked afresh and never twice.
            plain = self._observation.text.removeprefix("nothing happens . ")
            self._observation = _with_text(self._observation, f"nothing happens . {plain}")
        truncated = not terminated and (bool(truncated) or self._turn >= self._world.max_steps)
        self._over = bool(terminated) or truncated
        limit = self._world.success_reward
        return Transition(
            observation=self._observation,
            reward=reward,
            terminated=bool(terminated),
            truncated=truncated,
            success=reward >= limit if terminated and limit is not None else None,
            valid=reason is None,
            reason=reason,
        )

    def close(self) -> None:
        self._env.close()
        self._task, self._over = None, True

    def _seen(self, seen: Any, info: Mapping[str, Any]) -> Observation:
        text = write(self._env.observation_space, seen)
        listed = None
        if self._names is not None:
            mask = info.get("action_mask")
            allowed = [True] * len(self._names) if mask is None else list(mask)
            listed = tuple(name for name, may in zip(self._names, allowed, strict=True) if may)
        kept = {name: value for name, raw in info.items() if (value := _plain(raw)) is not None}
        return Observation(text=text, anchor=text, admissible=listed, info=kept)

    def _call(self, call: Any) -> Any:
        try:
            return call()
        except Exception as error:
            self._over = True
            raise WorldError(
                f"{self._world.id} raised {type(error).__name__}: {error}. It is not to be used on."
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class GymSnapshot:
    """A copy of an environment in the middle of an episode; it is copied again when it is restored."""

    world: Gymnasium
    env: Any
    task: Task | None
    turn: int
    over: bool
    observation: Observation


class CopiedGymEnvironment(GymEnvironment):
    """A Gymnasium environment that can be saved and restored, by copying it."""

    def snapshot(self) -> GymSnapshot:
        """Return a copy of the episode."""
        if self._task is None:
            raise WorldError("there is nothing to save: no episode has begun. Call reset first.")
        return GymSnapshot(
            world=self._world,
            env=_copy(self._env),
            task=self._task,
            turn=self._turn,
            over=self._over,
            observation=self._observation,
        )

    def restore(self, state: Any) -> Observation:
        """Put back a snapshot, from this environment or another one."""
        if not isinstance(state, GymSnapshot):
            raise WorldError(f"cannot restore a {type(state).__name__}. Give back what snapshot returned.")
        self._world, self._env = state.world, _copy(state.env)
        self._names = _action_names(self._world, self._env)
        self._task, self._turn, self._over = state.task, state.turn, state.over
        self._observation = state.observation
        return state.observation


def build(world: Gymnasium) -> Any:
    """Make the Gymnasium environment of a world; ``ConfigError`` if it cannot be made or told in words."""
    _spec(world.id)
    try:
        env = gymnasium.make(world.id, max_episode_steps=-1, disable_env_checker=True, **dict(world.kwargs))
    except Exception as error:
        raise ConfigError(
            f"gymnasium cannot make {world.id!r} with {dict(world.kwargs)!r}: {error}"
        ) from error
    _check_observations(world.id, env.observation_space)
    return env


def write(space: Any, value: Any) -> str:
    """Write an observation of ``space`` in words.

    >>> write(spaces.Dict({"at": spaces.Discrete(4), "speed": spaces.Box(-1, 1, (2,))}), {"at": 3, "speed": [0.5, -1]})
    'at 3 . speed 0.5 -1.0'
    """
    if isinstance(space, spaces.Dict):
        return " . ".join(f"{name} {write(part, value[name])}" for name, part in space.spaces.items())
    if isinstance(space, spaces.Tuple):
        return " , ".join(write(part, item) for part, item in zip(space.spaces, value, strict=True))
    if isinstance(space, spaces.Text):
        return str(value)
    if isinstance(space, spaces.Discrete):
        return str(int(value))
    numbers = np.asarray(value).reshape(-1).tolist()
    return " ".join(str(round(number, 3) if isinstance(number, float) else number) for number in numbers)


def _spec(name: str) -> Any:
    try:
        return gymnasium.spec(name)
    except gymnasium.error.Error as error:
        raise ConfigError(f"gymnasium knows no environment {name!r}: {error}") from None


def _check_observations(name: str, space: Any) -> None:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        for part in parts:
            _check_observations(name, part)
    elif isinstance(space, spaces.Box):
        size = int(np.prod(space.shape))
        if size > BOX_LIMIT:
            raise ConfigError(
                f"{name!r} observes {size} numbers, which is too much for words; up to {BOX_LIMIT} are. "
                "Use a wrapper that observes less."
            )
    elif not isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary | spaces.Text):
        raise ConfigError(
            f"{name!r} observes a {type(space).__name__} space, which cannot be written in words."
        )


def _action_names(world: Gymnasium, env: Any) -> dict[str, int] | None:
    """Return the words of the actions with their numbers, ``None`` for a Text space."""
    space = env.action_space
    if isinstance(space, spaces.Text):
        return None
    if not isinstance(space, spaces.Discrete):
        raise ConfigError(
            f"{world.id!r} has {type(space).__name__} actions; discrete or text ones are supported."
        )
    first, count = int(space.start), int(space.n)
    numbers = range(first, first + count)
    names = (
        [name.strip() for name in world.actions.split(",")] if world.actions else [str(n) for n in numbers]
    )
    if len(set(names)) != count:
        raise ConfigError(
            f"gymnasium: {world.id!r} has {count} actions, but {len(set(names))} words: {names}."
        )
    return dict(zip(names, numbers, strict=True))


def _copy(env: Any) -> Any:
    # A tabular environment holds its transition table in P, large and never written to: copies share it.
    table = vars(env.unwrapped).get("P")
    return copy.deepcopy(env, {} if table is None else {id(table): table})


def _can_be_copied(env: Any) -> bool:
    """Whether two copies of ``env`` go on alike, after the first one was played on."""

    def play(played: Any) -> list[str]:
        results = []
        for choice in choices:
            result = played.step(choice)
            results.append(repr(result[:4]))
            if result[2] or result[3]:
                break
        return results

    try:
        env.reset(seed=0)
        env.action_space.seed(0)
        choices = [env.action_space.sample() for _ in range(5)]
        saved = _copy(env)
        first = play(env)
        return [play(_copy(saved)), play(_copy(saved))] == [first, first]
    except Exception:
        return False
    finally:
        env.close()


def _plain(value: Any) -> Json:
    """Return a number, a text or a truth value as JSON, ``None`` for anything else."""
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else None


def _with_text(seen: Observation, text: str) -> Observation:
    return Observation(text=text, anchor=seen.anchor, admissible=seen.admissible, info=seen.info)
