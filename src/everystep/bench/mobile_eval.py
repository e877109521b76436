"""Mobile-Eval-E as a benchmark: the operations that a phone task will take, against those of a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

from everystep.bench.benchmark import About, Benchmark, Measure, mean_of
from everystep.bench.worlds import INVALID, WorldBenchmark
from everystep.core.protocols import Sampling
from everystep.core.records import Trajectory
from everystep.environments.phone.mobile_eval import SOURCE
from everystep.environments.phone.mobile_eval_plans import MobileEvalPlans, operations_of
from everystep.evaluate.plan_metrics import f1
from everystep.evaluate.sequences import edit_similarity

TASKS = 25
MEASURES = (
    Measure(name="operation_f1", columns=("hit", "both"), of=f1, definition="F1 of the operations, in one spelling and in any order; what is typed and which app is opened do not count"),
    mean_of("edit_similarity", "1 - edit distance by the longer length, to the person's operations"),
    mean_of("success", "share of the tasks with exactly the person's operations in their order"),
    INVALID,
)  # fmt: skip


def benchmark(data: str = "published") -> Benchmark:
    """Return Mobile-Eval-E's tasks as a benchmark of plans. Not the published score, which a person gives to a run on a phone."""
    world = partial(MobileEvalPlans, data=data)
    world()  # a wrong option is refused here
    return WorldBenchmark(
        about=About(
            name="mobile_eval", kind="answer", summary="the operations that a phone task will take (Mobile-Eval-E, without a phone)",
            source=SOURCE, licence="MIT", cases=2 if data == "sample" else TASKS, needs="nothing" if data == "sample" else "EVERYSTEP_DATA/mobile_eval",
        ),
        world=world,
        read=read,
        empty={"hit": 0.0, "both": 1.0, "edit_similarity": 0.0},
        measures=MEASURES,
        sampling=Sampling(temperature=0.0, max_tokens=512),
        constrain=False,
    )  # fmt: skip


def read(made: Trajectory) -> Mapping[str, float]:
    """Return the numbers of an attempt; an answer that is no list counts as an empty one."""
    reference: Any = made.task.reference
    wanted = operations_of("\n".join(reference["operations"]))
    last = made.steps[-1].action if made.steps else None
    said = operations_of(last.text) if last is not None and last.valid else ()
    hits = (Counter(said) & Counter(wanted)).total()
    return {"hit": float(hits), "both": float(len(said) + len(wanted)), "edit_similarity": edit_similarity(said, wanted)}  # fmt: skip
