"""Decisions judged by the group that they were taken in: which of two ways was right, and who took it.

One way is cheap, the other dear. The attempts of a group at one task, by the way that they went, say whether the dear one is worth it. That takes
attempts on both ways: where a policy goes one way only, some of the group must be made to go the other. What was made to go a way has not
decided, so it is evidence and is not judged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from everystep.core.errors import ConfigError
from everystep.credit.grouping import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The way that one attempt of a group went, whether it was made to, and whether it passed."""

    group: str
    way: str
    passed: bool
    forced: bool = False


def right_way(choices: Sequence[Choice], *, cheap: str, dear: str, delta: float = 0.0) -> str | None:
    """Return ``cheap`` if its pass rate is at least that of ``dear`` minus ``delta``, else ``dear``; ``None`` where a way was not tried.

    >>> some = [Choice(group="g", way="off", passed=False), Choice(group="g", way="on", passed=True)]
    >>> right_way(some, cheap="off", dear="on"), right_way(some, cheap="off", dear="on", delta=1.0), right_way(some[:1], cheap="off", dear="on")
    ('on', 'off', None)
    """
    passed = {way: [one.passed for one in choices if one.way == way] for way in (cheap, dear)}
    if sum(map(len, passed.values())) != len(choices):
        other = next(one.way for one in choices if one.way not in passed)
        raise ConfigError(f"a choice went the way {other!r}; expected {cheap!r} or {dear!r}.")
    if not passed[cheap] or not passed[dear]:
        return None
    rate = {way: sum(some) / len(some) for way, some in passed.items()}
    return cheap if rate[cheap] >= rate[dear] - delta else dear


def decision_scores(choices: Sequence[Choice], *, cheap: str, dear: str, delta: float = 0.0) -> FloatArray:
    """Return for each choice 1 where it went its group's right way and -1 where it did not; NaN where it was forced, or nobody knows.

    The judge reward of KAT-V1's Step-SRPO, as we read it: the reference decision comes from the group itself.
    """
    groups: dict[str, list[Choice]] = defaultdict(list)
    for one in choices:
        groups[one.group].append(one)
    right = {name: right_way(some, cheap=cheap, dear=dear, delta=delta) for name, some in groups.items()}
    return np.array(
        [
            np.nan if one.forced or right[one.group] is None else 1.0 if one.way == right[one.group] else -1.0
            for one in choices
        ]
    )


def most(passed: Sequence[bool]) -> bool:
    """Return whether more than half passed: the vote that labels a task for the cheap way.

    >>> most([True, True, False]), most([True, False])
    (True, False)
    """
    if not passed:
        raise ConfigError("a vote of nobody says nothing; give one or more results.")
    return 2 * sum(passed) > len(passed)
