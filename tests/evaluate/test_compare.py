"""Comparisons: curves, areas, the common budget, the choice of rates, and ``everystep compare`` itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from everystep.app.cli import main
from everystep.core.errors import DataError
from everystep.evaluate.compare import Curve, area, best_rate, curve_of, end, horizon, results, table

RISING = Curve(steps=(0.0, 10.0, 20.0), success=(0.0, 0.5, 0.5))


def test_a_curve_begins_where_reinforcement_does() -> None:
    rows = [
        {"phase": "start", "environment_steps": 50, "heldout_success": 0.0},
        {"phase": "warm", "environment_steps": 50},
        {"phase": "warm", "environment_steps": 50, "heldout_success": 0.2},
        {"phase": "train", "environment_steps": 80},
        {"phase": "train", "environment_steps": 110, "heldout_success": 0.6},
    ]
    assert curve_of(rows) == Curve(steps=(0.0, 60.0), success=(0.2, 0.6))
    with pytest.raises(DataError, match="no held-out test"):
        curve_of(rows[:4])


def test_areas_and_ends() -> None:
    assert area(RISING, 10) == pytest.approx(0.25)
    assert area(RISING, 20) == pytest.approx(0.375)
    assert area(RISING, 5) == pytest.approx(0.125)
    assert area(RISING, 0) == 0.0
    assert end(RISING, 4) == pytest.approx(0.2)
    assert horizon([RISING, Curve(steps=(0.0, 7.0), success=(0.0, 1.0))]) == 7.0


def test_the_best_rate_has_the_largest_mean_area() -> None:
    flat = Curve(steps=(0.0, 20.0), success=(0.1, 0.1))
    assert best_rate({0.1: [flat, flat], 0.2: [RISING, flat]}, 20.0) == 0.2


def test_results_are_paired_and_cut_at_the_common_budget() -> None:
    def line(last: float, steps: float = 10.0) -> Curve:
        return Curve(steps=(0.0, steps), success=(0.0, last))

    arms = {"base": [line(0.2), line(0.6)], "new": [line(0.8, 20.0), line(1.0, 20.0)]}
    steps, (base, new) = results(arms, {"base": 1e-3, "new": 3e-3}, baseline="base")
    assert steps == 10.0
    assert base.area_gain is None
    assert new.ends == pytest.approx((0.4, 0.5))
    assert new.end_gain is not None
    assert new.end_gain.value == pytest.approx(((0.4 - 0.2) + (0.5 - 0.6)) / 2)
    text = table(steps, [base, new])
    assert "| base | 0.001 |" in text
    assert text.count("baseline") == 2


WORDS = [
    *("compare", "grpo", "gigpo", "--environment", "keydoor", "--seeds", "2", "--learning-rates", "1e-3"),
    *(
        "--rms",
        "None",
        "--set",
        "options.side=3",
        "options.horizon=6",
        "model=tiny:0.02M",
        "demonstrations=8",
    ),
    *(
        "demonstration_habit=null",
        "turn_updates=0",
        "warm_updates=1",
        "iterations=2",
        "tasks=2",
        "group_size=2",
    ),
    *("test_tasks=4", "test_every=1"),
]


@pytest.mark.slow
def test_a_comparison_writes_its_results_and_does_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "compare"
    assert main([*WORDS, "--out", str(out)]) == 0
    found = json.loads((out / "results.json").read_text())
    assert [arm["name"] for arm in found["arms"]] == ["grpo", "gigpo"]
    assert all(len(arm["areas"]) == 2 for arm in found["arms"])
    starts = {name: [curve["success"][0] for curve in curves] for name, curves in found["curves"].items()}
    assert starts["grpo"] == starts["gigpo"]  # every seed has one start
    assert (out / "results.md").read_text().startswith("Mean held-out success")
    assert (out / "curves.svg").is_file()
    assert len(list((out / "runs").iterdir())) == 2 + 4
    journals = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/journal.sqlite")}
    assert main([*WORDS, "--out", str(out)]) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/*/journal.sqlite")} == journals
    capsys.readouterr()
    assert main([*WORDS, "tasks=3", "--out", str(out)]) == 2
    assert "was run with other options (tasks)" in capsys.readouterr().err
    for words, expected in ((["tusks=3"], "tasks"), (["tasks=many"], "expected int")):
        assert main([*WORDS, *words, "--out", str(tmp_path / "other")]) == 2
        assert expected in capsys.readouterr().err
        assert not (tmp_path / "other").exists()
