"""Filtering 10^6 stored steps by rules: throughput, peak memory, and what a killed filter still has to do.

Each measurement is a process of its own, so that its peak memory is its own. The steps are made: trajectories of 5 to 35 steps with texts of
some hundred characters, a tenth of them copies, a tenth near copies. What is kept is asserted against counts made with the steps.

    python benchmarks/filter.py [--steps 1000000]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from everystep.core.records import Action, End, Observation, Step, Task, Trajectory
from everystep.data.filter import filter_steps
from everystep.data.rules import parse_rules
from everystep.run.store import write_parquet

CASES = {
    "outcome, length, errors": ("success", "length:max_steps=30", "errors"),
    "and percentile, exact duplicates, budget": (
        "success",
        "length:max_steps=30",
        "errors",
        "percentile:of=reward,top=0.8",
        "duplicates",
        "budget:steps=300000",
    ),
    "near duplicates alone (min-hash)": ("duplicates:near=0.8,within=all",),
}
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprstv" for b in "aeiou" for c in ("n", "r", "st", "l", "ck")]


def episodes(steps: int, seed: int = 0) -> Iterator[Trajectory]:
    """Yield trajectories until there are so many steps."""
    rng, made, number = random.Random(seed), 0, 0
    texts: list[tuple[str, str]] = []
    while made < steps:
        kind = rng.random()
        if kind > 0.2 or not texts:
            texts = [
                (" ".join(rng.choices(WORDS, k=40)), " ".join(rng.choices(WORDS, k=12)))
                for _ in range(min(rng.randint(5, 35), steps - made))
            ]
        elif kind > 0.1:
            texts = [(seen.replace("a", "e", 1), act) for seen, act in texts]
        texts = texts[: steps - made]
        task = Task(id=f"task {number % 997}", instruction="", environment="made")
        parent, rows = None, []
        for index, (seen, act) in enumerate(texts):
            name = f"{number}/{index}"
            rows.append(
                Step(
                    id=name,
                    parent=parent,
                    index=index,
                    observation=Observation(text=seen),
                    action=Action(text=act, valid=rng.random() > 0.05),
                    reward=rng.random(),
                )
            )
            parent = name
        won = rng.random() < 0.6
        yield Trajectory(
            id=f"{number}",
            task=task,
            group=task.id,
            steps=tuple(rows),
            end=End.DONE if won else End.FAILED,
            outcome=float(won),
            success=won,
        )
        made += len(rows)
        number += 1


def measure(*, quick: bool) -> list[dict[str, object]]:
    steps = 20_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="everystep-filter-") as place:
        folder = Path(place)
        counted = {"steps": 0, "kept": 0}

        def counting() -> Iterator[Trajectory]:
            for one in episodes(steps):
                counted["steps"] += len(one.steps)
                good = one.success and len(one.steps) <= 30 and any(step.action.valid for step in one.steps)
                counted["kept"] += len(one.steps) if good else 0
                yield one

        write_parquet(counting(), folder / "source")
        size = sum(file.stat().st_size for file in (folder / "source").iterdir()) / 1e6
        rows = []
        for name, rules in CASES.items():
            row = child(folder / "source", folder / "out", rules)
            if rules == CASES["outcome, length, errors"]:
                assert row["kept"] == counted["kept"], (row, counted)
            rows.append(case(name, steps, size, row))
            shutil.rmtree(folder / "out")
        rows.append(killed(folder, steps, size, CASES["outcome, length, errors"], counted["kept"]))
        return rows


def case(name: str, steps: int, size: float, row: dict[str, float]) -> dict[str, object]:
    return {
        "rules": name,
        "steps": steps,
        "source_mb": round(size, 1),
        "kept_steps": int(row["kept"]),
        "cpu_s": round(row["cpu_s"], 2),
        "wall_s": round(row["wall_s"], 2),
        "steps_per_cpu_s": round(steps / row["cpu_s"]),
        "peak_mb": round(row["peak_mb"]),
    }


def child(source: Path, out: Path, rules: tuple[str, ...], *more: str) -> dict[str, float]:
    words = [sys.executable, __file__, "--child", str(source), str(out), *rules, *more]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout)
    return found


def work(source: Path, out: Path, rules: tuple[str, ...], part_steps: int) -> None:
    begun = time.monotonic()
    done = filter_steps(source, out, parse_rules(rules), part_steps=part_steps)
    used = resource.getrusage(resource.RUSAGE_SELF)
    numbers = {
        "kept": done.steps,
        "resumed": done.resumed,
        "wall_s": time.monotonic() - begun,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / 1024,
    }
    print(json.dumps(numbers))


def killed(folder: Path, steps: int, size: float, rules: tuple[str, ...], kept: int) -> dict[str, object]:
    """Kill a filter when a third of its parts are there; what the second call still does is the row."""
    out, parts = folder / "out", 1 if steps < 1_000_000 else 3
    words = [sys.executable, __file__, "--child", str(folder / "source"), str(out), *rules]
    if steps < 1_000_000:
        words += ["--part-steps", "2000"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list(out.glob("part-?????"))) < parts:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    whole = len(list(out.glob("part-?????")))
    row = child(folder / "source", out, rules, *words[5 + len(rules) :])
    assert row["kept"] == kept
    assert row["resumed"] == whole
    return case(f"the first, killed with {whole} parts written: the second call", steps, size, row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs="+")
    parser.add_argument("--part-steps", type=int, default=50_000)
    parser.add_argument("--steps", type=int, default=1_000_000)
    asked = parser.parse_args()
    if asked.child:
        source, out, *rules = asked.child
        work(Path(source), Path(out), tuple(rules), asked.part_steps)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for row in measure(quick=asked.steps < 1_000_000):
        print(row)


if __name__ == "__main__":
    main()
