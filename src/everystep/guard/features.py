"""Texts as numbers without a model: hashed words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"[^\W_]+")


def words(text: str, most: int = 256) -> list[str]:
    """Return the first words of a text, lower case.

    >>> words("Open the door_1!")
    ['open', 'the', 'door', '1']
    """
    return [match[0].lower() for match, _ in zip(_WORD.finditer(text), range(most), strict=False)]


def bucket(feature: str, size: int) -> int:
    """Return the place of a feature among ``size``: the same in every process."""
    return int.from_bytes(blake2b(feature.encode("utf-8", "replace"), digest_size=8).digest(), "big") % size


def embedded(text: str, size: int = 32) -> NDArray[np.float64]:
    """Return a vector [size] of length 1 for a text: its words hashed with signs (the hashing trick), 0 for no words."""
    vector = np.zeros(size)
    for word in words(text):
        place = bucket(word, 2 * size)
        vector[place // 2] += 1.0 if place % 2 else -1.0
    norm = float(np.linalg.norm(vector))
    return vector / norm if norm else vector


def stacked(texts: Sequence[str], size: int = 32) -> NDArray[np.float64]:
    """Return the vectors [len(texts), size] of some texts."""
    return np.stack([embedded(text, size) for text in texts]) if texts else np.zeros((0, size))
