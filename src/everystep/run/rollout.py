"""Rolling out: jobs in, trajectories out.

An episode is a small state machine: it asks for a turn, gets an answer, acts, records the step. Two
drivers feed it. ``rollout`` batches the turns of all live episodes (local models, whose cost is a
forward pass); ``rollout_async`` lets every episode run at its own pace (remote models, whose cost is
waiting).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from everystep.core.budget import Budget
from everystep.core.errors import BudgetError, ConfigError, WorldError
from everystep.core.ledger import Ledger
from everystep.core.protocols import (
    AsyncSampler,
    Generation,
    Primes,
    Request,
    Sampler,
    Sampling,
    Transition,
    Turn,
)
from everystep.core.records import End, Message, Observation, Step, Stop, Task, Trajectory
from everystep.run.hosts import Acted, Hosts


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One episode to run: ``sample`` numbers the attempts at one task within a group.

    ``prefix`` are steps that were taken before: their actions are executed again, the model is put
    behind their exact tokens, and the episode goes on from there, for up to ``steps`` more where that is given.
    """

    id: str
    task: Task
    group: str
    sample: int = 0
    seed: int = 0
    prefix: tuple[Step, ...] = ()
    steps: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one episode. ``invalid`` ends an episode after so many invalid actions in a row."""

    max_steps: int
    invalid: int | None = None

    def __post_init__(self) -> None:
        if self.max_steps < 1 or (self.invalid is not None and self.invalid < 1):
            raise ConfigError(
                f"max_steps is {self.max_steps!r} and invalid {self.invalid!r}; each must be 1 or more."
            )


def seed_of(*parts: object) -> int:
    """Return a stable 63-bit seed from its parts (run seed, task, sample, step).

    >>> seed_of(1, "task", 0) == seed_of(1, "task", 0)
    True
    >>> seed_of(1, "task", 0) == seed_of(1, "task", 1)
    False
    """
    digest = blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def jobs_of(tasks: Sequence[Task], *, group_size: int, prefix: str, seed: int) -> list[Job]:
    """Return ``group_size`` jobs for each task; ids are ``prefix.group.sample``, seeds follow the task and sample.

    A task that comes again goes on counting its samples, so that no episode is run twice.
    """
    if group_size < 1:
        raise ConfigError(f"group size is {group_size!r}; it must be 1 or more.")
    jobs = []
    earlier: Counter[str] = Counter()
    for number, task in enumerate(tasks):
        jobs += [
            Job(
                id=f"{prefix}.{number}.{sample}",
                task=task,
                group=f"{prefix}.{number}",
                sample=sample,
                seed=seed_of(seed, task.id, earlier[task.id] + sample),
            )
            for sample in range(group_size)
        ]
        earlier[task.id] += group_size
    return jobs


@dataclass(slots=True)
class Episode:
    """The state of one running job."""

    job: Job
    limits: Limits
    constrain: bool
    observation: Observation
    steps: list[Step] = field(default_factory=list)
    end: End | None = None
    success: bool | None = None
    error: str | None = None
    _invalid: int = 0

    def request(self) -> Request:
        """Return the next turn to ask of the model: only what is new since the last one."""
        return Request(
            session=self.job.id,
            messages=messages_of(
                self.job.task, self.observation, after=self.steps[-1] if self.steps else None
            ),
            allowed=self.observation.admissible if self.constrain else None,
            seed=seed_of(self.job.seed, len(self.steps)),
        )

    def failed_generation(self, generation: Generation) -> bool:
        """End the episode if the model broke; return whether it did."""
        if generation.stop is Stop.ERROR:
            self.end, self.error = End.ERROR, generation.error or "the model gave no answer"
            return True
        return False

    def record(self, generation: Generation, acted: Acted | WorldError, suffix: str = "") -> Step | None:
        """Add the step that an answer and its effect make; ``None`` if the environment broke."""
        if isinstance(acted, WorldError):
            self.end, self.error = End.ERROR, str(acted)
            return None
        index = len(self.steps)
        transition = acted.transition
        step = Step(
            id=f"{self.job.id}/{index}{suffix}",
            parent=self.steps[-1].id if self.steps else None,
            index=index,
            observation=self.observation,
            action=acted.action,
            reward=transition.reward,
            scores=transition.scores,
            tokens=generation.tokens,
            stop=generation.stop,
        )
        self.take(step, transition)
        return step

    def take(self, step: Step, transition: Transition) -> None:
        """Go on behind ``step``, which led to ``transition``; end the episode where that or a limit does."""
        self.steps.append(step)
        self.observation = transition.observation
        self._invalid = 0 if step.action.valid else self._invalid + 1
        if transition.terminated:
            self.success = transition.success
            self.end = End.FAILED if transition.success is False else End.DONE
        elif transition.truncated or len(self.steps) >= self._most():
            self.end = End.TRUNCATED
        elif self.limits.invalid is not None and self._invalid >= self.limits.invalid:
            self.end, self.success = End.FAILED, False

    def _most(self) -> int:
        """Return how many steps it may have, those of its prefix included."""
        more = self.job.steps
        return (
            self.limits.max_steps if more is None else min(self.limits.max_steps, len(self.job.prefix) + more)
        )

    def trajectory(self) -> Trajectory:
        """Return what was recorded. A broken episode has no outcome."""
        end = self.end or End.CANCELLED
        decided = end in (End.DONE, End.FAILED, End.TRUNCATED)
        return Trajectory(
            id=self.job.id,
            task=self.job.task,
            group=self.job.group,
            steps=tuple(self.steps),
            end=end,
            outcome=sum(step.reward or 0.0 for step in self.steps) if decided else None,
            success=self.success,
            seed=self.job.seed,
            error=self.error,
            final=self.observation,
        )


def messages_of(task: Task, observation: Observation, *, after: Step | None) -> tuple[Message, ...]:
    """Return the messages that an observation adds ``after`` a step; the first one carries the instruction.

    What is seen after tool calls is their output: a tool's message.
    """
    if after is None and task.instruction:
        return (Message(role="user", content=f"{task.instruction}\n{observation.text}"),)
    called = after is not None and after.action.calls
    return (Message(role="tool" if called else "user", content=observation.text),)


OnStep = Callable[[Job, Step], None]


def rollout(
    hosts: Hosts,
    sampler: Sampler,
    jobs: Iterable[Job],
    *,
    sampling: Sampling,
    limits: Limits,
    constrain: bool = True,
    slots: int = 256,
    ledger: Ledger | None = None,
    budget: Budget | None = None,
    on_step: OnStep | None = None,
) -> list[Trajectory]:
    """Run all jobs with one batched model call a turn; return their trajectories in job order.

    At most ``slots`` episodes live at a time; a finished one makes room for the next job. With
    ``constrain`` the model can only answer admissible actions where the environment lists them. Steps, calls and tokens
    are charged to ``budget``; an episode whose next step it has no room for ends with ``End.BUDGET``.
    """
    waiting = _checked(jobs, sampler, slots)
    order = [job.id for job in waiting]
    waiting.reverse()
    live: list[Episode] = []
    done: dict[str, Trajectory] = {}
    ledger = ledger or Ledger()
    try:
        while waiting or live:
            fresh = [waiting.pop() for _ in range(min(slots - len(live), len(waiting)))]
            live += _begin(hosts, sampler, fresh, limits, constrain, done)
            if not live:
                continue
            tickets = _reserve(live, budget)
            acting = [episode for episode in live if episode.end is None]
            take_turn(hosts, sampler, acting, sampling, ledger, on_step)
            for episode, ticket in zip(acting, tickets, strict=True):
                _settle(episode, budget, ticket)
            ended = [episode for episode in live if episode.end is not None]
            live = [episode for episode in live if episode.end is None]
            _finish(hosts, sampler, ended, done)
    except BaseException:
        _finish(hosts, sampler, live, done)  # hosts and model can be used again
        raise
    ledger.add(episodes=len(order))
    return [done[identifier] for identifier in order]


def take_turn(
    hosts: Hosts,
    sampler: Sampler,
    live: Sequence[Episode],
    sampling: Sampling,
    ledger: Ledger,
    on_step: OnStep | None = None,
) -> None:
    """Let every live episode take one step, with one batched model call; charge it to ``ledger``."""
    generations = sampler.sample([episode.request() for episode in live], sampling)
    acting = []
    for episode, generation in zip(live, generations, strict=True):
        count_usage(ledger, generation)
        if not episode.failed_generation(generation):
            acting.append((episode, generation))
    acted = hosts.act([(episode.job.id, generation.text) for episode, generation in acting])
    for (episode, generation), answer in zip(acting, acted, strict=True):
        step = episode.record(generation, answer)
        if step is not None:
            ledger.add(environment_steps=1)
            if on_step is not None:
                on_step(episode.job, step)


def _reserve(episodes: Sequence[Episode], budget: Budget | None) -> list[tuple[int, ...] | None]:
    """Hold a step and a call for each episode; end those that there is no room for."""
    tickets: list[tuple[int, ...] | None] = []
    for episode in episodes:
        try:
            tickets.append(None if budget is None else budget.reserve({"steps": 1, "calls": 1}))
        except BudgetError as error:
            episode.end, episode.error = End.BUDGET, str(error)
    return tickets


def _settle(episode: Episode, budget: Budget | None, ticket: tuple[int, ...] | None) -> None:
    """Book the step, the call and the tokens that it added."""
    if budget is None or ticket is None:
        return
    tokens = episode.steps[-1].tokens if episode.steps else None
    budget.settle(ticket, {"steps": 1, "calls": 1, "tokens": len(tokens.ids) if tokens else 0})


async def rollout_async(
    hosts: Hosts,
    sampler: AsyncSampler,
    jobs: Iterable[Job],
    *,
    sampling: Sampling,
    limits: Limits,
    constrain: bool = False,
    slots: int = 16,
    ledger: Ledger | None = None,
    budget: Budget | None = None,
    on_step: OnStep | None = None,
) -> list[Trajectory]:
    """Run all jobs concurrently, ``slots`` at a time, each at its own pace; return them in job order.

    ``budget`` is charged as in ``rollout``. Cancelling returns nothing, but every step was given to ``on_step`` when it was made.
    """
    gate = asyncio.Semaphore(slots)
    ledger = ledger or Ledger()
    done: dict[str, Trajectory] = {}
    jobs = _checked(jobs, sampler, slots)

    async def run(job: Job) -> None:
        async with gate:
            for episode in _begin(hosts, sampler, [job], limits, constrain, done):
                try:
                    while episode.end is None:
                        tickets = _reserve([episode], budget)
                        if not tickets:
                            break
                        generation = await sampler.sample_one(episode.request(), sampling)
                        count_usage(ledger, generation)
                        step = None
                        if not episode.failed_generation(generation):
                            step = episode.record(generation, hosts.act([(job.id, generation.text)])[0])
                        _settle(episode, budget, tickets[0])
                        if step is not None:
                            ledger.add(environment_steps=1)
                            if on_step is not None:
                                on_step(job, step)
                finally:
                    _finish(hosts, sampler, [episode], done)

    async with asyncio.TaskGroup() as tasks:
        for job in jobs:
            tasks.create_task(run(job))
    ledger.add(episodes=len(jobs))
    return [done[job.id] for job in jobs]


def _checked(jobs: Iterable[Job], sampler: Sampler | AsyncSampler, slots: int) -> list[Job]:
    """Return the jobs as a list; what cannot work is refused before anything runs."""
    if slots < 1:
        raise ConfigError(f"slots is {slots!r}; it must be 1 or more.")
    jobs = list(jobs)
    twice = [name for name, times in Counter(job.id for job in jobs).items() if times > 1]
    if twice:
        raise ConfigError(f"job {twice[0]!r} is given more than once; every job needs an id of its own.")
    if any(job.steps is not None and job.steps < 1 for job in jobs):
        raise ConfigError("a job's steps must be 1 or more, or None for no bound of its own.")
    if any(job.prefix for job in jobs) and not isinstance(sampler, Primes):
        raise ConfigError(
            f"{type(sampler).__name__} cannot continue from stored steps. Use a model that can, or start afresh."
        )
    return jobs


def _begin(
    hosts: Hosts,
    sampler: Sampler | AsyncSampler,
    jobs: Sequence[Job],
    limits: Limits,
    constrain: bool,
    done: dict[str, Trajectory],
) -> list[Episode]:
    """Start episodes; those whose environment does not start are done at once, with the error."""
    started = []
    for job, observation in zip(jobs, hosts.start([(job.id, job.task) for job in jobs]), strict=True):
        if isinstance(observation, WorldError):
            episode = Episode(job, limits, constrain, Observation(text=""))
            episode.end, episode.error = End.ERROR, str(observation)
        else:
            episode = Episode(job, limits, constrain, observation)
            if job.prefix:
                _catch_up(hosts, sampler, episode)
        if episode.end is None:
            started.append(episode)
        else:
            _finish(hosts, sampler, [episode], done)
    return started


def _catch_up(hosts: Hosts, sampler: Sampler | AsyncSampler, episode: Episode) -> None:
    """Execute a job's prefix again and put the model behind it."""
    assert isinstance(sampler, Primes)  # noqa: S101 -- _checked refuses others
    turns = []
    for step in episode.job.prefix:
        if episode.end is not None or step.observation.text != episode.observation.text:
            episode.end, episode.error = End.ERROR, f"replay differs before step {step.id!r}"
            return
        last = episode.steps[-1] if episode.steps else None
        messages = messages_of(episode.job.task, episode.observation, after=last)
        turns.append(Turn(messages=messages, text=step.action.text, tokens=step.tokens))
        acted = hosts.act([(episode.job.id, step.action.text)])[0]
        if isinstance(acted, WorldError):
            episode.end, episode.error = End.ERROR, str(acted)
            return
        episode.take(step, acted.transition)
    if episode.end is None:
        sampler.prime(episode.job.id, turns)


def _finish(
    hosts: Hosts, sampler: Sampler | AsyncSampler, episodes: Sequence[Episode], done: dict[str, Trajectory]
) -> None:
    identifiers = [episode.job.id for episode in episodes]
    if identifiers:
        hosts.stop(identifiers)
        sampler.release(identifiers)
    for episode in episodes:
        done[episode.job.id] = episode.trajectory()


def count_usage(ledger: Ledger, generation: Generation) -> None:
    """Charge a generation's tokens."""
    usage = generation.usage
    ledger.add(prompt_tokens=usage.prompt, cached_tokens=usage.cached, sampled_tokens=usage.completion)
