"""``everystep import``: traces of other tools as a run's folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from everystep import __version__
from everystep.app.flags import parse
from everystep.core.errors import ConfigError
from everystep.core.records import Json
from everystep.data.formats import FORMATS
from everystep.data.importing import Imported, import_runs

_EVERY_S = 2.0
_SAID = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Read traces of another tool into a run's folder, which show, view, credit, export and filter read."""

    format: tyro.conf.Positional[str]
    """chat, tau-bench, intercode, swe-agent, react-webshop, fireact, knowagent, inspect, verifiers, trl or jsonl; `list` lists them."""
    files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """The files; gzip is unpacked."""
    out: Path | None = None
    """The folder to write."""
    fields: dict[str, Json] = field(default_factory=dict)
    """For jsonl: where a file keeps what is needed, such as action=response observation=prompt trajectory=episode."""


def importing(words: Sequence[str]) -> int:
    """Read the files; say what came in, and what could not be read and why."""
    asked = parse(Ask, words, command="import")
    if asked.format == "list":
        width = max(map(len, FORMATS))
        for name, one in FORMATS.items():
            sys.stdout.write(f"  {name:<{width}}  {one.summary}\n")
        return 0
    if not asked.files or asked.out is None:
        raise ConfigError("name the files and the folder to write: everystep import FORMAT FILE... --out RUN")
    done = import_runs(
        asked.format,
        asked.files,
        asked.out,
        version=__version__,
        fields=mapped(asked.fields),
        progress=_Lines(),
    )
    _report(done)
    return 0


def mapped(fields: dict[str, Json]) -> dict[str, str]:
    """Return a field map as texts; ``a=b,c=d`` in one word is understood too."""
    found: dict[str, str] = {}
    for name, value in fields.items():
        first, *more = str(value).split(",")
        found[name] = first
        for word in more:
            key, sign, path = word.partition("=")
            if not sign:
                raise ConfigError(f"{word!r} in --fields is not of the form name=path.")
            found[key] = path
    return found


class _Lines:
    """A line now and then while a long import runs."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _EVERY_S

    def __call__(self, file: str, trajectories: int, unread: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY_S
            sys.stderr.write(f"{Path(file).name}: {trajectories:,} trajectories, {unread:,} unread\n")


def _report(done: Imported) -> None:
    decided = done.trajectories - done.undecided
    solved = f"{done.solved:,} of {decided:,} solved" if decided else "no outcome is known"
    sys.stdout.write(
        f"{done.trajectories:,} trajectories of {done.tasks:,} tasks: {done.steps:,} steps, {done.calls:,} tool calls; "
        f"{solved}" + (f", {done.undecided:,} not decided" if decided and done.undecided else "") + "\n"
    )
    if done.unreadable:
        sys.stdout.write(f"{done.unreadable:,} records could not be read:\n")
        for one in done.unread[:_SAID]:
            sys.stdout.write(f"  {one.source} {one.place}: {one.reason}\n")
        if done.unreadable > _SAID:
            sys.stdout.write("  ... the journal's notes name them all\n")
    sys.stdout.write(f"{done.folder}\n")
