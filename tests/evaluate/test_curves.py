"""Curves of trials: kept line by line, read back at the chosen rates, and the last line of a trial counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from everystep.core.errors import DataError
from everystep.evaluate.curves import CURVES, curve_numbers, keep_curve, kept_curves


def rows(*success: float) -> list[dict[str, float]]:
    return [{"environment_steps": 10.0 * at, "success": one} for at, one in enumerate(success)]


def test_curves_come_back_by_arm_and_seed(tmp_path: Path) -> None:
    keep_curve(tmp_path, rows(0.0, 0.4), arm="a", seed=1, rate=1e-3)
    keep_curve(tmp_path, rows(0.0, 0.9), arm="a", seed=1, rate=2e-3)
    keep_curve(tmp_path, rows(0.1, 0.5), arm="a", seed=0, rate=1e-3)
    keep_curve(tmp_path, rows(0.2, 0.6), arm="b", seed=0, rate=4e-3)
    keep_curve(tmp_path, rows(0.0, 0.7), arm="a", seed=1, rate=1e-3)
    with (tmp_path / CURVES).open("a") as file:
        file.write('{"arm": "a", "se')
    found = kept_curves(tmp_path, {"b": 4e-3, "a": 1e-3}, range(2))
    assert list(found) == ["b", "a"]
    assert [one.success for one in found["a"]] == [(0.1, 0.5), (0.0, 0.7)]
    assert found["b"][0].steps == (0.0, 10.0)
    with pytest.raises(DataError, match="'c' has no curve"):
        kept_curves(tmp_path, {"c": 1e-3}, range(2))


def test_area_and_end_are_those_at_the_stated_steps() -> None:
    found = curve_numbers(rows(0.0, 1.0, 0.0), 15.0)
    assert found == pytest.approx({"area": (5.0 + 3.75) / 15.0, "end": 0.5})
