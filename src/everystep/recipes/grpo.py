"""GRPO: the outcome of a trajectory, compared with the other attempts at its task.

Paper: Shao et al. 2024, DeepSeekMath (arXiv:2402.03300), section 4.1.2. The advantage of every token
is ``(R - mean) / std`` over the group. It is the baseline of every comparison here.

Ours: losses are averaged per rollout, a group of one or of equal outcomes gives no credit, and there is no
reference model unless ``kl_coefficient`` is set.

    everystep train grpo

Measured on BabyAI, five seeds, 80 iterations: held-out success 0.31 to 0.864 [0.828, 0.885] (docs/recipes/gigpo.md).
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
    """GRPO: one credit for a whole trajectory, from its group."""

    variant: str = "paper"
    """paper, or released: a group of one keeps its raw outcome."""


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Train; return the last held-out numbers."""
    method = Method(estimator=estimator("grpo", config.variant), loss=policy_loss(config))
    return train(config, method, folder, loggers=loggers)
