"""The arithmetic of voting: first to be ahead by k, as a gambler's ruin (MAKER, arXiv 2511.09030, equations 9 to 31).

``p`` is the chance that one *valid* sample is right and ``r = (1 - p) / p``. All wrong answers are taken to be the same
one, which is the worst case: where they differ among themselves, voting does better than these formulas say. ``m`` steps
decided in one call are right together with ``p ** m``, against the likeliest rival, one wrong step, with ``(1 - p) * p ** (m - 1)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, expm1, inf, log, log1p

from everystep.core.errors import ConfigError

_NOTHING = 1e-15  # probability that is left out of a sum


def p_sub(p: float, k: int) -> float:
    """Return the chance that a race to be ahead by ``k`` ends with the right answer: ``1 / (1 + r ** k)``.

    It does not depend on the steps a call.

    >>> round(p_sub(0.9, 3), 5)
    0.99863
    """
    _check(p, k)
    if p in (0.0, 1.0):
        return p
    return 1 / (1 + exp(min(700.0, k * (log1p(-p) - log(p)))))


def p_full(p: float, k: int, steps: float, m: int = 1) -> float:
    """Return the chance that a task of ``steps`` steps has no error: ``(1 + r ** k) ** (-steps / m)``.

    >>> round(p_full(0.9, 4, 1023), 3)
    0.856
    """
    return chance([(1.0, p)], k, steps, m)


def chance(shares: list[tuple[float, float]], k: int, steps: float, m: int = 1) -> float:
    """Return the chance of no error where a share of the steps has its own ``p``: the product over all steps.

    ``shares`` holds pairs (share of the steps, p).

    >>> chance([(0.995, 0.95), (0.005, 0.4)], 5, 1023) < 0.01
    True
    """
    total = 0.0
    for share, p in shares:
        _check(p, k)
        if share and p == 0:
            return 0.0
        if share and p < 1:
            total += share * steps / m * _log1p_exp(k * (log1p(-p) - log(p)))
    return exp(-total)


def k_min(p: float, target: float, steps: float, m: int = 1) -> int | None:
    """Return the smallest margin that finishes with a chance of at least ``target``; ``None`` where no margin can (p <= 0.5).

    ``ceil(ln(target ** (-m / steps) - 1) / ln r)``, and 1 at least.

    >>> k_min(1 - 0.0022, 0.95, 2**20 - 1)
    3
    """
    _check(p, 1)
    if not 0 < target < 1 or steps <= 0 or m < 1:
        raise ConfigError(
            f"target {target!r}, steps {steps!r}, m {m!r}: expected a chance between 0 and 1 and positive numbers."
        )
    if p <= 0.5:
        return None
    if p == 1:
        return 1
    bound = log(expm1(-m / steps * log(target))) / (log1p(-p) - log(p))
    return max(1, ceil(bound - 1e-12))


def margin(
    shares: list[tuple[float, float]], target: float, steps: float, m: int = 1, most: int = 10_000
) -> int | None:
    """Return the smallest margin for steps of several kinds; ``None`` where some have p <= 0.5 or ``most`` is not enough."""
    worst = min((p for share, p in shares if share), default=1.0)
    start = k_min(worst, target, max(1e-9, min(share for share, p in shares if p == worst) * steps), m)
    if start is None:
        return None
    low, high = 0, start
    while chance(shares, high, steps, m) < target:
        low, high = high, 2 * high
        if low > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if chance(shares, middle, steps, m) >= target else (middle, high)
    return high if high <= most else None


def expected_votes(p: float, k: int) -> float:
    """Return the expected number of valid samples of one race: ``k (2 p_sub - 1) / (2 p - 1)``, ``k ** 2`` at p = 0.5.

    >>> round(expected_votes(0.9, 3), 2)
    3.74
    """
    _check(p, k)
    if abs(2 * p - 1) < 1e-9:
        return float(k * k)
    return k * (2 * p_sub(p, k) - 1) / (2 * p - 1)


def counted_share(p: float, m: int) -> float:
    """Return the share of calls of ``m`` steps that are right or the likeliest rival of the right one: ``p ** (m - 1)``.

    The others are all different from each other in the worst case that is assumed here, and only cost.
    """
    _check(p, 1)
    return p ** (m - 1)


def expected_cost(
    p: float, k: int, steps: float, *, cost: float = 1.0, valid: float = 1.0, m: int = 1
) -> float:
    """Return the expected cost of a whole task: races × votes × the price of a counted vote.

    ``cost`` is that of one sample of one step; a call of ``m`` steps costs ``m`` times as much. A share ``valid`` of the samples survives the
    flags. Infinite where no call ever counts.

    >>> round(expected_cost(0.99, k_min(0.99, 0.9, 1023, 10), 1023, m=10))
    2285
    """
    counted = counted_share(p, m) * valid
    if counted <= 0:
        return inf
    return steps / m * expected_votes(p, k) * cost * m / counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """One race under a cap: how it ends, and the samples (flagged ones included) and rounds it takes on average.

    In a round the smallest number of samples that could decide is drawn at once.
    """

    right: float
    wrong: float
    undecided: float
    samples: float
    rounds: float


def race(p: float, k: int, *, valid: float = 1.0, cap: int = 100) -> Race:
    """Return the exact outcome of one race that stops after ``cap`` samples, by following the lead sample by sample.

    >>> one = race(0.9, 3, cap=1000)
    >>> round(one.right, 5), round(one.samples, 2)
    (0.99863, 3.74)
    """
    _check(p, k)
    if not 0 <= valid <= 1 or cap < 1:
        raise ConfigError(
            f"valid {valid!r}, cap {cap!r}: expected a share from 0 to 1 and 1 or more samples."
        )
    spread = _spreads((valid * (1 - p), 1 - valid, valid * p), min(k, cap))
    right = wrong = samples = rounds = 0.0
    waves: dict[int, dict[int, float]] = {0: {0: 1.0}}  # samples drawn -> lead -> chance, where rounds start
    for drawn in range(cap):
        for lead, mass in waves.pop(drawn, {}).items():
            size = min(k - abs(lead), cap - drawn)
            rounds += mass
            samples += mass * size
            for after, share in enumerate(spread[size], start=lead - size):
                part = mass * share
                if after >= k:
                    right += part
                elif after <= -k:
                    wrong += part
                elif drawn + size < cap and part > _NOTHING:
                    wave = waves.setdefault(drawn + size, {})
                    wave[after] = wave.get(after, 0.0) + part
    return Race(
        right=right, wrong=wrong, undecided=max(0.0, 1 - right - wrong), samples=samples, rounds=rounds
    )


def _spreads(moves: tuple[float, float, float], most: int) -> list[list[float]]:
    """Return for 0 to ``most`` samples the chances of moving the lead by ``-n`` to ``n``."""
    down, stay, up = moves
    found = [[1.0]]
    for n in range(most):
        last, following = found[-1], [0.0] * (2 * n + 3)
        for at, part in enumerate(last):
            following[at] += part * down
            following[at + 1] += part * stay
            following[at + 2] += part * up
        found.append(following)
    return found


def _log1p_exp(x: float) -> float:
    return x + log1p(exp(-x)) if x > 0 else log1p(exp(x))


def _check(p: float, k: int) -> None:
    if not 0 <= p <= 1:
        raise ConfigError(f"p is {p!r}; expected a probability, 0 to 1.")
    if k < 1:
        raise ConfigError(f"the margin k is {k!r}; it must be 1 or more.")
