"""BabyAI in text: the grid worlds of the ``minigrid`` package, with its levels, rules and oracle.

The agent reads its mission and what it sees, each object with its place relative to itself, and answers
with a move. ``compact`` text has one word for an object and one for a place, for small models that are
trained from scratch; ``plain`` text is English. Source of the levels and of the oracle: Chevalier-Boisvert
et al. 2019, BabyAI (arXiv:1810.08272); engine: Farama Minigrid.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import re
from dataclasses import dataclass
from typing import Any

import gymnasium
import minigrid  # noqa: F401 -- registers the levels
from minigrid.core.constants import COLOR_NAMES
from minigrid.utils.baby_ai_bot import BabyAIBot

from everystep.core.errors import ConfigError, WorldError, did_you_mean
from everystep.core.protocols import Transition
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import check_place

MOVES = {"left": 0, "right": 1, "forward": 2, "pickup": 3, "drop": 4, "toggle": 5}
STYLES = ("compact", "plain")
REWARDS = ("level", "success")
SPLIT_START = {"train": 0, "test": 1 << 30}
VIEW_AHEAD, VIEW_ASIDE = 7, 3
"""The agent sees seven rows from its own on, and three columns to each side."""

_NOUN = re.compile(rf"\b({'|'.join(COLOR_NAMES)}) (ball|box|key|door)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class BabyAI:
    """A BabyAI level. ``level`` is its id between ``BabyAI-`` and ``-v0``, such as ``GoToLocalS6N3``.

    An episode ends without success after ``max_steps`` moves. ``reward`` is ``level``, BabyAI's own with this limit:
    ``1 - 0.9 * moves / max_steps`` at success, else 0, so that equal states can pay differently, later ones less; or ``success``: 1 or 0.
    ``repeat_mission`` puts the mission into every observation, not only into the instruction.
    """

    level: str = "GoToLocalS6N2"
    max_steps: int = 10
    style: str = "compact"
    repeat_mission: bool = True
    reward: str = "level"

    @property
    def name(self) -> str:
        """The name in the catalog."""
        return "babyai"

    @property
    def summary(self) -> str:
        """One line for lists."""
        return (
            "BabyAI grid worlds in text: go to, pick up, open and put things (Minigrid's engine and oracle)."
        )

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ConfigError(f"style is {self.style!r}. {did_you_mean(self.style, STYLES)}")
        if self.reward not in REWARDS:
            raise ConfigError(f"reward is {self.reward!r}. {did_you_mean(self.reward, REWARDS)}")
        if self.max_steps < 1:
            raise ConfigError(f"max_steps is {self.max_steps!r}; it must be 1 or more.")
        if self.identifier not in gymnasium.registry:
            known = [key[7:-3] for key in gymnasium.registry if key.startswith("BabyAI-")]
            raise ConfigError(f"unknown BabyAI level {self.level!r}. {did_you_mean(self.level, known)}")

    @property
    def identifier(self) -> str:
        """The level's Gymnasium id."""
        return f"BabyAI-{self.level}-v0"

    def make(self) -> BabyAIEnvironment:
        """Build an environment."""
        return BabyAIEnvironment(self)

    def task(self, split: str, index: int) -> Task:
        """Return a task; its seed draws the room. The splits use seeds from different ranges."""
        check_place(split, index, self.size(split))
        return Task(
            id=f"{self.level}:{split}:{index}",
            instruction="",
            environment=self.name,
            seed=SPLIT_START[split] + index,
            config={
                "level": self.level,
                "max_steps": self.max_steps,
                "style": self.style,
                "repeat_mission": self.repeat_mission,
                "reward": self.reward,
            },
            split=split,
        )

    def size(self, split: str) -> int | None:
        """Return ``None``: rooms are drawn from a seed, a split has no end (2**30 seeds)."""
        check_place(split, 0)
        return None


@dataclass(slots=True)
class _Episode:
    """The complete state of an episode. ``untold`` is the move that the bot has not been told of yet."""

    grid: Any
    bot: Any = None
    untold: int | None = None
    steps: int = 0
    over: bool = True
    moves: tuple[str, ...] = ()
    mission: str = ""
    one_room: bool = False


class BabyAIEnvironment:
    """One episode of a BabyAI level."""

    def __init__(self, world: BabyAI) -> None:
        self.world = world
        self._now = _Episode(grid=_make(world.identifier))

    def reset(self, task: Task) -> Observation:
        """Draw the room of the task's seed."""
        grid = self._now.grid
        with contextlib.redirect_stdout(io.StringIO()):  # the engine prints when it draws again
            grid.reset(seed=task.seed)
        one_room = grid.num_rows == grid.num_cols == 1
        self._now = _Episode(
            grid=grid,
            over=False,
            moves=moves_of(grid.mission, one_room=one_room),
            mission=mission_text(grid.mission, self.world.style),
            one_room=one_room,
        )
        return self._observe()

    def parse(self, text: str) -> Action:
        """Read a move: one word of the admissible ones."""
        word = text.strip()
        if word in self._now.moves:
            return Action(text=word)
        reason = f"no such move; the moves are {', '.join(self._now.moves)}"
        return Action(text=text, valid=False, reason=reason)

    def step(self, action: Action) -> Transition:
        """Move; an invalid move costs a step and changes nothing."""
        now = self._now
        if now.over:
            raise WorldError("the episode is over; reset before the next step.")
        now.steps += 1
        success, known = False, action.valid and action.text in now.moves
        if known:
            self._tell_bot()
            now.untold = MOVES[action.text]
            _, reward, terminated, _, _ = now.grid.step(now.untold)
            success = bool(terminated and reward > 0)
        now.over = success or now.steps >= self.world.max_steps
        return Transition(
            observation=self._observe(),
            reward=self._reward() if success else 0.0,
            terminated=now.over,
            success=success if now.over else None,
            valid=known,
            reason=None if known else action.reason or f"{action.text[:40]!r} is no move",
        )

    def _reward(self) -> float:
        spent = self._now.steps / self.world.max_steps
        return 1.0 if self.world.reward == "success" else 1.0 - 0.9 * spent

    def oracle(self) -> str:
        """Return the move of BabyAI's own bot, which is told of the moves that were really made."""
        now = self._now
        if now.over:
            raise WorldError("the episode is over; there is no next move.")
        move = self._tell_bot()
        if move is None and now.bot is not None:
            move = _plan(now.bot, None)
        if move is None:  # no bot yet, or its plan broke on a move it would not have made: plan afresh
            now.bot = _bot(now.grid)
            move = _plan(now.bot, None)
        if move is None:
            raise WorldError("BabyAI's bot finds no plan from here; end the episode, or act without it.")
        word = _WORDS.get(move)
        # Where the mission needs no hands, the bot may still want to lift an obstacle: turn instead.
        return word if word in now.moves else "left"

    def _tell_bot(self) -> int | None:
        """Let the bot see the last move and return its next one; a bot that cannot follow is dropped."""
        now = self._now
        told, now.untold = now.untold, None
        if now.bot is None or told is None:
            return None
        move = _plan(now.bot, told)
        if move is None:
            now.bot = None
        return move

    def snapshot(self) -> Any:
        """Return a copy of the complete state, the bot's plan included."""
        return copy.deepcopy(self._now)

    def restore(self, state: Any) -> Observation:
        """Put a state back."""
        self._now = copy.deepcopy(state)
        return self._observe()

    def close(self) -> None:
        """Release the engine."""
        self._now.grid.close()

    def _observe(self) -> Observation:
        seen = self._visible()
        text = (
            compact_text(seen, self._ahead(), self._carried())
            if self.world.style == "compact"
            else plain_text(seen, self._ahead(), self._carried())
        )
        if self._now.steps == 0 or self.world.repeat_mission:
            text = (
                f"{text} {self._now.mission}"
                if self.world.style == "compact"
                else f"Mission: {self._now.mission}. {text}"
            )
        return Observation(text=text, anchor=self._anchor(), admissible=self._now.moves)

    def _visible(self) -> list[tuple[int, int, str, str]]:
        """Return the visible objects as (steps ahead, steps to the right, colour, type), nearest first."""
        grid = self._now.grid
        if self._now.one_room:  # nothing hides anything inside a room
            view = None
        else:
            _, view = grid.gen_obs_grid()
        (ax, ay), (dx, dy) = grid.agent_pos, grid.dir_vec
        seen = []
        for ahead in range(VIEW_AHEAD):
            for aside in range(-VIEW_ASIDE, VIEW_ASIDE + 1):
                x, y = ax + ahead * dx - aside * dy, ay + ahead * dy + aside * dx
                if not (0 <= x < grid.width and 0 <= y < grid.height) or (ahead == 0 and aside == 0):
                    continue
                item = grid.grid.get(x, y)
                if item is None or item.type not in _KINDS:
                    continue
                if view is None or view[VIEW_ASIDE + aside, VIEW_AHEAD - 1 - ahead]:
                    seen.append((ahead, aside, item.color, item.type))
        return sorted(seen, key=lambda one: (one[0] + abs(one[1]), one[0], one[1]))

    def _ahead(self) -> str:
        item = self._now.grid.grid.get(*self._now.grid.front_pos)
        if item is None:
            return "clear"
        if item.type == "door":
            return "open_door" if item.is_open else "locked_door" if item.is_locked else "door"
        return "wall" if item.type == "wall" else "object"

    def _carried(self) -> tuple[str, str] | None:
        item = self._now.grid.carrying
        return None if item is None else (item.color, item.type)

    def _anchor(self) -> str:
        """Return a key of the state: the grid, where the agent is, what it holds, how far its mission is."""
        grid = self._now.grid
        done = [getattr(grid.instrs, flag, None) for flag in ("a_done", "b_done")]  # sequences only
        state = f"{tuple(map(int, grid.agent_pos))}{grid.agent_dir}{self._carried()}{done}"
        return hashlib.blake2b(grid.grid.encode().tobytes() + state.encode(), digest_size=12).hexdigest()


_WORDS = {number: word for word, number in MOVES.items()}
_KINDS = ("ball", "box", "key", "door")


def _make(identifier: str) -> Any:
    """Build the engine without its image observations, which nothing here reads."""
    grid: Any = gymnasium.make(identifier, disable_env_checker=True).unwrapped
    grid.gen_obs = dict
    return grid


def _bot(grid: Any) -> Any:
    bot: Any = BabyAIBot
    return bot(grid)


def _plan(bot: Any, told: int | None) -> int | None:
    """Return the bot's next move after it was told of the last one; ``None`` where its plan breaks."""
    try:
        return int(bot.replan(told))
    except Exception:  # it asserts what it did not foresee
        return None


def moves_of(mission: str, *, one_room: bool) -> tuple[str, ...]:
    """Return the moves that a mission can need: hands only to hold something or to open a door.

    >>> moves_of("go to the red ball", one_room=True)
    ('left', 'right', 'forward')
    >>> moves_of("pick up a key", one_room=True)
    ('left', 'right', 'forward', 'pickup', 'drop', 'toggle')
    """
    hands = not one_room or any(verb in mission for verb in ("pick up", "put", "open"))
    return tuple(MOVES) if hands else ("left", "right", "forward")


def mission_text(mission: str, style: str) -> str:
    """Return the mission, in compact style with one word for an object.

    >>> mission_text("go to the red ball", "compact")
    'go to red_ball'
    """
    if style == "plain":
        return mission
    words = _NOUN.sub(r"\1_\2", mission)
    return " ".join(word for word in words.split() if word not in ("the", "a", "an"))


def compact_text(seen: list[tuple[int, int, str, str]], ahead: str, carried: tuple[str, str] | None) -> str:
    """Return the observation with one word for an object and its side, and one for its place.

    ``2f1r`` is two steps forward and one to the right.

    >>> compact_text([(2, 1, "red", "ball"), (3, 0, "grey", "key")], "clear", None)
    'see red_ball_ahead_right 2f1r grey_key_ahead 3f0 front_clear'
    """
    words = ["see"]
    for forward, aside, colour, kind in seen:
        sides = ["ahead"] if forward else []
        sides += ["left" if aside < 0 else "right"] if aside else []
        place = f"{abs(aside)}{'l' if aside < 0 else 'r'}" if aside else "0"
        words += ["_".join((colour, kind, *sides)), f"{forward}f{place}"]
    words.append(f"front_{ahead}")
    if carried is not None:
        words += ["hold", f"{carried[0]}_{carried[1]}"]
    return " ".join(words)


def plain_text(seen: list[tuple[int, int, str, str]], ahead: str, carried: tuple[str, str] | None) -> str:
    """Return the observation in English.

    >>> plain_text([(2, 1, "red", "ball")], "clear", None)
    'You see a red ball 2 steps ahead and 1 to the right. The way ahead is clear.'
    """
    places = []
    for forward, aside, colour, kind in seen:
        steps = f"{forward} step{'s' if forward != 1 else ''} ahead"
        side = f" and {abs(aside)} to the {'left' if aside < 0 else 'right'}" if aside else ""
        places.append(f"a {colour} {kind} {steps}{side}")
    text = f"You see {', '.join(places) or 'nothing'}. "
    text += "The way ahead is clear." if ahead == "clear" else f"Ahead is a {ahead.replace('_', ' ')}."
    return text + (f" You carry a {carried[0]} {carried[1]}." if carried else "")
