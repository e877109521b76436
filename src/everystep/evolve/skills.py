"""Skills: named, parameterised pieces of behaviour that check what they need before they begin and what they did after every step.

A skill is data. Its steps are action templates; a template is its fixed texts and the numbers of its parameters, never a format string,
so whatever stands in a value is only text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from everystep.core.errors import ConfigError
from everystep.core.protocols import Environment, Outside, Transition
from everystep.core.records import Action, Observation, Task
from everystep.run.measure import wilson

Template: TypeAlias = tuple[str | int, ...]
"""Fixed texts and numbers of parameters: ``("go to ", 0)``."""
Binding: TypeAlias = Mapping[int, str]
"""The value of each parameter by its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillStep:
    """One action, and how the observation after it begins and ends. An ``optional`` one is left out where it cannot be done."""

    action: Template
    begins: Template = ()
    ends: Template = ()
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """Behaviour that can be called by its name.

    Precondition: every template in ``needs`` is an admissible action, the values of the parameters in ``named`` are spoken of in the
    task, and so is one of the words ``about`` if there are any. Effect check: each step's action is accepted, and the observation after it begins and ends as the step says. ``tries``
    and ``completed`` count its uses, ``origin`` is where it comes from (given, mined, evolved).
    """

    name: str
    description: str
    parameters: tuple[str, ...]
    steps: tuple[SkillStep, ...]
    needs: tuple[Template, ...] = ()
    named: tuple[int, ...] = ()
    about: tuple[str, ...] = ()
    origin: str = "given"
    version: int = 1
    support: int = 0
    tries: int = 0
    completed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillRun:
    """What came of a skill: the steps that were taken, and why it stopped before its end, if it did."""

    completed: bool
    taken: tuple[tuple[Action, Transition], ...]
    why: str = ""

    @property
    def over(self) -> bool:
        """Whether the episode ended with the last step taken."""
        return bool(self.taken) and (self.taken[-1][1].terminated or self.taken[-1][1].truncated)


Choose: TypeAlias = Callable[[Sequence[dict[int, str]]], dict[int, str]]
"""Picks one of several ways to bind the parameters of a step."""


def fill(template: Template, binding: Binding) -> str:
    """Return the text of a template.

    >>> fill(("go to ", 0), {0: "desk 1"})
    'go to desk 1'
    """
    try:
        return "".join(part if isinstance(part, str) else binding[part] for part in template)
    except KeyError as error:
        raise ConfigError(
            f"parameter number {error} of {told(template)!r} has no value; give all of them."
        ) from None


def told(template: Template, parameters: Sequence[str] = ()) -> str:
    """Return a template for people: parameters in angle brackets."""
    return "".join(
        part if isinstance(part, str) else f"<{parameters[part] if part < len(parameters) else part}>"
        for part in template
    )


def unify(template: Template, text: str, binding: Binding) -> dict[int, str] | None:
    """Return ``binding`` with the values that make ``template`` this text, ``None`` where no values do.

    >>> unify(("take ", 0, " from ", 1), "take mug 1 from desk 2", {1: "desk 2"})
    {1: 'desk 2', 0: 'mug 1'}
    """
    match = _pattern(template).fullmatch(text)
    if match is None:
        return None
    found = dict(binding)
    for name, value in match.groupdict().items():
        if found.setdefault(int(name[1:]), value) != value:
            return None
    return found


def applies(skill: Skill, task: Task, seen: Observation, binding: Binding) -> bool:
    """Say whether the precondition holds for these values. Needs cannot be asked of a world that lists no admissible actions."""
    if not concerns(skill, task) or not _named(skill, binding, task):
        return False
    return seen.admissible is None or all(fill(need, binding) in seen.admissible for need in skill.needs)


def concerns(skill: Skill, task: Task) -> bool:
    """Say whether the task has one of the words that the skill is about."""
    return not skill.about or not words_of(task.instruction).isdisjoint(skill.about)


def spoken_of(value: str, task: Task) -> bool:
    """Say whether the first word of a value stands in the instruction; ``07:30`` counts as two words."""
    first = words_of(value.partition(" ")[0])
    return bool(first) and first <= words_of(task.instruction)


@lru_cache(maxsize=1024)
def words_of(text: str) -> frozenset[str]:
    """Return the words of a text in small letters."""
    return frozenset(re.findall(r"\w+", text.lower()))


def run_skill(
    skill: Skill,
    environment: Environment,
    task: Task,
    seen: Observation,
    binding: Binding,
    *,
    choose: Choose | None = None,
) -> SkillRun:
    """Execute a skill from the observation ``seen``; stop at the first step that deviates from what it says.

    It is for simulated worlds: where acts reach outside it raises ``ConfigError``, and the skill's actions go through a run, with its gate and journal.
    Parameters without a value are bound by ``choose`` when a step first uses them, from the admissible actions of that moment.
    """
    if isinstance(environment, Outside):
        raise ConfigError(
            f"skill {skill.name!r} would act outside of this process without a gate and a journal. Give its actions to a run."
        )
    bound = dict(binding)
    taken: list[tuple[Action, Transition]] = []

    def stopped(why: str) -> SkillRun:
        return SkillRun(completed=False, taken=tuple(taken), why=why)

    if not applies(skill, task, seen, _whole(skill, bound)):
        return stopped("its precondition does not hold")
    for number, step in enumerate(skill.steps, start=1):
        name = f"step {number}, {told(step.action, skill.parameters)},"
        if choose is not None:
            options = bindings(step.action, seen, bound, skill, task)
            bound = choose(options) if options else bound
        action = _action(step.action, environment, seen, bound)
        if action is None:
            if step.optional:
                continue
            return stopped(f"{name} cannot be done here")
        made = environment.step(action)
        taken.append((action, made))
        if not made.valid and not step.optional:
            return stopped(f"{name} was refused: {made.reason}")
        seen = made.observation
        if made.valid and not came_true(step, seen, bound):
            return stopped(f"{name} had another effect")
        if (made.terminated or made.truncated) and number < len(skill.steps):
            return stopped(f"the episode ended at step {number}")
    return SkillRun(completed=True, taken=tuple(taken))


def _action(
    template: Template, environment: Environment, seen: Observation, binding: Binding
) -> Action | None:
    """Return the action of a step, ``None`` if it cannot be done now."""
    if not _has_all(template, binding):
        return None
    text = fill(template, binding)
    action = environment.parse(text)
    return action if action.valid and (seen.admissible is None or text in seen.admissible) else None


def came_true(step: SkillStep, seen: Observation, binding: Binding) -> bool:
    """Say whether an observation is what the step leads to. An end that speaks of a parameter without a value is not looked at."""
    begins = fill(step.begins, binding) if _has_all(step.begins, binding) else ""
    ends = fill(step.ends, binding) if _has_all(step.ends, binding) else ""
    text = seen.text
    return len(text) >= len(begins) + len(ends) and text.startswith(begins) and text.endswith(ends)


def bindings(
    template: Template, seen: Observation, binding: Binding, skill: Skill, task: Task
) -> list[dict[int, str]]:
    """Return the ways to make one step an admissible action, with the values of named parameters spoken of in the task."""
    if seen.admissible is None:
        return [dict(binding)] if _has_all(template, binding) else []
    ways = (unify(template, text, binding) for text in seen.admissible)
    return [way for way in ways if way is not None and _named(skill, way, task)]


def bind(
    skill: Skill, task: Task, seen: Observation, order: Callable[[list[str]], None] = lambda _: None
) -> dict[int, str] | None:
    """Return values for the parameters that the precondition speaks of, such that it holds; ``None`` where there are none.

    ``order`` sorts the admissible actions in place: the first that fit are taken.
    """
    if not concerns(skill, task):
        return None
    if seen.admissible is None:
        return {}
    listed = list(seen.admissible)
    order(listed)
    needs = sorted(skill.needs, key=lambda need: -len(need))

    def extend(place: int, binding: dict[int, str]) -> dict[int, str] | None:
        if place == len(needs):
            return binding
        for text in listed:
            way = unify(needs[place], text, binding)
            if way is not None and _named(skill, way, task):
                whole = extend(place + 1, way)
                if whole is not None:
                    return whole
        return None

    return extend(0, {})


def covers(skill: Skill, actions: Sequence[str]) -> tuple[dict[int, str], int] | None:
    """Return the values with which the skill does the first of these actions, and how many of them; ``None`` if it does not.

    >>> skill = Skill(name="fetch", description="", parameters=("a",), steps=(SkillStep(action=("go to ", 0)), SkillStep(action=("open ", 0), optional=True)))
    >>> covers(skill, ["go to desk 1", "look"])
    ({0: 'desk 1'}, 1)
    """
    binding: dict[int, str] = {}
    count = 0
    for step in skill.steps:
        found = unify(step.action, actions[count], binding) if count < len(actions) else None
        if found is not None:
            binding, count = found, count + 1
        elif not step.optional:
            return None
    return binding, count


# --- trials -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How a skill did in fresh environments where its precondition held. ``low`` is the lower end of the 95 % Wilson interval."""

    skill: Skill
    tries: int
    completed: int
    threshold: float
    failures: Mapping[str, int] = field(default_factory=dict)

    @property
    def low(self) -> float:
        """The lower end of the interval of the share of completed tries, 0 without tries."""
        return max(0.0, wilson(self.completed / self.tries, self.tries)[0]) if self.tries else 0.0

    @property
    def passed(self) -> bool:
        """Whether the skill is surely above the threshold."""
        return self.tries > 0 and self.low > self.threshold


def _named(skill: Skill, binding: Binding, task: Task) -> bool:
    return all(spoken_of(binding[number], task) for number in skill.named if number in binding)


def _has_all(template: Template, binding: Binding) -> bool:
    return all(isinstance(part, str) or part in binding for part in template)


def _whole(skill: Skill, binding: Binding) -> Binding:
    """Return the binding if it has what the precondition speaks of; a missing value is an error of the caller."""
    missing = {part for need in skill.needs for part in need if isinstance(part, int)} - set(binding)
    if missing:
        names = ", ".join(skill.parameters[number] for number in sorted(missing))
        raise ConfigError(f"skill {skill.name!r} needs a value for {names}; give it, or bind it first.")
    return binding


@lru_cache(maxsize=4096)
def _pattern(template: Template) -> re.Pattern[str]:
    parts, known = [], set()
    for part in template:
        if isinstance(part, str):
            parts.append(re.escape(part))
        elif part in known:
            parts.append(f"(?P=p{part})")
        else:
            known.add(part)
            parts.append(f"(?P<p{part}>.+?)")
    return re.compile("".join(parts), re.DOTALL)
