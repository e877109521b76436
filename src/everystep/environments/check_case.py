"""What a check of an environment has at hand: the world, its tasks, random play, and how to say what came out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from everystep.core.errors import WorldError
from everystep.core.protocols import Environment, Oracle, Transition, World
from everystep.core.records import Observation, Task
from everystep.environments.exact import SPLITS

STEP_CAP = 4_000
"""An episode longer than this is not played to its end by the checker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One clause of the contract: kept, broken, or (``None``) not applicable or only told."""

    name: str
    ok: bool | None
    detail: str


class Case:
    """One check: the world, its tasks, an own generator, and how to say what came out."""

    def __init__(self, name: str, world: World, tasks: int, seed: int) -> None:
        self.name, self.world, self.seed = name, world, seed
        self.rng = Random(seed)
        self.count, self.trust = tasks, 0.3

    def tasks(self, count: int | None = None) -> Iterator[Task]:
        for split in SPLITS:
            yield from self.split(split, self.count if count is None else count)

    def split(self, split: str, count: int) -> Iterator[Task]:
        size = self.world.size(split)
        for index in range(count if size is None else min(count, size)):
            yield self.world.task(split, index)

    def kept(self, detail: str) -> Finding:
        return Finding(name=self.name, ok=True, detail=detail)

    def broken(self, detail: str) -> Finding:
        return Finding(name=self.name, ok=False, detail=detail)

    def told(self, detail: str) -> Finding:
        return Finding(name=self.name, ok=None, detail=detail)

    def choose(self, env: Environment, seen: Observation) -> str:
        """Return a random admissible action, else mostly the oracle's, else nonsense."""
        if seen.admissible and self.rng.random() > self.trust:
            return self.rng.choice(seen.admissible)
        if isinstance(env, Oracle) and (seen.admissible or self.rng.random() < 0.8):
            try:
                return env.oracle()
            except WorldError:  # an oracle may say, after a long search, that there is no way from here
                self.trust /= 2
                return self.rng.choice(seen.admissible or ("nonsense",))
        return "nonsense"

    def walk(
        self, env: Environment, task: Task, limit: int = 60
    ) -> Iterator[tuple[Observation, str, Transition]]:
        """Play at random; yield what was seen, what was done, and what came of it."""
        seen = env.reset(task)
        for _ in range(min(limit, self.world.max_steps)):
            text = self.choose(env, seen)
            result = env.step(env.parse(text))
            yield seen, text, result
            if result.terminated or result.truncated:
                return
            seen = result.observation


def play(env: Environment, texts: Sequence[str]) -> list[Transition]:
    """Return what the actions lead to, up to the end of the episode."""
    results = []
    for text in texts:
        results.append(env.step(env.parse(text)))
        if results[-1].terminated or results[-1].truncated:
            break
    return results
