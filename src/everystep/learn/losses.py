"""Losses as functions of per-token log-probabilities. They know no method; a method is what fills the streams.

Arrays are ``[N]``: the trained tokens of a micro-batch. Every function returns one number a token;
weights and normalisers are applied by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.protocols import Loss

POLICIES = ("ppo", "cispo", "gspo", "step", "importance", "reinforce")
AGGREGATES = ("rollout", "token", "sum", "constant")
KLS = ("none", "k1", "k2", "k3")
PREFERENCES = ("none", "sigmoid", "ipo", "hinge", "kto")

_MAX_LOG_RATIO = 20.0  # exp of more overflows in half precision and says nothing more


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTerms:
    """Per token ``[N]``: the loss, the ratio it used, and whether a clip or the dual clip took its gradient."""

    loss: Tensor
    ratio: Tensor
    clipped: Tensor
    dual_clipped: Tensor


def check_loss(loss: Loss) -> None:
    """Raise ``ConfigError`` for an unknown name, a number out of range, or options that contradict each other."""
    for field, value, known in (
        ("policy", loss.policy, POLICIES),
        ("aggregate", loss.aggregate, AGGREGATES),
        ("kl", loss.kl, KLS),
        ("preference", loss.preference, PREFERENCES),
    ):
        if value not in known:
            raise ConfigError(f"loss.{field}={value!r} is unknown. {did_you_mean(value, known)}")
    if not 0 <= loss.clip_low <= 1 or loss.clip_high < 0:
        raise ConfigError(
            f"clip_low={loss.clip_low!r}, clip_high={loss.clip_high!r}: expected 0 <= clip_low <= 1 and clip_high >= 0."
        )
    if loss.dual_clip and (loss.policy not in ("ppo", "gspo", "step") or loss.dual_clip <= 1):
        raise ConfigError(
            f"dual_clip={loss.dual_clip!r} with policy={loss.policy!r}: it must be above 1 and needs ppo, gspo or step."
        )
    keeps = loss.keep_above or loss.keep_below
    if min(loss.keep_above, loss.keep_below) < 0 or (keeps and loss.policy not in ("ppo", "gspo", "step")):
        raise ConfigError(
            f"keep_above={loss.keep_above!r}, keep_below={loss.keep_below!r} with policy={loss.policy!r}: "
            "they must be 0 or more and need ppo, gspo or step."
        )
    if (loss.kl == "none") != (loss.kl_coefficient == 0):
        raise ConfigError(
            f"kl={loss.kl!r} with kl_coefficient={loss.kl_coefficient!r}: name an estimator and give it a weight, or neither."
        )
    if loss.aggregate == "constant" and not loss.constant > 0:
        raise ConfigError(f"constant={loss.constant!r}: expected above 0.")
    if loss.aggregate != "constant" and loss.constant != 1.0:
        raise ConfigError(f"constant={loss.constant!r} has no effect with aggregate={loss.aggregate!r}.")
    for field, number in (
        ("supervised", loss.supervised),
        ("value", loss.value),
        ("kl_coefficient", loss.kl_coefficient),
        ("avoid", loss.avoid),
    ):
        if number < 0:
            raise ConfigError(f"{field}={number!r}: expected 0 or more. Put the sign into the weights.")
    _check_preference(loss)


def _check_preference(loss: Loss) -> None:
    kind, plain = loss.preference, Loss()
    if not loss.preference_beta > 0:
        raise ConfigError(f"preference_beta={loss.preference_beta!r}: expected above 0.")
    if not 0 <= loss.preference_smoothing < 0.5:
        raise ConfigError(
            f"preference_smoothing={loss.preference_smoothing!r}: expected 0 or more, below 0.5."
        )
    for field, number, usual, kinds in (
        ("beta", loss.preference_beta, plain.preference_beta, PREFERENCES[1:]),
        ("reference", loss.preference_reference, plain.preference_reference, PREFERENCES[1:]),
        ("offset", loss.preference_offset, plain.preference_offset, ("sigmoid", "hinge", "kto")),
        ("smoothing", loss.preference_smoothing, plain.preference_smoothing, ("sigmoid",)),
    ):
        if number != usual and kind not in kinds:
            raise ConfigError(f"preference_{field}={number!r} has no effect with preference={kind!r}.")


def policy_terms(
    new: Tensor,
    old: Tensor,
    advantage: Tensor,
    loss: Loss,
    *,
    segment: Tensor | None = None,
    segments: int = 0,
) -> PolicyTerms:
    """Return the policy loss of each token.

    ``ppo`` (Schulman et al. 2017, eq. 7): ``max(-A r, -A clip(r))``; where ``A < 0`` at most ``-dual_clip A``
    (Ye et al. 2020, dual clip). With ``keep_above`` or ``keep_below`` a clipped token keeps that share of the gradient that it has at the bound,
    ``-b clip(r) A`` times that of ``log p``, its loss being the same (gradient-preserving clipping, Su et al. 2025, arXiv:2508.07629; Step-GUI). ``cispo`` (MiniMax 2025): ``-sg(clip(r)) A log p``. ``gspo`` and ``step`` use one
    ratio a segment, the geometric mean of its tokens' ratios, with the gradient of each token's own
    log-probability (GSPO-token, Zheng et al. 2025, eq. 14), so that credit may differ inside a segment. ``importance``: ``-A r``.
    ``reinforce``: ``-A log p``. ``segment`` numbers the segment of each token, ``segments`` counts them.
    """
    no = torch.zeros_like(new, dtype=torch.bool)
    if loss.policy == "reinforce":
        return PolicyTerms(loss=-advantage * new, ratio=torch.ones_like(new), clipped=no, dual_clipped=no)
    log_ratio = (new - old).clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)
    if loss.policy in ("gspo", "step"):
        if segment is None:
            raise ConfigError(f"the policy loss {loss.policy!r} needs the segment of every token.")
        log_ratio = _segment_mean(log_ratio.detach(), segment, segments) + (new - new.detach())
    ratio = log_ratio.exp()
    clip = ratio.clamp(1.0 - loss.clip_low, 1.0 + loss.clip_high)
    if loss.policy == "importance":
        return PolicyTerms(loss=-advantage * ratio, ratio=ratio.detach(), clipped=no, dual_clipped=no)
    if loss.policy == "cispo":
        value = -clip.detach() * advantage * new
        return PolicyTerms(
            loss=value, ratio=ratio.detach(), clipped=clip.detach() != ratio.detach(), dual_clipped=no
        )
    free, bound = -advantage * ratio, -advantage * clip
    value, clipped, dual = torch.maximum(free, bound), (bound > free).detach(), no
    if loss.keep_above or loss.keep_below:
        share = torch.where(ratio > clip, loss.keep_above, loss.keep_below).detach()
        kept = share * bound.detach() * log_ratio
        value = torch.where(clipped, value + kept - kept.detach(), value)
    if loss.dual_clip:
        limit = -loss.dual_clip * advantage
        dual = ((advantage < 0) & (value > limit)).detach()
        value = torch.where(dual, limit, value)
    return PolicyTerms(loss=value, ratio=ratio.detach(), clipped=clipped, dual_clipped=dual)


def _segment_mean(value: Tensor, segment: Tensor, segments: int) -> Tensor:
    total = value.new_zeros(segments).index_add_(0, segment, value)
    count = value.new_zeros(segments).index_add_(0, segment, torch.ones_like(value))
    return (total / count.clamp(min=1.0))[segment]


def kl_terms(kind: str, new: Tensor, reference: Tensor) -> Tensor:
    """Return the divergence from the reference, one estimate a sampled token (Schulman 2020, "Approximating KL").

    ``k1``: ``log p - log q`` (its expected gradient is zero on policy: use it for watching). ``k2``: half its square.
    ``k3``: ``q/p - log(q/p) - 1``, clamped to [-10, 10] as verl does.

    >>> terms = kl_terms("k3", torch.tensor([-1.0, -2.0]), torch.tensor([-1.2, -1.5]))
    >>> [round(float(one), 6) for one in terms]
    [0.018731, 0.148721]
    """
    gap = (new - reference).clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)
    if kind == "k1":
        return gap
    if kind == "k2":
        return 0.5 * gap.square()
    if kind == "k3":
        return (torch.exp(-gap) + gap - 1.0).clamp(-10.0, 10.0)
    raise ConfigError(f"kl={kind!r} is unknown. {did_you_mean(kind, KLS)}")


def preference_terms(kind: str, margin: Tensor, loss: Loss, *, good: Tensor | None = None) -> Tensor:
    """Return the loss of each pair ``[P]`` from its ``margin`` ``h``, the weighted log-ratio of both sides.

    With ``b`` = ``preference_beta``, ``o`` = ``preference_offset``, ``u = b h - o`` and ``e`` = ``preference_smoothing``:
    ``sigmoid``: ``-(1 - e) log s(u) - e log s(-u)`` (DPO, Rafailov et al. 2023, eq. 7; smoothed: Mitchell 2023, cDPO; with ``o`` and without a
    reference: SimPO, Meng et al. 2024, eq. 6). ``ipo``: ``(h - 1 / (2 b))^2`` (Azar et al. 2023, eq. 17). ``hinge``: ``max(0, 1 - u)`` (SLiC,
    Zhao et al. 2023). ``kto``: ``1 - s(b h -+ o)``, minus where the sample is ``good`` and plus where it is bad (Ethayarajh et al. 2024, eq. 8, with ``o``
    its reference point ``b z``, which the caller estimates).

    >>> terms = preference_terms("sigmoid", torch.tensor([5.0, 14.0]), Loss(preference="sigmoid", preference_beta=0.05))
    >>> [round(float(one), 6) for one in terms]
    [0.575939, 0.403186]
    """
    scaled = loss.preference_beta * margin
    if kind == "ipo":
        return (margin - 0.5 / loss.preference_beta).square()
    if kind == "kto":
        if good is None:
            raise ConfigError("the preference loss 'kto' needs to know which samples are good.")
        offset = torch.where(good, loss.preference_offset, -loss.preference_offset)
        return torch.sigmoid(offset - scaled)
    scaled = scaled - loss.preference_offset
    if kind == "hinge":
        return (1.0 - scaled).clamp(min=0.0)
    if kind == "sigmoid":
        wrong = loss.preference_smoothing
        return (1.0 - wrong) * softplus(-scaled) + wrong * softplus(scaled)
    raise ConfigError(f"preference={kind!r} is unknown. {did_you_mean(kind, PREFERENCES)}")


def avoid_terms(new: Tensor, reference: Tensor) -> Tensor:
    """Return ``-log s(-(log p - log q))`` of each token: what makes it less likely than under the reference, ever less so once it is.

    SEAgent's adversarial imitation of failures (Sun et al. 2025, arXiv:2508.04700; the form is that of its released code).

    >>> terms = avoid_terms(torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([-1.2, -1.5, -0.5]))
    >>> round(0.2 * float(terms.mean()), 6)
    0.131024
    """
    return softplus(new - reference)
