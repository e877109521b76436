"""OS-MAP as a benchmark: those of its 416 desktop tasks that are checked on plain files, by level and demand (S41)."""

from __future__ import annotations

from everystep.bench.benchmark import About, Benchmark, mean_of
from everystep.bench.worlds import INVALID, STEPS, WorldBenchmark, both_splits
from everystep.core.protocols import Sampling
from everystep.environments.tooluse.os_map import FOLDER, SOURCE
from everystep.environments.tooluse.os_map_files import OSMapFiles

CASES = 13
"""The tasks that qualify; ``everystep.environments.tooluse.os_map`` loads all 416 and says what the others need."""


def benchmark() -> Benchmark:
    """Return OS-MAP's file tasks as a benchmark; ``--by level``, ``domain``, ``leaf``, ``app`` or ``cell`` (level and domain) breaks it down."""
    return WorldBenchmark(
        about=About(
            name="os_map",
            kind="agent",
            summary=f"{CASES} of OS-MAP's 416 desktop tasks: those that are checked on plain files",
            source=SOURCE,
            licence="MIT",
            cases=CASES,
            needs=f"EVERYSTEP_DATA/{FOLDER}",
        ),
        world=OSMapFiles,
        tasks=both_splits,
        measures=(
            mean_of("success", "share of the tasks whose published check holds", source="arXiv 2507.19132"),
            STEPS,
            INVALID,
        ),
        sampling=Sampling(temperature=0.0, max_tokens=512),
        constrain=False,
    )
