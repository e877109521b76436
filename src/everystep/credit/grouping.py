"""Integer group ids and sums per group: the arithmetic under every credit term.

All of it is linear, or one sort. Ids are ``int64`` and never negative here; ``_S`` is one entry a
step row, ``_K`` one a group.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]


def dense(ids_S: IntArray) -> tuple[IntArray, int]:
    """Renumber non-negative ids to ``0..K-1`` in increasing order; return them and ``K``.

    >>> dense(np.array([7, 3, 7]))
    (array([1, 0, 1]), 2)
    """
    if ids_S.size == 0:
        return ids_S.astype(np.int64), 0
    top = int(ids_S.max())
    if top < 4 * ids_S.size + 1024:  # a table of seen ids is cheaper than a sort
        seen = np.zeros(top + 1, dtype=np.int64)
        seen[ids_S] = 1
        number = np.cumsum(seen)
        return (number - 1)[ids_S], int(number[-1])
    unique, inverse = np.unique(ids_S, return_inverse=True)
    return inverse.astype(np.int64).reshape(-1), len(unique)


def pair(first_S: IntArray, second_S: IntArray) -> IntArray:
    """One id for each distinct pair; ``-1`` in either part stays ``-1`` (no group).

    >>> pair(np.array([0, 0, 1, 1]), np.array([5, 5, 5, -1])).tolist()
    [0, 0, 1, -1]
    """
    out_S = np.full(first_S.shape, -1, dtype=np.int64)
    known_S = (first_S >= 0) & (second_S >= 0)
    if not known_S.any():
        return out_S
    left, _ = dense(first_S[known_S])
    right, size = dense(second_S[known_S])
    out_S[known_S] = dense(left * size + right)[0]
    return out_S


def lone(ids_S: IntArray) -> IntArray:
    """Give every row without a group (``-1``) a group of its own.

    >>> lone(np.array([0, -1, -1])).tolist()
    [0, 1, 2]
    """
    without_S = ids_S < 0
    missing = int(without_S.sum())
    if not missing:
        return ids_S
    out_S = ids_S.copy()
    start = int(ids_S.max()) + 1
    out_S[without_S] = np.arange(start, start + missing)
    return out_S


def total(values_S: FloatArray, ids_S: IntArray, size: int) -> FloatArray:
    """Sum of the values of each of ``size`` groups."""
    return np.bincount(ids_S, weights=values_S, minlength=size).astype(np.float64, copy=False)


def count(ids_S: IntArray, size: int) -> IntArray:
    """Number of rows of each of ``size`` groups."""
    return np.bincount(ids_S, minlength=size).astype(np.int64)


def time_order(trajectory_S: IntArray, turn_S: IntArray) -> IntArray:
    """Row numbers sorted by trajectory, then by turn. Cheap when the rows are in order already."""
    if trajectory_S.size > 1:
        step = np.diff(trajectory_S)
        in_order = bool(np.all((step > 0) | ((step == 0) & (np.diff(turn_S) > 0))))
    else:
        in_order = True
    if in_order:
        return np.arange(trajectory_S.size, dtype=np.int64)
    return np.lexsort((turn_S, trajectory_S)).astype(np.int64)
