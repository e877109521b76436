"""Texts as tokens: the shape of an action, and what several texts have in common at both ends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

_TOKEN = re.compile(r"[^\W\d_]+ \d+(?!\w)|\w+|\s+|[^\w\s]")
_VERB = re.compile(r"\w+")

Shape: TypeAlias = tuple[str, int]
"""The first token of an action and the number of its tokens."""


def text_tokens(text: str) -> list[str]:
    """Return the tokens of a text; together they are the text.

    >>> text_tokens("You open the desk 1.")
    ['You', ' ', 'open', ' ', 'the', ' ', 'desk 1', '.']
    """
    return _TOKEN.findall(text)


def tokens_of(text: str) -> tuple[str, ...]:
    """Return the tokens of an action: its first word, then words, and names with a number as one token.

    >>> tokens_of("take mug 1 from desk 2")
    ('take', ' ', 'mug 1', ' ', 'from', ' ', 'desk 2')
    """
    text = text.strip()
    verb = _VERB.match(text)
    if verb is None:
        return tuple(text_tokens(text))
    return (verb[0], *text_tokens(text[verb.end() :]))


def shape_of(tokens: Sequence[str]) -> Shape:
    """Return the shape of an action."""
    return (tokens[0] if tokens else "", len(tokens))


def fixed_columns(actions: Iterable[Sequence[str]]) -> dict[Shape, list[bool]]:
    """Return for each shape which of its tokens are the same in all actions of that shape."""
    first: dict[Shape, Sequence[str]] = {}
    fixed: dict[Shape, list[bool]] = {}
    for tokens in actions:
        shape = shape_of(tokens)
        known = first.setdefault(shape, tokens)
        columns = fixed.setdefault(shape, [True] * len(tokens))
        for place, token in enumerate(tokens):
            if columns[place] and token != known[place]:
                columns[place] = False
    return fixed


def joined(parts: Iterable[str | int]) -> tuple[str | int, ...]:
    """Return the parts with neighbouring texts put together.

    >>> joined(["go", " ", "to", " ", 0])
    ('go to ', 0)
    """
    merged: list[str | int] = []
    for part in parts:
        if merged and isinstance(part, str) and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return tuple(merged)


@dataclass(slots=True)
class Ends:
    """The longest beginning and end that token sequences have in common; while all are ``alike`` the beginning is the whole.

    >>> both = Ends()
    >>> both.add(["a", "b", "a"])
    >>> both.add(["a", "a"])
    >>> both.begins, both.ends
    (['a'], ['a'])
    """

    begins: list[str | int] = field(default_factory=list)
    ends: list[str | int] = field(default_factory=list)
    alike: bool = True
    empty: bool = True

    def add(self, tokens: list[str | int]) -> None:
        """Take one more sequence into account."""
        if self.empty:
            self.begins, self.empty = tokens, False
        elif not self.alike or tokens != self.begins:
            tail = self.begins if self.alike else self.ends
            shorter = min(len(tokens), len(self.begins)) if self.alike else len(tokens)
            count = _common(self.begins, tokens)
            last = min(_common(tail[::-1], tokens[::-1]), shorter - count)
            self.begins, self.ends, self.alike = self.begins[:count], tail[len(tail) - last :], False


def _common(one: Sequence[str | int], other: Sequence[str | int]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
