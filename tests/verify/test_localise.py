"""Where a trajectory went wrong: right reports, wrong ones at their rate, and the rule of the cut."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.errors import ConfigError, DataError
from everystep.verify.localise import Report, cut, localise, mistaken

lengths = st.lists(st.integers(1, 6), min_size=2, max_size=12)


@given(lengths)
def test_before_a_cut_every_step_brings_the_goal_nearer_and_the_step_at_the_cut_does_not(
    left: list[int],
) -> None:
    report = localise(False, left)
    parts = cut(report, len(left) - 1)
    assert all(left[at + 1] < left[at] for at in parts.positive)
    if parts.negative is not None:
        assert left[parts.negative + 1] >= left[parts.negative]
        assert parts.positive == tuple(range(parts.negative))
        assert report.first_error is not None
        assert report.first_error > 2
    if report.first_error is not None:
        assert min(left[report.first_error :]) >= left[report.first_error - 1]


def test_a_judge_errs_as_often_as_stated_and_never_says_what_is_right_then() -> None:
    for report in (Report(correct=True), Report(correct=False, first_error=3)):
        random = Random(1)
        told = [mistaken(report, 5, 0.3, random) for _ in range(4000)]
        wrong = [one for one in told if one != report]
        assert len(wrong) / len(told) == pytest.approx(0.3, abs=0.03)
        assert all(one.correct or one.first_error != report.first_error for one in wrong)
    assert mistaken(Report(correct=True), 5, 0.0, Random(0)) == Report(correct=True)
    called_well = sum(
        mistaken(Report(correct=False, first_error=3), 5, 1.0, Random(n)).correct for n in range(400)
    )
    assert called_well / 400 == pytest.approx(0.5, abs=0.1)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(DataError, match="counted from 1"):
        cut(Report(correct=False, first_error=0), 4)
    with pytest.raises(DataError, match="counted from 1"):
        cut(Report(correct=True, redundant=(5,)), 4)
    with pytest.raises(DataError, match="plan lengths"):
        localise(True, [1])
    with pytest.raises(ConfigError, match="rate"):
        mistaken(Report(correct=True), 3, 1.5, Random(0))
