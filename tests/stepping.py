"""Runs for tests: a voter on Hanoi with a stated error, and a bank whose acts cannot be taken back."""

from __future__ import annotations

from everystep.core.acts import Effect, Reversal, Risk
from everystep.core.protocols import (
    Environment,
    Generation,
    Request,
    Sampling,
    Settled,
    Situation,
    Transition,
)
from everystep.core.records import Action, Level, Observation, Stop, Task, Verdict
from everystep.core.trace import Kind
from everystep.environments.places.hanoi import Hanoi
from everystep.run.context import Window
from everystep.run.decide import Role, Way
from everystep.run.journal import Journal
from everystep.run.loop import Runner
from everystep.run.parts import Outcome, Parts
from everystep.run.resume import take_up
from everystep.run.rollout import seed_of
from everystep.run.vote import AheadBy


class Unsure:
    """Knows the way, and errs with a stated rate that depends on the request's seed only."""

    policy = "unsure"

    def __init__(self, environment: Environment, rate: float) -> None:
        self.environment, self.rate, self.calls = environment, rate, 0

    def sample(self, requests: list[Request], sampling: Sampling) -> list[Generation]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Generation:
        self.calls += 1
        text = self.environment.oracle()  # type: ignore[attr-defined]
        draw = seed_of("noise", request.seed) % 1000
        if draw < 1000 * self.rate:
            text = ("malformed", *(request.allowed or ()))[draw % (1 + len(request.allowed or ()))]
        return Generation(text=text, stop=Stop.STOP)

    def release(self, sessions: list[str]) -> None:
        pass


class Progress:
    """Fails a step that did not come closer."""

    name = "progress"
    threshold = 0.5

    async def check(self, situation: Situation, action: Action, transition: Transition | None) -> Verdict:
        good = transition is not None and transition.scores.get("progress", 0.0) > 0
        return Verdict(
            level=Level.STEP,
            targets=(situation.step,),
            judge=self.name,
            score=float(good),
            reason=None if good else "not closer",
        )


def hanoi(disks: int = 5, rate: float = 0.1) -> tuple[Task, Environment, Unsure]:
    world = Hanoi(disks=disks, start_from="full")
    environment = world.make()
    return world.task("train", 0), environment, Unsure(environment, rate)


def runner(journal: Journal, parts: Parts, task: Task, environment: Environment, **more: object) -> Runner:
    return Runner(run="r", task=task, environment=environment, parts=parts, journal=journal, **more)  # type: ignore[arg-type]


def voter(sampler: Unsure, k: int = 3, **more: object) -> Role:
    way = Way(sampler=sampler, context=Window(steps=2))
    return Role(name="agent", ways=(way,), vote=AheadBy(k), constrain=True, **more)  # type: ignore[arg-type]


def moves(journal: Journal) -> list[tuple[str, str]]:
    steps = [event.body for event in journal.events(kinds={Kind.STEP})]
    return [(one["id"], one["action"]["text"]) for one in steps if not one.get("undone")]


class Bank:
    """Books transfers outside of the process: a world whose acts cannot be taken back."""

    def __init__(self, booked: list[str], *, tells: bool = True, steps: int = 20) -> None:
        self.booked, self.tells, self.steps = booked, tells, steps
        self.seen = 0

    def reset(self, task: Task) -> Observation:
        return Observation(text="balance 0")

    def rejoin(self, task: Task, observation: Observation) -> Observation:
        return observation

    def parse(self, text: str) -> Action:
        return Action(text=text)

    def effect(self, action: Action) -> Effect:
        if action.text.startswith("look"):
            return Effect(name="look")
        return Effect(name="pay", reversal=Reversal.IRREVERSIBLE, risk=Risk.HIGH)

    async def act(self, action: Action, *, key: str) -> Transition:
        if action.text.startswith("look"):
            return self._after()
        self.booked.append(key)
        return self._after()

    async def settled(self, action: Action, *, key: str) -> Settled:
        if not self.tells:
            return Settled(known=False)
        return Settled(known=True, transition=self._after() if key in self.booked else None)

    def _after(self) -> Transition:
        paid = len(self.booked)
        return Transition(
            observation=Observation(text=f"balance {paid}"),
            reward=0.0,
            terminated=paid >= self.steps,
            success=True if paid >= self.steps else None,
        )

    def step(self, action: Action) -> Transition:
        raise NotImplementedError

    def close(self) -> None:
        pass


async def go(one: Runner) -> Outcome:
    await take_up(one)
    return await one.run()
