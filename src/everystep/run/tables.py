"""The columns of the Parquet tables, records to rows and rows to records.

What has no fixed form (scores, info, config, calls) is JSON text, so that every reader of Parquet
understands the files; token ids, spans and log-probabilities are typed lists.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from everystep.core.codec import decode, dumps
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
from everystep.core.trace import Ending

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
    "node": _TEXT,
    "undone": pa.bool_(),
    "cost": _TEXT,
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
TABLES = {"steps": _STEPS, "trajectories": _TRAJECTORIES, "tasks": _TASKS}


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


def step_row(step: Step) -> dict[str, Any]:
    """Return the row of a step without the columns that say where it belongs."""
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
        "node": step.node,
        "undone": step.undone,
        "cost": _json(step.cost),
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


def trajectory_row(ending: Ending, *, own_steps: int, prefix: str | None) -> dict[str, Any]:
    """Return the row of a trajectory without the columns that say where it belongs."""
    return {
        "leaf": ending.leaf,
        "own_steps": own_steps,
        "prefix": prefix,
        "end": ending.end.value,
        "outcome": ending.outcome,
        "success": ending.success,
        "seed": ending.seed,
        "error": ending.error,
        **_observation_row("final", ending.final),
    }


def task_row(task: Task) -> dict[str, Any]:
    """Return the row of a task."""
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


# --- rows to records ------------------------------------------------------------------------------


def _load(folder: Path, name: str, row: Mapping[str, Any], column: str, empty: Any) -> Any:
    text = row[column]
    if text is None:
        return empty
    try:
        return json.loads(text)
    except ValueError as error:
        raise damaged(folder, name, row, column, error) from None


def damaged(folder: Path, name: str, row: Mapping[str, Any], column: str, error: Exception) -> StoreError:
    """Return the error for a value that cannot be read."""
    row_id = row.get("step") or row.get("trajectory") or row.get("task")
    return StoreError(
        f"column {column!r} of {str(folder / f'{name}.parquet')!r} is damaged in row {row_id!r}: {error}. "
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


def step_of(folder: Path, row: Mapping[str, Any]) -> Step:
    """Return the step of a row; raise ``StoreError`` naming the column that is damaged."""
    for column in ("trajectory", "step", "index", "observation_text", "action_text", "valid", "stop"):
        if row[column] is None:
            raise damaged(folder, "steps", row, column, ValueError("it is empty"))
    try:
        tokens = None if row["token_ids"] is None else _tokens(row)
        stop = Stop(row["stop"])
    except (ValueError, TypeError) as error:
        raise damaged(folder, "steps", row, "stop' or 'span_kind", error) from None
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
        node=row["node"] or "",
        undone=bool(row["undone"]),
        cost=_load(folder, "steps", row, "cost", {}),
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


def task_of(folder: Path, row: Mapping[str, Any]) -> Task:
    """Return the task of a row."""
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


def trajectory_of(
    folder: Path,
    row: Mapping[str, Any],
    tasks: Mapping[str, Task],
    own: Mapping[str, Step],
    held: Mapping[str, Step],
) -> Trajectory:
    """Return the trajectory of a row, walked from its leaf through its own and the held steps."""
    steps: list[Step] = []
    leaf = row["leaf"]
    while leaf is not None:
        step = own.get(leaf) or held.get(leaf)
        if step is None or len(steps) > len(own) + len(held):
            raise damaged(folder, "steps", row, "step", ValueError(f"step {leaf!r} is missing"))
        steps.append(step)
        leaf = step.parent
    if row["task"] not in tasks:
        raise damaged(folder, "tasks", row, "task", ValueError(f"task {row['task']!r} is missing"))
    try:
        end = End(row["end"])
    except ValueError as error:
        raise damaged(folder, "trajectories", row, "end", error) from None
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
