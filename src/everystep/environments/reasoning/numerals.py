"""Whole numbers as words: a digit is a word, so a small vocabulary spells every number."""

from __future__ import annotations

import re

DIGITS_LIMIT = 40
"""Numbers with more digits than this are refused."""

NUMBER = r"-?\s*[0-9](?:\s*[0-9])*"
"""A regular expression for a number, spaced or not."""

_NUMBER = re.compile(NUMBER)


def spell(number: int) -> str:
    """Write a number with its digits apart.

    >>> spell(-407)
    '- 4 0 7'
    """
    return " ".join(str(number))


def read(text: str) -> int | None:
    """Read a number, spaced or not; ``None`` if it is not one or has over 40 digits.

    >>> read("4 0 7"), read("-12"), read("4x")
    (407, -12, None)
    """
    if not _NUMBER.fullmatch(text.strip()):
        return None
    joined = "".join(text.split())
    return int(joined) if len(joined) <= DIGITS_LIMIT else None
