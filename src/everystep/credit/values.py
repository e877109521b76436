"""Values: the number that a credit term compares between the members of a group.

A value turns columns into one float a row, NaN where it is unknown. A ``penalty`` is subtracted for
rows that broke a rule, after discounting, so that earlier steps do not see it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from everystep.core.errors import ConfigError
from everystep.credit.columns import Columns
from everystep.credit.grouping import FloatArray, count, total
from everystep.credit.returns import discounted, generalised_advantage


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A number for every row. ``scores`` are the named scores that it reads."""

    name: str
    of: Callable[[Columns], FloatArray]
    scores: tuple[str, ...] = ()


def outcome(*, penalty: float = 0.0) -> Value:
    """The outcome of the step's trajectory, minus the penalty of this step."""
    return Value(name=_named("outcome", penalty), of=lambda c: _penalised(c.outcome_S, c, penalty))


def reward(*, penalty: float = 0.0) -> Value:
    """The environment's reward for this step."""
    return Value(name=_named("reward", penalty), of=lambda c: _penalised(c.reward_S, c, penalty))


def returns(*, discount: float, penalty: float = 0.0) -> Value:
    """The discounted sum of rewards from this step on, this step's own included.

    Unknown where the outcome is: an episode that broke off says nothing about what its actions were worth.
    """

    def of(columns: Columns) -> FloatArray:
        _whole_steps(columns)
        sums_S = discounted(columns.reward_S, columns.trajectory_S, columns.turn_S, discount)
        sums_S[np.isnan(columns.outcome_S)] = np.nan
        return _penalised(sums_S, columns, penalty)

    return Value(name=_named(f"return({discount:g})", penalty), of=of)


def score(name: str, *, scale: float = 1.0, penalty: float = 0.0) -> Value:
    """A named step score, times ``scale``."""
    return Value(
        name=_named(f"score {name!r}", penalty),
        of=lambda c: _penalised(c.score(name) * scale, c, penalty),
        scores=(name,),
    )


def score_return(name: str, *, discount: float) -> Value:
    """The discounted sum of a named score from this step on."""

    def of(columns: Columns) -> FloatArray:
        _whole_steps(columns)
        return discounted(columns.score(name), columns.trajectory_S, columns.turn_S, discount)

    return Value(name=f"return({discount:g}) of {name!r}", of=of, scores=(name,))


def score_total(name: str) -> Value:
    """The sum of a named score over the step's trajectory."""

    def of(columns: Columns) -> FloatArray:
        _whole_steps(columns)
        size = int(columns.trajectory_S.max()) + 1 if columns.size else 0
        return total(columns.score(name), columns.trajectory_S, size)[columns.trajectory_S]

    return Value(name=f"sum of {name!r}", of=of, scores=(name,))


def branch_outcome() -> Value:
    """The mean known outcome of all trajectories through this very step: its Monte-Carlo value."""

    def of(columns: Columns) -> FloatArray:
        known_S = ~np.isnan(columns.outcome_S)
        nodes = columns.node_S[known_S]
        size = int(columns.node_S.max()) + 1 if columns.size else 0
        sums = total(columns.outcome_S[known_S], nodes, size)
        passed = count(nodes, size)
        mean = np.where(passed > 0, sums / np.maximum(passed, 1), np.nan)
        return mean[columns.node_S]

    return Value(name="mean outcome through the step", of=of)


def advantage(*, value: str, value_after: str, discount: float, trace: float) -> Value:
    """Generalised advantage estimates from a critic's values; ``value_after`` is needed where a trajectory was cut off."""

    def of(columns: Columns) -> FloatArray:
        _whole_steps(columns)
        after_S = columns.scores.get(value_after, np.full(columns.size, np.nan))
        return generalised_advantage(
            columns.reward_S,
            columns.score(value),
            after_S,
            columns.terminated_S,
            ~np.isnan(columns.outcome_S),
            columns.trajectory_S,
            columns.turn_S,
            discount=discount,
            trace=trace,
        )

    return Value(name=f"advantage({discount:g}, {trace:g})", of=of, scores=(value,))


def _penalised(value_S: FloatArray, columns: Columns, penalty: float) -> FloatArray:
    return value_S - penalty * columns.penalty_S if penalty else value_S


def _named(name: str, penalty: float) -> str:
    return f"{name} - {penalty:g} penalty" if penalty else name


def _whole_steps(columns: Columns) -> None:
    if columns.segment_S is not None:
        raise ConfigError(
            "sums over a trajectory need one row a step, and these rows are segments; "
            "compute the sum before `split_segments` and add it as a score."
        )
