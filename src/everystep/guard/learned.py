"""A small trained check of feasibility or completeness: logistic regression over hashed words (numpy only).

Features are the words of the action, whether each of them and all of them stand in the observation, and pairs of an action's word with an
observation's word. The source (S18) trained larger models; that a trained check beats a prompted one is its claim, this form is ours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, isfinite
from pathlib import Path

import numpy as np

from everystep.core.errors import ConfigError, DataError, StoreError
from everystep.core.protocols import Situation, Transition
from everystep.core.records import Action, Verdict
from everystep.guard.approval import action_text
from everystep.guard.feasible import When, verdict_of
from everystep.guard.features import bucket, words

FORMAT = 1
_ACTION_WORDS = 12
_SEEN_WORDS = 64
_SINGLE = 0.3
_PAIR = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One labelled act. ``after`` is the observation behind it, empty for feasibility; ``label`` whether it can be (was) done."""

    goal: str
    observation: str
    action: str
    label: bool
    after: str = ""


@dataclass(frozen=True, slots=True)
class Linear:
    """The trained weights: ``size`` buckets, those that are not zero by place."""

    size: int
    bias: float
    weights: dict[int, float]

    def probability(self, goal: str, observation: str, action: str, after: str = "") -> float:
        """Return the probability that it can be (was) done, in (0, 1)."""
        values = features(goal, observation, action, after, self.size)
        total = self.bias + sum(self.weights.get(place, 0.0) * value for place, value in values.items())
        return 1.0 / (1.0 + exp(-max(-30.0, min(30.0, total))))

    def save(self, path: Path) -> None:
        """Write the weights as JSON."""
        data = {
            "format": FORMAT,
            "size": self.size,
            "bias": self.bias,
            "weights": {str(k): v for k, v in self.weights.items()},
        }
        try:
            path.write_text(json.dumps(data), encoding="utf-8")
        except OSError as error:
            raise StoreError(f"cannot write {str(path)!r}: {error}. Choose another place.") from None


def load(path: Path) -> Linear:
    """Read weights that ``save`` wrote; nothing in the file is executed. Raises ``StoreError`` for anything else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        size, bias = data["size"], float(data["bias"])
        weights = {int(place): float(weight) for place, weight in data["weights"].items()}
        known = data["format"] == FORMAT and type(size) is int and size > 0
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{str(path)!r} holds no trained check: {error!r}. Train it again.") from None
    if not known or not isfinite(bias) or not all(0 <= p < size and isfinite(w) for p, w in weights.items()):
        raise StoreError(f"{str(path)!r} holds no trained check of format {FORMAT}. Train it again.")
    return Linear(size, bias, weights)


def features(goal: str, observation: str, action: str, after: str, size: int) -> dict[int, float]:
    """Return the values of the features that are on, by bucket; the work is bounded whatever the texts.

    Features without a word in them count in full, those with one less and pairs least: what holds for all words is learned first.
    """
    acts = list(dict.fromkeys(words(action, _ACTION_WORDS)))
    seen = dict.fromkeys(words(observation, _SEEN_WORDS))
    then = dict.fromkeys(words(after, _SEEN_WORDS))
    missing = sum(word not in seen for word in acts)
    general = [f"missing {min(3, missing)}"]
    single = [f"a {word}" for word in acts]
    single += [f"{'in' if word in seen else 'not in'} {word}" for word in acts]
    single += [f"goal {word}" for word in acts if word in set(words(goal, _SEEN_WORDS))]
    pairs = [f"{act} | {word}" for act in acts for word in seen]
    if after:
        general.append("same" if list(seen) == list(then) else "changed")
        single += [f"{'new' if word not in seen else 'kept'} {word}" for word in then]
        pairs += [f"{act} > {word}" for act in acts for word in then]
    values: dict[int, float] = {}
    for names, value in ((pairs, _PAIR), (single, _SINGLE), (general, 1.0)):
        values |= {bucket(name, size): value for name in names}
    return values


def train(
    examples: Sequence[Example],
    *,
    size: int = 1 << 14,
    epochs: int = 20,
    rate: float = 0.5,
    decay: float = 1e-4,
    seed: int = 0,
) -> Linear:
    """Fit the weights by AdaGrad (Duchi et al. 2011) on the log loss with L2 ``decay``; the same seed gives the same weights.

    Raises ``DataError`` unless there are examples of both labels.
    """
    if len({one.label for one in examples}) < 2:
        raise DataError(
            f"{len(examples)} examples of one label; a check needs acts that could be done and some that could not."
        )
    if size < 2 or epochs < 1 or not rate > 0 or decay < 0:
        raise ConfigError(
            f"size {size!r}, epochs {epochs!r}, rate {rate!r}, decay {decay!r}: expected 2, 1, more than 0, 0 or more."
        )
    rows = [features(one.goal, one.observation, one.action, one.after, size) for one in examples]
    places = [np.array([*row, size]) for row in rows]  # the last one is the bias
    values = [np.array([*row.values(), 1.0]) for row in rows]
    weights, squares = np.zeros(size + 1), np.full(size + 1, 1e-8)
    random = np.random.default_rng(seed)
    for _ in range(epochs):
        for index in random.permutation(len(rows)):
            at, value = places[index], values[index]
            score = float(np.clip(weights[at] @ value, -30, 30))
            gradient = (1.0 / (1.0 + np.exp(-score)) - examples[index].label) * value + decay * weights[at]
            squares[at] += gradient**2
            # AdaGrad's step does not depend on a feature's size, so the value weighs it once more
            weights[at] -= rate * value * gradient / np.sqrt(squares[at])
    kept = np.flatnonzero(weights[:-1])
    return Linear(size, float(weights[-1]), {int(place): float(weights[place]) for place in kept})


@dataclass(frozen=True, slots=True, kw_only=True)
class ByLearned:
    """Asks the trained weights; probabilities between ``unsure`` are no verdict."""

    model: Linear
    when: When = When.BEFORE
    unsure: tuple[float, float] = (0.4, 0.6)
    name: str = ""
    threshold: float = 0.5

    def __post_init__(self) -> None:
        low, high = self.unsure
        if not 0 <= low <= high <= 1:
            raise ConfigError(f"unsure {self.unsure!r}: expected two rising probabilities.")
        if not self.name:
            object.__setattr__(self, "name", f"learned {self.when.value}")

    async def check(self, situation: Situation, action: Action, transition: Transition | None) -> Verdict:
        """Return the verdict; ``confidence`` is the probability of what it says."""
        if (transition is None) != (self.when is When.BEFORE):
            return verdict_of(
                self.name, situation, "unsure", f"it is trained for the moment {self.when.value} the act"
            )
        after = "" if transition is None else transition.observation.text
        p = self.model.probability(situation.goal, situation.observation.text, action_text(action), after)
        low, high = self.unsure
        label = "yes" if p > high else "no" if p < low else "unsure"
        reason = f"acts like this one succeed with probability {p:.2f}"
        # four digits: more say nothing and may spell somebody's number by chance, where a journal is searched for it
        return verdict_of(self.name, situation, label, reason, confidence=round(max(p, 1 - p), 4))
