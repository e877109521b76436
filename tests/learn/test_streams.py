"""Totals, normalisers, and the errors of bad samples."""

from __future__ import annotations

import numpy as np
import pytest

from everystep.core.errors import LearnerError
from everystep.core.protocols import Loss
from everystep.core.records import Sample
from everystep.learn.streams import check_options, coefficients, streams_of, totals_of

SHORT = Sample(ids=(1, 2, 3), policy_weight=(0.0, 1.0, 0.0), advantage=(0.0, 1.0, 0.0), rollout="a")
LONG = Sample(ids=(1, 2, 3, 4), policy_weight=(0.0, 1.0, 2.0, 1.0), advantage=(0.0,) * 4, rollout="b")
REST = Sample(ids=(5, 6), policy_weight=(0.0, 1.0), advantage=(0.0, 1.0), rollout="b")


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (Loss(), [[0, 1 / 2, 0], [0, 1 / 8, 2 / 8, 1 / 8], [0, 1 / 8]]),
        (Loss(aggregate="token"), [[0, 1 / 5, 0], [0, 1 / 5, 2 / 5, 1 / 5], [0, 1 / 5]]),
        (Loss(aggregate="sum"), [[0, 1 / 2, 0], [0, 1 / 2, 2 / 2, 1 / 2], [0, 1 / 2]]),
        (Loss(aggregate="constant", constant=10.0), [[0, 0.1, 0], [0, 0.1, 0.2, 0.1], [0, 0.1]]),
    ],
)
def test_aggregates(loss: Loss, expected: list[list[float]]) -> None:
    """Two rollouts, one of which has two samples: they share one mean."""
    batch = [SHORT, LONG, REST]
    found = coefficients(streams_of(batch), "policy", loss, totals_of(batch))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_totals_make_calls_add_up() -> None:
    batch = [SHORT, LONG, REST]
    totals = totals_of(batch)
    whole = coefficients(streams_of(batch), "policy", Loss(), totals)
    parts = [coefficients(streams_of([one]), "policy", Loss(), totals)[0] for one in batch]
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_stream_has_its_own_count() -> None:
    sample = Sample(
        ids=(1, 2, 3), policy_weight=(0.0, 1.0, 1.0), advantage=(0.0,) * 3, supervised_weight=(0.0, 0.0, 1.0)
    )
    assert totals_of([sample])["policy.tokens"] == 2
    assert totals_of([sample])["supervised.tokens"] == 1


@pytest.mark.parametrize(
    ("sample", "word"),
    [
        (Sample(ids=()), "no tokens"),
        (Sample(ids=(1, 2), policy_weight=(1.0,)), "policy_weight has 1 values for 2"),
        (Sample(ids=(1, 2), policy_weight=(1.0, 1.0)), "position 0"),
        (Sample(ids=(1, 2), advantage=(0.0, float("nan")), rollout="r7"), r"'r7'.*advantage\[1\] is nan"),
        (Sample(ids=(1, 2), logprobs=(0.0, float("-inf"))), "logprobs"),
        (Sample(ids=(1, 2), allowed={1: (3, 4)}), r"allowed\[1\]"),
        (Sample(ids=(1, 2), step_of=(1,)), "step_of"),
        (Sample(ids=(1, 2), temperature=0.0), "temperature"),
    ],
)
def test_a_bad_sample_is_named(sample: Sample, word: str) -> None:
    with pytest.raises(LearnerError, match=word):
        streams_of([sample])


ONE = (0.0, 1.0)


@pytest.mark.parametrize(
    ("sample", "loss", "word"),
    [
        (Sample(ids=(1, 2), policy_weight=ONE), Loss(), "advantage"),
        (Sample(ids=(1, 2), policy_weight=ONE, advantage=ONE), Loss(), "logprobs"),
        (Sample(ids=(1, 2), reference_weight=ONE, reference_logprobs=ONE), Loss(), "kl"),
        (Sample(ids=(1, 2), reference_weight=ONE), Loss(kl="k3", kl_coefficient=0.1), "reference_logprobs"),
        (Sample(ids=(1, 2), supervised_weight=ONE), Loss(kl="k3", kl_coefficient=0.1), "no sample"),
        (Sample(ids=(1, 2), value_weight=ONE, value_target=ONE), Loss(), "loss.value"),
    ],
)
def test_an_option_without_its_stream_is_refused(sample: Sample, loss: Loss, word: str) -> None:
    with pytest.raises(LearnerError, match=word):
        check_options(streams_of([sample]), [sample], loss)
