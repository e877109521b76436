"""Twenty thousand mutated model outputs: no crash, no hang, every refusal has a name. A million are in benchmarks/fuzz.py."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_no_output_crashes_or_hangs_a_parser_a_flag_or_a_plan_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    fuzz = importlib.import_module("fuzz")
    rows = fuzz.measure(quick=True)
    assert sum(row["outputs"] for row in rows) == 20_000
    for row in rows:
        assert 0 < row["read"] < row["outputs"], row["parser"]
    for flag in fuzz.FLAGS:
        assert sum(row[flag.name] for row in rows) > 0, flag.name
    assert fuzz.output(0, 7, fuzz.PLANS) == fuzz.output(0, 7, fuzz.PLANS)
