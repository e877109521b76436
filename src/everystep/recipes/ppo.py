"""PPO with a critic: each step is credited by how much better it went than the critic had foretold.

Papers: Schulman et al. 2017, Proximal Policy Optimization (arXiv:1707.06347), eqs. 7 and 9; advantages of Schulman et al. 2016
(arXiv:1506.02438), eq. 16, over steps and not over tokens. A baseline beside GRPO, which has no critic.

Ours: the critic is one linear layer on the policy's own network, zero at the start, trained with it by the squared error to the
lambda-return; its values are not clipped. An episode that was cut off goes on with the critic's value of what it saw last. Advantages are
whitened over the iteration. Every rollout is of another task: there is no group to compare with.

    everystep train ppo

Measured on BabyAI by this command with --seed 0, 1, 2 (100 iterations, about 102,000 environment steps, 135 s on a quiet core): held-out
success 0.328, 0.309, 0.328 to 0.805, 0.879, 0.859. GRPO's default run on these seeds ends at 0.844, 0.883, 0.875 (docs/default_run.md): no
better with a critic here, which explains only 0.11 to 0.16 of the variance of its targets at the end. Its rate and weight were not swept.
The critic shares the network and the clipped gradient, and rewards are not scaled: BabyAI's are at most 1. Not tried with larger ones.
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
    """PPO: credit from a critic that is trained beside the policy."""

    tasks: int = 128
    """Fresh tasks an iteration."""
    group_size: int = 1
    """Attempts at each task."""
    critic: float = 0.5
    """Weight of the critic's loss."""


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Train; return the last held-out numbers."""
    credit = estimator("gae", discount=config.critic_discount, trace=config.critic_trace)
    return train(config, Method(estimator=credit, loss=policy_loss(config)), folder, loggers=loggers)
