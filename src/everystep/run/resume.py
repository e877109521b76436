"""Going on with a run that was stopped or killed, exactly where it was.

What counts is in the journal: the newest checkpoint and the events after it. Accepted steps are taken as they are and never decided
again. A simulated environment is put back (or its actions are executed again); acts that reached outside are never
repeated: one that was started and not finished is *in doubt*, and the tool's own check, or a person, says what became of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from everystep.core.codec import decode, encode
from everystep.core.errors import StoreError, WorldError
from everystep.core.protocols import Candidate, Generation, Outside, Situation, Transition, Turn
from everystep.core.records import Action, Observation, Step, Stop, Verdict
from everystep.core.trace import Event, Kind
from everystep.run.context import History
from everystep.run.course import MAIN, Course, Place
from everystep.run.decide import Decision
from everystep.run.follow import place_of
from everystep.run.loop import Runner
from everystep.run.nodes import Edit
from everystep.run.parts import UNMET, Over, fails
from everystep.run.plan import Plan


@dataclass(slots=True)
class _Seen:
    """What is known only until the next event of its kind."""

    finished: dict[str, Transition] = field(default_factory=dict)
    streak: int = 0


async def take_up(runner: Runner) -> None:
    """Bring a fresh ``runner``, over the journal of an earlier one, to where that one was.

    Raises ``WorldError`` when the environment does not come back as it was, and pauses (see ``Runner.run``) when an act is in
    doubt and nobody can tell. A journal without a task has not begun: the runner then begins it.
    """
    journal, course = runner.journal, runner.course
    if next(journal.events(kinds={Kind.TASK}), None) is None:
        return
    checkpoint = journal.newest(Kind.CHECKPOINT)
    after = 0
    if checkpoint is not None:
        course.load(checkpoint.body)
        after = checkpoint.seq
        if runner.trusts is not None and "trust" in checkpoint.body:
            runner.trusts.load(checkpoint.body["trust"])
    if runner.plan is not None:
        edits = [decode(Edit, event.body) for event in journal.events(kinds={Kind.PLAN})]
        runner.plan = Plan.rebuilt(edits)
    _place_environment(runner, checkpoint)
    course.begun = True
    _replay(runner, journal.events(after=after))
    if runner.plan is not None:
        for node in list(course.places):
            if not runner.plan.is_running(node):
                del course.places[node]
    if course.outside is not None and course.over is None:
        course.observation = course.outside.rejoin(course.task, course.observation)
    _reopen(runner)
    seconds = float(checkpoint.body.get("seconds", 0.0)) if checkpoint is not None else 0.0
    _book(runner, seconds)
    journal.append(Kind.RESUMED, {"after": journal.last})
    for body in list(course.acting.values()):
        try:
            await _resolve(runner, body)
        except Over as over:
            runner.halt = over


def _place_environment(runner: Runner, checkpoint: Event | None) -> None:
    """Put the environment where the checkpoint was: from its own state, or by executing the actions again."""
    course, environment = runner.course, runner.environment
    if course.outside is not None:
        if checkpoint is None:
            course.observation = environment.reset(course.task)
        return
    if checkpoint is not None and checkpoint.body["portable"] and course.portable is not None:
        seen = course.portable.load(course.task, checkpoint.body["environment"])
        _same(seen, course.observation, course.last)
        return
    seen = environment.reset(course.task)
    if checkpoint is None:
        course.observation = seen
        return
    for event in runner.journal.events(kinds={Kind.STEP}):
        if event.seq > checkpoint.seq:
            break
        step = decode(Step, event.body)
        finish = runner.parts.finish
        if not step.undone and (finish is None or finish(step.action) is None):
            _same(seen, step.observation, step.id)
            seen = environment.step(_as_taken(runner, step)).observation
    _same(seen, course.observation, course.last)


def _reopen(runner: Runner) -> None:
    """Put conversations that grow behind the steps that were taken for their nodes, so that they go on as they would have."""
    role, course = runner.parts.operator, runner.course
    if callable(role.ways) or not isinstance(role.ways[0].context, History):
        return
    taken: dict[str, list[tuple[Situation, Turn]]] = {}
    for event in runner.journal.events(kinds={Kind.STEP}):
        step = decode(Step, event.body)
        place = course.places.get(step.node or MAIN)
        if place is None or step.undone:
            continue
        some = taken.setdefault(place.node, [])
        situation = Situation(
            run=course.run,
            task=course.task,
            node=place.node,
            goal=place.goal,
            step=step.id,
            index=len(some),
            observation=step.observation,
        )
        some.append((situation, Turn(messages=(), text=step.action.text, tokens=step.tokens)))
    for node, turns in taken.items():
        runner.decider.reopen(role, course.run, node, turns)


def _replay(runner: Runner, events: Iterator[Event]) -> None:
    """Apply the events after the checkpoint."""
    course, seen = runner.course, _Seen()
    for event in events:
        body = event.body
        if event.kind is Kind.STARTED:
            course.acting[body["step"]] = dict(body)
        elif event.kind is Kind.FINISHED:
            course.acting.pop(body["step"], None)
            seen.finished[body["step"]] = decode(Transition, body["transition"])
        elif event.kind is Kind.STEP:
            _step(runner, decode(Step, body), seen)
        elif event.kind is Kind.ATTEMPT:
            _attempt(course, body)
        elif event.kind is Kind.ASKED:
            course.asked[body["step"]] = decode(Action, body["action"])
        elif event.kind is Kind.VERDICT:
            _verdict(runner, decode(Verdict, body), seen)


def _step(runner: Runner, step: Step, seen: _Seen) -> None:
    course = runner.course
    course.pay(step.cost)
    course.asked.pop(step.id, None)
    if step.undone:
        return
    place = _place(runner, step.node or MAIN)
    result = None if runner.parts.finish is None else runner.parts.finish(step.action)
    if result is not None:
        place.complete, place.result = True, result
        transition = Transition(observation=place.observation, reward=0.0)
    elif course.outside is None:
        _same(place.observation, step.observation, step.id)
        transition = runner.environment.step(_as_taken(runner, step))
    else:
        done = seen.finished.pop(step.id, None)
        if done is None:
            raise StoreError(
                f"step {step.id!r} has no result in the journal. It was written by another version."
            )
        transition = done
    seen.streak = place.failed
    course.go_on(place, step, transition)


def _attempt(course: Course, body: Mapping[str, Any]) -> None:
    """Count an attempt that did not count; it belongs to the node in its step's id."""
    node, _, number = str(body["step"]).rpartition("/")
    place = course.place(node)
    place.failures[body["cause"]] += 1
    place.feedback = body["reason"]
    course.pay(body.get("cost", {}))
    course.asked.pop(body["step"], None)
    if "instead" in body:
        base = number.partition(".")[0]
        course.asked[f"{node}/{base}.{place.failures.total()}"] = decode(Action, body["instead"])


def _verdict(runner: Runner, verdict: Verdict, seen: _Seen) -> None:
    """Take a stored verdict into account as when it was given."""
    parts, judged = runner.parts, None
    for verifier in parts.verifiers:
        if verdict.judge == verifier.name and verdict.score is not None:
            judged = fails(verifier, verdict)
    if runner.trusts is not None and judged is not None:
        runner.trusts.outcome(not judged)
    for target in verdict.targets:
        place = runner.course.places.get(target.rpartition("/")[0])
        if place is None or target != runner.course.last:
            continue
        if parts.complete is not None and verdict.judge == parts.complete.name:
            place.complete = place.complete or not fails(parts.complete, verdict)
        if judged:
            place.complete = False
            place.feedback = place.feedback or verdict.reason or UNMET
            place.failed = seen.streak + 1


def _place(runner: Runner, name: str) -> Place:
    if runner.plan is None:
        return runner.course.place(name)
    return place_of(runner.course, runner.plan.node(name))


def _as_taken(runner: Runner, step: Step) -> Action:
    """Return the action as it was before the environment refused it."""
    if step.action.valid or step.action.calls:
        return step.action
    parse = runner.parts.operator.parse or runner.environment.parse
    return parse(step.action.text)


def _same(seen: Observation, stored: Observation, step: str | None) -> None:
    if seen.text != stored.text:
        raise WorldError(
            f"the environment did not come back as it was at step {step!r}: it shows {seen.text[:200]!r}, the journal "
            f"says {stored.text[:200]!r}. It changed since, or it is not deterministic. Start a new run."
        )


def _book(runner: Runner, seconds: float) -> None:
    """Count what was used before against the budget."""
    course = runner.course
    tokens = sum(course.cost.get(f"{name}_tokens", 0.0) for name in ("prompt", "cached", "completion"))
    used = {
        "steps": float(course.steps),
        "calls": course.cost.get("samples", 0.0),
        "tokens": tokens,
        "usd": course.cost.get("usd", 0.0),
        "seconds": seconds,
    }
    runner.budget.settle(runner.budget.reserve({}), used)


# --- acts in doubt ----------------------------------------------------------------------------------


async def _resolve(runner: Runner, body: Mapping[str, Any]) -> None:
    """Find out what became of an act in doubt: take its result, do it again where it may be, or pause and ask."""
    outside, step, action = runner.course.outside, str(body["step"]), decode(Action, body["action"])
    assert outside is not None  # noqa: S101 -- only acts outside are ever in doubt
    if outside.effect(action).repeatable:
        runner.course.asked[step] = action
        return
    settled = await outside.settled(action, key=body["key"])
    if settled.transition is not None:
        await _take(runner, outside, step, action, settled.transition)
    elif settled.known or runner.parts.in_doubt == "repeat":
        runner.course.asked[step] = action
    elif runner.parts.in_doubt == "skip":
        text = "the result of this act is not known: the run was interrupted while it happened"
        unknown = Transition(observation=Observation(text=text), reward=0.0)
        await _take(runner, outside, step, action, unknown)
    else:
        raise Over(
            None,
            f"step {step!r} was interrupted while it acted ({action.text[:200]!r}), it cannot be taken back, and "
            "nothing can tell whether it happened. Look, then resume with --in-doubt skip (it happened) or "
            "--in-doubt repeat (it did not).",
        )


async def _take(runner: Runner, outside: Outside, step: str, action: Action, transition: Transition) -> None:
    place = _place(runner, step.rpartition("/")[0])
    generation = Generation(text=action.text, stop=Stop.STOP)
    decision = Decision(chosen=Candidate(sample=0, action=action, generation=generation))
    events: list[tuple[Kind, Any]] = [(Kind.FINISHED, {"step": step, "transition": encode(transition)})]
    await runner.record(place, runner.situation(place), decision, action, transition, events)
    runner.course.observation = outside.rejoin(runner.course.task, transition.observation)
