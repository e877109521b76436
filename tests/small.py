"""Training runs that take a second: options, and how two runs are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from everystep.core.codec import encode
from everystep.core.protocols import Logger
from everystep.core.trace import Trace
from everystep.recipes.catalog import recipe
from everystep.run.folder import RunFolder, create
from everystep.run.journal import Journal

CLOCKS = ("seconds", "rollout_seconds", "update_seconds", "tokens_per_second")
OPTIONS: dict[str, Any] = {
    "environment": "keydoor",
    "options": {"side": 3, "horizon": 6},
    "model": "tiny:0.02M",
    "demonstrations": 24,
    "demonstration_errors": 0.3,
    "demonstration_habit": None,
    "turn_updates": 2,
    "turn_batch": 16,
    "warm_updates": 4,
    "warm_batch": 8,
    "iterations": 3,
    "tasks": 3,
    "group_size": 3,
    "test_tasks": 4,
    "test_every": 2,
}


def flags(**more: Any) -> list[str]:
    """Return the options as words of a command line."""
    words = []
    for name, value in {**OPTIONS, **more}.items():
        words.append(f"--{name.replace('_', '-')}")
        words += [f"{key}={one}" for key, one in value.items()] if isinstance(value, dict) else [str(value)]
    return words


def start(path: Path, name: str = "grpo", **more: Any) -> tuple[Any, RunFolder]:
    """Return a config and the folder of a new run."""
    config = recipe(name).Config(**{**OPTIONS, **more})
    return config, create(path, recipe=name, options=asdict(config), version="test")


def go(config: Any, folder: RunFolder, *loggers: Logger) -> dict[str, float]:
    """Start a run, or go on with it."""
    return recipe(folder.config()["recipe"]).run(config, folder, loggers)


def trained(path: Path, name: str = "grpo", **more: Any) -> RunFolder:
    """Return the folder of a finished run."""
    config, folder = start(path, name, **more)
    go(config, folder)
    return folder


def weights(folder: RunFolder) -> bytes:
    return (folder.model / "model.safetensors").read_bytes()


def trace_of(folder: RunFolder) -> Trace:
    with Journal.read(folder.journal) as journal:
        return journal.trace()


def said(folder: RunFolder) -> Mapping[str, Any]:
    """Everything that the journal says in the end, but for clocks and the numbers of events."""
    trace = trace_of(folder)
    return {
        "run": dict(trace.run),
        "tasks": encode(trace.tasks),
        "steps": encode(trace.steps),
        "endings": encode(trace.endings),
        "metrics": [
            {name: value for name, value in row.items() if name not in CLOCKS} for row in trace.metrics
        ],
        "checkpoints": trace.checkpoints,
        "end": trace.end,
    }
