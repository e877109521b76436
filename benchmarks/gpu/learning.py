"""GRPO against GiGPO: wall time of an iteration, from one warm start, with success as it comes out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from subject import Subject

from everystep import __version__
from everystep.core.trace import Kind
from everystep.learn.config import Training
from everystep.recipes import gigpo, grpo
from everystep.run.folder import RunFolder, create
from everystep.run.journal import Journal

ARMS = (("grpo", grpo), ("gigpo", gigpo))


def measure(
    subject: Subject, device: str, *, tiny: bool, environment: str, iterations: int, bf16: bool, work: Path
) -> list[dict[str, object]]:
    """A row for the warm start and a row a recipe. One seed: success is reported as it is and proves nothing."""
    options = {"style": "plain"} if environment == "babyai" else {"side": 3}
    shared: dict[str, Any] = {
        "environment": environment,
        "options": options,
        "device": device,
        "bf16": bf16,
        "turn_updates": 0,
        "tasks": 2 if tiny else 16,
        "group_size": 4 if tiny else 8,
        "test_tasks": 4 if tiny else 128,
        "max_steps": 4 if tiny else None,
    }
    warm = {
        "model": subject.name,
        "iterations": 0,
        "demonstrations": 8 if tiny else 512,
        "demonstration_habit": None,
        "demonstration_errors": 0.3,
        "warm_updates": 2 if tiny else 60,
        "warm_batch": 4 if tiny else 16,
        "warm_learning_rate": 1e-4,
    }
    start = _run(grpo, grpo.Config(**(shared | warm)), work / "warm")
    out: list[dict[str, object]] = [{"arm": "after the warm start", **_tested(_metrics(start)[-1])}]
    for name, recipe in ARMS:
        config = recipe.Config(
            **shared,
            model=str(start.model),
            demonstrations=0,
            warm_updates=0,
            iterations=iterations,
            test_every=iterations,
            checkpoint_every=iterations,
            learning_rate=2e-5,
            schedule="constant",
        )
        rows = [one for one in _metrics(_run(recipe, config, work / name)) if one["phase"] == "train"]
        timed = rows[1:] or rows  # the first one warms up
        out.append(
            {
                "arm": name,
                "iterations": len(rows),
                "episodes": config.tasks * config.group_size,
                "iteration_s": round(
                    median(one["rollout_seconds"] + one["update_seconds"] for one in timed), 3
                ),
                "rollout_s": round(median(one["rollout_seconds"] for one in timed), 3),
                "update_s": round(median(one["update_seconds"] for one in timed), 3),
                "tokens_per_s": round(median(one["tokens_per_second"] for one in timed)),
                "first_ratio_max": round(max(one.get("first_ratio_max", 0.0) for one in rows), 4),
                "success_by_iteration": " ".join(f"{one['success']:.2f}" for one in rows),
                **_tested(rows[-1]),
            }
        )
    return out


def _run(recipe: ModuleType, config: Training, path: Path) -> RunFolder:
    folder = create(
        path, recipe=recipe.__name__.rpartition(".")[2], options=asdict(config), version=__version__
    )
    recipe.run(config, folder)
    return folder


def _metrics(folder: RunFolder) -> list[dict[str, Any]]:
    with Journal.read(folder.journal) as journal:
        return [event.body for event in journal.events(kinds=(Kind.METRICS,))]


def _tested(row: dict[str, Any]) -> dict[str, object]:
    return {
        name: round(row[f"heldout_{name}"], 4)
        for name in ("success", "low", "high")
        if f"heldout_{name}" in row
    }
