"""Text games in their published Java engines as benchmarks: TextWorldExpress and ScienceWorld."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from everystep.bench.benchmark import About, Benchmark, mean_of
from everystep.bench.worlds import INVALID, STEPS, WorldBenchmark
from everystep.core.errors import ConfigError
from everystep.core.protocols import Sampling, World
from everystep.core.records import Task, Trajectory
from everystep.environments.catalog import world

_NEEDS = "pip install 'everystep[textgames]', and Java"


def textworld_express(game: str = "all", seeds: int = 20, params: str = "", held_out: str = "test", horizon: int = 200) -> Benchmark:  # fmt: skip
    """The games of TextWorldExpress, each with the first ``seeds`` of the fold ``held_out``. ``game`` is one of the eight or all; ``horizon`` is the step limit, which some published paths need."""
    _several("textworld_express", "seeds", seeds)
    paper = "arXiv 2208.01174, section 3"
    return WorldBenchmark(
        about=About(
            name="textworld_express", kind="agent", summary="text games: coin, cookingworld, twc, mapreader, ... (TextWorldExpress)",
            source="https://github.com/cognitiveailab/TextWorldExpress", licence="Apache-2.0",
            cases=seeds * (8 if game == "all" else 1), needs=_NEEDS, batch=1, seconds=0.1,
        ),
        world=partial(world, "textworld_express", game=game, params=params, held_out=held_out, horizon=horizon),
        tasks=partial(_rounds, "game", seeds),
        read=score_of, empty={"score": 0.0},
        measures=(
            mean_of("score", "mean of the engine's score at the end, 0 to 1", source=paper),
            mean_of("success", "share of the games that the engine calls won", source=paper),
            STEPS, INVALID,
        ),
        sampling=Sampling(temperature=0.0, max_tokens=64),
    )  # fmt: skip


def scienceworld(
    task_type: str = "all", variations: int = 1, listed: bool = False, simpler: str = "", held_out: str = "test", horizon: int = 300
) -> Benchmark:  # fmt: skip
    """The task types of ScienceWorld, each with the first ``variations`` of the fold ``held_out`` (0: all that it has). ``horizon`` is the step limit, which some gold paths need; the package's is 100.

    A random agent needs ``listed``; so does a model that may only answer what can be done.
    """
    _several("scienceworld", "variations", variations, least=0)
    paper = "arXiv 2203.07540, section 5"
    return WorldBenchmark(
        about=About(
            name="scienceworld", kind="agent", summary="experiments of a school's science lessons, thirty task types (ScienceWorld)",
            source="https://github.com/allenai/ScienceWorld", licence="Apache-2.0",
            cases=(1819 if not variations else 30 * variations) if task_type == "all" else variations or None,
            needs=_NEEDS, batch=1, seconds=3.0,
        ),
        world=partial(world, "scienceworld", task_type=task_type, listed=listed, simpler=simpler, held_out=held_out, horizon=horizon),
        tasks=partial(_rounds, "task", variations),
        read=hundredths_of, empty={"score": 0.0},
        measures=(
            mean_of("score", "mean of the engine's score at the end, 0 to 100; below 0 counts as 0", source=paper),
            mean_of("success", "share of the episodes with the whole score", source=paper),
            STEPS, INVALID,
        ),
        sampling=Sampling(temperature=0.0, max_tokens=64),
        constrain=listed,
    )  # fmt: skip


def _several(name: str, option: str, value: int, least: int = 1) -> None:
    if value < least:
        raise ConfigError(f"benchmark {name!r}: option {option!r} is {value!r}; expected {least} or more.")


def _rounds(tag: str, several: int, world: World) -> Iterator[Task]:
    """Yield the first ``several`` test tasks of each kind; all for 0."""
    seen: dict[str, int] = {}
    for index in range(world.size("test") or 0):
        task = world.task("test", index)
        kind = task.tags[tag]
        seen[kind] = seen.get(kind, 0) + 1
        if not several or seen[kind] <= several:
            yield task
        elif min(seen.values()) > several:
            return


def score_of(made: Trajectory) -> Mapping[str, float]:
    """Return the score that the last step left, 0 to 1; one below 0 counts as 0, as published."""
    last = made.steps[-1].scores.get("score", 0.0) if made.steps else 0.0
    return {"score": max(0.0, last)}


def hundredths_of(made: Trajectory) -> Mapping[str, float]:
    """Return the score that the last step left, 0 to 100."""
    return {"score": 100.0 * score_of(made)["score"]}
