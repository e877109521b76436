"""From groups to credit in one call: columns, the step scores that an estimator needs, and the credit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from everystep.core.errors import ConfigError
from everystep.core.records import Group, Step, Trajectory
from everystep.credit.columns import Columns, columns, name_segments, with_rewards, with_scores
from everystep.credit.grouping import FloatArray
from everystep.credit.terms import Credit, Estimator, assign

MATCHED = {"match_hard": "optimal", "match_greedy": "greedy", "match_soft": "soft"}
"""Step scores that are derived from tool calls and a reference trace, with their solver."""


def assess(
    groups: Sequence[Group | Trajectory],
    estimator: Estimator,
    *,
    rng: np.random.Generator | None = None,
    match_rms: float | None = None,
    scores: Mapping[str, npt.ArrayLike] | None = None,
    state: str = "anchor",
    undecided: float | None = None,
    process: Mapping[str, float] | None = None,
    parts: Mapping[str, float] | None = None,
    segment: Callable[[Step], str] | None = None,
) -> tuple[Columns, Credit]:
    """Assign credit to groups of trajectories, or loose ones; rows are in their order.

    ``scores`` are further step scores, one number a row (verdicts, a critic's ``value``). Scores of matched tool calls
    are computed when they are read. ``segment`` names the segment that a step is, for terms that speak of one only. ``process`` and ``parts`` add step scores to rewards and outcomes (see
    ``with_rewards``). The other arguments are those of ``columns`` and ``assign``.
    """
    table = with_scores(columns(groups, state=state, undecided=undecided), scores or {})
    for name in dict.fromkeys((*estimator.scores, *(process or {}), *(parts or {}))):
        if name in MATCHED and name not in table.scores:
            table = with_scores(table, {name: _matched(groups, MATCHED[name])})
    if process or parts:
        table = with_rewards(table, process=process or {}, parts=parts or {})
    if segment is not None:
        table = name_segments(table, [segment(step) for one in _loose(groups) for step in one.steps])
    return table, assign(table, estimator, rng=rng, match_rms=match_rms)


def _loose(groups: Sequence[Group | Trajectory]) -> list[Trajectory]:
    return [one for item in groups for one in (item.trajectories if isinstance(item, Group) else (item,))]


def _matched(groups: Sequence[Group | Trajectory], solver: str) -> FloatArray:
    try:  # scipy is an optional extra, loaded by the methods that need it
        from everystep.credit.matching import match_scores
    except ImportError as error:
        raise ConfigError(
            f"matching tool calls needs scipy ({error}); install it with `pip install everystep[credit]`."
        ) from error
    return match_scores(_loose(groups), solver=solver)
