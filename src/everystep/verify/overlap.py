"""How much two texts have in common by their words: recall of a reference answer, and the cosine of TF-IDF vectors.

Deterministic stand-ins for an embedding model. A real one is any function of two texts: ``Similarity``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Similarity = Callable[[str, str], float]
"""How alike two texts are, 1 for equal ones."""

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_ARTICLES = frozenset({"a", "an", "the"})
_NUMBERS = {"zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"}  # fmt: skip


def answer_words(text: str) -> list[str]:
    """Return the words of an answer: lower case, without punctuation and articles, numbers up to ten as digits.

    >>> answer_words("The two cities: Lima, Oslo!")
    ['2', 'cities', 'lima', 'oslo']
    """
    words = (word for word in _WORD.findall(text.lower()) if word not in _ARTICLES)
    return [_NUMBERS.get(word, word) for word in words]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Shared words over the words said (``precision``), over those of the reference (``recall``), and their harmonic mean."""

    precision: float = 0.0
    recall: float = 0.0
    f1: float = 0.0


def overlap(said: str, reference: str) -> Overlap:
    """Return how far the words of two answers agree, words that come twice counted twice; nothing said, or nothing expected, is 0."""
    have, want = answer_words(said), answer_words(reference)
    common = sum((Counter(have) & Counter(want)).values())
    if not common:
        return Overlap()
    precision, recall = common / len(have), common / len(want)
    return Overlap(precision=precision, recall=recall, f1=2 * precision * recall / (precision + recall))


def best_overlap(said: str, references: Sequence[str]) -> Overlap:
    """Return the overlap with the reference of the highest F1, the first among equals. Its recall need not be the highest."""
    return max((overlap(said, one) for one in references), key=lambda found: found.f1, default=Overlap())


def tf_idf(texts: Iterable[str]) -> Similarity:
    """Return the cosine of word counts weighted by rarity in ``texts``: ``ln((1 + N) / (1 + n)) + 1``, and a word of none the most.

    >>> alike = tf_idf(["ada home", "bob home", "bob age"])
    >>> round(alike("ada home", "bob home"), 3), round(alike("ada home", "home of ada"), 3)
    (0.428, 0.665)
    """
    rarity, size = Counter[str](), 0
    for text in texts:
        size += 1
        rarity.update(set(_WORD.findall(text.lower())))

    def vector(text: str) -> dict[str, float]:
        counts = Counter(_WORD.findall(text.lower()))
        return {
            word: times * (math.log((1 + size) / (1 + rarity[word])) + 1) for word, times in counts.items()
        }

    def alike(one: str, other: str) -> float:
        first, second = vector(one), vector(other)
        scale = math.hypot(*first.values()) * math.hypot(*second.values())
        shared = sum(weight * second.get(word, 0.0) for word, weight in first.items())
        return min(1.0, shared / scale) if scale else 0.0

    return alike
