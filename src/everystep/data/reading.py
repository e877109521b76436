"""Files of records, read one record at a time: JSON lines, big JSON arrays and objects, text; gzip is seen by its first bytes.

What cannot be read is an ``Unread`` with one reason, and the rest goes through. Memory holds one record. Needs ``ijson``
(extra ``data``) for arrays and objects of runs.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import ijson

from everystep.core.errors import DataError
from everystep.core.records import Trajectory

RECORD_LIMIT = 64 * 2**20
"""Bytes of one line, or of a file that is one record; longer ones are not read."""

DEPTH_LIMIT = 200
"""How deep a record's values may be nested."""

_BROKEN = (EOFError, OSError, zlib.error)
_SPACE = b" \t\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A record that could not be read: in which file, where in it, and why."""

    source: str
    place: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One record of a file and its place. ``key`` is its name where the file is an object of records."""

    place: str
    value: Any
    key: str | None = None


Item = Trajectory | Unread
"""What a reader yields."""


def converted(
    path: Path,
    records: Iterator[Found | Unread],
    convert: Callable[[Found], Trajectory | tuple[Trajectory, ...]],
) -> Iterator[Item]:
    """Yield the trajectories of records; one that ``convert`` refuses with a ``DataError`` is an ``Unread``."""
    for found in records:
        if isinstance(found, Unread):
            yield found
            continue
        try:
            if _depth_exceeds(found.value):
                raise DataError(f"values are nested more than {DEPTH_LIMIT} deep")
            made = convert(found)
        except DataError as error:
            yield Unread(source=str(path), place=found.place, reason=str(error))
            continue
        yield from (made if isinstance(made, tuple) else (made,))


# --- files ----------------------------------------------------------------------------------------


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacked if it is gzip. Raises ``DataError`` where it cannot be opened."""
    try:
        plain = path.open("rb")
    except OSError as error:
        raise DataError(f"cannot open {str(path)!r}: {error}. Name an existing file.") from None
    with plain:
        packed = plain.peek(2)[:2] == b"\x1f\x8b"
        yield cast("IO[bytes]", gzip.GzipFile(fileobj=plain)) if packed else plain


def text_lines(path: Path) -> Iterator[tuple[int, str] | Unread]:
    """Yield the numbered lines of a text without their ends; a line that is not UTF-8 keeps replacement signs."""
    for found in _raw_lines(path):
        yield (
            found
            if isinstance(found, Unread)
            else (found[0], found[1].decode("utf-8", "replace").rstrip("\r\n"))
        )


def _raw_lines(path: Path) -> Iterator[tuple[int, bytes] | Unread]:
    number = 0
    with opened(path) as file:
        while True:
            number += 1
            try:
                line = file.readline(RECORD_LIMIT + 1)
                long = len(line) > RECORD_LIMIT
                while len(line) > RECORD_LIMIT and not line.endswith(b"\n"):
                    line = file.readline(RECORD_LIMIT + 1)
            except _BROKEN as error:
                yield Unread(source=str(path), place=f"line {number}", reason=f"the file breaks off: {error}")
                return
            if long:
                reason = f"the line is longer than {RECORD_LIMIT} bytes"
                yield Unread(source=str(path), place=f"line {number}", reason=reason)
            elif not line:
                return
            else:
                yield number, line


def json_lines(path: Path) -> Iterator[Found | Unread]:
    """Yield one record a line; empty lines are nothing."""
    for one in _raw_lines(path):
        if isinstance(one, Unread):
            yield one
        elif one[1].strip():
            yield _parsed(path, f"line {one[0]}", one[1])


def whole(path: Path) -> Iterator[Found | Unread]:
    """Yield the one record that a file is."""
    try:
        with opened(path) as file:
            data = file.read(RECORD_LIMIT + 1)
    except _BROKEN as error:
        yield Unread(source=str(path), place="file", reason=f"the file breaks off: {error}")
        return
    if len(data) > RECORD_LIMIT:
        yield Unread(source=str(path), place="file", reason=f"the record is longer than {RECORD_LIMIT} bytes")
    else:
        yield _parsed(path, "file", data)


def items(path: Path, prefix: str = "") -> Iterator[Found | Unread]:
    """Yield the members of the array or object at ``prefix`` (dotted) of a big JSON file, one at a time.

    A mistake in the JSON text ends the file: what stands before it is read, the rest is one ``Unread``. What Python writes and JSON does
    not know (NaN, Infinity, halves of a pair of UTF-16) costs only its record, in a file that is small enough to be read whole.
    """
    number = 0
    with opened(path) as file:
        try:
            if prefix or _first_byte(file) == b"[":
                place = f"{prefix}.item" if prefix else "item"
                stream = ((None, value) for value in ijson.items(file, place, use_float=True))
            else:
                stream = ijson.kvitems(file, "", use_float=True)
            for key, value in stream:
                yield Found(
                    place=f"record {number}" if key is None else f"record {key!r}", value=value, key=key
                )
                number += 1
            return
        except (ijson.JSONError, ValueError, OverflowError, *_BROKEN) as error:
            reason = f"the JSON text breaks off or is damaged: {_short(error)}"
    rest = _by_python(path, prefix, number)
    if rest is None:
        yield Unread(source=str(path), place=f"after {number} records", reason=reason)
    else:
        yield from rest


class _Constant:
    """Stands for NaN or Infinity in a record."""


def _by_python(path: Path, prefix: str, start: int) -> list[Found | Unread] | None:
    """Return the records from number ``start`` on as Python's own parser reads them, ``None`` where it cannot either."""
    try:
        with opened(path) as file:
            data = file.read(RECORD_LIMIT + 1)
        value = None if len(data) > RECORD_LIMIT else json.loads(data, parse_constant=lambda _: _Constant())
    except (ValueError, RecursionError, *_BROKEN):
        return None
    if prefix:
        value = value.get(prefix) if isinstance(value, dict) else None
    if not isinstance(value, dict | list):
        return None
    keys = list(value) if isinstance(value, dict) else [None] * len(value)
    members = list(value.values()) if isinstance(value, dict) else value
    found: list[Found | Unread] = []
    for number in range(start, len(members)):
        key = keys[number]
        place = f"record {number}" if key is None else f"record {key!r}"
        if _holds_constant(members[number]):
            reason = "not JSON: NaN or Infinity is no JSON value"
            found.append(Unread(source=str(path), place=place, reason=reason))
        else:
            found.append(Found(place=place, value=members[number], key=key))
    return found


def _holds_constant(value: Any) -> bool:
    nodes = [value]
    while nodes:
        node = nodes.pop()
        if isinstance(node, _Constant):
            return True
        if isinstance(node, dict | list):
            nodes.extend(node.values() if isinstance(node, dict) else node)
    return False


def records(path: Path) -> Iterator[Found | Unread]:
    """Yield the records of a file that is JSON lines, an array of records, or one record."""
    with opened(path) as file:
        try:
            first = _first_byte(file)
            line = b"" if first == b"[" else file.readline(RECORD_LIMIT)
        except _BROKEN:
            first, line = b"", b""  # the reader of lines says what is wrong
    if first == b"[":
        return items(path)
    if first == b"{" and line.rstrip(_SPACE) and not line.rstrip(_SPACE).endswith(b"}"):
        return whole(path)
    return json_lines(path)


def _first_byte(file: IO[bytes]) -> bytes:
    """Return the first byte that is no space, and go back to the start."""
    while (byte := file.read(1)) and byte in _SPACE:
        pass
    file.seek(0)
    return byte


def _parsed(path: Path, place: str, data: bytes) -> Found | Unread:
    try:
        return Found(place=place, value=parse_json(data))
    except (ValueError, RecursionError) as error:
        return Unread(source=str(path), place=place, reason=f"not JSON: {_short(error)}")


def parse_json(text: bytes | str) -> Any:
    """Parse JSON by its standard: NaN and Infinity are refused with a ``ValueError``."""
    return json.loads(text, parse_constant=_refuse)


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON value")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def _depth_exceeds(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH_LIMIT):
        level = [
            one
            for node in level
            if isinstance(node, dict | list)
            for one in (node.values() if isinstance(node, dict) else node)
            if isinstance(one, dict | list)
        ]
        if not level:
            return False
    return True


def stem_of(path: Path) -> str:
    """Return a file's name without its endings.

    >>> stem_of(Path("runs/gpt-4o.json.gz"))
    'gpt-4o'
    """
    name = path.name
    for ending in (".gz", ".jsonl", ".json", ".traj", ".txt", ".eval", ".ndjson"):
        name = name.removesuffix(ending)
    return name


# --- values ---------------------------------------------------------------------------------------


def an_object(value: Any, what: str) -> dict[str, Any]:
    """Return a JSON object; anything else is a ``DataError`` that names ``what``."""
    if not isinstance(value, dict):
        raise DataError(f"{what} is {_kind(value)}; expected an object")
    return value


def a_list(value: Any, what: str) -> list[Any]:
    """Return a JSON array."""
    if not isinstance(value, list):
        raise DataError(f"{what} is {_kind(value)}; expected a list")
    return value


def a_text(value: Any, what: str) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise DataError(f"{what} is {_kind(value)}; expected text")
    return value


def a_number(value: Any, what: str) -> float:
    """Return a finite number; true and false count as 1 and 0."""
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{what} is {_kind(value)}; expected a finite number")
    return number


def maybe_number(value: Any, what: str) -> float | None:
    """Return a finite number, or ``None`` for none."""
    return None if value is None else a_number(value, what)


def a_flag(value: Any, what: str) -> bool:
    """Return true or false; the numbers 1 and 0 count as these."""
    if type(value) in (int, float) and value in (0, 1):
        return bool(value)
    if not isinstance(value, bool):
        raise DataError(f"{what} is {_kind(value)}; expected true or false")
    return value


def maybe_flag(value: Any, what: str) -> bool | None:
    """Return true, false, or ``None`` for none."""
    return None if value is None else a_flag(value, what)


def needed(record: dict[str, Any], name: str) -> Any:
    """Return a field that must be there."""
    if name not in record:
        raise DataError(
            f"the field {name!r} is missing; found {', '.join(map(repr, sorted(record)[:12])) or 'none'}"
        )
    return record[name]


def a_name(value: Any, what: str) -> str:
    """Return an identifier: text or a whole number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f"{what} is {_kind(value)}; expected text or a whole number")
    return str(value)[:500]


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", type(None): "null"}
    return names.get(type(value)) or repr(value)[:60]
