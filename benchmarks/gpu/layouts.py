"""Training on the same credit in three layouts: a row a step, merged rows, rows folded into prefix trees."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
import torch
from subject import CHECK, REAL, TINY_ROLLOUTS, Rollouts, Subject, merged_rows, step_rows

from everystep.core.protocols import Loss
from everystep.core.records import Sample
from everystep.learn.learner import LocalLearner, LocalOptions
from everystep.models.local import load

LAYOUTS = (
    ("merged rows", "merged", "rows"),
    ("merged, tree", "merged", "tree"),
    ("a row a step", "steps", "rows"),
)
LOSS = Loss(policy="ppo", aggregate="token")
FP32_LIMIT, BF16_LOSS, BF16_GRADIENT = 1e-4, 2e-2, 5e-2


def measure(
    subject: Subject,
    device: str,
    *,
    tiny: bool,
    repeats: int,
    tokens_per_batch: int,
    peak_tflops: float | None,
) -> list[dict[str, object]]:
    """First fp32 on small rollouts: equal loss and gradient. Then bf16 on long ones: equal within bf16, and the time."""
    out = compare(
        subject,
        device,
        TINY_ROLLOUTS if tiny else CHECK,
        bf16=False,
        repeats=1,
        tokens_per_batch=tokens_per_batch,
    )
    return out + compare(
        subject,
        device,
        TINY_ROLLOUTS if tiny else REAL,
        bf16=True,
        repeats=repeats,
        tokens_per_batch=tokens_per_batch,
        peak_tflops=peak_tflops,
    )


def compare(
    subject: Subject,
    device: str,
    shape: Rollouts,
    *,
    bf16: bool,
    repeats: int,
    tokens_per_batch: int,
    peak_tflops: float | None = None,
) -> list[dict[str, object]]:
    """The rows of one precision. Where a layout does not fit into memory its row says so."""
    model = load(subject.name, device=device)
    vocabulary = len(model.tokenizer)
    rows = merged_rows(shape, vocabulary)
    scorer = LocalLearner(model.network, options=LocalOptions(bf16=bf16, tokens_per_batch=tokens_per_batch))
    scored = scorer.score(rows)
    rows = [replace(row, logprobs=one.logprobs) for row, one in zip(rows, scored, strict=True)]
    data = {"merged": rows, "steps": [one for row in rows for one in step_rows(row)]}
    out: list[dict[str, object]] = []
    expected: tuple[float, np.ndarray] | None = None
    for name, source, packing in LAYOUTS:
        row: dict[str, object] = {"precision": "bf16" if bf16 else "fp32", "layout": name}
        try:
            found = train(model.network, data[source], device, packing, bf16, repeats, tokens_per_batch)
        except torch.OutOfMemoryError:
            out.append(row | {"note": "out of memory: lower --tokens-per-batch"})
            continue
        expected = expected or (found["loss"], found["gradient"])
        gaps = gaps_of((found["loss"], found["gradient"]), expected)
        limits = (BF16_LOSS, BF16_GRADIENT) if bf16 else (FP32_LIMIT, FP32_LIMIT)
        assert gaps[0] <= limits[0], (name, bf16, "loss", gaps)
        assert gaps[1] <= limits[1], (name, bf16, "gradient", gaps)
        trained = sum(int(np.count_nonzero(one.policy_weight)) for one in rows)
        flops = flops_of(model.network, data[source], found["tokens"], trained)
        seconds = found["seconds"]
        row |= {
            "rows": len(data[source]),
            "computed_tokens": int(found["tokens"]),
            "trained_tokens": trained,
            "step_s": round(seconds, 4),
            "computed_tokens_per_s": round(found["tokens"] / seconds),
            "trained_tokens_per_s": round(trained / seconds),
            "tflops": round(flops / seconds / 1e12, 3),
            "mfu": None if peak_tflops is None else round(flops / seconds / 1e12 / peak_tflops, 4),
            "peak_gb": found["peak_gb"],
            "loss_gap": gaps[0],
            "gradient_gap": gaps[1],
        }
        out.append(row)
    base = next(
        (float(str(row["step_s"])) for row in out if row["layout"] == "merged rows" and "step_s" in row), None
    )
    for row in out:
        row["times"] = round(float(str(row["step_s"])) / base, 2) if base and "step_s" in row else None
    return out


def train(
    network: Any,
    samples: Sequence[Sample],
    device: str,
    packing: str,
    bf16: bool,
    repeats: int,
    tokens_per_batch: int,
) -> dict[str, Any]:
    """Return loss, gradient, computed tokens, seconds of a step (median; the first is not counted) and peak memory.

    The learning rate is 0: the optimiser does its work and the weights stay, so that every layout sees the same ones.
    """
    learner = LocalLearner(
        network, options=LocalOptions(packing=packing, bf16=bf16, tokens_per_batch=tokens_per_batch)
    )
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(repeats + 1):
        wait(device)
        began = time.perf_counter()
        metrics = learner.forward_backward(samples, LOSS)
        gradient = learner.gradient() if not seconds else None
        if gradient is not None:
            kept = gradient
        learner.optim_step(learning_rate=0.0)
        wait(device)
        seconds.append(time.perf_counter() - began)
    return {
        "loss": metrics["loss"],
        "gradient": kept,
        "tokens": metrics["tokens"],
        "seconds": median(seconds[1:]),
        "peak_gb": round(torch.cuda.max_memory_allocated() / 2**30, 2) if cuda else None,
    }


def gaps_of(one: tuple[float, np.ndarray], other: tuple[float, np.ndarray]) -> tuple[float, float]:
    """Relative difference of the losses, and the norm of the gradients' difference over the gradient's norm."""
    return (
        abs(one[0] - other[0]) / abs(other[0]),
        float(np.linalg.norm(one[1] - other[1]) / np.linalg.norm(other[1])),
    )


def flops_of(network: Any, samples: Sequence[Sample], tokens: float, trained: int) -> float:
    """Floating-point operations of a forward and backward pass of ``tokens`` computed tokens.

    6 a weight of the layers and token, 6 a weight of the head and trained token, and 12 a layer, width and pair of
    tokens that see each other; padding and the head's second computation are not counted. Contexts are taken as those of
    ``samples``, on average.
    """
    config = network.config
    layers = sum(p.numel() for name, p in network.named_parameters() if ".layers." in name)
    head = config.vocab_size * config.hidden_size
    pairs = sum(len(one.ids) * (len(one.ids) + 1) / 2 for one in samples)
    context = pairs / sum(len(one.ids) for one in samples)
    width = config.num_attention_heads * getattr(
        config, "head_dim", config.hidden_size // config.num_attention_heads
    )
    attention = 12.0 * config.num_hidden_layers * width * context * tokens
    return 6.0 * layers * tokens + 6.0 * head * trained + attention


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
