"""Benchmarks in a world: an episode a case."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from everystep.bench.benchmark import About, Ask, Attempt, Benchmark, Case, Measure, Scored, mean_of
from everystep.core.ledger import Ledger
from everystep.core.protocols import AsyncSampler, Sampling, World
from everystep.core.records import End, Task, Trajectory
from everystep.environments.exact import SPLITS
from everystep.run.demonstrate import OracleSampler
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Job, Limits, rollout, rollout_async

ANSWER_CHARS = 400
SUCCESS = mean_of("success", "share of the attempts that the environment calls solved", name="success")
STEPS = mean_of("steps", "mean steps of an attempt", name="steps")
INVALID = mean_of("invalid", "mean answers of an attempt that were no action of the world", name="invalid")
REWARD = mean_of("reward", "mean sum of rewards of an attempt", name="reward")

GREEDY = Sampling(temperature=0.0, max_tokens=512)

Read = Callable[[Trajectory], Mapping[str, float]]


def both_splits(world: World) -> Iterator[Task]:
    """Yield the tasks of both splits in the order of their numbers: what was published has no training part."""
    found = [world.task(split, index) for split in SPLITS for index in range(world.size(split) or 0)]
    yield from sorted(found, key=lambda task: task.seed)


def nothing(_: Trajectory) -> Mapping[str, float]:
    """Read nothing more of a trajectory than every benchmark does."""
    return {}


def sampled(
    benchmark: Benchmark, temperature: float | None = None, max_tokens: int | None = None
) -> Benchmark:
    """Return a benchmark whose contestants are sampled otherwise; ``None`` leaves what it asks for. Benchmarks of judges have no sampling of their own."""
    if not isinstance(benchmark, WorldBenchmark):
        return benchmark
    usual = benchmark.sampling
    changed = replace(
        usual,
        temperature=usual.temperature if temperature is None else temperature,
        max_tokens=usual.max_tokens if max_tokens is None else max_tokens,
    )
    return replace(benchmark, sampling=changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldBenchmark:
    """Tasks of a world, one episode an attempt.

    ``tasks`` are those of ``split`` unless given. ``read`` adds numbers to success, reward, steps and invalid answers; ``empty`` are its numbers where nothing came of an
    attempt. ``sampling`` is how a model is asked; ``constrain`` lets it only answer what the world lists. ``problem`` is the tag that names what resampling must not cut
    through, else each task stands for itself.
    """

    about: About
    world: Callable[[], World]
    split: str = "test"
    tasks: Callable[[World], Iterable[Task]] | None = None
    read: Read = nothing
    empty: Mapping[str, float] = field(default_factory=dict)
    measures: tuple[Measure, ...] = (SUCCESS, REWARD, STEPS, INVALID)
    sampling: Sampling = GREEDY
    constrain: bool = True
    max_steps: int | None = None
    problem: str = ""

    @property
    def failed(self) -> Mapping[str, float]:
        """The numbers of an attempt that never ended."""
        return {"success": 0.0, "reward": 0.0, "steps": 0.0, "invalid": 0.0, **self.empty}

    def cases(self) -> Iterator[Case]:
        """Yield the tasks as cases."""
        world = self.world()
        for task in self.tasks(world) if self.tasks is not None else self._all(world):
            problem = task.tags[self.problem] if self.problem else task.id
            yield Case(id=task.id, what=task, problem=problem, tags=task.tags)

    def _all(self, world: World) -> Iterator[Task]:
        size = world.size(self.split)
        index = 0
        while size is None or index < size:
            yield world.task(self.split, index)
            index += 1

    def open(self, make: Callable[..., Any]) -> Attempt:
        """Return how cases are attempted; one world and one contestant for all of them."""
        world = self.world()
        hosts = LocalHosts(world)
        sampler = make(OracleSampler(hosts))
        limits = Limits(max_steps=self.max_steps or world.max_steps)

        def attempt(asks: Sequence[Ask]) -> list[Scored]:
            jobs = [
                Job(id=f"{ask.case.id}#{ask.run}", task=ask.case.what, group=ask.case.id, sample=ask.run, seed=ask.seed)
                for ask in asks
            ]  # fmt: skip
            ledger = Ledger()
            if isinstance(sampler, AsyncSampler):
                made = asyncio.run(
                    rollout_async(
                        hosts, sampler, jobs, sampling=self.sampling, limits=limits,
                        constrain=self.constrain, ledger=ledger,
                    )
                )  # fmt: skip
            else:
                made = rollout(
                    hosts, sampler, jobs, sampling=self.sampling, limits=limits,
                    constrain=self.constrain, ledger=ledger,
                )  # fmt: skip
            spent = ledger.as_dict()
            share = 1 / len(made)  # a batch is charged evenly: its calls are shared
            return [
                self._scored(one, spent["prompt_tokens"] * share, spent["sampled_tokens"] * share)
                for one in made
            ]

        return attempt

    def _scored(self, made: Trajectory, prompt: float, sampled: float) -> Scored:
        broken = made.end is End.ERROR
        last = made.steps[-1].action.text if made.steps else ""
        numbers = dict(self.failed)
        if not broken:
            numbers |= {
                "success": float(made.success is True),
                "reward": made.outcome or 0.0,
                "steps": float(len(made.steps)),
                "invalid": float(sum(not step.action.valid for step in made.steps)),
                **self.read(made),
            }
        return Scored(
            numbers=numbers,
            steps=len(made.steps),
            prompt_tokens=round(prompt),
            sampled_tokens=round(sampled),
            answer=last[:ANSWER_CHARS],
            error=made.error or "" if broken else "",
        )
