"""The runner: the one place with control flow.

Pick a ready node of the plan, decide (sample, flags, vote), ask whether the act is feasible and may happen, act, verify, record,
repair or go on. Nothing here looks at more than the last few steps, so a step costs the same however many came before.

The journal is written before an act outside of the process and after every step. What is in it is enough to go on after
the process was killed at any point (``run.resume``). A failed step is data: it is recorded, told to the agent and tried again within
``Patience``; it is never an exception out of ``run``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from everystep.core.acts import (
    ApprovalRequest,
    Effect,
    Permission,
    Reversal,
    action_digest,
    idempotency_key,
)
from everystep.core.budget import Budget
from everystep.core.codec import encode
from everystep.core.errors import BudgetError, ToolError, WorldError
from everystep.core.protocols import (
    Candidate,
    Checks,
    Environment,
    Generation,
    Outside,
    Situation,
    Transition,
    Trusts,
)
from everystep.core.records import Action, End, Observation, Step, Stop, Task, Verdict
from everystep.core.trace import Kind
from everystep.run.course import Course, Place
from everystep.run.decide import Decider, Decision, Role
from everystep.run.follow import Follow
from everystep.run.journal import Journal
from everystep.run.parts import UNMET, Bounds, Outcome, Over, Parts, fails
from everystep.run.plan import Plan

_IN_PROCESS = Effect(name="act")
_USUAL_WINDOW = 8
_BREATH = 16


class Runner:
    """One run of one task. Make it, then ``await run()``; ``run.resume.resumed`` makes one that goes on.

    ``journal`` is an open journal whose first event says what the run is.
    """

    def __init__(
        self,
        *,
        run: str,
        task: Task,
        environment: Environment,
        parts: Parts,
        journal: Journal,
        bounds: Bounds | None = None,
        budget: Budget | None = None,
        seed: int = 0,
        plan: Plan | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.parts = parts
        self.environment = environment
        self.journal = journal
        self.bounds = bounds or Bounds()
        self.budget = budget or Budget({})
        self.plan = plan
        self.decider = Decider(seed=seed, budget=self.budget, observers=parts.observers, sleep=sleep)
        self.course = Course(
            run=run, task=task, environment=environment, window=_window(parts.operator), digest=parts.digest
        )
        self.trusts = parts.gate if isinstance(parts.gate, Trusts) else None
        self.halt: Over | None = None
        self._check = environment.checked if isinstance(environment, Checks) else None
        self._clock = clock
        self._clocked = clock()

    # --- the run --------------------------------------------------------------------------------

    async def run(self) -> Outcome:
        """Work until the task is over, a limit is met, or the run has to wait for somebody."""
        course = self.course
        agent = self.parts.operator.name
        self._tell("run", course.run, started=True, agent=agent, task=course.task.id)
        over = Over(None)
        try:
            if not course.begun:
                self._begin()
            await self._everything()
        except Over as error:
            over = error
        except BudgetError as error:
            over = Over(End.BUDGET, str(error))
        except WorldError as error:
            over = Over(End.ERROR, str(error))
        except asyncio.CancelledError:
            self._end(Over(End.CANCELLED, "the run was cancelled"))
            raise
        finally:
            self._tell("run", course.run, started=False, end=None if over.end is None else over.end.value)
        return self._end(over)

    def _begin(self) -> None:
        course = self.course
        edits = () if self.plan is None else self.plan.edits()
        self.journal.append_many([(Kind.TASK, course.task), *((Kind.PLAN, edit) for edit in edits)])
        course.observation = self.environment.reset(course.task)
        course.begun = True

    async def _everything(self) -> None:
        if self.halt is not None:
            raise self.halt
        if self.course.over is not None:
            raise Over(self.course.over)
        if self.plan is not None:
            follow = Follow(
                plan=self.plan,
                course=self.course,
                journal=self.journal,
                planner=self.parts.planner,
                parallel=self.bounds.parallel,
                work=self._work,
                tell=self._tell,
            )
            await follow.all()
            raise Over(End.DONE if self.plan.complete else End.FAILED)
        place = self.course.place()
        if await self._work(place):
            raise Over(End.DONE)
        raise Over(End.FAILED, place.why)

    def _end(self, over: Over) -> Outcome:
        course = self.course
        if over.end is not None:
            body = {"end": over.end, "why": over.why, "steps": course.steps, "cost": course.cost}
            events = [(Kind.TRAJECTORY, course.ending(over.end, over.why)), (Kind.END, body)]
            self.journal.append_many(events)
        elif course.begun:
            self.checkpoint()
        return Outcome(
            run=course.run,
            end=over.end,
            success=course.success,
            steps=course.steps,
            reward=course.reward,
            observation=course.observation,
            why=over.why,
            waiting=over.waiting,
            cost=dict(course.cost),
        )

    # --- one node -------------------------------------------------------------------------------

    async def _work(self, place: Place) -> bool:
        """Take steps for one node until it is done; return whether it was."""
        while not place.complete:
            if self.course.steps % _BREATH == 0:
                await asyncio.sleep(
                    0
                )  # where nothing is waited for, signals, timers and a live view need a turn
            if place.max_steps is not None and place.index >= place.max_steps:
                place.why = place.feedback or f"not complete after {place.max_steps} steps"
                return False
            if place.failed > self.parts.patience.failed:
                place.why = f"{place.failed} steps in a row failed: {place.feedback}"
                return False
            if not await self._step(place):
                return False
        return True

    async def _step(self, place: Place) -> bool:
        """Take one step; return whether one was taken. Attempts that do not count are tried again."""
        limit = self.bounds.max_steps
        if limit is not None and self.course.steps >= limit:
            raise Over(End.TRUNCATED, f"the limit of {limit} steps is reached")
        allows = self.parts.patience.allows
        while True:
            spent = [cause for cause, times in place.failures.items() if not allows(cause, times)]
            if spent:
                place.why = f"{spent[0]}: {place.feedback}"
                return False
            cause = await self._attempt(place)
            if cause is None:
                return True
            place.failures[cause] += 1

    def situation(self, place: Place) -> Situation:
        step, attempt = f"{place.node}/{place.index}", place.failures.total()
        situation = Situation(
            run=self.course.run,
            task=self.course.task,
            node=place.node,
            goal=place.goal,
            step=f"{step}.{attempt}" if attempt else step,
            index=place.index,
            observation=place.observation,
            recent=tuple(place.recent),
            digest=place.digest,
            feedback=place.feedback,
            attempt=attempt,
        )
        notes = self._results(place.node)
        if self.parts.recall is not None:
            notes += self.parts.recall.recall(situation)
        return replace(situation, notes=notes) if notes else situation

    def _results(self, node: str) -> tuple[str, ...]:
        """Return what the nodes that this one needs have found."""
        if self.plan is None or node not in self.plan:
            return ()
        found = ((need, self.plan.result(need)) for need in self.plan.node(node).needs if need in self.plan)
        return tuple(f"{need}: {result}" for need, result in found if result)

    async def _attempt(self, place: Place) -> str | None:
        """Try one step; return why it does not count, ``None`` if it does."""
        situation = self.situation(place)
        self._spend_time()
        ticket = self.budget.reserve({"steps": 1})
        taken = 0
        try:
            decision = await self._decide(situation)
            if decision.chosen is None:
                if decision.cause == "model":
                    raise Over(None, f"no model answers: {decision.why} Resume when it does.")
                return self._discount(place, situation, decision, decision.cause, decision.why)
            refusal = await self._before(place, situation, decision, decision.chosen.action)
            if refusal is not None:
                return refusal
            taken = 1
            return await self._act(place, situation, decision, decision.chosen.action)
        finally:
            self.budget.settle(ticket, {"steps": taken})

    def _spend_time(self) -> None:
        now = self._clock()
        self.budget.settle(self.budget.reserve({}), {"seconds": now - self._clocked})
        self._clocked = now
        if self.budget.left("seconds") <= 0:
            raise BudgetError("budget for 'seconds' is spent. Raise the limit or stop here.")

    async def _decide(self, situation: Situation) -> Decision:
        given = self.course.asked.pop(situation.step, None)
        if given is not None:  # a person was asked about this very action, or wrote it
            generation = Generation(text=given.text, stop=Stop.STOP)
            return Decision(chosen=Candidate(sample=0, action=given, generation=generation))
        return await self.decider.decide(
            self.parts.operator, situation, parse=self.environment.parse, check=self._check
        )

    async def _before(
        self, place: Place, situation: Situation, decision: Decision, action: Action
    ) -> str | None:
        """Ask whether the act is feasible and may happen; return the cause of a refusal."""
        for verifier in self.parts.feasible:
            verdict = await verifier.check(situation, action, None)
            if fails(verifier, verdict):
                why = verdict.reason or f"{verifier.name} says that this cannot be done now"
                return self._discount(place, situation, decision, "infeasible", why)
        if self.parts.gate is None:
            return None
        outside = self.course.outside
        effect = _IN_PROCESS if outside is None else outside.effect(action)
        self._tell("gate", situation.step, started=True)
        permission = await self.parts.gate.permit(situation, action, effect)
        self._tell("gate", situation.step, started=False, permit=permission.permit.value)
        if permission.approval is not None:
            self.journal.append(Kind.ANSWERED, permission.approval)
        if permission.allowed:
            return None
        if permission.pending:
            raise self._paused(situation, decision, action, effect, permission)
        why = permission.reason or "this action is not permitted"
        if permission.action is not None:  # edited: another action, so another step
            again = f"{place.node}/{place.index}.{situation.attempt + 1}"
            self.course.asked[again] = permission.action
        return self._discount(place, situation, decision, "refused", why, instead=permission.action)

    def _paused(
        self,
        situation: Situation,
        decision: Decision,
        action: Action,
        effect: Effect,
        permission: Permission,
    ) -> Over:
        """Journal the question that the run waits with; going on asks about this action and no other."""
        request = permission.request or ApprovalRequest(
            id=situation.step,
            run=self.course.run,
            step=situation.step,
            action=action,
            digest=action_digest(action),
            effect=effect,
            reason=permission.reason,
            permit=permission.permit,
        )
        self.course.pay(decision.cost)
        self.journal.append_many([*decision.events, (Kind.ASKED, request)])
        self.course.asked[situation.step] = action
        return Over(None, f"step {situation.step!r} waits for approval: {permission.reason}", request)

    def _discount(
        self,
        place: Place,
        situation: Situation,
        decision: Decision,
        cause: str,
        why: str,
        *,
        instead: Action | None = None,
    ) -> str:
        """Journal an attempt that does not count, with its evidence and its price; return the cause."""
        self.course.pay(decision.cost)
        place.feedback = why
        body: dict[str, Any] = {"step": situation.step, "cause": cause, "reason": why, "cost": decision.cost}
        if decision.chosen is not None:
            body["action"] = encode(decision.chosen.action)
        if instead is not None:
            body["instead"] = encode(instead)
        self.journal.append_many([*decision.events, (Kind.ATTEMPT, body)])
        return cause

    # --- acting ---------------------------------------------------------------------------------

    async def _act(
        self, place: Place, situation: Situation, decision: Decision, action: Action
    ) -> str | None:
        course = self.course
        before = course.undo.snapshot() if course.undo is not None and self.parts.verifiers else None
        events = list(decision.events)
        result = None if self.parts.finish is None else self.parts.finish(action)
        if result is not None:
            place.complete, place.result = True, result
            said = Transition(observation=place.observation, reward=0.0)
            return await self.record(place, situation, decision, action, said, events)
        tool = ",".join(call.name for call in action.calls)
        self._tell("act", situation.step, started=True, action=action.text[:200], tool=tool)
        if course.outside is None:
            transition = self.environment.step(action)
        else:
            events = self.announce(course.outside, situation.step, action, events)
            transition = await self.act_outside(course.outside, situation.step, action)
            events.append((Kind.FINISHED, {"step": situation.step, "transition": transition}))
        self._tell("act", situation.step, started=False, valid=transition.valid, reward=transition.reward)
        return await self.record(place, situation, decision, action, transition, events, before)

    def announce(
        self, outside: Outside, step: str, action: Action, events: list[tuple[Kind, Any]]
    ) -> list[tuple[Kind, Any]]:
        """Journal that an act is about to happen, unless it only reads; return what is left to be written with its step.

        A read that a crash interrupts is decided again.
        """
        effect = outside.effect(action)
        if effect.reversal is Reversal.PURE:
            return events
        key = idempotency_key(self.course.run, step, action_digest(action))
        body = {"step": step, "key": key, "action": action}
        self.journal.append_many([*events, (Kind.STARTED, body)])
        self.course.acting[step] = body
        if not effect.repeatable:
            self.journal.sync()
        return []

    async def act_outside(self, outside: Outside, step: str, action: Action) -> Transition:
        """Act under the idempotency key of the step; a tool that breaks is an answer too."""
        key = idempotency_key(self.course.run, step, action_digest(action))
        try:
            return await outside.act(action, key=key)
        except ToolError as error:
            text = str(error)
            return Transition(observation=Observation(text=text), reward=0.0, valid=False, reason=text)

    async def record(
        self,
        place: Place,
        situation: Situation,
        decision: Decision,
        action: Action,
        transition: Transition,
        events: list[tuple[Kind, Any]],
        before: object = None,
    ) -> str | None:
        """Verify and journal one act, then go on behind it, or take it back and return why."""
        course, parts = self.course, self.parts
        if not transition.valid and action.valid:
            action = replace(action, valid=False, reason=transition.reason)
        failed: Verdict | None = None
        verdicts: list[tuple[Kind, Any]] = []
        for verifier in parts.verifiers:
            verdict = await verifier.check(situation, action, transition)
            verdicts.append((Kind.VERDICT, verdict))
            if self.trusts is not None and verdict.score is not None:
                self.trusts.outcome(not fails(verifier, verdict))
            failed = verdict if failed is None and fails(verifier, verdict) else failed
        if parts.complete is not None and not place.atomic:
            verdict = await parts.complete.check(situation, action, transition)
            verdicts.append((Kind.VERDICT, verdict))
            if failed is None and not fails(parts.complete, verdict):
                place.complete = True
        undone = failed is not None and before is not None
        node = "" if self.plan is None else place.node
        agent = parts.operator.name
        step = _step(course, node, situation, decision, action, transition, agent, undone)
        why = "" if failed is None else failed.reason or UNMET
        events += [(Kind.STEP, step), *verdicts]
        if undone:
            events.append((Kind.ATTEMPT, {"step": step.id, "cause": "failed", "reason": why}))
        self.journal.append_many(events)
        course.acting.pop(step.id, None)
        course.pay(decision.cost)
        if undone and course.undo is not None:
            course.undo.restore(before)
            place.feedback = why
            return "failed"
        streak = 0 if failed is None else place.failed + 1
        course.go_on(place, step, transition)
        place.feedback, place.failed = why, streak
        place.complete = place.complete and failed is None
        if course.steps % self.bounds.checkpoint_every == 0:
            self.checkpoint()
        self._limits(transition)
        return None

    def _limits(self, transition: Transition) -> None:
        course, invalid = self.course, self.bounds.invalid
        if course.over is not None:
            raise Over(course.over, "the environment's step limit is reached" if transition.truncated else "")
        if invalid is not None and course.invalid >= invalid:
            course.success = False
            raise Over(End.FAILED, f"{course.invalid} invalid actions in a row")

    def checkpoint(self) -> None:
        """Write down where the run stands, so that going on need not read what came before."""
        body = {**self.course.dump(), "seconds": self.budget.used("seconds")}
        if self.trusts is not None:
            body["trust"] = self.trusts.dump()
        self.journal.append(Kind.CHECKPOINT, body)

    def _tell(self, operation: str, key: str, *, started: bool, **facts: Any) -> None:
        for observer in self.parts.observers:
            (observer.started if started else observer.ended)(operation, key, facts)


def _step(
    course: Course,
    node: str,
    situation: Situation,
    decision: Decision,
    action: Action,
    transition: Transition,
    agent: str,
    undone: bool,
) -> Step:
    chosen = decision.chosen
    assert chosen is not None  # noqa: S101 -- the caller has one
    return Step(
        id=situation.step,
        parent=course.last,
        index=course.steps,
        observation=situation.observation,
        action=action,
        reward=transition.reward,
        scores=transition.scores,
        tokens=chosen.generation.tokens,
        agent=agent,
        stop=chosen.generation.stop,
        node=node,
        cost=decision.cost,
        undone=undone,
    )


def _window(role: Role) -> int:
    """Return how many recent steps the role's views want at most."""
    own = _USUAL_WINDOW if callable(role.ways) else max((way.context.window for way in role.ways), default=0)
    return max(own, _window(role.fallback) if role.fallback is not None else 0)
