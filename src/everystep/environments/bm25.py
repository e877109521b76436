"""Finding entries by their words: BM25 over a store that fits in memory (Robertson and Zaragoza 2009, eq. 3.15).

For large stores use ``everystep.evolve.memory``, which keeps the index in SQLite.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_WORD = re.compile(r"\w+")
_SATURATION = 1.2
_LENGTH = 0.75


@dataclass(frozen=True, slots=True)
class Index:
    """For each word the entries that have it, with its weight there."""

    postings: Mapping[str, tuple[tuple[int, float], ...]]


def index_of(entries: Sequence[str]) -> Index:
    """Return the index of ``entries``. Words are compared in lower case, without stemming."""
    counts = [Counter(_WORD.findall(entry.lower())) for entry in entries]
    lengths = [sum(count.values()) for count in counts]
    mean = sum(lengths) / max(1, len(lengths)) or 1.0
    having = Counter(word for count in counts for word in count)
    postings: dict[str, list[tuple[int, float]]] = {}
    for number, (count, length) in enumerate(zip(counts, lengths, strict=True)):
        scale = _SATURATION * (1 - _LENGTH + _LENGTH * length / mean)
        for word, times in count.items():
            rarity = math.log(1 + (len(entries) - having[word] + 0.5) / (having[word] + 0.5))
            postings.setdefault(word, []).append(
                (number, rarity * times * (1 + _SATURATION) / (times + scale))
            )
    return Index({word: tuple(found) for word, found in postings.items()})


def best(index: Index, query: str, k: int) -> tuple[int, ...]:
    """Return the numbers of the ``k`` best entries, best first, the earlier one among equals; entries without a word of the query never.

    >>> best(index_of(["ada has home lima", "bob has home oslo", "oslo has dish rice"]), "home of bob", 2)
    (1, 0)
    """
    scores: dict[int, float] = {}
    for word in dict.fromkeys(_WORD.findall(query.lower())):
        for number, weight in index.postings.get(word, ()):
            scores[number] = scores.get(number, 0.0) + weight
    return tuple(sorted(scores, key=lambda number: (-scores[number], number))[: max(0, k)])
