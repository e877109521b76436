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
from everystep.learn.setup import loaded, setup_of
from everystep.models.local import LocalSampler
from everystep.recipes.catalog import recipe
from everystep.run.breakdown import by_tag
from everystep.run.folder import TRAIN, open_run


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
    by: str | None = None
    """Break the sampled test down by a tag of its tasks, such as turns."""
    json: bool = False
    """Print JSON."""


def evaluate(words: Sequence[str]) -> int:
    """Test and print the rates with their 95 % intervals."""
    asked = parse(Ask, words, command="eval")
    folder = open_run(asked.run)
    stored = folder.config_of(TRAIN)
    if asked.model is None and not folder.model.exists():
        raise ConfigError(f"run {str(asked.run)!r} is not finished: `everystep resume {asked.run}` first.")
    config = checked(
        recipe(stored["recipe"]).Config, stored["options"], source=str(asked.run / "config.json")
    )
    temperature = config.temperature if asked.temperature is None else asked.temperature
    config = replace(config, test_tasks=asked.tasks, temperature=temperature)
    sampler = LocalSampler(loaded(asked.model or folder.model, device=config.device))
    setup = setup_of(config)
    try:
        numbers, trajectories = held_out(setup, sampler, name="eval")
    finally:
        setup.hosts.close()
    if not numbers:
        raise ConfigError("there is nothing to test on: raise tasks, or the environment has no test split.")
    parts = {} if asked.by is None else by_tag(trajectories, asked.by)
    if asked.json:
        split = {} if asked.by is None else {f"by_{asked.by}": parts}
        sys.stdout.write(json.dumps({**numbers, **split}) + "\n")
        return 0
    for label, name in (("heldout", f"sampled at {config.temperature:g}"), ("heldout_greedy", "greedy")):
        rate, low, high = (numbers[f"{label}_{part}"] for part in ("success", "low", "high"))
        sys.stdout.write(
            f"{name:>16}: {rate:.1%} of {len(trajectories)} held-out tasks (95 % interval {low:.1%} to {high:.1%}), "
            f"{numbers[f'{label}_steps']:.1f} steps an episode\n"
        )
    for value, part in parts.items():
        sys.stdout.write(
            f"{f'{asked.by} {value}':>16}: {part['success']:.1%} of {part['tasks']:.0f} ({part['low']:.1%} to "
            f"{part['high']:.1%}), {part['steps']:.1f} steps and {part['calls']:.1f} tool calls an episode\n"
        )
    return 0
