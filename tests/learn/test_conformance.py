"""The local learner keeps every promise, and learners that break one are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from transformers import LlamaForCausalLM

from everystep.core.protocols import Capabilities, Learner, Loss, Scored
from everystep.core.records import Sample
from everystep.learn.conformance import check_learner
from everystep.learn.learner import LocalLearner, LocalOptions
from everystep.models.local import LocalSampler
from everystep.models.tiny import tiny_model, tiny_tokenizer

TEXTS = ["go left", "go right", "stay"]
Networks = Callable[..., LlamaForCausalLM]


def broken(report: object) -> set[str]:
    return {check.name for check in report.checks if check.passed is False}  # type: ignore[attr-defined]


@pytest.mark.parametrize("packing", ["rows", "tree"])
def test_the_local_learner_conforms(packing: str) -> None:
    def factory() -> Learner:
        model = tiny_model(TEXTS, size="0.02M")
        options = LocalOptions(packing=packing, least_shared=1, value_head=packing == "tree")
        return LocalLearner(
            model.network, options=options, make_sampler=lambda policy: LocalSampler(model, policy=policy)
        )

    report = check_learner(factory, vocabulary=len(tiny_tokenizer(TEXTS)), sample_text="go left")
    rest = {check.name for check in report.checks if not check.passed}
    assert rest == (set() if packing == "tree" else {"values"}), str(report)
    assert report.passed


class WeightsNormalisedAway(LocalLearner):
    """Divides by the sum of the weights, as one released server does."""

    def forward_backward(
        self, samples: Sequence[Sample], loss: Loss, *, totals: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        scaled = []
        for one in samples:
            total = sum(one.supervised_weight) or 1.0
            scaled.append(replace(one, supervised_weight=tuple(w / total for w in one.supervised_weight)))
        return super().forward_backward(scaled, loss, totals=totals)


class IgnoresTotals(LocalLearner):
    """Normalises each call by itself."""

    def forward_backward(
        self, samples: Sequence[Sample], loss: Loss, *, totals: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        return super().forward_backward(samples, loss)


class IgnoresAllowed(LocalLearner):
    """Scores over the whole vocabulary."""

    def score(self, samples: Sequence[Sample]) -> list[Scored]:
        return super().score([replace(one, allowed=None) for one in samples])


class Misaligned(LocalLearner):
    """Drops the first position."""

    def score(self, samples: Sequence[Sample]) -> list[Scored]:
        return [replace(one, logprobs=one.logprobs[1:]) for one in super().score(samples)]


class Ascends(LocalLearner):
    """Has the sign the wrong way round."""

    def forward_backward(
        self, samples: Sequence[Sample], loss: Loss, *, totals: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        flipped = [
            replace(
                one,
                supervised_weight=tuple(-w for w in one.supervised_weight),
                advantage=tuple(-a for a in one.advantage),
            )
            for one in samples
        ]
        return super().forward_backward(flipped, loss, totals=totals)


class Lenient(LocalLearner):
    """Ignores what it cannot do."""

    def forward_backward(
        self, samples: Sequence[Sample], loss: Loss, *, totals: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        if loss.policy not in self.capabilities.losses:
            loss = Loss()
        return super().forward_backward(samples, loss, totals=totals)


class ForgetsTheReference(LocalLearner):
    """Compares log-probabilities where it should compare log-ratios."""

    def forward_backward(
        self, samples: Sequence[Sample], loss: Loss, *, totals: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        bare = [
            replace(one, reference_logprobs=(0.0,) * len(one.ids)) if one.reference_logprobs else one
            for one in samples
        ]
        return super().forward_backward(bare, loss, totals=totals)


class NoPairs(LocalLearner):
    """Says that it offers no preferences, and takes them all the same."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, preferences=frozenset(), avoid=False)


class FrozenCritic(LocalLearner):
    """Ignores value targets."""

    def forward_backward(
        self, samples: Sequence[Sample], loss: Loss, *, totals: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        still = [replace(one, value_weight=(0.0,) * len(one.ids)) for one in samples]
        return super().forward_backward(still, loss, totals=totals)


class OverwritesGradient(LocalLearner):
    """Forgets the gradient of the calls before."""

    def forward_backward(
        self, samples: Sequence[Sample], loss: Loss, *, totals: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        self._optimizer.zero_grad(set_to_none=True)
        return super().forward_backward(samples, loss, totals=totals)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (WeightsNormalisedAway, "linear in the weights"),
        (IgnoresTotals, "additive over calls"),
        (OverwritesGradient, "additive over calls"),
        (IgnoresAllowed, "allowed sets"),
        (Misaligned, "log-probabilities are aligned"),
        (Ascends, "sign"),
        (ForgetsTheReference, "preferences"),
        (ForgetsTheReference, "tokens to avoid"),
        (NoPairs, "preferences"),
        (NoPairs, "tokens to avoid"),
        (FrozenCritic, "values"),
        (Lenient, "unsupported options raise"),
    ],
)
def test_a_fault_is_found(make_network: Networks, fault: type[LocalLearner], name: str) -> None:
    options = LocalOptions(value_head=name == "values")
    report = check_learner(lambda: fault(make_network(), options=options), vocabulary=23, only=name)
    assert name in broken(report), str(report)


def test_faults_show_through_the_gradient_norm_alone(make_network: Networks) -> None:
    """A remote learner shows no gradient: the metric must do."""

    class Remote:
        def __init__(self, inner: LocalLearner) -> None:
            self._inner = inner
            self.capabilities = inner.capabilities
            self.forward_backward = inner.forward_backward
            self.optim_step = inner.optim_step
            self.score = inner.score
            self.save = inner.save
            self.load = inner.load
            self.sampler = inner.sampler

    good = check_learner(lambda: Remote(LocalLearner(make_network())), vocabulary=23)
    assert good.passed, str(good)
    assert {check.name for check in good.checks if check.passed is None} == {
        "additive over samples",
        "the sampler sees new weights",
        "values",
    }
    bad = check_learner(
        lambda: Remote(WeightsNormalisedAway(make_network())), vocabulary=23, only="linear in the weights"
    )
    assert "linear in the weights" in broken(bad)
    assert "BROKEN linear in the weights" in str(bad)


def test_gradients_are_vectors(make_network: Networks) -> None:
    gradient: NDArray[np.float32] = LocalLearner(make_network()).gradient()
    assert gradient.shape == (sum(p.numel() for p in make_network().parameters()),)
