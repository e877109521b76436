"""Repair of code as a benchmark: injected bugs in real packages, whole units as the answer, the packages' tests in the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from everystep.bench.benchmark import About, Benchmark, mean_of
from everystep.bench.worlds import INVALID, WorldBenchmark
from everystep.core.protocols import Sampling
from everystep.core.records import Trajectory
from everystep.environments.code.repair import CodeRepair


def _read(made: Trajectory) -> Mapping[str, float]:
    last = made.steps[-1].scores
    return {"applied": last["applied"], "broke": float(last["broken"] > 0)}


def benchmark(cases: str = "injected", attempts: int = 1, units: int = 5) -> Benchmark:
    """Return the benchmark of ``injected`` bugs or ``published`` issues; ``attempts`` 2 gives one more after the failing test was told, ``units`` is how many localised units are shown."""
    world = CodeRepair(cases=cases, attempts=attempts, units=units)
    return WorldBenchmark(
        about=About(
            name="code_repair", kind="answer", summary="mend a bug in a real package by whole units; its tests decide",
            source="https://pypi.org (boltons, cachetools, inflection, mistune, sqlparse, toolz) with injected bugs; SWE-bench Lite (arXiv 2310.06770)",
            licence="BSD-3-Clause, MIT", cases=world.size("test"), needs="pip install pytest; the archives (the command is told); Linux with bubblewrap or user namespaces",
            batch=1, seconds=4.0,
        ),
        world=partial(CodeRepair, cases=cases, attempts=attempts, units=units),
        read=_read,
        empty={"applied": 0.0, "broke": 0.0},
        measures=(
            mean_of("success", "share of the bugs after whose repair all tests pass that pass on the published code", name="fixed"),
            mean_of("applied", "share of the last answers that could be applied"),
            mean_of("broke", "share of the last answers that break a test that passed with the bug"),
            INVALID,
        ),
        sampling=Sampling(temperature=0.0, max_tokens=2048),
        constrain=False,
    )  # fmt: skip
