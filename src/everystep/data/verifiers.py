"""verifiers: saved results, a line a rollout, with ``prompt``, ``completion``, ``reward`` and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from everystep.core.records import Task, Trajectory
from everystep.data.messages import talk_of
from everystep.data.reading import (
    Found,
    Item,
    a_list,
    a_name,
    a_number,
    a_text,
    an_object,
    converted,
    needed,
    records,
    stem_of,
)
from everystep.data.walks import chain, finished

_TOLD = {
    "example_id",
    "task",
    "prompt",
    "completion",
    "answer",
    "reward",
    "metrics",
    "is_truncated",
    "error",
    "info",
}


def read_verifiers(path: Path) -> Iterator[Item]:
    """Yield the rollouts of a file."""
    return converted(path, records(path), lambda found: _run(path, found))


def as_messages(value: Any, role: str, what: str) -> list[Any]:
    """Return a list of messages; a bare text is one message of ``role``."""
    return [{"role": role, "content": value}] if isinstance(value, str) else a_list(value, what)


def _run(path: Path, found: Found) -> Trajectory:
    record = an_object(found.value, "the rollout")
    prompt = as_messages(needed(record, "prompt"), "user", "prompt")
    talk = talk_of(prompt + as_messages(needed(record, "completion"), "assistant", "completion"))
    reward = a_number(needed(record, "reward"), "reward")
    metrics = an_object(record.get("metrics") or {}, "metrics")
    scores = {
        name: a_number(value, f"the metric {name!r}") for name, value in metrics.items() if value is not None
    }
    solved = scores.pop("success", None)
    told = record.get("info")
    info = told if isinstance(told, dict) else {}
    world = a_text(record.get("task") or "verifiers", "task")
    native = record.get("example_id", record.get("id"))
    key = talk.key if native is None else a_name(native, "example_id")
    task = Task(
        id=f"{world}/{key}",
        instruction=talk.instruction,
        environment=world,
        reference=record.get("answer"),
        config={"info": told} if told else {},
    )
    turns = [*talk.turns[:-1], replace(talk.turns[-1], scores=scores)]
    name = f"{stem_of(path)}/{found.place}"
    error = record.get("error")
    seed = info.get("seed")
    return finished(
        name,
        replace(task, config={}) if set(info) <= {"task_id", "group", "seed"} else task,
        chain(name, turns),
        outcome=reward,
        success=None if solved is None else solved == 1.0,
        cut_off=record.get("is_truncated") is True,
        error=None if error is None else str(error)[:500],
        seed=seed if type(seed) is int else 0,
        final=talk.final,
        record={key: value for key, value in record.items() if key not in _TOLD},
    )
