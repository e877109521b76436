"""GSM8K, MATH-500, AIME, AMC and BIG-Bench Hard as benchmarks: one answer a question."""

from __future__ import annotations

from functools import partial

from everystep.bench.benchmark import About, Benchmark, mean_of
from everystep.bench.worlds import INVALID, WorldBenchmark
from everystep.core.protocols import Sampling
from everystep.environments.reasoning.questions import BBH, SETS, Questions

_ABOUT = {
    "gsm8k": (1319, "grade school word problems of 2 to 8 steps", "last number equals the published one (arXiv 2110.14168)"),
    "math500": (500, "competition problems of seven subjects and five levels", "answers equal in one form of LaTeX (arXiv 2103.03874)"),
    "aime24": (30, "AIME 2024, answers are integers", "last number equals the published one"),
    "amc23": (40, "AMC 2023, answers are numbers", "last number equals the published one"),
    "bbh": (3824, "16 families of BIG-Bench Hard", "answer equals the target but for case and an end point (arXiv 2210.09261)"),
}  # fmt: skip


def benchmark(source: str = "gsm8k", part: str = "any", choices: bool = False) -> Benchmark:
    """Return a set of questions as a benchmark; ``part`` takes one of its families or subjects.

    With ``choices`` only questions that offer answers are asked, and a model picks one of these without thinking aloud.
    """
    cases, summary, definition = _ABOUT[source]
    known = SETS.get(source)
    return WorldBenchmark(
        about=About(
            name=source,
            kind="answer",
            summary=summary,
            source=known.source if known else "https://github.com/suzgunmirac/BIG-Bench-Hard",
            licence=known.licence if known else "MIT; with a canary, for evaluation only",
            cases=cases if part == "any" and not choices else None,
            needs=f"EVERYSTEP_DATA/{known.folder if known else BBH}",
        ),
        world=partial(Questions, source=source, part=part, choices=choices),
        measures=(mean_of("success", definition, name="accuracy"), INVALID),
        sampling=Sampling(temperature=0.0, max_tokens=1024),
        constrain=choices,
    )
