#!/usr/bin/env python3
"""Towers of Hanoi with 20 disks: 1,048,575 voted steps from a policy that errs, killed on the way, checked move by move.

    python benchmarks/million.py --error 0.002 --kills 50
    python benchmarks/million.py --error 0.1
    python benchmarks/million.py --disks 10 --error 0.1 --kills 5      a quick look

The margin comes from a forecast: 2,000 steps of the path are sampled first. A kill is SIGKILL at a random step, and the next process
goes on from the journal. At the end every move is compared with the strategy's, the votes with the formulas.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from everystep.core.trace import Kind
from everystep.environments.places.hanoi import Hanoi
from everystep.environments.places.hanoi_micro import Stepper, moved, next_move, pegs_move, pegs_of, turn_of
from everystep.recipes.maker import agent, tallies
from everystep.run.journal import Journal
from everystep.run.loop import Runner
from everystep.run.parts import Bounds, Parts
from everystep.run.resume import take_up
from everystep.run.vote import AheadBy, Single
from everystep.verify.calibrate import calibrate
from everystep.verify.forecast import forecast
from everystep.verify.race import expected_votes, p_full


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--disks", type=int, default=20)
    parser.add_argument("--error", type=float, default=0.002)
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--margin", type=int, help="fix the margin instead of forecasting it")
    parser.add_argument("--out", type=Path, default=Path("runs/million"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        work(asked)
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    steps = (1 << asked.disks) - 1
    margin = asked.margin or foresee(asked, steps)
    began = time.monotonic()
    used = [attempt(asked, margin, stop) for stop in stops(asked, steps)]
    wall = time.monotonic() - began
    report(asked, steps, margin, wall, used)


def foresee(asked: argparse.Namespace, steps: int) -> int:
    world = Hanoi(disks=asked.disks, start_from="full")
    task = world.task("train", 0)
    role = agent(Stepper(error=asked.error), Single(), turn=turn_of(world, task))
    count = min(2000, steps)
    found = asyncio.run(tallies(role, world, task, count=count, samples=5, seed=asked.seed + 1))
    said = forecast(calibrate(found), steps=steps, target=asked.target)
    print(
        f"forecast from {5 * count} samples: p {said.success}, margin {said.used} (cautious {said.cautious}), "
        f"{said.samples_per_step:.3f} samples a step, {said.calls:,.0f} calls, chance {said.chance}",
        flush=True,
    )
    return said.cautious or said.used


def stops(asked: argparse.Namespace, steps: int) -> list[int | None]:
    rng = random.Random(asked.seed)
    return [*sorted(rng.randrange(1, steps) for _ in range(asked.kills)), None]


def attempt(asked: argparse.Namespace, margin: int, stop: int | None) -> tuple[float, float]:
    """Run one process until it is done or has taken ``stop`` steps, then kill it; return its CPU seconds and peak memory in MB."""
    words = [
        "--child",
        "--disks",
        asked.disks,
        "--error",
        asked.error,
        "--margin",
        margin,
        "--seed",
        asked.seed,
    ]
    child = subprocess.Popen([sys.executable, __file__, *map(str, words), "--out", str(asked.out)])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    while child.poll() is None:
        time.sleep(0.2)
        if stop is not None and taken(asked.out / "journal.sqlite") >= stop:
            child.send_signal(signal.SIGKILL)
            child.wait()
            print(f"killed after {taken(asked.out / 'journal.sqlite'):,} steps", flush=True)
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if stop is None and child.returncode != 0:
        raise SystemExit(f"the run failed with code {child.returncode}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, after.ru_maxrss / 1024


def taken(path: Path) -> int:
    """Return about how many steps the journal holds."""
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1) as connection:
            query = "SELECT body FROM events WHERE kind = 'step' ORDER BY seq DESC LIMIT 1"
            row = connection.execute(query).fetchone()
    except sqlite3.Error:
        return 0
    return 0 if row is None else json.loads(row[0])["index"] + 1


def work(asked: argparse.Namespace) -> None:
    world = Hanoi(disks=asked.disks, start_from="full")
    task = world.task("train", 0)
    role = agent(Stepper(error=asked.error), AheadBy(asked.margin), turn=turn_of(world, task))
    path = asked.out / "journal.sqlite"
    journal = Journal.open(path) if path.exists() else Journal.create(path, {"command": "million"})
    with journal:
        runner = Runner(
            run="million",
            task=task,
            environment=world.make(),
            parts=Parts(operator=role),
            journal=journal,
            bounds=Bounds(max_steps=2 * ((1 << asked.disks) - 1)),
            seed=asked.seed,
        )

        async def go() -> None:
            await take_up(runner)
            outcome = await runner.run()
            print(f"{outcome.end}, {outcome.steps:,} steps", flush=True)

        asyncio.run(go())


def report(
    asked: argparse.Namespace, steps: int, margin: int, wall: float, used: list[tuple[float, float]]
) -> None:
    world = Hanoi(disks=asked.disks, start_from="full")
    task = world.task("train", 0)
    turn = turn_of(world, task)
    state, before = pegs_of(world.make().reset(task)), None
    wrong = number = 0
    samples = discarded = 0.0
    worst = 0
    path = asked.out / "journal.sqlite"
    with Journal.read(path) as journal:
        resumed = sum(1 for _ in journal.events(kinds={Kind.RESUMED}))
        for event in journal.events(kinds={Kind.STEP}):
            right = next_move(state, before, turn)
            wrong += pegs_move(event.body["action"]["text"]) != right
            state, before = moved(state, right), right
            cost = event.body["cost"]
            samples += cost["samples"]
            discarded += cost.get("discarded", 0)
            worst = max(worst, int(cost["samples"]))
            number += 1
    p = 1 - asked.error
    rows = {
        "steps": f"{number:,} of {steps:,}",
        "wrong moves": wrong,
        "margin": margin,
        "kills": asked.kills,
        "resumes": resumed,
        "samples a step": f"{samples / max(1, number):.4f}",
        "samples a step by the formula": f"{expected_votes(p, margin):.4f}",
        "worst step": f"{worst} samples",
        "chance of no error by the formula": f"{p_full(p, margin, steps):.4f}",
        "wall": f"{wall:,.0f} s",
        "CPU": f"{sum(cpu for cpu, _ in used):,.0f} s, {1e6 * sum(cpu for cpu, _ in used) / max(1, number):.0f} us a step",
        "peak memory": f"{max(peak for _, peak in used):.0f} MB",
        "journal": f"{path.stat().st_size / 1e6:,.0f} MB, {path.stat().st_size / max(1, number):.0f} bytes a step",
    }
    print("\n| what | value |\n|---|---|")
    for name, value in rows.items():
        print(f"| {name} | {value} |")
    print(f"\nload {os.getloadavg()[0]:.1f}")
    if wrong or number != steps:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
