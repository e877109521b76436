"""A small classifier of images as a model: what it sees, how sure it is, and what its answer rests on.

scikit-learn trains it (one hidden layer) and calibrates its confidence with one temperature (Guo et al. 2017) on images that it was not fitted to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.neural_network import MLPClassifier

from everystep.core.errors import DataError
from everystep.core.protocols import Generation, Request, Sampling
from everystep.core.records import Stop

Array = NDArray[np.float64]

_KEPT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Percept:
    """What was seen: the label, the calibrated probability of it (0 to 1), and the pixels."""

    label: str
    confidence: float
    pixels: tuple[float, ...]


class Perceiver:
    """A sampler that reads the image in the last message and answers with its label. Make one with ``fitted``."""

    def __init__(self, classifier: CalibratedClassifierCV, read: Callable[[str], Array]) -> None:
        self._classifier = classifier
        self._read = read
        self._seen = lru_cache(maxsize=_KEPT)(self._look)

    @property
    def policy(self) -> str:
        return "perceiver"

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:  # noqa: ARG002
        """Answer all requests; the sampling settings do not apply."""
        return [self._answer(request) for request in requests]

    def release(self, sessions: Sequence[str]) -> None:
        """Forget conversations: there are none."""

    def look(self, text: str) -> Percept:
        """Return what is seen in the image that stands in ``text``. Raises ``DataError`` without one."""
        return self._seen(text)

    def _look(self, text: str) -> Percept:
        pixels = self._read(text).reshape(1, -1)
        chances = self._classifier.predict_proba(pixels)[0]
        best = int(chances.argmax())
        label = str(self._classifier.classes_[best])
        return Percept(label=label, confidence=float(chances[best]), pixels=tuple(pixels[0].tolist()))

    def _answer(self, request: Request) -> Generation:
        try:
            return Generation(text=self.look(request.messages[-1].content).label, stop=Stop.STOP)
        except DataError as error:
            return Generation(text="", stop=Stop.ERROR, error=str(error))


def fitted(
    image_NHW: Array,
    label_N: NDArray[np.int64],
    held_MHW: Array,
    held_label_M: NDArray[np.int64],
    *,
    read: Callable[[str], Array],
    hidden: int = 64,
    rounds: int = 500,
    seed: int = 0,
) -> Perceiver:
    """Return a perceiver trained on ``image_NHW`` (values in [0, 1]) whose confidence is calibrated on the held-out images."""
    if len(image_NHW) != len(label_N) or len(held_MHW) != len(held_label_M) or not len(held_label_M):
        raise DataError(
            f"{len(image_NHW)} and {len(held_MHW)} images, {len(label_N)} and {len(held_label_M)} labels: "
            "expected as many labels as images, and some images held out."
        )
    network = MLPClassifier((hidden,), max_iter=rounds, random_state=seed, tol=1e-3)
    network.fit(image_NHW.reshape(len(image_NHW), -1), label_N)
    classifier = CalibratedClassifierCV(FrozenEstimator(network), method="temperature")
    classifier.fit(held_MHW.reshape(len(held_MHW), -1), held_label_M)
    return Perceiver(classifier, read)
