"""Evidence: what of a stored trajectory a judge gets to see, cut by what its ``Looks`` allow.

A judge never receives what it may not use, so a verdict's ``evidence`` is what was there and not a promise. The action's validity belongs
to the result of a step: an environment may have been the one to refuse it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from everystep.core.errors import ConfigError
from everystep.core.protocols import Evidence, Looks, Situation, Transition
from everystep.core.records import Action, Observation, Step, Task, Trajectory
from everystep.run.context import cut
from everystep.run.search import SearchTree

_HIDDEN = Observation(text="")


def check_looks(looks: Looks) -> Looks:
    """Return ``looks``; ``ConfigError`` for windows that make no sense."""
    windows = (("actions", looks.actions or 0), ("observations", looks.observations), ("after", looks.after))
    for name, value in windows:
        if value < 0:
            raise ConfigError(f"{name} of a judge's evidence is {value!r}; it must be 0 or more.")
    if looks.chars < 50:
        raise ConfigError(f"chars of a judge's evidence is {looks.chars!r}; it must be 50 or more.")
    return looks


def step_evidence(trajectory: Trajectory, looks: Looks) -> Iterator[Evidence]:
    """Yield the evidence about each step of a trajectory, in order."""
    check_looks(looks)
    task = _task(trajectory.task, looks)
    steps = trajectory.steps
    bare = [_past(step, looks, shown=False) for step in steps]
    for index, step in enumerate(steps):
        first = 0 if looks.actions is None else max(0, index - looks.actions)
        clear = max(first, index - max(0, looks.observations - 1))
        later = steps[index + 1 : index + 1 + looks.after]
        following = steps[index + 1].observation if index + 1 < len(steps) else trajectory.final
        yield Evidence(
            task=task,
            targets=(step.id,),
            candidates=((_judged(step, looks),),),
            before=(*bare[first:clear], *(_past(one, looks, shown=True) for one in steps[clear:index])),
            after=tuple(_unpaid(_past(one, looks, shown=True), looks) for one in later),
            results=(_seen(following, looks),) if looks.result else (),
            outcomes=(trajectory.outcome,) if looks.outcome else (),
            seen=seen_of(looks),
        )


def trajectory_evidence(trajectories: Sequence[Trajectory], looks: Looks) -> Evidence:
    """Return the evidence about one trajectory, or about several of one task that are compared.

    A trajectory is shown whole: ``observations`` says of how many of its last steps the observation is shown.
    """
    check_looks(looks)
    if not trajectories or len({one.task.id for one in trajectories}) != 1:
        raise ConfigError(
            "trajectories that are compared must be of one task, and there must be one at least."
        )
    return Evidence(
        task=_task(trajectories[0].task, looks),
        targets=tuple(one.id for one in trajectories),
        candidates=tuple(_whole(one.steps, looks) for one in trajectories),
        results=tuple(_seen(one.final, looks) for one in trajectories) if looks.result else (),
        outcomes=tuple(one.outcome for one in trajectories) if looks.outcome else (),
        seen=seen_of(looks),
    )


def sibling_evidence(
    task: Task,
    before: Sequence[Step],
    siblings: Sequence[Step],
    looks: Looks,
    *,
    results: Sequence[Observation | None] = (),
) -> Evidence:
    """Return the evidence about steps that were tried at one state, after the steps ``before``; ``results`` is what each led to."""
    check_looks(looks)
    if looks.sees_future:
        raise ConfigError(
            "siblings are compared by what is known at their step; this judge asks for what came later."
        )
    first = 0 if looks.actions is None else max(0, len(before) - looks.actions)
    clear = max(first, len(before) - max(0, looks.observations - 1))
    shown = (_past(one, looks, shown=at >= clear) for at, one in enumerate(before) if at >= first)
    return Evidence(
        task=_task(task, looks),
        targets=tuple(one.id for one in siblings),
        candidates=tuple((_judged(one, looks),) for one in siblings),
        before=tuple(shown),
        results=tuple(_seen(one, looks) for one in results) if looks.result else (),
        seen=seen_of(looks),
    )


def tree_evidence(tree: SearchTree, looks: Looks) -> Iterator[Evidence]:
    """Yield the evidence about each step of a search's tree, parents first, behind the steps that lead to it."""
    paths: dict[str | None, tuple[Step, ...]] = {None: ()}
    for step in tree.steps:
        before = paths[step.parent]
        paths[step.id] = (*before, step)
        yield sibling_evidence(tree.task, before, (step,), looks)


def live_evidence(
    situation: Situation, action: Action, transition: Transition | None, looks: Looks
) -> Evidence:
    """Return the evidence about an action of a run that goes on; earlier steps are those that the run keeps in its window."""
    recent = tuple(situation.recent)
    step = Step(
        id=situation.step,
        parent=recent[-1].id if recent else None if situation.index == 0 else "",  # empty: not kept
        index=situation.index,
        observation=situation.observation,
        action=action,
        reward=None if transition is None else transition.reward,
        scores={} if transition is None else transition.scores,
        node=situation.node,
    )
    task = replace(situation.task, instruction=situation.goal or situation.task.instruction)
    result = (None if transition is None else transition.observation,)
    return sibling_evidence(task, recent, (step,), looks, results=result)


def seen_of(looks: Looks) -> tuple[str, ...]:
    """Return in words what is shown.

    >>> seen_of(Looks(actions=3, observations=2, outcome=True))
    ('actions:3', 'observations:2', 'outcome')
    """
    named = [
        f"actions:{'all' if looks.actions is None else looks.actions}",
        f"observations:{looks.observations}",
    ]
    named += [name for name in ("result", "outcome", "reference", "tokens") if getattr(looks, name)]
    return (*named, f"after:{looks.after}") if looks.after else tuple(named)


def _task(task: Task, looks: Looks) -> Task:
    return task if looks.reference else replace(task, reference=None, reference_calls=None)


def _whole(steps: Sequence[Step], looks: Looks) -> tuple[Step, ...]:
    clear = len(steps) - looks.observations
    return tuple(_unpaid(_past(step, looks, shown=at >= clear), looks) for at, step in enumerate(steps))


def _unpaid(step: Step, looks: Looks) -> Step:
    """Return a step without its reward, which would tell the outcome that is not shown."""
    return step if looks.outcome else replace(step, reward=None, scores={})


def _past(step: Step, looks: Looks, *, shown: bool) -> Step:
    """Return a step whose result is known, without what is not shown."""
    return replace(
        step,
        observation=(_seen(step.observation, looks) or _HIDDEN) if shown else _HIDDEN,
        action=_cut(step.action, looks),
        tokens=step.tokens if looks.tokens else None,
        cost={},
        undone=False,
    )


def _judged(step: Step, looks: Looks) -> Step:
    """Return the judged step; what it led to is cut out unless that is shown."""
    past = _past(step, looks, shown=looks.observations > 0)
    if looks.result:
        return past
    return replace(past, action=replace(past.action, valid=True, reason=None), reward=None, scores={})


def _seen(observation: Observation | None, looks: Looks) -> Observation | None:
    if observation is None or len(observation.text) <= looks.chars:
        return observation
    return replace(observation, text=cut(observation.text, looks.chars))


def _cut(action: Action, looks: Looks) -> Action:
    return action if len(action.text) <= looks.chars else replace(action, text=cut(action.text, looks.chars))
