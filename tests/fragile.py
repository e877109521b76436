"""A world that does what it is told: succeed, fail, break, hang, or kill its process."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, ClassVar

from everystep.core.protocols import Transition
from everystep.core.records import Action, Observation, Task

WORDS = ("a", "b", "c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragile:
    """``a``, ``b``, ``c`` go on; every other word has its own effect."""

    name: ClassVar[str] = "fragile"
    summary: ClassVar[str] = "does what it is told"
    max_steps: ClassVar[int] = 20

    def make(self) -> FragileEnvironment:
        return FragileEnvironment()

    def size(self, split: str) -> int | None:
        return None

    def task(self, split: str, index: int) -> Task:
        return Task(id=f"{split}{index}", instruction="obey", environment=self.name, seed=index, split=split)


class FragileEnvironment:
    def __init__(self) -> None:
        self.seen: list[str] = []
        self.closed = False

    def reset(self, task: Task) -> Observation:
        if task.config.get("broken"):
            raise RuntimeError("no floor")
        self.seen = [task.id]
        return self._observe()

    def parse(self, text: str) -> Action:
        if text == "garble":
            raise ValueError("cannot read")
        return Action(text=text)

    def step(self, action: Action) -> Transition:
        match action.text:
            case "raise":
                raise ZeroDivisionError("boom")
            case "hang":
                time.sleep(600)
            case "die":
                os._exit(9)
            case "bad":
                return Transition(observation=self._observe(), reward=0.0, valid=False, reason="not a word")
            case "win":
                return Transition(observation=self._observe(), reward=2.0, terminated=True, success=True)
            case "lose":
                return Transition(observation=self._observe(), reward=0.0, terminated=True, success=False)
            case "over":
                return Transition(observation=self._observe(), reward=0.5, terminated=True)
            case "cut":
                return Transition(observation=self._observe(), reward=1.0, truncated=True)
        self.seen.append(action.text)
        return Transition(observation=self._observe(), reward=1.0)

    def _observe(self) -> Observation:
        text = " ".join(self.seen)
        return Observation(text=text, anchor=text, admissible=WORDS)

    def snapshot(self) -> Any:
        return tuple(self.seen)

    def restore(self, state: Any) -> Observation:
        self.seen = list(state)
        return self._observe()

    def close(self) -> None:
        self.closed = True


def task(name: str = "t", *, broken: bool = False) -> Task:
    return Task(id=name, instruction="obey", environment="fragile", config={"broken": True} if broken else {})


class Sometimes(Fragile):
    """Some tasks do not start."""

    name: ClassVar[str] = "sometimes"
    broken: ClassVar[tuple[str, ...]] = ()

    def task(self, split: str, index: int) -> Task:
        config = {"broken": True} if f"{split}{index}" in self.broken else {}
        return Task(
            id=f"{split}{index}", instruction="obey", environment=self.name, config=config, split=split
        )


class OneIsBroken(Sometimes):
    broken = ("train0", "test1")


class AllAreBroken(Sometimes):
    broken = ("train0", "train1", "train2")


class NoTest(Sometimes):
    broken = tuple(f"test{number}" for number in range(9))
