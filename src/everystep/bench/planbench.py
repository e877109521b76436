"""PlanBench's Blocksworld as two benchmarks: write a plan, and say whether a given one is valid."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from everystep.bench.benchmark import About, Benchmark, mean_of
from everystep.bench.worlds import INVALID, WorldBenchmark, nothing
from everystep.core.protocols import Sampling
from everystep.core.records import Trajectory
from everystep.environments.reasoning.planbench import SOURCE, PlanBench

_PAPER = "arXiv 2206.10498, section 4"


def benchmark(part: str = "generation") -> Benchmark:
    """Return PlanBench as a benchmark. ``part`` is generation or verification."""
    writes = part == "generation"
    valid = mean_of("success", "share of the plans whose actions can all be done and that reach the goal", name="valid plans", source=_PAPER)  # fmt: skip
    verdict = mean_of("success", "valid or invalid said rightly", name="verdict", source=_PAPER)
    located = mean_of("located", "and the failing step named where an action fails", source=_PAPER)
    return WorldBenchmark(
        about=About(
            name="planbench" if writes else "planbench_verify", kind="answer",
            summary="write a Blocksworld plan" if writes else "say whether a Blocksworld plan is valid, and which step fails",
            source=SOURCE, licence="MIT", cases=500, needs="EVERYSTEP_DATA/planbench",
        ),
        world=partial(PlanBench, part=part),
        read=nothing if writes else _located,
        empty={} if writes else {"located": 0.0},
        measures=(valid, INVALID) if writes else (verdict, located, INVALID),
        sampling=Sampling(temperature=0.0, max_tokens=512),
        constrain=False,
    )  # fmt: skip


def _located(made: Trajectory) -> Mapping[str, float]:
    return {"located": made.steps[-1].scores.get("located", 0.0) if made.steps else 0.0}
