"""Stored runs for the commands: a run's folder, its journal, or its Parquet folder."""

from __future__ import annotations

from pathlib import Path

from everystep.core.errors import StoreError
from everystep.core.records import Trajectory
from everystep.core.trace import Trace
from everystep.run.folder import JOURNAL, open_run
from everystep.run.journal import Journal


def trace_of(path: Path) -> Trace:
    """Return the trace of a run's folder or of a journal file."""
    with Journal.read(journal_of(path)) as journal:
        return journal.trace()


def journal_of(path: Path) -> Path:
    """Return the journal of a run's folder, or the journal file itself."""
    return path if path.is_file() else open_run(path).journal


def trajectories_of(
    path: Path, *, phase: str | None = None, iteration: int | None = None
) -> list[Trajectory]:
    """Return stored trajectories of a run (of phase ``train`` unless told otherwise) or of a Parquet folder.

    ``phase`` is train, test or all.
    """
    if path.is_file() or (path / JOURNAL).exists():
        chosen = None if phase == "all" else phase or "train"
        return list(trace_of(path).trajectories(phase=chosen, iteration=iteration))
    if any(path.glob("steps.parquet")) or any(path.glob("part-*/steps.parquet")):
        if phase not in (None, "all") or iteration is not None:
            raise StoreError(
                f"{str(path)!r} is a Parquet folder; choose phase and iteration when it is exported."
            )
        from everystep.run.store import read_parquet  # pyarrow is optional

        return list(read_parquet(path))
    raise StoreError(f"{str(path)!r} is neither a run, nor a journal, nor a Parquet folder of steps.")
