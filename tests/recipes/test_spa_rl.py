"""SPA-RL on a tiny setting: what each arm is paid for, what exploring costs, and a study of both worlds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from everystep.core.errors import ConfigError
from everystep.core.records import End
from everystep.credit.columns import from_arrays
from everystep.evaluate.curves import kept_curves
from everystep.recipes import spa_rl
from everystep.recipes.spa_rl import (
    ARMS,
    RELEASED,
    SCORE,
    WORLDS,
    Config,
    estimated,
    rewards,
    trial,
    valued,
    warm,
)
from everystep.run.folder import RunFolder

TINY = Config(
    size="0.02M",
    demonstrations=24,
    warm_updates=6,
    explored=4,
    estimator_epochs=2,
    steps=60,
    tasks=2,
    group_size=2,
    test_tasks=6,
    tests=1,
    seeds=1,
)

TABLE = from_arrays(
    task_S=[0] * 5,
    trajectory_S=[0, 0, 0, 1, 1],
    reward_S=[0, 0, 1, 0, 0],
    penalty_S=[0, 1, 0, 0, 1],
    scores={SCORE: [0.5, -0.25, 1.0, 0.125, 0.25]},
)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("terminal", [0, 0, 1, 0, 0]),
        ("uniform", [1 / 3, 1 / 3, 1 / 3, 0, 0]),
        ("terminal, grounding", [0.5, 0, 1.5, 0.5, 0]),
        ("spa, no grounding", [0.5, -0.25, 1.0, 0.125, 0.25]),
        ("spa", [1.0, -0.25, 1.5, 0.625, 0.25]),
        ("released data", [1.5, 1.0, 1.5, -0.5, -0.5]),
        ("released weights", [2.0, -0.25, 0, 0.625, 0]),
    ],
)
def test_what_every_arm_pays_for(name: str, wanted: list[float]) -> None:
    np.testing.assert_allclose(rewards(TABLE, {**ARMS, **RELEASED}[name], TINY), wanted)


@pytest.mark.parametrize("world", list(WORLDS))
def test_contributions_sum_to_what_the_estimator_foretells(world: str) -> None:
    """And its numbers are about episodes that it was not trained on, with outcomes in 0 to 1."""
    config = replace(TINY, world=world)
    judge = estimated(config, 0)
    assert judge.episodes == 4
    assert judge.steps > 4
    student = warm(config, 0).copy()
    made = student.attempt([student.world.task("train", index) for index in range(3)])
    table = valued(judge.learner, made, WORLDS[world][1])
    assert np.nanmax(table.outcome_S) <= 1.0
    sums = np.bincount(table.trajectory_S, weights=table.score(SCORE))
    for place, one in enumerate(made):
        again = valued(judge.learner, [one], WORLDS[world][1])
        assert sums[place] == pytest.approx(float(again.score(SCORE).sum()), abs=1e-5)
    assert set(judge.numbers) == {"sum_error", "spread", "rank", "rank_inside"}


def test_in_keydoor_the_words_can_fail_and_the_deadline_decides() -> None:
    student = warm(TINY, 0).copy()
    made = student.attempt([student.world.task("train", index) for index in range(8)], group_size=2)
    assert {one.end for one in made} <= {End.DONE, End.FAILED}
    assert any(not step.action.valid for one in made for step in one.steps)


def test_exploring_is_paid_by_the_arms_that_use_it(tmp_path: Path) -> None:
    spent = {}
    for name in ("terminal", "spa"):
        trial(TINY, name, tmp_path, 0, 1e-3)
        curves = kept_curves(tmp_path, {name: 1e-3}, [0])
        spent[name] = curves[name][0].steps[0]
    assert spent["terminal"] == 0
    assert spent["spa"] == estimated(TINY, 0).steps


@pytest.mark.parametrize("world", list(WORLDS))
def test_the_study_writes_its_table_and_its_plot(tmp_path: Path, world: str) -> None:
    told = spa_rl.run(replace(TINY, world=world, released=True), RunFolder(path=tmp_path))
    names = [*ARMS, *RELEASED]
    assert {f"end {name}" for name in names} <= told.keys()
    assert all(0 <= told[f"executable {name}"] <= 1 for name in names)
    assert (tmp_path / f"spa_rl_{world}.svg").stat().st_size > 1000
    assert len((tmp_path / "trials.jsonl").read_text().splitlines()) == len(names)


def test_a_world_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="keydoor"):
        Config(world="keydor")
