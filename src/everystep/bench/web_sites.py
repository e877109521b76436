"""Local web sites of many pages in a real Chromium as a benchmark: held-out sites and goals of a shop, a forum, an encyclopaedia and an account."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from everystep.bench.benchmark import About, Benchmark, mean_of
from everystep.bench.worlds import INVALID, STEPS, WorldBenchmark
from everystep.core.errors import ConfigError
from everystep.core.protocols import Sampling, World
from everystep.core.records import Task
from everystep.environments.web.sites import ALL, WebSites, goal_names


def _tasks(count: int, world: World) -> Iterator[Task]:
    for index in range(count):
        yield world.task("test", index)


def benchmark(
    site: str = ALL,
    seeds: int = 5,
    observation: str = "pruned",
    history: str = "none",
    horizon: int = 20,
    browser: str = "",
) -> Benchmark:
    """Return the local sites as a benchmark, each kind of goal on ``seeds`` sites; ``--by site`` or ``goal`` breaks it down. The other options are the world's."""
    if seeds < 1:
        raise ConfigError(f"benchmark 'web_sites': option 'seeds' is {seeds!r}; expected 1 or more.")
    count = len(goal_names(site)) * seeds
    return WorldBenchmark(
        about=About(
            name="web_sites", kind="agent", summary="goals on local web sites of many pages, in a real browser",
            source="https://arxiv.org/abs/2410.13825 (the actions); sites are made from a seed", licence="MIT", cases=count,
            needs="apt-get install chromium", batch=1, seconds=1.0,
        ),
        world=partial(WebSites, site=site, observation=observation, history=history, horizon=horizon, browser=browser),
        tasks=partial(_tasks, count),
        measures=(
            mean_of("success", "share of the episodes whose answer is right, or that left the site as the goal wants it"),
            STEPS, INVALID,
        ),
        sampling=Sampling(temperature=0.0, max_tokens=256),
        constrain=False,
    )  # fmt: skip
