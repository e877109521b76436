"""Any JSON lines through a field map: ``action=..``, ``observation=..`` and more name where a file keeps what a trajectory needs.

Three shapes are understood. With ``steps=PATH`` a record is a run and the list there holds its steps, in which the step fields are looked up.
With ``trajectory=PATH`` a record is a step, and the lines of a run stand together. Else, where ``action`` is a list, a record is a run with
parallel lists. Paths are dotted; a number in them is a place in a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from everystep.core.codec import dumps
from everystep.core.errors import ConfigError, DataError, did_you_mean
from everystep.core.records import Action, Observation, Task, Trajectory
from everystep.data.reading import (
    Found,
    Item,
    Unread,
    a_list,
    a_name,
    an_object,
    converted,
    maybe_flag,
    maybe_number,
    records,
    stem_of,
)
from everystep.data.walks import Turn, chain, finished

STEP_FIELDS = ("action", "observation", "reward", "valid", "reason", "anchor", "agent")
RUN_FIELDS = ("id", "task", "instruction", "outcome", "success", "environment", "split", "final")
SHAPE_FIELDS = ("steps", "trajectory")
_MISSING = object()

Fields = Mapping[str, str]


def checked(fields: Fields) -> Fields:
    """Return a field map; a name that is not known, or one without ``action``, is a ``ConfigError``."""
    known = (*STEP_FIELDS, *RUN_FIELDS, *SHAPE_FIELDS)
    for name in fields:
        if name not in known:
            raise ConfigError(f"there is no field {name!r} to map. {did_you_mean(name, known)}")
    if "action" not in fields:
        raise ConfigError(
            "the field map needs at least action=PATH, such as --fields action=response observation=prompt."
        )
    if {"steps", "trajectory"} <= fields.keys():
        raise ConfigError(
            "'steps' (a record is a run) and 'trajectory' (a record is a step) contradict each other."
        )
    return fields


def read_fields(path: Path, fields: Fields) -> Iterator[Item]:
    """Yield the runs of a file."""
    fields = checked(fields)
    found = _grouped(path, fields["trajectory"]) if "trajectory" in fields else records(path)
    return converted(path, found, lambda one: _run(path, one, fields))


def _grouped(path: Path, where: str) -> Iterator[Found | Unread]:
    """Put the lines of one run together; a run that comes up again later is refused, since its order is not known."""
    done: set[bytes] = set()
    name: str | None = None
    rows: list[Any] = []
    place = ""
    for one in records(path):
        if isinstance(one, Unread):
            yield one
            continue
        try:
            found = a_name(_at(one.value, where), "the trajectory's name")
        except DataError as error:
            yield Unread(source=str(path), place=one.place, reason=str(error))
            continue
        digest = sha256(found.encode(errors="replace")).digest()[:12]
        if found == name:
            rows.append(one.value)
            continue
        if name is not None:
            yield Found(place=place, value=rows, key=name)
        name, rows, place = None, [], one.place
        if digest in done:
            reason = f"the lines of {found!r} do not stand together: sort the file by {where!r}"
            yield Unread(source=str(path), place=one.place, reason=reason)
            continue
        done.add(digest)
        name, rows = found, [one.value]
    if name is not None:
        yield Found(place=place, value=rows, key=name)


def _run(path: Path, found: Found, fields: Fields) -> Trajectory:
    if "trajectory" in fields:
        rows = a_list(found.value, "the lines")
        record, last = an_object(rows[0], "the line"), an_object(rows[-1], "the line")
    else:
        record = last = an_object(found.value, "the record")
        rows = _rows(record, fields)
    turns = [_turn(row, number, fields) for number, row in enumerate(rows)]
    if not turns:
        raise DataError("there are no steps")

    def told(name: str, source: Any = record) -> Any:
        value = _at(source, fields[name], optional=True) if name in fields else _MISSING
        return None if value is _MISSING else value

    native = told("id") if "trajectory" not in fields else found.key
    name = f"{stem_of(path)}/{found.place if native is None else a_name(native, 'id')}"
    instruction = told("instruction")
    rewards = [turn.reward for turn in turns if turn.reward is not None]
    outcome = maybe_number(told("outcome", last), "outcome")
    if outcome is None and "outcome" not in fields and len(rewards) == len(turns):
        outcome = float(sum(rewards))
    instruction = "" if instruction is None else _text(instruction)
    given = told("task")
    seen = instruction or turns[0].observation.text
    key = sha256(seen.encode(errors="replace")).hexdigest()[:16] if given is None else a_name(given, "task")
    world = told("environment")
    final = told("final", last)
    mapped = {path.split(".")[0] for path in fields.values()}
    return finished(
        name,
        Task(
            id=key,
            instruction=instruction,
            environment="imported" if world is None else _text(world),
            split="train" if told("split") is None else _text(told("split")),
        ),
        chain(name, turns),
        outcome=outcome,
        success=maybe_flag(told("success", last), "success"),
        final=None if final is None else Observation(text=_text(final)),
        record={}
        if "trajectory" in fields
        else {key: one for key, one in record.items() if key not in mapped},
    )


def _rows(record: dict[str, Any], fields: Fields) -> list[Any]:
    if "steps" in fields:
        return a_list(_at(record, fields["steps"]), "steps")
    actions = _at(record, fields["action"])
    if not isinstance(actions, list):
        return [record]
    rows: list[dict[str, Any]] = [{} for _ in actions]
    for name in STEP_FIELDS:
        column = _at(record, fields[name], optional=True) if name in fields else _MISSING
        if column is _MISSING:
            continue
        values = column if isinstance(column, list) else [column] * len(actions)
        if len(values) != len(actions):
            raise DataError(f"{name!r} has {len(values)} entries for {len(actions)} actions")
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return [_Columns(row) for row in rows]


class _Columns(dict[str, Any]):
    """A row of parallel lists, whose keys are the names of the fields themselves."""


def _turn(row: Any, number: int, fields: Fields) -> Turn:
    def told(name: str) -> Any:
        if isinstance(row, _Columns):
            return row.get(name)
        value = _at(row, fields[name], optional=True) if name in fields else _MISSING
        return None if value is _MISSING else value

    action = told("action")
    if action is None:
        raise DataError(f"step {number} has no action at {fields['action']!r}")
    valid = maybe_flag(told("valid"), f"valid of step {number}")
    reason, anchor, agent = told("reason"), told("anchor"), told("agent")
    extra = {}
    if "steps" in fields or "trajectory" in fields:
        mapped = {path.split(".")[0] for path in fields.values()}
        extra = {key: value for key, value in an_object(row, f"step {number}").items() if key not in mapped}
    seen = told("observation")
    return Turn(
        observation=Observation(
            text="" if seen is None else _text(seen),
            anchor=None if anchor is None else _text(anchor),
            info=extra,
        ),
        action=Action(
            text=_text(action), valid=valid is not False, reason=None if reason is None else _text(reason)
        ),
        reward=maybe_number(told("reward"), f"reward of step {number}"),
        agent="agent" if agent is None else _text(agent),
    )


def _at(value: Any, path: str, *, optional: bool = False) -> Any:
    for word in path.split("."):
        if isinstance(value, dict) and word in value:
            value = value[word]
        elif isinstance(value, list) and word.isdecimal() and len(word) < 9 and int(word) < len(value):
            value = value[int(word)]
        elif optional:
            return _MISSING
        else:
            raise DataError(f"there is nothing at {path!r}")
    return value


def _text(value: Any) -> str:
    """Text as it is; what is no text as JSON."""
    return value if isinstance(value, str) else dumps(value)
