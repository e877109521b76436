"""``everystep eval``: held-out success with an interval."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from everystep.app.flags import checked, parse
from everystep.core.errors import ConfigError
from everystep.learn.heldout import held_out
from everystep.learn.setup import setup_of
from everystep.models.local import LocalSampler, load
from everystep.recipes.catalog import recipe
from everystep.run.folder import open_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Test the model of a run on held-out tasks, once by sampling and once greedily."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    model: str | None = None
    """Another model to test in the run's environment: a checkpoint folder or a name."""
    tasks: int = 512
    """Held-out tasks."""
    temperature: float | None = None
    """Sampling temperature; by default the run's own."""
    json: bool = False
    """Print JSON."""


def evaluate(words: Sequence[str]) -> int:
    """Test and print the rates with their 95 % intervals."""
    asked = parse(Ask, words, command="eval")
    folder = open_run(asked.run)
    if asked.model is None and not folder.model.exists():
        raise ConfigError(f"run {str(asked.run)!r} is not finished: `everystep resume {asked.run}` first.")
    stored = folder.config()
    config = checked(
        recipe(stored["recipe"]).Config, stored["options"], source=str(asked.run / "config.json")
    )
    config = replace(config, test_tasks=asked.tasks, temperature=asked.temperature or config.temperature)
    sampler = LocalSampler(load(asked.model or folder.model, device=config.device))
    setup = setup_of(config)
    numbers, _ = held_out(setup, sampler, name="eval")
    setup.hosts.close()
    if asked.json:
        sys.stdout.write(json.dumps(numbers) + "\n")
        return 0
    for label, name in (("heldout", f"sampled at {config.temperature:g}"), ("heldout_greedy", "greedy")):
        rate, low, high = (numbers[f"{label}_{part}"] for part in ("success", "low", "high"))
        sys.stdout.write(
            f"{name:>16}: {rate:.1%} of {asked.tasks} held-out tasks (95 % interval {low:.1%} to {high:.1%}), "
            f"{numbers[f'{label}_steps']:.1f} steps an episode\n"
        )
    return 0
