"""Benchmarks of agents: who knows the way gets everything, who acts at random gets next to nothing."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from everystep.bench.catalog import BENCHMARKS, benchmark
from everystep.bench.running import Plan, Source, read_rows, run_here
from everystep.bench.summary import Summary, summary
from everystep.core.errors import ConfigError
from everystep.models.scripted import Scripted
from everystep.run.pool import Tasks

SAMPLES: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("procbench", {"cases": "sample"}, 76),
    ("procbench", {"cases": "generated", "count": 24, "lengths": "2-40"}, 24),
    ("sokoban", {"levels": "sample"}, 8),
    ("webshop", {"data": "sample"}, 69),
    ("intercode_sql", {"data": "sample"}, 87),
)


def told(name: str, options: dict[str, Any], make: Any, folder: Path, most: int) -> Summary:
    assert run_here(Source(lambda: benchmark(name, options), make), Tasks(), folder, Plan(most=most))
    return summary(benchmark(name, options), read_rows(folder / "rows.jsonl"))


@pytest.mark.parametrize(("name", "options", "most"), SAMPLES)
def test_an_oracle_solves_every_case(name: str, options: dict[str, Any], most: int, tmp_path: Path) -> None:
    found = told(name, options, lambda oracle: oracle, tmp_path, most)
    assert (found.cases, found.lost) == (most, 0)
    assert next(iter(found.measures.values())).value == 1.0
    assert found.measures["invalid"].value == 0.0


def test_a_random_walk_solves_no_level(tmp_path: Path) -> None:
    def make(_: object) -> Scripted:
        return Scripted(
            lambda request: Random(request.seed).choice(request.allowed or ("",)), policy="random"
        )

    found = told("sokoban", {"levels": "sample"}, make, tmp_path, 8)
    assert found.measures["success"].value == 0.0
    assert found.measures["steps"].value == 200.0


def test_nonsense_is_a_failed_attempt_and_no_lost_one(tmp_path: Path) -> None:
    found = told("intercode_sql", {"data": "sample"}, lambda _: Scripted(lambda _: "\x00{[", policy="bad"), tmp_path, 5)  # fmt: skip
    assert (found.lost, found.measures["success"].value) == (0, 0.0)


def test_generated_cases_are_counted_by_an_option_of_their_own() -> None:
    assert benchmark("procbench", {"cases": "generated"}).about.cases == 480
    assert len(list(benchmark("procbench", {"cases": "generated", "count": 3}).cases())) == 3
    for wrong in ({"cases": "sample", "count": 3}, {"cases": "generated", "count": 0}):
        with pytest.raises(ConfigError, match="cases=generated"):
            benchmark("procbench", wrong)


def test_every_benchmark_says_what_it_is_without_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVERYSTEP_DATA", raising=False)
    for name in BENCHMARKS:
        about = benchmark(name).about
        assert about.summary
        assert about.source.startswith("http")
        assert about.licence
        assert about.kind in ("agent", "answer", "judge")


@pytest.mark.parametrize("name", ["procbench", "gsm8k", "sokoban", "processbench"])
def test_missing_data_is_a_message_that_says_where_it_comes_from(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVERYSTEP_DATA", raising=False)
    with pytest.raises(ConfigError, match="http"):
        next(benchmark(name).cases())
