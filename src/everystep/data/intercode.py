"""InterCode: the published runs on SQL, Bash and CTF tasks, an object of runs with parallel lists of turns.

The reward and validity of every act are the file's. What is seen before act ``t`` is what act ``t - 1`` showed; before the first it
is the question. The outcome is the highest reward of the run, as InterCode counts; solved means 1. A ReAct run has a thought
before each act: it stands in the answer's text before the act, as it was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from everystep.core.errors import DataError
from everystep.core.records import Action, Observation, Task, Trajectory
from everystep.data.reading import (
    Found,
    Item,
    a_flag,
    a_list,
    a_name,
    a_number,
    a_text,
    an_object,
    converted,
    items,
    needed,
    stem_of,
)
from everystep.data.walks import Turn, chain, finished

_COLUMNS = ("actions", "observations", "rewards", "valid_action")
_TASK = ("environment", "dataset", "task_id", "query", "hardness")


def read_intercode(path: Path) -> Iterator[Item]:
    """Yield the runs of a file."""
    return converted(path, items(path), lambda found: _run(path, found))


def _run(path: Path, found: Found) -> Trajectory:
    record = an_object(found.value, "the run")
    history = an_object(needed(record, "turn_history"), "turn_history")
    summary = an_object(needed(record, "summary"), "summary")
    world = a_text(needed(record, "environment"), "environment")
    native = a_name(needed(record, "task_id"), "task_id")
    dataset = a_text(record.get("dataset", ""), "dataset")
    query = a_text(needed(record, "query"), "query")
    tags = {"hardness": a_text(record["hardness"], "hardness")} if record.get("hardness") is not None else {}
    task = Task(
        id=f"{world}/{stem_of(Path(dataset))}/{native}",
        instruction=query,
        environment=world,
        config={"dataset": dataset, "task_id": record["task_id"]},
        tags=tags,
    )
    name = f"{stem_of(path)}/{found.key if found.key is not None else native}"
    turns, final = _turns(history)
    best = a_number(needed(summary, "max_reward"), "summary.max_reward")
    taken, most = summary.get("turns_taken"), summary.get("turns_max")
    rest = {key: value for key, value in record.items() if key not in (*_TASK, "turn_history")}
    return finished(
        name,
        task,
        chain(name, turns),
        outcome=best,
        success=best == 1.0,
        cut_off=type(taken) is int and type(most) is int and taken >= most,
        group=task.id,
        final=final,
        record=rest,
    )


def _turns(history: dict[str, Any]) -> tuple[list[Turn], Observation]:
    columns = {name: a_list(needed(history, name), f"turn_history.{name}") for name in _COLUMNS}
    if "thoughts" in history:
        columns["thoughts"] = a_list(history["thoughts"], "turn_history.thoughts")
    sizes = {name: len(column) for name, column in columns.items()}
    if len(set(sizes.values())) != 1:
        raise DataError(f"the lists of turn_history have different lengths: {sizes}")
    turns, seen = [], Observation(text="")
    for number, row in enumerate(zip(*columns.values(), strict=True)):
        one = dict(zip(columns, row, strict=True))
        act = a_text(one["actions"], f"action {number}")
        thought = one.get("thoughts")
        if thought is not None:
            act = f"Thought: {a_text(thought, f'thought {number}')}\nAction: {act}"
        valid = a_flag(one["valid_action"], f"valid_action {number}")
        shown = _shown(one["observations"], number)
        turns.append(
            Turn(
                observation=seen,
                action=Action(text=act, valid=valid, reason=None if valid else (shown[:300] or "not valid")),
                reward=a_number(one["rewards"], f"reward {number}"),
            )
        )
        seen = Observation(text=shown)
    return turns, seen


def _shown(value: Any, number: int) -> str:
    """A few published observations are no text (a list of rows, null): their JSON stands for them."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list | int | float | bool):
        return str(value)
    raise DataError(f"observation {number} is an object; expected text")
