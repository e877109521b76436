"""A run's folder: its config, its journal, its checkpoints and what is made from them.

``config.json`` names the kind of run and its options, ``journal.sqlite`` holds every event. A training has ``checkpoints/`` with
the last finished iterations and ``model/`` with the final weights; a run of a task has ``approvals.sqlite`` where it asks somebody.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everystep.core.errors import ConfigError, StoreError

CONFIG = "config.json"
JOURNAL = "journal.sqlite"
PAGE = "page.html"
MODEL = "model"
CHECKPOINTS = "checkpoints"
START = "start"
STATE = "state.json"
TRAIN = "train"
RUN = "run"
IMPORT = "import"
STUDY = "study"
BENCH = "bench"
KINDS = (TRAIN, RUN, IMPORT, STUDY, BENCH)
"""What a folder can hold: a training or a study with a recipe, the run of a task, traces that another tool wrote, or a benchmark's results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """Paths of one run. Build it with ``create`` or ``open_run``."""

    path: Path

    @property
    def journal(self) -> Path:
        """The SQLite journal."""
        return self.path / JOURNAL

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.path / PAGE

    @property
    def model(self) -> Path:
        """The final model."""
        return self.path / MODEL

    def config(self) -> dict[str, Any]:
        """Return the stored config: ``kind``, ``version``, ``options``, and the ``recipe`` of a training or a study."""
        config = {"kind": TRAIN, **read_json(self.path / CONFIG)}
        named = config["kind"] in (RUN, IMPORT, BENCH) or isinstance(config.get("recipe"), str)
        if config["kind"] not in KINDS or not named or not isinstance(config.get("options"), dict):
            raise StoreError(
                f"{str(self.path / CONFIG)!r} should name a recipe and its options. Restore the file, or start a new run."
            )
        return config

    def config_of(self, kind: str) -> dict[str, Any]:
        """Return the stored config of a run of this kind; ``ConfigError`` for one of another kind."""
        config = self.config()
        if config["kind"] != kind:
            what = {
                TRAIN: "a training",
                RUN: "the run of a task",
                IMPORT: "an import",
                STUDY: "a study",
                BENCH: "a benchmark",
            }
            raise ConfigError(f"{str(self.path)!r} is {what[config['kind']]}; expected {what[kind]}.")
        return config

    def checkpoint(self, number: int) -> Path:
        """Return the folder of a checkpoint."""
        return self.path / CHECKPOINTS / f"{number:06d}"

    def checkpoints(self) -> list[Path]:
        """Return the complete checkpoints, oldest first. One without its state file is not complete."""
        return sorted(state.parent for state in (self.path / CHECKPOINTS).glob(f"*/{STATE}"))

    def prune(self, keep: int) -> None:
        """Delete all but the newest ``keep`` checkpoints, and what is left of older ones."""
        kept = {path.name for path in self.checkpoints()[-keep:]}
        for old in (self.path / CHECKPOINTS).iterdir():
            if kept and old.name < min(kept):
                (old / STATE).unlink(missing_ok=True)  # first, so that half of a checkpoint never looks whole
                shutil.rmtree(old)

    def discard(self) -> None:
        """Delete what a run that finished nothing has written, and the folder if nothing else is in it."""
        if self.checkpoints():
            raise StoreError(f"{str(self.path)!r} holds finished work. It was left as it is.")
        for name in (CONFIG, JOURNAL, f"{JOURNAL}-wal", f"{JOURNAL}-shm", f"{JOURNAL}.lock"):
            (self.path / name).unlink(missing_ok=True)
        for name in (CHECKPOINTS, START):
            shutil.rmtree(self.path / name, ignore_errors=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()


def free_folder(name: str, parent: Path = Path("runs")) -> Path:
    """Return the first folder ``name-NUMBER`` under ``parent`` that does not exist."""
    count = 1
    while (parent / f"{name}-{count}").exists():
        count += 1
    return parent / f"{name}-{count}"


def create(
    path: Path,
    *,
    options: Mapping[str, Any],
    version: str,
    recipe: str | None = None,
    kind: str = RUN,
    **more: Any,
) -> RunFolder:
    """Make the folder of a new run, of ``kind`` or a training where a recipe is named; one that holds a run already is never overwritten.

    ``more`` is stored beside the options.
    """
    if (path / CONFIG).exists():
        raise StoreError(
            f"{str(path)!r} holds a run already. Continue it with `everystep resume {path}`, or choose another folder."
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        if recipe is not None:
            (path / CHECKPOINTS).mkdir(exist_ok=True)
        what = (
            {"kind": kind} if recipe is None else {"kind": TRAIN if kind == RUN else kind, "recipe": recipe}
        )
        write_json(path / CONFIG, {**what, "version": version, "options": dict(options), **more})
    except OSError as error:
        raise StoreError(
            f"cannot make the run's folder {str(path)!r}: {error}. Choose another one."
        ) from None
    return RunFolder(path=path)


def open_run(path: Path) -> RunFolder:
    """Open the folder of an existing run."""
    if not (path / CONFIG).is_file():
        raise StoreError(
            f"{str(path)!r} is not a run: it has no {CONFIG}. Name the folder that `train` or `run` printed."
        )
    return RunFolder(path=path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a crash leaves the old file or the new one, never half of it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; damage is one clear error."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"cannot read {str(path)!r}: {error}. Restore the file, or start a new run."
        ) from None
    if not isinstance(value, dict):
        raise StoreError(f"{str(path)!r} should hold a JSON object, it holds a {type(value).__name__}.")
    return value
