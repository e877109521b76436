"""Where the numbers of a run can go: TensorBoard, W&B and its likes, JSON lines.

The libraries are optional and are imported when a logger is made, so that a missing one is named before
the run starts and not after.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from everystep.core.errors import ConfigError


class JsonLines:
    """Prints one JSON object a line: ``step`` and the numbers. A number that is not finite becomes ``null``.

    >>> import sys
    >>> JsonLines(sys.stdout).log(3, {"success": 0.5, "loss": float("nan")})
    {"step": 3, "success": 0.5, "loss": null}
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        values = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        self._stream.write(json.dumps({"step": step, **values}, allow_nan=False) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Leave the stream open: it belongs to the caller."""


class TensorBoardLogger:
    """Writes TensorBoard events into ``folder``, made if it is missing. It needs no torch.

    Raises ``ConfigError`` if tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        module = _imported("tensorboard.summary", "tensorboard")
        folder.mkdir(parents=True, exist_ok=True)
        self._writer: Any = module.Writer(str(folder))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left and close the files."""
        self._writer.close()


class WandbLogger:
    """Logs to W&B, or to a module with the same ``init``, ``log`` and ``finish``, such as trackio.

    Raises ``ConfigError`` if the module is not installed or lacks one of the three.
    """

    def __init__(
        self,
        *,
        module: str = "wandb",
        project: str = "everystep",
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self._module: Any = _imported(module, module)
        missing = [word for word in ("init", "log", "finish") if getattr(self._module, word, None) is None]
        if missing:
            raise ConfigError(
                f"module {module!r} has no {', '.join(missing)}; expected wandb, trackio or another with the same interface."
            )
        self._module.init(project=project, name=name, config=dict(config or {}))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._module.log(dict(metrics), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._module.finish()


def _imported(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"logging to {package} needs a package that is not installed ({error}). "
            f"Install it with: pip install {package}"
        ) from None
