"""Advantages of finished samples, multiplied by a factor of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from everystep.core.errors import LearnerError
from everystep.core.records import Sample


def reweighed(samples: Sequence[Sample], factors: Sequence[float], *, same_size: bool = True) -> list[Sample]:
    """Return ``samples`` with all advantages multiplied by the sample's factor.

    With ``same_size`` all are scaled such that the root mean square over trained tokens is as before: what is left is how the advantages are
    shared out, not a larger or smaller step. Raises ``LearnerError`` unless there is one factor a sample.
    """
    if len(factors) != len(samples):
        raise LearnerError(f"{len(factors)} factors for {len(samples)} samples; give one each.")
    made = [
        replace(sample, advantage=tuple(one * float(factor) for one in sample.advantage))
        for sample, factor in zip(samples, factors, strict=True)
    ]
    before, after = _size(samples), _size(made)
    if not same_size or not after:
        return made
    return [
        replace(sample, advantage=tuple(one * before / after for one in sample.advantage)) for sample in made
    ]


def _size(samples: Sequence[Sample]) -> float:
    """Return the root mean square of the advantages of trained tokens."""
    found = [
        one
        for sample in samples
        for one, weight in zip(sample.advantage, sample.policy_weight, strict=True)
        if weight
    ]
    return float(np.sqrt(np.mean(np.square(found)))) if found else 0.0
