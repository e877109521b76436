"""Trajectories with a mistake, a reflection and a correction: an agent acts, a teacher watches every step and takes over for one turn where it was wrong.

One builder for two systems. STeP: the environment is a world and the teacher a model or the world's oracle. S3c-Math: the environment is text
(``environments.reasoning.solutions``, or a world that checks steps) and the agent follows a known solution but for a wrong step that a model wrote (``data.slips``).
The wrong step is executed: what is learned is to go on from where it led to. What comes out are ordinary trajectories and, beside them, what each
piece of their turns is (``segments.Part``); weights are given to the pieces when samples are made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from everystep.core.errors import ConfigError, WorldError
from everystep.core.ledger import Ledger
from everystep.core.protocols import Generation, Primes, Sampler, Sampling, Turn
from everystep.core.records import End, Observation, Step, Stop, Task, Trajectory
from everystep.data.segments import Part, Segment, text_of
from everystep.run.hosts import Hosts
from everystep.run.rollout import Episode, Job, Limits, count_usage, messages_of

MISTAKES = (Part.WRONG, Part.SUBOPTIMAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What a teacher sees of a step that was just taken: the last steps before it, itself, and what it led to.

    ``best`` is what the environment's oracle would have done in its place and ``further`` what it would do now; ``None`` where the environment
    has none, or the teacher did not ask for it. ``further`` is ``None`` too where the step ended the episode.
    """

    task: Task
    before: tuple[Step, ...]
    step: Step
    now: Observation
    best: str | None = None
    further: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What a teacher says of a step: ``CORRECT``, ``WRONG``, ``SUBOPTIMAL``, or ``UNJUDGED`` where it could not be understood.

    Of a mistake it says what was wrong (``reflection``) and what to do now (``action``); without an action the agent is left to itself.
    """

    part: Part
    reflection: str = ""
    action: str = ""
    reason: str = ""


class Teacher(Protocol):
    """Watches steps. ``window`` is how many earlier steps it wants to see, ``oracle`` whether the environment's oracle is to be asked for it.

    ``remarks`` gives one remark on each step. It must not raise for what a model wrote: such a step is ``UNJUDGED``.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def window(self) -> int: ...

    @property
    def oracle(self) -> bool: ...

    def remarks(self, watched: Sequence[Watched]) -> list[Remark]: ...


Write = Callable[[Remark], tuple[Segment, ...]]
"""How a reflection and an action become one turn of the agent, in the form that the environment can parse."""

Accept = Callable[[Trajectory], bool]
"""Whether a finished trajectory is kept."""


def succeeded(trajectory: Trajectory) -> bool:
    """Say whether the environment calls it a success: the usual test of acceptance."""
    return trajectory.success is True


def said_before(mark: str = "\n") -> Write:
    """Return the form ``REFLECTION`` + ``mark`` + ``ACTION``: for environments that look at what stands behind the mark (``environments.reflecting``)."""

    def write(remark: Remark) -> tuple[Segment, ...]:
        action = Segment(part=Part.CORRECTED, text=remark.action)
        if not remark.reflection:
            return (action,)
        return (Segment(part=Part.REFLECTION, text=f"{remark.reflection}{mark}"), action)

    return write


def action_alone(remark: Remark) -> tuple[Segment, ...]:
    """Return the action without a word: for environments that take actions only. The reflection is kept in the verdicts."""
    return (Segment(part=Part.CORRECTED, text=remark.action),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """A trajectory, what each piece of its turns is, and what the teacher said; ``parts`` and ``remarks`` are by step id.

    The turns that the teacher wrote have no remark. They carry no tokens until a model's are given to them (``spelled``).
    """

    trajectory: Trajectory
    parts: Mapping[str, tuple[Segment, ...]]
    remarks: Mapping[str, Remark] = field(default_factory=dict)

    @property
    def mistakes(self) -> int:
        """How many steps were wrong or suboptimal."""
        return sum(one.part in MISTAKES for turn in self.parts.values() for one in turn[:1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """What came out. ``dropped`` counts the episodes that were not kept, by reason.

    ``counts``: ``steps`` of the agent, of these ``wrong``, ``suboptimal`` and ``unjudged`` (the teacher's answer could not be read);
    ``corrections``, and how many of them the environment ``refused``.
    """

    kept: tuple[Corrected, ...]
    dropped: Mapping[str, int]
    counts: Mapping[str, int]


@dataclass(slots=True)
class _Watch:
    """An episode with what was said of it; ``due`` is the turn that the teacher takes next."""

    episode: Episode
    parts: dict[str, tuple[Segment, ...]] = field(default_factory=dict)
    remarks: dict[str, Remark] = field(default_factory=dict)
    due: tuple[Segment, ...] = ()
    best: str | None = None


def correct(
    hosts: Hosts,
    agent: Sampler,
    teacher: Teacher,
    jobs: Sequence[Job],
    *,
    limits: Limits,
    sampling: Sampling | None = None,
    write: Write = action_alone,
    accept: Accept = succeeded,
    constrain: bool = True,
    slots: int = 256,
    ledger: Ledger | None = None,
) -> Corrections:
    """Run all jobs under the eyes of ``teacher`` and keep the trajectories that ``accept`` takes.

    The step that the teacher calls wrong stays, and the teacher's turn answers what it led to; then the agent goes on behind both, with one
    batched call a turn for all live episodes. A turn of the teacher that the environment refuses counts as wrong too. Any sampler that can be put
    behind turns (``Primes``) will do as the agent. Environment steps, tokens, and a judge call for each step watched are charged to ``ledger``.
    """
    if slots < 1:
        raise ConfigError(f"slots is {slots!r}; it must be 1 or more.")
    if not isinstance(agent, Primes):
        raise ConfigError(
            f"{type(agent).__name__} cannot go on behind a turn that it did not take, so it cannot be corrected. Use a model that can be primed."
        )
    ledger = ledger or Ledger()
    counts: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    kept: list[Corrected] = []
    sampling = sampling or Sampling()
    for first in range(0, len(jobs), slots):
        for watch in _run(
            hosts, agent, teacher, jobs[first : first + slots], limits, sampling, write, constrain, ledger, counts
        ):  # fmt: skip
            one = watch.episode.trajectory()
            if one.end in (End.ERROR, End.CANCELLED):
                dropped["broken"] += 1
            elif not accept(one):
                dropped["not accepted"] += 1
            else:
                kept.append(Corrected(trajectory=one, parts=watch.parts, remarks=watch.remarks))
    names = ("steps", "wrong", "suboptimal", "unjudged", "corrections", "refused")
    return Corrections(kept=tuple(kept), dropped=dict(dropped), counts={name: counts[name] for name in names})


def _run(
    hosts: Hosts,
    agent: Sampler,
    teacher: Teacher,
    jobs: Sequence[Job],
    limits: Limits,
    sampling: Sampling,
    write: Write,
    constrain: bool,
    ledger: Ledger,
    counts: Counter[str],
) -> list[_Watch]:
    started = hosts.start([(job.id, job.task) for job in jobs])
    watches = [_begun(job, seen, limits, constrain) for job, seen in zip(jobs, started, strict=True)]
    try:
        while live := [one for one in watches if one.episode.end is None]:
            taught = [one for one in live if one.due]
            acting = [one for one in live if not one.due]
            _take(hosts, [(one, _taught(one)) for one in taught], ledger)
            for one in taught:
                _note_correction(one, counts)
                _put_behind(agent, one)
            _act(hosts, agent, teacher, acting, sampling, ledger)
            _listen(hosts, teacher, [one for one in acting if _fresh(one)], write, ledger, counts)
    finally:
        hosts.stop([job.id for job in jobs])
        agent.release([job.id for job in jobs])
    ledger.add(episodes=len(watches))
    return watches


def _begun(job: Job, seen: Observation | WorldError, limits: Limits, constrain: bool) -> _Watch:
    if job.prefix:
        raise ConfigError(f"job {job.id!r} begins behind stored steps; corrections are built from the start.")
    if isinstance(seen, WorldError):
        episode = Episode(job, limits, constrain, Observation(text=""))
        episode.end, episode.error = End.ERROR, str(seen)
        return _Watch(episode)
    return _Watch(Episode(job, limits, constrain, seen))


# --- turns ----------------------------------------------------------------------------------------


def _act(
    hosts: Hosts,
    agent: Sampler,
    teacher: Teacher,
    acting: Sequence[_Watch],
    sampling: Sampling,
    ledger: Ledger,
) -> None:
    """Let the agent take a turn in each episode."""
    if not acting:
        return
    if teacher.oracle:
        for one, best in zip(acting, _oracle(hosts, acting), strict=True):
            one.best = best
    answers = agent.sample([one.episode.request() for one in acting], sampling)
    turns = []
    for one, answer in zip(acting, answers, strict=True):
        count_usage(ledger, answer)
        if not one.episode.failed_generation(answer):
            turns.append((one, answer))
    _take(hosts, turns, ledger)


def _take(hosts: Hosts, turns: Sequence[tuple[_Watch, Generation]], ledger: Ledger) -> None:
    acted = hosts.act([(one.episode.job.id, answer.text) for one, answer in turns])
    for (one, answer), found in zip(turns, acted, strict=True):
        if one.episode.record(answer, found) is not None:
            ledger.add(environment_steps=1)


def _taught(one: _Watch) -> Generation:
    return Generation(text=text_of(one.due), stop=Stop.STOP)


def _note_correction(one: _Watch, counts: Counter[str]) -> None:
    """Say what the teacher's turn is, now that the environment has answered it."""
    turn, one.due = one.due, ()
    if one.episode.end is End.ERROR:
        return
    step = one.episode.steps[-1]
    counts["corrections"] += 1
    if not step.action.valid:
        counts["refused"] += 1
        turn = (Segment(part=Part.WRONG, text=step.action.text),)
    one.parts[step.id] = turn


def _put_behind(agent: Sampler, one: _Watch) -> None:
    """Put the agent behind all turns, the teacher's among them."""
    assert isinstance(agent, Primes)  # noqa: S101 -- correct refuses others
    episode = one.episode
    if episode.end is not None:
        return
    pairs = zip((None, *episode.steps), episode.steps, strict=False)
    turns = [
        Turn(
            messages=messages_of(episode.job.task, step.observation, after=last),
            text=step.action.text,
            tokens=step.tokens,
        )
        for last, step in pairs
    ]
    agent.release([episode.job.id])
    agent.prime(episode.job.id, turns)


# --- the teacher ----------------------------------------------------------------------------------


def _fresh(one: _Watch) -> bool:
    """Whether the agent's turn was recorded, also where it ended the episode."""
    steps = one.episode.steps
    return one.episode.end is not End.ERROR and bool(steps) and steps[-1].id not in one.parts


def _listen(
    hosts: Hosts,
    teacher: Teacher,
    watched: Sequence[_Watch],
    write: Write,
    ledger: Ledger,
    counts: Counter[str],
) -> None:
    """Ask the teacher about the last step of each episode."""
    if not watched:
        return
    going = [one for one in watched if one.episode.end is None]
    further = dict(zip(map(id, going), _oracle(hosts, going), strict=True)) if teacher.oracle else {}
    shown = [
        Watched(
            task=one.episode.job.task,
            before=tuple(one.episode.steps[:-1][-teacher.window :]) if teacher.window else (),
            step=one.episode.steps[-1],
            now=one.episode.observation,
            best=one.best,
            further=further.get(id(one)),
        )
        for one in watched
    ]
    said = teacher.remarks(shown)
    ledger.add(judge_calls=len(shown))
    for one, remark in zip(watched, said, strict=True):
        step = one.episode.steps[-1]
        counts["steps"] += 1
        if remark.part is not Part.CORRECT:
            counts[remark.part.value] += 1
        one.remarks[step.id] = remark
        one.parts[step.id] = (Segment(part=remark.part, text=step.action.text),)
        if remark.part in MISTAKES and remark.action and one.episode.end is None:
            one.due = write(remark)


def _oracle(hosts: Hosts, some: Sequence[_Watch]) -> list[str | None]:
    answers = hosts.oracle([one.episode.job.id for one in some])
    return [None if isinstance(answer, WorldError) else answer for answer in answers]
