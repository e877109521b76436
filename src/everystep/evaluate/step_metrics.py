"""The published measures of step judges, from counts, with intervals that resample problems.

Each trajectory gives a row of counts; a measure is a function of their sum. Problems are resampled whole, since solutions of one problem are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everystep.core.errors import DataError
from everystep.evaluate.intervals import Interval

Counts = NDArray[np.float64]
Measure = Callable[[Counts], Any]
"""From summed counts, in the last axis, to a number."""


def first_error_counts(truth: int | None, said: int | None) -> tuple[float, ...]:
    """Return (erroneous, found there, error-free, said so) of one solution: places of the first wrong step, ``None`` for none."""
    hit = float(truth == said)
    return (1.0, hit, 0.0, 0.0) if truth is not None else (0.0, 0.0, 1.0, hit)


def first_error_f1(counts: Counts) -> Any:
    """ProcessBench's F1: the harmonic mean of the accuracies on erroneous and on error-free solutions (arXiv 2412.06559, section 3.4).

    >>> round(float(first_error_f1(np.array([4.0, 1.0, 4.0, 3.0]))), 3)
    0.375
    """
    wrong, right = _ratio(counts[..., 1], counts[..., 0]), _ratio(counts[..., 3], counts[..., 2])
    return _ratio(2 * wrong * right, wrong + right)


def erroneous_accuracy(counts: Counts) -> Any:
    """Return the share of erroneous solutions whose first wrong step was found."""
    return _ratio(counts[..., 1], counts[..., 0])


def error_free_accuracy(counts: Counts) -> Any:
    """Return the share of error-free solutions that were said to be."""
    return _ratio(counts[..., 3], counts[..., 2])


def location_accuracy(counts: Counts) -> Any:
    """Return the share of all trajectories whose first mistake, or that there is none, was said exactly (BIG-Bench Mistake, arXiv 2311.08516)."""
    return _ratio(counts[..., 1] + counts[..., 3], counts[..., 0] + counts[..., 2])


def step_counts(bad: Collection[int], said_bad: Collection[int], steps: int) -> tuple[float, ...]:
    """Return (good said good, bad said good, bad said bad, good said bad) of one trajectory's steps."""
    found = [0.0, 0.0, 0.0, 0.0]
    for place in range(steps):
        found[(2 if place in said_bad else 1) if place in bad else (3 if place in said_bad else 0)] += 1
    return tuple(found)


def prm_score(counts: Counts) -> Any:
    """PRMBench's score: half the F1 on good steps and half the F1 on wrong ones (arXiv 2501.03124). An F1 without any hit is 0.

    >>> round(float(prm_score(np.array([8.0, 1.0, 1.0, 0.0]))), 3)
    0.804
    """
    good = _ratio(2 * counts[..., 0], 2 * counts[..., 0] + counts[..., 1] + counts[..., 3])
    return (good + error_f1(counts)) / 2


def error_f1(counts: Counts) -> Any:
    """Return the F1 on wrong steps."""
    return _ratio(2 * counts[..., 2], 2 * counts[..., 2] + counts[..., 1] + counts[..., 3])


def accuracy(counts: Counts) -> Any:
    """Return hits by trials, of counts (trials, hits)."""
    return _ratio(counts[..., 1], counts[..., 0])


def gain(counts: Counts) -> Any:
    """Return the precision of what a filter kept less the share of good ones, of counts (all, good, kept, kept and good)."""
    return _ratio(counts[..., 3], counts[..., 2]) - _ratio(counts[..., 1], counts[..., 0])


def kept_precision(counts: Counts) -> Any:
    """Return the share of good ones among the kept, of counts (all, good, kept, kept and good)."""
    return _ratio(counts[..., 3], counts[..., 2])


def measured(
    rows: Sequence[Sequence[float]],
    problems: Sequence[str],
    measure: Measure,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return a measure of the summed rows with its 95 % percentile bootstrap interval over problems.

    >>> str(measured([(1, 1)] * 80 + [(1, 0)] * 20, [str(i) for i in range(100)], accuracy))
    '0.800 [0.720, 0.870]'
    """
    if not rows:
        raise DataError("there is nothing to measure.")
    index = {name: at for at, name in enumerate(dict.fromkeys(problems))}
    counts_PK = np.zeros((len(index), len(rows[0])))
    np.add.at(counts_PK, [index[name] for name in problems], np.asarray(rows, dtype=np.float64))
    rng = np.random.default_rng(seed)
    draws_RP = rng.multinomial(len(index), np.full(len(index), 1 / len(index)), size=resamples)
    low, high = np.percentile(measure(draws_RP @ counts_PK), [2.5, 97.5])
    return Interval(value=float(measure(counts_PK.sum(axis=0))), low=float(low), high=float(high))


def _ratio(part: Any, whole: Any) -> Any:
    return np.divide(
        part, whole, out=np.zeros_like(np.asarray(part, dtype=np.float64)), where=np.asarray(whole) > 0
    )
