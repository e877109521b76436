"""bfloat16 with float32 weights: the same credit in every layout, up to bfloat16's rounding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from everystep.core.errors import ConfigError
from everystep.core.protocols import Loss
from everystep.core.records import Sample
from everystep.learn.learner import LocalLearner, LocalOptions


@pytest.mark.parametrize("packing", ["rows", "padded", "tree"])
def test_bf16_computes_the_fp32_gradient_up_to_its_rounding(
    packing: str, make_learner: Callable[..., LocalLearner], make_batch: Callable[..., list[Sample]]
) -> None:
    batch = make_batch("branch")
    exact, rough = make_learner(), make_learner(packing=packing, bf16=True)
    wanted, found = exact.forward_backward(batch, Loss()), rough.forward_backward(batch, Loss())
    one, other = exact.gradient(), rough.gradient()
    assert found["loss"] == pytest.approx(wanted["loss"], rel=2e-2)
    assert 1e-6 < np.linalg.norm(one - other) / np.linalg.norm(one) < 5e-2
    assert other.dtype == np.float32


def test_bf16_keeps_weights_gradients_and_optimiser_in_fp32(
    make_network: Callable[..., LlamaForCausalLM], make_batch: Callable[..., list[Sample]]
) -> None:
    network = make_network()
    before = network.model.embed_tokens.weight.detach().clone()
    learner = LocalLearner(network, options=LocalOptions(bf16=True))
    learner.forward_backward(make_batch("prompt"), Loss())
    assert {p.grad.dtype for p in network.parameters() if p.grad is not None} == {torch.float32}
    learner.optim_step(learning_rate=1e-5)
    moved = (network.model.embed_tokens.weight.detach() - before).abs()
    assert 0 < float(moved.max()) < 2e-5  # bfloat16 weights around 0.3 could not move by so little
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_bf16_scores_are_fp32_numbers_close_to_the_exact_ones(
    make_learner: Callable[..., LocalLearner], make_batch: Callable[..., list[Sample]]
) -> None:
    batch = make_batch("ragged")
    exact, rough = make_learner().score(batch), make_learner(bf16=True).score(batch)
    gaps = np.concatenate([np.subtract(a.logprobs, b.logprobs) for a, b in zip(exact, rough, strict=True)])
    assert 0 < np.abs(gaps).max() < 0.3
    assert abs(gaps.mean()) < 0.02


def test_bf16_refuses_weights_that_are_not_fp32(make_network: Callable[..., LlamaForCausalLM]) -> None:
    with pytest.raises(ConfigError, match="bf16 keeps fp32 weights"):
        LocalLearner(make_network().to(torch.bfloat16), options=LocalOptions(bf16=True))
