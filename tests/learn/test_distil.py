"""Distillation: equal models have nothing to learn, heads look at the right tokens, and nothing of them stays behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from everystep.core.errors import ConfigError, LearnerError
from everystep.core.protocols import Loss
from everystep.core.records import Sample
from everystep.learn.distil import Distillation, Distiller, distil, divergence, places
from everystep.learn.learner import LocalLearner
from everystep.learn.packing import pack
from everystep.learn.streams import streams_of
from everystep.models.local import LocalModel, load
from everystep.models.tiny import Shape, tiny_model

WORDS = ["one two three four five six seven eight nine ten"]
SMALL = Shape(layers=1, width=16, heads=1)


def model(seed: int, size: Shape = SMALL, texts: list[str] = WORDS) -> LocalModel:
    return tiny_model(texts, size=size, seed=seed, context=64)


def rows(count: int, seed: int = 0, vocabulary: int = 16) -> list[Sample]:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        size = int(rng.integers(4, 12))
        weight = (0.0, *rng.choice([0.0, 0.5, 1.0], size - 2).tolist(), 1.0)
        made.append(Sample(ids=tuple(rng.integers(0, vocabulary, size).tolist()), supervised_weight=weight))
    return made


def logits(one: LocalModel, sample: Sample) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = one.network(input_ids=torch.tensor([sample.ids])).logits[0]
    return found


def test_a_teacher_that_is_the_student_teaches_nothing() -> None:
    student, teacher = model(1), model(1)
    told = Distiller(student, teacher).update(rows(5), learning_rate=0.0)
    assert told["main"] == pytest.approx(0.0, abs=1e-6)
    assert told["grad_norm"] == pytest.approx(0.0, abs=1e-5)
    other = Distiller(student, model(2)).update(rows(5), learning_rate=0.0)
    assert other["main"] > 0.01
    assert other["grad_norm"] > 0.01


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_main_head_alone_is_plain_distillation(temperature: float) -> None:
    student, teacher, samples = model(1), model(2), rows(6)
    total = count = 0.0
    for sample in samples:
        weight = torch.tensor(sample.supervised_weight[1:])
        p, q = (torch.log_softmax(logits(one, sample)[:-1] / temperature, -1) for one in (teacher, student))
        total += float((weight * (p.exp() * (p - q)).sum(-1)).sum()) * temperature**2
        count += float(weight.sum())
    found = Distiller(student, teacher, options=Distillation(temperature=temperature)).measure(samples)
    assert found["main"] == pytest.approx(total / count, rel=1e-4)
    assert found["loss"] == pytest.approx(found["main"])


def test_an_extra_head_is_compared_with_what_the_teacher_says_further_on() -> None:
    student, teacher, samples = model(1), model(2), rows(6)
    options = Distillation(ahead=2, extra_weight=0.5)
    found = Distiller(student, teacher, options=options).measure(samples)
    for k in (0, 1, 2):
        total = count = 0.0
        for sample in samples:
            weight = torch.tensor(sample.supervised_weight[1 + k :])
            p = torch.log_softmax(
                logits(teacher, sample)[k:-1], -1
            )  # says token t + 1 + k, having read up to t + k
            q = torch.log_softmax(logits(student, sample)[: -1 - k], -1)  # a new head is the main head, at t
            total += float((weight * (p.exp() * (p - q)).sum(-1)).sum())
            count += float(weight.sum())
        assert found["main" if k == 0 else f"ahead{k}"] == pytest.approx(total / count, rel=1e-4)
    expected = found["main"] + 0.5 * (found["ahead1"] + found["ahead2"]) / 2
    assert found["loss"] == pytest.approx(expected, rel=1e-6)


def test_extra_heads_learn_to_predict_their_own_tokens() -> None:
    cycle = [7, 12, 9, 15, 8, 11, 14, 10]
    samples = [
        Sample(ids=tuple((cycle * 3)[start : start + 14]), supervised_weight=(0.0, *[1.0] * 13))
        for start in range(8)
    ]
    teacher, student = model(5), model(6)
    learner = LocalLearner(teacher.network)
    for _ in range(60):
        learner.forward_backward(samples, Loss(policy="reinforce", aggregate="token"))
        learner.optim_step(learning_rate=1e-2)
    distiller = Distiller(student, teacher, options=Distillation(ahead=2))
    told = distil(distiller, samples, updates=120, batch=8, learning_rate=1e-2)
    assert max(told["main"], told["ahead1"], told["ahead2"]) < 0.1
    ids = torch.tensor([samples[3].ids])
    with torch.no_grad():
        hidden = student.decoder(input_ids=ids).last_hidden_state[0]
        for k, head in enumerate([torch.nn.Identity(), *distiller.heads]):
            guess = student.head(head(hidden)).argmax(-1)
            assert guess[1 : -1 - k].tolist() == ids[0, 2 + k :].tolist()


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(2, 9), min_size=1, max_size=6),
    ahead=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_every_distilled_token_has_its_cells(sizes: list[int], ahead: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples, start = [], 100
    for size in sizes:  # every id occurs once, so a cell's id says where it is
        weight = (0.0, *rng.choice([0.0, 1.0, 2.0], size - 1).tolist())
        samples.append(Sample(ids=tuple(range(start, start + size)), supervised_weight=weight))
        start += 100
    streams = streams_of(samples)
    found = {}
    for packed in pack([row.ids[:-1] for row in streams], packing="rows", tokens_per_batch=24):
        seen, told, weights = places(packed, streams, ahead=ahead)
        flat = packed.ids.ravel()
        for a, b, weight in zip(flat[seen], flat[told], weights, strict=True):
            assert b - a == ahead
            found[int(b) + 1] = weight
    expected = {
        one: weight
        for sample in samples
        for place, (one, weight) in enumerate(zip(sample.ids, sample.supervised_weight, strict=True))
        if weight and place > ahead
    }
    assert found == expected


def test_chunks_change_neither_the_value_nor_the_gradient() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(6, 11), torch.nn.Linear(6, 11)
    known, found = torch.randn(9, 6), []
    for at_once in (1 << 20, 22):
        hidden = torch.linspace(-1, 1, 54).reshape(9, 6).requires_grad_()
        ours.zero_grad()
        value = divergence(ours, theirs, hidden, known, vocabulary=11, temperature=1.7, at_once=at_once)
        torch.autograd.backward(value.square().sum())
        assert hidden.grad is not None
        assert ours.weight.grad is not None
        assert theirs.weight.grad is None
        found.append((value.detach(), hidden.grad, ours.weight.grad.clone()))
    for one, two in zip(*found, strict=True):
        assert torch.allclose(one, two, atol=1e-5)


def test_extra_heads_leave_nothing_in_the_student(tmp_path: Path) -> None:
    student, teacher = model(1), model(2)
    before = set(student.network.state_dict())
    kept = [p.clone() for p in teacher.network.parameters()]
    distiller = Distiller(student, teacher, options=Distillation(ahead=3))
    distiller.update(rows(4), learning_rate=1e-2)
    assert any(bool(head.inner.weight.any()) for head in distiller.heads)  # type: ignore[union-attr, operator]
    assert all(torch.equal(p, was) for p, was in zip(teacher.network.parameters(), kept, strict=True))
    assert set(student.network.state_dict()) == before
    student.save(tmp_path / "student")
    assert not [name for name in load_file(tmp_path / "student" / "model.safetensors") if "inner" in name]
    again = load(tmp_path / "student")
    assert torch.allclose(logits(again, rows(1)[0]), logits(student, rows(1)[0]), atol=1e-5)


def test_measuring_changes_nothing() -> None:
    student = model(1)
    kept = [p.clone() for p in student.network.parameters()]
    distiller = Distiller(student, model(2), options=Distillation(ahead=1))
    assert distiller.measure(rows(4)) == distiller.measure(rows(4))
    assert all(torch.equal(p, was) for p, was in zip(student.network.parameters(), kept, strict=True))
    assert all(p.grad is None for p in student.network.parameters())


def test_what_cannot_be_distilled_is_refused() -> None:
    student = model(1)
    with pytest.raises(LearnerError, match="tokenizers differ"):
        Distiller(student, model(2, texts=[*WORDS, "eleven"]))
    teacher = model(2)
    teacher.network.resize_token_embeddings(32)
    with pytest.raises(LearnerError, match="logits"):
        Distiller(student, teacher)
    distiller, sample = Distiller(student, model(2)), rows(1)[0]
    with pytest.raises(LearnerError, match="supervised weight"):
        distiller.update([replace(sample, supervised_weight=())], learning_rate=0.1)
    with pytest.raises(LearnerError, match="allowed sets"):
        distiller.update([replace(sample, allowed={2: (sample.ids[2],)})], learning_rate=0.1)
    with pytest.raises(LearnerError, match="ids below"):
        distiller.update([replace(sample, ids=(99, *sample.ids[1:]))], learning_rate=0.1)
    with pytest.raises(ConfigError, match="no effect"):
        Distiller(student, model(2), options=Distillation(extra_weight=0.1))
    with pytest.raises(ConfigError, match="temperature"):
        Distiller(student, model(2), options=Distillation(temperature=0.0))
    with pytest.raises(ConfigError, match="0 samples"):
        distil(distiller, [], updates=3)
