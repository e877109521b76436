"""What is made of corrected trajectories: a learner's tokens with their weights, weights a step, a run's folder for the other commands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from everystep.core.errors import DataError
from everystep.core.records import Level, Step, Trajectory, Verdict
from everystep.core.trace import Kind, ending_of
from everystep.data.corrections import MISTAKES, Corrected, Teacher
from everystep.data.segments import MASKED, Part, Segment, Weights, text_of, weighed, weight_of
from everystep.models.template import Template, encode_turn
from everystep.run.folder import IMPORT, RunFolder, create
from everystep.run.journal import Journal
from everystep.run.rollout import messages_of


def spelled(
    one: Corrected, template: Template, weights: Weights = MASKED, *, fresh: bool = False
) -> Trajectory:
    """Return the trajectory with a model's tokens and, on each sampled token, the weight of what it is.

    ``learn.samples.supervised_sample`` of it masks exactly the tokens of weight 0: they stay in the context. Tokens that the agent's model recorded
    are kept as they are; ``fresh`` encodes them anew, for another model than the one that acted.
    """
    steps: list[Step] = []
    last: Step | None = None
    for step in one.trajectory.steps:
        tokens = None if fresh else step.tokens
        if tokens is None:
            messages = messages_of(one.trajectory.task, step.observation, after=last)
            tokens = encode_turn(template, messages, step.action.text, first=last is None)
        tokens = weighed(tokens, one.parts[step.id], weights, template)
        steps.append(replace(step, tokens=tokens))
        last = step
    return replace(one.trajectory, steps=tuple(steps))


def step_weights(one: Corrected, weights: Weights = MASKED) -> dict[str, float]:
    """Return the loss weight of each step: for exports, and for ``supervised_sample`` of trajectories that have tokens.

    Raises ``DataError`` for a turn whose segments have several weights: only tokens can carry these.
    """
    found = {}
    for step in one.trajectory.steps:
        weight = weight_of(one.parts[step.id], weights)
        if weight is None:
            raise DataError(
                f"the segments of step {step.id!r} have several weights. Give them to its tokens with `spelled`."
            )
        found[step.id] = weight
    return found


def without(one: Corrected, part: Part = Part.REFLECTION) -> Corrected:
    """Return the trajectory without what is said in the segments of ``part``: for comparisons.

    What was seen later stays, so the environment must not have looked at these words. Raises ``DataError`` for a turn that is nothing else.
    """
    parts = {name: tuple(each for each in turn if each.part is not part) for name, turn in one.parts.items()}
    steps = []
    for step in one.trajectory.steps:
        if not parts[step.id]:
            raise DataError(f"step {step.id!r} is nothing but {part}; nothing would be left of it.")
        same = len(parts[step.id]) == len(one.parts[step.id])
        action = step.action if same else replace(step.action, text=text_of(parts[step.id]))
        steps.append(replace(step, action=action, tokens=step.tokens if same else None))
    return replace(one, trajectory=replace(one.trajectory, steps=tuple(steps)), parts=parts)


def joined(one: Corrected, mark: str = "\n") -> Corrected:
    """Return the trajectory as a single turn whose segments are its steps: a solution as one text.

    ``mark`` stands behind each step and belongs to it. For solutions in text, where nothing is seen between steps.
    """
    steps = one.trajectory.steps
    if not steps:
        raise DataError(f"trajectory {one.trajectory.id!r} has no steps to join.")
    turn: list[Segment] = []
    for step in steps:
        *head, tail = one.parts[step.id]
        behind = mark if step is not steps[-1] else ""
        turn += [*head, replace(tail, text=f"{tail.text}{behind}")]
    first, last = steps[0], steps[-1]
    action = replace(last.action, text=text_of(turn))
    whole = replace(last, id=first.id, parent=None, index=0, observation=first.observation, action=action)
    whole = replace(whole, reward=sum(step.reward or 0.0 for step in steps), tokens=None)
    return Corrected(
        trajectory=replace(one.trajectory, steps=(whole,)),
        parts={whole.id: tuple(turn)},
    )


def verdicts(one: Corrected, teacher: Teacher) -> tuple[Verdict, ...]:
    """Return what the teacher said as verdicts on the steps, to be stored beside them.

    The labels are parts, so ``everystep filter --rules errors:labels=TEACHER/wrong`` masks the same steps.
    """
    made = []
    for step in one.trajectory.steps:
        remark = one.remarks.get(step.id)
        part = remark.part if remark else one.parts[step.id][-1].part
        made.append(
            Verdict(
                level=Level.STEP,
                targets=(step.id,),
                judge=teacher.name,
                version=teacher.version,
                score=None if part is Part.UNJUDGED else float(part not in MISTAKES),
                label=part.value,
                reason=(remark.reflection or remark.reason or None) if remark else None,
                evidence=("result",),
            )
        )
    return tuple(made)


def keep(some: Iterable[Corrected], teacher: Teacher, folder: Path, *, version: str) -> RunFolder:
    """Write corrected trajectories into a new run's folder, what the teacher said as verdicts beside them.

    ``everystep show``, ``filter``, ``judge`` and ``export`` read it. Raises ``StoreError`` if ``folder`` holds a run already.
    """
    options = {"format": "corrections", "teacher": teacher.name, "teacher_version": teacher.version}
    place = create(folder, options=options, version=version, kind=IMPORT)
    known: set[str] = set()
    count = 0
    with Journal.create(place.journal, {"command": IMPORT, "version": version, **options}) as journal:
        for one in some:
            task = one.trajectory.task
            events: list[tuple[Kind, Any]] = [] if task.id in known else [(Kind.TASK, task)]
            known.add(task.id)
            events += [(Kind.STEP, step) for step in one.trajectory.steps]
            events.append((Kind.TRAJECTORY, ending_of(one.trajectory, phase=task.split)))
            events += [(Kind.VERDICT, verdict) for verdict in verdicts(one, teacher)]
            journal.append_many(events)
            count += 1
        journal.append(Kind.END, {"end": "done", "trajectories": count})
    return place
