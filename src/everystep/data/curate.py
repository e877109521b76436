"""Curation by written criteria: few trajectories, chosen for what somebody wrote down that a good demonstration is.

A criterion is a sentence with a score from 0 to 1: by a rule, or by a judge that reads the sentence. Trajectories below a criterion's ``least`` are out; of the
rest the best are taken, in turn from each of the groups that ``spread`` makes, so that the choice is diverse. The table of scores says why each was chosen.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from everystep.core.errors import ConfigError, DataError, did_you_mean
from everystep.core.protocols import Judge
from everystep.core.records import End, Level, Trajectory
from everystep.verify.judging import shares

Score = Callable[[Trajectory], float]
"""How well a trajectory meets a criterion, 0 to 1."""


def solved(trajectory: Trajectory) -> float:
    """1 where the environment says success."""
    return float(trajectory.success is True)


def finished(trajectory: Trajectory) -> float:
    """1 where the episode came to its own end."""
    return float(trajectory.end in (End.DONE, End.FAILED))


def clean(trajectory: Trajectory) -> float:
    """The share of steps that were valid."""
    return sum(step.action.valid for step in trajectory.steps) / max(1, len(trajectory.steps))


def direct(trajectory: Trajectory) -> float:
    """The share of steps that came closer to the goal, where the environment measures it (``closer``)."""
    known = [step.scores["closer"] > 0 for step in trajectory.steps if "closer" in step.scores]
    return sum(known) / len(known) if known else 0.0


def recovers(trajectory: Trajectory) -> float:
    """1 where a step that led away (``closer`` 0) was followed by success: it shows how a mistake is mended."""
    away = any(step.scores.get("closer", 1.0) <= 0 for step in trajectory.steps[:-1])
    return float(away and trajectory.success is True)


RULES: Mapping[str, Score] = {
    "solved": solved,
    "finished": finished,
    "clean": clean,
    "direct": direct,
    "recovers": recovers,
}
"""Scores that need no judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """What is wanted, in words, and how it is scored: by ``score``, or where that is ``None`` by a judge who reads ``text``. ``least`` is required."""

    name: str
    text: str
    score: Score | None = None
    weight: float = 1.0
    least: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.least <= 1.0:
            raise ConfigError(f"criterion {self.name!r}: least is {self.least!r}; it must be from 0 to 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curated:
    """The chosen trajectories, best first, and the scores of all by criterion (``None``: the judge came to none). ``refused`` counts by criterion."""

    chosen: tuple[Trajectory, ...]
    scores: Mapping[str, Mapping[str, float | None]]
    refused: Mapping[str, int] = field(default_factory=dict)


Judges = Callable[[Criterion], Judge]
"""Makes a judge of whole trajectories from the text of a criterion."""


def curate(
    trajectories: Iterable[Trajectory],
    criteria: Sequence[Criterion],
    count: int,
    *,
    spread: Callable[[Trajectory], str] = lambda one: one.task.id,
    judges: Judges | None = None,
) -> Curated:
    """Choose up to ``count`` trajectories. Equal sums are ordered by the longer, then as given.

    Raises ``ConfigError`` for a criterion without a score where no ``judges`` are given. A trajectory that the judge says nothing about is refused.
    """
    if count < 1 or not criteria:
        raise ConfigError(f"count is {count!r} with {len(criteria)} criteria; expected 1 or more of each.")
    given = list(trajectories)
    scores: dict[str, dict[str, float | None]] = {one.id: {} for one in given}
    for criterion in criteria:
        for name, value in _scored(given, criterion, judges).items():
            scores[name][criterion.name] = value
    refused: Counter[str] = Counter()
    left = []
    for place, one in enumerate(given):
        below = next((c.name for c in criteria if not _meets(scores[one.id][c.name], c)), None)
        if below is not None:
            refused[below] += 1
            continue
        total = sum(c.weight * (scores[one.id][c.name] or 0.0) for c in criteria)
        left.append((-total, -len(one.steps), place))
    queues: dict[str, list[Trajectory]] = {}
    for _, _, place in sorted(left):
        queues.setdefault(spread(given[place]), []).append(given[place])
    chosen: list[Trajectory] = []
    while len(chosen) < count and any(queues.values()):
        for queue in queues.values():
            if queue and len(chosen) < count:
                chosen.append(queue.pop(0))
    return Curated(chosen=tuple(chosen), scores=scores, refused=dict(refused))


def _meets(score: float | None, criterion: Criterion) -> bool:
    return score is not None and score >= criterion.least


def _scored(
    given: Sequence[Trajectory], criterion: Criterion, judges: Judges | None
) -> dict[str, float | None]:
    if criterion.score is not None:
        return {one.id: criterion.score(one) for one in given}
    if judges is None:
        raise ConfigError(
            f"criterion {criterion.name!r} has no rule, so a judge must read it. Give judges, or one of: {', '.join(RULES)}."
        )
    found = shares(given, judges(criterion), level=Level.TRAJECTORY)
    return {one.id: found.get(one.id) for one in given}


def read_criteria(path: Path) -> tuple[Criterion, ...]:
    """Read criteria from a TOML file: tables ``[[criterion]]`` with ``name`` and ``text``, and optionally ``rule``, ``weight`` and ``least``.

    Raises ``DataError`` that names what is wrong.
    """
    try:
        body = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"cannot read criteria from {str(path)!r}: {error}.") from None
    listed = body.get("criterion")
    if not isinstance(listed, list) or not listed:
        raise DataError(
            f"{str(path)!r} has no [[criterion]] table. Write one for each criterion, with name and text."
        )
    return tuple(_criterion(path, number, one) for number, one in enumerate(listed))


def _criterion(path: Path, number: int, table: Any) -> Criterion:
    where = f"{str(path)!r}, criterion {number}"
    known = ("name", "text", "rule", "weight", "least")
    if not isinstance(table, dict) or not {"name", "text"} <= table.keys():
        raise DataError(f"{where}: expected a table with name and text.")
    for key, value in table.items():
        if key not in known:
            raise DataError(f"{where} has no key {key!r}. {did_you_mean(key, known)}")
        kind = int | float if key in ("weight", "least") else str
        if not isinstance(value, kind) or isinstance(value, bool):
            raise DataError(
                f"{where}: {key} is {value!r}; expected {'a text' if kind is str else 'a number'}."
            )
    rule = table.get("rule")
    if rule is not None and rule not in RULES:
        raise DataError(f"{where}: there is no rule {rule!r}. {did_you_mean(rule, RULES)}")
    return Criterion(
        name=table["name"],
        text=table["text"],
        score=None if rule is None else RULES[rule],
        weight=float(table.get("weight", 1.0)),
        least=float(table.get("least", 0.0)),
    )
