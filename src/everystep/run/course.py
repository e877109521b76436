"""Where a run stands: what it has done so far, in a few numbers and the last few steps, and how that is written down."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from everystep.core.codec import decode, encode
from everystep.core.protocols import Environment, Outside, Portable, Snapshots, Transition
from everystep.core.records import Action, End, Observation, Step, Task
from everystep.core.trace import Ending
from everystep.run.context import Digest

MAIN = "main"
"""The node of a run without a plan."""


@dataclass(slots=True, kw_only=True)
class Place:
    """Where the work on one plan node stands.

    ``recent`` holds no more steps than views ask for. ``failures`` counts the attempts at the present step that did not count, by
    cause; ``failed`` the steps in a row that were checked and found wrong.
    """

    node: str
    goal: str
    observation: Observation
    index: int = 0
    recent: deque[Step] = field(default_factory=deque)
    digest: str = ""
    feedback: str = ""
    why: str = ""
    failures: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    complete: bool = False
    result: str = ""
    atomic: bool = False
    max_steps: int | None = None


@dataclass(slots=True, kw_only=True)
class Course:
    """The state of one run. ``window`` is how many recent steps the views of a node want.

    ``asked`` are actions that somebody was asked about or gave, by the step that they are for; ``acting`` are acts outside of the
    process that have started and not finished.
    """

    run: str
    task: Task
    environment: Environment
    window: int = 0
    digest: Digest | None = None
    observation: Observation = field(default_factory=lambda: Observation(text=""))
    places: dict[str, Place] = field(default_factory=dict)
    steps: int = 0
    last: str | None = None
    reward: float = 0.0
    success: bool | None = None
    invalid: int = 0
    cost: dict[str, float] = field(default_factory=dict)
    asked: dict[str, Action] = field(default_factory=dict)
    acting: dict[str, dict[str, Any]] = field(default_factory=dict)
    begun: bool = False
    over: End | None = None
    outside: Outside | None = field(init=False)
    undo: Snapshots | None = field(init=False)
    portable: Portable | None = field(init=False)

    def __post_init__(self) -> None:
        environment = self.environment
        self.outside = environment if isinstance(environment, Outside) else None
        self.undo = environment if isinstance(environment, Snapshots) and self.outside is None else None
        self.portable = environment if isinstance(environment, Portable) else None

    def place(
        self, node: str = MAIN, goal: str | None = None, *, max_steps: int | None = None, atomic: bool = False
    ) -> Place:
        """Return where the work on a node stands, from its first step on.

        A node of a plan begins with what the world shows now; tools show nothing before they are called.
        """
        place = self.places.get(node)
        if place is None:
            fresh = self.outside is not None and node != MAIN
            place = self.places[node] = Place(
                node=node,
                goal=self.task.instruction if goal is None else goal,
                observation=Observation(text="") if fresh else self.observation,
                recent=deque(maxlen=self.window or 1),
                atomic=atomic,
                max_steps=max_steps,
            )
        return place

    def pay(self, cost: Mapping[str, float]) -> None:
        """Add to what the run has cost."""
        for name, amount in cost.items():
            self.cost[name] = self.cost.get(name, 0.0) + amount

    def go_on(self, place: Place, step: Step, transition: Transition) -> None:
        """Take a step's result as where the run stands now."""
        if self.digest is not None and len(place.recent) == place.recent.maxlen:
            place.digest = self.digest(place.digest, place.recent[0])
        place.recent.append(step)
        place.index += 1
        place.feedback = ""
        place.failed = 0
        place.failures.clear()
        place.complete = place.complete or place.atomic
        place.observation = self.observation = transition.observation
        self.last = step.id
        self.steps += 1
        self.reward += step.reward or 0.0
        self.invalid = 0 if step.action.valid else self.invalid + 1
        if transition.terminated:
            self.success = transition.success
            self.over = End.FAILED if transition.success is False else End.DONE
        elif transition.truncated:
            self.over = End.TRUNCATED

    def ending(self, end: End, why: str) -> Ending:
        """Return what the journal keeps of the whole run."""
        decided = end in (End.DONE, End.FAILED, End.TRUNCATED)
        return Ending(
            id=self.run,
            task=self.task.id,
            group=self.task.id,
            leaf=self.last,
            end=end,
            outcome=self.reward if decided else None,
            success=self.success,
            error=why or None,
            final=self.observation if self.begun else None,
        )

    def dump(self) -> dict[str, Any]:
        """Return a checkpoint: JSON of a size that does not grow with the run."""
        return {
            "steps": self.steps,
            "last": self.last,
            "reward": self.reward,
            "invalid": self.invalid,
            "cost": dict(self.cost),
            "observation": encode(self.observation),
            "portable": self.portable is not None,
            "environment": None if self.portable is None else self.portable.dump(),
            "asked": {step: encode(action) for step, action in self.asked.items()},
            "acting": dict(self.acting),
            "places": [_dumped(one) for one in self.places.values()],
        }

    def load(self, body: Mapping[str, Any]) -> None:
        """Go back to a checkpoint, all but the environment."""
        self.steps, self.last, self.reward = body["steps"], body["last"], body["reward"]
        self.invalid, self.cost = body["invalid"], dict(body["cost"])
        self.observation = decode(Observation, body["observation"])
        self.asked = {step: decode(Action, one) for step, one in body["asked"].items()}
        self.acting = dict(body["acting"])
        self.places = {one["node"]: self._loaded(one) for one in body["places"]}
        self.begun = True

    def _loaded(self, body: Mapping[str, Any]) -> Place:
        return Place(
            node=body["node"],
            goal=body["goal"],
            observation=decode(Observation, body["observation"]),
            index=body["index"],
            recent=deque((decode(Step, one) for one in body["recent"]), maxlen=self.window or 1),
            digest=body["digest"],
            feedback=body["feedback"],
            failures=Counter(body["failures"]),
            failed=body["failed"],
            complete=body["complete"],
            result=body["result"],
            atomic=body["atomic"],
            max_steps=body["max_steps"],
        )


def _dumped(place: Place) -> dict[str, Any]:
    return {
        "node": place.node,
        "goal": place.goal,
        "observation": encode(place.observation),
        "index": place.index,
        "recent": [encode(step) for step in place.recent],
        "digest": place.digest,
        "feedback": place.feedback,
        "failures": dict(place.failures),
        "failed": place.failed,
        "complete": place.complete,
        "result": place.result,
        "atomic": place.atomic,
        "max_steps": place.max_steps,
    }
