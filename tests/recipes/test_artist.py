"""ARTIST: what tools wrote is context, its gradient is zero, and without calls nothing differs from GRPO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from everystep.core.errors import ConfigError, LearnerError
from everystep.core.protocols import Loss, Sampling
from everystep.core.records import Sample, SpanKind, Trajectory
from everystep.core.trace import Kind
from everystep.credit.assess import assess
from everystep.credit.estimators import estimator
from everystep.environments.tooluse.toolchain import ToolChain
from everystep.learn.learner import LocalLearner
from everystep.learn.losses import policy_terms
from everystep.learn.samples import sample_of, supervised_sample, with_logprobs
from everystep.learn.setup import texts_of
from everystep.models.local import LocalModel, LocalSampler
from everystep.models.scripted import Scripted
from everystep.models.tiny import tiny_model
from everystep.recipes import artist
from everystep.run.demonstrate import demonstrator, with_tokens
from everystep.run.folder import create
from everystep.run.hosts import LocalHosts
from everystep.run.journal import Journal
from everystep.run.rollout import Limits, jobs_of, rollout

WORLD = ToolChain(turns=3, fewest=1, digits=3, answers=4, choices=4, shown=True, partial=0)
LOSS = Loss(policy="ppo", aggregate="token")


@pytest.fixture(scope="module")
def model() -> LocalModel:
    hosts = LocalHosts(WORLD)
    tasks = [WORLD.task("train", index) for index in range(20)]
    teacher = demonstrator(hosts, error_rate=0.5)
    jobs = jobs_of(tasks, group_size=1, prefix="d", seed=0)
    shown = rollout(hosts, teacher, jobs, sampling=Sampling(), limits=Limits(max_steps=8))
    return tiny_model(sorted(texts_of(shown)), size="0.02M", seed=0)


@pytest.fixture(scope="module")
def batch(model: LocalModel) -> list[Trajectory]:
    """Groups of the model's own episodes; several call a tool and read its output."""
    tasks = [WORLD.task("train", 100 + index) for index in range(6)]
    return rollout(
        LocalHosts(WORLD),
        LocalSampler(model),
        jobs_of(tasks, group_size=4, prefix="b", seed=1),
        sampling=Sampling(),
        limits=Limits(max_steps=8),
    )


def samples_of(
    batch: Sequence[Trajectory], credit: Sequence[float], *, tool_output: bool = False
) -> list[Sample]:
    out, at = [], 0
    for one in batch:
        out.append(sample_of(one, credit[at : at + len(one.steps)], tool_output=tool_output))
        at += len(one.steps)
    return out


def tool_places(trajectory: Trajectory) -> list[int]:
    """Positions of tool output in the trajectory's row."""
    places, at = [], 0
    for step in trajectory.steps:
        assert step.tokens is not None
        for span in step.tokens.spans:
            if span.kind is SpanKind.TOOL:
                places += range(at + span.start, at + span.end)
        at += len(step.tokens.ids)
    return places


def random_credit(batch: Sequence[Trajectory]) -> list[float]:
    rng = np.random.default_rng(0)
    return rng.normal(size=sum(len(one.steps) for one in batch)).tolist()


def by_hand(model: LocalModel, samples: Sequence[Sample]) -> tuple[np.ndarray, list[torch.Tensor]]:
    """The same loss written over the whole row's logits: its gradient in the weights, and in each row's logits."""
    network = model.network
    network.zero_grad()
    total = sum(sum(one.policy_weight) for one in samples)
    loss, kept = torch.zeros(()), []
    for one in samples:
        logits = network(input_ids=torch.tensor([one.ids])).logits[0]
        logits.retain_grad()
        kept.append(logits)
        for at, weight in enumerate(one.policy_weight):
            if not weight:
                continue
            ids = list((one.allowed or {}).get(at, range(logits.shape[1])))
            new = torch.log_softmax(logits[at - 1, ids], -1)[ids.index(one.ids[at])]
            terms = policy_terms(
                new[None], torch.tensor([one.logprobs[at]]), torch.tensor([one.advantage[at]]), LOSS
            )
            loss = loss + weight * terms.loss.sum() / total
    loss.backward()
    weights = [
        (torch.zeros_like(p) if p.grad is None else p.grad).flatten()
        for p in network.parameters()
        if p.requires_grad
    ]
    gradient = torch.cat(weights).numpy().copy()
    network.zero_grad()
    return gradient, [one.grad for one in kept if one.grad is not None]


def test_tool_output_is_a_tool_s_message_with_its_exact_tokens(
    model: LocalModel, batch: list[Trajectory]
) -> None:
    found = 0
    for one in batch:
        row = [token for step in one.steps for token in step.tokens.ids]  # type: ignore[union-attr]
        told = [
            token
            for before, after in zip(one.steps, one.steps[1:], strict=False)
            if before.action.calls
            for token in model.template.encode(after.observation.text)
        ]
        assert [row[at] for at in tool_places(one)] == told
        found += len(told)
    assert found > 20


def test_the_gradient_in_the_logits_of_tool_output_is_exactly_zero(
    model: LocalModel, batch: list[Trajectory]
) -> None:
    samples = samples_of(batch, random_credit(batch))
    model.network.zero_grad()
    learner = LocalLearner(model.network)
    learner.forward_backward(samples, LOSS)
    got = learner.gradient()
    wanted, logits = by_hand(model, samples)
    np.testing.assert_allclose(got, wanted, atol=2e-5 * np.abs(wanted).max())
    trained = 0.0
    for one, grad in zip(batch, logits, strict=True):
        before = [at - 1 for at in tool_places(one)]
        assert not grad[before].any()
        trained += float(grad.abs().sum())
    assert trained > 0


def test_without_the_mask_tool_output_is_trained_at_ratio_one(
    model: LocalModel, batch: list[Trajectory]
) -> None:
    credit = random_credit(batch)
    masked, open_ = samples_of(batch, credit), samples_of(batch, credit, tool_output=True)
    model.network.zero_grad()
    learner = LocalLearner(model.network)
    with pytest.raises(LearnerError, match="nan"):
        learner.forward_backward(open_, LOSS)  # nobody has sampled these tokens, so there is no ratio
    scored = learner.score([replace(one, logprobs=()) for one in open_])
    filled = [with_logprobs(one, two.logprobs) for one, two in zip(open_, scored, strict=True)]
    for trajectory, one, two in zip(batch, masked, filled, strict=True):
        changed = [at for at in range(len(one.ids)) if one.policy_weight[at] != two.policy_weight[at]]
        assert changed == tool_places(trajectory)
        assert all(two.policy_weight[at] == 1.0 and two.logprobs[at] < 0 for at in changed)
        assert all(two.step_of[at] == two.step_of[at + 1] or two.step_of[at + 1] == -1 for at in changed)
    metrics = learner.forward_backward(filled, LOSS)
    assert metrics["ratio_max"] == pytest.approx(1.0, abs=1e-3)
    grown = learner.gradient()
    np.testing.assert_allclose(grown, by_hand(model, filled)[0], atol=2e-5 * np.abs(grown).max())


def test_other_tool_output_changes_what_follows_but_not_what_is_trained(
    model: LocalModel, batch: list[Trajectory]
) -> None:
    one = next(one for one in batch if tool_places(one))
    sample = sample_of(one, [1.0] * len(one.steps))
    at = tool_places(one)[-1]
    other = next(token for token in model.template.encode("1 2 3") if token != sample.ids[at])
    changed = replace(sample, ids=(*sample.ids[:at], other, *sample.ids[at + 1 :]))
    assert changed.policy_weight == sample.policy_weight
    two, three = LocalLearner(model.network).score([sample, changed])
    later = [place for place in range(at + 1, len(sample.ids)) if sample.policy_weight[place]]
    assert later
    assert any(two.logprobs[place] != three.logprobs[place] for place in later)
    assert two.logprobs[:at] == pytest.approx(three.logprobs[:at], abs=1e-5)


def test_without_calls_it_is_plain_grpo(model: LocalModel) -> None:
    world = replace(WORLD, tools=False)
    batch = rollout(
        LocalHosts(world),
        LocalSampler(model),
        jobs_of([world.task("train", index) for index in range(8)], group_size=4, prefix="n", seed=2),
        sampling=Sampling(),
        limits=Limits(max_steps=8),
    )
    assert not any(step.action.calls for one in batch for step in one.steps)
    _, plain = assess(batch, estimator("grpo"))
    _, credit = assess(batch, estimator("grpo"), parts=artist.Config().parts)
    np.testing.assert_allclose(credit.value_S, plain.value_S, atol=1e-9)
    assert np.abs(plain.value_S).max() > 0
    grpo = samples_of(batch, plain.value_S.tolist())
    assert samples_of(batch, plain.value_S.tolist(), tool_output=True) == grpo
    losses = []
    for samples in (grpo, samples_of(batch, credit.value_S.tolist())):
        model.network.zero_grad()
        learner = LocalLearner(model.network)
        losses.append((learner.forward_backward(samples, LOSS)["policy_loss"], learner.gradient()))
    assert losses[0][0] == pytest.approx(losses[1][0], abs=1e-7)
    np.testing.assert_allclose(losses[0][1], losses[1][1], atol=1e-7)


def test_the_reward_is_answer_plus_format_plus_the_share_of_calls_that_ran() -> None:
    world = ToolChain(turns=1, mode="free", partial=0)
    answers = {
        "b.0.0": ["call lookup ( item = nothing )", "call add ( a = 1 , b = 2 )", "ANSWER"],  # 1 + 1 + 1/2
        "b.0.1": ["what ?", "answer 1"],  # 0 + 1/2 + 0
        "b.0.2": ["ANSWER"],  # 1 + 1 + 0
        "b.0.3": ["call add ( a = 1 , b = 2 )", "answer 1"],  # 0 + 1 + 1
    }
    task = world.task("train", 0)
    right = f"answer {task.reference}"

    script = {name: [right if one == "ANSWER" else one for one in some] for name, some in answers.items()}
    batch = rollout(
        LocalHosts(world),
        Scripted(script),
        jobs_of([task], group_size=4, prefix="b", seed=0),
        sampling=Sampling(),
        limits=Limits(max_steps=8),
    )
    table, _ = assess(batch, estimator("grpo"), parts=artist.Config().parts)
    assert [float(table.outcome_S[table.trajectory_S == n][0]) for n in range(4)] == [2.5, 0.5, 2.0, 2.0]


def test_demonstrations_have_the_tool_role_too(model: LocalModel, batch: list[Trajectory]) -> None:

    one = next(one for one in batch if tool_places(one))
    again = with_tokens(one, model.template)
    assert tool_places(again) == tool_places(one)
    assert supervised_sample(again).ids == sample_of(one, [0.0] * len(one.steps)).ids


@pytest.mark.parametrize("masked", [True, False])
def test_the_recipe_trains(tmp_path: Path, masked: bool) -> None:
    config = artist.Config(
        model="tiny:0.02M",
        demonstrations=30,
        turn_updates=0,
        warm_updates=2,
        iterations=1,
        tasks=3,
        group_size=4,
        test_tasks=4,
        mask_tool_output=masked,
    )
    folder = create(tmp_path / "run", recipe="artist", options=asdict(config), version="test")
    numbers = artist.run(config, folder)
    assert 0.0 <= numbers["heldout_success"] <= 1.0
    with Journal.read(folder.journal) as journal:
        row = next(
            event.body for event in journal.events(kinds=(Kind.METRICS,)) if event.body["phase"] == "train"
        )
    assert row["updated"] == 1.0
    assert row["first_ratio_max"] == pytest.approx(1.0, abs=1e-3)


def test_worlds_without_tools_need_the_table_and_answers() -> None:
    with pytest.raises(ConfigError, match="must be shown"):
        ToolChain(tools=False, answers=4)
    with pytest.raises(ConfigError, match="answers is 1"):
        ToolChain(answers=1)
