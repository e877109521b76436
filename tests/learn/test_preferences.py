"""Pairs: golden numbers, the definition against the packed learner, and what is refused."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from everystep.core.errors import ConfigError, LearnerError
from everystep.core.protocols import Loss
from everystep.core.records import Sample
from everystep.learn.learner import LocalLearner
from everystep.learn.losses import avoid_terms, check_loss, preference_terms
from everystep.learn.packing import pack, unique_tokens
from everystep.learn.streams import totals_of

Learners = Callable[..., LocalLearner]
Networks = Callable[..., LlamaForCausalLM]
KINDS = [
    Loss(preference="sigmoid", preference_beta=0.3),
    Loss(preference="sigmoid", preference_smoothing=0.2, preference_offset=0.5),
    Loss(preference="sigmoid", preference_reference=False, preference_beta=2.0),
    Loss(preference="ipo", preference_beta=0.5),
    Loss(preference="hinge", preference_beta=0.05),
]


def pairs_of(shape: str, seed: int = 0, count: int = 5) -> list[Sample]:
    """Rows of pairs: with a shared trunk, a trunk a pair, or nothing shared; every chosen row has a cross-entropy too."""
    rng = random.Random(seed)

    def ids(size: int) -> tuple[int, ...]:
        return tuple(rng.randrange(23) for _ in range(size))

    rows, trunk = [], ids(14)
    for pair in range(count):
        common = {"one": trunk, "own": ids(rng.randrange(4, 20)), "none": ()}[shape]
        for sign in (1.0, -1.0):
            answer = ids(rng.randrange(3, 9))
            start = max(1, len(common))
            size = len(common) + len(answer)
            weight = tuple(sign * rng.choice([0.5, 1.0]) if t >= start else 0.0 for t in range(size))
            reference = tuple(rng.gauss(-3, 0.5) if w else 0.0 for w in weight)
            supervised = tuple(float(w > 0) for w in weight) if sign > 0 else ()
            rows.append(
                Sample(
                    ids=common + answer,
                    preference_weight=weight,
                    reference_logprobs=reference,
                    supervised_weight=supervised,
                    pair=f"p{pair}",
                    rollout=f"p{pair}{sign}",
                )
            )
    rng.shuffle(rows)
    return rows


def definition(network: LlamaForCausalLM, samples: Sequence[Sample], loss: Loss) -> tuple[float, np.ndarray]:
    """The mean over pairs, and the cross-entropy per rollout, row by row from the whole logits."""
    network.zero_grad()
    margins: dict[str, Any] = {}
    supervised = torch.zeros(())
    chosen = sum(any(one.supervised_weight) for one in samples)
    for one in samples:
        ids = torch.tensor([one.ids])
        new = network(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        reference = torch.tensor(one.reference_logprobs[1:]) if loss.preference_reference else 0.0
        ratio = torch.tensor(one.preference_weight[1:]) * (new - reference)
        margins[one.pair] = margins.get(one.pair, 0.0) + ratio.sum()
        if one.supervised_weight:
            weight = torch.tensor(one.supervised_weight[1:])
            supervised = supervised - (weight * new).sum() / (weight != 0).sum() / chosen
    h = torch.stack(list(margins.values()))
    b = loss.preference_beta
    u = b * h - loss.preference_offset
    terms = {
        "sigmoid": -(1 - loss.preference_smoothing) * torch.sigmoid(u).log()
        - loss.preference_smoothing * torch.sigmoid(-u).log(),
        "ipo": (h - 1 / (2 * b)) ** 2,
        "hinge": torch.relu(1 - u),
    }[loss.preference]
    total = terms.mean() + loss.supervised * supervised
    torch.autograd.backward(total)
    gradient = [p.grad.numpy().ravel() for p in network.parameters() if p.grad is not None]
    return float(total.detach()), np.concatenate(gradient)


@pytest.mark.parametrize("loss", KINDS, ids=lambda one: f"{one.preference}-{one.preference_smoothing}")
@pytest.mark.parametrize("shape", ["one", "own", "none"])
def test_packed_pairs_have_the_loss_and_gradient_of_the_definition(
    make_network: Networks, make_learner: Learners, shape: str, loss: Loss
) -> None:
    samples, loss = pairs_of(shape), replace(loss, supervised=0.3)
    expected, gradient = definition(make_network(), samples, loss)
    for packing, tokens in (("rows", 40), ("tree", 4096), ("tree", 1), ("padded", 60)):
        learner = make_learner(packing=packing, tokens_per_batch=tokens)
        metrics = learner.forward_backward(samples, loss)
        assert metrics["loss"] == pytest.approx(expected, rel=1e-5), packing
        np.testing.assert_allclose(learner.gradient(), gradient, atol=1e-5 * np.abs(gradient).max())


def test_the_prefix_of_pairs_is_computed_once(make_learner: Learners) -> None:
    samples = pairs_of("one")
    distinct = 14 + sum(len(one.ids) - 15 for one in samples)  # the last token of a row is never fed
    tree = make_learner(packing="tree").forward_backward(samples, KINDS[0])["tokens"]
    rows = make_learner(packing="rows").forward_backward(samples, KINDS[0])["tokens"]
    assert tree <= distinct
    assert rows == sum(len(one.ids) - 1 for one in samples)


@pytest.mark.parametrize("packing", ["rows", "tree", "padded"])
@pytest.mark.parametrize("tokens", [1, 30, 500])
def test_rows_that_belong_together_stay_together(packing: str, tokens: int) -> None:
    samples = pairs_of("own", seed=3, count=9)
    rows = [np.array(one.ids) for one in samples] + [np.arange(5), np.arange(9)]
    names = [one.pair for one in samples] + ["", ""]
    packed = pack(rows, packing=packing, tokens_per_batch=tokens, together=names)
    assert sorted(member for one in packed for member in one.members) == list(range(len(rows)))
    home = {member: place for place, one in enumerate(packed) for member in one.members}
    for name in {*names} - {""}:
        assert len({home[index] for index, own in enumerate(names) if own == name}) == 1
    for one in packed:
        if packing == "tree" and tokens > 30:  # nodes of the trie, each held once
            assert one.tokens == unique_tokens([rows[member] for member in one.members])
        for member, cells in zip(one.members, one.cells, strict=True):
            assert one.ids.ravel()[cells].tolist() == rows[member].tolist()


def test_calls_with_totals_add_up(make_learner: Learners) -> None:
    samples = pairs_of("own")
    whole = make_learner()
    whole.forward_backward(samples, KINDS[0])
    parts, totals = make_learner(), totals_of(samples)
    assert totals["preference.pairs"] == 5.0
    for name in sorted({one.pair for one in samples}):
        parts.forward_backward([one for one in samples if one.pair == name], KINDS[0], totals=totals)
    expected = whole.gradient()
    np.testing.assert_allclose(parts.gradient(), expected, atol=1e-5 * np.abs(expected).max())


def test_golden_numbers_of_trajectory_preferences() -> None:
    """Log-ratios of the steps 2, 4, 6 and -2, 0 at beta 0.05: mean over steps, and sum."""
    won, lost = torch.tensor([2.0, 4.0, 6.0]), torch.tensor([-2.0, 0.0])
    margins = torch.stack([won.mean() - lost.mean(), won.sum() - lost.sum()])
    loss = Loss(preference="sigmoid", preference_beta=0.05)
    found = preference_terms("sigmoid", margins, loss).tolist()
    assert found == pytest.approx([0.575939, 0.403186], abs=1e-6)


def test_each_form_at_hand_worked_points() -> None:
    h = torch.tensor([0.0, 2.0])

    def terms(kind: str, **more: Any) -> list[float]:
        loss = Loss(preference=kind, preference_beta=0.5, **more)
        found: list[float] = preference_terms(kind, h, loss, good=torch.tensor([True, False])).tolist()
        return found

    assert terms("sigmoid") == pytest.approx([0.693147, 0.313262], abs=1e-6)
    assert terms("sigmoid", preference_smoothing=0.1) == pytest.approx([0.693147, 0.413262], abs=1e-6)
    assert terms("ipo") == pytest.approx([1.0, 1.0])
    assert terms("hinge", preference_offset=0.5) == pytest.approx([1.5, 0.5])
    # good: 1 - s(0 - 1); bad, h = 2: 1 - s(1 + 1)
    assert terms("kto", preference_offset=1.0) == pytest.approx([0.731059, 0.119203], abs=1e-6)


def test_golden_number_of_steps_to_avoid(make_learner: Learners) -> None:
    new, reference = torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([-1.2, -1.5, -0.5])
    assert 0.2 * float(avoid_terms(new, reference).mean()) == pytest.approx(0.131024, abs=1e-6)
    learner = make_learner()
    ids = (5, 3, 8, 1)
    now = learner.score([Sample(ids=ids)])[0].logprobs
    shifted = (0.0, now[1] - 0.2, now[2] + 0.5, now[3])
    sample = Sample(ids=ids, avoid_weight=(0.0, 1.0, 1.0, 1.0), reference_logprobs=shifted)
    metrics = learner.forward_backward([sample], Loss(avoid=0.2))
    assert metrics["avoid_loss"] == pytest.approx(0.131024, abs=1e-5)


def test_bad_steps_become_unlikely_and_preferred_ones_likely(make_learner: Learners) -> None:
    learner = make_learner(packing="tree")
    samples = pairs_of("own", count=4)
    scored = learner.score(samples)
    samples = [
        replace(one, reference_logprobs=found.logprobs) for one, found in zip(samples, scored, strict=True)
    ]
    first = learner.forward_backward(samples, KINDS[0])
    assert first["preference_margin"] == pytest.approx(0.0, abs=1e-5)
    assert first["preference_loss"] == pytest.approx(0.693147, abs=1e-5)
    learner.optim_step(learning_rate=3e-3)
    for _ in range(10):
        learner.forward_backward(samples, KINDS[0])
        learner.optim_step(learning_rate=3e-3)
    last = learner.forward_backward(samples, KINDS[0])
    assert last["preference_accuracy"] == 1.0
    assert last["preference_margin"] == pytest.approx(
        last["chosen_reward"] - last["rejected_reward"], abs=1e-5
    )
    assert last["preference_loss"] < 0.6

    learner = make_learner()
    bad = [
        replace(one, preference_weight=(), supervised_weight=(), pair="", avoid_weight=tuple(map(abs, one.preference_weight)))
        for one in samples
    ]  # fmt: skip
    before = learner.forward_backward(bad, Loss(avoid=0.2))["avoid_gap"]
    learner.optim_step(learning_rate=3e-3)
    after = learner.forward_backward(bad, Loss(avoid=0.2))["avoid_gap"]
    assert after < before == pytest.approx(0.0, abs=1e-5)


def test_kto_takes_rows_alone(make_learner: Learners) -> None:
    rows = [replace(one, pair=one.rollout, supervised_weight=()) for one in pairs_of("none")]
    loss = Loss(preference="kto", preference_offset=0.2)
    metrics = make_learner(packing="tree").forward_backward(rows, loss)
    expected = []
    for row, found in zip(rows, make_learner().score(rows), strict=True):
        h = sum(
            w * (new - old)
            for w, new, old in zip(row.preference_weight, found.logprobs, row.reference_logprobs, strict=True)
        )
        good = sum(row.preference_weight) > 0
        expected.append(1 / (1 + np.exp(0.1 * h - (0.2 if good else -0.2))))
    assert metrics["preference_loss"] == pytest.approx(np.mean(expected), rel=1e-5)


def test_what_cannot_be_compared_is_refused(make_learner: Learners) -> None:
    samples, loss, learner = pairs_of("own"), KINDS[0], make_learner()
    first = samples[0].pair
    for wrong, with_loss, message in (
        (samples[:1], loss, "one side only"),
        (samples, Loss(), "needs a preference loss"),
        ([replace(one, pair="") for one in samples], loss, "name of its pair"),
        ([replace(one, reference_logprobs=()) for one in samples], loss, "reference_logprobs"),
        ([replace(one, preference_weight=()) for one in samples], loss, "no sample has a preference_weight"),
        ([one for one in samples if one.pair == first], Loss(preference="kto"), "both sides"),
        ([Sample(ids=(1, 2), avoid_weight=(0.0, 1.0))], Loss(avoid=0.2), "avoid_weight needs"),
        ([Sample(ids=(1, 2), avoid_weight=(0.0, 1.0), reference_logprobs=(0.0, -1.0))], Loss(), "loss.avoid"),
    ):
        with pytest.raises(LearnerError, match=message):
            learner.forward_backward(wrong, with_loss)
    with pytest.raises(LearnerError, match="no gradient"):
        learner.optim_step(learning_rate=0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        Loss(preference="dpo"),
        Loss(preference="sigmoid", preference_beta=0.0),
        Loss(preference="sigmoid", preference_smoothing=0.5),
        Loss(preference="ipo", preference_smoothing=0.1),
        Loss(preference="ipo", preference_offset=0.1),
        Loss(preference_beta=0.2),
        Loss(avoid=-1.0),
    ],
)
def test_options_without_effect_or_sense_raise(wrong: Loss) -> None:
    with pytest.raises(ConfigError):
        check_loss(wrong)
