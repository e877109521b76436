"""What a training step costs by layout: a row a step, padded, merged, and folded into prefix trees.

The data are one group of chats that share a prompt, and siblings that branch off one trunk at a late step. The same
credit is trained in every layout; loss and gradient must be equal (1e-5) before anything is reported.
``bound`` is the number of unique prefixes: no layout can compute fewer tokens.

    OMP_NUM_THREADS=1 python benchmarks/packing.py            # about two minutes
    OMP_NUM_THREADS=1 python benchmarks/packing.py --quick    # small shapes, seconds
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from everystep.core.protocols import Loss
from everystep.core.records import Sample
from everystep.learn.learner import LocalLearner, LocalOptions
from everystep.learn.packing import unique_tokens

VOCABULARY = 512
REPEATS = 3
ENOUGH_S = 5.0  # no repeats of what takes longer


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """``rows`` trajectories of ``steps`` turns that share the prompt and the first ``shared`` turns."""

    name: str
    prompt: int
    action: int
    observation: int
    steps: int
    rows: int
    shared: int
    width: int
    layers: int


SHAPES = (
    Shape(
        name="chats of 16 turns",
        prompt=300,
        action=30,
        observation=60,
        steps=16,
        rows=4,
        shared=0,
        width=256,
        layers=4,
    ),
    Shape(
        name="long prompt",
        prompt=1000,
        action=30,
        observation=60,
        steps=4,
        rows=8,
        shared=0,
        width=256,
        layers=4,
    ),
    Shape(
        name="siblings at step 8",
        prompt=300,
        action=30,
        observation=60,
        steps=9,
        rows=2,
        shared=8,
        width=512,
        layers=2,
    ),
    Shape(
        name="siblings at step 8",
        prompt=300,
        action=30,
        observation=60,
        steps=9,
        rows=4,
        shared=8,
        width=512,
        layers=2,
    ),
    Shape(
        name="siblings at step 8",
        prompt=300,
        action=30,
        observation=60,
        steps=9,
        rows=8,
        shared=8,
        width=512,
        layers=2,
    ),
)
QUICK = (
    Shape(
        name="chats of 6 turns",
        prompt=40,
        action=6,
        observation=12,
        steps=6,
        rows=4,
        shared=0,
        width=64,
        layers=2,
    ),
    Shape(
        name="siblings at step 5",
        prompt=40,
        action=6,
        observation=12,
        steps=6,
        rows=8,
        shared=5,
        width=64,
        layers=2,
    ),
)

LAYOUTS = (
    ("a row a step, padded", "steps", "padded"),
    ("a row a step", "steps", "rows"),
    ("merged, padded", "merged", "padded"),
    ("merged", "merged", "rows"),
    ("merged, tree", "merged", "tree"),
    ("a row a step, tree", "steps", "tree"),
)


def measure(*, quick: bool = False) -> list[dict[str, object]]:
    """All rows: shape, siblings or rollouts, layout, tokens and cells computed, bound, cpu_s (best of up to 3), times (cpu_s / merged), gap."""
    return [row for shape in (QUICK if quick else SHAPES) for row in measure_shape(shape)]


def measure_shape(shape: Shape) -> list[dict[str, object]]:
    """The rows of one shape."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=shape.width,
            intermediate_size=2 * shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.width // 64,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
        )
    )
    merged = rollouts(shape)
    data = {"merged": merged, "steps": [one for row in merged for one in per_step(row)]}
    bound = unique_tokens([np.array(one.ids[:-1]) for one in merged])
    expected: tuple[float, np.ndarray] | None = None
    out: list[dict[str, object]] = []
    for name, source, packing in reversed(LAYOUTS):
        learner = LocalLearner(network, options=LocalOptions(packing=packing))
        seconds = []
        while not seconds or (len(seconds) < REPEATS and sum(seconds) < ENOUGH_S):
            start = time.process_time()
            metrics = learner.forward_backward(data[source], Loss())
            seconds.append(time.process_time() - start)
            gradient = learner.gradient()
            learner.optim_step(learning_rate=0.0)
        expected = expected or (metrics["loss"], gradient)
        gap = max(
            abs(metrics["loss"] - expected[0]) / abs(expected[0]),
            float(np.abs(gradient - expected[1]).max() / np.abs(expected[1]).max()),
        )
        assert gap <= 1e-5, (shape, name, gap)
        out.append(
            {
                "shape": shape.name,
                "rollouts": shape.rows,
                "layout": name,
                "tokens": int(metrics["tokens"]),
                "cells": int(metrics["cells"]),
                "bound": bound,
                "cpu_s": min(seconds),
                "gap": gap,
            }
        )
    base = next(float(str(row["cpu_s"])) for row in out if row["layout"] == "merged")
    for row in out:
        row["times"] = float(str(row["cpu_s"])) / base
    return out[::-1]


def rollouts(shape: Shape) -> list[Sample]:
    """Merged rows: prompt, then action and observation in turn; the last turn ends with its action."""
    rng = random.Random(0)

    def text(size: int) -> list[int]:
        return [rng.randrange(VOCABULARY) for _ in range(size)]

    prompt, trunk = text(shape.prompt), [text(shape.action + shape.observation) for _ in range(shape.shared)]
    out = []
    for row in range(shape.rows):
        turns = [*trunk, *(text(shape.action + shape.observation) for _ in range(shape.steps - shape.shared))]
        ids = prompt + [token for turn in turns for token in turn]
        ids = ids[: len(ids) - shape.observation]
        step_of = [-1] * shape.prompt
        for step in range(shape.steps):
            step_of += [step] * shape.action + [-1] * shape.observation
        step_of = step_of[: len(ids)]
        trained = [float(step >= shape.shared) for step in step_of]
        advantage = [rng.gauss(0, 1) for _ in range(shape.steps)]
        out.append(
            Sample(
                ids=tuple(ids),
                policy_weight=tuple(trained),
                advantage=tuple(advantage[step] if step >= 0 else 0.0 for step in step_of),
                logprobs=tuple(rng.gauss(-6.2, 0.1) for _ in ids),
                step_of=tuple(step_of),
                rollout=f"r{row}",
            )
        )
    return out


def per_step(row: Sample) -> list[Sample]:
    """The same tokens as one row a step, each with its whole history: what most trainers build."""
    out = []
    for step in sorted({step for step, weight in zip(row.step_of, row.policy_weight, strict=True) if weight}):
        end = max(t for t, one in enumerate(row.step_of) if one == step) + 1
        weight = tuple(float(one == step) for one in row.step_of[:end])
        out.append(
            replace(
                row,
                ids=row.ids[:end],
                policy_weight=weight,
                advantage=row.advantage[:end],
                logprobs=row.logprobs[:end],
                step_of=row.step_of[:end],
            )
        )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small shapes, seconds")
    shapes = QUICK if parser.parse_args().quick else SHAPES
    for row in (row for shape in shapes for row in measure_shape(shape)):
        print(
            f"{row['shape']:20} n={row['rollouts']!s:3} {row['layout']:22} tokens {row['tokens']:>7} cells {row['cells']:>7} "
            f"bound {row['bound']:>6}  {row['cpu_s']:7.2f} CPU-s  {row['times']:6.2f}x  gap {row['gap']:.0e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
