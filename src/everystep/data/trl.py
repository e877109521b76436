"""TRL's forms, conversational or plain text: language modelling (``messages``), prompt and completion, preference, unpaired
preference (``label``) and stepwise supervision (``completions`` with ``labels``).

A preference row is two trajectories of one task that share the steps of the prompt and differ after it. Their outcomes are 1 (chosen) and
0 (rejected): which one was preferred, not a score.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from everystep.core.errors import DataError
from everystep.core.records import Action, Observation, Task, Trajectory
from everystep.data.chats import chat_of
from everystep.data.messages import Talk, role_of, talk_of
from everystep.data.reading import (
    Found,
    Item,
    a_flag,
    a_list,
    a_text,
    an_object,
    converted,
    needed,
    records,
    stem_of,
)
from everystep.data.verifiers import as_messages
from everystep.data.walks import Turn, chain, finished

_TOLD = {"prompt", "completion", "chosen", "rejected", "label", "completions", "labels"}


def read_trl(path: Path) -> Iterator[Item]:
    """Yield the trajectories of a file; a preference row gives two."""
    return converted(path, records(path), lambda found: _row(path, found))


def _row(path: Path, found: Found) -> Trajectory | tuple[Trajectory, ...]:
    record = an_object(found.value, "the row")
    if "chosen" in record or "rejected" in record:
        return _preference(path, found, record)
    if "completions" in record:
        return _stepwise(path, found, record)
    if "completion" in record:
        return _completion(path, found, record)
    if "messages" in record:
        return chat_of(path, found)
    if "prompt" in record:
        raise DataError("a prompt without a completion: nothing was answered")
    raise DataError(f"no form of TRL has the fields {sorted(record)[:12]!r}")


def _completion(path: Path, found: Found, record: dict[str, Any]) -> Trajectory:
    prompt = as_messages(needed(record, "prompt"), "user", "prompt")
    talk = talk_of(prompt + as_messages(record["completion"], "assistant", "completion"))
    label = a_flag(record["label"], "label") if "label" in record else None
    name = f"{stem_of(path)}/{found.place}"
    return finished(
        name,
        _task(talk),
        chain(name, talk.turns),
        outcome=None if label is None else float(label),
        success=None,
        final=talk.final,
        record=_rest(record),
    )


def _preference(path: Path, found: Found, record: dict[str, Any]) -> tuple[Trajectory, ...]:
    chosen, rejected = (
        as_messages(needed(record, side), "assistant", side) for side in ("chosen", "rejected")
    )
    if record.get("prompt") is not None:
        prompt = as_messages(record["prompt"], "user", "prompt")
    else:  # the prompt is what both sides begin with
        shared = next((n for n, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), 0)
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    answered = sum(role_of(an_object(one, "a message of prompt")) == "assistant" for one in prompt)
    name, made = f"{stem_of(path)}/{found.place}", []
    common = talk_of(prompt + chosen).turns[:answered]
    prefix = chain(name, common)
    for side, messages, outcome in (("chosen", chosen, 1.0), ("rejected", rejected, 0.0)):
        talk = talk_of(prompt + messages)
        if len(talk.turns) == answered:
            raise DataError(f"{side!r} has no assistant's message")
        steps = chain(f"{name}.{side}", talk.turns[answered:], after=prefix)
        made.append(
            finished(
                f"{name}.{side}",
                replace(_task(talk), id=f"trl/{name}"),
                steps,
                outcome=outcome,
                success=None,
                final=talk.final,
                record=_rest(record),
            )
        )
    return tuple(made)


def _stepwise(path: Path, found: Found, record: dict[str, Any]) -> Trajectory:
    prompt = a_text(needed(record, "prompt"), "prompt")
    completions = [a_text(one, "a completion") for one in a_list(record["completions"], "completions")]
    labels = [a_flag(one, "a label") for one in a_list(needed(record, "labels"), "labels")]
    if len(labels) != len(completions) or not labels:
        raise DataError(f"there are {len(labels)} labels for {len(completions)} completions")
    turns = [
        Turn(
            observation=Observation(text="" if number else prompt),
            action=Action(text=text),
            scores={"label": float(label)},
        )
        for number, (text, label) in enumerate(zip(completions, labels, strict=True))
    ]
    name = f"{stem_of(path)}/{found.place}"
    key = sha256(prompt.encode(errors="replace")).hexdigest()[:16]
    task = Task(id=f"trl-{key}", instruction=prompt, environment="trl")
    return finished(name, task, chain(name, turns), outcome=None, success=None, record=_rest(record))


def _task(talk: Talk) -> Task:
    return Task(id=f"trl-{talk.key}", instruction=talk.instruction, environment="trl")


def _rest(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in _TOLD}
