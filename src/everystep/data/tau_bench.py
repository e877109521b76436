"""tau-bench: the saved runs of an agent with a simulated user, ``[{task_id, trial, reward, info, traj}]``.

The reward is the data base's and comes with the last act; the acts before it have none, which is zero in this environment.
Conversations that are published as text only (``messages_display``) are read too; their tool calls are not in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from everystep.core.errors import DataError
from everystep.core.records import Task, ToolCall, Trajectory
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
from everystep.data.walks import Turn, chain, finished

SOLVED = 1.0 - 1e-6
_SPEAKER = re.compile(r"^(system|user|assistant|tool): ?", re.MULTILINE)


def read_tau_bench(path: Path) -> Iterator[Item]:
    """Yield the runs of a file."""
    return converted(path, records(path), lambda found: _run(path, found))


def _run(path: Path, found: Found) -> Trajectory:
    record = an_object(found.value, "the run")
    if "messages_display" in record and "traj" not in record:
        return _shown(path, found, record)
    native, trial = a_name(needed(record, "task_id"), "task_id"), needed(record, "trial")
    if type(trial) is not int:
        raise DataError(f"trial is {trial!r}; expected a whole number")
    reward = a_number(needed(record, "reward"), "reward")
    talk = talk_of(needed(record, "traj"))
    info = an_object(record.get("info") or {}, "info")
    told = an_object(info.get("task") or {}, "info.task")
    calls = None
    if told.get("actions") is not None:
        calls = tuple(_gold(one) for one in a_list(told["actions"], "info.task.actions"))
    world = f"tau-bench/{stem_of(path)}"
    task = Task(
        id=f"{world}/{native}",
        instruction=a_text(told.get("instruction", ""), "info.task.instruction"),
        environment=world,
        config={key: value for key, value in told.items() if key not in ("actions", "instruction")},
        reference=told.get("outputs"),
        reference_calls=calls,
    )
    rest = {
        key: value
        for key, value in record.items()
        if key not in ("traj", "reward", "task_id", "trial", "info")
    }
    rest |= {"info": {key: value for key, value in info.items() if key != "task"}}
    name = f"{stem_of(path)}/{native}.{trial}"
    turns = [replace(turn, reward=0.0) for turn in talk.turns[:-1]]
    turns.append(replace(talk.turns[-1], reward=reward))
    return finished(
        name,
        task,
        chain(name, turns),
        outcome=reward,
        success=reward >= SOLVED,
        seed=trial,
        final=talk.final,
        record=rest,
    )


def _gold(value: Any) -> ToolCall:
    one = an_object(value, "an action of info.task")
    arguments = one.get("kwargs", one.get("arguments", {}))
    return ToolCall(
        name=a_text(needed(one, "name"), "the name of an action"), arguments=an_object(arguments, "kwargs")
    )


def _shown(path: Path, found: Found, record: dict[str, Any]) -> Trajectory:
    text = a_text(record["messages_display"], "messages_display")
    pieces = _SPEAKER.split(text)
    messages = [
        {"role": role, "content": "" if said.strip() == "None" else said.rstrip("\n")}
        for role, said in zip(pieces[1::2], pieces[2::2], strict=True)
    ]
    talk = talk_of(messages)
    name = f"{stem_of(path)}/{found.place}"
    task = Task(
        id=f"tau-bench/{stem_of(path)}-{talk.key}", instruction=talk.instruction, environment="tau-bench"
    )
    turns: tuple[Turn, ...] = talk.turns
    rest = {key: value for key, value in record.items() if key != "messages_display"}
    return finished(name, task, chain(name, turns), outcome=None, success=None, final=talk.final, record=rest)
