"""Graph scripts as a benchmark: the next step, or the rest, of everyday tasks that people do in many orders (S32)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from everystep.bench.benchmark import About, Benchmark, mean_of
from everystep.bench.worlds import INVALID, WorldBenchmark
from everystep.core.protocols import Sampling
from everystep.core.records import Trajectory
from everystep.environments.reasoning.graph_paths import FOLDER, SOURCE, Start
from everystep.environments.reasoning.graph_scripts import FINISHED, GraphScripts, step_of
from everystep.evaluate.sequences import completed, next_step

_PAPER = "arXiv 2305.17542"
MEASURES = {
    "next": (
        mean_of("acc@1", "share of the start sequences whose first named step came next in some held-out path", source=_PAPER),
        mean_of("f1@3", "F1 of the first three named steps against all that came next", source=_PAPER),
        mean_of("taken", "share of the held-out paths that took the first named step"),
        INVALID,
    ),
    "rest": (
        mean_of("accuracy", "share of the completions that some held-out path has", source=_PAPER),
        mean_of("edit_similarity", "1 - edit distance by the longer length, to the nearest held-out completion", source=_PAPER),
        INVALID,
    ),
}  # fmt: skip

CASES = 1114
"""Start sequences of the held-out paths."""


def benchmark(ask: str = "next", examples: int = 0) -> Benchmark:
    """Return the start sequences of the held-out paths (20 % of each task's) as a benchmark; ``ask`` is ``next`` or ``rest``, and ``examples`` training paths are shown."""
    world = partial(GraphScripts, ask=ask, examples=examples)
    world()  # a wrong option is refused here
    measures = MEASURES[ask]
    return WorldBenchmark(
        about=About(
            name="graph_scripts",
            kind="agent",
            summary="next steps of 17 everyday tasks that people do in many orders",
            source=SOURCE,
            licence="MIT",
            cases=CASES,
            needs=f"EVERYSTEP_DATA/{FOLDER}",
        ),
        world=world,
        read=partial(read, ask=ask),
        empty={name: 0.0 for one in measures for name in one.columns if name not in ("rows", "invalid")},
        measures=measures,
        sampling=Sampling(temperature=0.0, max_tokens=48),
    )


def read(made: Trajectory, *, ask: str) -> Mapping[str, float]:
    """Return the published numbers of an attempt: of the steps that it named."""
    reference: Any = made.task.reference
    start = Start(
        done=(), next=reference["next"], completions=tuple(tuple(one) for one in reference["completions"])
    )
    told = (
        step_of(step.action.text, (*reference["steps"], FINISHED)) for step in made.steps if step.action.valid
    )
    named = [step for step in told if step is not None]
    if ask == "next":
        return next_step(named, start) if named else {}
    found = completed([step for step in named if step != FINISHED], start)
    over = made.success is not None
    return {"accuracy": found["accuracy"] * over, "edit_similarity": found["edit_similarity"]}
