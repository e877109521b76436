"""The library of skills: what has passed its trial, kept in a memory, with statistics that go on with every use."""

from __future__ import annotations

from dataclasses import replace

from everystep.core.codec import decode, encode
from everystep.core.errors import ConfigError, DataError, did_you_mean
from everystep.evolve.memory import Item, Memory, Sort
from everystep.evolve.skills import Skill, Trial


class SkillLibrary:
    """The skills in a memory. What is in it has passed a trial; its statistics go on with every use."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def admit(self, trial: Trial, *, run: str = "", time: float = 0.0) -> Skill:
        """Keep the skill of a passed trial; one with the same name becomes the next version. Raises ``DataError`` if it did not pass."""
        if not trial.passed:
            raise DataError(
                f"skill {trial.skill.name!r} was completed in {trial.completed} of {trial.tries} tries (surely above "
                f"{trial.low:.2f}); expected above {trial.threshold}. Mend it, or lower the threshold."
            )
        before = self.memory.get(_key(trial.skill.name))
        version = _skill(before).version + 1 if before else trial.skill.version
        skill = replace(trial.skill, version=version, tries=trial.tries, completed=trial.completed)
        self._keep(skill, run=run, time=time)
        return skill

    def names(self) -> list[str]:
        """Return the names of the skills in the order in which they came."""
        return [_skill(item).name for item in self.memory.items((Sort.SKILL,))]

    def skills(self) -> list[Skill]:
        """Return all skills in the order in which they came."""
        return [_skill(item) for item in self.memory.items((Sort.SKILL,))]

    def get(self, name: str) -> Skill:
        """Return a skill; an unknown name raises ``ConfigError`` with a suggestion."""
        item = self.memory.get(_key(name))
        if item is None:
            raise ConfigError(f"there is no skill {name!r}. {did_you_mean(name, self.names())}")
        return _skill(item)

    def search(self, query: str, k: int = 5) -> list[Skill]:
        """Return the skills whose name and description go best with a text."""
        return [_skill(hit.item) for hit in self.memory.search(query, k, kinds=(Sort.SKILL,))]

    def record(self, name: str, *, completed: bool) -> Skill:
        """Count one use of a skill."""
        skill = self.get(name)
        skill = replace(skill, tries=skill.tries + 1, completed=skill.completed + completed)
        item = self.memory.get(_key(name))
        self._keep(skill, run=item.run if item else "", time=item.time if item else 0.0)
        return skill

    def _keep(self, skill: Skill, *, run: str, time: float) -> None:
        data = encode(skill)
        text = f"{skill.name.replace('_', ' ')}: {skill.description}"
        self.memory.write(
            Item(kind=Sort.SKILL, id=_key(skill.name), text=text, data=data, run=run, time=time)
        )


def _key(name: str) -> str:
    return f"skill:{name}"


def _skill(item: Item) -> Skill:
    return decode(Skill, item.data)
