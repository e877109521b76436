"""MatchTIR's credit in a real training batch against plain Python from the formulas."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest

from everystep.app.reading import trajectories_of
from everystep.core.errors import ConfigError
from everystep.core.records import ToolCall, Trajectory
from everystep.core.trace import Kind
from everystep.credit.assess import assess
from everystep.credit.estimators import estimator
from everystep.credit.matching import turn_rewards
from everystep.recipes import matchtir
from everystep.run.folder import create
from everystep.run.journal import Journal

QUICK = {
    "options": {"turns": 3, "fewest": 2, "choices": 3},
    "model": "tiny:0.02M",
    "demonstrations": 20,
    "turn_updates": 0,
    "warm_updates": 1,
    "iterations": 1,
    "tasks": 3,
    "group_size": 4,
    "test_tasks": 2,
}


def alike(call: ToolCall, wanted: ToolCall) -> float:
    if call.name != wanted.name:
        return 0.0
    one, two = set(call.arguments), set(wanted.arguments)
    equal = sum(call.arguments.get(name) == value for name, value in wanted.arguments.items())
    return (1 + len(one & two) / len(one | two) + equal) / (2 + len(two))


def best_total(trajectory: Trajectory) -> float:
    """Try every one-to-one assignment of calls to references."""
    wanted = list(trajectory.task.reference_calls or ())
    calls = [call for step in trajectory.steps for call in step.action.calls]
    slots = [*range(len(wanted)), *[None] * len(calls)]
    return max(
        sum(0.0 if n is None else alike(call, wanted[n]) for call, n in zip(calls, chosen, strict=True))
        for chosen in set(itertools.permutations(slots, len(calls)))
    )


def normed(values: dict[object, float], group: dict[object, object]) -> dict[object, float]:
    members = defaultdict(list)
    for key, value in values.items():
        members[group[key]].append(value)
    out = {}
    for key, value in values.items():
        some = members[group[key]]
        flat = len(some) < 2 or max(some) - min(some) < 1e-9
        out[key] = 0.0 if flat else (value - mean(some)) / (stdev(some) + 1e-6)
    return out


def oracle(trajectories: list[Trajectory], rewards: dict[str, list[float]]) -> list[float]:
    score = {one.id: sum(rewards[one.id]) for one in trajectories}
    whole = normed(score, {one.id: one.group for one in trajectories})
    value, turn = {}, {}
    for one in trajectories:
        following = 0.0
        for place in reversed(range(len(one.steps))):
            following = rewards[one.id][place] + 0.9 * following
            value[one.id, place] = following
            turn[one.id, place] = (one.group, place)
    part = normed(value, turn)
    return [
        0.5 * whole[one.id] + 0.5 * part[one.id, place]
        for one in trajectories
        for place in range(len(one.steps))
    ]


def run(tmp_path: Path, **options: object) -> tuple[list[Trajectory], dict[str, float], dict[str, object]]:
    config = matchtir.Config(**{**QUICK, **options})  # type: ignore[arg-type]
    folder = create(tmp_path / "run", recipe="matchtir", options=asdict(config), version="test")
    matchtir.run(config, folder)
    with Journal.read(folder.journal) as journal:
        rows = [event.body for event in journal.events(kinds=(Kind.METRICS,))]
        made = next(iter(journal.events())).body["estimator"]
    batch = list(trajectories_of(folder.path, phase="train", iteration=0))
    return batch, next(row for row in rows if row["phase"] == "train"), made


def test_credit_of_a_training_batch_is_the_formula(tmp_path: Path) -> None:
    batch, row, made = run(tmp_path)
    rewards = {one.id: turn_rewards(one).tolist() for one in batch}
    for one in batch:
        assert sum(rewards[one.id]) == pytest.approx(best_total(one) + (one.success is True))
    credit = oracle(batch, rewards)
    _, got = assess(batch, estimator(made["name"], made["variant"], **made["options"]))  # type: ignore[index,arg-type]
    np.testing.assert_allclose(got.value_S, credit, atol=1e-9)
    assert np.sqrt(np.mean(np.square(credit))) == pytest.approx(row["credit_rms"], rel=1e-9)
    assert np.abs(credit).max() > 0.5  # the batch says something


@pytest.mark.parametrize("solver", ["greedy", "soft"])
def test_other_solvers_train_on_their_own_estimator(tmp_path: Path, solver: str) -> None:
    _, row, made = run(tmp_path, solver=solver, turn_weight=1.0)
    assert (made["name"], made["options"]["weight"]) == (f"matchtir_{solver}", 1.0)  # type: ignore[index]
    assert row["credit_rms"] > 0


def test_options_without_effect_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="solver is 'best'"):
        run(tmp_path, solver="best")
    with pytest.raises(ConfigError, match="step score 'progress' is 'much'"):
        run(tmp_path / "one", process={"progress": "much"})
    with pytest.raises(ConfigError, match="no effect"):
        run(tmp_path / "two", process={"progress": 1.0})
