"""Replay InterCode's published SQL runs here and compare: does SQLite solve what MySQL solved?"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everystep.core.errors import ConfigError
from everystep.environments.code.intercode_sql import SUBMIT, Dataset, asks_for_order, load_dataset, overlap
from everystep.environments.code.sqlbox import Result, SqlBox
from everystep.environments.published import read_text

_EXECUTE = re.compile(r"execute\[(.*)\]", re.DOTALL)
_TOLERANCE = 0.006  # the published rewards are rounded to two places


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A run that is solved on one side only. ``reason`` compares the turn that decided it."""

    question: int
    published: float
    replayed: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What came out of one file of runs: how often the solved flag, the rewards and the validity agree."""

    file: str
    runs: int
    steps: int
    published_solved: int
    replayed_solved: int
    rewards_agree: int
    valid_agree: int
    differences: tuple[Difference, ...]

    @property
    def agreement(self) -> float:
        """The share of runs whose solved flag is the same on both sides."""
        return 1 - len(self.differences) / self.runs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """One published turn with what came of it here."""

    published: float
    replayed: float
    valid: bool
    observation: str
    result: Result


def replay_published(path: Path, *, data: str = "published", order: str = "asked") -> Replay:
    """Run every action of the published runs in ``path`` again, each run on its own copy of the database.

    ``order`` is as in ``InterCodeSQL``. A file of another form raises ``ConfigError``.
    """
    dataset = load_dataset(data)
    runs = json.loads(read_text(path))
    if not isinstance(runs, dict) or not runs or "turn_history" not in next(iter(runs.values())):
        raise ConfigError(
            f"{str(path)!r} holds no InterCode runs; a mapping of runs with turn_history was expected."
        )
    steps, published_solved, replayed_solved, rewards, valid = 0, 0, 0, 0, 0
    differences = []
    for run in runs.values():
        number = int(run["task_id"])
        if dataset.questions[number].text != run["query"]:
            raise ConfigError(
                f"{str(path)!r}: run {number} asks another question than the data. Is it the same data?"
            )
        turns = _replay(run["turn_history"], dataset, number, always=order == "published")
        published = float(run["summary"]["max_reward"])
        replayed = max((turn.replayed for turn in turns), default=0.0)
        steps += len(turns)
        published_solved += published == 1.0
        replayed_solved += replayed == 1.0
        rewards += sum(abs(turn.published - turn.replayed) < _TOLERANCE for turn in turns)
        valid += sum(turn.valid == (turn.result.error is None) for turn in turns)
        if (published == 1.0) != (replayed == 1.0):
            reason = _reason(turns, solved_there=published == 1.0)
            differences.append(
                Difference(question=number, published=published, replayed=replayed, reason=reason)
            )
    return Replay(
        file=path.name,
        runs=len(runs),
        steps=steps,
        published_solved=published_solved,
        replayed_solved=replayed_solved,
        rewards_agree=rewards,
        valid_agree=valid,
        differences=tuple(differences),
    )


def _replay(history: Mapping[str, Any], dataset: Dataset, number: int, *, always: bool) -> list[_Turn]:
    question = dataset.questions[number]
    ordered = always or asks_for_order(question.gold)
    reasons_first = "thoughts" in history  # ReAct runs wrap each statement and are scored when they submit
    box = SqlBox(question.database, dataset.images[question.database])
    result = Result()
    turns = []
    columns = (history[name] for name in ("actions", "observations", "rewards", "valid_action"))
    for action, observation, reward, valid in zip(*columns, strict=True):
        submits = reasons_first and action.strip() == SUBMIT
        if not submits:
            result = _run(box, action, wrapped=reasons_first)
        score = 0.0
        if result.rows is not None and (submits or not reasons_first):
            score = overlap(result.rows, dataset.answer(number), ordered=ordered)
        turns.append(
            _Turn(
                published=float(reward),
                replayed=score,
                valid=bool(valid),
                observation=observation,
                result=result,
            )
        )
    box.close()
    return turns


def _run(box: SqlBox, action: str, *, wrapped: bool) -> Result:
    if not wrapped:
        return box.run(action)
    match = _EXECUTE.search(action)
    return box.run(match[1]) if match else Result(error="no SQL in the action")


def _reason(turns: list[_Turn], *, solved_there: bool) -> str:
    if solved_there:
        turn = next(turn for turn in turns if turn.published == 1.0)
        if turn.result.error is not None:
            return f"SQLite refuses: {turn.result.error}"
        return "same rows, other score" if _same_rows(turn) else "MySQL gives other rows"
    turn = next(turn for turn in turns if turn.replayed == 1.0)
    if turn.observation.startswith("Error executing"):
        return f"MySQL refuses: {turn.observation.partition(': ')[2][:80]}"
    return "same rows, other score" if _same_rows(turn) else "MySQL gives other rows"


def _same_rows(turn: _Turn) -> bool:
    return turn.observation == str(list(turn.result.rows or ()))
