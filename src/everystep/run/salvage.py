"""What can still be read of a damaged journal, without asking SQLite.

SQLite stops at the first page it cannot make sense of. A journal is append-only, so its table pages can be read
one by one: every whole event row of the database file, overlaid with the whole frames of the write-ahead
log (WAL), is found again wherever the damage is. The layout is the one of "Database File Format",
https://www.sqlite.org/fileformat2.html, sections 1.6 (b-tree pages), 2.1 (records) and 4 (the WAL).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everystep.core.trace import Event, Kind

PAGE_BYTES = 4096
"""Page size of every journal, also assumed where a damaged header no longer says it."""

_LEAF = 0x0D
_KINDS = {kind.value for kind in Kind}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One page image of a write-ahead log. ``commit`` marks the last frame of a transaction."""

    number: int
    page: int
    commit: bool
    intact: bool
    image: bytes


def wal_of(path: Path) -> Path:
    """Return where SQLite keeps the write-ahead log of the database ``path``."""
    return path.with_name(path.name + "-wal")


def frames(wal: bytes) -> Iterator[Frame]:
    """Yield the frames of a log. What is left of an older generation of the log is not intact.

    Each frame is checked against the checksum of the frame before it, so one damaged frame does not
    hide the ones that follow.
    """
    if len(wal) < 32:
        return
    magic, _, page_bytes, _, salt_1, salt_2, sum_1, sum_2 = struct.unpack(">8I", wal[:32])
    if magic not in (0x377F0682, 0x377F0683) or page_bytes not in {1 << n for n in range(9, 17)}:
        return
    order = ">" if magic & 1 else "<"
    words = struct.Struct(f"{order}{page_bytes // 4 + 2}I")
    size = 24 + page_bytes
    for number, start in enumerate(range(32, len(wal) - size + 1, size), start=1):
        page, commit, *salts, next_1, next_2 = struct.unpack(">6I", wal[start : start + 24])
        image = wal[start + 24 : start + size]
        if tuple(salts) != (salt_1, salt_2):
            yield Frame(number=number, page=page, commit=False, intact=False, image=image)
            continue
        found = _checksum(words.unpack(wal[start : start + 8] + image), sum_1, sum_2)
        yield Frame(
            number=number, page=page, commit=commit > 0, intact=found == (next_1, next_2), image=image
        )
        sum_1, sum_2 = next_1, next_2


def _checksum(words: tuple[int, ...], sum_1: int, sum_2: int) -> tuple[int, int]:
    pairs = iter(words)
    for first, second in zip(pairs, pairs, strict=True):
        sum_1 = (sum_1 + first + sum_2) & 0xFFFFFFFF
        sum_2 = (sum_2 + second + sum_1) & 0xFFFFFFFF
    return sum_1, sum_2


def wal_damage(path: Path) -> str | None:
    """Return what is wrong with the write-ahead log of ``path``, or ``None``.

    A log may end in the middle of a transaction: that is how a killed process leaves it, and nothing
    that was reported as written is in there. A damaged frame *before* a whole transaction is damage,
    because SQLite would silently drop everything after it.
    """
    wal = wal_of(path)
    if not wal.exists() or wal.stat().st_size == 0:
        return None
    content = wal.read_bytes()
    if len(content) >= 32 and _header_is_damaged(content):
        return "the header of its write-ahead log is damaged"
    broken = None
    for frame in frames(content):
        if not frame.intact and broken is None:
            broken = frame.number
        if broken is not None and frame.commit:
            return f"frame {broken} of its write-ahead log is damaged"
    return None


def _header_is_damaged(wal: bytes) -> bool:
    fields = struct.unpack(">8I", wal[:32])
    order = ">" if fields[0] & 1 else "<"
    return fields[0] not in (0x377F0682, 0x377F0683) or (
        _checksum(struct.unpack(f"{order}6I", wal[:24]), 0, 0) != fields[6:8]
    )


def readable(path: Path, after: int = 0) -> Iterator[Event]:
    """Yield the events after ``after`` that can still be read, up to the first one that cannot."""
    rows = _rows(path)
    seq = after + 1
    while seq in rows:
        time, kind, body = rows[seq]
        yield Event(seq=seq, time=time, kind=Kind(kind), body=body)
        seq += 1


def _rows(path: Path) -> dict[int, tuple[float, str, dict[str, Any]]]:
    data = path.read_bytes() if path.exists() else b""
    wal = wal_of(path).read_bytes() if wal_of(path).exists() else b""
    newer: dict[int, bytes] = {}
    pending: dict[int, bytes] = {}
    for frame in frames(wal):
        if frame.intact:
            pending[frame.page] = frame.image
        if frame.commit:
            newer.update(pending)
            pending.clear()

    def page_of(number: int) -> bytes:
        start = (number - 1) * PAGE_BYTES
        return newer.get(number) or data[start : start + PAGE_BYTES]

    rows = {}
    for number in sorted({*range(2, -(-len(data) // PAGE_BYTES) + 1), *newer}):
        for seq, values in _leaf(page_of(number), page_of):
            row = _row(values)
            if row is not None:
                rows[seq] = row
    return rows


def _row(values: list[Any]) -> tuple[float, str, dict[str, Any]] | None:
    if len(values) != 4 or values[2] not in _KINDS or not isinstance(values[1], int | float):
        return None
    try:
        body = json.loads(values[3])
    except (TypeError, ValueError):
        return None
    return (float(values[1]), values[2], body) if isinstance(body, dict) else None


def _leaf(page: bytes, page_of: Callable[[int], bytes]) -> Iterator[tuple[int, list[Any]]]:
    """Yield the row ids and values of a table leaf page; cells that make no sense are skipped."""
    if len(page) < 8 or page[0] != _LEAF:
        return
    count = int.from_bytes(page[3:5], "big")
    for place in range(8, min(8 + 2 * count, len(page) - 1), 2):
        start = int.from_bytes(page[place : place + 2], "big")
        try:
            yield _cell(page, start, page_of)
        except (IndexError, ValueError, struct.error):
            continue


def _cell(page: bytes, start: int, page_of: Callable[[int], bytes]) -> tuple[int, list[Any]]:
    length, start = _varint(page, start)
    row, start = _varint(page, start)
    most, least = PAGE_BYTES - 35, (PAGE_BYTES - 12) * 32 // 255 - 23
    local = length
    if length > most:
        local = least + (length - least) % (PAGE_BYTES - 4)
        local = local if local <= most else least
    payload = bytearray(page[start : start + local])
    following = int.from_bytes(page[start + local : start + local + 4], "big") if local < length else 0
    while len(payload) < length:
        overflow = page_of(following) if following else b""
        if len(overflow) < 4:
            raise ValueError("the overflow chain is broken")
        following = int.from_bytes(overflow[:4], "big")
        payload += overflow[4 : 4 + length - len(payload)]
    return row, _record(bytes(payload))


def _record(payload: bytes) -> list[Any]:
    end, place = _varint(payload, 0)
    serials = []
    while place < end:
        serial, place = _varint(payload, place)
        serials.append(serial)
    values, place = [], end
    for serial in serials:
        value, place = _value(payload, place, serial)
        values.append(value)
    return values


def _value(payload: bytes, place: int, serial: int) -> tuple[Any, int]:
    if serial in (0, 8, 9):
        return {0: None, 8: 0, 9: 1}[serial], place
    if serial == 7:
        return struct.unpack_from(">d", payload, place)[0], place + 8
    size = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}.get(serial) or (serial - 12) // 2
    content = payload[place : place + size]
    if len(content) != size or serial in (10, 11):
        raise ValueError("the record is cut off")
    if serial < 10:
        return int.from_bytes(content, "big", signed=True), place + size
    return (content.decode() if serial % 2 else content), place + size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for n in range(9):
        byte = data[place + n]
        if n == 8:
            return value << 8 | byte, place + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + n + 1
    raise ValueError("unreachable: a varint has at most nine bytes")
