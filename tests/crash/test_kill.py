"""``kill -9`` at random moments: resuming gives the weights of the undisturbed run, bit for bit."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import small
from everystep.core.errors import ConfigError
from everystep.run.folder import RunFolder

EVERYSTEP = [sys.executable, "-c", "from everystep.app.cli import entry; entry()"]
LONG = {"kl_coefficient": 0.1, "iterations": 90, "warm_updates": 10, "test_every": 10, "group_size": 4}


def started(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*EVERYSTEP, *words, "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def begun(folder: RunFolder, process: subprocess.Popen[str]) -> bool:
    """Wait until a process has begun to write into the run; say whether it still runs."""
    before = stamp(folder)
    while process.poll() is None and stamp(folder) == before:
        time.sleep(0.01)
    return process.poll() is None


def stamp(folder: RunFolder) -> tuple[object, ...]:
    paths = (folder.journal, folder.journal.with_name("journal.sqlite-wal"), folder.path / "start")
    return tuple(path.stat().st_mtime_ns if path.exists() else None for path in paths)


def storm(place: Path, *, kills: int, longest_s: float, seed: int, **options: object) -> None:
    undisturbed = small.trained(place / "undisturbed", **options)
    folder = RunFolder(path=place / "killed")
    draw, done = random.Random(seed), 0
    words = ["train", "grpo", *small.flags(**options), "--out", str(folder.path), "--no-page"]
    while done < kills:
        process = started(*words)
        if not begun(folder, process):
            break  # it was finished before all kills were spent
        time.sleep(draw.uniform(0.0, longest_s))
        process.kill()
        process.communicate()
        done += 1
        if (folder.path / "config.json").exists():
            words = ["resume", str(folder.path)]
    assert done == kills, f"the run was over after {done} kills; make it longer"
    config, _ = small.start(place / "unused", **options)
    with contextlib.suppress(ConfigError):  # it may be finished
        small.go(config, folder)
    assert small.weights(folder) == small.weights(undisturbed)
    said, expected = small.said(folder), small.said(undisturbed)
    assert {**said, "run": None} == {**expected, "run": None}  # it tells the version and how it was called


def test_two_kills(tmp_path: Path) -> None:
    storm(tmp_path, kills=2, longest_s=0.6, seed=1, kl_coefficient=0.1, iterations=8)


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    storm(tmp_path, kills=20, longest_s=0.7, seed=7, **LONG)
