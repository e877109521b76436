"""``everystep reproduce``: run the study of a recipe: its arms on its small world, with intervals."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import tyro

from everystep import __version__
from everystep.app.flags import checked, parse
from everystep.core.errors import ConfigError
from everystep.core.protocols import Logger
from everystep.evaluate.study import REPORT
from everystep.recipes.catalog import RECIPES, recipe
from everystep.run.folder import CONFIG, STUDY, RunFolder, create, free_folder

C = TypeVar("C")


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where the study goes and what is shown of it."""

    out: Path | None = None
    """Folder of the study; by default the next free one under runs/."""
    quiet: bool = False
    """Print nothing but the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduce(Generic[C]):
    """Everything that ``reproduce`` can be told."""

    config: tyro.conf.OmitArgPrefixes[C]
    output: tyro.conf.OmitArgPrefixes[Output]


class Trials:
    """A logger that prints one line a trial."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        told = "  ".join(f"{key} {value:.4g}" for key, value in metrics.items())
        sys.stderr.write(f"trial {step + 1}  {time.monotonic() - self._began:.0f} s  {told}\n")

    def close(self) -> None:
        pass


def reproduce(words: Sequence[str]) -> int:
    """Run a recipe's study: ``everystep reproduce RECIPE [flags]``."""
    words = list(words)
    known = {name: entry for name, entry in RECIPES.items() if entry.verb == "reproduce"}
    if not words or words[0].startswith("-"):
        width = max(map(len, known), default=0)
        lines = "\n".join(f"  {name:<{width}}  {entry.summary}" for name, entry in known.items())
        sys.stdout.write(f"usage: everystep reproduce RECIPE [flags]\n\n{lines}\n")
        return 0 if words else 2
    name = words.pop(0)
    if name in RECIPES and name not in known:
        raise ConfigError(f"recipe {name!r} trains. Run it with: everystep train {name}")
    chosen = recipe(name)
    asked = parse(
        Reproduce[chosen.Config],  # type: ignore[name-defined]
        words,
        command=f"reproduce {name}",
        default=Reproduce(config=chosen.Config(), output=Output()),
    )
    folder = create(
        asked.output.out or free_folder(name),
        recipe=name,
        kind=STUDY,
        options=asdict(asked.config),
        version=__version__,
    )
    return _run(name, asked.config, folder, quiet=asked.output.quiet)


def resume_study(folder: RunFolder, *, quiet: bool) -> int:
    """Go on with a study; trials that were finished are not run again."""
    stored = folder.config_of(STUDY)
    name = stored["recipe"]
    config = checked(recipe(name).Config, stored["options"], source=str(folder.path / CONFIG))
    return _run(name, config, folder, quiet=quiet)


def _run(name: str, config: Any, folder: RunFolder, *, quiet: bool) -> int:
    """Run or go on with a study and print its table."""
    loggers: list[Logger] = [] if quiet else [Trials()]
    try:
        recipe(name).run(config, folder, loggers)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nstopped. Finished trials are kept: everystep resume {folder.path}\n")
        raise
    report = folder.path / REPORT
    if report.exists():
        sys.stdout.write(report.read_text(encoding="utf-8"))
    sys.stdout.write(f"study: {folder.path}\n")
    return 0
