"""The local learner: equal gradients however rows are packed or split, learning, and refusals."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from everystep.core.errors import ConfigError, LearnerError
from everystep.core.protocols import Loss
from everystep.core.records import Sample
from everystep.learn.branching import attend
from everystep.learn.learner import LocalLearner, LocalOptions
from everystep.learn.logprobs import Choices, token_logprobs
from everystep.learn.networks import hidden_states, parts_of, visible
from everystep.learn.packing import pack
from everystep.learn.streams import totals_of

SHAPES = ("ragged", "prompt", "branch", "same")
Batches = Callable[..., list[Sample]]
Learners = Callable[..., LocalLearner]


def reference(network: LlamaForCausalLM, samples: Sequence[Sample]) -> tuple[float, np.ndarray]:
    """Clipped PPO plus cross-entropy, row by row, from the whole logits: the definition."""
    network.zero_grad()
    total = torch.zeros(())
    rollouts = {
        name: sum(any(getattr(one, name)) for one in samples)
        for name in ("policy_weight", "supervised_weight")
    }
    for one in samples:
        ids = torch.tensor([one.ids])
        logits = network(input_ids=ids).logits[0, :-1].double() / one.temperature
        new = logits.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        for position, choices in (one.allowed or {}).items():
            part = logits[position - 1, list(choices)].log_softmax(-1)[choices.index(one.ids[position])]
            new = torch.cat([new[: position - 1], part[None], new[position:]])
        old, advantage = torch.tensor(one.logprobs[1:]), torch.tensor(one.advantage[1:])
        ratio = (new - old).exp()
        per_token = {
            "policy_weight": -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage),
            "supervised_weight": -new,
        }
        for name, value in per_token.items():
            weight = torch.tensor(getattr(one, name)[1:])
            count = int((weight != 0).sum())
            if count:
                total = total + (weight * value).sum() / count / rollouts[name]
    total.backward()
    gradient = np.concatenate([p.grad.numpy().ravel() for p in network.parameters() if p.grad is not None])
    return float(total.detach()), gradient


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("packing", ["rows", "tree", "padded"])
@pytest.mark.parametrize("tokens_per_batch", [1, 60, 4096])
def test_packing_changes_neither_loss_nor_gradient(
    make_network: Callable[..., LlamaForCausalLM],
    make_learner: Learners,
    make_batch: Batches,
    shape: str,
    packing: str,
    tokens_per_batch: int,
) -> None:
    batch = make_batch(shape)
    loss, gradient = reference(make_network(), batch)
    learner = make_learner(packing=packing, tokens_per_batch=tokens_per_batch)
    metrics = learner.forward_backward(batch, Loss())
    assert metrics["loss"] == pytest.approx(loss, rel=1e-5, abs=1e-5)
    scale = np.abs(gradient).max()
    np.testing.assert_allclose(learner.gradient() / scale, gradient / scale, atol=1e-5)


@pytest.mark.parametrize("policy", ["ppo", "cispo", "gspo", "step", "importance", "reinforce"])
def test_tree_equals_rows_for_every_policy_loss(
    make_learner: Learners, make_batch: Batches, policy: str
) -> None:
    batch = make_batch("branch")
    batch = [
        replace(one, reference_weight=one.policy_weight, reference_logprobs=one.logprobs) for one in batch
    ]
    loss = Loss(policy=policy, entropy=0.1, kl="k3", kl_coefficient=0.3)
    found = []
    for packing in ("padded", "tree"):
        learner = make_learner(packing=packing)
        metrics = learner.forward_backward(batch, loss)
        found.append((metrics["loss"], learner.gradient()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-5 * np.abs(found[0][1]).max())


def test_tree_reads_shared_prefixes_once(make_learner: Learners, make_batch: Batches) -> None:
    batch = make_batch("same", supervised_weight=())
    tokens = {
        packing: make_learner(packing=packing).forward_backward(batch, Loss())["tokens"]
        for packing in ("rows", "tree")
    }
    assert tokens["tree"] <= 19
    assert tokens["rows"] > 2 * tokens["tree"]


def test_allowed_sets_and_temperature_match_the_definition(
    make_network: Callable[..., LlamaForCausalLM], make_learner: Learners, make_batch: Batches
) -> None:
    batch = []
    for one in make_batch("ragged"):
        allowed = {t: tuple({one.ids[t], (one.ids[t] + t) % 23, 3}) for t in range(1, len(one.ids), 2)}
        batch.append(replace(one, allowed=allowed, temperature=0.7))
    loss, gradient = reference(make_network(), batch)
    learner = make_learner()
    assert learner.forward_backward(batch, Loss())["loss"] == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(learner.gradient(), gradient, atol=1e-5 * np.abs(gradient).max())


def test_chunked_logits_change_nothing() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 30)
    hidden = torch.randn(40, 8)
    restricted = torch.arange(0, 40, 3)
    choices = Choices(
        targets=torch.arange(40) % 30,
        temperature=torch.linspace(0.5, 2.0, 40),
        restricted=restricted,
        allowed=torch.stack([restricted % 30, (restricted + 7) % 30], 1),
        valid=torch.ones(len(restricted), 2, dtype=torch.bool),
    )
    results = []
    for at_once in (10_000, 90, 1):
        source = hidden.clone().requires_grad_()
        head.zero_grad()
        logprobs, entropy = token_logprobs(head, source, 30, choices, entropy_gradient=True, at_once=at_once)
        (logprobs.sum() + 0.3 * entropy.square().sum()).backward()
        results.append((logprobs.detach(), entropy.detach(), source.grad, head.weight.grad.clone()))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0])


@pytest.mark.parametrize("aggregate", ["rollout", "token", "sum", "constant"])
def test_a_batch_split_over_calls_has_the_same_gradient(
    make_learner: Learners, make_batch: Batches, aggregate: str
) -> None:
    batch = [replace(one, rollout=f"r{at // 2}") for at, one in enumerate(make_batch("branch"))]
    loss = Loss(aggregate=aggregate, constant=7.0 if aggregate == "constant" else 1.0)
    once, split = make_learner(), make_learner()
    whole = once.forward_backward(batch, loss)["loss"]
    totals = totals_of(batch)
    parts = [split.forward_backward([one], loss, totals=totals)["loss"] for one in batch]
    assert sum(parts) == pytest.approx(whole, rel=1e-5)
    np.testing.assert_allclose(split.gradient(), once.gradient(), atol=1e-5 * np.abs(once.gradient()).max())


def test_metrics_before_the_first_update(make_learner: Learners, make_batch: Batches) -> None:
    learner = make_learner()
    batch = [
        replace(one, logprobs=scored.logprobs, supervised_weight=())
        for one, scored in zip(make_batch("ragged"), learner.score(make_batch("ragged")), strict=True)
    ]
    metrics = learner.forward_backward(batch, Loss())
    assert metrics["ratio_max"] == pytest.approx(1.0, abs=1e-4)
    assert metrics["approximate_kl"] == pytest.approx(0.0, abs=1e-5)
    assert metrics["clip_fraction"] == 0
    assert 0 < metrics["entropy"] < np.log(23)
    assert metrics["trained_tokens"] == sum(np.count_nonzero(one.policy_weight) for one in batch)


def test_policy_gradient_learns_the_rewarded_token(make_learner: Learners) -> None:
    learner = make_learner()
    rng = random.Random(0)
    good = [Sample(ids=(1, 2, 3, 4), policy_weight=(0, 0, 0, 1), rollout="good")]
    before = learner.score(good)[0].logprobs[3]
    for _ in range(20):
        batch = []
        for token in (4, rng.randrange(5, 23)):
            sample = Sample(
                ids=(1, 2, 3, token), policy_weight=(0, 0, 0, 1), advantage=(0, 0, 0, 1 if token == 4 else -1)
            )
            batch.append(replace(sample, logprobs=learner.score([sample])[0].logprobs))
        learner.forward_backward(batch, Loss())
        learner.optim_step(learning_rate=1e-2)
    assert learner.updates == 20
    assert learner.score(good)[0].logprobs[3] > max(before, -0.1)


def test_groups_without_advantage_are_not_computed(make_learner: Learners, make_batch: Batches) -> None:
    batch = [
        replace(one, advantage=(0.0,) * len(one.ids), supervised_weight=()) for one in make_batch("ragged")
    ]
    learner = make_learner()
    metrics = learner.forward_backward(batch, Loss())
    assert (metrics["tokens"], metrics["idle_samples"]) == (0, len(batch))
    assert learner.optim_step(learning_rate=0.1)["updated"] == 0
    assert learner.forward_backward(batch, Loss(entropy=0.1))["tokens"] > 0


def test_gradient_norm_is_reported_before_clipping(make_learner: Learners, make_batch: Batches) -> None:
    learner = make_learner(clip_norm=1e-3)
    learner.forward_backward(make_batch("ragged"), Loss())
    norm = float(np.linalg.norm(learner.gradient()))
    assert learner.optim_step(learning_rate=0.0)["grad_norm"] == pytest.approx(norm, rel=1e-5)


def test_value_head_learns_its_targets(make_learner: Learners) -> None:
    learner = make_learner(value_head=True)
    rows = [(1, 2, 3, 4), (5, 6, 7)]
    batch = [
        Sample(ids=ids, value_weight=(0.0, *(1.0,) * (len(ids) - 1)), value_target=(target,) * len(ids))
        for ids, target in zip(rows, (2.0, -1.0), strict=True)
    ]
    assert learner.score(batch)[0].values == (0.0,) * 4
    for _ in range(60):
        learner.forward_backward(batch, Loss(value=1.0))
        learner.optim_step(learning_rate=2e-2)
    one, two = (scored.values for scored in learner.score(batch))
    assert one is not None
    assert two is not None
    np.testing.assert_allclose(one[1:], 2.0, atol=0.1)
    np.testing.assert_allclose(two[1:], -1.0, atol=0.1)


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_other_families_pack_as_well(make_batch: Batches, family: str) -> None:
    def network() -> GPT2LMHeadModel | Qwen3ForCausalLM:
        torch.manual_seed(1)
        if family == "gpt2":
            return GPT2LMHeadModel(GPT2Config(vocab_size=23, n_embd=16, n_layer=2, n_head=2, n_positions=128))
        shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8}
        return Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=23, num_attention_heads=2, num_key_value_heads=1, use_sliding_window=False, **shape
            )
        )

    gradients = []
    for packing in ("padded", "tree"):
        learner = LocalLearner(network(), options=LocalOptions(packing=packing, least_shared=1))
        learner.forward_backward(make_batch("branch"), Loss())
        gradients.append(learner.gradient())
    np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-5 * np.abs(gradients[0]).max())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("shape", ["prompt", "branch", "same"])
def test_dense_masks_and_branches_give_the_same_hidden_states(
    make_network: Callable[..., LlamaForCausalLM], make_batch: Batches, attention: str, shape: str
) -> None:
    """What a GPU computes with a mask, the processor computes branch by branch; the setting is put back."""
    network = make_network()
    network.set_attn_implementation(attention)
    rows = [np.array(one.ids) for one in make_batch(shape)]
    parts = parts_of(network)
    for packed in pack(rows, packing="tree", tokens_per_batch=40):
        with torch.no_grad():
            exact, dense = (hidden_states(parts, packed, dense=dense) for dense in (False, True))
            for member, cells in zip(packed.members, packed.cells, strict=True):
                alone = network.model(input_ids=torch.from_numpy(rows[member])[None]).last_hidden_state[0]
                torch.testing.assert_close(exact[cells], alone, rtol=1e-4, atol=1e-4)
                torch.testing.assert_close(dense[cells], alone, rtol=1e-4, atol=1e-4)
    assert network.config._attn_implementation == attention


def test_branch_attention_has_the_gradient_of_the_definition() -> None:
    """In double precision, with shared key heads, over more than one block."""
    torch.manual_seed(0)
    trunk = np.arange(150)
    rows = [
        np.concatenate([trunk[:cut], np.full(130 - at, 1000 + at)]) for at, cut in enumerate((150, 120, 7))
    ]
    (packed,) = pack(rows, packing="tree", tokens_per_batch=1000)
    size = packed.ids.shape[1]
    states = [torch.randn(1, heads, size, 8, dtype=torch.double, requires_grad=True) for heads in (4, 2, 2)]
    weight = torch.randn(1, size, 4, 8, dtype=torch.double)
    assert packed.ends is not None
    mask = visible(torch.from_numpy(packed.ends))
    expected = torch.nn.functional.scaled_dot_product_attention(*states, attn_mask=mask, enable_gqa=True)
    slopes = torch.autograd.grad((expected.transpose(1, 2) * weight).sum(), states)
    found, _ = attend(torch.nn.Identity(), *states, None, runs=packed.runs)
    torch.testing.assert_close(found, expected.transpose(1, 2))
    for one, other in zip(torch.autograd.grad((found * weight).sum(), states), slopes, strict=True):
        torch.testing.assert_close(one, other)


def test_sliding_windows_refuse_trees() -> None:
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen3Config(
        vocab_size=23,
        num_key_value_heads=1,
        head_dim=8,
        use_sliding_window=True,
        sliding_window=4,
        max_window_layers=1,
        **shape,
    )
    with pytest.raises(LearnerError, match="sliding_attention"):
        LocalLearner(Qwen3ForCausalLM(config), options=LocalOptions(packing="tree", least_shared=1))
    LocalLearner(Qwen3ForCausalLM(config), options=LocalOptions(packing="rows"))


def test_a_network_with_scaled_logits_is_refused(make_network: Callable[..., LlamaForCausalLM]) -> None:
    class Scaled(LlamaForCausalLM):
        def forward(self, *args: object, **kwargs: object) -> object:
            output = super().forward(*args, **kwargs)
            output.logits = output.logits / 8
            return output

    with pytest.raises(LearnerError, match="soft cap or a scale"):
        LocalLearner(Scaled(make_network().config))


@pytest.mark.parametrize("wrapped", [True, False])
def test_lora_trains_adapters_only(
    make_network: Callable[..., LlamaForCausalLM], make_batch: Batches, wrapped: bool
) -> None:
    """Both the peft wrapper and the network that it put adapters into can be trained."""
    network = make_network()
    config = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    adapter = get_peft_model(network, config)
    base = {name: p.detach().clone() for name, p in network.named_parameters() if not p.requires_grad}
    learner = LocalLearner(
        adapter if wrapped else network, options=LocalOptions(packing="tree", least_shared=1)
    )
    batch = make_batch("branch")
    untouched = LocalLearner(make_network()).score(batch)
    np.testing.assert_allclose(learner.score(batch)[0].logprobs, untouched[0].logprobs, atol=1e-5)
    learner.forward_backward(batch, Loss())
    assert learner.optim_step(learning_rate=1e-2)["updated"] == 1
    after = dict(network.named_parameters())
    assert base
    for name, value in base.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=0)
    assert learner.score(batch) != untouched


@pytest.mark.parametrize("packing", ["rows", "tree"])
def test_bfloat16_points_the_same_way(make_learner: Learners, make_batch: Batches, packing: str) -> None:
    gradients = []
    for bf16 in (False, True):
        learner = make_learner(packing=packing, bf16=bf16)
        learner.forward_backward(make_batch("branch"), Loss(policy="reinforce"))
        gradients.append(learner.gradient().astype(np.float64))
    cosine = gradients[0] @ gradients[1] / np.linalg.norm(gradients[0]) / np.linalg.norm(gradients[1])
    assert 0.99 < cosine < 1.0 - 1e-9


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"packing": "trees"}, "Did you mean 'tree'"),
        ({"clip_norm": -1.0}, "clip_norm"),
        ({"beta2": 1.0}, "beta2"),
    ],
)
def test_options_out_of_range_are_refused(
    make_learner: Learners, options: dict[str, object], word: str
) -> None:
    with pytest.raises(ConfigError, match=word):
        make_learner(**options)


def test_a_frozen_copy_keeps_its_scores(make_learner: Learners, make_batch: Batches) -> None:
    learner, batch = make_learner(), make_batch("ragged")
    reference_learner = learner.freeze()
    before = learner.score(batch)
    learner.forward_backward(batch, Loss())
    learner.optim_step(learning_rate=1e-2)
    assert reference_learner.score(batch) == before
    assert learner.score(batch) != before


def test_numbers_that_are_not_finite_name_the_rollout_and_change_nothing(
    make_learner: Learners, make_batch: Batches
) -> None:
    learner, batch = make_learner(), make_batch("ragged")
    before = learner.score(batch)
    bad = replace(batch[1], advantage=(*batch[1].advantage[:-1], float("inf")))
    with pytest.raises(LearnerError, match="'r1'"):
        learner.forward_backward([batch[0], bad], Loss())
    huge = replace(batch[1], supervised_weight=(0.0,) + (3e38,) * (len(batch[1].ids) - 1))
    learner.forward_backward([batch[0]], Loss())
    with pytest.raises(LearnerError, match=r"not finite in sample 1 \(rollout 'r1'"):
        learner.forward_backward([batch[0], huge], Loss(aggregate="constant"))
    assert not learner.gradient().any()
    assert learner.score(batch) == before


@pytest.mark.parametrize(
    ("act", "word"),
    [
        (lambda learner: learner.optim_step(learning_rate=1e-3), "without forward_backward"),
        (lambda learner: learner.sampler(), "make_sampler"),
        (lambda learner: learner.score([Sample(ids=(1, 23))]), "id 23 is not in the vocabulary of 23"),
        (lambda learner: learner.score([Sample(ids=(1,) * 129)]), "129 tokens.*at most 128"),
        (lambda learner: learner.forward_backward([], Loss(value=1.0)), "value head"),
    ],
)
def test_what_cannot_be_done_is_refused(
    make_learner: Learners, act: Callable[[LocalLearner], object], word: str
) -> None:
    with pytest.raises(LearnerError, match=word):
        act(make_learner())
