"""Replay the published InterCode-Bash runs in the sandbox and print how far rewards and solved flags agree.

Run: EVERYSTEP_DATA=DATA python benchmarks/intercode_bash_replay.py [FILE ...]
Without files: every ic_bash*.json(.gz) in DATA/intercode. Needs a clone of InterCode in DATA/intercode_bash, or --clone FOLDER.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from everystep.environments.code.intercode_bash import InterCodeBash
from everystep.environments.published import read_text, source_folder

_TOLERANCE = 0.011  # each of the three parts is rounded to two places


def replay(path: Path, data: str) -> dict[str, float]:
    """Run every published action of the runs in a file; a file of the fourth file system has no tasks here."""
    told = re.search(r"_fs_(\d)", path.name)
    system = int(told[1]) if told else 0
    world = InterCodeBash(data=data, system=system, quoting="published", turns=100)
    tasks = {
        (task.seed, task.reference): task
        for split in ("train", "test")
        for task in (world.task(split, index) for index in range(world.size(split)))
    }
    by_number = {
        one.number: (seed, one) for seed, one in enumerate(world.questions()) if one.system == system
    }
    env = world.make()
    found = dict.fromkeys(("runs", "steps", "rewards", "published", "replayed", "solved"), 0)
    for run in json.loads(read_text(path)).values():
        seed, question = by_number[int(run["task_id"])]
        if question.text != run["query"]:
            raise SystemExit(f"{path.name}: run {run['task_id']} asks another question than the clone.")
        env.reset(tasks[seed, question.gold])
        history, got = run["turn_history"], [0.0]
        for action, reward in zip(history["actions"], history["rewards"], strict=True):
            got.append(env.step(env.parse(action)).scores["reward"])
            found["steps"] += 1
            found["rewards"] += abs(got[-1] - reward) < _TOLERANCE
        there, here = max(history["rewards"], default=0.0) > 0.999, max(got) > 0.999
        for name, value in (
            ("runs", True),
            ("published", there),
            ("replayed", here),
            ("solved", there == here),
        ):
            found[name] += value
    env.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--clone", default="published")
    options = parser.parse_args()
    paths = options.files or sorted((source_folder("intercode") or Path()).glob("ic_bash*.json*"))
    print(
        f"{'file':46} {'runs':>5} {'solved there':>13} {'here':>5} {'agree':>6} {'steps':>6} {'rewards':>8}"
    )
    for path in paths:
        one = replay(path, options.clone)
        print(
            f"{path.name.removesuffix('.gz'):46} {one['runs']:5} {one['published']:13} {one['replayed']:5} "
            f"{one['solved'] / one['runs']:6.0%} {one['steps']:6} {one['rewards'] / one['steps']:8.0%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
