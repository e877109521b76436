"""Warm start: demonstrations of the environment's oracle, and imitating them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from everystep.core.errors import WorldError
from everystep.core.ledger import Ledger
from everystep.core.protocols import Learner, Loss, Sampling
from everystep.core.records import End, Sample, Trajectory
from everystep.learn.schedules import scale
from everystep.learn.setup import Setup
from everystep.run.demonstrate import demonstrator
from everystep.run.measure import reasons
from everystep.run.rollout import jobs_of, rollout, seed_of

WARM_SHARE = 20
"""The learning rate rises over the first of this many parts of the imitation."""


FIRST_DEMONSTRATION = 1 << 28
"""The number of the first demonstrated task, far from those of the reinforcement."""


def demonstrate(setup: Setup, ledger: Ledger) -> list[Trajectory]:
    """Return the demonstrations of a run, without tokens. They are the same for the same seed.

    Their tasks come from the end of the training split's numbers, apart from those of the
    reinforcement where the split allows it. Raises ``WorldError`` when not one could be made.
    """
    config = setup.config
    if not config.demonstrations:
        return []
    size = setup.world.size("train")
    first = FIRST_DEMONSTRATION if size is None else -config.demonstrations
    tasks = [
        setup.world.task("train", (first + index) % (size or 1 << 29))
        for index in range(config.demonstrations)
    ]
    seed = seed_of(config.seed, "demonstrations")
    trajectories = rollout(
        setup.hosts,
        demonstrator(setup.hosts, error_rate=config.demonstration_errors, habit=config.demonstration_habit),
        jobs_of(tasks, group_size=1, prefix="demo", seed=seed),
        sampling=Sampling(),
        limits=setup.limits,
        ledger=ledger,
    )
    ledger.add(demonstrations=len(trajectories))
    whole = [one for one in trajectories if one.end is not End.ERROR and one.steps]
    if not whole:
        raise WorldError(f"no demonstration could be made: {reasons(trajectories)}")
    return whole


def turns_of(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """Return every step as a trajectory of its own, as if its observation were the first."""
    return [
        replace(one, id=step.id, steps=(replace(step, parent=None, index=0),))
        for one in trajectories
        for step in one.steps
    ]


def imitate(
    learner: Learner,
    samples: Sequence[Sample],
    *,
    first: int,
    last: int,
    updates: int,
    batch: int,
    learning_rate: float,
    seed: int,
) -> dict[str, float]:
    """Do the updates ``first`` to ``last`` (excluded) of ``updates`` and return the mean of their numbers.

    Each update draws its samples from the seed and its number, so a part can be done again.
    """
    loss = Loss(policy="reinforce", aggregate="token")
    gathered: dict[str, list[float]] = {}
    for number in range(first, last):
        rng = np.random.default_rng(seed_of(seed, "imitate", number))
        chosen = rng.choice(len(samples), size=min(batch, len(samples)), replace=False)
        metrics = learner.forward_backward([samples[index] for index in chosen], loss)
        rate = learning_rate * scale("linear", number, updates, warmup=updates // WARM_SHARE)
        metrics |= learner.optim_step(learning_rate=rate)
        for name, value in metrics.items():
            gathered.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in gathered.items()}
