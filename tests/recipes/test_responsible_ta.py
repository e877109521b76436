"""ResponsibleTA on a tiny setting: checks pay, trained ones hold on other tasks, and no planted secret leaves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from everystep.core.errors import ConfigError
from everystep.core.protocols import Request, Sampling
from everystep.core.records import Message
from everystep.environments.phone.judge import Judge
from everystep.environments.phone.screens import Screens
from everystep.evaluate.checks import asked_labels, held_out, learned_labels
from everystep.guard.feasible import When
from everystep.recipes import responsible_ta
from everystep.recipes.responsible_ta import Config, carry, leaks, trained, walked
from everystep.run.folder import RunFolder
from everystep.run.journal import Journal

TINY = Config(rates=(0.25,), tasks=4, seeds=1, examples=500)


def test_checks_pay_and_only_the_unsealed_arm_leaks(tmp_path: Path) -> None:
    told = responsible_ta.run(TINY, RunFolder(path=tmp_path))
    assert told["success_25 none"] < 0.5 < told["success_25 learned"]
    assert told["success_25 without errors"] == 1
    leaking = {name for name, value in told.items() if name.startswith("leaks") and value}
    assert leaking == {"leaks learned, not sealed"}
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "in apps that it never saw" in report


def run_one(home: Path, name: str, index: int) -> tuple[dict[str, float], list[str], tuple[str, ...]]:
    config = TINY
    Journal.create(home / "journal.sqlite", {}).close()
    with Journal.open(home / "journal.sqlite") as journal:
        task = config.world().task("test", index)
        arm = responsible_ta.arms_of(config)[name]
        return asyncio.run(carry(config, arm, task, journal, wrong=0.25, seed=index))


@pytest.mark.parametrize("index", range(6))
def test_no_planted_secret_is_in_the_journal_or_in_a_request(tmp_path: Path, index: int) -> None:
    numbers, sent, planted = run_one(tmp_path, "without errors", index)
    assert len(planted) >= 12
    assert numbers["success"] == 1  # so the values were typed where they belong
    assert leaks(tmp_path / "journal.sqlite", sent, planted) == 0
    for file in tmp_path.rglob("*"):
        data = file.read_bytes()
        assert not [value for value in planted if value.encode() in data]
        assert not [value for value in planted if value.encode("utf-16-le") in data]
    with Journal.read(tmp_path / "journal.sqlite") as journal:
        told = repr([event.body for event in journal.events()])
    assert not [value for value in planted if value in told]
    assert any("{{secret:N" in text for text in sent) or not any("contacts list" in text for text in sent)


def test_the_same_run_without_a_seal_leaks_so_the_test_can_fail(tmp_path: Path) -> None:
    stored = said = 0
    for index in range(4):
        home = tmp_path / str(index)
        home.mkdir()
        _, sent, planted = run_one(home, "learned, not sealed", index)
        stored += leaks(home / "journal.sqlite", (), planted)
        said += leaks(tmp_path / "no journal", sent, planted)
    assert stored > 0
    assert said > 0


def test_a_contact_is_saved_with_a_number_that_the_coordinator_never_saw(tmp_path: Path) -> None:
    world = Screens(kinds="contact", declare=True, horizon=60)
    config = Config(absent=0, miss=0)
    with Journal.create(tmp_path / "journal.sqlite", {}) as journal:
        arm = responsible_ta.arms_of(config)["without errors"]
        task = world.task("test", 0)
        numbers, sent, _ = asyncio.run(carry(config, arm, task, journal, wrong=0.0, seed=0))
    number = task.instruction.split("number ")[1].split()[0]
    assert numbers["success"] == 1
    assert not any(number in text for text in sent)


def test_trained_checks_hold_on_other_tasks_and_are_the_same_each_time() -> None:
    acts = walked("test", 400, seed=2)
    before, after = trained(600)
    assert trained.__wrapped__(600) == (before, after)
    for model, when in ((before, When.BEFORE), (after, When.AFTER)):
        found = held_out(learned_labels(model), acts, when)
        assert found["right"].value > 0.85
        guess = held_out(lambda *_: "yes", acts, when)
        assert found["right"].low > guess["right"].high


def test_the_judge_errs_at_its_rates() -> None:
    acts = walked("test", 800, seed=2)
    exact = held_out(
        asked_labels(Judge(false_no=0, false_yes=0, unsure=0), When.BEFORE, reasons=True), acts, When.BEFORE
    )
    assert exact["right"].value == 1
    noisy = Judge(false_no=0.1, false_yes=0.3, unsure=0.05)
    found = held_out(asked_labels(noisy, When.BEFORE, reasons=True), acts, When.BEFORE)
    assert found["false_no"].low < 0.1 < found["false_no"].high
    assert found["false_yes"].low < 0.3 < found["false_yes"].high


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(ConfigError, match="smollm"):
        Config(model="gpt")


def test_a_request_keeps_its_role_when_it_is_judged() -> None:
    judge = Judge(false_no=0, false_yes=0, unsure=1)
    text = "<<observation\nscreen home list . keyboard off\n>>\n<<action\ntap clock\n>>"
    request = Request(session="s", messages=(Message(role="user", content=text),), seed=1)
    assert judge.sample([request], Sampling())[0].text == "unsure"
