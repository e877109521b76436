"""The model that is measured, and synthetic agent rollouts for it."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from everystep.core.errors import ModelError
from everystep.core.records import Sample
from everystep.models import smollm
from everystep.models.local import LocalModel, load
from everystep.models.template import minimal_template
from everystep.models.tiny import tiny_tokenizer

SMOLLM = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
}
TINY = SMOLLM | {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
VOCABULARY = 49_152


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """``name`` is what ``everystep`` loads (a name or a folder), ``note`` how it was found."""

    name: str
    note: str


def subject_of(name: str, *, tiny: bool, work: Path, texts: list[str]) -> Subject:
    """Return the model to measure: ``name``, or random weights of SmolLM2-135M's shape where that is not installed.

    Another ``name`` that cannot be loaded is an error: nothing is put in the place of a model that was asked for.
    """
    if tiny:
        return _random(TINY, 0, work, texts, "random weights, a tiny shape for a smoke test")
    try:
        load(name)
    except ModelError as error:
        if name != smollm.NAME:
            raise
        why = f"random weights of SmolLM2-135M's shape, because the model is not here ({error})"
        return _random(SMOLLM, VOCABULARY, work, texts, why)
    return Subject(name=name, note=f"the weights of {name!r}")


def _random(shape: dict[str, int], vocabulary: int, work: Path, texts: list[str], note: str) -> Subject:
    filler = " ".join(f"w{number}x" for number in range(vocabulary))
    tokenizer = tiny_tokenizer([*texts, filler], characters=True, max_words=max(vocabulary - 300, 4096))
    settings: Any = LlamaConfig
    config = settings(
        vocab_size=max(vocabulary, len(tokenizer)),
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        attn_implementation="sdpa",
        **shape,
    )
    torch.manual_seed(0)
    network: Any = LlamaForCausalLM(config)
    model = LocalModel(
        network=network,
        tokenizer=tokenizer,
        template=minimal_template(tokenizer),
        name="random",
        context=shape["max_position_embeddings"],
    )
    folder = work / "random"
    model.save(folder)
    return Subject(name=str(folder), note=note)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """``groups`` tasks with ``siblings`` attempts, of ``least`` to ``most`` turns; all sizes in tokens."""

    groups: int
    siblings: int
    prompt: int
    action: int
    observation: int
    least: int
    most: int


REAL = Rollouts(groups=4, siblings=8, prompt=1000, action=60, observation=150, least=6, most=16)
CHECK = Rollouts(groups=2, siblings=3, prompt=200, action=20, observation=40, least=2, most=4)
TINY_ROLLOUTS = Rollouts(groups=2, siblings=3, prompt=150, action=6, observation=12, least=2, most=5)


def merged_rows(shape: Rollouts, vocabulary: int) -> list[Sample]:
    """One row a trajectory; the attempts at a task share its prompt, and every step has an advantage of its own.

    The advantages are around 1, so that the loss is not near zero and its relative error means something.
    """
    rng = random.Random(0)
    rows = []
    for group in range(shape.groups):
        prompt = [rng.randrange(vocabulary) for _ in range(shape.prompt)]
        for sibling in range(shape.siblings):
            turns = rng.randint(shape.least, shape.most)
            ids, weight, advantage, step_of = list(prompt), [0.0] * shape.prompt, [0.0] * shape.prompt, []
            step_of = [-1] * shape.prompt
            for turn in range(turns):
                seen = shape.observation if turn < turns - 1 else 0
                ids += [rng.randrange(vocabulary) for _ in range(shape.action + seen)]
                weight += [1.0] * shape.action + [0.0] * seen
                advantage += [rng.gauss(1.0, 1.0)] * shape.action + [0.0] * seen
                step_of += [turn] * shape.action + [-1] * seen
            rows.append(
                Sample(
                    ids=tuple(ids),
                    policy_weight=tuple(weight),
                    advantage=tuple(advantage),
                    step_of=tuple(step_of),
                    rollout=f"{group}.{sibling}",
                )
            )
    return rows


def step_rows(row: Sample) -> list[Sample]:
    """The same tokens as one row a step, each with its whole history."""
    out = []
    for step in sorted(set(row.step_of) - {-1}):
        end = max(place for place, one in enumerate(row.step_of) if one == step) + 1
        out.append(
            replace(
                row,
                ids=row.ids[:end],
                policy_weight=tuple(float(one == step) for one in row.step_of[:end]),
                advantage=row.advantage[:end],
                logprobs=row.logprobs[:end],
                step_of=row.step_of[:end],
            )
        )
    return out
