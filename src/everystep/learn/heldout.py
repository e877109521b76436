"""The held-out test of a training run."""

from __future__ import annotations

from everystep.core.errors import WorldError
from everystep.core.ledger import Ledger
from everystep.core.protocols import Sampler, Sampling
from everystep.core.records import Trajectory
from everystep.learn.setup import Setup
from everystep.run.measure import reasons, summary, wilson
from everystep.run.rollout import jobs_of, rollout


def held_out(setup: Setup, sampler: Sampler, *, name: str) -> tuple[dict[str, float], list[Trajectory]]:
    """Test on the held-out tasks, once at the training temperature and once greedily.

    The tasks and the seeds are the same at every test, and its steps are not charged to training.
    Broken episodes do not count. Returns the numbers and the trajectories at the training temperature; raises
    ``WorldError`` when every episode broke.
    """
    config = setup.config
    size = setup.world.size("test")
    count = config.test_tasks if size is None else min(size, config.test_tasks)
    if count == 0:
        return {}, []
    tasks = [setup.world.task("test", index) for index in range(count)]
    numbers: dict[str, float] = {}
    kept: list[Trajectory] = []
    for label, temperature in (("heldout", config.temperature), ("heldout_greedy", 0.0)):
        trajectories = rollout(
            setup.hosts,
            sampler,
            jobs_of(tasks, group_size=1, prefix=f"{name}-{label}", seed=config.seed),
            sampling=Sampling(temperature=temperature, max_tokens=config.max_tokens),
            limits=setup.limits,
            constrain=config.constrain,
            ledger=Ledger(),
        )
        values = summary(trajectories)
        whole = round(count * (1 - values["errors"]))
        if whole == 0:
            raise WorldError(f"every held-out episode broke: {reasons(trajectories)}.")
        low, high = wilson(values["success"], whole)
        numbers |= {
            f"{label}_success": values["success"],
            f"{label}_low": low,
            f"{label}_high": high,
            f"{label}_steps": values["steps"],
        }
        kept = kept or trajectories
    return numbers, kept
