"""Character BLEU-4: golden numbers, and what it must be whatever the texts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.credit.overlap import character_bleu

TEXTS = st.text(alphabet="ab( c", max_size=24)


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("hello world", "hello word", 0.807056),
        ("ctrl c", "ctrl v", 0.759836),
        ("hello word", "hello world", 0.817613),  # shorter than the reference: (2/3)^(1/4) exp(1 - 11/10)
        ("abc", "abc", 0.0),
        ("", "abcd", 0.0),
        ("abcd", "", 0.0),
        ("abcd", "abcd", 1.0),
    ],
)
def test_golden_numbers(text: str, reference: str, expected: float) -> None:
    assert character_bleu(text, reference) == pytest.approx(expected, abs=5e-7)


def test_smoothing_stands_for_matches_that_there_are_not() -> None:
    """abcd against abce: 3/4, 2/3, 1/2 and, in place of 0/1, 0.1/1."""
    assert character_bleu("abcd", "abce") == 0.0
    assert character_bleu("abcd", "abce", smoothing=0.1) == pytest.approx(
        (3 / 4 * 2 / 3 * 1 / 2 * 0.1) ** 0.25
    )
    # Two characters: orders 3 and 4 have no run at all and count as 0.1 of 1.
    assert character_bleu("ab", "ab", smoothing=0.1) == pytest.approx(0.1**0.5)
    assert character_bleu("xyz", "abc", smoothing=0.1) == 0.0
    with pytest.raises(ConfigError, match="smoothing=-1"):
        character_bleu("a", "b", smoothing=-1)


def test_repeats_count_as_often_as_the_reference_has_them() -> None:
    assert character_bleu("aaaaaaaa", "aaaa", smoothing=0.0) == pytest.approx(
        (4 / 8 * 3 / 7 * 2 / 6 * 1 / 5) ** 0.25
    )


@given(TEXTS, TEXTS)
def test_it_lies_between_nothing_and_everything(text: str, reference: str) -> None:
    plain, smoothed = character_bleu(text, reference), character_bleu(text, reference, smoothing=0.1)
    assert 0.0 <= plain <= smoothed <= 1.0 + 1e-12
    assert math.isclose(character_bleu(text, text), float(len(text) >= 4))
