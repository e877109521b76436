"""Nothing that stood on a screen leaves, whatever the local agent writes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.guard.curtain import HIDDEN, PLAIN, behind, words_in

SEEN = ("Hugo - see you soon", "the door code is 92960331", "añö Ⅷ", "07:35 on", "Zoë Müller", "done")
ASKED = "set an alarm at 07:30 and tell Olga"
ATOMS = st.one_of(
    st.sampled_from(
        [*SEEN, "92960331", "9296", "0331", "HUGO", "hugo's", "92 96 03 31", "i", "done", "07:35"]
    ),
    st.sampled_from(["Olga", "07:30", "sent", "to", ASKED, "\u202e", "\x1b[2J", "${HOME}", "<b>", "\n", "_"]),
    st.text(max_size=12),
)
WORDS = st.lists(ATOMS, max_size=12).map(" ".join)


@given(WORDS)
def test_only_asked_and_plain_words_leave(words: str) -> None:
    told = behind(words, seen=SEEN, asked=ASKED)
    left = words_in(told.replace(HIDDEN, " "))
    shown = set().union(*map(words_in, SEEN))
    assert left <= words_in(ASKED) | (PLAIN - shown)
    assert re.fullmatch(r"[\w .,;:!?\[\]]*", told)
    assert len(told) <= 500


@given(WORDS, st.lists(st.text(min_size=1, max_size=30), max_size=6))
def test_no_word_of_any_screen_leaves_unless_it_was_asked(words: str, screens: list[str]) -> None:
    told = behind(f"{words} {' '.join(screens)}", seen=screens, asked=ASKED).replace(HIDDEN, " ")
    assert not (words_in(told) & set().union(*map(words_in, screens))) - words_in(ASKED)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("I set the alarm at 07:30.", "I set [...] alarm at 07:30."),
        ("Hugo says 92960331!", "[...]!"),
        ("told Olga: 9 2 9 6", "told Olga: [...]"),
        ("", ""),
    ],
)
def test_examples(words: str, told: str) -> None:
    assert behind(words, seen=(*SEEN, "the"), asked=ASKED) == told


def test_plain_words_are_plain() -> None:
    assert all(word.isascii() and word.isalpha() and word.islower() for word in PLAIN)
