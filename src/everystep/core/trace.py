"""The trace: append-only events, folded into the step tree that everything else is read from.

An event is never changed. Verdicts and credit arrive as later events beside the steps. A trajectory
is the walk from its leaf to the root, so branches that share a prefix store it once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from everystep.core.codec import decode, encode
from everystep.core.errors import StoreError, did_you_mean
from everystep.core.records import (
    End,
    Group,
    Observation,
    Step,
    StepCredit,
    Task,
    Trajectory,
    Verdict,
)


class Kind(StrEnum):
    """What an event says."""

    RUN = "run"  # body: what the run is (command, config, version)
    TASK = "task"  # body: a Task
    STEP = "step"  # body: a Step
    TRAJECTORY = "trajectory"  # body: an Ending
    VERDICT = "verdict"  # body: a Verdict
    CREDIT = "credit"  # body: a StepCredit
    METRICS = "metrics"  # body: named numbers of one iteration
    CHECKPOINT = "checkpoint"  # body: iteration, phase and folder
    RESUMED = "resumed"  # body: {"after": seq}; the events between seq and this one are void
    END = "end"  # body: the End of the run and a reason
    PLAN = "plan"  # body: one edit of the plan
    FLAG = "flag"  # body: an answer that was thrown away, and why
    VOTE = "vote"  # body: the candidates of a step on which samples did not agree
    STARTED = (
        "started"  # body: step, key and action; an act that changes something outside is about to happen
    )
    FINISHED = "finished"  # body: step and the Transition that the act led to
    ASKED = "asked"  # body: an ApprovalRequest
    ANSWERED = "answered"  # body: an Approval
    ATTEMPT = "attempt"  # body: step, cause and reason; an attempt at a step that did not count
    NOTE = "note"  # body: something remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a journal. ``seq`` counts from 1 without gaps; ``time`` is seconds since 1970."""

    seq: int
    kind: Kind
    body: Mapping[str, Any]
    time: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What is stored of a trajectory beside its steps. ``leaf`` is its last step, ``None`` without steps."""

    id: str
    task: str
    group: str
    leaf: str | None
    end: End
    outcome: float | None = None
    success: bool | None = None
    seed: int = 0
    error: str | None = None
    final: Observation | None = None
    phase: str = ""
    iteration: int = 0


def ending_of(trajectory: Trajectory, *, phase: str = "", iteration: int = 0) -> Ending:
    """Return what is stored of ``trajectory`` beside its task and its steps."""
    return Ending(
        id=trajectory.id,
        task=trajectory.task.id,
        group=trajectory.group,
        leaf=trajectory.steps[-1].id if trajectory.steps else None,
        end=trajectory.end,
        outcome=trajectory.outcome,
        success=trajectory.success,
        seed=trajectory.seed,
        error=trajectory.error,
        final=trajectory.final,
        phase=phase,
        iteration=iteration,
    )


@dataclass(slots=True, kw_only=True)
class Trace:
    """Everything that the events of one run say, folded. Build it with ``fold``."""

    run: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    endings: dict[str, Ending] = field(default_factory=dict)
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    credits: dict[str, dict[str, StepCredit]] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    decisions: dict[str, list[Event]] = field(default_factory=dict)
    plan: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    end: dict[str, Any] | None = None
    last: int = 0

    def walk(self, leaf: str | None) -> tuple[Step, ...]:
        """Return the steps from the root to ``leaf``."""
        path = []
        while leaf is not None:
            step = self.steps.get(leaf)
            if step is None:
                raise StoreError(f"step {leaf!r} is named as a parent or leaf but is not in the journal.")
            path.append(step)
            if len(path) > len(self.steps):
                raise StoreError(f"step {leaf!r} is among its own parents. The journal is damaged.")
            leaf = step.parent
        return tuple(reversed(path))

    def trajectory(self, identifier: str) -> Trajectory:
        """Return one trajectory with its task and steps."""
        ending = self.endings.get(identifier)
        if ending is None:
            hint = did_you_mean(identifier, self.endings)
            raise StoreError(f"there is no finished trajectory {identifier!r} in the journal. {hint}")
        task = self.tasks.get(ending.task)
        if task is None:
            raise StoreError(
                f"trajectory {identifier!r} names task {ending.task!r}, which is not in the journal. "
                "Write the task before the trajectory that it belongs to."
            )
        return Trajectory(
            id=ending.id,
            task=task,
            group=ending.group,
            steps=self.walk(ending.leaf),
            end=ending.end,
            outcome=ending.outcome,
            success=ending.success,
            seed=ending.seed,
            error=ending.error,
            final=ending.final,
        )

    def trajectories(self, *, phase: str | None = None, iteration: int | None = None) -> Iterator[Trajectory]:
        """Yield the finished trajectories in the order in which they ended, all or of one phase."""
        for ending in self.endings.values():
            if phase in (None, ending.phase) and iteration in (None, ending.iteration):
                yield self.trajectory(ending.id)

    def groups(self, *, phase: str | None = None, iteration: int | None = None) -> list[Group]:
        """Return the trajectories by group, in the order of first appearance."""
        members: dict[str, list[Trajectory]] = {}
        for trajectory in self.trajectories(phase=phase, iteration=iteration):
            members.setdefault(trajectory.group, []).append(trajectory)
        return [Group(id=name, task=some[0].task, trajectories=tuple(some)) for name, some in members.items()]


def fold(events: Iterable[Event]) -> Trace:
    """Fold the events of one run, in order, into a trace.

    A ``RESUMED`` event makes the events after the one it names void: they belong to an iteration that
    was interrupted and is run again.
    """
    return replay(live(events))


def replay(events: Iterable[Event]) -> Trace:
    """Build a trace from events that all count, in order; a reader with an index need not hold them all."""
    trace = Trace()
    for event in events:
        if event.kind in DECISIONS:
            trace.decisions.setdefault(str(event.body.get("step", "")), []).append(event)
        else:
            _APPLY[event.kind](trace, event.body)
        trace.last = event.seq
    return trace


def live(events: Iterable[Event]) -> list[Event]:
    """Return the events that still count, without those that a resume made void."""
    kept: list[Event] = []
    for event in events:
        if event.kind is Kind.RESUMED:
            after = _after(event)
            while kept and kept[-1].seq > after:
                kept.pop()
        kept.append(event)
    return kept


def _after(event: Event) -> int:
    after = event.body.get("after")
    if type(after) is not int or not 0 <= after < event.seq:
        raise StoreError(
            f"event {event.seq} resumes after {after!r}; expected the number of an earlier event. "
            "The journal is damaged."
        )
    return after


def _run(trace: Trace, body: Mapping[str, Any]) -> None:
    trace.run = dict(body)


def _task(trace: Trace, body: Mapping[str, Any]) -> None:
    task = decode(Task, body)
    trace.tasks[task.id] = task


def _step(trace: Trace, body: Mapping[str, Any]) -> None:
    step = decode(Step, body)
    trace.steps[step.id] = step


def _ending(trace: Trace, body: Mapping[str, Any]) -> None:
    ending = decode(Ending, body)
    trace.endings[ending.id] = ending


def _verdict(trace: Trace, body: Mapping[str, Any]) -> None:
    verdict = decode(Verdict, body)
    for target in verdict.targets:
        trace.verdicts.setdefault(target, []).append(verdict)


def _credit(trace: Trace, body: Mapping[str, Any]) -> None:
    credit = decode(StepCredit, body)
    trace.credits.setdefault(credit.estimator, {})[f"{credit.trajectory}:{credit.step}"] = credit


def _metrics(trace: Trace, body: Mapping[str, Any]) -> None:
    trace.metrics.append(dict(body))


def _checkpoint(trace: Trace, body: Mapping[str, Any]) -> None:
    trace.checkpoints.append(dict(body))


def _plan(trace: Trace, body: Mapping[str, Any]) -> None:
    trace.plan.append(dict(body))


def _note(trace: Trace, body: Mapping[str, Any]) -> None:
    trace.notes.append(dict(body))


def _resumed(trace: Trace, _: Mapping[str, Any]) -> None:
    trace.end = None


def _end(trace: Trace, body: Mapping[str, Any]) -> None:
    trace.end = dict(body)


_APPLY = {
    Kind.RUN: _run,
    Kind.TASK: _task,
    Kind.STEP: _step,
    Kind.TRAJECTORY: _ending,
    Kind.VERDICT: _verdict,
    Kind.CREDIT: _credit,
    Kind.METRICS: _metrics,
    Kind.CHECKPOINT: _checkpoint,
    Kind.RESUMED: _resumed,
    Kind.END: _end,
    Kind.PLAN: _plan,
    Kind.NOTE: _note,
}
DECISIONS = frozenset(
    {Kind.FLAG, Kind.VOTE, Kind.STARTED, Kind.FINISHED, Kind.ASKED, Kind.ANSWERED, Kind.ATTEMPT}
)
"""The events about how a step came about; each body names its ``step``."""


def body_of(record: Any) -> dict[str, Any]:
    """Return the event body of a record."""
    body: dict[str, Any] = encode(record)
    return body
