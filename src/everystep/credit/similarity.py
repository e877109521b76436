"""Clusters of nearly equal texts: the published greedy definition, without trying every pair.

The definition: rows in order; each joins the first cluster of its scope whose first member has
``difflib.SequenceMatcher(None, text, member).ratio() >= threshold``, or founds one. That is quadratic in clusters, and
the ratio itself is slow. Three filters come before it: equal texts share an answer; two upper bounds of the ratio (lengths, and characters
regardless of order) are exact; and, unless ``exact``, a min-hash sketch of the texts' shingles proposes the candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from everystep.credit.grouping import IntArray
from everystep.credit.likeness import Pattern

SKETCH = 128
"""Entries of a sketch, a power of two: minima of the shingle hashes of one text, one a bucket."""

SHORT = 64
"""Texts with fewer characters have too few shingles for a sketch; they are compared with every cluster."""

KEPT = 2048
"""Prepared first members that are kept at a time."""

Sketches = npt.NDArray[np.uint64]
EMPTY = np.uint64(2**64 - 1)


def first_fit(
    texts: Sequence[str], scope_S: IntArray, *, threshold: float, exact: bool = False, autojunk: bool = True
) -> IntArray:
    """Number the clusters of ``texts`` inside each scope; ids count up over all scopes.

    ``autojunk`` is difflib's own default, under which the characters that fill a long text are not looked up; the
    published code leaves it on.
    """
    known: dict[tuple[int, str], int] = {}
    unique: list[str] = []
    scope: list[int] = []
    unique_S = np.empty(len(texts), dtype=np.int64)
    for row, (text, where) in enumerate(zip(texts, scope_S.tolist(), strict=True)):
        number = known.setdefault((where, text), len(unique))
        if number == len(unique):
            unique.append(text)
            scope.append(where)
        unique_S[row] = number
    finder = _Clusters(unique, threshold=threshold, sketched=not exact, autojunk=autojunk)
    cluster = np.array([finder.place(item, where) for item, where in enumerate(scope)], dtype=np.int64)
    return cluster[unique_S] if cluster.size else unique_S


def shingle_length(threshold: float) -> int:
    """Characters of a shingle: as many as scattered edits within ``threshold`` leave most shingles whole."""
    return int(np.clip(1 + (threshold - 0.6) / (1.0 - threshold), 2, 6))


def agreement(threshold: float, length: int, entries: int) -> int:
    """Of ``entries`` sketch entries, those that two texts within ``threshold`` share all but surely, even with scattered edits.

    An unmatched character spoils at most ``length`` shingles, which bounds the Jaccard index of the shingle sets from
    below; four standard deviations are left for the sketch.
    """
    shared = max(threshold - (length - 1) * (1.0 - threshold), 0.1)
    jaccard = shared / (2.0 - shared)
    return max(1, int(entries * jaccard - 4.0 * np.sqrt(entries * jaccard * (1.0 - jaccard))))


class _Clusters:
    """The clusters found so far, by scope, with what is needed to find candidates among them."""

    def __init__(self, texts: list[str], *, threshold: float, sketched: bool, autojunk: bool) -> None:
        self.texts = texts
        self.threshold = threshold
        self.autojunk = autojunk
        self.length = shingle_length(threshold)
        self.sketches, self.histograms, self.lengths = describe(texts, self.length, sketched=sketched)
        self.sketched_item = self.lengths >= SHORT if sketched else np.zeros(len(texts), dtype=np.bool_)
        self.patterns: dict[int, Pattern] = {}
        self.members: list[int] = []  # the first member of each cluster
        self.open: dict[int, list[int]] = {}  # scope to clusters that every text is compared with
        self.closed: dict[int, list[int]] = {}  # scope to clusters that are found through the index
        self.index: dict[
            int, dict[int, list[int]]
        ] = {}  # scope to sketch entry (bucket and minimum) to clusters

    def place(self, item: int, scope: int) -> int:
        candidates = self._candidates(item, scope)
        if candidates.size:
            candidates = candidates[self._possible(item, candidates)]
        text = self.texts[item]
        for cluster in candidates.tolist():
            if self._pattern(cluster).is_like(text, self.threshold):
                return int(cluster)
        return self._found(item, scope)

    def _pattern(self, cluster: int) -> Pattern:
        """The cluster's first member, prepared; the most recent ones are kept."""
        pattern = self.patterns.pop(cluster, None)
        if pattern is None:
            pattern = Pattern(self.texts[self.members[cluster]], autojunk=self.autojunk)
            if len(self.patterns) >= KEPT:
                del self.patterns[next(iter(self.patterns))]
        self.patterns[cluster] = pattern
        return pattern

    def _candidates(self, item: int, scope: int) -> IntArray:
        compared = self.open.get(scope, [])
        if not self.sketched_item[item]:
            return np.array(sorted(compared + self.closed.get(scope, [])), dtype=np.int64)
        index = self.index.get(scope, {})
        entries = self.sketches[item]
        filled = entries != EMPTY
        lists = sorted((index.get(value, []) for value in entries[filled].tolist()), key=len)
        needed = agreement(self.threshold, self.length, len(lists))
        # who shares `needed` entries is in one of all but `needed - 1` lists: the long ones, of boilerplate, are left out
        near = np.array(sorted(set().union(*lists[: len(lists) - needed + 1])), dtype=np.int64)
        if near.size:
            theirs = self.sketches[np.array(self.members, dtype=np.int64)[near]]
            near = near[((theirs == entries) & filled).sum(axis=1) >= needed]
        return np.union1d(near, np.array(compared, dtype=np.int64)).astype(np.int64)

    def _possible(self, item: int, candidates: IntArray) -> npt.NDArray[np.bool_]:
        """Whether the ratio can reach the threshold: at most every character that both have is matched."""
        first = np.array(self.members, dtype=np.int64)[candidates]
        both = self.lengths[first] + self.lengths[item]
        common = np.minimum(self.histograms[first], self.histograms[item]).sum(axis=1, dtype=np.int64)
        possible: npt.NDArray[np.bool_] = 2.0 * common >= self.threshold * both - 1e-9
        return possible

    def _found(self, item: int, scope: int) -> int:
        cluster = len(self.members)
        self.members.append(item)
        if not self.sketched_item[item]:
            self.open.setdefault(scope, []).append(cluster)
            return cluster
        self.closed.setdefault(scope, []).append(cluster)
        index = self.index.setdefault(scope, {})
        entries = self.sketches[item]
        for value in entries[entries != EMPTY].tolist():
            index.setdefault(value, []).append(cluster)
        return cluster


def describe(
    texts: Sequence[str], length: int, *, sketched: bool
) -> tuple[Sketches, npt.NDArray[np.int32], IntArray]:
    """Sketch, character histogram (over code points modulo 128) and length of every text; linear in characters."""
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    histograms = np.zeros((len(texts), 128), dtype=np.int32)
    sketches = np.full((len(texts) if sketched else 0, SKETCH), EMPTY, dtype=np.uint64)
    start = 0
    while start < len(texts):  # about a million characters at a time, to bound the memory
        stop = start + 1
        size = int(lengths[start])
        while stop < len(texts) and size + int(lengths[stop]) <= 1_000_000:
            size += int(lengths[stop])
            stop += 1
        points = np.frombuffer(
            "".join(texts[start:stop]).encode("utf-32-le", "surrogatepass"), dtype=np.uint32
        )
        owner = np.repeat(np.arange(stop - start), lengths[start:stop])
        flat = np.bincount(owner * 128 + (points & 127), minlength=(stop - start) * 128)
        histograms[start:stop] = flat.reshape(stop - start, 128)
        if sketched:
            sketches[start:stop] = _sketch(points, owner, stop - start, length)
        start = stop
    return sketches, histograms, lengths


def _sketch(points: npt.NDArray[np.uint32], owner: IntArray, size: int, length: int) -> Sketches:
    """One-permutation min-hash: shingle hashes fall into buckets by their top bits; each keeps its least."""
    out = np.full(size * SKETCH, EMPTY, dtype=np.uint64)
    if points.size >= length:
        ends = points.size - length + 1
        hashes = np.zeros(ends, dtype=np.uint64)
        for offset in range(length):
            hashes *= np.uint64(1_000_003)
            hashes += points[offset : offset + ends]
        hashes ^= hashes >> np.uint64(31)
        hashes *= np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
        hashes *= np.uint64(0xBF58476D1CE4E5B9)
        hashes ^= hashes >> np.uint64(32)
        whole = owner[:ends] == owner[length - 1 :]
        slot = owner[:ends] * SKETCH + (hashes >> np.uint64(65 - SKETCH.bit_length())).astype(np.int64)
        np.minimum.at(out, slot[whole], hashes[whole])
    return out.reshape(size, SKETCH)
