"""A tiny Llama and random samples for the tests of the learner."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from everystep.core.records import Sample
from everystep.learn.learner import LocalLearner, LocalOptions

VOCABULARY = 23


def _network(seed: int = 0, width: int = 16) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=128,
            tie_word_embeddings=True,
        )
    )
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.3)
    return network


@pytest.fixture
def make_network() -> Callable[..., LlamaForCausalLM]:
    """Makes Llamas whose logits are far from uniform, so that wrong masks and positions show."""
    return _network


@pytest.fixture
def make_learner() -> Callable[..., LocalLearner]:
    def make(*, lora_rank: int = 0, seed: int = 0, **options: object) -> LocalLearner:
        network: torch.nn.Module = _network(seed)
        if lora_rank:
            torch.manual_seed(0)
            config = LoraConfig(r=lora_rank, target_modules="all-linear", task_type="CAUSAL_LM")
            network = get_peft_model(network, config)  # type: ignore[arg-type]
        return LocalLearner(network, options=LocalOptions(**({"least_shared": 1} | options)))  # type: ignore[arg-type]

    return make


def _sample(rng: random.Random, ids: tuple[int, ...], rollout: str = "", **more: object) -> Sample:
    size = len(ids)

    def weights() -> tuple[float, ...]:
        return (0.0, *(rng.choice([0.0, 0.5, 1.0]) for _ in range(size - 1)))

    streams: dict[str, object] = {
        "policy_weight": weights(),
        "advantage": tuple(rng.gauss(0, 1) for _ in range(size)),
        "logprobs": tuple(rng.gauss(-3, 0.5) for _ in range(size)),
        "supervised_weight": weights(),
        "step_of": tuple(t // 5 for t in range(size)),
        "rollout": rollout,
    }
    return Sample(ids=ids, **(streams | more))  # type: ignore[arg-type]


@pytest.fixture
def make_sample() -> Callable[..., Sample]:
    """Makes samples with random policy and supervised streams."""
    return _sample


@pytest.fixture
def make_batch() -> Callable[..., list[Sample]]:
    """Makes batches of one shape: ragged, prompt (shared), branch (inside a step), same (identical rows)."""

    def make(shape: str, seed: int = 0, **more: object) -> list[Sample]:
        rng = random.Random(seed)

        def ids(size: int) -> tuple[int, ...]:
            return tuple(rng.randrange(VOCABULARY) for _ in range(size))

        trunk = ids(20)
        rows = {
            "ragged": [ids(size) for size in (5, 17, 9, 30, 2)],
            "prompt": [trunk + ids(size) for size in (3, 11, 7, 1)],
            "branch": [trunk + ids(5), trunk[:13] + ids(9), trunk[:13] + ids(4), trunk[:18] + ids(2), ids(6)],
            "same": [trunk, trunk, trunk[:12]],
        }[shape]
        return [_sample(rng, row, f"r{at}", **more) for at, row in enumerate(rows)]

    return make
