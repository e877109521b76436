"""A curtain before a screen: words go out only if whoever asked said them before, or if they are plain words that were not on the screen.

A list of what may leave is safe where a list of what may not would never be complete: names, numbers and codes are on
no list. Limit: an agent that works against its owner could still answer by which of the allowed words it picks.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

HIDDEN = "[...]"
"""What stands for words that stay behind the curtain."""

_WORD = re.compile(r"\w+")
_PARTS = re.compile(r"\w+|[.,;:!?]")
PLAIN = frozenset(
    """
    a about again all already also an and any are as asked at be because been before but by can cannot could did do does
    done down each else end ended errand errands every failed few first for found from get gone had has have here how i if in
    into is it its last left less made many me missing more most much my need needed next no none not nothing now of off
    on once one only open opened or other out over page part phone please put ready right same saved screen second see seen
    sent set several should so some still stopped such task than that the their them then there these they third this
    those though to told too tried try turned under understood unknown until up us was way we were what when where which
    while who why will with without wrong yes yet you your app changed added replied wrote wanted exists exist knows
    """.split()  # noqa: SIM905 -- two hundred words are read more easily so
)
"""Words that say how it went and nothing about whom or what."""


def words_in(text: str) -> set[str]:
    """Return the words of a text in one spelling.

    >>> sorted(words_in("Call Ada: 555-01"))
    ['01', '555', 'ada', 'call']
    """
    return set(_WORD.findall(_folded(text)))


def behind(text: str, *, seen: Iterable[str], asked: str, longest: int = 500) -> str:
    """Return ``text`` without what stays behind the curtain.

    A word stays in it if it is one of ``asked`` (what the other side said itself), or one of ``PLAIN`` that is in none of the texts
    in ``seen``. Everything else, and every sign but ordinary punctuation, is left out.

    >>> behind("I sent Ada the code 4411.", seen=["code 4411", "Ada"], asked="tell Ada")
    'I sent Ada the [...].'
    """
    own = words_in(asked)
    shown = set().union(*(words_in(one) for one in seen))
    kept: list[str] = []
    for part in _PARTS.findall(unicodedata.normalize("NFKC", text[: 4 * longest])):
        folded = part.casefold()
        if not _WORD.fullmatch(part):
            if kept[-1:] == [HIDDEN] or (kept and _WORD.fullmatch(kept[-1])):
                kept.append(part)
        elif folded in own or (folded in PLAIN and folded not in shown):
            kept.append(part)
        elif kept[-1:] != [HIDDEN]:
            kept.append(HIDDEN)
    told = re.sub(r" ([.,;:!?])", r"\1", " ".join(kept))
    told = re.sub(r"(\d): (\d)", r"\1:\2", told)
    return told if len(told) <= longest else told[:longest].rsplit(" ", 1)[0]


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
