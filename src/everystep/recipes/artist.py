"""ARTIST (S01): the outcome alone teaches when to call which tool; what tools wrote is never trained.

Paper: Agentic Reasoning and Tool Integration for LLMs via Reinforcement Learning (ARTIST). Claim: up to 22 points over the base model,
and deeper tool use on harder tasks.

No code of the authors was found. From secondary texts: reasoning, calls, tool output and answer stand in one row of tokens; the
advantage is GRPO's; tool output is masked; the reward is the plain sum of answer, format and tool execution. From
memory only: tool execution as the share of calls that succeed. Ours: tool output is out of length normalisation and divergence
too; a trajectory without calls gets 0 for execution; the world, ToolChain, with a shown table, operands that a tiny model
does not reckon, and answers that can be chosen at any time, one of ``answers`` right. A tool's result stands in a tool message
after the turn that called, since this world runs a call when the turn ends. The teacher has the skill and lacks the
strategy: it copies results without fault, but mostly guesses where it should call.
Left out: prompts, the 7B and 14B models; function-calling cases (BFCL, FTRL) come with their worlds.

    everystep train artist                          the published way
    everystep train artist --no-mask-tool-output    tool output trained as if the model had written it
    everystep compare artist artist:options.tools=false     no tools: the agent must answer at once

Measured (docs/recipes/artist.md): the default command, seed 0, 121 s, 256 held-out tasks: sampled 12 % untrained, 32 % after imitation, 87 % at the
end; greedy 12 %, 21 %, 90 %. Five paired seeds, end: no tools 0.248 [0.223, 0.273], output trained 0.730 [0.660, 0.778], output masked
0.832 [0.780, 0.871]; mask against no mask +0.102 [0.064, 0.131].
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
    """ARTIST: outcome credit over turns with tool calls, tool output masked."""

    environment: str = "toolchain"
    """Where the agent acts."""
    options: dict[str, Json] = field(
        default_factory=lambda: {
            "turns": 3,
            "fewest": 1,
            "digits": 2,
            "items": 3,
            "answers": 4,
            "choices": 4,
            "shown": True,
            "notes": True,
            "partial": 0,
            "rules": False,
        }
    )
    """Options of the environment."""
    demonstration_errors: float = 0.6
    """Share of the demonstrator's actions that are not the oracle's: a clumsy teacher leaves room to learn."""
    demonstration_habit: str | None = "answer"
    """What the demonstrator does instead, or how that begins: it guesses an answer where it should call a tool."""
    demonstrations: int = 8000
    """Episodes of the environment's oracle to imitate before reinforcement; 0 for none."""
    turn_updates: int = 900
    """Updates of the imitation on single turns, which come first: a small model learns to read there."""
    warm_updates: int = 200
    """Updates of the imitation on whole episodes."""
    iterations: int = 40
    """Rounds of reinforcement: roll out, credit, update."""
    test_every: int = 10
    """Iterations between two tests."""
    parts: dict[str, float] = field(default_factory=lambda: {"format": 1.0, "executed": 1.0})
    """Step scores whose mean over an episode is added to its outcome: the share of well-formed turns, and of calls that ran."""

    mask_tool_output: bool = True
    """Keep tool output out of the loss; without the mask it is trained as if the model had written it."""


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Train; return the last held-out numbers."""
    method = Method(
        estimator=estimator("grpo"),
        loss=policy_loss(config),
        tool_output=not config.mask_tool_output,
    )
    return train(config, method, folder, loggers=loggers)
