"""Finished trajectories as Parquet: a row a step with only what the step added, in three tables.

``steps.parquet``, ``trajectories.parquet`` and ``tasks.parquet`` in one folder. Columns are typed; what has
no fixed form (scores, info, config, calls) is JSON text, so that every reader of Parquet understands
the file. A step that several branches share is one row, under the first of its trajectories; ``prefix``
names the trajectory whose rows the others go on from. Needs the extra ``store`` (pyarrow).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from everystep.core.codec import VERSION, decode
from everystep.core.errors import StoreError
from everystep.core.records import Step, Task, Trajectory
from everystep.core.trace import Ending, Kind, Trace, ending_of
from everystep.run.journal import Journal
from everystep.run.tables import TABLES, step_of, step_row, task_of, task_row, trajectory_of, trajectory_row

ROW_GROUP = 4096
"""Rows that are held in memory before they are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """How many rows went into each table."""

    trajectories: int
    steps: int
    tasks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finished:
    """A finished trajectory and what is new in it. ``prefix`` is the trajectory that it branches off."""

    ending: Ending
    task: Task
    steps: tuple[Step, ...]
    prefix: str | None


def write_parquet(
    source: Journal | Trace | Iterable[Trajectory], folder: Path | str, *, run: str = ""
) -> Written:
    """Write the finished trajectories of ``source`` into ``folder`` and return how many.

    A journal is streamed: memory holds one row group, the unfinished episodes and the ids of the steps.
    Files that are there are replaced, each only when its successor is complete. Ids must be unique.
    Raises ``StoreError`` for an id that occurs twice and for text that is not valid Unicode.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        tables = {name: stack.enter_context(_Table(folder, name)) for name in TABLES}
        seen: set[str] = set()
        for one in _finished(source):
            if one.ending.id in seen:
                raise StoreError(
                    f"trajectory {one.ending.id!r} occurs twice; ids must be unique in a folder."
                )
            seen.add(one.ending.id)
            if f"task {one.task.id}" not in seen:
                seen.add(f"task {one.task.id}")
                tables["tasks"].add(task_row(one.task))
            where = {
                "run": run,
                "task": one.task.id,
                "group": one.ending.group,
                "trajectory": one.ending.id,
                "phase": one.ending.phase,
                "iteration": one.ending.iteration,
            }
            tables["trajectories"].add(
                where | trajectory_row(one.ending, own_steps=len(one.steps), prefix=one.prefix)
            )
            for step in one.steps:
                tables["steps"].add(where | step_row(step))
        for table in tables.values():
            table.finish()
        return Written(**{name: table.rows for name, table in tables.items()})


def read_parquet(folder: Path | str) -> Iterator[Trajectory]:
    """Yield the trajectories that ``write_parquet`` wrote, equal to what they were and in the same order.

    A folder of parts (``part-00000`` and so on) is read part after part. Memory holds one batch of rows, the tasks, and the steps that other trajectories branch off. Raises
    ``StoreError`` naming the file and the column that is missing, of another type, or damaged.
    """
    folder = Path(folder)
    parts = part_folders(folder)
    if parts and parts != (folder,):
        for part in parts:
            yield from read_parquet(part)
        return
    tasks = {row["task"]: task_of(folder, row) for row in _rows(folder, "tasks")}
    shared = {row["prefix"] for row in _rows(folder, "trajectories", ["prefix"])}
    stream = _rows(folder, "steps")
    waiting: dict[str, dict[str, Step]] = {}
    held: dict[str, Step] = {}
    for row in _rows(folder, "trajectories"):
        name = row["trajectory"]
        own = waiting.setdefault(name, {})
        while len(own) < row["own_steps"]:
            found = next(stream, None)
            if found is None:
                raise StoreError(
                    f"trajectory {name!r} has {row['own_steps']} rows of its own in 'trajectories.parquet' and "
                    f"{len(own)} in 'steps.parquet' of {str(folder)!r}. Rows were removed; write both again."
                )
            step = step_of(folder, found)
            waiting.setdefault(found["trajectory"], {})[step.id] = step
        del waiting[name]
        if name in shared:
            held.update(own)
        yield trajectory_of(folder, row, tasks, own, held)


def part_folders(folder: Path) -> tuple[Path, ...]:
    """Return the folders with the tables: the folder itself, or the parts in it; none where there are no steps."""
    if (folder / "steps.parquet").is_file():
        return (folder,)
    return tuple(sorted(one.parent for one in folder.glob("part-*/steps.parquet")))


# --- what is finished, from each kind of source ---------------------------------------------------


def _finished(source: Journal | Trace | Iterable[Trajectory]) -> Iterator[_Finished]:
    owner: dict[str, str] = {}
    if isinstance(source, Journal):
        yield from _of_journal(source, owner)
    elif isinstance(source, Trace):
        for ending in source.endings.values():
            trajectory = source.trajectory(ending.id)
            yield _new_in(ending, trajectory.task, trajectory.steps, owner)
    else:
        for trajectory in source:
            yield _new_in(ending_of(trajectory), trajectory.task, trajectory.steps, owner)


def _of_journal(journal: Journal, owner: dict[str, str]) -> Iterator[_Finished]:
    trace = Trace()
    for event in journal.events(kinds={Kind.TASK, Kind.STEP, Kind.TRAJECTORY}, void=False):
        if event.kind is Kind.TASK:
            task = decode(Task, event.body)
            trace.tasks[task.id] = task
        elif event.kind is Kind.STEP:
            step = decode(Step, event.body)
            trace.steps[step.id] = step
        else:
            ending = decode(Ending, event.body)
            steps = []
            leaf = ending.leaf
            while leaf is not None and leaf in trace.steps:
                steps.append(trace.steps.pop(leaf))
                leaf = steps[-1].parent
            if leaf is not None and leaf not in owner:
                raise StoreError(
                    f"step {leaf!r} of trajectory {ending.id!r} is not in journal {str(journal.path)!r}."
                )
            if ending.task not in trace.tasks:
                raise StoreError(
                    f"task {ending.task!r} of trajectory {ending.id!r} is not in journal {str(journal.path)!r}."
                )
            prefix = None if leaf is None else owner[leaf]
            owner.update((step.id, ending.id) for step in steps)
            yield _Finished(
                ending=ending, task=trace.tasks[ending.task], steps=tuple(reversed(steps)), prefix=prefix
            )


def _new_in(ending: Ending, task: Task, steps: tuple[Step, ...], owner: dict[str, str]) -> _Finished:
    known = sum(step.id in owner for step in steps)
    prefix = owner[steps[known - 1].id] if known else None
    owner.update((step.id, ending.id) for step in steps[known:])
    return _Finished(ending=ending, task=task, steps=steps[known:], prefix=prefix)


# --- files ----------------------------------------------------------------------------------------


class _Table:
    """One Parquet file being written. It takes its name only when it is complete."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.parquet"
        self.rows = 0
        self._fresh = folder / f"{name}.parquet.new"
        self._schema = pa.schema(list(TABLES[name].items()), metadata={"everystep": str(VERSION)})
        self._writer = pq.ParquetWriter(self._fresh, self._schema, compression="zstd")
        self._buffer: list[dict[str, Any]] = []

    def __enter__(self) -> _Table:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
        self._fresh.unlink(missing_ok=True)

    def add(self, row: dict[str, Any]) -> None:
        self._buffer.append(row)
        self.rows += 1
        if len(self._buffer) >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        columns = []
        for field in self._schema:
            values = [row.get(field.name) for row in self._buffer]
            try:
                columns.append(pa.array(values, field.type))
            except (pa.ArrowException, UnicodeError, OverflowError) as error:
                raise StoreError(
                    f"cannot write column {field.name!r} of {str(self.path)!r} as {field.type}: {error}. "
                    "Clean the values where they are made, for example with text.encode(errors='replace')."
                ) from None
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._buffer.clear()

    def finish(self) -> None:
        if self._buffer or not self.rows:
            self._flush()
        self._writer.close()
        self._fresh.replace(self.path)


def _rows(folder: Path, name: str, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table as dictionaries, after a check of its columns."""
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise StoreError(f"there is no {str(path)!r}. Write it with write_parquet or `everystep export`.")
    wanted = {column: TABLES[name][column] for column in columns or TABLES[name]}
    try:
        with pq.ParquetFile(path) as file:
            _check(path, file.schema_arrow, wanted)
            for batch in file.iter_batches(batch_size=1024, columns=list(wanted)):
                yield from _cast(path, batch, wanted)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(
            f"{str(path)!r} is damaged or not a Parquet file: {error}. "
            "Write it again from the journal with `everystep export`."
        ) from None


def _check(path: Path, schema: pa.Schema, wanted: Mapping[str, pa.DataType]) -> None:
    version = (schema.metadata or {}).get(b"everystep", b"1")
    if not version.isdigit() or int(version) > VERSION:
        raise StoreError(
            f"{str(path)!r} has format {version.decode(errors='replace')!r} and this Everystep reads up to "
            f"{VERSION}. Upgrade with `pip install -U everystep`."
        )
    for column, kind in wanted.items():
        place = schema.get_field_index(column)
        if place < 0:
            raise StoreError(
                f"column {column!r} is missing in {str(path)!r}; expected {kind}. "
                "Keep all columns when you rewrite the file, or write it again with write_parquet."
            )
        found = schema.field(place).type
        if not _fits(found, kind):
            raise StoreError(
                f"column {column!r} of {str(path)!r} is {found}; expected {kind}. "
                "Cast it back, or write the file again with write_parquet."
            )


def _fits(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Say whether other programs may have written ``wanted`` as ``found``."""
    types = pa.types
    if types.is_dictionary(found):
        return _fits(found.value_type, wanted)
    if types.is_list(wanted) and (types.is_list(found) or types.is_large_list(found)):
        return _fits(found.value_type, wanted.value_type)
    same = (
        types.is_null(found)
        or (types.is_string(wanted) and (types.is_large_string(found) or types.is_string_view(found)))
        or any(one(wanted) and one(found) for one in (types.is_string, types.is_boolean, types.is_integer))
        or (types.is_floating(wanted) and types.is_floating(found))
    )
    return bool(same)


def _cast(path: Path, batch: pa.RecordBatch, wanted: Mapping[str, pa.DataType]) -> Iterator[dict[str, Any]]:
    columns = []
    for column, kind in wanted.items():
        try:
            columns.append(batch.column(column).cast(kind).to_pylist())
        except (pa.ArrowException, UnicodeError) as error:
            raise StoreError(
                f"column {column!r} of {str(path)!r} cannot be read as {kind}: {error}. "
                "Write the file again with write_parquet."
            ) from None
    for values in zip(*columns, strict=True):
        yield dict(zip(wanted, values, strict=True))
