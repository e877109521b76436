"""Group keys: which steps are compared with each other, and what that comparison takes for granted.

A key turns columns into integer ids, ``-1`` for a step without a group. Anchors, prefixes and siblings never
reach over tasks. Each key states the assumption under which its comparison is sound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from everystep.core.errors import ConfigError, did_you_mean
from everystep.credit.columns import Columns
from everystep.credit.grouping import IntArray, dense, pair, time_order
from everystep.credit.similarity import first_fit

Ids = Callable[[Columns, np.random.Generator | None], IntArray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A way to group rows. ``states`` marks keys whose groups are repeated states, which may never repeat."""

    name: str
    assumption: str
    ids: Ids
    states: bool = False


def task() -> Key:
    """All rows of one task's group."""
    return Key(
        name="task",
        assumption="trajectories of one task start in the same state",
        ids=lambda columns, _: columns.task_S,
    )


def batch() -> Key:
    """All rows together."""
    return Key(
        name="batch",
        assumption="values of different tasks are on one scale",
        ids=lambda columns, _: np.zeros(columns.size, dtype=np.int64),
    )


def anchor(*, history: int = 0, padded: bool = False) -> Key:
    """Rows of one task in the same state, and with the same ``history`` states before it.

    A step with fewer states before it has no group, or, if ``padded``, is grouped with steps that have the same short history
    from the start.
    """
    if history < 0:
        raise ConfigError(f"history is {history!r}; expected a number of earlier states, 0 or more.")
    if padded and not history:
        raise ConfigError("padded=True has no effect with history=0; leave it out or ask for a history.")

    def ids(columns: Columns, _: np.random.Generator | None) -> IntArray:
        id_S = pair(columns.task_S, columns.anchor_S)
        if not history:
            return id_S
        state_S = id_S
        order = time_order(columns.trajectory_S, columns.turn_S)
        for back in range(1, history + 1):
            earlier_S = _earlier(state_S, columns.trajectory_S, order, back, start=int(padded))
            id_S = pair(id_S, earlier_S)
        return id_S

    return Key(
        name=f"task+anchor+history({history})" if history else "task+anchor",
        assumption="equal anchors are equal states, so what follows depends on the action alone"
        if not history
        else f"equal states with {history} equal states before them are equal prompts",
        ids=ids,
        states=True,
    )


def _earlier(
    state_S: IntArray, trajectory_S: IntArray, order: IntArray, back: int, *, start: int
) -> IntArray:
    """The state ``back`` steps earlier, plus 1; 0 (if ``start``) or -1 before the trajectory's beginning."""
    owner, state = trajectory_S[order], state_S[order]
    before = np.full(order.size, 0 if start else -1, dtype=np.int64)
    if back < order.size:
        inside = owner[back:] == owner[:-back]
        shifted = np.where(state[:-back] >= 0, state[:-back] + 1, -1)
        before[back:] = np.where(inside, shifted, before[back:])
    out_S = np.empty_like(before)
    out_S[order] = before
    return out_S


def similar(*, threshold: float = 0.95, exact: bool = False, autojunk: bool = True) -> Key:
    """Rows of one task whose observation texts are alike: greedy first-fit in row order (GiGPO's option).

    A row joins the first cluster of its task whose first member has a ``difflib`` ratio of at least ``threshold``. Candidates
    come from a sketch of the texts, so that the work stays far below quadratic; ``exact`` tries every cluster.
    Order-dependent and not transitive, as published.
    """
    if not 0.0 < threshold < 1.0:
        raise ConfigError(f"threshold is {threshold!r}; expected a number between 0 and 1 (exclusive).")

    def ids(columns: Columns, _: np.random.Generator | None) -> IntArray:
        if columns.texts is None:
            raise ConfigError(
                "these columns hold no observation texts; build them from records, or pass `texts`."
            )
        return first_fit(columns.texts, columns.task_S, threshold=threshold, exact=exact, autojunk=autojunk)

    return Key(
        name=f"task+similar({threshold:g})",
        assumption="nearly equal texts are equal states",
        ids=ids,
        states=True,
    )


def turn() -> Key:
    """Rows of one task with the same turn number."""
    return Key(
        name="task+turn",
        assumption="the value does not depend on the state: equal turns are different states",
        ids=lambda columns, _: pair(columns.task_S, columns.turn_S),
    )


def prefix() -> Key:
    """Rows of one task with exactly the same history and state: samples of one prompt."""
    return Key(
        name="task+prefix",
        assumption="samples of one prompt, whatever prefix it was given",
        ids=lambda columns, _: pair(columns.task_S, columns.prefix_S),
        states=True,
    )


def siblings() -> Key:
    """Rows that share their parent step: branches of one state."""
    return Key(
        name="siblings",
        assumption="branches were executed from one snapshot",
        ids=lambda columns, _: pair(columns.task_S, columns.sibling_S),
        states=True,
    )


WITHIN = ("batch", "task", "trajectory")


def block(*, size: int | None = 16, within: str = "batch") -> Key:
    """Random blocks of ``size`` rows, cut from a shuffle; the last one may be short. ``None`` is one whole block.

    ``within`` keeps blocks inside a task or a trajectory. Needs a generator of its own (``assign(rng=...)``).
    """
    if size is not None and size < 1:
        raise ConfigError(f"size is {size!r}; expected rows a block, or None for one block.")
    if within not in WITHIN:
        raise ConfigError(f"within is {within!r}. {did_you_mean(within, WITHIN)}")

    def ids(columns: Columns, rng: np.random.Generator | None) -> IntArray:
        scope_S = {
            "batch": np.zeros(columns.size, dtype=np.int64),
            "task": columns.task_S,
            "trajectory": columns.trajectory_S,
        }[within]
        if size is None:
            return scope_S
        if rng is None:
            raise ConfigError(
                "random blocks need a generator of their own; pass `rng=numpy.random.default_rng(seed)` to `assign`."
            )
        order = rng.permutation(columns.size)
        order = order[np.argsort(scope_S[order], kind="stable")]
        scope, scopes = dense(scope_S)
        lengths = np.bincount(scope, minlength=scopes)
        rank = np.arange(columns.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rank_S = np.empty(columns.size, dtype=np.int64)
        rank_S[order] = rank
        return pair(scope, rank_S // size)

    where = "" if within == "batch" else f" within {within}"
    return Key(
        name=f"block({'all' if size is None else size}){where}",
        assumption="the value does not depend on the state or the task",
        ids=ids,
    )
