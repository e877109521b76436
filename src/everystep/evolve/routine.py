"""Skills in a run: a plan node names a skill with its values, and its steps are taken without asking a model.

Every step is an ordinary one, with its gate, its journal and its checks; the effect that the skill says is looked at after each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from everystep.core.protocols import Generation, Request, Sampling, Situation, Transition
from everystep.core.records import Action, Json, Level, Message, Stop, Verdict
from everystep.evolve.skills import Binding, Skill, came_true, fill
from everystep.run.decide import Way

_CALL = re.compile(r"(\w{1,64}) (\{.*\})", re.DOTALL)


def written_call(skill: Skill, values: Mapping[str, Json]) -> str:
    """Return the instruction of a plan node that calls a skill.

    >>> written_call(Skill(name="fetch", description="", parameters=("a",), steps=()), {"a": "rod 1"})
    'fetch {"a": "rod 1"}'
    """
    return f"{skill.name} {json.dumps({name: values.get(name) for name in skill.parameters})}"


def read_call(text: str, skills: Mapping[str, Skill]) -> tuple[Skill, Binding] | None:
    """Return the skill that an instruction calls, with its values; ``None`` where it calls none, or not rightly."""
    match = _CALL.fullmatch(text)
    skill = skills.get(match[1]) if match else None
    if match is None or skill is None:
        return None
    try:
        values = json.loads(match[2])
    except (ValueError, RecursionError):
        return None
    if set(values) != set(skill.parameters) or not all(isinstance(one, str) for one in values.values()):
        return None
    return skill, {number: values[name] for number, name in enumerate(skill.parameters)}


def callable_in_a_plan(skill: Skill) -> bool:
    """Say whether every step of a skill is known beforehand: it has no optional ones, and no step speaks of a value that nobody gives."""
    numbers = {part for step in skill.steps for part in step.action if isinstance(part, int)}
    return not any(step.optional for step in skill.steps) and numbers <= set(range(len(skill.parameters)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Routine:
    """A sampler that writes the next action of the skill that the goal calls."""

    skills: Mapping[str, Skill]
    policy: str = "routine"

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:  # noqa: ARG002
        """Answer all requests from the goal and the number of the step that they show."""
        return [self._answer(request) for request in requests]

    def release(self, sessions: Sequence[str]) -> None:
        """Nothing is kept."""

    def _answer(self, request: Request) -> Generation:
        goal, index = json.loads(request.messages[-1].content)
        call = read_call(goal, self.skills)
        if call is None or index >= len(call[0].steps):
            return Generation(
                text="", stop=Stop.ERROR, error=f"{goal[:100]!r} calls no skill at step {index}."
            )
        return Generation(text=fill(call[0].steps[index].action, call[1]), stop=Stop.STOP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The view of a routine: the goal and the number of the step, as a JSON list."""

    window: int = 0

    def messages(self, situation: Situation) -> tuple[Message, ...]:
        """Return the prompt of one step."""
        return (Message(role="user", content=json.dumps([situation.goal, situation.index])),)


@dataclass(frozen=True, slots=True, kw_only=True)
class WithSkills:
    """The ways of a role: a goal that calls a skill is a routine, any other one goes the way that it would go without skills."""

    skills: Mapping[str, Skill]
    otherwise: tuple[Way, ...]

    def __call__(self, situation: Situation) -> Sequence[Way]:
        """Return the ways for one step."""
        if read_call(situation.goal, self.skills) is None:
            return self.otherwise
        return (Way(sampler=Routine(skills=self.skills), context=Where()),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Fails a step that was refused, or that had another effect than the skill says."""

    skills: Mapping[str, Skill]
    name: str = "taken"
    threshold: float = 0.5

    async def check(self, situation: Situation, action: Action, transition: Transition | None) -> Verdict:  # noqa: ARG002
        """Look at what the act led to."""
        why = None
        if transition is not None and not transition.valid:
            why = transition.reason or "it was refused"
        call = read_call(situation.goal, self.skills)
        if why is None and transition is not None and call is not None:
            step = call[0].steps[situation.index]
            if not came_true(step, transition.observation, call[1]):
                why = f"step {situation.index + 1} of {call[0].name} had another effect"
        return Verdict(
            level=Level.STEP,
            targets=(situation.step,),
            judge=self.name,
            score=float(why is None),
            reason=why,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AllTaken:
    """Says that a node which calls a skill is complete after the skill's last step, and no other node is."""

    skills: Mapping[str, Skill]
    name: str = "all taken"
    threshold: float = 0.5

    async def check(self, situation: Situation, action: Action, transition: Transition | None) -> Verdict:  # noqa: ARG002
        """Count."""
        call = read_call(situation.goal, self.skills)
        score = 0.0 if call is None else float(situation.index + 1 >= len(call[0].steps))
        return Verdict(level=Level.STEP, targets=(situation.step,), judge=self.name, score=score)
