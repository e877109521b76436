"""LIMI (S23): is a handful of curated long demonstrations worth more than many that nobody chose?

Paper: LIMI, Less is More for Agency (arXiv:2509.17567). Claim: imitation of 78 curated demonstrations beats that of 10,000 samples, 128 times as many.

Certain (released code): loss on what the assistant wrote only, the mean over tokens, the data repeated. Unknown: how the 78 were chosen. Ours: the world (ScreenGrid); a pool of rollouts
of a demonstrator that takes a random other action with a stated rate; criteria in words (``CRITERIA``: solved, direct, and spread over families of tasks) that choose
from it (``data.curate``); the whole curve over K for both sources, the same model, updates and batch for all. Left out: human-AI sessions, GLM-4.5.

    everystep reproduce limi

The curated ones come from a pool of the size of the largest K, so a curated K costs that pool; a row ``oracle`` shows K demonstrations without errors.

Measured (docs/recipes/limi.md, five seeds): 300 curated ones beat all 1,200 of the pool (0.215 and 0.100); 78 do not, not even without errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from everystep.core.protocols import Logger
from everystep.core.records import Trajectory
from everystep.data.curate import RULES, Criterion, curate
from everystep.environments.screengrid.world import ScreenGrid
from everystep.evaluate.plot import plot_bands
from everystep.evaluate.study import Trial, study
from everystep.learn.samples import supervised_sample
from everystep.learn.student import Student
from everystep.run.folder import RunFolder

CRITERIA = (
    Criterion(name="solved", text="the task was solved", score=RULES["solved"], least=1.0),
    Criterion(name="direct", text="every step leads to the goal", score=RULES["direct"]),
)
"""What a good demonstration is."""
SOURCES = ("random", "curated", "oracle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Few curated demonstrations against many."""

    apps: str = "mail,shop"
    """Apps of ScreenGrid."""
    size: str = "0.05M"
    """Size of the model."""
    errors: float = 0.3
    """Share of the demonstrator's actions that are wrong."""
    counts: tuple[int, ...] = (20, 78, 300, 1200)
    """Demonstrations that are imitated; the largest is the size of the pool."""
    updates: int = 350
    """Updates of imitation, the same for all."""
    learning_rate: float = 6e-3
    """Peak rate of the imitation."""
    test_tasks: int = 200
    """Held-out tasks."""
    seeds: int = 5
    """Paired seeds."""
    seed: int = 0
    """The first seed."""


@lru_cache(maxsize=2)
def pool(config: Config, errors: float, seed: int) -> tuple[Student, list[Trajectory]]:
    """Return an untrained student and the pool of demonstrations with its tokens."""
    world = ScreenGrid(apps=config.apps, length="any")
    student = Student.begin(world, world.texts(), size=config.size, seed=seed)
    most = max(config.counts)
    tasks = [world.task("train", seed * most + index) for index in range(most)]
    return student, student.demonstrate(tasks, error_rate=errors)


def chosen(config: Config, source: str, count: int, seed: int) -> list[Trajectory]:
    """Return the demonstrations of one arm."""
    _, made = pool(config, 0.0 if source == "oracle" else config.errors, seed)
    if source != "curated":
        return made[:count]
    return list(curate(made, CRITERIA, count, spread=lambda one: one.task.tags["kind"]).chosen)


def trial(config: Config, source: str, count: int, seed: int) -> dict[str, float]:
    """Imitate one source's demonstrations; return held-out success."""
    start, _ = pool(config, 0.0 if source == "oracle" else config.errors, seed)
    student, shown = start.copy(), chosen(config, source, count, seed)
    student.imitate(
        [supervised_sample(one) for one in shown],
        updates=config.updates,
        learning_rate=config.learning_rate,
    )
    tested, _ = student.test([student.world.task("test", index) for index in range(config.test_tasks)])
    steps = [step for one in shown for step in one.steps]
    return {
        "success": tested["success"],
        "shown": float(len(shown)),
        "steps": len(steps) / len(shown),
        "right": sum(step.scores["closer"] > 0 for step in steps) / len(steps),
    }


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the curve of every source; return held-out success by source and count."""
    arms: Mapping[str, Trial] = {
        f"{source} {count}": _trial(config, source, count) for source in SOURCES for count in config.counts
    }
    seeds = range(config.seed, config.seed + config.seeds)
    baseline = f"random {max(config.counts)}"
    result = study(arms, seeds=seeds, baseline=baseline, folder=folder.path, loggers=loggers)
    lines = {
        one: {float(k): result.arm(f"{one} {k}").means["success"] for k in config.counts} for one in SOURCES
    }
    plot_bands(
        lines, folder.path / "limi.svg", title="Imitation of K demonstrations", across="demonstrations (K)",
        up="held-out success", log=True,
    )  # fmt: skip
    return {f"success {one.name}": one.means["success"].value for one in result.arms}


def _trial(config: Config, source: str, count: int) -> Trial:
    return lambda seed: trial(config, source, count, seed)
