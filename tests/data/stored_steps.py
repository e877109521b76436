"""Stored steps of known content for the tests of filters and pairs."""

from __future__ import annotations

from pathlib import Path

from everystep.core.records import (
    Action,
    End,
    Level,
    Observation,
    Step,
    StepCredit,
    Task,
    Trajectory,
    Verdict,
)
from everystep.core.trace import Kind, ending_of
from everystep.run.journal import Journal


def episode(
    name: str,
    acts: tuple[str, ...],
    *,
    task: str = "t",
    outcome: float | None = 1.0,
    rewards: tuple[float | None, ...] = (),
    invalid: tuple[int, ...] = (),
    scores: tuple[dict[str, float], ...] = (),
    prefix: tuple[Step, ...] = (),
) -> Trajectory:
    steps = list(prefix)
    for n, act in enumerate(acts):
        index = len(steps)
        steps.append(
            Step(
                id=f"{name}/{index}",
                parent=steps[-1].id if steps else None,
                index=index,
                observation=Observation(text=f"you see room {index}"),
                action=Action(text=act, valid=n not in invalid, reason="cannot" if n in invalid else None),
                reward=rewards[n] if rewards else None,
                scores=scores[n] if scores else {},
            )
        )
    success = None if outcome is None else outcome == 1.0
    return Trajectory(
        id=name,
        task=Task(id=task, instruction=f"do {task}", environment="toy"),
        group=task,
        steps=tuple(steps),
        end=End.DONE if success else End.FAILED,
        outcome=outcome,
        success=success,
        final=Observation(text="the end"),
    )


def journal_of(
    path: Path,
    trajectories: list[Trajectory],
    *,
    verdicts: list[tuple[str, str, float]] = [],  # noqa: B006 - never changed
    credits: list[StepCredit] = [],  # noqa: B006, A002
    levels: Level = Level.STEP,
) -> Path:
    done: set[str] = set()
    with Journal.create(path, {"command": "test"}) as journal:
        for one in trajectories:
            if one.task.id not in done:
                done.add(one.task.id)
                journal.append(Kind.TASK, one.task)
            for step in one.steps:
                if step.id not in done:
                    done.add(step.id)
                    journal.append(Kind.STEP, step)
            journal.append(Kind.TRAJECTORY, ending_of(one, phase="train"))
        for judge, target, score in verdicts:
            journal.append(
                Kind.VERDICT,
                Verdict(
                    level=levels,
                    targets=(target,),
                    judge=judge,
                    score=score,
                    label="bad" if score < 0.5 else "good",
                ),
            )
        for one in credits:
            journal.append(Kind.CREDIT, one)
    return path
