"""Questions about a trajectory, with their answers: seven kinds of training items from one walk.

The kinds are those of Step-GUI (arXiv:2512.15431). Six of them are knowledge: how far one is, what is seen, what an action leads to, whether it was right, whether
the goal is reached, which action makes a change. The seventh is the action itself. An item is a trajectory of one step, the question its
observation and the answer its action, so whatever learns from trajectories learns from items; an action item is the whole walk with its history.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import StrEnum

from everystep.core.errors import DataError
from everystep.core.records import Action, End, Observation, Step, Task, Trajectory

RIGHT, WRONG, NOTHING = "right", "wrong", "nothing"
"""What a question about a judgement is answered with."""


class Kind(StrEnum):
    """What an item asks."""

    PROGRESS = "progress"  # which of the actions so far brought the goal nearer
    SUMMARY = "summary"  # what the screen shows, in short
    EFFECT = "effect"  # what the screen shows after an action
    REFLECTION = "reflection"  # whether an action is right
    VERIFICATION = "verification"  # whether the goal is reached
    INTENT = "intent"  # which action leads from one screen to another
    ACTION = "action"  # which action the goal needs


KNOWLEDGE = frozenset(Kind) - {Kind.ACTION}
"""The kinds that a failed trajectory may yield."""

WORDS = (*Kind, RIGHT, WRONG, NOTHING)
"""The words that items need beside those of the trajectories: what a tiny tokenizer must know."""


def yielded(success: bool | None) -> frozenset[Kind]:
    """Return the kinds that a trajectory yields by its outcome: all where it is a success, never the action where it is not.

    >>> Kind.ACTION in yielded(True), Kind.ACTION in yielded(False), Kind.ACTION in yielded(None)
    (True, False, False)
    """
    return frozenset(Kind) if success else KNOWLEDGE


def items(
    trajectory: Trajectory,
    kinds: Collection[Kind],
    *,
    right: Mapping[str, bool],
    reached: bool | None,
    brief: Callable[[str], str],
) -> Iterable[Trajectory]:
    """Yield the knowledge items of ``trajectory``, of the asked ``kinds`` only; what is unknown is not asked.

    ``right`` says of each step, by id, whether somebody thinks it right; ``reached`` whether the goal was reached at the end; ``brief`` shortens a
    screen. Raises ``DataError`` for the action, which is no question beside the walk: imitate the trajectory itself.
    """
    if Kind.ACTION in kinds:
        raise DataError("an action item is the trajectory itself, with its history. Ask for the other kinds.")
    good: list[str] = []
    for number, step in enumerate(trajectory.steps):
        seen, did = step.observation.text, step.action.text
        after = (
            trajectory.steps[number + 1].observation
            if number + 1 < len(trajectory.steps)
            else trajectory.final
        )
        goal = trajectory.task.instruction
        if Kind.PROGRESS in kinds and number:
            done = " , ".join(one.action.text for one in trajectory.steps[:number])
            yield _item(trajectory, step, Kind.PROGRESS, f"{goal} . {done}", " , ".join(good) or NOTHING)
        if Kind.SUMMARY in kinds:
            yield _item(trajectory, step, Kind.SUMMARY, seen, brief(seen))
        if Kind.EFFECT in kinds and after is not None and after.text:
            yield _item(trajectory, step, Kind.EFFECT, f"{seen} . {did}", after.text)
        if Kind.REFLECTION in kinds and step.id in right:
            said = RIGHT if right[step.id] else WRONG
            yield _item(trajectory, step, Kind.REFLECTION, f"{goal} . {seen} . {did}", said)
        if Kind.INTENT in kinds and after is not None and after.text:
            yield _item(trajectory, step, Kind.INTENT, f"{seen} . {after.text}", did)
        if right.get(step.id):
            good.append(did)
    if Kind.VERIFICATION in kinds and reached is not None and trajectory.steps:
        last = trajectory.steps[-1]
        asked = f"{trajectory.task.instruction} . {last.observation.text} . {last.action.text}"
        yield _item(trajectory, last, Kind.VERIFICATION, asked, RIGHT if reached else WRONG)


def _item(trajectory: Trajectory, step: Step, kind: Kind, question: str, answer: str) -> Trajectory:
    name = f"{step.id}.{kind}"
    task = Task(
        id=name, instruction=kind.value, environment=trajectory.task.environment, tags={"kind": kind.value}
    )
    asked = Step(
        id=name, parent=None, index=0, observation=Observation(text=question), action=Action(text=answer)
    )
    return Trajectory(id=name, task=task, group=name, steps=(asked,), end=End.DONE)
