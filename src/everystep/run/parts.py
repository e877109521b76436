"""What a run is made of, what bounds it, and how it ends. Every part can be replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from everystep.core.acts import ApprovalRequest
from everystep.core.errors import ConfigError
from everystep.core.protocols import Gate, Observer, Recall, StepVerifier
from everystep.core.records import Action, End, Observation, Task, Verdict
from everystep.run.context import Digest
from everystep.run.decide import Role
from everystep.run.nodes import Edit, Node
from everystep.run.plan import Plan

UNMET = "the step was checked and did not do what it should"
"""What the agent is told of a failed step whose verdict gives no reason."""


class Planner(Protocol):
    """Grows and mends a plan while it runs; each edit is journalled before it counts.

    ``expand`` is asked for a composite node that is ready (and once for an empty plan, with no node), ``repair`` when a node failed.
    No edits mean that nothing can be done.
    """

    async def expand(
        self, task: Task, plan: Plan, node: Node | None, observation: Observation
    ) -> Sequence[Edit]: ...

    async def repair(
        self, task: Task, plan: Plan, node: Node, why: str, observation: Observation
    ) -> Sequence[Edit]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often one step is tried again, by cause, before its node fails. ``model`` breaks pause the run instead."""

    flagged: int = 1
    cap: int = 0
    infeasible: int = 2
    refused: int = 2
    failed: int = 2

    def allows(self, cause: str, times: int) -> bool:
        """Return whether a step may be tried again after failing ``times`` times of this cause."""
        return times <= int(getattr(self, cause))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a run is made of. ``operator`` decides; everything else is optional.

    ``feasible`` is asked before an act, ``verifiers`` after it: a failed step is taken back where the environment can
    (``Snapshots``), and told to the agent either way. ``complete`` says after a step whether the goal of its plan node is reached.
    ``finish`` returns the result where an action says that the goal of its node is reached: such an action ends the node and is not acted on.
    ``digest`` folds steps that leave the window. ``in_doubt`` says what to do with an act that may have happened before a crash and
    cannot be checked: ``ask`` (pause), ``skip`` (take it as done) or ``repeat``.
    """

    operator: Role
    feasible: tuple[StepVerifier, ...] = ()
    verifiers: tuple[StepVerifier, ...] = ()
    complete: StepVerifier | None = None
    finish: Callable[[Action], str | None] | None = None
    gate: Gate | None = None
    recall: Recall | None = None
    planner: Planner | None = None
    digest: Digest | None = None
    patience: Patience = field(default_factory=Patience)
    observers: tuple[Observer, ...] = ()
    in_doubt: str = "ask"

    def __post_init__(self) -> None:
        if self.in_doubt not in ("ask", "skip", "repeat"):
            raise ConfigError(f"in_doubt is {self.in_doubt!r}; it must be ask, skip or repeat.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits of a run. ``invalid`` ends it after so many invalid actions in a row. ``parallel`` nodes run at a time."""

    max_steps: int | None = None
    invalid: int | None = None
    parallel: int = 1
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        for name, low in (("max_steps", 1), ("invalid", 1), ("parallel", 1), ("checkpoint_every", 1)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise ConfigError(f"{name} is {value!r}; it must be {low} or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended. ``end`` is ``None`` for a run that paused and can be resumed; ``why`` says what it waits for."""

    run: str
    end: End | None
    success: bool | None
    steps: int
    reward: float
    observation: Observation
    why: str = ""
    waiting: ApprovalRequest | None = None
    cost: Mapping[str, float] = field(default_factory=dict)


class Over(Exception):  # noqa: N818
    """The run ends, or pauses where ``end`` is ``None``. Only the runner and its course raise it, and only ``run`` catches it."""

    def __init__(self, end: End | None, why: str = "", waiting: ApprovalRequest | None = None) -> None:
        super().__init__(why)
        self.end, self.why, self.waiting = end, why, waiting


def fails(verifier: StepVerifier, verdict: Verdict) -> bool:
    """Return whether a verdict is below what its verifier asks for; one without a score says nothing."""
    return verdict.score is not None and verdict.score < verifier.threshold
