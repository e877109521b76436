"""Decorrelation: which mix of ways to ask makes every step winnable, where one way alone errs systematically.

A way is a temperature, a paraphrase of the prompt, another model. Voting wins wherever the mix is right more often than
wrong, so what counts is the state that is worst under the mix, not the mean (MAKER, arXiv 2511.09030, section 6, names the idea; the rule here is ours).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import comb

from everystep.core.errors import ConfigError, DataError
from everystep.verify.calibrate import Tally, calibrate

_MOST_MIXES = 50_000
PLAIN = ""
"""The name under which the states that are not bad are pooled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """A cycle of ways: sample ``i`` of a step is drawn in way ``ways[i % len(ways)]``.

    ``success`` is for each bad state (and ``PLAIN`` for the others together) the expected chance that a valid sample is right; ``before`` is the same with
    the first way alone. ``doomed`` are the states that the best mix still leaves at one half or below.
    """

    ways: tuple[str, ...]
    success: Mapping[str, float]
    before: Mapping[str, float]
    doomed: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def worst(self) -> float:
        """The lowest chance of all states."""
        return min(self.success.values())


def mend(
    ways: Mapping[str, Sequence[Tally]],
    *,
    bad: Collection[str] | None = None,
    slots: int = 10,
    cost: Mapping[str, float] | None = None,
) -> Mix:
    """Return the mix whose worst state is best, among all cycles of ``slots`` samples; of equals the cheapest.

    ``ways`` maps a name to that way's tallies at the same states: the bad ones, and some others so that the mix is not bought
    with them. The first way is the one that is used now; ``bad`` are by default the states that ``calibrate`` finds weak or silent under any way (each may have its own). Rates are shrunk
    by one right and one wrong sample (Laplace), so that a few lucky samples do not decide. ``cost`` is the price of a sample by way.

    >>> now = [Tally(state="s", right=1, wrong=19), *(Tally(state=str(i), right=20, wrong=0) for i in range(20))]
    >>> other = [Tally(state="s", right=19, wrong=1), *(Tally(state=str(i), right=18, wrong=2) for i in range(20))]
    >>> mix = mend({"now": now, "paraphrase": other})
    >>> mix.weights, round(mix.before["s"], 2), round(mix.worst, 2)
    ({'paraphrase': 1.0}, 0.09, 0.9)
    """
    names = list(ways)
    _check(names, ways, slots)
    if bad is None:
        seen = [calibrate(ways[name]) for name in names]
        bad = {state for one in seen for state in (*(weak.state for weak in one.weak), *one.silent)}
    rates = _rates(ways, frozenset(bad))
    prices = [1.0 if cost is None else cost[name] for name in names]
    best: tuple[tuple[float, float, int, tuple[int, ...]], tuple[int, ...]] | None = None
    for counts in _compositions(slots, len(names)):
        worst = min(_mixed(row, counts) for row in rates.values())
        spent = sum(n * price for n, price in zip(counts, prices, strict=True))
        order = (-round(worst, 9), spent, sum(n > 0 for n in counts), tuple(-n for n in counts))
        if best is None or order < best[0]:
            best = (order, counts)
    assert best is not None  # noqa: S101 -- there is at least one way
    counts = best[1]
    success = {state: _mixed(row, counts) for state, row in rates.items()}
    alone = (slots, *(0 for _ in names[1:]))
    return Mix(
        ways=tuple(names[i] for i in _spread(counts)),
        success=success,
        before={state: _mixed(row, alone) for state, row in rates.items()},
        doomed=tuple(sorted(state for state, p in success.items() if p <= 0.5)),
        weights={name: n / slots for name, n in zip(names, counts, strict=True) if n},
    )


def _check(names: list[str], ways: Mapping[str, Sequence[Tally]], slots: int) -> None:
    if not names or slots < 1:
        raise ConfigError(
            f"{len(names)} ways in {slots!r} slots make no mix; give a way and a slot at least."
        )
    mixes = comb(slots + len(names) - 1, len(names) - 1)
    if mixes > _MOST_MIXES:
        raise ConfigError(
            f"{len(names)} ways in {slots} slots make {mixes} mixes; at most {_MOST_MIXES} are tried. "
            "Give fewer ways or slots."
        )
    states = {name: {one.state for one in ways[name]} for name in names}
    for name in names[1:]:
        if states[name] != states[names[0]]:
            raise DataError(
                f"way {name!r} was tried at other states than {names[0]!r}. Probe all ways at the same states."
            )


Rate = tuple[float, float]
"""Chance that one sample is a right vote, and a wrong vote."""


def _rates(ways: Mapping[str, Sequence[Tally]], bad: frozenset[str]) -> dict[str, list[Rate]]:
    rows: dict[str, list[Rate]] = {}
    for tallies in ways.values():
        sums: dict[str, list[int]] = {}
        for one in tallies:
            counts = sums.setdefault(one.state if one.state in bad else PLAIN, [0, 0, 0])
            for i, count in enumerate((one.right, one.wrong, len(one.flagged))):
                counts[i] += count
        for state in sorted(sums):
            right, wrong, flagged = sums[state]
            valid = (right + wrong) / max(1, right + wrong + flagged)
            p = (right + 1) / (right + wrong + 2)
            rows.setdefault(state, []).append((valid * p, valid * (1 - p)))
    return rows


def _mixed(row: Sequence[Rate], counts: Sequence[int]) -> float:
    right = sum(n * rate[0] for n, rate in zip(counts, row, strict=True))
    wrong = sum(n * rate[1] for n, rate in zip(counts, row, strict=True))
    return right / (right + wrong) if right + wrong else 0.0


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (total,)
        return
    for first in range(total, -1, -1):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)


def _spread(counts: Sequence[int]) -> list[int]:
    """Return the ways in an order in which every stretch has about the right mix (smooth weighted round robin)."""
    total, credit, order = sum(counts), [0] * len(counts), []
    for _ in range(total):
        credit = [have + n for have, n in zip(credit, counts, strict=True)]
        chosen = max(range(len(counts)), key=lambda i: (credit[i], -i))
        credit[chosen] -= total
        order.append(chosen)
    return order
