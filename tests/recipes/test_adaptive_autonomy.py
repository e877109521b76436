"""Adaptive autonomy: the gate asks where the image is unusual, and the study's numbers are those of its runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from everystep.environments.images.image_stream import ImageStream
from everystep.guard.drift import Scale
from everystep.recipes.adaptive_autonomy import (
    CURVE,
    METHODS,
    Config,
    Method,
    perceiver,
    run,
    threshold,
    watch,
)
from everystep.run.folder import create
from everystep.run.journal import Journal

LENGTH = 60
ROTATED = ImageStream(kind="rotation", length=LENGTH)


def go(tmp_path: Path, method: Method, need: float, seed: int = 0) -> dict[str, float]:
    with Journal.create(tmp_path / f"{need}-{seed}.sqlite", {}) as journal:
        return watch(ROTATED, seed, method, need, journal)


def test_who_is_never_asked_lets_every_error_through_and_who_is_always_asked_none(tmp_path: Path) -> None:
    free, held = go(tmp_path, Method(), 0.0), go(tmp_path, Method(), 1.0)
    assert free["asked"] == free["wait_s"] == 0.0 < free["autonomous error"]
    assert held["asked"] == 1.0
    assert held["autonomous error"] == 0.0 < held["wait_s"]
    assert free["area"] == held["area"]  # what the classifier sees does not depend on who acts


def test_at_equal_questions_the_shift_term_lowers_autonomous_errors_where_the_model_is_confidently_wrong(
    tmp_path: Path,
) -> None:
    plain, shifted = METHODS["confidence"], METHODS["confidence and shift (ratio)"]
    assert shifted.scale is Scale.RATIO
    errors: dict[str, float] = {}
    for name, method in (("plain", plain), ("shifted", shifted)):
        folder = tmp_path / name
        folder.mkdir()
        need = threshold(ROTATED, method, 0.3, 2)
        found = [go(folder, method, need, seed) for seed in range(4)]
        assert 0.15 < sum(one["asked"] for one in found) / 4 < 0.45
        errors[name] = sum(one["autonomous error"] for one in found) / 4
    assert errors["shifted"] < errors["plain"] - 0.02


def test_the_classifier_is_fit_for_undisturbed_images() -> None:
    world, right = ImageStream(peak=0.0, length=200), 0
    state = world.start(world.task("test", 0))
    for place in range(200):
        here = type(state)("test", state.seed, place)
        right += perceiver().look(world.observe(here).text).label == world.oracle(here)
    assert right >= 180


def test_the_study_runs(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", recipe="adaptive_autonomy", options={}, version="0")
    found = run(Config(length=20, tuning=1, seeds=1), folder)
    assert set(json.loads((folder.path / "no_drift" / "results.json").read_text())["arms"]) >= set(METHODS)
    assert found["drift: asked, confidence"] <= 1.0
    assert "| noise |" in (folder.path / "report.md").read_text()
    assert (folder.path / CURVE).stat().st_size > 1000
