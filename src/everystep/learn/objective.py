"""The loss of a micro-batch: the parts that its streams ask for, weighted, normalised and added up."""

from __future__ import annotations

import torch
from torch import Tensor

from everystep.core.protocols import Loss
from everystep.learn.batches import Flat
from everystep.learn.losses import avoid_terms, kl_terms, policy_terms, preference_terms
from everystep.learn.meter import Meter
from everystep.learn.streams import PREFERENCE


def loss_parts(
    flat: Flat,
    new: Tensor,
    entropy: Tensor,
    values: Tensor | None,
    loss: Loss,
    meter: Meter,
    *,
    pairs: float,
) -> dict[str, Tensor]:
    """Return the parts of the loss of one micro-batch, weighted and normalised, and note their numbers.

    ``new``, ``entropy`` and ``values`` ``[N]`` are the network's, at the tokens of ``flat``. ``pairs`` divides the sum over pairs.
    """
    parts: dict[str, Tensor] = {}
    weights = flat.weights
    if "policy" in weights:
        at = weights["policy"].nonzero().squeeze(1)
        weight = weights["policy"][at]
        terms = policy_terms(
            new[at],
            flat.old[at],
            flat.advantage[at],
            loss,
            segment=flat.segment[at],
            segments=flat.segments,
        )
        parts["policy_loss"] = (weight * terms.loss).sum()
        if loss.entropy:
            parts["entropy_loss"] = -loss.entropy * (weight * entropy[at]).sum()
        meter.add("entropy", entropy[at].detach())
        if loss.policy != "reinforce":
            meter.policy(terms, flat.old[at] - new.detach()[at])
    if "supervised" in weights and loss.supervised:
        parts["supervised_loss"] = -loss.supervised * (weights["supervised"] * new).sum()
    if "reference" in weights:
        at = weights["reference"].nonzero().squeeze(1)
        terms_kl = kl_terms(loss.kl, new[at], flat.reference[at])
        parts["kl_loss"] = loss.kl_coefficient * (weights["reference"][at] * terms_kl).sum()
        meter.add("reference_kl", terms_kl.detach())
    if "avoid" in weights:
        at = weights["avoid"].nonzero().squeeze(1)
        terms_avoid = avoid_terms(new[at], flat.reference[at])
        parts["avoid_loss"] = loss.avoid * (weights["avoid"][at] * terms_avoid).sum()
        meter.add("avoid_gap", new.detach()[at] - flat.reference[at])
    if "value" in weights and values is not None:
        at = weights["value"].nonzero().squeeze(1)
        error = values[at] - flat.value_target[at]
        parts["value_loss"] = loss.value * 0.5 * (weights["value"][at] * error.square()).sum()
        meter.add("value_error", error.detach().abs())
    if PREFERENCE in weights:
        parts["preference_loss"] = _preference(flat, new, loss, meter) / pairs
    return parts


def _preference(flat: Flat, new: Tensor, loss: Loss, meter: Meter) -> Tensor:
    """Return the sum over the pairs of a micro-batch; each pair stands in one micro-batch as a whole."""
    weight = flat.weights[PREFERENCE]
    at = weight.nonzero().squeeze(1)
    ratio = weight[at] * (new[at] - flat.reference[at] if loss.preference_reference else new[at])
    number, pair = torch.unique(flat.pair[at], return_inverse=True)
    chosen, rejected = (
        ratio.new_zeros(len(number)).index_add(0, pair, torch.where(side, ratio, 0.0))
        for side in (weight[at] > 0, weight[at] < 0)
    )
    margin = chosen + rejected
    good = None
    if loss.preference == "kto":
        good = ratio.new_zeros(len(number)).index_add(0, pair, weight[at]) > 0
    terms = preference_terms(loss.preference, margin, loss, good=good)
    with torch.no_grad():
        scaled = loss.preference_beta * margin
        meter.add("preference_margin", scaled)
        meter.add("preference_accuracy", (margin > 0).float())
        if good is None:
            meter.add("chosen_reward", loss.preference_beta * chosen)
            meter.add("rejected_reward", -loss.preference_beta * rejected)
    return terms.sum()
