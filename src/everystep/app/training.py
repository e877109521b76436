"""``everystep train``, and going on with a training."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import tyro

from everystep import __version__
from everystep.app.flags import checked, from_toml, parse
from everystep.core.errors import ConfigError, EverystepError
from everystep.core.protocols import Logger
from everystep.recipes.catalog import RECIPES, Recipe, recipe
from everystep.run.folder import RunFolder, create, free_folder
from everystep.run.journal import repair

C = TypeVar("C")
DEFAULT = "gigpo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where a run goes and what is shown of it."""

    out: Path | None = None
    """Folder of the run; by default the next free one under runs/."""
    json: bool = False
    """Print one JSON object a line instead of the progress."""
    quiet: bool = False
    """Print nothing but the end."""
    tensorboard: bool = False
    """Write TensorBoard events into the run's folder."""
    wandb: str | None = None
    """Log to a W&B-compatible module: wandb or trackio."""
    threads: int | None = None
    """Threads for torch; by default one for a tiny model, else all cores (OMP_NUM_THREADS is respected)."""
    page: bool = True
    """Write the page when the run ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Train(Generic[C]):
    """Everything that ``train`` can be told."""

    config: tyro.conf.OmitArgPrefixes[C]
    output: tyro.conf.OmitArgPrefixes[Output]


def train(words: Sequence[str]) -> int:
    """Train: ``everystep train [RECIPE] [--config FILE.toml] [flags]``."""
    words = list(words)
    name = words.pop(0) if words and not words[0].startswith("-") else DEFAULT
    if RECIPES[name].verb != "train":
        raise ConfigError(
            f"recipe {name!r} does not train. Run it with: everystep {RECIPES[name].verb} {name}"
        )
    chosen = recipe(name)
    config = chosen.Config()
    words = [
        part for word in words for part in (word.split("=", 1) if word.startswith("--config=") else [word])
    ]
    if "--config" in words:
        place = words.index("--config")
        if place + 1 == len(words):
            raise ConfigError("--config needs a TOML file after it.")
        config = from_toml(chosen.Config, Path(words[place + 1]))
        del words[place : place + 2]
    if "-h" in words or "--help" in words:
        sys.stdout.write(_recipes_text())
    asked = parse(
        Train[chosen.Config],  # type: ignore[name-defined]
        words,
        command=f"train {name}",
        default=Train(config=config, output=Output()),
    )
    folder = create(
        asked.output.out or free_folder(f"{name}-{asked.config.environment}"),
        recipe=name,
        options=asdict(asked.config),
        version=__version__,
    )
    try:
        return _run(chosen, asked.config, folder, asked.output)
    except EverystepError:
        if not folder.checkpoints():
            folder.discard()  # so that the corrected command can use the same folder
        raise


def resume_training(folder: RunFolder, output: Output) -> int:
    """Go on with a training from its last checkpoint."""
    stored = folder.config()
    if stored.get("recipe") not in RECIPES:
        raise ConfigError(
            f"{str(folder.path)!r} was made by recipe {stored.get('recipe')!r}, which is not known here."
        )
    chosen = recipe(stored["recipe"])
    config = checked(chosen.Config, stored["options"], source=str(folder.path / "config.json"))
    if folder.journal.exists():
        repaired = repair(folder.journal)
        if repaired.damaged is not None:
            sys.stderr.write(
                f"everystep: the journal was damaged; its {repaired.last} readable events were kept, and the damaged "
                f"file is now {str(repaired.damaged)!r}.\n"
            )
    return _run(chosen, config, folder, output)


def _run(chosen: Recipe, config: Any, folder: RunFolder, output: Output) -> int:
    _threads(output.threads, config.model)
    try:
        numbers = chosen.run(config, folder, _loggers(config, folder, output))
    except KeyboardInterrupt:
        sys.stderr.write(f"\nstopped. Nothing that was finished is lost: everystep resume {folder.path}\n")
        raise
    if output.json:
        return 0
    success = numbers.get("heldout_success")
    lines = [f"run: {folder.path}"]
    if success is not None:
        low, high = numbers["heldout_low"], numbers["heldout_high"]
        lines.insert(0, f"held-out success {success:.1%} (95 % interval {low:.1%} to {high:.1%})")
    if output.page:
        from everystep.app.viewer import write_page  # needs the credit of every step: only when asked for

        page = write_page(folder.path, folder.page)
        lines.append(f"page: {page.resolve().as_uri()}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _loggers(config: Any, folder: RunFolder, output: Output) -> list[Logger]:
    from everystep.app.loggers import JsonLines, TensorBoardLogger, WandbLogger
    from everystep.app.progress import ConsoleProgress
    from everystep.learn.training import units_of

    loggers: list[Logger] = []
    if output.json:
        loggers.append(JsonLines(sys.stdout))
    elif not output.quiet:
        loggers.append(ConsoleProgress(total=len(units_of(config))))
    if output.tensorboard:
        loggers.append(TensorBoardLogger(folder.path / "tensorboard"))
    if output.wandb:
        loggers.append(WandbLogger(module=output.wandb, name=folder.path.name, config=asdict(config)))
    return loggers


def _threads(asked: int | None, model: str) -> None:
    import torch

    if asked is not None:
        if asked < 1:
            raise ConfigError(f"threads is {asked!r}; it must be 1 or more.")
        torch.set_num_threads(asked)
    elif model.startswith("tiny:") and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(
            1
        )  # a small model's work is too short to be shared, and one thread repeats to the bit


def _recipes_text() -> str:
    width = max(map(len, RECIPES))
    trained = {name: entry for name, entry in RECIPES.items() if entry.verb == "train"}
    lines = "\n".join(f"  {name:<{width}}  {entry.summary}" for name, entry in trained.items())
    return f"recipes (everystep train RECIPE; default {DEFAULT}):\n{lines}\n\n--config FILE.toml sets defaults.\n\n"
