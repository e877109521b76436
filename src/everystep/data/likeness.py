"""Near duplicates by min-hash: sketches of 8-byte shingles, bands, and an estimate of the Jaccard likeness.

A. Broder, On the resemblance and containment of documents, 1997. The sketch of a walk is the minimum of its steps' sketches, so that
shingles do not cross steps and branches cost nothing more. Sketches lie in a file; memory holds the array of one band.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

ENTRIES = 64
_SHINGLE = 8
_RNG = np.random.default_rng(0x5E9)
_FACTOR = _RNG.integers(1, 2**63, ENTRIES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_SHIFT = np.uint64(32)
_BLOCK = 1 << 16
EMPTY = np.uint32(2**32 - 1)

Sketches = npt.NDArray[np.uint32]


def sketch_texts(texts: pa.Array) -> Sketches:
    """Return the sketches of texts, a row each. A text shorter than a shingle counts as one that is filled up."""
    padded = [(one or "").encode(errors="replace").ljust(_SHINGLE, b"\0") for one in texts.to_pylist()]
    sketches = np.empty((len(padded), ENTRIES), dtype=np.uint32)
    first = 0
    while first < len(padded):
        last, size = first, 0
        while last < len(padded) and (last == first or size + len(padded[last]) <= _BLOCK):
            size += len(padded[last])
            last += 1
        sketches[first:last] = _sketch(padded[first:last])
        first = last
    return sketches


def _sketch(texts: list[bytes]) -> Sketches:
    """Hash every shingle, leave out those that run over the end of a text, and take the minimum a text."""
    joined = np.frombuffer(b"".join(texts), dtype=np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(joined, _SHINGLE)
    word = np.ascontiguousarray(windows).view(np.uint64).ravel()
    word = word ^ (word >> np.uint64(29))
    word = word * np.uint64(0x9E3779B97F4A7C15)
    word = word ^ (word >> np.uint64(32))
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    inside = np.ones(len(word), dtype=bool)
    for back in range(1, _SHINGLE):
        over = starts[1:] - back
        inside[over] = False
    word = word[inside]
    counts = lengths - _SHINGLE + 1
    begins = np.concatenate(([0], np.cumsum(counts)[:-1]))
    found = np.empty((len(texts), ENTRIES), dtype=np.uint32)
    for entry in range(ENTRIES):
        mixed = ((word * _FACTOR[entry]) >> _SHIFT).astype(np.uint32)
        found[:, entry] = np.minimum.reduceat(mixed, begins)
    return found


def rows_a_band(near: float) -> int:
    """Return how many entries a band has, so that pairs of likeness ``near`` share a band almost surely.

    >>> rows_a_band(0.9), rows_a_band(0.5)
    (4, 2)
    """
    for rows in (16, 8, 4, 2):
        if 1 - (1 - near**rows) ** (ENTRIES // rows) >= 0.99:
            return rows
    return 1


def near_earlier(sketches: Sketches, scope: npt.NDArray[np.uint64], near: float) -> npt.NDArray[np.int64]:
    """Return for each row the earlier row that it is alike to, or -1.

    Rows are compared with the first row of each bucket that they share, inside their scope; ``near`` is the least share of
    equal entries. Linear in the rows for each band.
    """
    count = len(sketches)
    found = np.full(count, -1, dtype=np.int64)
    width = rows_a_band(near)
    for band in range(ENTRIES // width):
        part = np.ascontiguousarray(sketches[:, band * width : (band + 1) * width]).astype(np.uint64)
        key = scope.astype(np.uint64)
        for column in part.T:
            key = (key ^ column) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(31)
        _, first, place = np.unique(key, return_index=True, return_inverse=True)
        against = first[place]
        todo = np.flatnonzero((against < np.arange(count)) & (found < 0))
        for begin in range(0, len(todo), _BLOCK):
            rows = todo[begin : begin + _BLOCK]
            share = (sketches[rows] == sketches[against[rows]]).mean(axis=1)
            alike = rows[(share >= near) & (scope[rows] == scope[against[rows]])]
            found[alike] = against[alike]
    return found


def sketch_file(path: Path, rows: int) -> Sketches:
    """Return an array in a file, filled with empty sketches."""
    array: Sketches = np.memmap(path, dtype=np.uint32, mode="w+", shape=(max(1, rows), ENTRIES))
    for begin in range(0, rows, _BLOCK):
        array[begin : begin + _BLOCK] = EMPTY
    return array
