"""Trained tokens a second: our learner against TRL's GRPO trainer on the same rows, masks, weights and advantages.

TRL (pinned below) is installed into ``build/bench-venv``, which sees the packages of this environment, so torch and transformers
are the same on both sides. Its own ``GRPOTrainer.compute_loss`` gets one padded row a trajectory, with the mask that it uses
for tool outputs and one advantage a token; loss ``grpo`` (mean over the tokens of a row, then over rows) is our
``rollout`` aggregation. Loss, gradient norm and every component of the gradient must be equal (1e-4) before a time is reported. Both
sides: fp32, one thread, no activation checkpointing, loss and backward pass without the optimiser's step.

TRL's rows in prefix trees need FlashAttention 3 on a GPU, so they cannot be compared here. Without a network, or where the
installation fails, there is a row that says so, and no number of TRL's.

    OMP_NUM_THREADS=1 python benchmarks/trl_rows.py            # about three minutes
    OMP_NUM_THREADS=1 python benchmarks/trl_rows.py --quick
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from packing import Shape, rollouts
from transformers import LlamaConfig, LlamaForCausalLM

from everystep.core.protocols import Loss
from everystep.core.records import Sample
from everystep.learn.learner import LocalLearner, LocalOptions
from everystep.models.tiny import tiny_tokenizer

TRL = "trl==1.16.0"
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "build" / "bench-venv"
PYTHON = VENV / "bin" / "python"
VOCABULARY = 512
REPEATS = 3
OURS = (("ours, merged rows", "rows"), ("ours, merged rows in prefix trees", "tree"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A shape whose row ``k`` ends after ``ends[k]`` turns: agents do not all take equally long."""

    shape: Shape
    ends: tuple[int, ...]


def _case(name: str, ends: tuple[int, ...], *, prompt: int, width: int, shared: int = 0) -> Case:
    shape = Shape(
        name=name,
        prompt=prompt,
        action=30,
        observation=60,
        steps=max(ends),
        rows=len(ends),
        shared=shared,
        width=width,
        layers=4,
    )
    return Case(shape=shape, ends=ends)


CASES = (
    _case("8 chats of 3 to 16 turns", (16, 3, 8, 4, 12, 5, 6, 4), prompt=300, width=256),
    _case("8 short chats, prompt of 1,000", (4, 2, 3, 4, 1, 2, 3, 2), prompt=1000, width=256),
    _case("8 siblings at step 8", (9,) * 8, prompt=300, width=256, shared=8),
)
QUICK = (_case("4 short chats", (3, 1, 2, 3), prompt=60, width=64),)


def measure(*, quick: bool = False) -> list[dict[str, object]]:
    """All rows: case, who, cells, trained tokens, cpu_s (best of 3), trained tokens a CPU second, times as fast as TRL, gap."""
    problem = install()
    out: list[dict[str, object]] = []
    for case in QUICK if quick else CASES:
        out += measure_case(case, repeats=2 if quick else REPEATS, problem=problem)
    return out


def install() -> str | None:
    """Make the environment of TRL, and return why there is none where it cannot be made."""
    if _works():
        return None
    steps = [
        [sys.executable, "-m", "venv", str(VENV)],
        [str(PYTHON), "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), TRL],
    ]
    for number, step in enumerate(steps):
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{TRL} could not be installed: {(done.stderr or done.stdout).strip().splitlines()[-1]}"
        if number == 0:  # let it see torch and transformers of this environment
            asked = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
            own = subprocess.run(
                [str(PYTHON), "-c", asked], capture_output=True, text=True, check=True
            ).stdout.strip()
            (Path(own) / "parent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return None if _works() else f"{TRL} was installed and cannot be imported"


def _works() -> bool:
    if not PYTHON.exists():
        return False
    asked = f"import sys, importlib.metadata as m; import torch; sys.exit(m.version('trl') != {TRL.split('==')[1]!r} or torch.__version__ != {torch.__version__!r})"
    return subprocess.run([str(PYTHON), "-c", asked], capture_output=True, check=False).returncode == 0


def measure_case(case: Case, *, repeats: int, problem: str | None) -> list[dict[str, object]]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = case.shape
    tokenizer = tiny_tokenizer(["go left", "go right"])
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=shape.width,
            intermediate_size=2 * shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.width // 64,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    rows = [cut(row, shape, turns) for row, turns in zip(rollouts(shape), case.ends, strict=True)]
    trained = sum(int(np.count_nonzero(row.policy_weight)) for row in rows)
    out: list[dict[str, object]] = []
    expected: tuple[float, np.ndarray] | None = None
    theirs = None
    if problem is None:
        with tempfile.TemporaryDirectory() as folder:
            result, gradient = run_trl(Path(folder), network, tokenizer, rows, shape.prompt, repeats)
        expected, theirs = (result["loss"], gradient), min(result["seconds"])
        out.append(
            _row(case, f"TRL {result['versions']['trl']}", result["cells"], trained, theirs, theirs)
            | {"import_s": round(result["import_s"], 2), "first_s": round(result["seconds"][0], 3)}
        )
    else:
        out.append({"case": shape.name, "who": "TRL", "note": f"not measured: {problem}"})
    for name, packing in OURS:
        learner = LocalLearner(network, options=LocalOptions(packing=packing))
        seconds = []
        for _ in range(repeats):
            began = time.process_time()
            metrics = learner.forward_backward(rows, Loss(policy="ppo", aggregate="rollout"))
            seconds.append(time.process_time() - began)
            gradient = learner.gradient()
            learner.optim_step(learning_rate=0.0)
        expected = expected or (metrics["loss"], gradient)
        gap = gap_of((metrics["loss"], gradient), expected)
        assert gap <= 1e-4, (shape.name, name, gap)
        row = _row(case, name, int(metrics["cells"]), trained, min(seconds), theirs)
        out.append(row | {"gap": gap, "first_s": round(seconds[0], 3)})
    return out


def cut(row: Sample, shape: Shape, turns: int) -> Sample:
    """The row after ``turns`` turns; it ends with an action."""
    size = shape.prompt + turns * (shape.action + shape.observation) - shape.observation
    return replace(
        row,
        ids=row.ids[:size],
        policy_weight=row.policy_weight[:size],
        advantage=row.advantage[:size],
        logprobs=row.logprobs[:size],
        step_of=row.step_of[:size],
    )


def gap_of(one: tuple[float, np.ndarray], other: tuple[float, np.ndarray]) -> float:
    """The largest relative difference of losses, of gradient norms and of the gradient's components."""
    norm = float(np.linalg.norm(other[1]))
    return max(
        abs(one[0] - other[0]) / abs(other[0]),
        abs(float(np.linalg.norm(one[1])) - norm) / norm,
        float(np.abs(one[1] - other[1]).max() / np.abs(other[1]).max()),
    )


def run_trl(
    folder: Path, network: Any, tokenizer: Any, rows: list[Sample], prompt: int, repeats: int
) -> tuple[dict[str, Any], np.ndarray]:
    network.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    data = {
        "prompt": prompt,
        "parameters": [name for name, _ in network.named_parameters()],
        "rows": [
            {
                "ids": list(row.ids),
                "weight": list(row.policy_weight),
                "advantage": list(row.advantage),
                "logprobs": list(row.logprobs),
            }
            for row in rows
        ],
    }
    (folder / "rows.json").write_text(json.dumps(data))
    worker = Path(__file__).with_name("trl_worker.py")
    done = subprocess.run(
        [str(PYTHON), str(worker), str(folder), str(repeats)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"TRL failed:\n{done.stderr[-3000:]}")
    return json.loads((folder / "result.json").read_text()), np.load(folder / "gradient.npy")


def _row(
    case: Case, who: str, cells: int, trained: int, seconds: float, theirs: float | None
) -> dict[str, object]:
    return {
        "case": case.shape.name,
        "who": who,
        "cells": cells,
        "trained_tokens": trained,
        "cpu_s": round(seconds, 3),
        "trained_tokens_per_cpu_s": round(trained / seconds),
        "times_as_fast": None if theirs is None else round(theirs / seconds, 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    for row in measure(quick=parser.parse_args().quick):
        print(row)
