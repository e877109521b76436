"""The options of a training run. Recipes change the defaults and add their own."""

from __future__ import annotations

from dataclasses import dataclass, field

from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.protocols import Loss
from everystep.core.records import Json
from everystep.learn.schedules import SCHEDULES


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What every recipe that trains shares. Each field is a flag of ``everystep train``."""

    environment: str = "babyai"
    """Where the agent acts; `everystep environments` lists them."""
    options: dict[str, Json] = field(default_factory=dict)
    """Options of the environment, such as level=GoToLocal."""
    model: str = "tiny:0.1M"
    """`tiny:SIZE` makes a small model on the spot; else a checkpoint folder or a name such as smollm2-135m-instruct."""
    device: str = "cpu"
    """Where the model runs: cpu, cuda, cuda:1."""
    lora_rank: int = 0
    """Train low-rank adapters of this rank; 0 trains all weights."""
    seed: int = 0
    """Everything random derives from it."""

    demonstrations: int = 3000
    """Episodes of the environment's oracle to imitate before reinforcement; 0 for none."""
    demonstration_errors: float = 0.85
    """Share of the demonstrator's actions that are not the oracle's: a clumsy teacher leaves room to learn."""
    demonstration_habit: str | None = "forward"
    """What the demonstrator does instead, or how that begins, where that is admissible; none for a random other action."""
    turn_updates: int = 1500
    """Updates of the imitation on single turns, which come first: a small model learns to read there."""
    turn_batch: int = 64
    """Turns an update."""
    turn_learning_rate: float = 5e-3
    """Peak learning rate on single turns (linear, with a short warm-up)."""
    warm_updates: int = 700
    """Updates of the imitation on whole episodes."""
    warm_batch: int = 16
    """Demonstrations an update."""
    warm_learning_rate: float = 4e-3
    """Peak learning rate on whole episodes (linear, with a short warm-up)."""

    iterations: int = 100
    """Rounds of reinforcement: roll out, credit, update."""
    tasks: int = 16
    """Fresh tasks an iteration."""
    group_size: int = 8
    """Attempts at each task; they are compared with each other."""
    learning_rate: float = 3e-3
    """Peak learning rate of the reinforcement."""
    schedule: str = "linear"
    """constant, linear or cosine."""
    epochs: int = 1
    """Passes over each iteration's rollouts."""
    minibatches: int = 1
    """Updates a pass."""
    process: dict[str, float] = field(default_factory=dict)
    """Step scores of the environment that are added to the rewards, with their weights, such as closer=0.1."""
    parts: dict[str, float] = field(default_factory=dict)
    """Step scores whose mean over an episode is added to its outcome, with their weights, such as executed=1."""
    match_rms: float | None = None
    """Rescale the advantages of each iteration to this root mean square: the control arm of a comparison."""

    temperature: float = 1.0
    """Sampling temperature of rollouts and of the held-out test."""
    constrain: bool = True
    """Choose among the admissible actions where the environment lists them."""
    max_tokens: int = 64
    """Longest answer, in tokens, where it is not constrained."""
    max_steps: int | None = None
    """Longest episode; by default the environment's own limit."""

    loss: str = "ppo"
    """The policy loss: ppo, cispo, gspo (ratio per rollout), step (ratio per step), importance or reinforce."""
    clip_low: float = 0.2
    """How far the ratio may fall below 1."""
    clip_high: float = 0.2
    """How far the ratio may rise above 1."""
    dual_clip: float = 0.0
    """Bound of ppo's loss where the advantage is negative, above 1; 0 for none."""
    kl_coefficient: float = 0.0
    """Weight of the divergence (k3) from the model at the start of reinforcement; 0 for none."""
    entropy: float = 0.01
    """Weight of the entropy bonus."""
    critic: float = 0.0
    """Weight of the loss of a critic that is trained beside the policy, on the same network; 0 for none. The credit must read it."""
    critic_discount: float = 1.0
    """Discount of the returns that the critic foretells, and of the advantages made with it."""
    critic_trace: float = 0.95
    """How far advantages and targets trust the rewards (1) or the critic (0): lambda of the generalised advantage."""
    aggregate: str = "token"
    """How token losses are averaged: rollout, token, sum or constant."""
    packing: str = "rows"
    """How a batch is laid out: rows, tree (shared prefixes once) or padded; the gradient is the same."""
    tokens_per_batch: int = 0
    """Cells of a micro-batch whose gradients are gathered; 0 chooses by device."""
    bf16: bool = False
    """Compute in bfloat16 with float32 weights, on a GPU."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    clip_norm: float = 1.0
    """Largest gradient norm."""

    test_tasks: int = 256
    """Held-out tasks of each test."""
    test_every: int = 20
    """Iterations between two tests."""
    checkpoint_every: int = 1
    """Iterations between two checkpoints."""
    workers: int = 0
    """Processes for the environments; 0 runs them in this one."""

    def __post_init__(self) -> None:
        for name, least in (
            ("demonstrations", 0),
            ("turn_updates", 0),
            ("turn_batch", 1),
            ("warm_updates", 0),
            ("warm_batch", 1),
            ("iterations", 0),
            ("tasks", 1),
            ("group_size", 1),
            ("epochs", 1),
            ("minibatches", 1),
            ("test_tasks", 0),
            ("test_every", 1),
            ("checkpoint_every", 1),
            ("max_tokens", 1),
            ("workers", 0),
            ("lora_rank", 0),
        ):
            value = getattr(self, name)
            if value < least:
                raise ConfigError(f"{name} is {value!r}; it must be {least} or more.")
        if self.max_steps is not None and self.max_steps < 1:
            raise ConfigError(f"max_steps is {self.max_steps!r}; it must be 1 or more, or be left out.")
        if self.schedule not in SCHEDULES:
            raise ConfigError(f"schedule is {self.schedule!r}. {did_you_mean(self.schedule, SCHEDULES)}")
        if self.lora_rank and self.model.startswith("tiny:"):
            raise ConfigError("lora_rank needs a checkpoint to adapt; a tiny model trains all its weights.")
        for name, weight in (*self.process.items(), *self.parts.items()):
            if isinstance(weight, bool) or not isinstance(weight, int | float):
                raise ConfigError(f"the weight of step score {name!r} is {weight!r}; it must be a number.")
        if not self.temperature > 0:
            raise ConfigError(f"temperature is {self.temperature!r}; training needs a temperature above 0.")
        if self.critic < 0:
            raise ConfigError(f"critic is {self.critic!r}; it must be 0 or more.")
        for name in ("critic_discount", "critic_trace"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be from 0 to 1.")
        if self.minibatches > self.tasks * self.group_size:
            raise ConfigError(
                f"minibatches is {self.minibatches!r}, more than the {self.tasks * self.group_size} rollouts "
                "of an iteration. Lower it, or raise tasks or group_size."
            )


def policy_loss(config: Training) -> Loss:
    """Return the clipped policy loss that the shared options describe."""
    return Loss(
        policy=config.loss,
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        dual_clip=config.dual_clip,
        aggregate=config.aggregate,
        kl="k3" if config.kl_coefficient else "none",
        kl_coefficient=config.kl_coefficient,
        entropy=config.entropy,
        value=config.critic,
    )
