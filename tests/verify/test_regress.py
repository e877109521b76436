from __future__ import annotations

import asyncio
import json
from pathlib import Path
from random import Random

import numpy as np
import pytest

from everystep.core.errors import ConfigError, DataError, StoreError
from everystep.core.protocols import Looks
from everystep.core.records import Level
from everystep.verify.evidence import step_evidence
from everystep.verify.reading import DENSE, Features, features_of
from everystep.verify.regress import LOOKS, StepModel, Trained, Training, load_model, train_model
from everystep.verify.reliability import ranks
from verify.stored import written


def steps(count: int, seed: int) -> tuple[list[Features], list[float]]:
    """Steps whose arithmetic holds or not, or that say they guess: learnable from measures and from words."""
    random = Random(seed)
    rows, labels = [], []
    for _ in range(count):
        a, b, good = random.randrange(20), random.randrange(20), random.random() < 0.6
        wrong = not good and random.random() < 0.5
        text = f"{'guess' if not good and not wrong else 'so'} we have {a} + {b} = {a + b + wrong}"
        (evidence,) = step_evidence(written([text], task=f"add {a} and {b}"), LOOKS)
        rows.append(features_of(evidence, size=1 << 10))
        labels.append(float(good))
    return rows, labels


@pytest.mark.parametrize("hidden", [0, 4])
def test_it_learns_what_tells_good_steps_from_bad_ones(hidden: int) -> None:
    training = Training(size=1 << 10, hidden=hidden, epochs=8)
    model = train_model(*steps(600, 0), training)
    rows, labels = steps(300, 1)
    found = ranks(model.probabilities(rows).tolist(), [bool(one) for one in labels])
    assert found is not None
    assert found > 0.95
    again = train_model(*steps(600, 0), training)
    assert np.array_equal(model.words, again.words)


def test_the_gradient_is_that_of_the_log_loss() -> None:
    """One step of a single example from zero weights moves the logit towards its label by the rate on every weight that is on."""
    rows, _ = steps(2, 3)
    model = train_model(rows, [1.0, 0.0], Training(size=1 << 10, epochs=1, batch=2, rate=0.1, decay=0.0))
    good, bad = model.probabilities(rows)
    assert good > 0.5 > bad


def test_features_do_not_look_ahead() -> None:
    short, long = written(["a b", "c d"]), written(["a b", "c d", "e = f", "g"])
    for view in ("whole", "maths"):
        one, other = (
            features_of(list(step_evidence(trajectory, LOOKS))[1], size=512, view=view)
            for trajectory in (short, long)
        )
        assert np.array_equal(one.buckets, other.buckets)
        assert np.array_equal(one.dense, other.dense)


def test_saved_weights_come_back_and_nothing_else_is_read(tmp_path: Path) -> None:
    rows, labels = steps(50, 0)
    model = train_model(rows, labels, Training(size=1 << 10, hidden=3, epochs=1))
    model.save(tmp_path / "m.json")
    again = load_model(tmp_path / "m.json")
    assert np.array_equal(model.probabilities(rows), again.probabilities(rows))
    assert again.view == "whole"
    data = json.loads((tmp_path / "m.json").read_text())
    for name, value in (
        ("format", 99), ("measures", ["bias"]), ("size", 3), ("view", "os.system"), ("words", {"shape": [1, 1], "float32": "AAAA"}),
    ):  # fmt: skip
        (tmp_path / "bad.json").write_text(json.dumps(data | {name: value}))
        with pytest.raises(StoreError, match="no step model"):
            load_model(tmp_path / "bad.json")
    (tmp_path / "bad.json").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(StoreError):
        load_model(tmp_path / "bad.json")


def test_labels_that_teach_nothing_are_refused() -> None:
    rows, labels = steps(5, 0)
    for wrong in ([1.0] * 5, labels[:4], [2.0, *labels[1:]], [float("nan"), *labels[1:]]):
        with pytest.raises(DataError):
            train_model(rows, wrong, Training(size=1 << 10))
    with pytest.raises(ConfigError, match="size"):
        Training(size=1)
    with pytest.raises(ConfigError, match="unknown view"):
        Training(view="all")


def test_a_step_without_words_has_a_probability_too() -> None:
    rows, labels = steps(20, 0)
    model = train_model(rows, labels, Training(size=1 << 10, epochs=1))
    empty = Features(np.zeros(0, dtype=np.int32), np.zeros(len(DENSE), dtype=np.float32))
    mixed = model.probabilities([empty, rows[0], empty, rows[1], empty])
    assert mixed[[0, 2, 4]].tolist() == [0.5] * 3
    assert mixed[1] == pytest.approx(model.probabilities([rows[0]])[0])
    assert model.probabilities([]).size == 0


def test_as_a_judge_it_sees_no_future() -> None:
    model = train_model(*steps(100, 0), Training(size=1 << 10))
    judge = Trained(model=model)
    assert not judge.looks.sees_future
    assert isinstance(model, StepModel)
    good, bad = (
        asyncio.run(
            judge.judge(Level.STEP, next(step_evidence(written([text], task="add 3 and 4"), Looks())))
        )[0]
        for text in ("so we have 3 + 4 = 7", "guess we have 3 + 4 = 9")
    )
    assert good.score is not None
    assert bad.score is not None
    assert good.score > bad.score
