"""Checkpoints: restored to the bit, or refused with the file's name; a save is whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import LlamaForCausalLM

from everystep.core.errors import LearnerError, StoreError
from everystep.core.protocols import Loss
from everystep.core.records import Sample
from everystep.learn.learner import LocalLearner, LocalOptions

Batches = Callable[..., list[Sample]]
Learners = Callable[..., LocalLearner]


def train(learner: LocalLearner, batch: list[Sample], steps: int) -> None:
    for _ in range(steps):
        learner.forward_backward(batch, Loss())
        learner.optim_step(learning_rate=1e-2)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("options", [{}, {"value_head": True}, {"lora_rank": 2}, {"packing": "tree"}])
def test_training_goes_on_to_the_bit(
    make_learner: Learners, make_batch: Batches, tmp_path: Path, options: dict[str, object]
) -> None:
    batch = make_batch("branch")
    learner = make_learner(**options)
    train(learner, batch, 3)
    learner.save(tmp_path / "three")
    train(learner, batch, 3)
    learner.save(tmp_path / "six")
    other = make_learner(**options)
    other.load(tmp_path / "three")
    assert other.updates == 3
    train(other, batch, 3)
    other.save(tmp_path / "again")
    assert contents(tmp_path / "six") == contents(tmp_path / "again")


def test_lora_saves_adapters_only(make_learner: Learners, make_batch: Batches, tmp_path: Path) -> None:
    for name, options in (("whole", {}), ("adapter", {"lora_rank": 1})):
        make_learner(**options).save(tmp_path / name)
    sizes = [(tmp_path / name / "weights.safetensors").stat().st_size for name in ("whole", "adapter")]
    assert sizes[1] < sizes[0]


def test_a_save_replaces_the_old_one_and_leaves_nothing_beside_it(
    make_learner: Learners, make_batch: Batches, tmp_path: Path
) -> None:
    learner = make_learner()
    learner.save(tmp_path / "point")
    train(learner, make_batch("ragged"), 1)
    learner.save(tmp_path / "point")
    assert [path.name for path in tmp_path.iterdir()] == ["point"]
    other = make_learner()
    other.load(tmp_path / "point")
    assert other.updates == 1


def test_a_crash_between_the_renames_loses_nothing(make_learner: Learners, tmp_path: Path) -> None:
    make_learner().save(tmp_path / "point")
    (tmp_path / "point").rename(tmp_path / ".point.previous")
    make_learner().load(tmp_path / "point")


def test_a_bad_checkpoint_is_refused_by_name_and_changes_nothing(
    make_network: Callable[..., LlamaForCausalLM], make_learner: Learners, make_batch: Batches, tmp_path: Path
) -> None:
    learner, batch = make_learner(), make_batch("ragged")
    before = learner.score(batch)

    def damage(name: str, act: Callable[[Path], object]) -> Path:
        other = make_learner()
        train(other, batch, 1)
        other.save(tmp_path / name)
        act(tmp_path / name)
        return tmp_path / name

    def cut(folder: Path) -> None:
        path = folder / "weights.safetensors"
        path.write_bytes(path.read_bytes()[:-10])

    def forge(folder: Path) -> None:
        path = folder / "state.json"
        state = json.loads(path.read_text())
        path.write_text(json.dumps(state | {"format": 99}))

    LocalLearner(make_network(width=32)).save(tmp_path / "wide")
    LocalLearner(make_network(), options=LocalOptions(value_head=True)).save(tmp_path / "valued")
    cases = [
        (tmp_path / "nowhere", r"nowhere/state.json.*missing"),
        (
            damage("a", lambda folder: (folder / "optimizer.safetensors").unlink()),
            r"a/optimizer.safetensors.*missing",
        ),
        (damage("b", cut), r"b/weights.safetensors.*damaged"),
        (
            damage("c", lambda folder: (folder / "state.json").write_text("{")),
            r"c/state.json.*cannot be read",
        ),
        (damage("d", forge), r"d/state.json.*format"),
        (tmp_path / "wide", r"wide/weights.safetensors.*\(23, 32\)"),
        (tmp_path / "valued", r"valued/weights.safetensors.*value_head"),
    ]
    for folder, message in cases:
        with pytest.raises(StoreError, match=message):
            learner.load(folder)
    assert learner.score(batch) == before


def test_adapters_of_another_base_are_refused(make_learner: Learners, tmp_path: Path) -> None:
    make_learner(lora_rank=1, seed=1).save(tmp_path / "point")
    with pytest.raises(StoreError, match="frozen"):
        make_learner(lora_rank=1, seed=2).load(tmp_path / "point")


def test_a_gathered_gradient_is_not_lost_silently(
    make_learner: Learners, make_batch: Batches, tmp_path: Path
) -> None:
    learner = make_learner()
    learner.forward_backward(make_batch("ragged"), Loss())
    with pytest.raises(LearnerError, match="Step first"):
        learner.save(tmp_path / "point")
