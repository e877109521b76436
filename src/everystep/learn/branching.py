"""Exact attention over a packed trie: each run of tokens attends to its ancestors and itself, and to nothing else.

A dense mask over a trie of ``L`` cells costs ``L * L``, however few pairs it lets through. Here the pairs that are not
visible are never computed. It is made for the processor, where a loop over blocks is cheap beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from everystep.core.errors import LearnerError
from everystep.learn.packing import Run

NAME = "everystep_trie"
_BLOCK = 96  # queries; measured on one core with heads of 24 to 64


class _Attention(torch.autograd.Function):
    """Softmax attention by blocks; the backward pass computes the probabilities again from the saved normalisers."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, runs: Sequence[Sequence[Run]]
    ) -> Tensor:
        out = torch.zeros_like(query)
        totals = query.new_zeros(query.shape[:-1])
        for line, some in enumerate(runs):
            for run in some:
                keys, values = _gather(key[line], run), _gather(value[line], run)
                for at, count in _blocks(run, keys.shape[1]):
                    scores = _scores(query[line, :, at], keys[:, :count], scale)
                    total = scores.logsumexp(-1, keepdim=True)
                    p = scores.sub_(total).exp_()
                    totals[line, :, at] = total.reshape(query.shape[1], -1)
                    out[line, :, at] = _ungroup(torch.bmm(p.flatten(1, 2), values[:, :count]), query.shape[1])
        ctx.save_for_backward(query, key, value, out, totals)
        ctx.plan = (scale, runs)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        query, key, value, out, totals = ctx.saved_tensors
        scale, runs = ctx.plan
        d_query, d_key, d_value = torch.zeros_like(query), torch.zeros_like(key), torch.zeros_like(value)
        heads, groups = query.shape[1], key.shape[1]
        delta = (gradient * out).sum(-1)
        for line, some in enumerate(runs):
            for run in some:
                keys, values = _gather(key[line], run), _gather(value[line], run)
                d_keys, d_values = torch.zeros_like(keys), torch.zeros_like(values)
                for at, count in _blocks(run, keys.shape[1]):
                    asked, slope = _group(query[line, :, at], groups), _group(gradient[line, :, at], groups)
                    scores = _scores(query[line, :, at], keys[:, :count], scale).flatten(1, 2)
                    p = scores.sub_(totals[line, :, at].reshape(groups, -1, 1)).exp_()
                    d_values[:, :count].baddbmm_(p.transpose(1, 2), slope)
                    d_p = torch.bmm(slope, values[:, :count].transpose(1, 2))
                    d_p.sub_(delta[line, :, at].reshape(groups, -1, 1)).mul_(p).mul_(scale)
                    d_query[line, :, at] = _ungroup(torch.bmm(d_p, keys[:, :count]), heads)
                    d_keys[:, :count].baddbmm_(d_p.transpose(1, 2), asked)
                _scatter(d_key[line], run, d_keys)
                _scatter(d_value[line], run, d_values)
        return d_query, d_key, d_value, None, None


def _blocks(run: Run, seen: int) -> list[tuple[slice, int]]:
    """Cut a run into blocks of queries, each with the number of its keys: later keys are never computed."""
    before = seen - (run.end - run.start)
    cuts = [(at, min(at + _BLOCK, run.end)) for at in range(run.start, run.end, _BLOCK)]
    return [(slice(start, end), before + end - run.start) for start, end in cuts]


def _group(query: Tensor, groups: int) -> Tensor:
    """``[H, q, D]`` to ``[G, H/G * q, D]``: the heads that share keys side by side."""
    return query.reshape(groups, -1, query.shape[-1])


def _ungroup(grouped: Tensor, heads: int) -> Tensor:
    """The inverse of ``_group``."""
    return grouped.reshape(heads, -1, grouped.shape[-1])


def _scores(query: Tensor, keys: Tensor, scale: float) -> Tensor:
    """Scaled scores ``[G, H/G, q, k]``; a cell does not see the later ones of its own block, which are the last keys."""
    size, (groups, count, _) = query.shape[1], keys.shape
    scores = torch.bmm(_group(query, groups) * scale, keys.transpose(1, 2)).view(groups, -1, size, count)
    later = torch.ones(size, size, dtype=torch.bool, device=query.device).triu_(1)
    scores[..., count - size :].masked_fill_(later, float("-inf"))
    return scores


def _gather(keys: Tensor, run: Run) -> Tensor:
    """The rows of ``keys`` ``[G, L, D]`` that the run sees, in order, its own last."""
    if len(run.seen) == 1:
        return keys[:, run.seen[0][0] : run.seen[0][1]]
    return torch.cat([keys[:, start:end] for start, end in run.seen], 1)


def _scatter(target: Tensor, run: Run, values: Tensor) -> None:
    at = 0
    for start, end in run.seen:
        target[:, start:end] += values[:, at : at + end - start]
        at += end - start


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    runs: Sequence[Sequence[Run]] | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """The attention function that transformers calls; ``runs`` come with the call of the network.

    ``query`` is ``[B, H, L, D]``, ``key`` and ``value`` ``[B, G, L, D]``. Returns ``[B, L, H, D]``.
    """
    if runs is None or attention_mask is not None or dropout:
        raise LearnerError(
            f"{type(module).__name__} does not pass its keyword arguments to the attention function, so a trie cannot "
            "be given to it. Use packing='rows'."
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    kind = torch.promote_types(query.dtype, torch.float32)  # bfloat16 is for the linear layers
    with torch.autocast(query.device.type, enabled=False):
        out: Tensor = _Attention.apply(query.to(kind), key.to(kind), value.to(kind), scale, runs)  # type: ignore[no-untyped-call]
    return out.transpose(1, 2).to(value.dtype), None


AttentionInterface.register(NAME, attend)
