"""Auto-Evolve's families and arms, on the packaged cases."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from everystep.core.errors import ConfigError
from everystep.recipes.auto_evolve import ARMS, Config, by_family, families, results, told_passes, trial

TINY = Config(
    cases="sample", examples=1, development=2, heldout=1, few=1, draws=60, edits=30, passes=6, seeds=1
)


def test_no_question_has_two_roles() -> None:
    for family in families(TINY, 0):
        roles = [*family.examples, *(one.question for one in (*family.development, *family.heldout))]
        assert len(set(roles)) == len(roles) == 4
    assert families(TINY, 0) != families(TINY, 1)
    with pytest.raises(ConfigError, match="has 4 questions"):
        families(replace(TINY, heldout=9), 0)


def test_refinement_finds_procedures_that_generation_alone_does_not() -> None:
    plain, better = (trial(TINY, ARMS[name], 0) for name in ("generate", "generate and refine"))
    assert better["pass 0"] == plain["pass 0"] == plain["pass 6"]
    assert better["pass 6"] > plain["pass 6"] + 0.1
    assert better["gap"] == pytest.approx(better["development"] - better["pass 6"])
    one = trial(TINY, ARMS["one for all"], 0)
    assert one["pass 6"] < better["pass 6"]
    assert list(one) == list(better)


def test_few_questions_are_all_that_refinement_sees() -> None:
    found = results(TINY, ARMS["generate and refine, few"], 0)
    assert all(value in (0.0, 1.0) for one in found.values() for value in one.development)
    assert all(one.development == tuple(sorted(one.development)) for one in found.values())


def test_families_are_told_with_their_structures() -> None:
    told = by_family(TINY, [0])
    assert len(told) == 19
    assert "procbench rotate" in json.dumps(told)


def test_passes_that_are_told() -> None:
    assert told_passes(1) == [0, 1]
    assert told_passes(8) == [0, 1, 2, 4, 8]


def test_data_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVERYSTEP_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match="procbench_cases"):
        families(Config(), 0)
