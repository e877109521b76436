"""Trials: a skill is used only after it did what it says in fresh environments, surely often enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeAlias

from everystep.core.errors import ConfigError
from everystep.core.protocols import Environment, Oracle, Outside, World
from everystep.core.records import Observation, Task, Trajectory
from everystep.evolve.mine import Place, occurrences
from everystep.evolve.skills import Skill, SkillRun, Trial, bind, run_skill

Lead: TypeAlias = Callable[[Environment, Observation], str]
"""Acts until a skill can be tried."""


def verify_skill(
    skill: Skill,
    world: World,
    tasks: Sequence[Task],
    *,
    threshold: float = 0.6,
    seed: int = 0,
    lead: Lead | None = None,
) -> Trial:
    """Try a skill once in each task, in a fresh environment, at the first moment when its precondition can hold.

    ``lead`` acts until then (by default the world's oracle, else at random). The values of the parameters are drawn at random from
    what the precondition and, later, the admissible actions allow; they are not taken from the oracle. Tasks in which the precondition never holds do not count.
    """
    rng = Random(f"{seed} {skill.name}")
    failures: Counter[str] = Counter()
    tries = completed = 0
    for task in tasks:
        environment = world.make()
        result = _tried(skill, environment, task, world.max_steps, rng, lead)
        environment.close()
        if result is None:
            continue
        tries += 1
        completed += result.completed
        if not result.completed:
            failures[result.why] += 1
    return Trial(skill=skill, tries=tries, completed=completed, threshold=threshold, failures=dict(failures))


def _tried(
    skill: Skill, environment: Environment, task: Task, limit: int, rng: Random, lead: Lead | None
) -> SkillRun | None:
    if isinstance(environment, Outside):
        raise ConfigError(
            "a skill is tried in a simulated world only; in this one acts reach outside. Name another world."
        )
    seen = environment.reset(task)
    for _ in range(limit):
        binding = bind(skill, task, seen, rng.shuffle)
        if binding is not None:
            return run_skill(skill, environment, task, seen, binding, choose=rng.choice)
        made = environment.step(environment.parse(_led(environment, seen, rng, lead)))
        if made.terminated or made.truncated:
            break
        seen = made.observation
    return None


def _led(environment: Environment, seen: Observation, rng: Random, lead: Lead | None) -> str:
    if lead is not None:
        return lead(environment, seen)
    if isinstance(environment, Oracle):
        return environment.oracle()
    return rng.choice(seen.admissible or ("",))


def learn_skills(
    trajectories: Sequence[Trajectory],
    world: World,
    tasks: Sequence[Task],
    *,
    least_support: int = 5,
    shortest: int = 2,
    longest: int = 10,
    threshold: float = 0.6,
    most: int = 32,
    seed: int = 0,
) -> list[Trial]:
    """Return the trials of mined skills that passed, the longest first, at most ``most``.

    A candidate counts only where no skill that passed covers its steps already, so that shorter ones do not repeat longer ones.
    """
    covered: set[tuple[int, int]] = set()
    passed: list[Trial] = []
    candidates = occurrences(trajectories, least_support=least_support, shortest=shortest, longest=longest)
    for found in candidates:
        if len(passed) == most:
            break
        free = [place for place in found.places if covered.isdisjoint(_steps(place))]
        if len({place.run for place in free}) < least_support:
            continue
        trial = verify_skill(found.skill, world, tasks, threshold=threshold, seed=seed)
        if trial.passed:
            passed.append(trial)
            covered.update(step for place in free for step in _steps(place))
    return passed


def _steps(place: Place) -> set[tuple[int, int]]:
    return {(place.run, step) for step in range(place.start, place.stop)}
