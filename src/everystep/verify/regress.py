"""A small learned step reward model: hashed words and measures of a step to the chance that it is good.

Linear or with one hidden layer, numpy only, trained in seconds: the form for a laptop, for tests, and the bar that larger ones have to pass. Labels are
numbers from 0 to 1, so it also learns a judge's scores (StepRM) or the value of a state from outcomes (``Progress``).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everystep.core.errors import ConfigError, DataError, StoreError
from everystep.core.protocols import Evidence, Looks
from everystep.core.records import Level, Verdict
from everystep.verify.reading import DENSE, Features, features_of, view_of
from everystep.verify.rule import STEPS
from everystep.verify.verdicts import verdict

Floats = NDArray[Any]
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a model is trained. ``hidden`` 0 is linear. ``balance`` weighs good and bad steps equally in sum."""

    size: int = 1 << 15
    hidden: int = 0
    epochs: int = 6
    rate: float = 0.05
    decay: float = 1e-4
    batch: int = 64
    balance: bool = True
    view: str = "whole"
    seed: int = 0

    def __post_init__(self) -> None:
        view_of(self.view)
        for name, low in (("size", 16), ("hidden", 0), ("epochs", 1), ("batch", 1)):
            if getattr(self, name) < low:
                raise ConfigError(
                    f"{name} of a training is {getattr(self, name)!r}; it must be {low} or more."
                )
        if not (self.rate > 0 and self.decay >= 0):
            raise ConfigError(
                f"rate {self.rate!r}, decay {self.decay!r}: expected more than 0, and 0 or more."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepModel:
    """Trained weights. ``words`` is [size, width], ``dense`` [measures, width], width the hidden units or 1; ``out`` [hidden] leads to the logit.

    ``good`` is the share of good labels in training, kept to say what the scores are relative to.
    """

    size: int
    view: str
    words: Floats
    dense: Floats
    out: Floats
    balanced: bool = True
    good: float = 0.5

    def probabilities(self, rows: Sequence[Features]) -> Floats:
        """Return for each step the chance that it is good, in (0, 1); under ``balanced`` training as if half of the steps were."""
        found = [self._forward(rows[at : at + 512])[1] for at in range(0, len(rows), 512)]
        logit_S = np.concatenate(found) if found else np.zeros(0, dtype=np.float32)
        chance_S: Floats = _sigmoid(logit_S)
        return chance_S

    def _forward(self, rows: Sequence[Features]) -> tuple[Floats, Floats]:
        """Return the inner values [rows, width] and the logits [rows]."""
        place_N, start_B, count_B = _joined(rows)
        padded = np.concatenate(
            (self.words[place_N], np.zeros_like(self.words[:1]))
        )  # a last step may have no words
        sums = np.add.reduceat(padded, start_B, axis=0)
        sums[count_B == 0] = 0.0
        inner = (
            sums / np.sqrt(np.maximum(1, count_B))[:, None]
            + np.stack([row.dense for row in rows]) @ self.dense
        )
        if not self.out.size:
            return inner, inner[:, 0]
        active = np.tanh(inner)
        return active, active @ self.out

    def save(self, path: Path) -> None:
        """Write the weights as JSON with packed float32 arrays; nothing in the file is code."""
        data = {
            "format": FORMAT,
            "kind": "step model",
            "size": self.size,
            "view": self.view,
            "measures": list(DENSE),
            "balanced": self.balanced,
            "good": self.good,
            "words": _packed(self.words),
            "dense": _packed(self.dense),
            "out": _packed(self.out),
        }
        try:
            path.write_text(json.dumps(data), encoding="utf-8")
        except OSError as error:
            raise StoreError(f"cannot write {str(path)!r}: {error}. Choose another place.") from None


def load_model(path: Path) -> StepModel:
    """Read weights that ``StepModel.save`` wrote. Raises ``StoreError`` for anything else, and for other measures."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT or data["kind"] != "step model" or data["measures"] != list(DENSE):
            raise ValueError("another format or other measures")
        size = data["size"]
        words, dense, out = (_unpacked(data[name]) for name in ("words", "dense", "out"))
        width = max(1, out.size)
        if type(size) is not int or words.shape != (size, width) or dense.shape != (len(DENSE), width):
            raise ValueError("the arrays do not fit together")
        view_of(data["view"])
        good = float(data["good"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ConfigError) as error:
        raise StoreError(
            f"{str(path)!r} holds no step model that can be read: {error}. Train it again."
        ) from None
    return StepModel(
        size=size,
        view=data["view"],
        words=words,
        dense=dense,
        out=out,
        balanced=bool(data["balanced"]),
        good=good,
    )


def train_model(
    rows: Sequence[Features],
    labels: Sequence[float],
    training: Training,
    *,
    weights: Sequence[float] | None = None,
) -> StepModel:
    """Fit a model to labels from 0 (bad) to 1 (good) by AdaGrad on the log loss; the same seed gives the same weights.

    ``weights`` are further weights of the steps. Raises ``DataError`` unless there are good and bad labels.
    """
    label_S = np.asarray(labels, dtype=np.float32)
    if (
        len(rows) != label_S.size
        or not np.isfinite(label_S).all()
        or (label_S.size and not 0 <= label_S.min() <= label_S.max() <= 1)
    ):
        raise DataError(
            f"{len(rows)} steps and {label_S.size} labels; expected one label from 0 to 1 a step."
        )
    if label_S.size == 0 or label_S.min() == label_S.max():
        raise DataError(
            "all labels are equal, or there are none; a model needs good and bad steps to learn from."
        )
    good = float(label_S.mean())
    weight_S = np.ones_like(label_S) if weights is None else np.asarray(weights, dtype=np.float32)
    if training.balance:
        weight_S = weight_S * np.where(
            label_S >= 0.5, 0.5 / max(good, 1e-6), 0.5 / max(1 - good, 1e-6)
        ).astype(np.float32)
    rng = np.random.default_rng(training.seed)
    width = max(1, training.hidden)
    spread = 0.1 if training.hidden else 0.0
    words = (spread * rng.standard_normal((training.size, width))).astype(np.float32)
    dense = (spread * rng.standard_normal((len(DENSE), width))).astype(np.float32)
    out = (rng.standard_normal(training.hidden) / np.sqrt(width)).astype(np.float32)
    model = StepModel(
        size=training.size,
        view=training.view,
        words=words,
        dense=dense,
        out=out,
        balanced=training.balance,
        good=good,
    )
    sums = [np.full_like(one, 1e-3) for one in (words, dense, out)]
    for _ in range(training.epochs):
        for some in _batches(rng.permutation(len(rows)), training.batch):
            _update(model, [rows[i] for i in some], label_S[some], weight_S[some], sums, training)
    if not all(isfinite(float(np.abs(one).sum())) for one in (words, dense, out)):
        raise DataError("the training went to infinity. Lower the rate.")
    return model


def _batches(order: NDArray[np.int64], batch: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, order.size, batch):
        yield order[start : start + batch]


def _update(
    model: StepModel,
    rows: Sequence[Features],
    label_B: Floats,
    weight_B: Floats,
    sums: list[Floats],
    training: Training,
) -> None:
    """Take one AdaGrad step (Duchi et al. 2011) on a batch; only buckets that occur in it are touched."""
    active, logit_B = model._forward(rows)
    error_B = weight_B * (_sigmoid(logit_B) - label_B) / len(rows)
    if model.out.size:
        inner = error_B[:, None] * model.out * (1 - active * active)
        out = training.decay * model.out + error_B @ active
    else:
        inner, out = error_B[:, None], model.out
    dense = training.decay * model.dense + np.stack([row.dense for row in rows]).T @ inner
    place_N, _, count_B = _joined(rows)
    places, where_N = np.unique(place_N, return_inverse=True)
    each_N = np.repeat(inner / np.sqrt(np.maximum(1, count_B))[:, None], count_B, axis=0)
    words = training.decay * model.words[places]
    for column in range(words.shape[1]):
        words[:, column] += np.bincount(where_N, weights=each_N[:, column], minlength=places.size)
    sums[0][places] += words * words
    model.words[places] -= training.rate * words / np.sqrt(sums[0][places])
    for weights, slope, total in ((model.dense, dense, sums[1]), (model.out, out, sums[2])):
        total += slope * slope
        weights -= training.rate * slope / np.sqrt(total)


def _joined(rows: Sequence[Features]) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Return all buckets one behind the other, and where those of each row start and how many they are."""
    count_B = np.asarray([row.buckets.size for row in rows], dtype=np.int64)
    start_B = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(count_B)[:-1]))
    return np.concatenate([row.buckets for row in rows]), start_B, count_B


def _sigmoid(logit_B: Floats) -> Floats:
    chance_B: Floats = 1.0 / (1.0 + np.exp(-np.clip(logit_B, -30.0, 30.0)))
    return chance_B


# --- as judges ------------------------------------------------------------------------------------

LOOKS = Looks(actions=None, observations=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained model as a judge of steps: the score is the chance that the step is good."""

    model: StepModel
    name: str = "trained"
    version: str = "1"
    looks: Looks = LOOKS
    levels: frozenset[Level] = field(default=STEPS)

    async def judge(self, level: Level, evidence: Evidence) -> tuple[Verdict, ...]:
        """Return the model's verdict on one step."""
        if level is not Level.STEP:
            raise ConfigError(f"judge {self.name!r} judges single steps; asked for {level}.")
        row = features_of(evidence, size=self.model.size, view=self.model.view)
        return (verdict(self, level, evidence, score=float(self.model.probabilities([row])[0])),)


def _packed(array: Floats) -> dict[str, Any]:
    return {
        "shape": list(array.shape),
        "float32": base64.b64encode(array.astype("<f4").tobytes()).decode("ascii"),
    }


def _unpacked(data: Any) -> Floats:
    shape = data["shape"]
    if not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 2:
        raise ValueError(f"the shape {shape!r} is none of an array")
    array = np.frombuffer(base64.b64decode(data["float32"], validate=True), dtype="<f4")
    if not np.isfinite(array).all():
        raise ValueError("a weight is not finite")
    return array.reshape(shape).astype(np.float32)
