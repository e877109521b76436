"""ProcBench as a benchmark: follow a procedure, every state of it known (S31)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from everystep.bench.benchmark import About, Benchmark, mean_of
from everystep.bench.worlds import INVALID, STEPS, WorldBenchmark, both_splits
from everystep.core.errors import ConfigError
from everystep.core.protocols import Sampling, World
from everystep.core.records import Task, Trajectory
from everystep.environments.reasoning.procbench import GENERATED, ProcBench
from everystep.environments.reasoning.procbench_cases import SOURCE

_COUNT = 480
_HORIZON = 120
_PAPER = "arXiv 2410.03117, section 3.4"
MEASURES = (
    mean_of("prefix_accuracy", "right states before the first wrong one, by the longer of both sequences", source=_PAPER),
    mean_of("sequential_match", "share of the cases with every state right", source=_PAPER),
    mean_of("final_match", "share of the cases with the final state right", source=_PAPER),
    STEPS,
    INVALID,
)  # fmt: skip


def benchmark(
    cases: str = "published",
    family: str = "any",
    band: str = "any",
    lengths: str = "any",
    count: int | None = None,
) -> Benchmark:
    """Return ProcBench as a benchmark. ``cases`` is ``published``, ``sample`` (76 packaged ones), a file's path, or ``generated``: the first ``count`` (480) test cases
    that our own generators draw. ``lengths`` is ``LOW-HIGH``. The agent says itself which state is the final one.
    """
    generated = cases == GENERATED
    if count is not None and (not generated or count < 1):
        raise ConfigError(
            f"procbench: count is {count!r}; it says how many cases are generated, at least 1. Give cases=generated with it; --cases N takes the first N of any."
        )
    number = (count or _COUNT) if generated else None
    if family == band == lengths == "any" and not generated:
        number = {"published": 3192, "sample": 76}.get(cases)
    world = partial(
        ProcBench, cases=cases, family=family, band=band, lengths=lengths, strict=False, ending="agent"
    )
    return WorldBenchmark(
        about=About(
            name="procbench",
            kind="agent",
            summary="procedures of 2 to 25 steps, asked for state by state",
            source="our own generators" if generated else SOURCE,
            licence="CC-BY-4.0 (cases), MIT (generator)"
            if not generated
            else "MIT (the words of the published procedures)",
            cases=number,
            needs="EVERYSTEP_DATA/procbench" if cases == "published" else "nothing",
        ),
        world=partial(world, horizon=_HORIZON) if generated else world,
        tasks=partial(_first, count or _COUNT) if generated else both_splits,
        read=states,
        empty={"prefix_accuracy": 0.0, "sequential_match": 0.0, "final_match": 0.0},
        measures=MEASURES,
        sampling=Sampling(temperature=0.0, max_tokens=512),
        constrain=False,
    )


def _first(count: int, world: World) -> Iterator[Task]:
    return (world.task("test", index) for index in range(count))


def states(made: Trajectory) -> Mapping[str, float]:
    """Return the published numbers of an attempt: what its last valid step left."""
    valid = [step for step in made.steps if step.action.valid]
    last = valid[-1] if valid else None
    return {
        "prefix_accuracy": last.scores["prefix_accuracy"] if last else 0.0,
        "sequential_match": float(made.success is True),
        "final_match": last.scores.get("final_match", 0.0) if last else 0.0,
    }
