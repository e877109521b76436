"""Stored trajectories for tests of judges."""

from __future__ import annotations

from collections.abc import Sequence

from everystep.core.protocols import Environment
from everystep.core.records import Action, End, Observation, Step, Task, Trajectory


def written(
    texts: Sequence[str], *, name: str = "t", success: bool | None = None, task: str = "add up"
) -> Trajectory:
    """Return a trajectory of written steps; its observations and rewards carry marks that a judge may or may not see."""
    steps: list[Step] = []
    for index, text in enumerate(texts):
        steps.append(
            Step(
                id=f"{name}/{index}",
                parent=steps[-1].id if steps else None,
                index=index,
                observation=Observation(text=f"seen-{index}"),
                action=Action(text=text, valid=index % 2 == 0, reason=None if index % 2 == 0 else "refused"),
                reward=float(index),
                scores={"quality": 0.5},
            )
        )
    return Trajectory(
        id=name,
        task=Task(id="task", instruction=task, environment="none", reference="secret"),
        group="g",
        steps=tuple(steps),
        end=End.DONE if success else End.FAILED,
        outcome=None if success is None else float(success),
        success=success,
        final=Observation(text="the end"),
    )


def played(environment: Environment, task: Task, actions: Sequence[str], *, name: str = "p") -> Trajectory:
    """Return what acting in an environment leaves behind."""
    seen, steps, success = environment.reset(task), list[Step](), None
    for index, text in enumerate(actions):
        found = environment.step(environment.parse(text))
        steps.append(
            Step(
                id=f"{name}/{index}",
                parent=steps[-1].id if steps else None,
                index=index,
                observation=seen,
                action=Action(text=text, valid=found.valid, reason=found.reason),
                reward=found.reward,
                scores=found.scores,
            )
        )
        seen, success = found.observation, found.success
        if found.terminated or found.truncated:
            break
    return Trajectory(
        id=name,
        task=task,
        group="g",
        steps=tuple(steps),
        end=End.DONE if success else End.FAILED,
        success=success,
        final=seen,
    )
