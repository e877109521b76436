"""What a policy does after one wrong step that it was made to take: does it notice, does it get to the goal all the same?

Every start is a walk of the environment's oracle with a wrong step at its end, so all policies are put into the same states. Beside each
stands the same walk with the right step, for what a policy does where nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from everystep.core.errors import DataError, WorldError
from everystep.core.protocols import Sampler, Sampling, Transition
from everystep.core.records import Action, End, Step, Task, Trajectory
from everystep.run.demonstrate import OracleSampler
from everystep.run.hosts import Hosts
from everystep.run.rollout import Job, Limits, jobs_of, rollout, seed_of

Propose = Callable[[Step, Random], Sequence[str]]
"""Given a right step, actions that may be wrong in its place, to be tried in this order."""

Bad = Callable[[Transition], bool]
"""Whether what an action led to makes it a wrong one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A state behind a forced step: the oracle's steps ``before``, then the ``wrong`` one, or the ``right`` one for comparison."""

    task: Task
    before: tuple[Step, ...]
    wrong: Step
    right: Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What came of the starts. Shares are of ``starts`` episodes that did not break; ``forced`` and ``plain`` are the episodes.

    ``recovered``: success after the forced wrong step; ``solved``: after the right one. ``noticed``: the next step flags the wrong one;
    ``false_alarms``: it flags the right one; both are ``None`` without a test of what a flag is. ``after_wrong`` and ``after_right`` are the
    first steps that the policy took itself.
    """

    starts: int
    recovered: float
    solved: float
    noticed: float | None
    false_alarms: float | None
    forced: tuple[Trajectory, ...]
    plain: tuple[Trajectory, ...]
    after_wrong: tuple[Step, ...]
    after_right: tuple[Step, ...]


def others(step: Step, random: Random) -> Sequence[str]:
    """Return the other admissible actions in random order."""
    listed = [text for text in step.observation.admissible or () if text != step.action.text]
    random.shuffle(listed)
    return listed


def came_no_closer(found: Transition) -> bool:
    """Say that an executed action is bad if the environment's score ``progress`` is not above 0; without that score every valid one is."""
    return found.valid and found.scores.get("progress", 0.0) <= 0.0


def forced_errors(
    hosts: Hosts,
    tasks: Sequence[Task],
    *,
    limits: Limits,
    seed: int = 0,
    propose: Propose = others,
    bad: Bad = came_no_closer,
) -> list[Start]:
    """Return a start for each task in which a wrong step is possible: at a random step of the oracle's walk, never at its last.

    Proposals are executed until one is ``bad`` and does not end the episode. The same seed gives the same starts. Raises ``DataError`` where
    no task has one.
    """
    walks = rollout(
        hosts,
        OracleSampler(hosts),
        jobs_of(tasks, group_size=1, prefix="right", seed=seed),
        sampling=Sampling(),
        limits=limits,
    )
    found = [
        start
        for walk in walks
        if walk.success and (start := _start(hosts, walk, Random(seed_of(seed, walk.task.id)), propose, bad))
    ]
    if not found:
        raise DataError(
            f"none of the {len(tasks)} tasks has a state where a wrong step can be forced. "
            "Give `propose` that knows wrong actions of this environment, or longer tasks."
        )
    return found


def recovery(
    hosts: Hosts,
    sampler: Sampler,
    starts: Sequence[Start],
    *,
    limits: Limits,
    sampling: Sampling | None = None,
    constrain: bool = True,
    seed: int = 0,
    flagged: Callable[[Action], bool] | None = None,
) -> Recovery:
    """Let a policy go on behind each start, and behind the right steps too; ``flagged`` says of an action whether it calls the last step wrong.

    The sampler must be one that can be put behind turns (``Primes``). ``limits`` count the steps before. Nothing is charged: this is a test.
    """
    sampling = sampling or Sampling(temperature=0.0)

    def behind(kind: str, some: Sequence[Step]) -> list[Trajectory]:
        jobs = [
            Job(
                id=f"{kind}.{number}",
                task=one.task,
                group=f"{kind}.{number}",
                seed=seed_of(seed, kind, number),
                prefix=(*one.before, last),
            )
            for number, (one, last) in enumerate(zip(starts, some, strict=True))
        ]
        ran = rollout(hosts, sampler, jobs, sampling=sampling, limits=limits, constrain=constrain)
        return [one for one in ran if one.end not in (End.ERROR, End.CANCELLED)]

    forced = behind("forced", [one.wrong for one in starts])
    plain = behind("plain", [one.right for one in starts])
    if not forced or not plain:
        raise WorldError("every episode behind a forced step broke. Are the starts of this environment?")
    after_wrong, after_right = _own(forced, starts, "forced"), _own(plain, starts, "plain")
    return Recovery(
        starts=len(forced),
        recovered=sum(one.success is True for one in forced) / len(forced),
        solved=sum(one.success is True for one in plain) / len(plain),
        noticed=None if flagged is None else _share(after_wrong, flagged),
        false_alarms=None if flagged is None else _share(after_right, flagged),
        forced=tuple(forced),
        plain=tuple(plain),
        after_wrong=after_wrong,
        after_right=after_right,
    )


def _own(episodes: Sequence[Trajectory], starts: Sequence[Start], kind: str) -> tuple[Step, ...]:
    """Return the first step of each episode behind its start; one whose start ended it has none."""
    sizes = {f"{kind}.{number}": len(one.before) + 1 for number, one in enumerate(starts)}
    return tuple(one.steps[sizes[one.id]] for one in episodes if len(one.steps) > sizes[one.id])


def _share(steps: Sequence[Step], flagged: Callable[[Action], bool]) -> float:
    return sum(flagged(step.action) for step in steps) / max(1, len(steps))


def _start(hosts: Hosts, walk: Trajectory, random: Random, propose: Propose, bad: Bad) -> Start | None:
    """Return a start at a random step of a walk, ``None`` where nothing wrong can be done."""
    places = list(range(len(walk.steps) - 1))
    random.shuffle(places)
    for at in places:
        right = walk.steps[at]
        for text in propose(right, random):
            found = _tried(hosts, walk, at, text)
            if found is not None and not (found[1].terminated or found[1].truncated) and bad(found[1]):
                action, after = found
                wrong = replace(
                    right,
                    id=f"{right.id}!",
                    action=action,
                    reward=after.reward,
                    scores=after.scores,
                    tokens=None,
                )
                return Start(task=walk.task, before=walk.steps[:at], wrong=wrong, right=right)
    return None


def _tried(hosts: Hosts, walk: Trajectory, at: int, text: str) -> tuple[Action, Transition] | None:
    """Execute ``text`` in the place of step ``at``: the walk is done again up to there, so no snapshots are needed."""
    slot = f"{walk.id}!"
    try:
        if isinstance(hosts.start([(slot, walk.task)])[0], WorldError):
            return None
        for step in walk.steps[:at]:
            hosts.act([(slot, step.action.text)])
        [acted] = hosts.act([(slot, text)])
        return None if isinstance(acted, WorldError) else (acted.action, acted.transition)
    finally:
        hosts.stop([slot])
