"""Policy updates: from trajectories with credit to optimiser steps. It knows no method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from everystep.core.ledger import Ledger
from everystep.core.protocols import Learner, Loss
from everystep.core.records import Sample


def update(
    learner: Learner,
    samples: Sequence[Sample],
    loss: Loss,
    *,
    learning_rate: float,
    epochs: int,
    minibatches: int,
    rng: np.random.Generator,
    ledger: Ledger,
) -> dict[str, float]:
    """Pass ``epochs`` times over ``samples`` in ``minibatches`` shuffled parts; return the mean of the numbers.

    The samples of a pair stay together.

    The first update's ratio to the sampler is reported as ``first_ratio_max``: it should be 1.
    """
    gathered: list[Mapping[str, float]] = []
    together: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        together.setdefault(sample.pair or f"\0{index}", []).append(index)
    units = list(together.values())
    for _ in range(epochs):
        order = rng.permutation(len(units))
        for chosen in np.array_split(order, min(minibatches, len(units))):
            part = [index for unit in chosen for index in units[unit]]
            metrics = learner.forward_backward([samples[index] for index in part], loss)
            metrics |= learner.optim_step(learning_rate=learning_rate)
            ledger.add(updates=1, trained_tokens=sum(len(samples[index].ids) for index in part))
            gathered.append(metrics)
    names = dict.fromkeys(name for metrics in gathered for name in metrics)
    mean = {name: float(np.mean([one[name] for one in gathered if name in one])) for name in names}
    if "ratio_max" in gathered[0]:
        mean["first_ratio_max"] = gathered[0]["ratio_max"]
    return mean
