"""GiGPO (S11): the trajectory's outcome, plus each step compared with steps from the same state.

Paper: Feng et al. 2025, Group-in-Group Policy Optimization (arXiv:2505.10978), eqs. 3 to 8. Claim: more than
12 points over GRPO on ALFWorld and 9 on WebShop at the same rollouts, without a critic.

Certain (released code): the formula, discount 0.95, weight 1, singleton states give 0. ``paper`` takes outcome statistics
over trajectories; ``released`` over step rows, so long trajectories weigh more, and subtracts 0.1 for an invalid action.
Left out: duplicating rows to pad a batch before its statistics (it distorts them).

    everystep train gigpo

Measured against GRPO, five paired seeds, tuned rates (docs/recipes/gigpo.md has commands and curves): BabyAI, end +0.010 [0.003, 0.017],
area +0.002 [-0.016, 0.013]; KeyDoor, end -0.017 [-0.045, 0.013]. The published gain does not show on these short tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from everystep.core.protocols import Logger
from everystep.credit.estimators import estimator
from everystep.learn.config import Training, policy_loss
from everystep.learn.method import Method, train
from everystep.run.folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Training):
    """GiGPO: credit of the trajectory, and of each step among the steps from the same state."""

    variant: str = "paper"
    """paper, or released (statistics over step rows, penalty for invalid actions)."""
    discount: float = 0.95
    """Discount of the return that steps from one state are compared by."""
    step_weight: float = 1.0
    """Weight of the step term."""
    normaliser: str = "norm"
    """norm divides by the deviation, centre does not."""


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Train; return the last held-out numbers."""
    credit = estimator(
        "gigpo",
        config.variant,
        discount=config.discount,
        weight=config.step_weight,
        normaliser=config.normaliser,
    )
    return train(config, Method(estimator=credit, loss=policy_loss(config)), folder, loggers=loggers)
