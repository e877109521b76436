"""How well sequences of steps are foretold: the next step, and the rest, against all that were observed (Zhou et al., ACL 2023, arXiv 2305.17542).

A case is a start sequence, and what is right is everything that came after it in the held-out paths: several next steps, several completions. Definitions are those of the published
scripts; the held-out paths are ours.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from everystep.environments.reasoning.graph_paths import Start

T = TypeVar("T", bound=Hashable)


def f1_at(ranked: Sequence[T], right: Iterable[T], k: int = 3) -> float:
    """Return the F1 of the first ``k`` against the set of right ones.

    >>> f1_at(["a", "b", "c", "d"], {"a", "d"}), f1_at(["a"], {"a"})
    (0.4, 1.0)
    """
    first, known = ranked[:k], set(right)
    hits = sum(one in known for one in first)
    return 2 * hits / (len(first) + len(known)) if hits else 0.0


def edit_distance(one: Sequence[T], other: Sequence[T]) -> int:
    """Return the Levenshtein distance: the fewest insertions, deletions and substitutions.

    >>> edit_distance("kitten", "sitting")
    3
    """
    row = list(range(len(other) + 1))
    for number, item in enumerate(one, start=1):
        corner, row[0] = row[0], number
        for place, against in enumerate(other, start=1):
            corner, row[place] = (
                row[place],
                min(row[place] + 1, row[place - 1] + 1, corner + (item != against)),
            )
    return row[-1]


def edit_similarity(one: Sequence[T], other: Sequence[T]) -> float:
    """Return 1 - edit distance / the longer length; 1 for two empty sequences.

    >>> edit_similarity("ab", "abcd"), edit_similarity("", "")
    (0.5, 1.0)
    """
    longest = max(len(one), len(other))
    return 1 - edit_distance(one, other) / longest if longest else 1.0


def next_step(ranked: Sequence[str], start: Start) -> dict[str, float]:
    """Return ``acc@1`` (the first is a right one), ``f1@3``, and ``taken`` (the share of the held-out paths that took the first)."""
    best = ranked[0] if ranked else ""
    return {
        "acc@1": float(best in start.next),
        "f1@3": f1_at(ranked, start.next),
        "taken": start.next.get(best, 0) / sum(start.next.values()),
    }


def completed(made: Sequence[str], start: Start) -> dict[str, float]:
    """Return ``accuracy`` (it is one of the completions), the least ``edit_distance`` to one, and the highest ``edit_similarity``."""
    return {
        "accuracy": float(tuple(made) in start.completions),
        "edit_distance": float(min(edit_distance(made, one) for one in start.completions)),
        "edit_similarity": max(edit_similarity(made, one) for one in start.completions),
    }
