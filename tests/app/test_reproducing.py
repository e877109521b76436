"""Studies from the command line: a study that was stopped goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from everystep.app.cli import main

SMALL = ("--rollouts", "8", "--updates", "2", "--test-tasks", "2", "--seeds", "1")


def test_a_stopped_study_goes_on_without_running_finished_trials_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    folder = tmp_path / "study"
    assert main(["reproduce", "webstar", *SMALL, "--out", str(folder)]) == 0
    trials = folder / "trials.jsonl"
    lines = trials.read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[0])
    first["numbers"]["targets"] = 12345.0  # what is not run again keeps its mark
    trials.write_text(json.dumps(first) + "\n", encoding="utf-8")
    (folder / "report.md").unlink()
    capsys.readouterr()

    assert main(["resume", str(folder)]) == 0

    told = capsys.readouterr()
    assert "1.234e+04" in told.out
    assert f"study: {folder}" in told.out
    again = [json.loads(line) for line in trials.read_text(encoding="utf-8").splitlines()]
    assert [one["arm"] for one in again] == [json.loads(line)["arm"] for line in lines]


def test_a_study_is_refused_where_a_training_is_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "study"
    assert main(["reproduce", "prompting_framework", "--out", str(folder)]) == 0
    capsys.readouterr()

    assert main(["eval", str(folder)]) != 0
    assert "is a study" in capsys.readouterr().err
    assert main(["resume", str(folder), "--max-steps", "3"]) != 0
    assert "is for runs of a task" in capsys.readouterr().err
