"""ProcBench as a benchmark: follow a procedure, every state of it known (S31)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from everystep.bench.benchmark import About, Benchmark, mean_of
from everystep.bench.worlds import INVALID, STEPS, WorldBenchmark, both_splits
from everystep.core.protocols import Sampling
from everystep.core.records import Trajectory
from everystep.environments.procbench import SOURCE, ProcBench

_PAPER = "arXiv 2410.03117, section 3.4"
MEASURES = (
    mean_of("prefix_accuracy", "right states before the first wrong one, by the longer of both sequences", source=_PAPER),
    mean_of("sequential_match", "share of the cases with every state right", source=_PAPER),
    mean_of("final_match", "share of the cases with the final state right", source=_PAPER),
    STEPS,
    INVALID,
)  # fmt: skip


def benchmark(cases: str = "published", family: str = "any", band: str = "any") -> Benchmark:
    """Return ProcBench as a benchmark. ``cases`` is ``published``, ``sample`` (76 packaged ones) or a file's path; the agent says itself which state is the final one."""
    everything = family == band == "any"
    return WorldBenchmark(
        about=About(
            name="procbench",
            kind="agent",
            summary="procedures of 2 to 25 steps, asked for state by state",
            source=SOURCE,
            licence="CC-BY-4.0 (cases), MIT (generator)",
            cases={"published": 3192, "sample": 76}.get(cases) if everything else None,
            needs="EVERYSTEP_DATA/procbench" if cases == "published" else "nothing",
        ),
        world=partial(ProcBench, cases=cases, family=family, band=band, strict=False, ending="agent"),
        tasks=both_splits,
        read=states,
        empty={"prefix_accuracy": 0.0, "sequential_match": 0.0, "final_match": 0.0},
        measures=MEASURES,
        sampling=Sampling(temperature=0.0, max_tokens=512),
        constrain=False,
    )


def states(made: Trajectory) -> Mapping[str, float]:
    """Return the published numbers of an attempt: what its last valid step left."""
    valid = [step for step in made.steps if step.action.valid]
    last = valid[-1] if valid else None
    return {
        "prefix_accuracy": last.scores["prefix_accuracy"] if last else 0.0,
        "sequential_match": float(made.success is True),
        "final_match": last.scores.get("final_match", 0.0) if last else 0.0,
    }
