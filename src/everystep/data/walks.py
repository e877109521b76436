"""Trajectories of what a reader found: turns become steps in a chain, what has no place of its own is kept in ``final``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from everystep.core.records import Action, End, Json, Observation, Step, Task, Trajectory

RECORD = "record"
"""Key in the final observation's ``info`` of what a source says about a run that no field of a trajectory holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What was seen and what was answered, before it is a step."""

    observation: Observation
    action: Action
    reward: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    agent: str = "agent"
    cost: Mapping[str, float] = field(default_factory=dict)


def chain(name: str, turns: Iterable[Turn], *, after: tuple[Step, ...] = ()) -> tuple[Step, ...]:
    """Return the steps of turns, each the child of the one before; they go on from the steps ``after``."""
    steps = list(after)
    for turn in turns:
        steps.append(
            Step(
                id=f"{name}/{len(steps)}",
                parent=steps[-1].id if steps else None,
                index=len(steps),
                observation=turn.observation,
                action=turn.action,
                reward=turn.reward,
                scores=turn.scores,
                agent=turn.agent,
                cost=turn.cost,
            )
        )
    return tuple(steps)


def finished(
    name: str,
    task: Task,
    steps: tuple[Step, ...],
    *,
    outcome: float | None,
    success: bool | None,
    cut_off: bool = False,
    error: str | None = None,
    group: str = "",
    seed: int = 0,
    final: Observation | None = None,
    record: Mapping[str, Json] | None = None,
) -> Trajectory:
    """Return a trajectory. ``cut_off`` says that a limit ended it; ``record`` is kept in the final observation's ``info``."""
    if record:
        seen = final or Observation(text="")
        final = Observation(text=seen.text, anchor=seen.anchor, info={**seen.info, RECORD: dict(record)})
    return Trajectory(
        id=name,
        task=task,
        group=group or task.id,
        steps=steps,
        end=_end(success, outcome, cut_off=cut_off, error=error),
        outcome=outcome,
        success=success,
        seed=seed,
        error=error,
        final=final,
    )


def _end(success: bool | None, outcome: float | None, *, cut_off: bool, error: str | None) -> End:
    """An imported run whose outcome nobody wrote down counts as cut off: its outcome was not decided."""
    if error is not None:
        return End.ERROR
    if success:
        return End.DONE
    return End.TRUNCATED if cut_off or (success is None and outcome is None) else End.FAILED
