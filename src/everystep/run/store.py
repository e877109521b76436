"""Finished trajectories as Parquet: a row a step with only what the step added, in three tables.

``steps.parquet``, ``trajectories.parquet`` and ``tasks.parquet`` in one folder. Columns are typed; what has
no fixed form (scores, info, config, calls) is JSON text, so that every reader of Parquet understands
the file. A step that several branches share is one row, under the first of its trajectories; ``prefix``
names the trajectory whose rows the others go on from. Needs the extra ``store`` (pyarrow).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from everystep.core.codec import VERSION, decode, dumps
from everystep.core.errors import StoreError
from everystep.core.records import (
    Action,
    End,
    Observation,
    Span,
    SpanKind,
    Step,
    Stop,
    Task,
    TokenRecord,
    ToolCall,
    Trajectory,
)
from everystep.core.trace import Ending, Kind, Trace, ending_of
from everystep.run.journal import Journal

ROW_GROUP = 4096
"""Rows that are held in memory before they are written."""

_TEXT, _TEXTS, _INTS, _FLOATS = (
    pa.string(),
    pa.list_(pa.string()),
    pa.list_(pa.int32()),
    pa.list_(pa.float64()),
)
_OBSERVATION = {"text": _TEXT, "anchor": _TEXT, "admissible": _TEXTS, "info": _TEXT}
_STEPS = {
    "run": _TEXT,
    "task": _TEXT,
    "group": _TEXT,
    "trajectory": _TEXT,
    "phase": _TEXT,
    "iteration": pa.int32(),
    "step": _TEXT,
    "parent": _TEXT,
    "index": pa.int32(),
    "agent": _TEXT,
    **{f"observation_{name}": kind for name, kind in _OBSERVATION.items()},
    "action_text": _TEXT,
    "action_calls": _TEXT,
    "valid": pa.bool_(),
    "reason": _TEXT,
    "reward": pa.float64(),
    "scores": _TEXT,
    "stop": _TEXT,
    "token_ids": _INTS,
    "span_start": _INTS,
    "span_end": _INTS,
    "span_kind": _TEXTS,
    "span_weight": _FLOATS,
    "logprobs": _FLOATS,
    "allowed": pa.list_(_INTS),
    "temperature": pa.float64(),
    "policy": _TEXT,
}
_TRAJECTORIES = {
    "run": _TEXT,
    "task": _TEXT,
    "group": _TEXT,
    "trajectory": _TEXT,
    "phase": _TEXT,
    "iteration": pa.int32(),
    "leaf": _TEXT,
    "own_steps": pa.int32(),
    "prefix": _TEXT,
    "end": _TEXT,
    "outcome": pa.float64(),
    "success": pa.bool_(),
    "seed": pa.int64(),
    "error": _TEXT,
    **{f"final_{name}": kind for name, kind in _OBSERVATION.items()},
}
_TASKS = {
    "task": _TEXT,
    "instruction": _TEXT,
    "environment": _TEXT,
    "seed": pa.int64(),
    "split": _TEXT,
    "config": _TEXT,
    "reference": _TEXT,
    "reference_calls": _TEXT,
    "tags": _TEXT,
}
_FILES = {"steps": _STEPS, "trajectories": _TRAJECTORIES, "tasks": _TASKS}


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
        tables = {name: stack.enter_context(_Table(folder, name)) for name in _FILES}
        seen: set[str] = set()
        for one in _finished(source):
            if one.ending.id in seen:
                raise StoreError(
                    f"trajectory {one.ending.id!r} occurs twice; ids must be unique in a folder."
                )
            seen.add(one.ending.id)
            if f"task {one.task.id}" not in seen:
                seen.add(f"task {one.task.id}")
                tables["tasks"].add(_task_row(one.task))
            where = {
                "run": run,
                "task": one.task.id,
                "group": one.ending.group,
                "trajectory": one.ending.id,
                "phase": one.ending.phase,
                "iteration": one.ending.iteration,
            }
            tables["trajectories"].add(where | _trajectory_row(one))
            for step in one.steps:
                tables["steps"].add(where | _step_row(step))
        for table in tables.values():
            table.finish()
        return Written(**{name: table.rows for name, table in tables.items()})


def read_parquet(folder: Path | str) -> Iterator[Trajectory]:
    """Yield the trajectories that ``write_parquet`` wrote, equal to what they were and in the same order.

    Memory holds one batch of rows, the tasks, and the steps that other trajectories branch off. Raises
    ``StoreError`` naming the file and the column that is missing, of another type, or damaged.
    """
    folder = Path(folder)
    tasks = {row["task"]: _task(folder, row) for row in _rows(folder, "tasks")}
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
            step = _step(folder, found)
            waiting.setdefault(found["trajectory"], {})[step.id] = step
        del waiting[name]
        if name in shared:
            held.update(own)
        yield _trajectory(folder, row, tasks, own, held)


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


# --- records to rows ------------------------------------------------------------------------------


def _json(value: Any) -> str | None:
    return dumps(value) if value else None


def _observation_row(prefix: str, one: Observation | None) -> dict[str, Any]:
    if one is None:
        return {f"{prefix}_{name}": None for name in _OBSERVATION}
    return {
        f"{prefix}_text": one.text,
        f"{prefix}_anchor": one.anchor,
        f"{prefix}_admissible": one.admissible,
        f"{prefix}_info": _json(one.info),
    }


def _step_row(step: Step) -> dict[str, Any]:
    return {
        "step": step.id,
        "parent": step.parent,
        "index": step.index,
        "agent": step.agent,
        **_observation_row("observation", step.observation),
        "action_text": step.action.text,
        "action_calls": _json(step.action.calls),
        "valid": step.action.valid,
        "reason": step.action.reason,
        "reward": step.reward,
        "scores": _json(step.scores),
        "stop": step.stop.value,
        **_token_row(step.tokens),
    }


def _token_row(tokens: TokenRecord | None) -> dict[str, Any]:
    if tokens is None:
        return {}
    return {
        "token_ids": tokens.ids,
        "span_start": [span.start for span in tokens.spans],
        "span_end": [span.end for span in tokens.spans],
        "span_kind": [span.kind.value for span in tokens.spans],
        "span_weight": [span.weight for span in tokens.spans],
        "logprobs": tokens.logprobs,
        "allowed": tokens.allowed,
        "temperature": tokens.temperature,
        "policy": tokens.policy,
    }


def _trajectory_row(one: _Finished) -> dict[str, Any]:
    ending = one.ending
    return {
        "leaf": ending.leaf,
        "own_steps": len(one.steps),
        "prefix": one.prefix,
        "end": ending.end.value,
        "outcome": ending.outcome,
        "success": ending.success,
        "seed": ending.seed,
        "error": ending.error,
        **_observation_row("final", ending.final),
    }


def _task_row(task: Task) -> dict[str, Any]:
    return {
        "task": task.id,
        "instruction": task.instruction,
        "environment": task.environment,
        "seed": task.seed,
        "split": task.split,
        "config": _json(task.config),
        "reference": None if task.reference is None else dumps(task.reference),
        "reference_calls": None if task.reference_calls is None else dumps(task.reference_calls),
        "tags": _json(task.tags),
    }


class _Table:
    """One Parquet file being written. It takes its name only when it is complete."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.parquet"
        self.rows = 0
        self._fresh = folder / f"{name}.parquet.new"
        self._schema = pa.schema(list(_FILES[name].items()), metadata={"everystep": str(VERSION)})
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


# --- rows to records ------------------------------------------------------------------------------


def _rows(folder: Path, name: str, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table as dictionaries, after a check of its columns."""
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise StoreError(f"there is no {str(path)!r}. Write it with write_parquet or `everystep export`.")
    wanted = {column: _FILES[name][column] for column in columns or _FILES[name]}
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
    if types.is_null(found):
        return True
    if types.is_dictionary(found):
        return _fits(found.value_type, wanted)
    if types.is_list(wanted):
        a_list = types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found)
        return a_list and _fits(found.value_type, wanted.value_type)
    if types.is_string(wanted):
        return types.is_string(found) or types.is_large_string(found) or types.is_string_view(found)
    if types.is_boolean(wanted):
        return bool(types.is_boolean(found))
    if types.is_integer(wanted):
        return bool(types.is_integer(found))
    return bool(types.is_floating(found))


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


def _load(folder: Path, name: str, row: Mapping[str, Any], column: str, empty: Any) -> Any:
    text = row[column]
    if text is None:
        return empty
    try:
        return json.loads(text)
    except ValueError as error:
        raise _damaged(folder, name, row, column, error) from None


def _damaged(folder: Path, name: str, row: Mapping[str, Any], column: str, error: Exception) -> StoreError:
    row_id = row.get("step") or row.get("trajectory") or row.get("task")
    return StoreError(
        f"column {column!r} of {str(folder / name)!r}.parquet is damaged in row {row_id!r}: {error}. "
        "Write the file again with write_parquet."
    )


def _observation(folder: Path, name: str, row: Mapping[str, Any], prefix: str) -> Observation:
    admissible = row[f"{prefix}_admissible"]
    return Observation(
        text=row[f"{prefix}_text"],
        anchor=row[f"{prefix}_anchor"],
        admissible=None if admissible is None else tuple(admissible),
        info=_load(folder, name, row, f"{prefix}_info", {}),
    )


def _calls(folder: Path, name: str, row: Mapping[str, Any], column: str) -> tuple[ToolCall, ...]:
    return tuple(decode(ToolCall, one) for one in _load(folder, name, row, column, []))


def _step(folder: Path, row: Mapping[str, Any]) -> Step:
    for column in ("trajectory", "step", "index", "observation_text", "action_text", "valid", "stop"):
        if row[column] is None:
            raise _damaged(folder, "steps", row, column, ValueError("it is empty"))
    try:
        tokens = None if row["token_ids"] is None else _tokens(row)
        stop = Stop(row["stop"])
    except (ValueError, TypeError) as error:
        raise _damaged(folder, "steps", row, "stop' or 'span_kind", error) from None
    return Step(
        id=row["step"],
        parent=row["parent"],
        index=row["index"],
        observation=_observation(folder, "steps", row, "observation"),
        action=Action(
            text=row["action_text"],
            calls=_calls(folder, "steps", row, "action_calls"),
            valid=row["valid"],
            reason=row["reason"],
        ),
        reward=row["reward"],
        scores=_load(folder, "steps", row, "scores", {}),
        tokens=tokens,
        agent=row["agent"],
        stop=stop,
    )


def _tokens(row: Mapping[str, Any]) -> TokenRecord:
    spans = zip(row["span_start"], row["span_end"], row["span_kind"], row["span_weight"], strict=True)
    allowed = row["allowed"]
    return TokenRecord(
        ids=tuple(row["token_ids"]),
        spans=tuple(
            Span(start=start, end=end, kind=SpanKind(kind), weight=weight)
            for start, end, kind, weight in spans
        ),
        logprobs=tuple(row["logprobs"]),
        allowed=None if allowed is None else tuple(tuple(one) for one in allowed),
        temperature=row["temperature"],
        policy=row["policy"],
    )


def _task(folder: Path, row: Mapping[str, Any]) -> Task:
    has_calls = row["reference_calls"] is not None
    return Task(
        id=row["task"],
        instruction=row["instruction"],
        environment=row["environment"],
        seed=row["seed"],
        config=_load(folder, "tasks", row, "config", {}),
        reference=_load(folder, "tasks", row, "reference", None),
        reference_calls=_calls(folder, "tasks", row, "reference_calls") if has_calls else None,
        tags=_load(folder, "tasks", row, "tags", {}),
        split=row["split"],
    )


def _trajectory(
    folder: Path,
    row: Mapping[str, Any],
    tasks: Mapping[str, Task],
    own: Mapping[str, Step],
    held: Mapping[str, Step],
) -> Trajectory:
    steps: list[Step] = []
    leaf = row["leaf"]
    while leaf is not None:
        step = own.get(leaf) or held.get(leaf)
        if step is None or len(steps) > len(own) + len(held):
            raise _damaged(folder, "steps", row, "step", ValueError(f"step {leaf!r} is missing"))
        steps.append(step)
        leaf = step.parent
    if row["task"] not in tasks:
        raise _damaged(folder, "tasks", row, "task", ValueError(f"task {row['task']!r} is missing"))
    try:
        end = End(row["end"])
    except ValueError as error:
        raise _damaged(folder, "trajectories", row, "end", error) from None
    return Trajectory(
        id=row["trajectory"],
        task=tasks[row["task"]],
        group=row["group"],
        steps=tuple(reversed(steps)),
        end=end,
        outcome=row["outcome"],
        success=row["success"],
        seed=row["seed"],
        error=row["error"],
        final=None if row["final_text"] is None else _observation(folder, "trajectories", row, "final"),
    )
