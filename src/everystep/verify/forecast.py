"""The forecast: what a task will take and how likely it is to succeed, before it is run.

From a calibration, the number of steps and a target follow the vote margin, the samples, calls, tokens and dollars to
expect, and the chance of finishing without an error. Steps that no margin can save are named. The formulas are those of MAKER (arXiv 2511.09030).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from everystep.core.errors import ConfigError
from everystep.run.decide import Price
from everystep.verify.calibrate import Calibration, Part, Sort
from everystep.verify.proportions import Estimate, share
from everystep.verify.race import Race, chance, counted_share, margin, race

_LOST = (Sort.DOOMED, Sort.SILENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What to expect of a task of ``steps`` steps that are decided by the first to be ahead by ``margin``.

    ``margin`` is ``None`` where no margin reaches the target even at the steps that can be saved; ``used`` is the one that the other numbers
    are for. ``cautious`` is the margin if p is as low as its interval allows. ``chance`` counts every step, ``chance_if_mended`` takes the
    lost steps (``doomed``, about ``lost_steps`` in the whole task) to be like the plain ones: what decorrelation can win. The sample
    cannot rule out that up to ``lost_share.high`` of the steps are lost. Sums are for the whole task; ``None`` where the
    calibration knows nothing about them. ``at_cap`` steps are expected to end undecided. ``seconds`` is with the samples of a round in parallel,
    steps one after the other.
    """

    steps: int
    target: float
    m: int
    cap: int
    success: Estimate
    valid: Estimate
    margin: int | None
    used: int
    cautious: int | None
    chance: Estimate
    chance_if_mended: Estimate
    lost_share: Estimate
    lost_steps: float
    doomed: tuple[str, ...]
    samples_per_step: float
    calls: float
    at_cap: float
    prompt_tokens: float | None
    completion_tokens: float | None
    usd: float | None
    seconds: float | None


def forecast(
    calibration: Calibration,
    *,
    steps: int,
    target: float = 0.95,
    k: int | None = None,
    cap: int = 100,
    m: int = 1,
    price: Price | None = None,
    seconds_per_sample: float | None = None,
) -> Forecast:
    """Return what ``calibration`` says about a task of ``steps`` steps, ``m`` of them decided by one call.

    ``k`` fixes the margin; without it the smallest one is used that reaches ``target`` at the steps that can be saved, and 2 at
    least where no error was seen. ``cap`` bounds the samples of one step. ``price`` is dollars per million tokens; without it the
    measured dollars count.

    >>> from everystep.verify.calibrate import Tally, calibrate
    >>> seen = calibrate([Tally(state=str(i), right=9, wrong=1) for i in range(400)])
    >>> told = forecast(seen, steps=1023, target=0.95)
    >>> told.margin, round(told.samples_per_step, 2), round(told.chance.value, 3)
    (5, 6.25, 0.983)
    """
    if steps < 1 or cap < 1 or m < 1 or not 0 < target < 1 or (k is not None and k < 1):
        raise ConfigError(
            f"steps {steps!r}, target {target!r}, k {k!r}, cap {cap!r}, m {m!r}: expected positive numbers and a target between 0 and 1."
        )
    saved = [part for part in calibration.parts if part.sort not in _LOST]
    found = _margin(saved, target, steps, m, _value)
    used = k or found or 2
    valid = calibration.valid.value
    races = [(part, _race(part, used, valid, cap, m)) for part in calibration.parts]
    calls = sum(steps / m * part.share.value * one.samples for part, one in races)
    rounds = sum(steps / m * part.share.value * one.rounds for part, one in races)
    cost = calibration.cost
    latency = seconds_per_sample or cost.get("seconds")
    return Forecast(
        steps=steps,
        target=target,
        m=m,
        cap=cap,
        success=calibration.success,
        valid=calibration.valid,
        margin=found,
        used=used,
        cautious=_margin(saved, target, steps, m, _low),
        chance=_chance(calibration.parts, used, steps, m),
        chance_if_mended=_chance(_mended(calibration.parts), used, steps, m),
        lost_share=_lost_share(calibration),
        lost_steps=steps * sum(part.share.value for part in calibration.parts if part.sort in _LOST),
        doomed=calibration.doomed,
        samples_per_step=calls * m / steps,
        calls=calls,
        at_cap=sum(steps / m * part.share.value * one.undecided for part, one in races),
        prompt_tokens=_times(calls, cost, "prompt_tokens", "cached_tokens"),
        completion_tokens=_times(calls * m, cost, "completion_tokens"),
        usd=_times(calls * m, cost, "usd") if price is None else _priced(calls, m, cost, price),
        seconds=None if latency is None else rounds * m * latency,
    )


def _value(one: Estimate) -> float:
    return one.value


def _low(one: Estimate) -> float:
    return one.low


def _high(one: Estimate) -> float:
    return one.high


End = Callable[[Estimate], float]


def _shares(parts: tuple[Part, ...] | list[Part], end: End) -> list[tuple[float, float]]:
    return [(part.share.value, end(part.success)) for part in parts]


def _margin(saved: list[Part], target: float, steps: int, m: int, end: End) -> int | None:
    """Return the margin for the steps that can be saved; 2 at least where not one error was seen."""
    if not saved:
        return None
    found = margin(_shares(saved, end), target, steps, m)
    unseen = all(part.success.value == 1 for part in saved)
    return max(2, found) if unseen and found is not None else found


def _race(part: Part, k: int, valid: float, cap: int, m: int) -> Race:
    p = part.success.value
    counted = 0.0 if part.sort is Sort.SILENT else valid * counted_share(p, m)
    return race(p, k, valid=counted, cap=cap)


def _chance(parts: tuple[Part, ...], k: int, steps: int, m: int) -> Estimate:
    value, low, high = (chance(_shares(parts, end), k, steps, m) for end in (_value, _low, _high))
    silent = any(part.sort is Sort.SILENT for part in parts)
    return Estimate(value=0.0 if silent else value, low=low, high=high)


def _mended(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    plain = next((part.success for part in parts if part.sort not in _LOST), None)
    if plain is None:
        return parts
    return tuple(
        replace(part, sort=Sort.PLAIN, success=plain) if part.sort in _LOST else part for part in parts
    )


def _lost_share(calibration: Calibration) -> Estimate:
    return share(min(calibration.states, len(calibration.doomed)), calibration.states)


def _times(calls: float, cost: Mapping[str, float], *names: str) -> float | None:
    known = [cost[name] for name in names if name in cost]
    return calls * sum(known) if known else None


def _priced(calls: float, m: int, cost: Mapping[str, float], price: Price) -> float | None:
    prompt, cached = _times(calls, cost, "prompt_tokens"), _times(calls, cost, "cached_tokens")
    completion = _times(calls * m, cost, "completion_tokens")
    if prompt is None and completion is None:
        return None
    return (
        price.prompt * (prompt or 0) + price.cached * (cached or 0) + price.completion * (completion or 0)
    ) / 1e6
