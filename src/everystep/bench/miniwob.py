"""MiniWoB++ as a benchmark: small web tasks in a real Chromium, each with some seeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import count

from everystep.bench.benchmark import About, Benchmark, mean_of
from everystep.bench.worlds import INVALID, STEPS, WorldBenchmark
from everystep.core.errors import ConfigError
from everystep.core.protocols import Sampling, World
from everystep.core.records import Task
from everystep.environments.web.miniwob import ALL, MiniWoB
from everystep.environments.web.miniwob_script import SOLVED

PAGES = 130
"""The pages of miniwob 1.1.0."""


def _tasks(seeds: int, world: World) -> Iterator[Task]:
    assert isinstance(world, MiniWoB)  # noqa: S101 -- it is made below
    for index in count():
        if index >= seeds * len(world.pages()):
            return
        task = world.task("test", index)
        scripted = "yes" if task.tags["task"] in SOLVED else "no"
        yield replace(task, tags={**task.tags, "scripted": scripted})


def benchmark(
    page: str = ALL, seeds: int = 1, horizon: int = 30, browser: str = "", observation: str = "lines"
) -> Benchmark:
    """Return MiniWoB++ as a benchmark. ``page`` is a task, or several with commas, ``scripted`` or ``all``; each task is played with so many ``seeds``. ``observation`` is lines, pruned or raw."""
    if seeds < 1:
        raise ConfigError(f"benchmark 'miniwob': option 'seeds' is {seeds!r}; expected 1 or more.")
    paper = "arXiv 1802.08802, section 5.1"
    known = {ALL: PAGES, "scripted": len(SOLVED)}
    return WorldBenchmark(
        about=About(
            name="miniwob", kind="agent", summary="small web tasks in a real browser (MiniWoB++)",
            source="https://github.com/Farama-Foundation/miniwob-plusplus", licence="MIT", cases=known.get(page, len(page.split(","))) * seeds,
            needs="pip install --no-deps miniwob; apt-get install chromium", batch=1, seconds=0.5,
        ),
        world=partial(MiniWoB, page=page, horizon=horizon, browser=browser, observation=observation),
        tasks=partial(_tasks, seeds),
        measures=(
            mean_of("success", "share of the episodes with a raw reward above 0, as the page gives it", source=paper),
            mean_of("reward", "mean raw reward, -1 to 1, without the decay by time; 0 where the episode was not ended"),
            STEPS, INVALID,
        ),
        sampling=Sampling(temperature=0.0, max_tokens=256),
        constrain=False,
    )  # fmt: skip
