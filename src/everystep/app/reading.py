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
    file = path if path.is_file() else open_run(path).journal
    with Journal.read(file) as journal:
        return journal.trace()


def trajectories_of(
    path: Path, *, phase: str | None = None, iteration: int | None = None
) -> list[Trajectory]:
    """Return stored trajectories, of a run or of a Parquet folder."""
    if path.is_file() or (path / JOURNAL).exists():
        return list(trace_of(path).trajectories(phase=phase, iteration=iteration))
    if (path / "steps.parquet").exists():
        if phase is not None or iteration is not None:
            raise StoreError(
                f"{str(path)!r} is a Parquet folder; choose phase and iteration when it is exported."
            )
        from everystep.run.store import read_parquet  # pyarrow is optional

        return list(read_parquet(path))
    raise StoreError(f"{str(path)!r} is neither a run, nor a journal, nor a Parquet folder of steps.")
