"""MedSAM-Agent on a tiny setting: arms with the same warm start and equal episodes, and numbers that are what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("stardist", reason="needs everystep[medical]")

from everystep.core.protocols import Sampling
from everystep.core.records import Trajectory
from everystep.recipes import medsam_agent
from everystep.recipes.medsam_agent import ARMS, Config, learned, numbers, tasks_of, warm, world_of
from everystep.run.demonstrate import demonstrator
from everystep.run.folder import RunFolder
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Limits, jobs_of, rollout

TINY = Config(
    size="0.02M", segmenter="watershed", demonstrations=24, turn_updates=4, warm_updates=4, iterations=2, groups=2, group_size=4,
    test_tasks=4, new_tasks=4, learning_rate=1e-3, seeds=1,
)  # fmt: skip


def sessions(error_rate: float) -> list[Trajectory]:
    world = world_of(TINY)
    hosts = LocalHosts(world)
    return rollout(
        hosts,
        demonstrator(hosts, error_rate=error_rate, habit="add_point"),
        jobs_of(tasks_of(world, "test", 12), group_size=1, prefix="d", seed=0),
        sampling=Sampling(),
        limits=Limits(max_steps=world.max_steps),
    )


def test_numbers_tell_a_good_annotator_from_one_who_clicks_on() -> None:
    good, clumsy = numbers(sessions(0.0)), numbers(sessions(0.6))
    assert good["overshoot"] == good["lost"] == 0.0
    assert good["iou"] > clumsy["iou"]
    assert clumsy["overshoot"] > 0
    assert clumsy["turns"] > good["turns"]


def test_the_arms_differ_by_their_score_only() -> None:
    start = warm(TINY, 0)
    assert warm(TINY, 0) is start
    before = [weight.clone() for weight in start.model.network.parameters()]
    trained = {name: learned(TINY, arm, 0, 1e-3) for name, arm in ARMS.items()}
    assert all((one == two).all() for one, two in zip(before, start.model.network.parameters(), strict=True))
    spent = {name: one.ledger.episodes for name, one in trained.items()}
    assert spent.pop("imitation") == 0
    assert set(spent.values()) == {TINY.iterations * TINY.groups * TINY.group_size}
    heads = {name: next(iter(one.model.network.parameters())) for name, one in trained.items()}
    assert (heads["imitation"] == before[0]).all()
    assert not (heads["full score"] == heads["outcome"]).all()


def test_the_study_writes_its_table(tmp_path: Path) -> None:
    told = medsam_agent.run(TINY, RunFolder(path=tmp_path))
    assert set(told) == {f"{key} {name}" for key in ("iou", "turns", "overshoot") for name in ARMS}
    assert all(np.isfinite(value) for value in told.values())
    assert 1 <= told["turns outcome"] <= 5
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "overshoot_new" in report
    assert "no overshoot penalty" in report
