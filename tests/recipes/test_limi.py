"""LIMI's sources: what is curated meets the criteria and is spread, the largest random one is the pool, all learn equally long."""

from __future__ import annotations

from everystep.recipes.limi import Config, chosen, pool, trial

TINY = Config(size="0.02M", counts=(10, 120), updates=2, test_tasks=4, seeds=1)


def test_sources() -> None:
    _, made = pool(TINY, TINY.errors, 0)
    random, curated, oracle = (chosen(TINY, source, 10, 0) for source in ("random", "curated", "oracle"))
    assert random == made[:10]
    assert chosen(TINY, "random", 120, 0) == made
    assert all(one.success for one in curated)
    assert {one.id for one in curated} <= {one.id for one in made}
    assert len({one.task.tags["kind"] for one in curated}) >= 8
    assert all(step.scores["closer"] > 0 for one in oracle for step in one.steps)


def test_curated_ones_are_better_than_the_pool() -> None:
    told = {source: trial(TINY, source, 10, 0) for source in ("random", "curated", "oracle")}
    assert told["random"]["right"] < told["curated"]["right"] < told["oracle"]["right"] + 1e-9
    assert told["oracle"]["right"] == 1.0
