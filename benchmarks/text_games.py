"""Text games in Java: CPU time of a step, the virtual machine's included, beside the packages' own environments with the same actions in the same process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from scienceworld import ScienceWorldEnv
from textworld_express import TextWorldExpressEnv

from everystep.core.protocols import World
from everystep.core.records import Task
from everystep.environments.places.scienceworld import ScienceWorld
from everystep.environments.places.textworld_express import TextWorldExpress

Played = list[tuple[Task, list[str]]]
_TICK = os.sysconf("SC_CLK_TCK")


def measure(quick: bool = False) -> list[dict[str, Any]]:
    episodes, rounds = (3, 1) if quick else (9, 2)
    rows = []
    for game in ("coin", "cookingworld"):
        world = TextWorldExpress(game=game)
        played = random_play(world, episodes, steps=50)
        env = TextWorldExpressEnv(envStepLimit=10_000)

        def theirs(played: Played = played, env: Any = env, game: str = game) -> Iterator[None]:
            for task, texts in played:
                _, fold, seed = TextWorldExpress(**task.config).place(task.seed)
                env.reset(seed=seed, gameFold=fold, gameName=game, gameParams="")
                yield
                for text in texts:
                    env.step(text)
                yield

        pid = env._gateway.java_process.pid
        rows.append(row("textworld_express", game, played, rounds, ours(world, played), theirs, pid))
        env.close()
    for kind in ("find-plant", "test-conductivity"):
        played = random_play(ScienceWorld(task_type=kind, listed=True), episodes // 3, steps=12)
        science = ScienceWorldEnv("", envStepLimit=10_000)
        pid = science._gateway.java_process.pid

        def without_list(played: Played = played, env: Any = science) -> Iterator[None]:
            yield from package(played, env, env.server.step)

        def with_list(played: Played = played, env: Any = science) -> Iterator[None]:
            yield from package(played, env, env.step)

        for listed, other in ((False, without_list), (True, with_list)):
            world = ScienceWorld(task_type=kind, listed=listed)
            name = f"{kind}, {'with' if listed else 'without'} the list"
            rows.append(
                row("scienceworld", name, played, 1 if listed else rounds, ours(world, played), other, pid)
            )
        science.close()
    return rows


def package(played: Played, env: Any, step: Callable[[str], Any]) -> Iterator[None]:
    """Play with the package; a step without the list is what its ``step`` calls beside that."""
    for task, texts in played:
        name, number = ScienceWorld(**task.config).place(task.split, task.seed)
        env.load(name, number, "")
        yield
        for text in texts:
            step(text)
            if step is not env.step:
                env.server.getScore(), env.server.getCompleted(), env.get_num_moves()
                env.look(), env.inventory(), env.taskdescription()
        yield


def random_play(world: World, episodes: int, *, steps: int) -> Played:
    """Return what a random agent does among the listed actions."""
    env, random, played = world.make(), Random(0), []
    for index in range(episodes):
        task = world.task("train", index)
        seen, texts = env.reset(task), []
        for _ in range(steps):
            assert seen.admissible is not None
            texts.append(
                random.choice([text for text in seen.admissible if not text.startswith("focus")])
            )  # it may end an experiment
            told = env.step(env.parse(texts[-1]))
            if told.terminated:
                break
            seen = told.observation
        played.append((task, texts))
    env.close()
    return played


def ours(world: World, played: Played) -> tuple[Callable[[], Iterator[None]], int]:
    """Return the same play in the world; what is over is passed over."""
    env = world.make()
    env.reset(world.task("train", 0))

    def play() -> Iterator[None]:
        for task, texts in played:
            known = (
                type(world)(**{**task.config, "listed": world.listed})
                if isinstance(world, ScienceWorld)
                else world
            )
            env.reset(known.task(task.split, int(task.id.rsplit(":", 1)[1])))
            yield
            for text in texts:
                env.step(env.parse(text))
            yield

    return play, env._machine.pid


def row(
    name: str, what: str, played: Played, rounds: int, mine: tuple[Callable[[], Iterator[None]], int], theirs: Callable[[], Iterator[None]], pid: int
) -> dict[str, Any]:  # fmt: skip
    steps = sum(len(texts) for _, texts in played)
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(rounds + 1):
        for who, play, of in (("ours", *mine), ("theirs", theirs, pid)):
            times[who].append(cpu(play(), of))
    own, their = (min(times[who][1:]) / steps * 1e6 for who in ("ours", "theirs"))  # the first warms up
    return {
        "engine": name, "game": what, "steps": steps, "package_us": round(their), "everystep_us": round(own), "ratio": round(own / their, 2),
    }  # fmt: skip


def cpu(play: Iterator[None], pid: int) -> float:
    """Return the CPU seconds of the steps, in this process and in the machine: resets lie between the marks."""
    spent = 0.0
    while True:
        try:
            next(play)
        except StopIteration:
            return spent
        begun = time.process_time() + of(pid)
        next(play)
        spent += time.process_time() + of(pid) - begun


def of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


if __name__ == "__main__":
    for one in measure():
        print(one)
