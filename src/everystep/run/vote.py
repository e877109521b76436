"""How several samples of one step become one answer.

A rule says how votes are counted and when they decide; votes are counted in the order of sampling, so the result does
not depend on which answer arrives first. Two samples agree when their keys are equal.

First-to-ahead-by-k is MAKER's rule (arXiv 2511.09030, algorithm 2): an answer wins when it leads every other by ``k``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from everystep.core.errors import ConfigError
from everystep.core.protocols import Candidate, Situation, Votes


class Count:
    """Votes by key, and who leads. Of two that are level, the one that got there first leads."""

    __slots__ = ("_best", "_first", "_need", "_second", "tally", "votes", "winner")

    def __init__(self, need: Callable[[Count], int]) -> None:
        self.tally: dict[str, float] = {}
        self.votes = 0
        self.winner: Candidate | None = None
        self._first: dict[str, Candidate] = {}
        self._best: str | None = None
        self._second = 0.0
        self._need = need

    def add(self, candidate: Candidate, weight: float = 1.0) -> None:
        """Count one vote; votes after the decision change nothing."""
        if self.winner is not None:
            return
        key = candidate.key
        self.votes += 1
        self._first.setdefault(key, candidate)
        score = self.tally[key] = self.tally.get(key, 0.0) + weight
        if self._best is None or key == self._best:
            self._best = key
        elif score > self.tally[self._best]:
            self._second, self._best = self.tally[self._best], key
        elif score > self._second:
            self._second = score
        if self._need(self) <= 0:
            self.winner = self.leader

    @property
    def best(self) -> float:
        """The leader's votes."""
        return 0.0 if self._best is None else self.tally[self._best]

    @property
    def lead(self) -> float:
        """The leader's votes less those of the next."""
        return self.best - self._second

    @property
    def leader(self) -> Candidate | None:
        """The first sample of the leading answer."""
        return None if self._best is None else self._first[self._best]

    @property
    def wanted(self) -> int:
        """The smallest number of further votes that could decide."""
        return 0 if self.winner is not None else max(1, self._need(self))

    @property
    def candidates(self) -> list[Candidate]:
        """One sample of each answer, in the order of first appearance."""
        return list(self._first.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Single:
    """The first sample that is not flagged. ``cap`` bounds the samples, flagged ones included."""

    cap: int = 4

    def __post_init__(self) -> None:
        _check(cap=self.cap)

    def start(self, situation: Situation) -> Votes:  # noqa: ARG002
        """Begin the count of one step."""
        return Count(_one_vote)


def _one_vote(count: Count) -> int:
    return 1 - count.votes


@dataclass(frozen=True, slots=True)
class AheadBy:
    """First to lead every other answer by ``k`` votes; ``cap`` bounds the samples of one step.

    >>> AheadBy(3).cap
    100
    """

    k: int
    cap: int = 100

    def __post_init__(self) -> None:
        _check(k=self.k, cap=self.cap)

    def start(self, situation: Situation) -> Votes:  # noqa: ARG002
        """Begin the count of one step."""
        k = self.k
        return Count(lambda count: k - int(count.lead))


@dataclass(frozen=True, slots=True)
class FirstTo:
    """First to have ``k`` votes."""

    k: int
    cap: int = 100

    def __post_init__(self) -> None:
        _check(k=self.k, cap=self.cap)

    def start(self, situation: Situation) -> Votes:  # noqa: ARG002
        """Begin the count of one step."""
        k = self.k
        return Count(lambda count: k - int(count.best))


@dataclass(frozen=True, slots=True)
class Majority:
    """The most frequent of ``n`` answers; it stops as soon as the rest cannot change the result."""

    n: int
    cap: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "cap", _cap_of(self.n, self.cap))

    def start(self, situation: Situation) -> Votes:  # noqa: ARG002
        """Begin the count of one step."""
        n = self.n

        def need(count: Count) -> int:
            left = n - count.votes
            return min(left, max(0, (left - int(count.lead)) // 2 + 1))

        return Count(need)


@dataclass(frozen=True, slots=True)
class Weighted:
    """The answer with the greatest sum of weights among ``n`` samples; weights are zero or more."""

    n: int
    weigh: Callable[[Candidate], float]
    cap: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "cap", _cap_of(self.n, self.cap))

    def start(self, situation: Situation) -> Votes:  # noqa: ARG002
        """Begin the count of one step."""
        return _Weighed(self.n, self.weigh)


class _Weighed(Count):
    __slots__ = ("_weigh",)

    def __init__(self, n: int, weigh: Callable[[Candidate], float]) -> None:
        super().__init__(lambda count: n - count.votes)
        self._weigh = weigh

    def add(self, candidate: Candidate, weight: float = 1.0) -> None:
        super().add(candidate, weight * max(0.0, self._weigh(candidate)))


Pick = Callable[[Situation, Sequence[Candidate]], Awaitable[int | None]]
"""A judge's choice among different answers: an index, or ``None`` for none of them."""


@dataclass(frozen=True, slots=True)
class Judged:
    """``n`` samples; if they differ, a judge picks one. Equal answers are shown to it once, without their number.

    ``final`` says which answers end the task: where at least ``share`` of the samples do, the longest of those is taken and nobody is asked (AgentOccam's strict judge,
    arXiv 2410.13825 and its repository, share 0.6).
    """

    n: int
    pick: Pick
    cap: int = 0
    final: Callable[[Candidate], bool] | None = None
    share: float = 0.6

    def __post_init__(self) -> None:
        object.__setattr__(self, "cap", _cap_of(self.n, self.cap))
        if not 0 < self.share <= 1:
            raise ConfigError(f"share of a vote is {self.share!r}; it must lie above 0 and not above 1.")

    def start(self, situation: Situation) -> Votes:  # noqa: ARG002
        """Begin the count of one step."""
        n = self.n
        return Count(lambda count: n - count.votes)

    async def choose(self, situation: Situation, votes: Votes) -> Candidate | None:
        """Return the judge's choice; one answer alone needs no judge."""
        assert isinstance(votes, Count)  # noqa: S101 -- ``start`` made it
        different = votes.candidates
        if len(different) < 2:
            return votes.leader
        ends = [one for one in different if self.final is not None and self.final(one)]
        if ends and sum(votes.tally[one.key] for one in ends) >= self.share * votes.votes:
            return max(ends, key=lambda one: len(one.action.text))
        index = await self.pick(situation, different)
        if index is None:
            return None
        return different[index] if 0 <= index < len(different) else votes.leader


def tally_of(votes: Votes) -> Mapping[str, float]:
    """Return the count with the greatest first."""
    return dict(sorted(votes.tally.items(), key=lambda item: -item[1]))


def _cap_of(n: int, cap: int) -> int:
    """Return the cap of a rule that wants ``n`` votes; by default flags may throw three of four samples away."""
    cap = cap or 4 * n
    _check(n=n, cap=cap)
    return cap


def _check(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ConfigError(f"{name} of a vote is {value!r}; it must be 1 or more.")
