"""Log-probabilities of chosen tokens from hidden states, in chunks: no [tokens, vocabulary] tensor is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

LOGITS_AT_ONCE = 1 << 23
"""Logits (tokens x vocabulary) that may exist at a time: 32 MiB in fp32. More are computed in chunks and
again in the backward pass, which is dearer than keeping them while they are few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What stood to choose at each of ``N`` tokens.

    ``targets`` ``[N]`` are the chosen ids, ``temperature`` ``[N]`` divides the logits (``None``: all 1). ``restricted``
    ``[M]`` are the tokens whose choice was restricted, with their allowed ids ``[M, K]``, padded where not ``valid``.
    """

    targets: Tensor
    temperature: Tensor | None = None
    restricted: Tensor | None = None
    allowed: Tensor | None = None
    valid: Tensor | None = None


def token_logprobs(
    head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    vocabulary: int,
    choices: Choices,
    *,
    entropy_gradient: bool = False,
    at_once: int = LOGITS_AT_ONCE,
) -> tuple[Tensor, Tensor]:
    """Return log-probability and entropy ``[N]`` (fp32, nats) of the tokens that ``hidden`` ``[N, D]`` predicts.

    A restricted token's distribution is the softmax over its allowed ids only, which keeps constrained
    sampling exactly on policy. At most ``at_once`` logits exist at a time. Without ``entropy_gradient`` the entropy is for watching.
    """
    size = hidden.shape[0]
    chunk = max(1, at_once // max(1, vocabulary))
    mask = None
    if choices.restricted is not None:
        mask = torch.zeros(size, dtype=torch.bool, device=hidden.device)
        mask[choices.restricted] = True
    free = torch.arange(size, device=hidden.device) if mask is None else (~mask).nonzero().squeeze(1)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    keep = size <= chunk or not torch.is_grad_enabled()
    for rows in torch.split(free, chunk) if free.numel() else ():
        scale = None if choices.temperature is None else choices.temperature[rows]
        parts.append(
            (rows, *_run(keep, _free, head, hidden[rows], choices.targets[rows], scale, entropy_gradient))
        )
    if choices.restricted is not None and choices.allowed is not None and choices.valid is not None:
        for start in range(0, choices.restricted.numel(), chunk):
            some = slice(start, start + chunk)
            rows = choices.restricted[some]
            scale = None if choices.temperature is None else choices.temperature[rows]
            sets = (choices.allowed[some], choices.valid[some])
            parts.append(
                (
                    rows,
                    *_run(
                        keep,
                        _among,
                        head,
                        hidden[rows],
                        choices.targets[rows],
                        scale,
                        entropy_gradient,
                        *sets,
                    ),
                )
            )
    if len(parts) == 1:
        return parts[0][1], parts[0][2]
    if not parts:
        return hidden.new_zeros(0, dtype=torch.float32), hidden.new_zeros(0, dtype=torch.float32)
    back = torch.empty(size, dtype=torch.long, device=hidden.device)
    back[torch.cat([rows for rows, _, _ in parts])] = torch.arange(size, device=hidden.device)
    return torch.cat([one for _, one, _ in parts])[back], torch.cat([one for _, _, one in parts])[back]


def _run(
    keep: bool, function: Callable[..., tuple[Tensor, Tensor]], *arguments: object
) -> tuple[Tensor, Tensor]:
    if keep:
        return function(*arguments)
    result: tuple[Tensor, Tensor] = checkpoint(
        function, *arguments, use_reentrant=False, preserve_rng_state=False
    )
    return result


def _free(
    head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    targets: Tensor,
    temperature: Tensor | None,
    gradient: bool,
) -> tuple[Tensor, Tensor]:
    logits = _logits(head, hidden, temperature)
    total = logits.logsumexp(-1)
    return logits.gather(1, targets[:, None]).squeeze(1) - total, _entropy(logits, total, gradient)


def _among(
    head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    targets: Tensor,
    temperature: Tensor | None,
    gradient: bool,
    allowed: Tensor,
    valid: Tensor,
) -> tuple[Tensor, Tensor]:
    every = _logits(head, hidden, temperature)
    logits = every.gather(1, allowed).masked_fill(~valid, torch.finfo(torch.float32).min)
    total = logits.logsumexp(-1)
    return every.gather(1, targets[:, None]).squeeze(1) - total, _entropy(logits, total, gradient)


def _logits(head: Callable[[Tensor], Tensor], hidden: Tensor, temperature: Tensor | None) -> Tensor:
    logits = head(hidden).float()
    return logits if temperature is None else logits / temperature[:, None]


def _entropy(logits: Tensor, total: Tensor, gradient: bool) -> Tensor:
    if gradient:
        p = (logits - total[:, None]).exp()
        return total - (p * logits).sum(-1)
    with torch.no_grad():
        p = (logits - total[:, None]).exp_()
        return total - p.mul_(logits).sum(-1)
