"""Character BLEU: how much of one text stands in another, by runs of one to four characters.

Papineni et al. 2002 on characters instead of words: uniform weights, clipped counts, brevity penalty; case, spaces and punctuation count as they are.
Scores of other versions (words, other smoothing) are other numbers, so name the version where a score is kept.
"""

from __future__ import annotations

import math
from collections import Counter

from everystep.core.errors import ConfigError

CHARACTER_BLEU = "character-bleu-4/1"
"""The version, to be written beside scores: orders 1 to 4, no smoothing."""
CHARACTER_BLEU_SMOOTHED = "character-bleu-4-epsilon-0.1/1"
"""The same with ``smoothing=0.1``."""

ORDER = 4


def character_bleu(text: str, reference: str, *, smoothing: float = 0.0) -> float:
    """Return the BLEU-4 of ``text`` against ``reference`` on characters, 0 to 1. It is not symmetric.

    Without ``smoothing`` an order without any match makes the score 0, so strings shorter than 4 characters have 0 even where they
    are equal (the reward of SEAgent's released code). ``smoothing`` counts so many matches for such an order (method 1 of Chen and Cherry 2014);
    0.1 is what SPORT's released code uses. Texts without a common character have 0 either way.

    >>> round(character_bleu("hello world", "hello word"), 6), round(character_bleu("ctrl c", "ctrl v"), 6)
    (0.807056, 0.759836)
    >>> character_bleu("tap", "tap")
    0.0
    """
    if smoothing < 0:
        raise ConfigError(f"smoothing={smoothing!r}; expected 0 or more.")
    logs = 0.0
    for order in range(1, ORDER + 1):
        own, theirs = _runs(text, order), _runs(reference, order)
        matches: float = (own & theirs).total()
        if not matches:
            if order == 1 or not smoothing:
                return 0.0
            matches = smoothing
        logs += math.log(matches / max(1, own.total())) / ORDER
    return math.exp(logs + min(0.0, 1.0 - len(reference) / len(text)))


def _runs(text: str, order: int) -> Counter[str]:
    return Counter(text[at : at + order] for at in range(len(text) - order + 1))
