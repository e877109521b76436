"""Shortcuts: skills that an agent writes down itself after a task and calls by name, as one action (Mobile-Agent-E, S27).

A shortcut runs its gestures blindly, one after the other, and says at which one it stopped. What a model writes is read strictly and is
data: a gesture is fixed texts and parameters, nothing of it is executed but through the environment's own ``parse`` and ``step``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from everystep.core.codec import encode
from everystep.core.errors import ConfigError
from everystep.core.protocols import Environment, Outside, Transition
from everystep.core.records import Action, Json, Observation, Task
from everystep.evolve.memory import Item, Memory, Sort
from everystep.evolve.shapes import joined
from everystep.evolve.skills import Skill, SkillStep, Template, fill, told

MOST = 12
"""Gestures of a shortcut."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_SLOT = re.compile(r"<([a-z][a-z0-9_]{0,20})>")
_CALL = re.compile(r"use ([a-z][a-z0-9_]{0,40})(?: (\{.*\}))?", re.DOTALL)


def read_shortcut(text: str) -> tuple[Skill | None, str]:
    """Return the shortcut that a model wrote as a JSON object, or ``None`` and what is wrong with it.

    ``name``, ``description``, ``arguments`` (names), ``sequence`` (gestures, arguments as ``<name>``), ``precondition`` (gestures that must be
    possible at its start), ``about`` (words of a task that it is for) and ``after`` (how the screen's text begins at its end).
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None, "it is not JSON"
    if not isinstance(data, dict) or set(data) - _FIELDS:
        return None, f"expected an object with {', '.join(sorted(_FIELDS))}"
    lists = {key: data.get(key, []) for key in ("arguments", "sequence", "precondition", "about")}
    for key, value in lists.items():
        if not isinstance(value, list) or len(value) > MOST or not all(_short(one) for one in value):
            return None, f"{key} should be a list of at most {MOST} short texts"
    name, names = data.get("name"), lists["arguments"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return None, "its name should be small letters, digits and _"
    if not lists["sequence"] or len(set(names)) != len(names):
        return None, "its sequence is empty, or an argument comes twice"
    if not all(_short(data.get(key, "")) for key in ("description", "after")):
        return None, "its description and after should be short texts"
    slots = {slot for one in (*lists["sequence"], *lists["precondition"]) for slot in _SLOT.findall(one)}
    if not slots <= set(names) or not all(_SLOT.fullmatch(f"<{one}>") for one in names):
        return None, "its gestures name arguments that it does not have"
    return _made(data, lists), ""


_FIELDS = frozenset({"name", "description", "arguments", "sequence", "precondition", "about", "after"})


def _short(text: Any) -> bool:
    return isinstance(text, str) and len(text) <= 200 and (not text or text.isprintable())


def _made(data: Mapping[str, Any], lists: Mapping[str, list[str]]) -> Skill:
    names: list[str] = lists["arguments"]

    def template(text: str) -> Template:
        parts = [names.index(part) if i % 2 else part for i, part in enumerate(_SLOT.split(text))]
        return joined(part for part in parts if part != "")

    ends = [""] * (len(lists["sequence"]) - 1) + [data.get("after", "")]
    return Skill(
        name=data["name"],
        description=data.get("description", ""),
        parameters=tuple(names),
        steps=tuple(
            SkillStep(action=template(one), begins=(after,) if after else ())
            for one, after in zip(lists["sequence"], ends, strict=True)
        ),
        needs=tuple(template(one) for one in lists["precondition"]),
        named=tuple(range(len(names))),
        about=tuple(lists["about"]),
        origin="evolved",
    )


def shown(skill: Skill) -> dict[str, Json]:
    """Return a shortcut as a model is told of it."""
    return {
        "name": skill.name,
        "arguments": list(skill.parameters),
        "description": skill.description,
        "precondition": [told(one, skill.parameters) for one in skill.needs],
    }


def ready(skill: Skill, seen: Observation, values: Mapping[int, str]) -> bool:
    """Say whether a shortcut's precondition holds in what is seen; a world that lists nothing cannot be asked."""
    return seen.admissible is None or all(fill(need, values) in seen.admissible for need in skill.needs)


def keep_untried(memory: Memory, skill: Skill) -> None:
    """Keep a shortcut without a trial, as the source does. ``SkillLibrary.admit`` is the safe way."""
    text = f"{skill.name.replace('_', ' ')}: {skill.description}"
    memory.write(Item(kind=Sort.SKILL, id=f"skill:{skill.name}", text=text, data=encode(skill)))


class Shortcuts:
    """A simulated world in which shortcuts are actions: ``use NAME {"argument": "value"}``.

    One is executed blindly in one step, and nothing is taken back. ``uses`` counts them, ``unmet`` those that were begun
    without their precondition, ``broken`` those that stopped before their end; ``done`` are the gestures of the last step.
    Where acts reach outside of the process it raises ``ConfigError``: there every gesture has to pass the run's gate and journal.
    """

    def __init__(self, inner: Environment, skills: Sequence[Skill] = ()) -> None:
        if isinstance(inner, Outside):
            raise ConfigError(
                "in this world acts reach outside, so a shortcut cannot be one act of it. Let the run take its gestures one by one."
            )
        self._inner = inner
        self._skills = {skill.name: skill for skill in skills}
        self._seen = Observation(text="")
        self.uses = self.unmet = self.broken = 0
        self.done: tuple[str, ...] = ()

    def reset(self, task: Task) -> Observation:
        """Begin the episode of ``task``."""
        self._seen = self._inner.reset(task)
        return self._seen

    def parse(self, text: str) -> Action:
        """Accept what the world accepts, and the use of a shortcut with all of its arguments."""
        match = _CALL.fullmatch(text.strip())
        if match is None:
            return self._inner.parse(text)
        problem = self._called(match)[1]
        return Action(text=text, valid=not problem, reason=problem or None)

    def step(self, action: Action) -> Transition:
        """Do one action, or all gestures of a shortcut until one cannot be done or ends the episode."""
        match = _CALL.fullmatch(action.text.strip()) if action.valid else None
        if match is None:
            self.done = (action.text.strip(),)
            return self._see(self._inner.step(action))
        values, problem = self._called(match)
        if problem:
            return Transition(observation=self._seen, reward=0.0, valid=False, reason=problem)
        skill = self._skills[match[1]]
        self.uses += 1
        self.unmet += not ready(skill, self._seen, values)
        return self._run(skill, [fill(one.action, values) for one in skill.steps])

    def close(self) -> None:
        """Close the world."""
        self._inner.close()

    def _run(self, skill: Skill, gestures: Sequence[str]) -> Transition:
        reward, did = 0.0, []
        for text in gestures:
            made = self._see(self._inner.step(self._inner.parse(text)))
            did.append(text)
            reward += made.reward
            if made.terminated or made.truncated or not made.valid:
                break
        self.done = tuple(did)
        reason = None
        if not made.valid:
            self.broken += 1
            reason = f"{skill.name} stopped at its gesture {len(did)}, {text[:80]!r}: {made.reason}"
        return Transition(
            observation=made.observation,
            reward=reward,
            terminated=made.terminated,
            truncated=made.truncated,
            success=made.success,
            valid=made.valid,
            reason=reason,
        )

    def _see(self, made: Transition) -> Transition:
        self._seen = made.observation
        return made

    def _called(self, match: re.Match[str]) -> tuple[dict[int, str], str]:
        """Return the values of a call by number, and what is wrong with it."""
        skill = self._skills.get(match[1])
        if skill is None:
            return {}, f"there is no shortcut {match[1]!r}"
        try:
            given = json.loads(match[2] or "{}")
        except (ValueError, RecursionError):
            return {}, "the arguments are not JSON"
        if not isinstance(given, dict) or set(given) != set(skill.parameters):
            return {}, f"expected the arguments {', '.join(skill.parameters) or 'none'}"
        if not all(_short(value) and value for value in given.values()):
            return {}, "an argument is not a short text"
        return {number: given[name] for number, name in enumerate(skill.parameters)}, ""
