"""How good a localisation is: whether a right file, a right unit is the first, or among the first five."""

from __future__ import annotations

from collections.abc import Collection, Sequence

PLACES = (1, 5)


def hits(ranked: Sequence[str], right: Collection[str], name: str) -> dict[str, float]:
    """Return for the first place and the first five whether one of ``right`` is there.

    >>> hits(["a", "b"], {"b"}, "file")
    {'file top-1': 0.0, 'file top-5': 1.0}
    """
    return {f"{name} top-{k}": float(any(one in right for one in ranked[:k])) for k in PLACES}


def by_chance(count: int, right: int) -> dict[int, float]:
    """Return the chance that of the first 1 and 5 in a random order of ``count`` at least one is among ``right`` right ones.

    >>> by_chance(10, 1)
    {1: 0.1, 5: 0.5}
    """
    found = {}
    for k in PLACES:
        miss = 1.0
        for drawn in range(min(k, count)):
            miss *= max(0, count - right - drawn) / (count - drawn)
        found[k] = round(1 - miss, 12)
    return found
