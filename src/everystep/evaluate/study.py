"""A study: the arms of a recipe on its small world, at the same seeds, with intervals and paired differences.

Finished trials are kept in the run's folder one by one, so a study that was stopped goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from everystep.core.errors import DataError
from everystep.core.protocols import Logger
from everystep.evaluate.intervals import Interval, bootstrap_mean, paired_difference
from everystep.run.folder import write_json

TRIALS = "trials.jsonl"
RESULTS = "results.json"
REPORT = "report.md"

Trial = Callable[[int], Mapping[str, float]]
"""Runs one arm with one seed and returns its named numbers."""

RatedTrial = Callable[[int, float], Mapping[str, float]]
"""Runs one arm with one seed at one learning rate."""

SWEEP = "sweep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One arm over its seeds. ``gains`` are paired differences to the baseline, empty for the baseline itself."""

    name: str
    values: Mapping[str, tuple[float, ...]]
    means: Mapping[str, Interval]
    gains: Mapping[str, Interval]


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """The result of ``study``: arms in order, the baseline among them, and the seeds that every arm ran."""

    arms: tuple[Arm, ...]
    baseline: str
    seeds: tuple[int, ...]

    def arm(self, name: str) -> Arm:
        """Return an arm by name."""
        return next(arm for arm in self.arms if arm.name == name)


def study(
    arms: Mapping[str, Trial],
    *,
    seeds: Sequence[int],
    baseline: str,
    folder: Path,
    loggers: Sequence[Logger] = (),
) -> Study:
    """Run every arm with every seed, seed by seed; write ``results.json`` and ``report.md`` into ``folder``.

    All arms must give the same numbers, else ``DataError``.
    """
    if baseline not in arms:
        raise DataError(f"the baseline {baseline!r} is not among the arms {', '.join(arms)}.")
    folder.mkdir(parents=True, exist_ok=True)
    done = _done(folder / TRIALS)
    for number, seed in enumerate(seeds):
        for place, (name, trial) in enumerate(arms.items()):
            if (name, seed) not in done:
                done[name, seed] = {key: float(value) for key, value in trial(seed).items()}
                _keep(folder / TRIALS, name, seed, done[name, seed])
            told = {"seed": float(seed), **done[name, seed]}
            for logger in loggers:
                logger.log(number * len(arms) + place, told)
    result = _summed(arms, seeds, baseline, done)
    write_json(folder / RESULTS, _as_json(result))
    (folder / REPORT).write_text(table(result) + "\n", encoding="utf-8")
    return result


def tune(
    arms: Mapping[str, RatedTrial],
    *,
    rates: Sequence[float],
    seeds: Sequence[int],
    by: str,
    folder: Path,
    loggers: Sequence[Logger] = (),
) -> dict[str, float]:
    """Sweep the learning rate of every arm on ``seeds``, which must not be those that are reported; return each arm's best by the mean of ``by``.

    The trials and ``report.md`` are kept below ``folder``. Raises ``DataError`` where an arm has no number ``by``.
    """
    place = folder / SWEEP
    place.mkdir(parents=True, exist_ok=True)
    done = _done(place / TRIALS)
    found: dict[str, dict[float, float]] = {}
    number = 0
    for name, trial in arms.items():
        for rate in rates:
            for seed in seeds:
                key = (f"{name} at {rate:g}", seed)
                if key not in done:
                    done[key] = {one: float(value) for one, value in trial(seed, rate).items()}
                    _keep(place / TRIALS, *key, done[key])
                if by not in done[key]:
                    raise DataError(f"arm {name!r} gave {list(done[key])}, not {by!r}.")
                for logger in loggers:
                    logger.log(number, {"seed": float(seed), "learning_rate": rate, **done[key]})
                number += 1
            values = [done[f"{name} at {rate:g}", seed][by] for seed in seeds]
            found.setdefault(name, {})[rate] = sum(values) / len(values)
    best = {name: max(by_rate, key=lambda rate: by_rate[rate]) for name, by_rate in found.items()}
    lines = [
        "| arm | " + " | ".join(f"{rate:g}" for rate in rates) + " | best |",
        "|---|" + "---|" * (len(rates) + 1),
    ]
    for name, by_rate in found.items():
        cells = " | ".join(f"{by_rate[rate]:.4g}" for rate in rates)
        lines.append(f"| {name} | {cells} | {best[name]:g} |")
    lines += ["", f"Mean {by} by learning rate, seeds {', '.join(map(str, seeds))}."]
    (place / REPORT).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return best


def tuned_study(
    trials: Mapping[str, RatedTrial],
    swept: Mapping[str, RatedTrial],
    *,
    known: Mapping[str, float],
    rates: Sequence[float],
    seeds: range,
    by: str,
    baseline: str,
    folder: Path,
    loggers: Sequence[Logger] = (),
    follow: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Study, dict[str, float]]:
    """Run every arm at its learning rate; return the study and the rates.

    ``swept`` arms take the best of ``rates`` on the two seeds after the last, by the mean of ``by``; with none in it nothing is swept. An arm in ``follow`` takes the
    rate of the arm that it names, the others have their rate in ``known``.
    """
    best = dict(known)
    if swept:
        others = range(seeds.stop, seeds.stop + 2)
        best |= tune(swept, rates=rates, seeds=others, by=by, folder=folder, loggers=loggers)
        best |= {name: best[other] for name, other in follow.items()}
    arms = {name: _at(trial, best[name]) for name, trial in trials.items()}
    return study(arms, seeds=seeds, baseline=baseline, folder=folder, loggers=loggers), best


def _at(trial: RatedTrial, rate: float) -> Trial:
    return lambda seed: trial(seed, rate)


def table(result: Study) -> str:
    """Return a Markdown table: each arm's numbers with 95 % bootstrap intervals, and the difference to the baseline."""
    keys = list(result.arms[0].means)
    lines = ["| arm | " + " | ".join(keys) + " |", "|---|" + "---|" * len(keys)]
    for arm in result.arms:
        cells = []
        for key in keys:
            gain = arm.gains.get(key)
            cells.append(f"{_told(arm.means[key])}" + (f" ({_told(gain, sign=True)})" if gain else ""))
        lines.append(f"| {arm.name} | " + " | ".join(cells) + " |")
    seeds = f"{len(result.seeds)} paired seeds ({', '.join(map(str, result.seeds[:12]))}{', ...' if len(result.seeds) > 12 else ''})"
    lines += ["", f"{seeds}; mean [95 % bootstrap interval] (difference to {result.baseline})."]
    return "\n".join(lines)


def _told(one: Interval, *, sign: bool = False) -> str:
    form = "+.3g" if sign else ".4g"
    return f"{one.value:{form}} [{one.low:{form}}, {one.high:{form}}]"


def _done(path: Path) -> dict[tuple[str, int], dict[str, float]]:
    found: dict[tuple[str, int], dict[str, float]] = {}
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
            found[row["arm"], row["seed"]] = row["numbers"]
        except (ValueError, KeyError, TypeError):
            continue  # the line that a crash cut; its trial runs again
    return found


def _keep(path: Path, arm: str, seed: int, numbers: Mapping[str, float]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"arm": arm, "seed": seed, "numbers": dict(numbers)}) + "\n")


def _summed(
    arms: Mapping[str, Trial],
    seeds: Sequence[int],
    baseline: str,
    done: Mapping[tuple[str, int], Mapping[str, float]],
) -> Study:
    keys = list(done[baseline, seeds[0]])
    rows = []
    for name in arms:
        for seed in seeds:
            if list(done[name, seed]) != keys:
                raise DataError(
                    f"arm {name!r} gave {list(done[name, seed])} with seed {seed}, the baseline gives {keys}. "
                    "All arms must give the same numbers."
                )
        values = {key: tuple(done[name, seed][key] for seed in seeds) for key in keys}
        base = {key: tuple(done[baseline, seed][key] for seed in seeds) for key in keys}
        gains = {key: paired_difference(values[key], base[key]) for key in keys} if name != baseline else {}
        means = {key: bootstrap_mean(values[key]) for key in keys}
        rows.append(Arm(name=name, values=values, means=means, gains=gains))
    return Study(arms=tuple(rows), baseline=baseline, seeds=tuple(seeds))


def _as_json(result: Study) -> dict[str, object]:
    def told(one: Interval) -> list[float]:
        return [one.value, one.low, one.high]

    return {
        "baseline": result.baseline,
        "seeds": list(result.seeds),
        "arms": {
            arm.name: {
                "values": {key: list(values) for key, values in arm.values.items()},
                "means": {key: told(one) for key, one in arm.means.items()},
                "gains": {key: told(one) for key, one in arm.gains.items()},
            }
            for arm in result.arms
        },
    }
