"""SRGPO (S37): the outcome, plus a process reward compared inside random blocks of steps.

Paper: SeeNav-Agent (Step Reward Group Policy Optimization). Claim: steadier and faster than GRPO and GiGPO on navigation, since
a process reward that does not depend on the state can be compared with any other step's.

Certain (released code): the process reward is 1 if the distance to the target fell, else 0; it is not discounted; all
steps of the batch are shuffled into blocks of 16, whatever their task; weight 0.5. ``released`` takes outcome statistics over step
rows and subtracts 0.1 for an invalid action. Ours: the random blocks are drawn from the run's seed, the world is
KeyDoor, whose score ``closer`` is that reward (getting nearer to the key, taking it, getting nearer to the door).
Left out: the visual prompt and the vision-language model (S37's other half), the penalty for long answers, and the
option "within task", which has no effect in the released code and has one here.
SRGPO sees more than GRPO and GiGPO do. The fair arms add the same reward to theirs: ``process.closer=1``.

    everystep train srgpo
    everystep compare grpo grpo:process.closer=1 gigpo:process.closer=1 srgpo --environment keydoor --set options.side=4 ...

Measured on KeyDoor, five paired seeds (docs/recipes/srgpo.md has the commands). Swept rates: end 0.454 [0.379, 0.511]; over GRPO that sees the process
reward +0.043 [-0.018, 0.101], area +0.050 [0.012, 0.098]. One rate, equal RMS: end +0.044 [0.033, 0.060], area +0.032 [0.025, 0.045].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from everystep.core.protocols import Logger
from everystep.core.records import Json
from everystep.credit.estimators import estimator
from everystep.learn.config import Training, policy_loss
from everystep.learn.method import Method, train
from everystep.run.folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Training):
    """SRGPO: credit of the trajectory, and of each step's process reward among random other steps."""

    environment: str = "keydoor"
    """Where the agent acts; it needs the process reward as a step score."""
    options: dict[str, Json] = field(default_factory=lambda: {"side": 4, "horizon": 14})
    """Options of the environment."""
    demonstration_errors: float = 0.35
    """Share of the demonstrator's actions that are not the oracle's: a clumsy teacher leaves room to learn."""
    demonstration_habit: str | None = None
    """What the demonstrator does instead, or how that begins, where that is admissible; none for a random other action."""
    demonstrations: int = 2000
    """Episodes of the environment's oracle to imitate before reinforcement; 0 for none."""
    turn_updates: int = 800
    """Updates of the imitation on single turns, which come first: a small model learns to read there."""
    warm_updates: int = 200
    """Updates of the imitation on whole episodes."""
    iterations: int = 40
    """Rounds of reinforcement: roll out, credit, update."""
    learning_rate: float = 4e-3
    """Peak learning rate of the reinforcement."""
    tasks: int = 8
    """Fresh tasks an iteration."""

    variant: str = "paper"
    """paper, or released (statistics over step rows, penalty for invalid actions)."""
    score: str = "closer"
    """The step score that is the process reward."""
    step_weight: float = 0.5
    """Weight of the step term."""
    block: int | None = 16
    """Steps in a random block; none puts the whole batch into one."""
    within: str = "batch"
    """What a block is drawn from: batch, task or trajectory."""


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Train; return the last held-out numbers."""
    credit = estimator(
        "srgpo",
        config.variant,
        score=config.score,
        weight=config.step_weight,
        block=config.block,
        within=config.within,
    )
    return train(config, Method(estimator=credit, loss=policy_loss(config)), folder, loggers=loggers)
