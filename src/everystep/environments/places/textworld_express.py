"""TextWorldExpress (Jansen and Côté 2022, arXiv 2208.01174; the package ``textworld_express``, Apache-2.0): eight text games in their published engine, which needs Java.

Games, folds, scores and gold paths are those of the package. Every action that can be done is listed, in alphabetical order and once; others are refused without asking
the engine. A published gold path is found by a random walk: it succeeds, but is not the shortest; what it does in vain is left out. The package sets no step limit for a
game; its environment's is 100.

``anchor`` is what was last seen in each place, the inventory and the score. It tells states apart wherever they differ in something that has been seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from everystep.core.errors import ConfigError, WorldError, did_you_mean
from everystep.core.records import Task
from everystep.environments.exact import check_place, make_task
from everystep.environments.places.text_game import Game, Seen, TextGame, check_options
from everystep.tools.java import Machine, executable, jar_of

ALL = "all"
GAMES: Mapping[str, str] = {
    "arithmetic": "Your first task is to solve the math problem. Then, pick up the item with the same quantity as the math problem answer, and place it in the box.",
    "coin": "Your task is to search the environment and find the coin.  Once you find the coin, take it.",
    "cookingworld": "You are hungry! Let's cook a delicious meal. Check the cookbook in the kitchen for the recipe. Once done, enjoy your meal!",
    "mapreader": "",
    "peckingorder": "Your task is to read and follow the instructions book found in the environment. Repeat this until the game is completed.",
    "simonsays": "Your task is to do exactly what Simon says.",
    "sorting": "Your task is to sort objects by quantity.  First, place the object with the smallest quantity in the box.  Then, place the objects with the next smallest quantity in the box, and repeat until all objects have been placed in the box.",
    "twc": "Your task is to pick up objects, then place them in their usual locations in the environment.",
}
"""The games and what the engine says is to be done; where that differs from seed to seed (``mapreader``) each observation says it."""
FOLDS: Mapping[str, int] = {"train": 0, "dev": 10_000, "test": 20_000}
SEEDS = 1000
"""The first seed of each fold, and how many it has."""
INSTALL = "pip install 'everystep[textgames]'"
_HOW = "Answer with one of the actions that can be done now, and nothing else."


class _Game:
    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._engine = machine.make("textworldexpress.runtime.PythonInterface")
        self._goal = ""

    def begin(self, task: Task) -> Seen:
        world = TextWorldExpress(**task.config)  # type: ignore[arg-type]
        game, fold, seed = world.place(task.seed)
        what = self._machine.call(f"loading {game!r}", self._engine.load, game, world.params)
        if what:
            raise ConfigError(f"textworld_express: params {world.params!r} do not fit {game!r}: {what}")
        first = self._machine.call(f"beginning {game!r}", self._engine.generateNewGameJSON, seed, fold, False)
        told = str(self._machine.call("asking for the task", self._engine.getTaskDescription)).strip()
        self._goal = "" if told == GAMES[game].strip() else told
        return self._read(first)

    def act(self, text: str) -> Seen:
        return self._read(self._machine.call(f"doing {text!r}", self._engine.stepJSON, text))

    def _read(self, told: str) -> Seen:
        one: dict[str, Any] = json.loads(told)
        points = float(one["score"])
        success = bool(one["tasksuccess"]) or points >= 1.0
        return Seen(
            told=one["observation"].strip(),
            look=one.get("look", "").strip(),
            inventory=" ".join(one["inventory"].split()),
            goal=self._goal,
            points=points,
            over=success or bool(one["taskfailure"]),
            success=success,
            admissible=tuple(sorted(set(one["validActions"]))),
        )

    def gold(self, task: Task) -> list[str]:
        """Return the published way without what the engine does not list there."""
        world = TextWorldExpress(**task.config)  # type: ignore[arg-type]
        game, fold, seed = world.place(task.seed)
        self._machine.call("loading", self._engine.load, game, world.params)
        self._machine.call("finding the way", self._engine.generateNewGameJSON, seed, fold, True)
        path = self._machine.lines("asking for the way", self._engine.getGoldActionSequence)
        seen, kept = self.begin(task), []
        for text in path:
            if seen.over:
                break
            if text in (seen.admissible or ()):
                kept.append(text)
                seen = self.act(text)
        if not seen.success:
            raise WorldError(f"the published way of task {task.id!r} does not succeed.")
        return kept

    def end(self) -> None:
        """Let go of the engine."""
        self._machine.drop(self._engine)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextWorldExpress:
    """Options: ``game`` is one of the eight or ``all``, which follow each other; ``params`` are the engine's, as in ``numLocations=3,includeDoors=0``; ``horizon`` is the step limit.

    The split ``test`` is the published fold ``held_out``, test or dev. ``timeout_s`` is how long the engine may be silent.
    """

    game: str = "coin"
    params: str = ""
    held_out: str = "test"
    horizon: int = 100
    timeout_s: float = 60.0

    name: ClassVar[str] = "textworld_express"
    summary: ClassVar[str] = (
        "eight text games in the TextWorldExpress engine: coin, cookingworld, twc, ... (Java)"
    )
    anchors: ClassVar[bool] = True
    strict: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_options(self.name, horizon=self.horizon, timeout_s=self.timeout_s, held_out=self.held_out)
        if self.game not in (ALL, *GAMES):
            raise ConfigError(
                f"textworld_express has no game {self.game!r}. {did_you_mean(self.game, (ALL, *GAMES))}"
            )
        if self.params and self.game == ALL:
            raise ConfigError(
                "textworld_express: params differ from game to game; choose one with game=NAME."
            )
        _ = self.jar
        executable()

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.horizon

    @property
    def jar(self) -> Path:
        """The engine."""
        return jar_of("textworld_express", "textworld-express.jar", INSTALL)

    def alone(self, task: Task) -> bool:
        """Return whether the task's game keeps things in a place that all its episodes in a machine share."""
        return task.tags.get("game") == "sorting"

    def games(self) -> tuple[str, ...]:
        """Return the games that are played."""
        return tuple(GAMES) if self.game == ALL else (self.game,)

    def place(self, seed: int) -> tuple[str, str, int]:
        """Return game, fold and the engine's seed for the seed of a task."""
        index, test = divmod(seed, 2)
        games = self.games()
        fold = self.held_out if test else "train"
        return games[index % len(games)], fold, FOLDS[fold] + index // len(games)

    def game_of(self, machine: Machine) -> Game:
        """Return an engine."""
        return _Game(machine)

    def make(self) -> TextGame:
        """Return an environment for tasks of this world."""
        return TextGame(self)

    def size(self, split: str) -> int:
        """Return the number of tasks of ``split``: a thousand of each game."""
        check_place(split, 0)
        return SEEDS * len(self.games())

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``: the games in turn, each time with the next seed of the fold."""
        check_place(split, index, self.size(split))
        seed = 2 * index + (split == "test")
        game, fold, number = self.place(seed)
        return make_task(
            self, split=split, index=index, seed=seed, instruction=f"{GAMES[game]} {_HOW}".strip(),
            tags={"game": game, "fold": fold, "seed": str(number)},
        )  # fmt: skip
