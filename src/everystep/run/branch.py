"""Branching: several actions from one state, executed from the same snapshot.

Three modes build on it. ``branch`` samples ``width`` candidates at every step, executes each from the
same snapshot, lets a chooser pick one and goes on from there; the others stay as siblings. ``fork``
continues a stored trajectory from one of its steps several times (Monte-Carlo values). ``tree``
branches at the first ``depth`` steps and rolls every leaf out. A search that goes where it pays is ``run.search``.

A discarded candidate leaks nothing: environment and model are put back to the snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from everystep.core.errors import ConfigError, WorldError
from everystep.core.ledger import Ledger
from everystep.core.protocols import Forks, Generation, Sampler, Sampling
from everystep.core.records import End, Observation, Step, Task, Trajectory
from everystep.run.hosts import Hosts
from everystep.run.rollout import Episode, Job, Limits, count_usage, rollout, seed_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """The candidates that were executed in one state, after the steps ``before``; ``results`` is what each led to."""

    task: Task
    before: tuple[Step, ...]
    steps: tuple[Step, ...]
    results: tuple[Observation, ...]


Chooser = Callable[[Sequence[Tried]], Sequence[int]]
"""Given the candidates of one state of each of several jobs, says for each state the number of the one to go on with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branched:
    """A trajectory of chosen steps, and what was tried at each of its states, in order."""

    trajectory: Trajectory
    tried: tuple[Tried, ...]

    @property
    def candidates(self) -> dict[str | None, tuple[Step, ...]]:
        """All candidates of each state by the parent that they share."""
        return {one.steps[0].parent: one.steps for one in self.tried}


def branch(
    hosts: Hosts,
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
    [found] = branch_all(
        hosts, sampler, [job], width=width, choose=choose, sampling=sampling, limits=limits,
        constrain=constrain, ledger=ledger,
    )  # fmt: skip
    return found


def branch_all(
    hosts: Hosts,
    sampler: Sampler,
    jobs: Sequence[Job],
    *,
    width: int,
    choose: Chooser,
    sampling: Sampling,
    limits: Limits,
    constrain: bool = True,
    ledger: Ledger | None = None,
) -> list[Branched]:
    """Run several jobs at once, one batched model call a step for all their candidates; see ``branch``.

    An environment that does not start or breaks ends its own episode with ``End.ERROR``; one without snapshots raises ``WorldError``.
    """
    if width < 1:
        raise ConfigError(f"width is {width!r}; it must be 1 or more.")
    forks = _forks(sampler)
    ledger = ledger or Ledger()
    walks = [_Walk(job, width) for job in jobs]
    try:
        for walk, seen in zip(walks, hosts.start([(job.id, job.task) for job in jobs]), strict=True):
            walk.begin(seen, limits, constrain)
        while live := [walk for walk in walks if walk.episode.end is None]:
            generations = iter(sampler.sample([one for walk in live for one in walk.ask(forks)], sampling))
            for walk in live:
                walk.execute(hosts, [next(generations) for _ in walk.names], ledger)
            ready = [walk for walk in live if walk.made]
            picks = choose([walk.tried[-1] for walk in ready]) if ready else ()
            for walk, pick in zip(ready, picks, strict=True):
                walk.go_on(hosts, sampler, forks, pick)
    finally:
        hosts.stop([job.id for job in jobs])
        sampler.release([name for walk in walks for name in (walk.job.id, *walk.names)])
    ledger.add(episodes=len(jobs))
    return [Branched(trajectory=walk.episode.trajectory(), tried=tuple(walk.tried)) for walk in walks]


@dataclass(slots=True)
class _Walk:
    """One job that is branched at every step."""

    job: Job
    width: int
    tried: list[Tried] = field(default_factory=list)
    made: list[tuple[str, Episode, Any]] = field(default_factory=list)
    """The candidates of the current state: the conversation, the episode and the snapshot behind each."""
    episode: Episode = field(init=False)

    @property
    def names(self) -> list[str]:
        return [f"{self.job.id}~{number}" for number in range(self.width)]

    def begin(self, seen: Observation | WorldError, limits: Limits, constrain: bool) -> None:
        broken = isinstance(seen, WorldError)
        self.episode = Episode(
            self.job, limits, constrain, Observation(text="") if isinstance(seen, WorldError) else seen
        )
        if broken:
            self.episode.end, self.episode.error = End.ERROR, str(seen)

    def ask(self, forks: Forks) -> list[Any]:
        """Return a request for each candidate, in a conversation of its own."""
        request = self.episode.request()
        if self.episode.steps:
            for name in self.names:
                forks.fork(self.job.id, name)
        return [
            replace(request, session=name, seed=seed_of(request.seed, number))
            for number, name in enumerate(self.names)
        ]

    def execute(self, hosts: Hosts, generations: Sequence[Generation], ledger: Ledger) -> None:
        """Execute every candidate from one snapshot. Where all break the episode ends as the first one did."""
        state = hosts.snapshot(self.job.id)
        copies = []
        self.made = []
        for number, (name, generation) in enumerate(zip(self.names, generations, strict=True)):
            count_usage(ledger, generation)
            suffix = f"~{number}" if number else ""
            copy, after = execute_from(
                hosts, self.episode, state, generation, slot=self.job.id, name=self.job.id, suffix=suffix
            )
            copies.append(copy)
            if len(copy.steps) > len(self.episode.steps):
                self.made.append((name, copy, after))
        ledger.add(environment_steps=len(self.made), candidate_steps=len(self.made))
        if not self.made:
            self.episode = copies[0]
            return
        self.tried.append(
            Tried(
                task=self.job.task,
                before=tuple(self.episode.steps),
                steps=tuple(copy.steps[-1] for _, copy, _ in self.made),
                results=tuple(copy.observation for _, copy, _ in self.made),
            )
        )

    def go_on(self, hosts: Hosts, sampler: Sampler, forks: Forks, pick: int) -> None:
        """Put the world and the model behind the chosen candidate."""
        if not 0 <= pick < len(self.made):
            raise ConfigError(
                f"the chooser picked candidate {pick!r} of {len(self.made)} of job {self.job.id!r}; they are numbered from 0."
            )
        name, self.episode, after = self.made[pick]
        sampler.release([self.job.id])
        forks.fork(name, self.job.id)
        sampler.release(self.names)
        if after is not None:
            hosts.restore(self.job.id, after)


def execute_from(
    hosts: Hosts,
    episode: Episode,
    state: Any,
    generation: Generation,
    *,
    slot: str,
    name: str,
    suffix: str = "",
) -> tuple[Episode, Any]:
    """Execute an answer in ``slot`` from ``state``, the snapshot behind ``episode``, which stays as it is.

    Returns the episode behind it, as that of a job called ``name``, and its snapshot, ``None`` where the episode is over. A model or a world that
    broke has added no step. ``name`` and ``suffix`` make the step's id.
    """
    copy = replace(episode, job=replace(episode.job, id=name), steps=list(episode.steps))
    if copy.failed_generation(generation):
        return copy, None
    hosts.restore(slot, state)
    acted = hosts.act([(slot, generation.text)])[0]
    step = copy.record(generation, acted, suffix=suffix)
    alive = step is not None and copy.end is None
    return copy, hosts.snapshot(slot) if alive else None


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
