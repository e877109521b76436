"""Low-rank adapters on a local model (Hu et al., 2021), through peft."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from everystep.core.errors import ConfigError, ModelError
from everystep.models.local import LocalModel


def with_lora(
    model: LocalModel,
    *,
    rank: int = 16,
    alpha: int | None = None,
    targets: str | tuple[str, ...] = "all-linear",
    seed: int = 0,
) -> LocalModel:
    """Return ``model`` with LoRA adapters: only they have gradients, and only they are saved.

    The adapters are put into the network of ``model`` itself, so its memory is shared; at first they change
    nothing. ``alpha`` is 2 * ``rank`` by default; ``targets`` are peft's names of the linear layers.
    The global random state is left alone. A model that has adapters already raises ``ConfigError``.
    """
    _bare(model)
    if rank < 1:
        raise ConfigError(f"rank {rank!r}: expected at least 1.")
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        target_modules=targets if isinstance(targets, str) else list(targets),
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        adapter = get_peft_model(model.network, config)
    adapter.eval()
    return replace(model, network=adapter.get_base_model(), adapter=adapter, name=f"{model.name}+lora{rank}")


def load_lora(model: LocalModel, folder: Path) -> LocalModel:
    """Return ``model`` with the adapters that ``LocalModel.save`` wrote into ``folder``, trainable."""
    _bare(model)
    if not (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"no adapter in {str(folder)!r}: adapter_config.json is missing. Name a saved adapter's folder."
        )
    adapter = PeftModel.from_pretrained(model.network, folder, is_trainable=True)
    adapter.eval()
    return replace(model, network=adapter.get_base_model(), adapter=adapter, name=f"{model.name}+lora")


def _bare(model: LocalModel) -> None:
    if model.adapter is not None:
        raise ConfigError(f"model {model.name!r} has adapters already. Start from the model without them.")
