"""Golden numbers of dual-clip PPO and the KL estimators, and what each policy loss promises."""

from __future__ import annotations

import pytest
import torch

from everystep.core.errors import ConfigError
from everystep.core.protocols import Loss
from everystep.core.records import Sample
from everystep.learn.losses import check_loss, kl_terms, policy_terms
from everystep.learn.streams import coefficients, streams_of, totals_of

OLD = torch.tensor([-1.0, -1.0, -1.0, -1.0])
NEW = torch.tensor([-0.5, -1.5, 0.5, -1.05])
ADVANTAGE = torch.tensor([1.0, 1.0, -1.0, -1.0])
GOLDEN = Sample(ids=(9, 1, 2, 3, 4), policy_weight=(0.0, 1.0, 1.0, 1.0, 0.0))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (Loss(dual_clip=3.0, aggregate="token"), 0.397823),
        (Loss(dual_clip=3.0, aggregate="rollout"), 0.397823),
        (Loss(dual_clip=3.0, aggregate="sum"), 1.193469),
        (Loss(dual_clip=3.0, aggregate="constant", constant=4.0), 0.298367),
    ],
)
def test_dual_clip_golden(loss: Loss, expected: float) -> None:
    terms = policy_terms(NEW, OLD, ADVANTAGE, loss)
    rows = streams_of([GOLDEN])
    weight = torch.from_numpy(coefficients(rows, "policy", loss, totals_of([GOLDEN]))[0][1:])
    assert float((weight * terms.loss).sum()) == pytest.approx(expected, abs=1e-6)


def test_dual_clip_diagnostics_golden() -> None:
    terms = policy_terms(NEW[:3], OLD[:3], ADVANTAGE[:3], Loss(dual_clip=3.0))
    assert float(terms.clipped.float().mean()) == pytest.approx(1 / 3)
    assert float(terms.dual_clipped.float().mean()) == pytest.approx(1 / 3)
    assert float((OLD - NEW)[:3].mean()) == pytest.approx(-0.5)


def test_kl_golden() -> None:
    new, reference = torch.tensor([-1.0, -2.0]), torch.tensor([-1.2, -1.5])
    assert kl_terms("k1", new, reference).tolist() == pytest.approx([0.2, -0.5])
    assert kl_terms("k2", new, reference).tolist() == pytest.approx([0.02, 0.125])
    assert kl_terms("k3", new, reference).tolist() == pytest.approx([0.018731, 0.148721], abs=1e-6)


@pytest.mark.parametrize("policy", ["ppo", "cispo", "gspo", "step", "importance", "reinforce"])
def test_gradient_on_policy_is_minus_advantage(policy: str) -> None:
    """At new = old every policy loss has the same gradient, so methods differ off policy only."""
    new = OLD.clone().requires_grad_()
    segment = torch.tensor([0, 0, 1, 1])
    terms = policy_terms(new, OLD, ADVANTAGE, Loss(policy=policy), segment=segment, segments=2)
    terms.loss.sum().backward()
    assert new.grad is not None
    torch.testing.assert_close(new.grad, -ADVANTAGE)
    torch.testing.assert_close(terms.ratio, torch.ones(4))


def test_ppo_stops_the_gradient_of_clipped_tokens_only() -> None:
    new = NEW.clone().requires_grad_()
    policy_terms(new, OLD, ADVANTAGE, Loss(dual_clip=3.0)).loss.sum().backward()
    assert new.grad is not None
    assert (new.grad != 0).tolist() == [False, True, False, True]


def test_preserved_gradients_of_clipped_tokens_are_shares_of_the_bound() -> None:
    """Ratios 1.5 and 0.6 with the sign that is clipped, and 1.1 and 0.6 with one that is not."""
    advantage = torch.tensor([2.0, -2.0, 2.0, 2.0])
    start = torch.tensor([1.5, 0.6, 1.1, 0.6]).log() - 1.0
    plain, kept = (start.clone().requires_grad_() for _ in range(2))
    usual = policy_terms(plain, OLD, advantage, Loss(clip_high=0.28))
    terms = policy_terms(kept, OLD, advantage, Loss(clip_high=0.28, keep_above=0.5, keep_below=0.25))
    torch.testing.assert_close(terms.loss, usual.loss)
    usual.loss.sum().backward()
    terms.loss.sum().backward()
    assert plain.grad is not None
    assert kept.grad is not None
    assert plain.grad.tolist() == pytest.approx([0.0, 0.0, -2.2, -1.2])
    assert kept.grad.tolist() == pytest.approx([-0.5 * 1.28 * 2.0, 0.25 * 0.8 * 2.0, -2.2, -1.2])


def test_cispo_keeps_the_gradient_of_clipped_tokens() -> None:
    new = NEW.clone().requires_grad_()
    policy_terms(new, OLD, ADVANTAGE, Loss(policy="cispo", clip_low=1.0, clip_high=0.2)).loss.sum().backward()
    ratio = (NEW - OLD).exp().clamp(max=1.2)
    torch.testing.assert_close(new.grad, -ADVANTAGE * ratio)


def test_segment_ratio_is_the_geometric_mean_of_its_tokens() -> None:
    terms = policy_terms(
        NEW, OLD, ADVANTAGE, Loss(policy="step"), segment=torch.tensor([0, 0, 1, 1]), segments=2
    )
    expected = torch.tensor([0.0, 0.0, 0.725, 0.725]).exp()
    torch.testing.assert_close(terms.ratio, expected)


def test_extreme_ratios_stay_finite() -> None:
    new = torch.tensor([0.0, -1e4], requires_grad=True)
    terms = policy_terms(new, torch.tensor([-1e4, 0.0]), torch.tensor([-1.0, 1.0]), Loss(policy="importance"))
    terms.loss.sum().backward()
    assert new.grad is not None
    assert torch.isfinite(terms.loss).all()
    assert torch.isfinite(new.grad).all()


@pytest.mark.parametrize(
    ("loss", "word"),
    [
        (Loss(policy="poo"), "ppo"),
        (Loss(aggregate="tokens"), "token"),
        (Loss(kl="k4", kl_coefficient=0.1), "k3"),
        (Loss(kl="k3"), "kl_coefficient"),
        (Loss(kl_coefficient=0.1), "estimator"),
        (Loss(policy="cispo", dual_clip=3.0), "dual_clip"),
        (Loss(dual_clip=0.5), "dual_clip"),
        (Loss(policy="cispo", keep_above=0.5), "keep_above"),
        (Loss(keep_below=-0.5), "keep_below"),
        (Loss(clip_low=1.5), "clip_low"),
        (Loss(constant=3.0), "constant"),
        (Loss(aggregate="constant", constant=0.0), "constant"),
        (Loss(supervised=-1.0), "supervised"),
    ],
)
def test_a_loss_that_makes_no_sense_is_refused(loss: Loss, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        check_loss(loss)
