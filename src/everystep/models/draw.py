"""Drawing tokens: restricted and free distributions, each request with its own stream of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MASK = (1 << 64) - 1


def uniforms(seeds: Sequence[int], counters: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return one number in [0, 1) for each seed and counter.

    A pure function (the SplitMix64 generator, Steele et al., 2014, keyed by the mixed seed), so an
    answer does not depend on what else is drawn.
    """
    state = _mix(np.array([seed & _MASK for seed in seeds], dtype=np.uint64) + _STEP)
    state += _STEP * (np.array(counters, dtype=np.uint64) + np.uint64(1))
    return (_mix(state) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def draw_allowed(
    logits: torch.Tensor,
    allowed: Sequence[tuple[int, ...]],
    temperature: float,
    uniform: npt.NDArray[np.float64],
) -> tuple[list[int], list[float]]:
    """Draw from each row of ``logits`` ``[n, vocabulary]`` among its ``allowed`` ids.

    Returns the ids and their log-probabilities under the softmax over the allowed ids at ``temperature``.
    Temperature 0 takes the likeliest (the lowest id among equals) and reports temperature 1.
    """
    most = max(len(ids) for ids in allowed)
    table = np.zeros((len(allowed), most), dtype=np.int64)
    valid = np.zeros((len(allowed), most), dtype=bool)
    for row, ids in enumerate(allowed):
        table[row, : len(ids)] = ids
        valid[row, : len(ids)] = True
    picked = logits.gather(1, torch.from_numpy(table).to(logits.device))
    picked = picked.masked_fill(~torch.from_numpy(valid).to(logits.device), -torch.inf)
    logprobs = torch.log_softmax(picked / (temperature or 1.0), dim=-1).cpu().numpy()
    if temperature == 0.0:
        choice = logprobs.argmax(axis=1)
    else:
        total = np.exp(logprobs.astype(np.float64)).cumsum(axis=1)
        choice = (total <= uniform[:, None] * total[:, -1:]).sum(axis=1)
        choice = np.minimum(choice, valid.sum(axis=1) - 1)
    rows = np.arange(len(allowed))
    return table[rows, choice].tolist(), logprobs[rows, choice].tolist()


def draw_free(
    logits: torch.Tensor, temperature: float, top_p: float, uniform: npt.NDArray[np.float64]
) -> tuple[list[int], list[float]]:
    """Draw from each row of ``logits`` ``[n, vocabulary]`` over the whole vocabulary.

    ``top_p`` below 1 draws from the smallest set of likeliest ids that holds that much probability
    (Holtzman et al., 2020); the log-probabilities are those of the whole tempered distribution.
    """
    logprobs = torch.log_softmax(logits / (temperature or 1.0), dim=-1)
    if temperature == 0.0:
        choice = logprobs.argmax(dim=-1, keepdim=True)
    else:
        point = torch.from_numpy(uniform).to(logits.device)[:, None]
        if top_p < 1.0:
            ordered, ids = logprobs.sort(dim=-1, descending=True, stable=True)
            total = ordered.double().exp().cumsum(dim=-1)
            kept = total.gather(1, (total < top_p).sum(dim=-1, keepdim=True).clamp_(max=total.shape[1] - 1))
            place = (total <= point * kept).sum(dim=-1, keepdim=True).clamp_(max=total.shape[1] - 1)
            choice = ids.gather(1, place)
        else:
            total = logprobs.double().exp().cumsum(dim=-1)
            choice = (total <= point * total[:, -1:]).sum(dim=-1, keepdim=True).clamp_(max=total.shape[1] - 1)
    return choice[:, 0].tolist(), logprobs.gather(1, choice)[:, 0].tolist()
