"""Factors on advantages: shared out anew, at the old size."""

from __future__ import annotations

import pytest

from everystep.core.errors import LearnerError
from everystep.core.records import Sample
from everystep.learn.reweigh import reweighed


def row(*advantages: float) -> Sample:
    count = len(advantages)
    return Sample(ids=tuple(range(count)), policy_weight=(0.0,) + (1.0,) * (count - 1), advantage=advantages)


def test_factors_multiply_and_the_size_over_trained_tokens_stays() -> None:
    samples = [row(0.0, 3.0, 3.0), row(0.0, -4.0)]
    plain = reweighed(samples, [2.0, 0.5], same_size=False)
    assert [one.advantage for one in plain] == [(0.0, 6.0, 6.0), (0.0, -2.0)]
    kept = reweighed(samples, [2.0, 0.5])
    by = (34 / 76) ** 0.5  # (9 + 9 + 16) / (36 + 36 + 4)
    assert [one.advantage for one in kept] == [
        pytest.approx((0, 6 * by, 6 * by)),
        pytest.approx((0, -2 * by)),
    ]


def test_nothing_left_stays_nothing() -> None:
    assert reweighed([row(0.0, 1.0)], [0.0])[0].advantage == (0.0, 0.0)


def test_one_factor_a_sample() -> None:
    with pytest.raises(LearnerError, match="one each"):
        reweighed([row(0.0, 1.0)], [1.0, 2.0])
