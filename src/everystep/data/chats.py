"""OpenAI-style chats: a line, or a member of an array, is a conversation with its tool calls.

``messages`` (also ``conversations``, ``conversation``, or a list without more) holds them; ``reward`` (or ``score``), ``rewards`` (one
an answer), ``success``, ``id``, ``task_id``, ``environment`` and ``split`` are understood; every other field is kept in
``final.info["record"]``. Conversations with equal messages before the first answer are trials of one task.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from everystep.core.errors import DataError
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
    maybe_flag,
    maybe_number,
    records,
    stem_of,
)
from everystep.data.walks import chain, finished

_LISTS = ("messages", "conversations", "conversation")
_TOLD = {*_LISTS, "reward", "score", "rewards", "success", "id", "task_id", "environment", "split"}


def read_chats(path: Path) -> Iterator[Item]:
    """Yield the conversations of a file of JSON lines or of a JSON array."""
    return converted(path, records(path), lambda found: chat_of(path, found))


def chat_of(path: Path, found: Found) -> Trajectory:
    """Return the trajectory of one conversation."""
    record = (
        {"messages": found.value} if isinstance(found.value, list) else an_object(found.value, "the record")
    )
    name = next((one for one in _LISTS if one in record), None)
    if name is None:
        raise DataError(f"none of the fields {', '.join(_LISTS)} is there")
    return conversation(path, found, record, record[name], told=_TOLD)


def conversation(
    path: Path,
    found: Found,
    record: dict[str, Any],
    messages: Any,
    *,
    told: set[str],
    environment: str = "chat",
) -> Trajectory:
    """Return the trajectory of a list of messages with the usual fields beside it."""
    rewards = record.get("rewards")
    if rewards is not None:
        rewards = [a_number(one, "a reward") for one in a_list(rewards, "rewards")]
    talk = talk_of(messages, rewards=rewards)
    native = record.get("id", found.key)
    name = f"{stem_of(path)}/{found.place if native is None else a_name(native, 'id')}"
    outcome = maybe_number(record.get("reward", record.get("score")), "the reward")
    if outcome is None and rewards is not None:
        outcome = float(sum(rewards))
    task_id = record.get("task_id")
    world = record.get("environment")
    world = environment if world is None else a_text(world, "environment")
    task = Task(
        id=f"{world}-{talk.key}" if task_id is None else a_name(task_id, "task_id"),
        instruction=talk.instruction,
        environment=world,
        split="train" if record.get("split") is None else a_text(record["split"], "split"),
    )
    return finished(
        name,
        task,
        chain(name, talk.turns),
        outcome=outcome,
        success=maybe_flag(record.get("success"), "success"),
        final=talk.final,
        record={key: value for key, value in record.items() if key not in told},
    )
