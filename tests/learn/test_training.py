"""The training loop: it runs, it comes back to the bit, and broken episodes never reach a statistic."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import small
from everystep.core.errors import ConfigError, EverystepError, StoreError, WorldError
from everystep.core.records import End
from everystep.environments.catalog import WORLDS, Entry
from everystep.learn.training import units_of
from everystep.run.folder import RunFolder
from everystep.run.journal import Journal


class Stopped(Exception):  # noqa: N818
    pass


class StopAfter:
    """A logger that stops the run after so many parts."""

    def __init__(self, parts: int) -> None:
        self.left = parts

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.left -= 1
        if not self.left:
            raise Stopped

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """An undisturbed run, with a reference model."""
    return small.trained(tmp_path_factory.mktemp("whole") / "run", kl_coefficient=0.1)


def test_a_run_says_everything_it_did(whole: RunFolder) -> None:
    trace = small.trace_of(whole)
    options = small.OPTIONS
    episodes = options["iterations"] * options["tasks"] * options["group_size"]
    trained = list(trace.trajectories(phase="train"))
    assert len(trained) == episodes
    assert all(step.tokens is not None and step.tokens.allowed for one in trained for step in one.steps)
    assert [row["phase"] for row in trace.metrics] == ["start", *["turns"] * 2, *["warm"] * 4, *["train"] * 3]
    tested = [row for row in trace.metrics if "heldout_success" in row]
    assert [(row["phase"], row["iteration"]) for row in tested] == [("start", 0), ("warm", 3), ("train", 1), ("train", 2)]  # fmt: skip
    assert len(list(trace.trajectories(phase="test"))) == 4 * options["test_tasks"]
    assert all(row["heldout_low"] <= row["heldout_success"] <= row["heldout_high"] for row in tested)
    assert trace.end is not None
    assert trace.end["end"] == "done"
    assert trace.run["estimator"]["name"] == "grpo"


def test_the_ledger_counts_training_and_not_the_test(whole: RunFolder) -> None:
    trace = small.trace_of(whole)
    ledger = trace.end["ledger"] if trace.end else {}
    trained = list(trace.trajectories(phase="train"))
    demonstrated = trace.metrics[0]["environment_steps"]
    assert ledger["demonstrations"] == 24
    assert ledger["episodes"] == 24 + len(trained)
    assert ledger["environment_steps"] == demonstrated + sum(len(one.steps) for one in trained)
    assert ledger["updates"] == 3
    rows = [step.tokens.ids for one in trained for step in one.steps if step.tokens]
    assert ledger["trained_tokens"] == sum(map(len, rows))
    sampled = [step.tokens.logprobs for one in trained for step in one.steps if step.tokens]
    assert ledger["sampled_tokens"] == sum(map(len, sampled))


def test_the_first_ratio_is_one(whole: RunFolder) -> None:
    ratios = [row["first_ratio_max"] for row in small.trace_of(whole).metrics if row["phase"] == "train"]
    assert len(ratios) == 3
    assert ratios == pytest.approx([1.0] * 3, abs=1e-4)


def test_the_divergence_is_from_the_start_of_reinforcement(whole: RunFolder) -> None:
    rows = [row for row in small.trace_of(whole).metrics if row["phase"] == "train"]
    assert rows[0]["reference_kl"] == pytest.approx(0.0, abs=1e-6)
    assert rows[-1]["reference_kl"] > 0.0


def test_only_the_newest_checkpoints_are_kept(whole: RunFolder) -> None:
    assert [path.name for path in whole.checkpoints()] == ["000009", "000010"]
    assert [
        path.name for path in (whole.path / "checkpoints").iterdir() if path not in whole.checkpoints()
    ] == []


def test_a_run_that_is_stopped_after_every_part_ends_as_the_undisturbed_one(
    whole: RunFolder, tmp_path: Path
) -> None:
    config, folder = small.start(tmp_path / "run", kl_coefficient=0.1)
    for _ in units_of(config)[:-1]:
        with pytest.raises(Stopped):
            small.go(config, folder, StopAfter(1))
    with pytest.raises(Stopped):  # after the last part, before the model is written
        small.go(config, folder, StopAfter(1))
    assert not folder.model.exists()
    numbers = small.go(config, folder)
    assert small.weights(folder) == small.weights(whole)
    assert small.said(folder) == small.said(whole)
    last = small.trace_of(whole).metrics[-1]
    assert numbers == {name: value for name, value in last.items() if name.startswith("heldout")}


@pytest.mark.parametrize("parts", [5, 8])
def test_checkpoints_may_be_rare(whole: RunFolder, tmp_path: Path, parts: int) -> None:
    rare = {"kl_coefficient": 0.1, "checkpoint_every": 9}
    config, folder = small.start(tmp_path / "run", **rare)
    with pytest.raises(Stopped):
        small.go(config, folder, StopAfter(parts))
    small.go(config, folder)
    assert small.weights(folder) == small.weights(whole)


def test_a_finished_run_stays_finished(whole: RunFolder) -> None:
    config, _ = small.start(whole.path.parent / "unused", kl_coefficient=0.1)
    before = small.trace_of(whole)
    with pytest.raises(ConfigError, match="is finished"):
        small.go(config, whole)
    assert before.end is not None
    assert small.trace_of(whole) == before


def test_a_model_that_is_half_written_is_not_taken_for_a_finished_run(
    tmp_path: Path, whole: RunFolder
) -> None:
    folder = copied(whole, tmp_path)
    shutil.rmtree(folder.model)
    (folder.path / ".model.partial").mkdir()
    (folder.path / ".model.partial" / "config.json").write_text("{")
    config, _ = small.start(tmp_path / "unused", kl_coefficient=0.1)
    small.go(config, folder)
    assert small.weights(folder) == small.weights(whole)
    assert not (folder.path / ".model.partial").exists()


def copied(folder: RunFolder, place: Path) -> RunFolder:
    shutil.copytree(folder.path, place / "copy")
    return RunFolder(path=place / "copy")


def damaged(whole: RunFolder, place: Path) -> tuple[Any, RunFolder]:
    """A copy of a run whose last part and model are not there."""
    config, folder = small.start(place / "run", kl_coefficient=0.1)
    with pytest.raises(Stopped):
        small.go(config, folder, StopAfter(9))
    return config, folder


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_will_do(
    whole: RunFolder, tmp_path: Path
) -> None:
    config, folder = damaged(whole, tmp_path)
    newest = folder.checkpoints()[-1]
    file = newest / "learner" / "weights.safetensors"
    good = file.read_bytes()
    file.write_bytes(good[:-100] + b"\0" * 100)
    with pytest.raises(StoreError, match=r"weights.safetensors' is damaged.*move .*000009.* away"):
        small.go(config, folder)
    reference = newest / "reference"
    file.write_bytes(good)
    reference.rename(tmp_path / "aside")
    with pytest.raises(StoreError, match="reference"):
        small.go(config, folder)
    shutil.rmtree(newest)
    small.go(config, folder)
    assert small.weights(folder) == small.weights(whole)
    assert small.said(folder) == small.said(whole)


def test_checkpoints_that_are_gone_are_an_error(tmp_path: Path, whole: RunFolder) -> None:
    config, folder = damaged(whole, tmp_path)
    shutil.rmtree(folder.path / "checkpoints")
    with pytest.raises(StoreError, match="are gone: the journal names '000009'"):
        small.go(config, folder)


def test_a_journal_that_lost_its_tail_goes_on_from_the_checkpoint(tmp_path: Path, whole: RunFolder) -> None:
    config, folder = damaged(whole, tmp_path)
    with Journal.read(folder.journal) as journal:
        events = [event for event in journal.events() if event.seq < 10]
    folder.journal.unlink()
    with Journal.create(folder.journal, events[0].body) as journal:
        journal.append_many((event.kind, event.body) for event in events[1:])
    small.go(config, folder)
    assert small.weights(folder) == small.weights(whole)
    assert small.trace_of(folder).end is not None


def test_the_start_is_made_again_when_it_is_lost(tmp_path: Path, whole: RunFolder) -> None:
    config, folder = damaged(whole, tmp_path)
    shutil.rmtree(folder.path / "start")
    small.go(config, folder)
    assert small.weights(folder) == small.weights(whole)


def test_seeds_matter_and_repeat(tmp_path: Path) -> None:
    short = {"iterations": 1, "warm_updates": 1, "turn_updates": 0}
    one, again, other = (
        small.trained(tmp_path / n, **short, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1))
    )
    assert small.weights(one) == small.weights(again) != small.weights(other)
    assert small.said(one)["steps"] == small.said(again)["steps"] != small.said(other)["steps"]


def test_adapters_are_trained_resumed_and_kept(tmp_path: Path, whole: RunFolder) -> None:
    pytest.importorskip("peft")
    lora = {"model": str(whole.model), "lora_rank": 2, "demonstrations": 0, "iterations": 2}
    straight = small.trained(tmp_path / "straight", **lora)
    config, folder = small.start(tmp_path / "run", **lora)
    for _ in range(2):
        with pytest.raises(Stopped):
            small.go(config, folder, StopAfter(1))
    small.go(config, folder)
    names = [one.model / "adapter_model.safetensors" for one in (straight, folder)]
    assert names[0].read_bytes() == names[1].read_bytes()
    next_one = small.trained(tmp_path / "next", **{**lora, "model": str(folder.model), "iterations": 1})
    assert (next_one.model / "adapter_model.safetensors").is_file()


# --- broken episodes -----------------------------------------------------------------------------


for _name, _class in (("one-broken", "OneIsBroken"), ("all-broken", "AllAreBroken"), ("no-test", "NoTest")):
    if _name not in WORLDS:
        WORLDS.add(_name, Entry(target=f"fragile:{_class}"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    from everystep.models.tiny import tiny_model

    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny_model(["obey a b c", "train0 test1 train2"], size="0.02M", characters=True).save(folder)
    return str(folder)


BARE = {"options": {}, "demonstrations": 0, "iterations": 1, "max_steps": 3, "tasks": 3}


def test_a_broken_episode_is_dropped_before_any_statistic(tmp_path: Path, checkpoint: str) -> None:
    folder = small.trained(tmp_path / "run", environment="one-broken", model=checkpoint, **BARE)
    trace = small.trace_of(folder)
    row = trace.metrics[-1]
    train = list(trace.trajectories(phase="train"))
    assert [one.end for one in train] == [End.ERROR] * 3 + [End.TRUNCATED] * 6
    assert row["errors"] == pytest.approx(1 / 3)
    assert row["reward"] == 3.0  # one a step, of whole episodes
    assert row["steps"] == 3.0
    assert row["trained_tokens"] == sum(len(s.tokens.ids) for one in train for s in one.steps if s.tokens)
    low, high = row["heldout_low"], row["heldout_high"]
    assert (low, high) == pytest.approx((0.0, 0.5615), abs=1e-3)  # Wilson, 0 of the 3 that did not break


@pytest.mark.parametrize(
    ("world", "message"),
    [
        ("all-broken", r"every episode of iteration 0 broke: .*no floor"),
        ("no-test", "every held-out episode broke"),
    ],
)
def test_when_all_break_the_reason_is_said(tmp_path: Path, checkpoint: str, world: str, message: str) -> None:
    config, folder = small.start(tmp_path / "run", environment=world, model=checkpoint, **BARE)
    with pytest.raises(WorldError, match=message):
        small.go(config, folder)


def test_a_world_without_an_oracle_cannot_demonstrate(tmp_path: Path) -> None:
    for workers in (0, 1):
        config, folder = small.start(
            tmp_path / f"{workers}", environment="one-broken", options={}, workers=workers
        )
        with pytest.raises(WorldError, match=r"no demonstration could be made: .*has no oracle"):
            small.go(config, folder)


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule": "linaer"},
        {"max_steps": 0},
        {"lora_rank": 4},
        {"temperature": 0.0},
        {"minibatches": 10},
        {"tasks": 0},
        {"aggregate": "tokens"},
        {"clip_low": 2.0},
        {"variant": "papre"},
        {"demonstrations": 0},
        {"environment": "keydor"},
        {"options": {"sides": 3}},
        {"options": {"side": "three"}},
        {"model": "tiny:huge"},
        {"model": "nowhere"},
    ],
)
def test_wrong_options_are_refused_before_anything_is_learned(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(EverystepError):  # noqa: PT012
        config, folder = small.start(tmp_path / "run", **wrong)
        small.go(config, folder)
    assert not list(tmp_path.glob("run/checkpoints/*"))
