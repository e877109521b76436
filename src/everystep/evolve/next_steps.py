"""What comes next in a task, foretold from the steps so far: by chance, by the list, by the last step, by the graph script, and learned.

A foreteller is a function from the steps so far to probabilities of every step that is not done and of ``END``. All are made from the same paths of one task; ``rank`` and
``completion`` turn any of them into the two answers that are measured: what comes next, and how the sequence goes on to its end.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

END = ""
"""Stands for the end of a path where a next step could."""

Foretell = Callable[[Sequence[str]], Mapping[str, float]]
"""From the steps so far to the probability of every step not done, and of ``END``; they add up to 1."""

Floats = NDArray[np.float64]


def rank(foretell: Foretell, done: Sequence[str]) -> list[str]:
    """Return the steps that are not done, the likeliest next one first; the end is left out."""
    chances = foretell(done)
    return sorted((step for step in chances if step != END), key=lambda step: -chances[step])


def completion(foretell: Foretell, done: Sequence[str]) -> tuple[str, ...]:
    """Return the steps from here to the end, each the likeliest next one (the published decoding has one beam too)."""
    made: list[str] = []
    while True:
        chances = foretell((*done, *made))
        best = max(chances, key=lambda step: chances[step])
        if best == END:
            return tuple(made)
        made.append(best)


def chance(steps: Sequence[str], seed: int = 0) -> Foretell:
    """Return one that draws: the same answer to the same question."""

    def foretell(done: Sequence[str]) -> dict[str, float]:
        rng = Random(f"{seed} {done!r}")
        left = [*_left(steps, done), END]
        return _normal({step: rng.random() for step in left})

    return foretell


def listed(steps: Sequence[str]) -> Foretell:
    """Return one that reads a list: the steps after the last one done, in their order, then the end; those that were passed over come after that."""
    place = {step: number for number, step in enumerate(steps)}

    def foretell(done: Sequence[str]) -> dict[str, float]:
        here = place[done[-1]] if done else -1
        left = _left(steps, done)
        ahead = [step for step in left if place[step] > here]
        order = [*ahead, END, *(step for step in left if place[step] < here)]
        return _normal({step: 2.0**-number for number, step in enumerate(order)})

    return foretell


def transitions(paths: Sequence[Sequence[str]], steps: Sequence[str], *, strength: float = 1.0) -> Foretell:
    """Return the plain transition graph: how often each step, or the end, came straight after the last one.

    ``strength`` is the weight of the steps' frequencies, which decide where a last step says nothing.
    """
    return backed_off(paths, steps, contexts=(_last,), strength=strength)


def backed_off(
    paths: Sequence[Sequence[str]],
    steps: Sequence[str],
    *,
    contexts: Sequence[Callable[[Sequence[str]], Hashable]],
    strength: float = 1.0,
) -> Foretell:
    """Return counts of what came next in a context, each backed off to the one before it in ``contexts`` with ``strength`` paths' weight, the first to the counts in any context."""
    tables: list[dict[Hashable, Counter[str]]] = [defaultdict(Counter) for _ in contexts]
    anywhere: Counter[str] = Counter()
    for path in paths:
        for number in range(len(path) + 1):
            after = path[number] if number < len(path) else END
            anywhere[after] += 1
            for table, context in zip(tables, contexts, strict=True):
                table[context(path[:number])][after] += 1

    def foretell(done: Sequence[str]) -> dict[str, float]:
        left = [*_left(steps, done), END]
        now = _normal({step: anywhere[step] + 0.5 for step in left})
        for table, context in zip(tables, contexts, strict=True):
            seen = table.get(context(done))
            if seen is not None:
                total = sum(seen[step] for step in left) + strength
                now = {step: (seen[step] + strength * now[step]) / total for step in left}
        return now

    return foretell


def _last(done: Sequence[str]) -> Hashable:
    return done[-1] if done else END


def _done_set(done: Sequence[str]) -> Hashable:
    return frozenset(done)


def _done_set_and_last(done: Sequence[str]) -> Hashable:
    return (frozenset(done), done[-1] if done else END)


def from_graph(
    paths: Sequence[Sequence[str]], steps: Sequence[str], *, strength: float = 4.0, precedence: float = 0.25
) -> Foretell:
    """Return what the graph script says: what came next where the same steps were done, backed off to the last step; steps that usually come after others that are left count less.

    ``precedence`` is the exponent of the shares of the paths with both in which a step came before each other that is left (their geometric mean, one path added each way).
    """
    counts = backed_off(paths, steps, contexts=(_last, _done_set, _done_set_and_last), strength=strength)
    before: Counter[tuple[str, str]] = Counter()
    for path in paths:
        before.update((one, other) for number, one in enumerate(path) for other in path[number + 1 :])

    def foretell(done: Sequence[str]) -> dict[str, float]:
        now = dict(counts(done))
        left = [step for step in now if step != END]
        ending = now.pop(END)
        for step in left:
            odds = [
                (before[step, other] + 1) / (before[step, other] + before[other, step] + 2)
                for other in left
                if other != step
            ]
            if odds:
                now[step] *= float(np.exp(np.mean(np.log(odds)))) ** precedence
        total = sum(now.values())
        return (
            {**{step: value / total * (1 - ending) for step, value in now.items()}, END: ending}
            if left
            else {END: 1.0}
        )

    return foretell


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How the log-linear foreteller is fitted: ``penalty`` is the weight of half the squared weights against the sum of log-likelihoods."""

    penalty: float = 1.0
    iterations: int = 120
    rate: float = 0.1


def learned(paths: Sequence[Sequence[str]], steps: Sequence[str], fit: Fit = Fit()) -> Foretell:
    """Return a log-linear model of the next step: every step has weights for the last step, the one before, every step that is done, and how many are.

    So it can say that a step follows another, waits for one, stands for one (is not needed once it is done), or comes late. Fitted by full-batch Adam from zero weights.
    """
    number = {step: place for place, step in enumerate(steps)}
    width = len(steps)

    def features(done: Sequence[str]) -> Floats:
        row = np.zeros(4 * width + 2)
        for step in done:
            row[number[step]] = 1.0
        if done:
            row[width + number[done[-1]]] = 1.0
        if len(done) > 1:
            row[2 * width + number[done[-2]]] = 1.0
        row[3 * width + min(len(done), width)] = 1.0
        row[-1] = 1.0
        return row

    rows_BF, open_BK, next_B = [], [], []
    for path in paths:
        for place in range(len(path) + 1):
            rows_BF.append(features(path[:place]))
            open_BK.append([step not in path[:place] for step in steps] + [True])
            next_B.append(number[path[place]] if place < len(path) else width)
    weights_FK = _fitted(np.array(rows_BF), np.array(open_BK), np.array(next_B), fit)

    def foretell(done: Sequence[str]) -> dict[str, float]:
        left = _left(steps, done)
        scores_K = features(done) @ weights_FK
        chosen = [*(number[step] for step in left), width]
        chances = np.exp(scores_K[chosen] - scores_K[chosen].max())
        chances /= chances.sum()
        return dict(zip([*left, END], chances.tolist(), strict=True))

    return foretell


def _fitted(rows_BF: Floats, open_BK: NDArray[np.bool_], next_B: NDArray[np.int64], fit: Fit) -> Floats:
    size = len(next_B)
    truth_BK = np.zeros(open_BK.shape)
    truth_BK[np.arange(size), next_B] = 1.0
    weights_FK = np.zeros((rows_BF.shape[1], open_BK.shape[1]))
    first, second = np.zeros_like(weights_FK), np.zeros_like(weights_FK)
    for turn in range(1, fit.iterations + 1):
        scores_BK = np.where(open_BK, rows_BF @ weights_FK, -np.inf)
        scores_BK -= scores_BK.max(axis=1, keepdims=True)
        chances_BK = np.exp(scores_BK)
        chances_BK /= chances_BK.sum(axis=1, keepdims=True)
        slope = (rows_BF.T @ (chances_BK - truth_BK) + fit.penalty * weights_FK) / size
        first = 0.9 * first + 0.1 * slope
        second = 0.99 * second + 0.01 * slope**2
        step = first / (1 - 0.9**turn) / (np.sqrt(second / (1 - 0.99**turn)) + 1e-8)
        weights_FK = weights_FK - fit.rate * (1 - (turn - 1) / fit.iterations) * step
    return weights_FK


def mixed(parts: Sequence[tuple[float, Foretell]]) -> Foretell:
    """Return the weighted geometric mean of some."""

    def foretell(done: Sequence[str]) -> dict[str, float]:
        told = [(weight, one(done)) for weight, one in parts]
        return _normal(
            {
                step: float(np.exp(sum(weight * np.log(max(one[step], 1e-12)) for weight, one in told)))
                for step in told[0][1]
            }
        )

    return foretell


def _left(steps: Sequence[str], done: Sequence[str]) -> list[str]:
    known = set(done)
    return [step for step in steps if step not in known]


def _normal(chances: Mapping[str, float]) -> dict[str, float]:
    total = sum(chances.values())
    return {step: value / total for step, value in chances.items()}
