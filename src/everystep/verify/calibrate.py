"""Calibration: how often one sample is right, how often it counts, and where its errors repeat themselves.

Voting repairs independent errors only. Samples at a set of states tell the chance that a valid sample is right, the share that survives the
flags, and the states that err systematically: there the error rate is far above the others', and no margin may be
enough (MAKER, arXiv 2511.09030, section 4: collisions of the first two votes against independence).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import sqrt

from everystep.core.errors import DataError
from everystep.verify.proportions import Estimate, correlation, discoveries, share, upper_tail


class By(StrEnum):
    """How it is known that a sample is right."""

    TRUTH = "truth"  # an oracle or a verifier said so
    AGREEMENT = (
        "agreement"  # most of a fixed number of samples say the same; an error that all share is not seen
    )
    VOTES = "votes"  # it agrees with the winner of a vote; an error that won is not seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Flagged:
    """A sample that a flag threw away; ``right`` says whether it would have been right, ``None`` if nobody knows."""

    flag: str
    right: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The samples of one state: how many valid ones were right and wrong, and the flagged ones.

    ``both_wrong``: the first two valid samples were wrong; ``both_wrong_anyway``: the first two, flagged or not. ``None`` where
    that is not known. ``cost`` is the sum over the samples, by the names of ``Step.cost``.
    """

    state: str
    right: int
    wrong: int
    flagged: tuple[Flagged, ...] = ()
    both_wrong: bool | None = None
    both_wrong_anyway: bool | None = None
    cost: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weak:
    """A state that errs far more often than the others. ``p_value`` is the chance of that many errors at the others' rate."""

    state: str
    right: int
    wrong: int
    p_value: float

    @property
    def doomed(self) -> bool:
        """Whether no margin can save it: wrong as often as right, or more often."""
        return self.wrong >= self.right


class Sort(StrEnum):
    """What kind of step it is, for the forecast."""

    PLAIN = "plain"  # errs like the others
    HARD = "hard"  # errs more often, a larger margin helps
    DOOMED = "doomed"  # wrong as often as right, or more often: no margin helps
    SILENT = "silent"  # every sample is flagged: nothing to count


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The steps of one sort: their share of all, and the chance that a valid sample is right there."""

    sort: Sort
    share: Estimate
    success: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagEffect:
    """What a flag threw away: how many samples, and how many of them are known to have been right or wrong."""

    flag: str
    count: int
    right: int = 0
    wrong: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What samples at some states tell about a way to decide steps.

    ``success`` is the chance that a valid sample is right, ``valid`` the share that survives the flags; both intervals allow for samples of one
    state being alike. ``correlated`` is the correlation of two errors at one state: 0 for independent errors, otherwise about the share of the
    states that err systematically; ``None`` where only agreement is known, for agreement cannot see it. Of ``pairs`` states ``both_wrong`` had two wrong votes to begin
    with, where independence expects ``both_wrong_expected``; without flags it would have been ``both_wrong_anyway``. ``cost`` is the mean a sample.
    """

    by: By
    states: int
    samples: int
    success: Estimate
    valid: Estimate
    correlated: Estimate | None
    parts: tuple[Part, ...]
    weak: tuple[Weak, ...] = ()
    silent: tuple[str, ...] = ()
    pairs: int = 0
    both_wrong: int = 0
    both_wrong_expected: float = 0.0
    both_wrong_anyway: int | None = None
    flags: tuple[FlagEffect, ...] = ()
    cost: Mapping[str, float] = field(default_factory=dict)

    @property
    def doomed(self) -> tuple[str, ...]:
        """The states that no margin can save."""
        return (*(one.state for one in self.weak if one.doomed), *self.silent)


@dataclass(slots=True)
class _Sums:
    """Tallies of equal counts are added up, so that a run of a million steps fits; only states with errors keep their name."""

    samples: int = 0
    patterns: Counter[tuple[int, int, int]] = field(default_factory=Counter)  # right, wrong, flagged
    named: list[tuple[str, int, int]] = field(default_factory=list)
    mute: list[tuple[str, int]] = field(default_factory=list)
    pairs: int = 0
    both_wrong: int = 0
    anyway: int = 0
    anyway_known: bool = True
    flags: dict[str, list[int]] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)

    def add(self, tally: Tally) -> None:
        flagged = len(tally.flagged)
        self.samples += tally.right + tally.wrong + flagged
        self.patterns[tally.right, tally.wrong, flagged] += 1
        if tally.wrong:
            self.named.append((tally.state, tally.right, tally.wrong))
        elif not tally.right:
            self.mute.append((tally.state, flagged))
        if tally.both_wrong is not None:
            self.pairs += 1
            self.both_wrong += tally.both_wrong
            self.anyway_known &= tally.both_wrong_anyway is not None
            self.anyway += bool(tally.both_wrong_anyway)
        for one in tally.flagged:
            counts = self.flags.setdefault(one.flag, [0, 0, 0])
            counts[0] += 1
            counts[1] += one.right is True
            counts[2] += one.right is False
        for name, amount in tally.cost.items():
            self.cost[name] = self.cost.get(name, 0.0) + amount


def calibrate(tallies: Iterable[Tally], *, by: By = By.TRUTH, false_discovery: float = 0.05) -> Calibration:
    """Return what ``tallies`` tell; the states in ``weak`` and ``silent`` are found at this false-discovery rate.

    Raises ``DataError`` where no valid sample was seen.

    >>> found = calibrate([Tally(state=str(i), right=9, wrong=1) for i in range(100)] + [Tally(state="bad", right=0, wrong=10)])
    >>> found.doomed, round(found.success.value, 3), found.parts[0].success.value
    (('bad',), 0.891, 0.9)
    """
    sums = _Sums()
    for tally in tallies:
        sums.add(tally)
    counts = Counter[tuple[int, int]]()
    validity = Counter[tuple[int, int]]()
    for (right, wrong, flagged), times in sums.patterns.items():
        if right + wrong:
            counts[wrong, right + wrong] += times
        if right + wrong + flagged:
            validity[flagged, right + wrong + flagged] += times
    if not counts:
        raise DataError(
            "no valid sample among the tallies; nothing can be said about them. Look at the flags first."
        )
    weak = _weak(sums.named, counts, false_discovery)
    silent = _silent(sums.mute, validity, false_discovery)
    success = _agreed(counts) if by is By.AGREEMENT else _success(counts)
    return Calibration(
        by=by,
        states=sum(validity.values()),
        samples=sums.samples,
        success=success,
        valid=_flip(_pooled(validity)),
        correlated=correlation(counts) if by is By.TRUTH else None,
        parts=_parts(success, weak, silent, counts),
        weak=weak,
        silent=silent,
        pairs=sums.pairs,
        both_wrong=sums.both_wrong,
        both_wrong_expected=sums.pairs * (1 - success.value) ** 2,
        both_wrong_anyway=sums.anyway if sums.pairs and sums.anyway_known else None,
        flags=tuple(
            FlagEffect(flag=name, count=n, right=right, wrong=wrong)
            for name, (n, right, wrong) in sorted(sums.flags.items())
        ),
        cost={name: amount / max(1, sums.samples) for name, amount in sorted(sums.cost.items())},
    )


def _pooled(counts: Counter[tuple[int, int]]) -> Estimate:
    """Return the pooled rate; samples of one state that are alike count for less."""
    successes = sum(s * times for (s, _), times in counts.items())
    trials = sum(n * times for (_, n), times in counts.items())
    found = correlation(counts)
    size = sum(n * n * times for (_, n), times in counts.items()) / trials
    return share(successes, trials, design=1 + (size - 1) * (found.value if found else 0.0))


def _flip(one: Estimate) -> Estimate:
    return Estimate(value=1 - one.value, low=1 - one.high, high=1 - one.low)


def _success(counts: Counter[tuple[int, int]]) -> Estimate:
    return _flip(_pooled(counts))


def _agreed(counts: Counter[tuple[int, int]]) -> Estimate:
    """Return p from the share ``a`` of pairs of one state that agree: ``a = p² + (1 - p)²`` where all wrong answers are one.

    The count of the leading answer itself would be biased: it leads because it was lucky.
    """
    rows = [(w, n, times) for (w, n), times in counts.items() if n > 1]
    if not rows:
        raise DataError("one sample a state cannot agree with anything. Draw two or more, or give the truth.")
    states = sum(times for *_, times in rows)
    agreed = [
        ((w * (w - 1) + (n - w) * (n - w - 1)) / (n * (n - 1)), n * (n - 1), times) for w, n, times in rows
    ]
    whole = sum(weight * times for _, weight, times in agreed)
    a = sum(value * weight * times for value, weight, times in agreed) / whole
    variance = sum((weight * (value - a)) ** 2 * times for value, weight, times in agreed) / whole**2
    error = 1.96 * (variance * states / max(1, states - 1)) ** 0.5
    if error == 0:
        return share(round(sum(n * times for _, n, times in rows) * _of(a)), sum(n * t for _, n, t in rows))
    return Estimate(value=_of(a), low=_of(a - error), high=_of(a + error))


def _of(agreement: float) -> float:
    return (1 + sqrt(max(0.0, 2 * min(1.0, agreement) - 1))) / 2


def _weak(
    named: list[tuple[str, int, int]], counts: Counter[tuple[int, int]], rate: float
) -> tuple[Weak, ...]:
    """Test each state against the error rate of those that are not suspected, until the suspects stay the same."""
    states = sum(counts.values())
    wrong = sum(w * times for (w, _), times in counts.items())
    trials = sum(n * times for (_, n), times in counts.items())
    suspects: frozenset[tuple[int, int]] = frozenset()
    tails: dict[tuple[int, int], float] = {}
    for _ in range(20):
        base = (wrong - sum(w * counts[w, n] for w, n in suspects) + 0.5) / (
            trials - sum(n * counts[w, n] for w, n in suspects) + 1
        )
        tails = {(w, n): upper_tail(w, n, base) for w, n in counts if w}
        cut = discoveries([(p, counts[key]) for key, p in tails.items()], states, rate)
        found = frozenset(key for key, p in tails.items() if p <= cut and key[1] > 1)
        if found == suspects or sum(counts[key] for key in found) > states / 2:
            break  # there must be others to differ from
        suspects = found
    hits = [
        Weak(state=state, right=right, wrong=bad, p_value=tails[bad, right + bad])
        for state, right, bad in named
        if (bad, right + bad) in suspects
    ]
    return tuple(sorted(hits, key=lambda one: (one.p_value, one.state)))


def _silent(mute: list[tuple[str, int]], validity: Counter[tuple[int, int]], rate: float) -> tuple[str, ...]:
    """Return the states without a valid sample where chance at the common rate is no explanation."""
    flagged = sum(f * times for (f, n), times in validity.items() if f < n)
    trials = sum(n * times for (f, n), times in validity.items() if f < n)
    base = (flagged + 0.5) / (trials + 1)
    tails = Counter(base**count for _, count in mute if count > 1)
    cut = discoveries(list(tails.items()), sum(validity.values()), rate)
    return tuple(sorted(state for state, count in mute if count > 1 and base**count <= cut))


def _parts(
    success: Estimate, weak: tuple[Weak, ...], silent: tuple[str, ...], counts: Counter[tuple[int, int]]
) -> tuple[Part, ...]:
    states = sum(counts.values()) + len(silent)
    rest = Counter(counts)
    for one in weak:
        rest[one.wrong, one.right + one.wrong] -= 1
    rest = +rest
    parts = []
    if rest:
        plain = _success(rest) if weak else success
        parts.append(Part(sort=Sort.PLAIN, share=share(sum(rest.values()), states), success=plain))
    for sort, some in (
        (Sort.HARD, [one for one in weak if not one.doomed]),
        (Sort.DOOMED, [one for one in weak if one.doomed]),
    ):
        if some:
            right, trials = sum(one.right for one in some), sum(one.right + one.wrong for one in some)
            parts.append(Part(sort=sort, share=share(len(some), states), success=share(right, trials)))
    if silent:
        nothing = Estimate(value=0.0, low=0.0, high=1.0)
        parts.append(Part(sort=Sort.SILENT, share=share(len(silent), states), success=nothing))
    return tuple(parts)
