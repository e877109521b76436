"""Branching: several actions from one state, executed from the same snapshot.

Three modes build on it. ``branch`` samples ``width`` candidates at every step, executes each from the
same snapshot, lets a chooser pick one and goes on from there; the others stay as siblings. ``fork``
continues a stored trajectory from one of its steps several times (Monte-Carlo values). ``tree``
branches at the first ``depth`` steps and rolls every leaf out.

A discarded candidate leaks nothing: environment and model are put back to the snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from everystep.core.errors import ConfigError, WorldError
from everystep.core.ledger import Ledger
from everystep.core.protocols import Forks, Generation, Sampler, Sampling
from everystep.core.records import Observation, Step, Trajectory
from everystep.run.hosts import Hosts, LocalHosts
from everystep.run.rollout import Episode, Job, Limits, count_usage, rollout, seed_of

Chooser = Callable[[Sequence[Step]], int]
"""Given executed candidates of one state, the number of the one to go on with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branched:
    """A trajectory of chosen steps, and all candidates of each state by the parent they share."""

    trajectory: Trajectory
    candidates: dict[str | None, tuple[Step, ...]]


def branch(
    hosts: LocalHosts,
    sampler: Sampler,
    job: Job,
    *,
    width: int,
    choose: Chooser,
    sampling: Sampling,
    limits: Limits,
    constrain: bool = True,
    ledger: Ledger | None = None,
) -> Branched:
    """Run one job with ``width`` executed candidates a step; each is charged to the ledger."""
    if width < 1:
        raise ConfigError(f"width is {width!r}; it must be 1 or more.")
    forks = _forks(sampler)
    ledger = ledger or Ledger()
    names = [f"{job.id}~{number}" for number in range(width)]
    candidates: dict[str | None, tuple[Step, ...]] = {}
    try:
        episode = Episode(job, limits, constrain, _started(hosts, job))
        while episode.end is None:
            request, state = episode.request(), hosts.snapshot(job.id)
            if episode.steps:
                for name in names:
                    forks.fork(job.id, name)
            generations = sampler.sample(
                [
                    replace(request, session=name, seed=seed_of(request.seed, number))
                    for number, name in enumerate(names)
                ],
                sampling,
            )
            tried = []
            for number, generation in enumerate(generations):
                count_usage(ledger, generation)
                tried.append(_try(hosts, episode, state, generation, number))
            made = [number for number, (copy, _) in enumerate(tried) if len(copy.steps) > len(episode.steps)]
            ledger.add(environment_steps=len(made), candidate_steps=len(made))
            if not made:
                episode = tried[0][0]
                break
            steps = tuple(tried[number][0].steps[-1] for number in made)
            candidates[episode.steps[-1].id if episode.steps else None] = steps
            winner = made[choose(steps)]
            episode, after = tried[winner]
            sampler.release([job.id])
            forks.fork(names[winner], job.id)
            sampler.release(names)
            if after is not None:
                hosts.restore(job.id, after)
    finally:
        hosts.stop([job.id])
        sampler.release([job.id, *names])
    ledger.add(episodes=1)
    return Branched(trajectory=episode.trajectory(), candidates=candidates)


def _try(
    hosts: LocalHosts, episode: Episode, state: Any, generation: Generation, number: int
) -> tuple[Episode, Any]:
    """Execute one candidate from ``state``; return the episode after it and its snapshot."""
    copy = replace(episode, steps=list(episode.steps))
    if copy.failed_generation(generation):
        return copy, None
    hosts.restore(episode.job.id, state)
    acted = hosts.act([(episode.job.id, generation.text)])[0]
    step = copy.record(generation, acted, suffix=f"~{number}" if number else "")
    alive = step is not None and copy.end is None
    return copy, hosts.snapshot(episode.job.id) if alive else None


def fork(
    hosts: Hosts,
    sampler: Sampler,
    trunk: Trajectory,
    at: int,
    *,
    copies: int,
    sampling: Sampling,
    limits: Limits,
    seed: int,
    constrain: bool = True,
    ledger: Ledger | None = None,
) -> list[Trajectory]:
    """Continue ``trunk`` from before its step ``at`` (0-based) ``copies`` times, to the end.

    The mean outcome of the copies estimates the value of the state before that step. The prefix is
    replayed, so any deterministic environment will do.
    """
    if not 0 <= at <= len(trunk.steps):
        raise ConfigError(f"cannot fork at step {at!r}: the trajectory has {len(trunk.steps)} steps.")
    jobs = [
        Job(
            id=f"{trunk.id}^{at}.{number}",
            task=trunk.task,
            group=f"{trunk.id}^{at}",
            sample=number,
            seed=seed_of(seed, trunk.id, at, number),
            prefix=trunk.steps[:at],
        )
        for number in range(copies)
    ]
    return rollout(hosts, sampler, jobs, sampling=sampling, limits=limits, constrain=constrain, ledger=ledger)


def tree(
    hosts: Hosts,
    sampler: Sampler,
    job: Job,
    *,
    width: int,
    depth: int,
    sampling: Sampling,
    limits: Limits,
    constrain: bool = True,
    ledger: Ledger | None = None,
) -> list[Trajectory]:
    """Branch ``width`` times before each of the first ``depth`` steps; return the leaves' trajectories.

    The first trajectory is rolled out, then each of its first ``depth`` states is continued
    ``width - 1`` more times, and so on inside the branches: shared prefixes are shared steps.
    """
    if width < 1 or depth < 0:
        raise ConfigError(f"width is {width!r} and depth {depth!r}; they must be at least 1 and 0.")
    drive = {"sampling": sampling, "limits": limits, "constrain": constrain, "ledger": ledger}
    grown = rollout(hosts, sampler, [job], **drive)  # type: ignore[arg-type]
    frontier = [(grown[0], 0)]
    while frontier:
        trunk, start = frontier.pop()
        for at in range(start, min(depth, len(trunk.steps))):
            branches = fork(
                hosts,
                sampler,
                trunk,
                at,
                copies=width - 1,
                seed=job.seed,
                **drive,  # type: ignore[arg-type]
            )
            branches = [replace(one, group=job.group) for one in branches]
            grown += branches
            frontier += [(one, at + 1) for one in branches]
    return grown


def _forks(sampler: Sampler) -> Forks:
    if not isinstance(sampler, Forks):
        raise ConfigError(
            f"{type(sampler).__name__} cannot fork a conversation. Use a local model to branch."
        )
    return sampler


def _started(hosts: LocalHosts, job: Job) -> Observation:
    observation = hosts.start([(job.id, job.task)])[0]
    if isinstance(observation, WorldError):
        raise observation
    return observation
