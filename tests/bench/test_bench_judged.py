"""Judges on published labels: who has the labels gets everything, who guesses what chance gives, rules what the page of judges says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from everystep.bench.judged import Guess, JudgeBenchmark, benchmark
from everystep.bench.running import Plan, Source, read_rows, run_here
from everystep.bench.summary import by_tag, summary
from everystep.environments.published import source_folder
from everystep.evaluate.labelled import SETS, labelled
from everystep.run.pool import Tasks
from everystep.verify.rule import RULES

needs = pytest.mark.skipif(source_folder("processbench") is None, reason="EVERYSTEP_DATA is not set")


def told(name: str, make: Any, folder: Path, most: int | None = 300) -> Any:
    run_here(Source(lambda: benchmark(name), make), Tasks(), folder, Plan(most=most))
    rows = read_rows(folder / "rows.jsonl")
    return rows, summary(JudgeBenchmark(name=name), rows)


@needs
@pytest.mark.parametrize("name", list(SETS))
def test_who_has_the_labels_is_right_everywhere(name: str, tmp_path: Path) -> None:
    rows, found = told(name, lambda known: known, tmp_path)
    assert found.lost == 0
    assert next(iter(found.measures.values())).value == 1.0
    assert len(rows) == min(300, JudgeBenchmark(name=name).about.cases or 0)


@needs
def test_sizes_are_those_of_the_files() -> None:
    for name in SETS:
        assert JudgeBenchmark(name=name).about.cases == sum(1 for _ in labelled(name)), name


@needs
def test_a_guess_is_right_as_often_as_chance(tmp_path: Path) -> None:
    rows, _ = told("processbench", lambda _: Guess(), tmp_path, most=None)
    chance = sum(1 / (row.steps + 1) for row in rows) / len(rows)
    hits = sum(row.numbers["found"] + row.numbers["said_so"] for row in rows) / len(rows)
    assert hits == pytest.approx(chance, abs=0.02)
    _, coin = told("gui_critic", lambda _: Guess(), tmp_path / "gui", most=None)
    assert coin.measures["accuracy"].value == pytest.approx(0.5, abs=0.06)


@needs
def test_a_rule_gets_what_the_page_of_judges_says(tmp_path: Path) -> None:
    rows, found = told("processbench", lambda _: RULES["arithmetic"], tmp_path, most=None)
    parts = by_tag(JudgeBenchmark(name="processbench"), rows, "kind")
    assert found.measures["F1"].value == pytest.approx(0.111, abs=0.0006)
    assert parts["gsm8k"]["F1"].value == pytest.approx(0.110, abs=0.0006)
