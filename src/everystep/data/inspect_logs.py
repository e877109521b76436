"""Inspect's logs, ``.json`` and ``.eval`` (a zip of samples), by their documented form; the package inspect-ai is not needed.

A sample in an epoch is a trajectory. Its outcome is the value of its first score: C, P, I and N count 1, 0.5, 0 and 0, true and
false 1 and 0; the others are scores of the last step.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ijson
import pyarrow as pa

from everystep.core.errors import DataError
from everystep.core.records import Task, Trajectory
from everystep.data.messages import talk_of
from everystep.data.reading import (
    RECORD_LIMIT,
    Found,
    Item,
    Unread,
    a_list,
    a_name,
    a_text,
    an_object,
    converted,
    items,
    needed,
    opened,
    parse_json,
    stem_of,
)
from everystep.data.walks import chain, finished

_GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_ZSTD = 93
_LOCAL = struct.Struct("<4s22xHH")
_ATTACHED = "attachment://"
_LEFT_OUT = ("messages", "input", "target", "scores", "events", "attachments", "id", "epoch", "error")


def read_inspect(path: Path) -> Iterator[Item]:
    """Yield the samples of a log."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"PK"
    except OSError as error:
        raise DataError(f"cannot open {str(path)!r}: {error}. Name an existing file.") from None
    if packed:
        yield from _zip(path)
    else:
        head = _head(path)
        yield from converted(path, items(path, "samples"), lambda found: _sample(path, found, head))


def _head(path: Path) -> dict[str, Any]:
    try:
        with opened(path) as file:
            found: Any = next(iter(ijson.items(file, "eval", use_float=True)), {})
    except (ijson.JSONError, ValueError, OSError, EOFError, zlib.error):
        found = {}  # the reader of the samples says what is wrong
    return found if isinstance(found, dict) else {}


def _zip(path: Path) -> Iterator[Item]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            head = next((_member(path, archive, name) for name in _HEADS if name in names), None)
            value = head.value if isinstance(head, Found) and isinstance(head.value, dict) else {}
            told = value.get("eval")
            samples = (_member(path, archive, name) for name in names if name.startswith("samples/"))
            about = told if isinstance(told, dict) else {}
            yield from converted(path, samples, lambda found: _sample(path, found, about))
    except (zipfile.BadZipFile, OSError) as error:
        yield Unread(source=str(path), place="file", reason=f"the archive is damaged: {error}")


_HEADS = ("header.json", "_journal/start.json")


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> Found | Unread:
    try:
        data = _unpacked(archive, name)
        if len(data) > RECORD_LIMIT:
            return Unread(
                source=str(path), place=name, reason=f"the record is longer than {RECORD_LIMIT} bytes"
            )
        return Found(place=name, value=parse_json(data))
    except (
        ValueError,
        RecursionError,
        NotImplementedError,
        EOFError,
        OSError,
        zlib.error,
        RuntimeError,
    ) as error:
        return Unread(
            source=str(path), place=name, reason=f"cannot be unpacked or is not JSON: {str(error)[:160]}"
        )
    except zipfile.BadZipFile as error:
        return Unread(source=str(path), place=name, reason=f"the archive is damaged: {error}")


def _unpacked(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return the first bytes of a member, up to one beyond the limit. Present logs are packed with zstd, which zipfile reads from Python 3.14 on."""
    about = archive.getinfo(name)
    if about.compress_type != _ZSTD or archive.fp is None:
        with archive.open(name) as file:
            return file.read(RECORD_LIMIT + 1)
    raw = archive.fp
    raw.seek(about.header_offset)
    head = raw.read(_LOCAL.size)
    if len(head) < _LOCAL.size or head[:4] != b"PK\x03\x04":
        raise ValueError("the member's header is damaged")
    *_, name_size, extra_size = _LOCAL.unpack(head)
    raw.seek(name_size + extra_size, 1)
    packed = raw.read(min(about.compress_size, RECORD_LIMIT + 1))
    with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
        return bytes(stream.read(RECORD_LIMIT + 1))


def _sample(path: Path, found: Found, head: dict[str, Any]) -> Trajectory:
    record = an_object(found.value, "the sample")
    native, epoch = a_name(needed(record, "id"), "id"), record.get("epoch", 1)
    if type(epoch) is not int:
        raise DataError(f"epoch is {epoch!r}; expected a whole number")
    attached = record.get("attachments")
    messages = a_list(needed(record, "messages"), "messages")
    talk = talk_of(_with_attachments(messages, attached if isinstance(attached, dict) else {}))
    scores = _scores(record.get("scores") or {})
    outcome = next(iter(scores.values()), None)
    world = a_text(head.get("task") or "inspect", "eval.task")
    error = record.get("error")
    asked = record.get("input")
    task = Task(
        id=f"{world}/{native}",
        instruction=asked if isinstance(asked, str) else talk.instruction,
        environment=world,
        reference=record.get("target"),
    )
    name = f"{stem_of(path)}/{native}.{epoch}"
    turns = [*talk.turns[:-1], replace(talk.turns[-1], scores=scores)]
    rest = {key: value for key, value in record.items() if key not in _LEFT_OUT}
    rest |= {
        "scores": record.get("scores"),
        "model": head.get("model"),
        "events": len(record.get("events") or []),
    }
    return finished(
        name,
        task,
        chain(name, turns),
        outcome=outcome,
        success=outcome == 1.0 if outcome is not None and 0 <= outcome <= 1 else None,
        cut_off=record.get("limit") is not None,
        error=None if error is None else str(error)[:500],
        seed=epoch,
        final=talk.final,
        record=rest,
    )


def _scores(value: Any) -> dict[str, float]:
    """Return the scores that are a number or a grade, by scorer; a score of several values is named ``scorer.value``."""
    found: dict[str, float] = {}
    for name, one in an_object(value, "scores").items():
        told = one.get("value") if isinstance(one, dict) else one
        parts = (
            {f"{name}.{key}": part for key, part in told.items()} if isinstance(told, dict) else {name: told}
        )
        for key, part in parts.items():
            if isinstance(part, str) and part in _GRADES:
                found[key] = _GRADES[part]
            elif isinstance(part, bool | int | float):
                found[key] = float(part)
    return found


def _with_attachments(value: Any, attached: dict[str, Any]) -> Any:
    """Put long texts that a log keeps aside back in their places."""
    if isinstance(value, str) and value.startswith(_ATTACHED):
        return attached.get(value.removeprefix(_ATTACHED), value)
    if isinstance(value, dict):
        return {key: _with_attachments(one, attached) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_attachments(one, attached) for one in value]
    return value
