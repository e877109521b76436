"""What a judge's scores are worth: do they mean what they say, where to cut, and what a filter by them would do to the data.

Steps of one trajectory are alike, so every interval counts them by trajectory (or problem): the effective number of labels is smaller than the number. A
threshold that was chosen on labels looks better on them than it is; ``filter_effect`` chooses it on other trajectories than it reports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from everystep.core.errors import ConfigError, DataError
from everystep.run.measure import wilson
from everystep.verify.proportions import Estimate, correlation, share


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One step (or trajectory) that was judged and is labelled. ``score`` is a share of the judge's range, ``None`` where it gave no verdict.

    ``group`` names what is alike: the trajectory, better the problem.
    """

    score: float | None
    good: bool
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """The labelled steps with scores from ``low`` to ``high``: their number, mean score, and share of good ones."""

    low: float
    high: float
    count: int
    score: float
    good: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """A judge against labels. ``error`` is the mean distance of score and share over the bins (ECE), ``brier`` the mean squared error.

    ``ranks`` is the chance that a good step has a higher score than a bad one (AUC; ties count half), ``None`` where one kind is missing.
    ``silent`` labelled steps got no score and are in ``base`` only.
    """

    count: int
    silent: int
    base: Estimate
    bins: tuple[Bin, ...]
    error: float
    brier: float
    ranks: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What is kept at a threshold: the share of all steps, the good ones among them (precision), and of the good ones (recall)."""

    threshold: float
    kept: Estimate
    precision: Estimate | None
    recall: Estimate


def clustered(hits: Sequence[bool], groups: Sequence[str]) -> Estimate:
    """Return the share of hits; its interval allows for hits of one group being alike.

    >>> alone = clustered([True, False] * 50, [str(i) for i in range(100)])
    >>> alike = clustered([True] * 50 + [False] * 50, [str(i // 10) for i in range(100)])
    >>> alone.value == alike.value, alike.high - alike.low > 2 * (alone.high - alone.low)
    (True, True)
    """
    if not hits:
        raise DataError("there is nothing to take a share of.")
    members: dict[str, list[int]] = {}
    for hit, group in zip(hits, groups, strict=True):
        count = members.setdefault(group, [0, 0])
        count[0] += hit
        count[1] += 1
    counts = Counter((s, n) for s, n in members.values())
    found = correlation(counts)
    size = sum(n * n * times for (_, n), times in counts.items()) / len(hits)
    return share(sum(hits), len(hits), design=1 + (size - 1) * (found.value if found else 0.0))


def reliability(some: Sequence[Judged], *, bins: int = 10) -> Reliability:
    """Return a judge's reliability over ``bins`` equally wide bins of its scores.

    Raises ``DataError`` where nothing has both a score and a label.

    >>> found = reliability([Judged(score=0.9, good=i != 0, group=str(i)) for i in range(10)])
    >>> found.bins[0].good.value, round(found.error, 3), found.ranks
    (0.9, 0.0, 0.5)
    """
    if bins < 1:
        raise ConfigError(f"bins is {bins!r}; it must be 1 or more.")
    scored = [(one.score, one) for one in some if one.score is not None]
    if not scored:
        raise DataError("no labelled target has a score. Do the verdicts and the labels name the same steps?")
    cells: dict[int, list[tuple[float, Judged]]] = {}
    for score, one in scored:
        cells.setdefault(min(bins - 1, max(0, int(score * bins))), []).append((score, one))
    made = tuple(_bin(cells[at], at / bins, (at + 1) / bins) for at in sorted(cells))
    return Reliability(
        count=len(scored),
        silent=len(some) - len(scored),
        base=clustered([one.good for one in some], [one.group for one in some]),
        bins=made,
        error=sum(one.count * abs(one.score - one.good.value) for one in made) / len(scored),
        brier=sum((score - one.good) ** 2 for score, one in scored) / len(scored),
        ranks=ranks([score for score, _ in scored], [one.good for _, one in scored]),
    )


def _bin(cell: Sequence[tuple[float, Judged]], low: float, high: float) -> Bin:
    return Bin(
        low=low,
        high=high,
        count=len(cell),
        score=sum(score for score, _ in cell) / len(cell),
        good=clustered([one.good for _, one in cell], [one.group for _, one in cell]),
    )


def ranks(scores: Sequence[float], goods: Sequence[bool]) -> float | None:
    """Return the chance that a good one has the higher score (Mann and Whitney 1947), ties half.

    >>> ranks([0.1, 0.5, 0.5, 0.9], [False, False, True, True])
    0.875
    """
    positive, total = sum(goods), len(goods)
    if positive in (0, total):
        return None
    order = sorted(zip(scores, goods, strict=True))
    summed, at = 0.0, 0
    while at < total:
        end = at
        while end < total and order[end][0] == order[at][0]:
            end += 1
        summed += sum(good for _, good in order[at:end]) * (at + 1 + end) / 2
        at = end
    return (summed - positive * (positive + 1) / 2) / (positive * (total - positive))


# --- where to cut ---------------------------------------------------------------------------------


def cut_at(some: Sequence[Judged], threshold: float) -> Cut:
    """Return what keeping scores of ``threshold`` or more does; what has no score is not kept."""
    kept = [one.score is not None and one.score >= threshold for one in some]
    groups = [one.group for one in some]
    chosen = [one for one, keep in zip(some, kept, strict=True) if keep]
    good = [(keep, one.group) for one, keep in zip(some, kept, strict=True) if one.good]
    return Cut(
        threshold=threshold,
        kept=clustered(kept, groups),
        precision=clustered([one.good for one in chosen], [one.group for one in chosen]) if chosen else None,
        recall=clustered([keep for keep, _ in good], [group for _, group in good])
        if good
        else Estimate(value=0.0, low=0.0, high=1.0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a threshold is chosen for: exactly one of a precision to reach, a recall to keep, a share of all steps to keep.

    With ``sure`` the lower end of the precision's 95 % interval has to reach it, so that a few lucky steps do not decide.
    """

    precision: float | None = None
    recall: float | None = None
    keep: float | None = None
    sure: bool = False

    def __post_init__(self) -> None:
        given = [value for value in (self.precision, self.recall, self.keep) if value is not None]
        if len(given) != 1 or not 0 < given[0] <= 1:
            raise ConfigError(
                f"precision {self.precision!r}, recall {self.recall!r}, keep {self.keep!r}: "
                "give exactly one of them, more than 0 and at most 1."
            )
        if self.sure and self.precision is None:
            raise ConfigError("sure is about a precision to reach; give one, or leave it out.")


def threshold_for(some: Sequence[Judged], target: Target) -> float | None:
    """Return the threshold that keeps the most and reaches the target precision, or the highest one that keeps the target recall or share.

    ``None`` where no threshold reaches the precision.

    >>> data = [Judged(score=s / 10, good=s > 4, group=str(s)) for s in range(10)]
    >>> threshold_for(data, Target(precision=1.0)), threshold_for(data, Target(recall=0.8)), threshold_for(data, Target(keep=0.3))
    (0.5, 0.6, 0.7)
    """
    scored = sorted(((one.score, one.good) for one in some if one.score is not None), reverse=True)
    if not scored:
        return None
    wanted = sum(one.good for one in some)
    found: float | None = None
    kept = right = 0
    for at, (score, good) in enumerate(scored):
        kept += 1
        right += good
        if at + 1 < len(scored) and scored[at + 1][0] == score:
            continue  # equal scores are kept together
        if target.precision is not None:
            low = wilson(right / kept, kept)[0] if target.sure else right / kept
            if low >= target.precision:
                found = score
        elif target.recall is not None:
            if right >= target.recall * wanted:
                return score
        elif target.keep is not None and kept >= target.keep * len(some):
            return score
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What a filter is expected to do to data like this: the share kept, its precision (``None``: nothing is kept), its recall, and the share of good steps without it.

    ``thresholds`` are those of the folds, and their median is the one to use.
    """

    kept: Estimate
    precision: Estimate | None
    recall: Estimate
    base: Estimate
    thresholds: tuple[float, ...]

    @property
    def threshold(self) -> float | None:
        """The median threshold of the folds."""
        return sorted(self.thresholds)[len(self.thresholds) // 2] if self.thresholds else None


def filter_effect(some: Sequence[Judged], target: Target, *, folds: int = 5, seed: int = 0) -> Effect:
    """Return the expected effect of a filter whose threshold is chosen for ``target``, always on other groups than those it is applied to.

    A fold in which no threshold reaches the target keeps nothing.
    """
    if folds < 2:
        raise ConfigError(f"folds is {folds!r}; it must be 2 or more.")
    if not some:
        raise DataError("there is nothing labelled to say what a filter would do.")
    fold_of = {one.group: crc32(f"{seed}\x1f{one.group}".encode("utf-8", "replace")) % folds for one in some}
    judged, thresholds = list[Judged](), list[float]()
    for fold in range(folds):
        mine = [one for one in some if fold_of[one.group] == fold]
        threshold = threshold_for([one for one in some if fold_of[one.group] != fold], target)
        if mine and threshold is not None:
            thresholds.append(threshold)
        for one in mine:
            keep = threshold is not None and one.score is not None and one.score >= threshold
            judged.append(Judged(score=float(keep), good=one.good, group=one.group))
    cut = cut_at(judged, 0.5)
    base = clustered([one.good for one in some], [one.group for one in some])
    return Effect(
        kept=cut.kept, precision=cut.precision, recall=cut.recall, base=base, thresholds=tuple(thresholds)
    )
