"""AndroidControl as a benchmark: the next action on a phone, with the published check of each step, or whole episodes until the first wrong one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from everystep.bench.benchmark import About, Benchmark, Measure, mean_of
from everystep.bench.worlds import INVALID, WorldBenchmark, both_splits
from everystep.core.errors import ConfigError
from everystep.core.protocols import Sampling
from everystep.core.records import Trajectory
from everystep.environments.phone.android_acts import POINTED, TEXTED
from everystep.environments.phone.android_control import FOLDER, SOURCE, AndroidControl, walks
from everystep.evaluate.step_metrics import accuracy

EPISODES, STEPS = 1543, 8444
"""What the published file has."""
_PAPER, _CHECK = "arXiv 2406.03679", "arXiv 2509.11543 and its released check"
_STEP = (
    mean_of("action", "share of the steps whose action is right by the published check (step accuracy)", source=_CHECK),
    mean_of("type", "share of the steps whose kind of action is right", source=_PAPER),
    Measure(name="grounding", columns=("pointed", "met"), of=accuracy, source=_CHECK, definition="share of the clicks and long presses whose point meets a candidate box, enlarged to 120 %, or is 0.04 of the screen away"),
    Measure(name="text", columns=("texted", "texted_right"), of=accuracy, source=_CHECK, definition="share of the steps that type or open with a text that contains the gold one, or is contained in it"),
    mean_of("exact", "as action, but texts are equal and a swipe goes the right way"),
    INVALID,
)  # fmt: skip
_EPISODE = (
    mean_of("success", "share of the episodes with every step right", source=_CHECK),
    mean_of("progress", "mean share of an episode's steps before the first wrong one", source=_CHECK),
    INVALID,
)


def benchmark(data: str = "published", ask: str = "step", history: int = 8, words: bool = False) -> Benchmark:
    """Return AndroidControl's gold steps (``ask=step``; gold actions before each) or episodes (``ask=episode``; over at the first wrong step) as a benchmark; ``words`` tells what each step is for."""
    world = partial(AndroidControl, data=data, ask=ask, history=history, words=words)
    world()  # a wrong option is refused here
    measures = _STEP if ask == "step" else _EPISODE
    return WorldBenchmark(
        about=About(
            name="android_control", kind="agent",
            summary="the next action on a phone, from the goal and the actions so far (AndroidControl, no screenshots)",
            source=SOURCE, licence="MIT (AndroidControl: Apache-2.0)", cases=_cases(data, ask), needs="nothing" if data == "sample" else f"EVERYSTEP_DATA/{FOLDER}",
            batch=32,
        ),
        world=world,
        tasks=both_splits,
        read=partial(read, ask=ask),
        empty={name: 0.0 for one in measures for name in one.columns if name not in ("rows", "invalid")},
        measures=measures,
        sampling=Sampling(temperature=0.0, max_tokens=128),
        constrain=False,
        problem="episode",
    )  # fmt: skip


def read(made: Trajectory, *, ask: str) -> Mapping[str, float]:
    """Return the numbers of an attempt."""
    if not made.steps:
        return {}
    scores = made.steps[-1].scores
    if ask == "episode":
        return {"progress": scores["progress"]}
    kind: Any = made.task.tags["kind"]
    pointed, texted, right = kind in POINTED, kind in TEXTED, scores["action"]
    return {
        "action": right, "type": scores["kind"], "exact": scores["exact"],
        "pointed": float(pointed), "met": right * pointed, "texted": float(texted), "texted_right": right * texted,
    }  # fmt: skip


def _cases(data: str, ask: str) -> int:
    """Return how many cases the file at hand has; how many are published, where none is."""
    try:
        return sum(len(walk.steps) for walk in walks(data)) if ask == "step" else len(walks(data))
    except ConfigError:
        return STEPS if ask == "step" else EPISODES
