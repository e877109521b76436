"""What the learner asks of a network: its body, its head and its mask."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from everystep.core.errors import LearnerError
from everystep.learn import branching
from everystep.learn.packing import Packed


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The body (ids to hidden states ``[B, L, width]``) and the head (hidden states to logits) of a causal LM."""

    model: PreTrainedModel
    body: nn.Module
    head: nn.Module
    device: torch.device
    width: int
    vocabulary: int


def parts_of(network: nn.Module) -> Parts:
    """Return body and head of a causal LM of transformers, wrapped by peft or not.

    Raises ``LearnerError`` where the logits are not the head of the last hidden states (soft caps, logit scales):
    log-probabilities would be wrong without a word.
    """
    model = network if isinstance(network, PreTrainedModel) else network.get_base_model()  # type: ignore[operator]
    body, head = model.base_model, model.get_output_embeddings()
    if head is None:
        raise LearnerError(
            f"{type(model).__name__} has no output embeddings. Load a causal LM (AutoModelForCausalLM)."
        )
    device = next(model.parameters()).device
    with torch.no_grad():
        ids = torch.tensor([[1, 2, 0]], device=device)
        hidden = body(input_ids=ids, use_cache=False).last_hidden_state
        logits, ours = model(input_ids=ids, use_cache=False).logits, head(hidden)
    if not torch.allclose(logits.float(), ours.float(), rtol=1e-3, atol=1e-3):
        raise LearnerError(
            f"the logits of {type(model).__name__} are not its head applied to its last hidden states (a soft cap or a "
            "scale stands between). This learner would train on other probabilities: use a Llama, Qwen, SmolLM or GPT-2 kind."
        )
    return Parts(
        model=model, body=body, head=head, device=device, width=hidden.shape[-1], vocabulary=logits.shape[-1]
    )


def refuse_tree(model: PreTrainedModel) -> None:
    """Raise ``LearnerError`` where the network's attention is not plain causal attention that takes a mask."""
    config: Any = model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    if kinds != {"full_attention"} or window:
        raise LearnerError(
            f"packing='tree' needs full attention in every layer; {type(model).__name__} has "
            f"{sorted(kinds)} with a window of {window!r}. Use packing='rows'."
        )
    if config._attn_implementation not in ("sdpa", "eager"):
        raise LearnerError(
            f"packing='tree' gives an explicit mask, which the attention {config._attn_implementation!r} does not take. "
            "Load the model with attn_implementation='sdpa', or use packing='rows'."
        )


def hidden_states(parts: Parts, packed: Packed, *, dense: bool | None = None) -> Tensor:
    """Return the last hidden states of every cell, ``[B * L, width]``.

    A trie's attention is computed branch by branch on the processor, and with a ``dense`` mask elsewhere.
    """
    ids = torch.from_numpy(packed.ids).to(parts.device)
    if packed.ends is None or packed.positions is None:
        hidden: Tensor = parts.body(input_ids=ids, use_cache=False).last_hidden_state
        return hidden.flatten(0, 1)
    positions = torch.from_numpy(packed.positions).to(parts.device)
    config: Any = parts.model.config
    usual = config._attn_implementation
    if dense or (dense is None and parts.device.type != "cpu"):
        mask = visible(torch.from_numpy(packed.ends).to(parts.device))
        if usual == "eager":  # it adds the mask to the scores
            floor = torch.finfo(parts.model.dtype).min
            none = torch.zeros(mask.shape, dtype=parts.model.dtype, device=parts.device)
            mask = none.masked_fill_(~mask, floor)
        hidden = parts.body(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False
        ).last_hidden_state
        return hidden.flatten(0, 1)
    config._attn_implementation = branching.NAME
    try:
        hidden = parts.body(
            input_ids=ids, position_ids=positions, use_cache=False, runs=packed.runs
        ).last_hidden_state
    finally:
        config._attn_implementation = usual
    return hidden.flatten(0, 1)


def visible(ends: Tensor) -> Tensor:
    """Return which cell sees which, ``[B, 1, L, L]``: cell ``i`` sees ``j`` exactly if ``j <= i < ends[j]``.

    >>> visible(torch.tensor([[3, 2, 3]])).int().tolist()
    [[[[1, 0, 0], [1, 1, 0], [1, 0, 1]]]]
    """
    at = torch.arange(ends.shape[1], device=ends.device)
    mask: Tensor = (at[None, None, :] <= at[None, :, None]) & (at[None, :, None] < ends[:, None, :])
    return mask[:, None]


def fingerprint(tensors: Sequence[tuple[str, Tensor]]) -> str:
    """Return a short key of frozen weights: names, shapes and the first values of each."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().flatten()[:64].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
