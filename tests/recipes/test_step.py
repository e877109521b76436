"""STeP on a tiny setting: what each arm imitates, and that the arms differ by the published thing only."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from everystep.core.errors import DataError
from everystep.core.records import Action
from everystep.data.corrected import spelled
from everystep.data.segments import MASKED, UNMASKED, Part
from everystep.evaluate.study import RESULTS
from everystep.learn.samples import supervised_sample
from everystep.recipes import step
from everystep.recipes.step import ARMS, Config, base_of, data_of, flagged, golden, reflected, starts_of
from everystep.run.folder import RunFolder

TINY = Config(
    trajectories=12, base_tasks=30, base_updates=3, updates=3, sweep_updates=1, batch=4, size="0.02M", test_tasks=6,
    learning_rate=4e-3, seeds=1,
)  # fmt: skip


def test_arms_have_as_many_trajectories_and_share_what_they_can() -> None:
    data = {name: data_of(TINY, arm, 0) for name, arm in ARMS.items()}
    assert {name: len(some) for name, some in data.items()} == {
        "golden": 12,
        "reflected, unmasked": 12,
        "reflected, masked": 12,
        "reflected, masked, half": 6,
    }
    assert data["reflected, masked"] == data["reflected, unmasked"]
    assert data["golden"][:6] == data["reflected, masked"][:6]
    assert sum(one.mistakes > 0 for one in data["reflected, masked"]) == 6
    assert not any(one.mistakes for one in data["golden"])


def test_tasks_of_the_sets_do_not_meet() -> None:
    sets = [
        {one.trajectory.task.id for one in some}
        for some in (golden(TINY, 0), reflected(TINY, 0), golden(TINY, 1), reflected(TINY, 1))
    ]
    assert len(set.union(*sets)) == sum(map(len, sets))
    assert {one.task.split for one in starts_of(TINY)} == {"test"}


def test_masked_and_unmasked_differ_by_the_wrong_moves_only() -> None:
    template = base_of(TINY, 0).model.template
    for one in reflected(TINY, 0):
        masked, whole = (supervised_sample(spelled(one, template, weights)) for weights in (MASKED, UNMASKED))
        assert masked.ids == whole.ids
        wrong = {
            number
            for number, each in enumerate(one.trajectory.steps)
            if one.parts[each.id][0].part is Part.WRONG
        }
        differing = {
            place
            for place, weight, other in zip(
                whole.step_of, whole.supervised_weight, masked.supervised_weight, strict=True
            )
            if weight != other
        }
        assert differing == wrong != set()


def test_a_correction_is_a_reflection_and_a_move() -> None:
    for one in reflected(TINY, 0):
        for place, each in enumerate(one.trajectory.steps[:-1]):
            wrong = one.parts[each.id][0].part is Part.WRONG
            assert wrong == flagged(one.trajectory.steps[place + 1].action)
    assert not flagged(Action(text="north"))


def test_too_few_mistakes_are_named() -> None:
    with pytest.raises(DataError, match="Raise error"):
        reflected(replace(TINY, error=0.0), 0)


def test_the_study_runs_and_goes_on(tmp_path: Path) -> None:
    told = step.run(TINY, RunFolder(path=tmp_path))
    assert set(told) == {
        f"{key} {name}" for key in ("success", "recovery", "sampled imitated") for name in ARMS
    }
    results = json.loads((tmp_path / RESULTS).read_text())
    numbers = results["arms"]["reflected, masked"]["values"]
    assert all(0 <= numbers[key][0] <= 1 for key in ("success", "recovery", "sampled imitated", "noticed"))
    before = (tmp_path / "trials.jsonl").read_text()
    assert step.run(TINY, RunFolder(path=tmp_path)) == told  # finished trials are not run again
    assert (tmp_path / "trials.jsonl").read_text() == before


@pytest.mark.slow
def test_masking_keeps_the_mistakes_out(tmp_path: Path) -> None:
    config = Config(seeds=1, learning_rate=4e-3, test_tasks=100)
    told = step.run(config, RunFolder(path=tmp_path))
    assert told["sampled imitated reflected, masked"] < told["sampled imitated reflected, unmasked"]
    assert told["recovery reflected, masked"] > told["recovery reflected, unmasked"] - 0.1
