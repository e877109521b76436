"""Adapters: no change at first, few gradients, one set of weights for training and sampling."""

import pytest
import torch

from everystep.core.errors import ConfigError, ModelError
from everystep.core.protocols import Request, Sampling
from everystep.core.records import Message
from everystep.models.local import LocalSampler
from everystep.models.lora import load_lora, with_lora
from everystep.models.tiny import tiny_model

TEXTS = [f"you see {i}" for i in range(10)] + ["left", "right"]


def answers(model, n=6):
    messages = (Message(role="user", content=TEXTS[3]),)
    requests = [
        Request(session=str(i), messages=messages, allowed=("left", "right"), seed=i) for i in range(n)
    ]
    return [a.tokens.logprobs for a in LocalSampler(model).sample(requests, Sampling())]


def test_adapters_share_the_network_and_are_seen_by_the_sampler(tmp_path):
    plain = tiny_model(TEXTS, size="0.05M")
    before = answers(plain)
    state = torch.random.get_rng_state()
    model = with_lora(plain, rank=4, seed=1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert answers(model) == before
    trained = [name for name, p in model.network.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    assert answers(model) != before
    assert model.decoder is not None
    model.save(tmp_path / "adapter")
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    again = load_lora(tiny_model(TEXTS, size="0.05M"), tmp_path / "adapter")
    assert answers(again) == answers(model)
    assert any(p.requires_grad for p in again.network.parameters())
    with pytest.raises(ModelError, match="adapter_config"):
        load_lora(tiny_model(TEXTS, size="0.02M"), tmp_path)
    with pytest.raises(ConfigError, match="already"):
        with_lora(model)
    with pytest.raises(ConfigError, match="rank"):
        with_lora(tiny_model(TEXTS, size="0.02M"), rank=0)
