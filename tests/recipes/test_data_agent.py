"""Data agents: the level of each run is read from its journal, and the tables stay as they were."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("duckdb")
pytest.importorskip("pydantic")

from everystep.core.acts import Permit
from everystep.core.trace import Kind
from everystep.environments.code.intercode_sql import load_dataset
from everystep.evaluate.table_questions import questions, right, source_of, tables_of
from everystep.guard.levels import AutonomyLevel, Capability, Evidence, evidence_of, warnings
from everystep.recipes.data_agent import (
    SETUPS,
    Config,
    run,
    work,
)
from everystep.run.folder import create
from everystep.run.journal import Journal
from everystep.tools.warehouse import Warehouse

LEVELS = tuple(level.name for level in AutonomyLevel)
SURE = Config(slip=0.0, silent=0.0)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def evidence(path: Path) -> Evidence:
    with Journal.read(path) as journal:
        return evidence_of(journal.trace())


@pytest.mark.parametrize("name", LEVELS)
def test_each_level_is_derived_as_it_was_meant(name: str, tables: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    found = work(SETUPS[name], SURE, tables, path, 3)
    assert found["as meant"] == found["right"] == 1.0
    assert found["warned"] == 0.0
    higher = AutonomyLevel(min(5, SETUPS[name].level + 1))
    assert bool(warnings(higher, evidence(path))) == (name != "L5")


def test_a_declared_capability_above_the_run_is_named(tables: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    work(SETUPS["L2"], SURE, tables, path, 0)
    claimed = Capability(observes=True, acts=True, plans=True)
    assert warnings(claimed, evidence(path)) == (
        "declared L3, but the run shows L2",
        "declared plans, but the run does not show it",
    )


def test_an_invention_is_only_what_the_tables_agreed_to(tables: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    work(SETUPS["L5"], SURE, tables, path, 0)
    with Journal.read(path) as journal:
        notes = [event.body for event in journal.events(kinds={Kind.NOTE})]
    assert [(note["name"], note["origin"]) for note in notes] == [("peek", "invented")]


def test_supervision_finds_what_nobody_else_notices(tables: Path, tmp_path: Path) -> None:
    careless = Config(slip=0.0, silent=1.0)
    watched = replace(SETUPS["L3"], supervised={"build_table": Permit.ASK})
    for setup, success, asked in (
        (SETUPS["L4"], 0.0, False),
        (watched, 0.0, True),
        (SETUPS["L0"], 1.0, True),
    ):
        found = work(setup, careless, tables, tmp_path / f"{asked}{success}.sqlite", 1)
        assert (found["right"], found["asked"] > 0) == (success, asked)


def test_idle_looks_move_no_level(tables: Path, tmp_path: Path) -> None:
    plain = work(SETUPS["L2, all granted"], SURE, tables, tmp_path / "plain.sqlite", 2)
    padded = work(SETUPS["L2, padded"], SURE, tables, tmp_path / "padded.sqlite", 2)
    assert (plain["level"], padded["level"]) == (2.0, 2.0)


def test_the_tables_are_spider_s(tables: Path) -> None:
    image = load_dataset("sample").images["pets_1"]
    assert {name: len(table.rows) for name, table in tables_of(image).items()} == {
        "has_pet": 3,
        "pets": 3,
        "student": 34,
    }
    kept = questions(tables)
    assert len(kept) == 74
    warehouse = Warehouse(source_of(kept[0].database, tables))
    assert right(warehouse, kept[0], kept[0].gold)
    assert not right(warehouse, kept[0], kept[1].gold)
    assert not right(warehouse, kept[0], "DROP TABLE student")


def test_the_study_runs(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", recipe="data_agent", options={}, version="0")
    found = run(Config(seeds=1), folder)
    assert found["as meant, L3"] in (0.0, 1.0)
    assert "| L5 |" in (folder.path / "report.md").read_text()
    arms = json.loads((folder.path / "results.json").read_text())["arms"]
    assert set(arms) == set(SETUPS)
