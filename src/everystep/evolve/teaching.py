"""A teacher that is paid by what its student gains: data sets of proposals, credit for whole data sets, and when the student moves on (SOAR).

The loop is written over functions: how a student is trained and how good it is are the caller's, so it works for any learner and is tested on a
scripted one. Whatever training costs is counted where it happens: inner loops belong to the method.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from random import Random
from typing import Generic, TypeAlias, TypeVar

from everystep.core.errors import ConfigError, StoreError
from everystep.core.records import Json
from everystep.evolve.tasks import body_of

P = TypeVar("P")
S = TypeVar("S")


def leave_one_out(rewards: Sequence[float]) -> list[float]:
    """Return each reward minus the mean of the others: a baseline that does not depend on it (RLOO). One reward alone has credit 0.

    >>> leave_one_out([1.0, 0.0, 0.5])
    [0.75, -0.75, 0.0]
    """
    count, whole = len(rewards), sum(rewards)
    if count < 2:
        return [0.0] * count
    return [reward - (whole - reward) / (count - 1) for reward in rewards]


class Promotion:
    """Says when the student moves on: when the mean of the last ``window`` rewards of the teacher exceeds ``threshold`` (SOAR: 3 and 0.01).

    The mean goes on over a promotion, as a moving average does; with ``afresh`` the window is empty again, so that only what was gained over the new student
    counts.
    """

    def __init__(self, *, window: int = 3, threshold: float = 0.01, afresh: bool = False) -> None:
        if window < 1:
            raise ConfigError(f"window is {window!r}; it must be 1 or more.")
        self.window, self.threshold, self.afresh = window, threshold, afresh
        self._last: deque[float] = deque(maxlen=window)

    def add(self, reward: float) -> bool:
        """Book the mean reward of an outer step; return whether the student moves on now."""
        self._last.append(reward)
        if len(self._last) < self.window or sum(self._last) / self.window <= self.threshold:
            return False
        if self.afresh:
            self._last.clear()
        return True

    def dump(self) -> Json:
        return list(self._last)

    def load(self, state: Json) -> None:
        if not isinstance(state, list) or not all(isinstance(one, int | float) for one in state):
            raise StoreError(f"{state!r} is no state of a promotion rule. Give back what dump returned.")
        self._last = deque([float(one) for one in state if isinstance(one, int | float)], maxlen=self.window)


Choice: TypeAlias = tuple[int, ...]
"""One proposal of a ``Menu``: the number of the value of each factor."""


class Menu:
    """A policy over proposals that are made of independent factors: a softmax over the values of each.

    ``learn`` is one step of REINFORCE: every logit moves by the rate times the credit times the gradient of the log-probability, averaged over the proposals.
    ``entropy_bonus`` adds the gradient of the entropy, so that a factor without consequences stays open.

    >>> menu = Menu({"steps": (1, 2), "digits": (1,)}, learning_rate=1.0)
    >>> menu.learn([(0, 0)], [2.0])
    >>> [round(p, 3) for p in menu.probabilities("steps")]
    [0.881, 0.119]
    """

    def __init__(
        self,
        factors: Mapping[str, Sequence[Json]],
        *,
        learning_rate: float = 0.5,
        entropy_bonus: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not factors or not all(factors.values()):
            raise ConfigError(
                f"factors {dict(factors)!r}: expected one or more, each with one or more values."
            )
        self.factors = {name: tuple(values) for name, values in factors.items()}
        self.learning_rate, self.entropy_bonus, self.seed = learning_rate, entropy_bonus, seed
        self._logits = {name: [0.0] * len(values) for name, values in self.factors.items()}
        self._drawn = 0

    def probabilities(self, name: str) -> list[float]:
        """Return the probabilities of the values of a factor."""
        logits = self._logits[name]
        weights = [exp(one - max(logits)) for one in logits]
        return [weight / sum(weights) for weight in weights]

    def draw(self, count: int) -> list[Choice]:
        """Return ``count`` proposals."""
        rng = Random(f"{self.seed} draw {self._drawn}")
        self._drawn += 1
        chances = [self.probabilities(name) for name in self.factors]
        return [tuple(rng.choices(range(len(one)), weights=one)[0] for one in chances) for _ in range(count)]

    def values(self, choice: Choice) -> dict[str, Json]:
        """Return the values that a proposal stands for."""
        return {name: some[at] for (name, some), at in zip(self.factors.items(), choice, strict=True)}

    def learn(self, choices: Sequence[Choice], credit: Sequence[float]) -> None:
        """Move towards proposals with credit above 0."""
        if len(choices) != len(credit) or not choices:
            raise ConfigError(
                f"{len(choices)} proposals with {len(credit)} credits: expected one or more, one each."
            )
        for place, name in enumerate(self.factors):
            chances = self.probabilities(name)
            gradient = [0.0] * len(chances)
            for choice, worth in zip(choices, credit, strict=True):
                for at, chance in enumerate(chances):
                    gradient[at] += worth * ((at == choice[place]) - chance) / len(choices)
            spread = _entropy(chances)
            for at, chance in enumerate(chances):
                push = -chance * (log(chance) + spread) if chance > 0 else 0.0
                self._logits[name][at] += self.learning_rate * (gradient[at] + self.entropy_bonus * push)

    def entropy(self) -> float:
        """Return the entropy of a proposal in nats: the sum over the factors."""
        return sum(_entropy(self.probabilities(name)) for name in self.factors)

    def dump(self) -> Json:
        return {"logits": {name: list(one) for name, one in self._logits.items()}, "drawn": self._drawn}

    def load(self, state: Json) -> None:
        body = body_of(state, "logits", "drawn")
        found = {name: [float(one) for one in some] for name, some in body["logits"].items()}
        if {name: len(one) for name, one in found.items()} != {n: len(v) for n, v in self.factors.items()}:
            raise StoreError(
                f"the stored factors {sorted(found)!r} are not {sorted(self.factors)!r} with as many values."
            )
        self._logits, self._drawn = found, int(body["drawn"])


def _entropy(chances: Sequence[float]) -> float:
    return -sum(chance * log(chance) for chance in chances if chance > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson(Generic[P, S]):
    """One data set of proposals, what each of its students gained, and the best of them."""

    proposals: tuple[P, ...]
    gains: tuple[float, ...]
    student: S

    @property
    def reward(self) -> float:
        """The mean gain over the students: what the teacher is paid for this data set."""
        return sum(self.gains) / len(self.gains)


def lessons(
    datasets: Sequence[Sequence[P]],
    *,
    train: Callable[[Sequence[P], int], S],
    accuracy: Callable[[S], float],
    before: float,
    students: int = 1,
) -> list[Lesson[P, S]]:
    """Train ``students`` fresh students on each data set and measure what they gained over ``before``, the accuracy that they started with.

    ``train(proposals, number)`` returns a student that was trained from the baseline (its weights, optimiser and random state) and leaves the baseline
    as it was; ``number`` tells parallel students of a data set apart.
    """
    if students < 1:
        raise ConfigError(f"students is {students!r}; it must be 1 or more.")
    made = []
    for proposals in datasets:
        trained = [train(proposals, number) for number in range(students)]
        gains = [accuracy(student) - before for student in trained]
        best = max(range(students), key=gains.__getitem__)
        made.append(Lesson(proposals=tuple(proposals), gains=tuple(gains), student=trained[best]))
    return made


def credit_of(made: Sequence[Lesson[P, S]]) -> list[tuple[P, float]]:
    """Return every proposal with the leave-one-out credit of its data set: all proposals of a data set share one number, which is a choice with a
    variance of its own."""
    worth = leave_one_out([lesson.reward for lesson in made])
    return [(one, value) for lesson, value in zip(made, worth, strict=True) for one in lesson.proposals]
