"""SRGPO on a real training batch: random blocks drawn from the run's seed, and the arms that see the same reward."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everystep.app.page_reasons import explainer
from everystep.app.reading import trace_of, trajectories_of
from everystep.core.records import Trajectory
from everystep.core.trace import Kind
from everystep.credit.assess import assess
from everystep.credit.estimators import estimator
from everystep.recipes.catalog import recipe
from everystep.run.folder import RunFolder, create
from everystep.run.journal import Journal
from everystep.run.rollout import seed_of

QUICK: dict[str, Any] = {
    "environment": "keydoor",
    "options": {"side": 3, "horizon": 8},
    "model": "tiny:0.02M",
    "demonstrations": 20,
    "turn_updates": 0,
    "warm_updates": 1,
    "iterations": 1,
    "tasks": 3,
    "group_size": 4,
    "test_tasks": 2,
}


def run(tmp_path: Path, name: str, **options: Any) -> tuple[RunFolder, list[Trajectory], dict[str, float]]:
    chosen = recipe(name)
    config = chosen.Config(**{**QUICK, **options})
    folder = create(tmp_path / name, recipe=name, options=asdict(config), version="test")
    chosen.run(config, folder)
    with Journal.read(folder.journal) as journal:
        rows = [event.body for event in journal.events(kinds=(Kind.METRICS,))]
    row = next(row for row in rows if row["phase"] == "train")
    return folder, trajectories_of(folder.path, phase="train", iteration=0), row


def normed(values: np.ndarray) -> np.ndarray:
    if len(values) < 2 or np.ptp(values) < 1e-9:
        return np.zeros(len(values))
    return (values - values.mean()) / (values.std(ddof=1) + 1e-6)


def test_credit_of_a_training_batch_is_the_formula(tmp_path: Path) -> None:
    _, batch, row = run(tmp_path, "srgpo", block=5)
    process = np.array([step.scores["closer"] for one in batch for step in one.steps])
    assert set(process) == {0.0, 1.0}
    seed = seed_of(0, "iteration", 0)
    table, got = assess(batch, estimator("srgpo", score="closer", block=5), rng=np.random.default_rng(seed))
    blocks = got.terms[1].group_S
    sizes = np.bincount(blocks)
    assert sizes.max() == 5
    assert (sizes < 5).sum() <= 1
    wanted = np.zeros(table.size)
    for group in {one.group for one in batch}:
        some = [one for one in batch if one.group == group]
        for one, credit in zip(some, normed(np.array([one.outcome for one in some])), strict=True):
            at = next(n for n, other in enumerate(batch) if other.id == one.id)
            wanted[table.trajectory_S == at] = credit
    for block in range(len(sizes)):
        wanted[blocks == block] += 0.5 * normed(process[blocks == block])
    np.testing.assert_allclose(got.value_S, wanted, atol=1e-9)
    assert np.sqrt(np.mean(wanted**2)) == pytest.approx(row["credit_rms"], rel=1e-9)


@pytest.mark.parametrize("name", ["grpo", "gigpo"])
def test_other_recipes_can_see_the_same_process_reward(tmp_path: Path, name: str) -> None:
    folder, batch, row = run(tmp_path, name, process={"closer": 1.0})
    made = estimator(name)
    _, without = assess(batch, made)
    table, with_it = assess(batch, made, process={"closer": 1.0})
    assert with_it.diagnostics.rms == pytest.approx(row["credit_rms"], rel=1e-9)
    assert not np.allclose(with_it.value_S, without.value_S)
    first = batch[0]
    closer = sum(step.scores["closer"] for step in first.steps)
    assert table.outcome_S[0] == pytest.approx((first.outcome or 0.0) + closer)
    with Journal.read(folder.journal) as journal:
        config = next(iter(journal.events())).body
    reasons = explainer(None, None, config)(trace_of(folder.path), frozenset({("train", 0)}))
    assert len(reasons.steps) == sum(len(one.steps) for one in batch)
    assert reasons.note is None
