"""The TRL side of ``trl_rows.py``, run by the interpreter that TRL is installed in. It does not import everystep.

It reads a folder with a model, a tokenizer and ``rows.json``, and gives the rows to TRL's own ``GRPOTrainer.compute_loss``: padded,
one row a trajectory, the mask of tool outputs on what the model did not write, advantages a token. It writes
``result.json`` and ``gradient.npy`` there.

    build/bench-venv/bin/python benchmarks/trl_worker.py FOLDER REPEATS
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

BEGAN = time.process_time()

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
import trl  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

IMPORT_S = time.process_time() - BEGAN


def no_reward(completions: list[object], **_: object) -> list[float]:
    """A reward function must be there; it is never called."""
    return [0.0] * len(completions)


def trainer_of(folder: Path, rows: int) -> GRPOTrainer:
    config = GRPOConfig(
        output_dir=str(folder / "trl"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,  # on by default; off, because ours keeps its activations too
        per_device_train_batch_size=rows,
        num_generations=rows,
        beta=0.0,
        epsilon=0.2,
        loss_type="grpo",
        temperature=1.0,
        report_to=[],
        save_strategy="no",
    )
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32),
        reward_funcs=no_reward,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": ["go"] * rows}),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
    )
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer


def inputs_of(rows: list[dict[str, list[float]]], prompt: int, pad: int) -> dict[str, torch.Tensor]:
    """What TRL's generation would hand to its loss: prompt, then completion padded on the right."""
    longest = max(len(row["ids"]) for row in rows) - prompt

    def column(name: str, fill: float, dtype: torch.dtype) -> torch.Tensor:
        padded = [row[name][prompt:] + [fill] * (longest - len(row[name]) + prompt) for row in rows]
        return torch.tensor(padded, dtype=dtype)

    sizes = torch.tensor([len(row["ids"]) - prompt for row in rows])
    prompts = torch.tensor([row["ids"][:prompt] for row in rows])
    return {
        "prompt_ids": prompts,
        "prompt_mask": torch.ones_like(prompts),
        "completion_ids": column("ids", pad, torch.long),
        "completion_mask": (torch.arange(longest)[None] < sizes[:, None]).long(),
        "tool_mask": column("weight", 0.0, torch.long),
        "advantages": column("advantage", 0.0, torch.float32),
        "old_per_token_logps": column("logprobs", 0.0, torch.float32),
        "num_items_in_batch": torch.tensor(sum(sum(row["weight"]) for row in rows)),
    }


def main(folder: Path, repeats: int) -> None:
    torch.set_num_threads(1)
    data = json.loads((folder / "rows.json").read_text())
    began = time.process_time()
    trainer = trainer_of(folder, len(data["rows"]))
    made = time.process_time() - began
    inputs = inputs_of(data["rows"], data["prompt"], trainer.processing_class.pad_token_id)
    seconds = []
    for _ in range(repeats):
        trainer.model.zero_grad(set_to_none=True)
        began = time.process_time()
        loss = trainer.compute_loss(trainer.model, inputs)
        trainer.accelerator.backward(loss)
        seconds.append(time.process_time() - began)
    named = dict(trainer.model.named_parameters())
    np.save(
        folder / "gradient.npy",
        np.concatenate([named[name].grad.detach().numpy().ravel() for name in data["parameters"]]),
    )
    cells = inputs["prompt_ids"].numel() + inputs["completion_ids"].numel()
    result = {
        "loss": float(loss.detach()),
        "seconds": seconds,
        "cells": cells,
        "import_s": IMPORT_S,
        "trainer_s": made,
        "versions": {
            "trl": trl.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
