"""Choosing among named arms by what they paid: probes, prompt variants, skills, curricula."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import log, sqrt
from random import Random

from everystep.core.errors import ConfigError, StoreError, did_you_mean
from everystep.core.records import Json


class Choice(StrEnum):
    """How an arm is chosen."""

    UCB = "ucb"  # mean + c * sqrt(ln N / n), every arm once at first (UCB1, Auer et al. 2002)
    THOMPSON = "thompson"  # the greatest draw from each arm's Beta posterior (Thompson 1933)
    GREEDY = "greedy"  # the best mean, with probability epsilon any arm
    UNIFORM = "uniform"  # every arm alike, in turn


@dataclass(slots=True)
class Arm:
    """What is known of one arm: pulls, and the sum of its rewards in [0, 1]."""

    pulls: int = 0
    reward: float = 0.0

    @property
    def mean(self) -> float | None:
        """The mean reward, ``None`` before the first pull."""
        return self.reward / self.pulls if self.pulls else None


class Bandit:
    """Chooses among ``arms``; rewards lie in [0, 1]. The same seed and rewards give the same choices.

    ``c`` is UCB's exploration (the square root of 2 in UCB1), ``epsilon`` GREEDY's. Of arms that are level the first is taken.

    >>> bandit = Bandit(["a", "b"])
    >>> for _ in range(20):
    ...     arm = bandit.choose()
    ...     bandit.update(arm, 1.0 if arm == "b" else 0.0)
    >>> bandit.arms["b"].pulls > bandit.arms["a"].pulls
    True
    """

    def __init__(
        self,
        arms: Sequence[str],
        *,
        choice: Choice = Choice.UCB,
        c: float = sqrt(2),
        epsilon: float = 0.1,
        seed: int = 0,
    ) -> None:
        if not arms or len(set(arms)) != len(arms):
            raise ConfigError(f"arms {list(arms)!r}: expected one or more different names.")
        if c < 0 or not 0.0 <= epsilon <= 1.0:
            raise ConfigError(
                f"c {c!r}, epsilon {epsilon!r}: expected c of 0 or more and epsilon from 0 to 1."
            )
        self.arms = {name: Arm() for name in arms}
        self.choice = choice
        self.c = c
        self.epsilon = epsilon
        self.pulls = 0
        self._random = Random(seed)

    def choose(self) -> str:
        """Return the arm to pull now."""
        names = list(self.arms)
        if self.choice is Choice.UNIFORM:
            return min(names, key=lambda name: self.arms[name].pulls)
        if self.choice is Choice.THOMPSON:
            return max(names, key=lambda name: self._draw(self.arms[name]))
        fresh = next((name for name in names if not self.arms[name].pulls), None)
        if self.choice is Choice.UCB:
            return fresh or max(names, key=lambda name: self._bound(self.arms[name]))
        if fresh is not None:
            return fresh
        if self._random.random() < self.epsilon:
            return self._random.choice(names)
        return max(names, key=lambda name: self.arms[name].mean or 0.0)

    def update(self, name: str, reward: float) -> None:
        """Book what pulling an arm paid."""
        arm = self.arms.get(name)
        if arm is None:
            raise ConfigError(f"there is no arm {name!r}. {did_you_mean(name, self.arms)}")
        if not 0.0 <= reward <= 1.0:
            raise ConfigError(f"the reward of arm {name!r} is {reward!r}; it must be from 0 to 1.")
        arm.pulls += 1
        arm.reward += reward
        self.pulls += 1

    def dump(self) -> Json:
        """Return the counts as JSON, for ``load``."""
        return {name: [arm.pulls, arm.reward] for name, arm in self.arms.items()}

    def load(self, state: Mapping[str, Sequence[float]]) -> None:
        """Go on from the counts that ``dump`` returned. Draws of chance start over from the seed."""
        if set(state) != set(self.arms):
            raise StoreError(
                f"the stored arms {sorted(state)!r} are not {sorted(self.arms)!r}. Start afresh."
            )
        self.arms = {name: Arm(int(state[name][0]), float(state[name][1])) for name in self.arms}
        self.pulls = sum(arm.pulls for arm in self.arms.values())

    def _bound(self, arm: Arm) -> float:
        return arm.reward / arm.pulls + self.c * sqrt(log(self.pulls) / arm.pulls)

    def _draw(self, arm: Arm) -> float:
        return self._random.betavariate(1 + arm.reward, 1 + arm.pulls - arm.reward)
