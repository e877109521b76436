"""ScienceWorld (Wang et al. 2022, arXiv 2203.07540; the package ``scienceworld``, Apache-2.0): experiments of a school's science lessons, in the published engine, which needs Java.

Thirty task types with 7,207 variations, their folds, scores and gold paths are those of the package. Any text can be tried; what the engine does not understand is not valid. The
list of what can be done has hundreds to thousands of entries and takes some four times as long as a step; it also names things that the engine then does not understand. ``listed`` asks for it. As published, the score is that of sub-goals
in hundredths of the whole, already above 0 where one is met at the start, and below 0 (which ends the episode) where the wrong thing was chosen. The package's step limit is 100;
the way of some gold paths is longer.

The engine draws some things anew at each run (plants' genes, bees' ways); here they are drawn from the task and the number of the step, so that an episode repeats. The gold path is
found in an engine of its own when the oracle is first asked, which takes a second to minutes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar
from zlib import crc32

from everystep.core.errors import ConfigError, WorldError, did_you_mean
from everystep.core.records import Task
from everystep.environments.exact import check_place, make_task
from everystep.environments.places.text_game import Game, Seen, TextGame, check_options
from everystep.tools.java import Machine, executable, jar_of

ALL = "all"
VARIATIONS: Mapping[str, tuple[int, int, int]] = {
    "boil": (14, 7, 9),
    "change-the-state-of-matter-of": (14, 7, 9),
    "chemistry-mix": (16, 8, 8),
    "chemistry-mix-paint-secondary-color": (18, 9, 9),
    "chemistry-mix-paint-tertiary-color": (18, 9, 9),
    "find-animal": (150, 75, 75),
    "find-living-thing": (150, 75, 75),
    "find-non-living-thing": (150, 75, 75),
    "find-plant": (150, 75, 75),
    "freeze": (14, 7, 9),
    "grow-fruit": (62, 31, 33),
    "grow-plant": (62, 31, 33),
    "identify-life-stages-1": (6, 3, 5),
    "identify-life-stages-2": (4, 2, 4),
    "inclined-plane-determine-angle": (84, 42, 42),
    "inclined-plane-friction-named-surfaces": (692, 346, 348),
    "inclined-plane-friction-unnamed-surfaces": (80, 40, 42),
    "lifespan-longest-lived": (62, 31, 32),
    "lifespan-longest-lived-then-shortest-lived": (62, 31, 32),
    "lifespan-shortest-lived": (62, 31, 32),
    "measure-melting-point-known-substance": (218, 109, 109),
    "measure-melting-point-unknown-substance": (150, 75, 75),
    "melt": (14, 7, 9),
    "mendelian-genetics-known-plant": (60, 30, 30),
    "mendelian-genetics-unknown-plant": (240, 120, 120),
    "power-component": (10, 5, 5),
    "power-component-renewable-vs-nonrenewable-energy": (10, 5, 5),
    "test-conductivity": (450, 225, 225),
    "test-conductivity-of-unknown-substances": (300, 150, 150),
    "use-thermometer": (270, 135, 135),
}
"""The task types, and how many variations the folds train, dev and test have, one fold after the other."""
SIMPLER = ("easy", "teleportAction", "selfWateringFlowerPots", "openContainers", "openDoors", "noElectricalAction")  # fmt: skip
INSTALL = "pip install 'everystep[textgames]'"
_FOLDS = ("train", "dev", "test")
_UNKNOWN = ("No known action matches that input.", "Unknown action.")
_AMBIGUOUS = "Ambiguous request"
_CHOICE = re.compile(r"^(\d+):\t", re.MULTILINE)
_HOW = (
    "Do the experiment that the task says. Answer with one action: look around, look at THING, look in THING, open THING, close THING, go to PLACE, pick up THING, put down THING, "
    "move THING to PLACE, pour THING in THING, dunk THING in THING, mix THING, use THING on THING, activate THING, deactivate THING, connect THING to THING, disconnect THING, read THING, eat THING, "
    "flush THING, focus on THING, inventory, task, wait, wait1. Where a request is ambiguous, answer with a number of the list."
)


class _Game:
    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._engine = machine.make("scienceworld.runtime.pythonapi.PythonInterface")
        self._random = machine.static("scala.util.Random$", "MODULE$")
        self._seed = self._acts = 0
        self._listed = False
        self._goal = ""

    def begin(self, task: Task) -> Seen:
        world = ScienceWorld(**task.config)  # type: ignore[arg-type]
        name, number = world.place(task.split, task.seed)
        self._seed, self._acts, self._listed = crc32(f"{name} {number}".encode()), 0, world.listed
        self._load(self._engine, name, number, world.simpler, gold=False)
        self._goal = " ".join(str(self._machine.call("asking for the task", self._engine.getTaskDescription)).split())  # fmt: skip
        return self.act(
            "look around"
        )  # it costs no time, and without it the engine tells the score of its last episode

    def _load(self, engine: Any, name: str, number: int, simpler: str, *, gold: bool) -> None:
        with self._machine.lock:
            self._draw()
            told = self._machine.call(f"loading {name!r}", engine.load, name, number, simpler, gold)
        if told:
            raise WorldError(f"the engine cannot load variation {number} of {name!r}: {told[:200]}")

    def _draw(self) -> None:
        """Let the engine's generator, which is one for all episodes in it, begin at a place of this step's own."""
        self._machine.call("drawing", self._random.setSeed, crc32(f"{self._seed} {self._acts}".encode()))
        self._acts += 1

    def act(self, text: str) -> Seen:
        call, engine = self._machine.call, self._engine
        with self._machine.lock:
            self._draw()
            told = str(call(f"doing {text!r}", engine.step, text)).strip()
        points = round(100 * float(call("scoring", engine.getScore)))
        over = bool(call("scoring", engine.getCompleted)) or points < 0
        return Seen(
            told=told,
            look=str(call("looking", engine.freeActionLook)).strip(),
            inventory=str(call("looking", engine.freeActionInventory)).strip(),
            goal=self._goal,
            points=points / 100,
            over=over,
            success=points >= 100,
            admissible=self._list(told) if self._listed else None,
            reason=told if told.startswith(_UNKNOWN) else None,
        )

    def _list(self, told: str) -> tuple[str, ...]:
        if told.startswith(_AMBIGUOUS):
            return tuple(_CHOICE.findall(told))
        with self._machine.lock:
            return tuple(sorted(set(self._machine.lines("listing", self._engine.getValidActionObjectCombinations))))  # fmt: skip

    def gold(self, task: Task) -> list[str]:
        """Return the published way of the task, found by an engine that may take minutes."""
        world = ScienceWorld(**task.config)  # type: ignore[arg-type]
        name, number = world.place(task.split, task.seed)
        self._seed = crc32(f"{name} {number}".encode())
        finder = self._machine.make("scienceworld.runtime.pythonapi.PythonInterface", patient=True)
        self._load(finder, name, number, world.simpler, gold=True)
        path = self._machine.lines("asking for the way", finder.getGoldActionSequence)
        self._machine.drop(finder)
        return path

    def end(self) -> None:
        """Let go of the engine."""
        self._machine.drop(self._engine)


@cache
def _places(task: str, fold: str) -> tuple[tuple[str, int], ...]:
    """Return task types and variations of a fold: of each type its first, then of each its second, ..."""
    at = _FOLDS.index(fold)
    found = [
        (number, name)
        for name in (VARIATIONS if task == ALL else (task,))
        for number in range(VARIATIONS[name][at])
    ]
    return tuple((name, sum(VARIATIONS[name][:at]) + number) for number, name in sorted(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScienceWorld:
    """Options: ``task_type`` is one of the thirty or ``all``; ``simpler`` names the package's simplifications, separated by commas (``easy`` is all of them); ``horizon`` is the step limit.

    ``listed`` asks the engine for what can be done, at every step. The split ``test`` is the published fold ``held_out``, test or dev. ``timeout_s`` is how long the engine may be silent.
    """

    task_type: str = ALL
    simpler: str = ""
    listed: bool = False
    held_out: str = "test"
    horizon: int = 100
    timeout_s: float = 60.0

    name: ClassVar[str] = "scienceworld"
    summary: ClassVar[str] = "experiments of a school's science lessons in the ScienceWorld engine (Java)"
    anchors: ClassVar[bool] = False
    strict: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_options(self.name, horizon=self.horizon, timeout_s=self.timeout_s, held_out=self.held_out)
        if self.task_type not in (ALL, *VARIATIONS):
            raise ConfigError(
                f"scienceworld has no task type {self.task_type!r}. {did_you_mean(self.task_type, (ALL, *VARIATIONS))}"
            )
        for one in filter(None, self.simpler.split(",")):
            if one not in SIMPLER:
                raise ConfigError(f"scienceworld has no simplification {one!r}. {did_you_mean(one, SIMPLER)}")
        _ = self.jar
        executable()

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.horizon

    @property
    def jar(self) -> Path:
        """The engine."""
        return jar_of("scienceworld", "scienceworld.jar", INSTALL)

    def alone(self, task: Task) -> bool:  # noqa: ARG002
        """Return false: episodes in a machine do not touch each other."""
        return False

    def place(self, split: str, seed: int) -> tuple[str, int]:
        """Return the task type and the variation for a task's split and seed."""
        return _places(self.task_type, self._fold(split))[seed // 2]

    def _fold(self, split: str) -> str:
        return self.held_out if split == "test" else "train"

    def game_of(self, machine: Machine) -> Game:
        """Return an engine."""
        return _Game(machine)

    def make(self) -> TextGame:
        """Return an environment for tasks of this world."""
        return TextGame(self)

    def size(self, split: str) -> int:
        """Return the number of variations of ``split``."""
        check_place(split, 0)
        return len(_places(self.task_type, self._fold(split)))

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``: the first variation of each type, then the second of each, ..."""
        check_place(split, index, self.size(split))
        seed = 2 * index + (split == "test")
        name, number = self.place(split, seed)
        return make_task(
            self, split=split, index=index, seed=seed, instruction=_HOW,
            tags={"task": name, "variation": str(number)},
        )  # fmt: skip
