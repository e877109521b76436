"""Checkpoints of a learner: safetensors and JSON in one folder, written whole or not at all. No pickle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from everystep.core.errors import StoreError

FORMAT = 1
STATE = "state.json"


def write(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> None:
    """Write ``{file: {name: tensor}}`` and the JSON ``state`` to ``folder``, replacing what was there.

    Everything goes to a folder beside it that is renamed at the end: a crash leaves the old checkpoint or
    the new one. Raises ``StoreError`` where the folder cannot be written.
    """
    try:
        temporary = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    except OSError as error:
        raise StoreError(
            f"cannot write a checkpoint to {str(folder)!r}: {error}. Choose another folder."
        ) from None
    try:
        digests = {}
        for name, values in tensors.items():
            path = temporary / name
            save_file({key: value.detach().cpu().contiguous() for key, value in values.items()}, path)
            digests[name] = _digest(path)
        text = json.dumps({"format": FORMAT, "files": digests, **state}, indent=1, sort_keys=True)
        (temporary / STATE).write_text(text, encoding="utf-8")
        for path in temporary.iterdir():
            _sync(path)
        _swap(temporary, folder)
    except OSError as error:
        raise StoreError(
            f"cannot write a checkpoint to {str(folder)!r}: {error}. Free space or choose another folder."
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Return tensors and state of a checkpoint; ``StoreError`` names the file that is missing or damaged."""
    if not folder.exists() and _previous(folder).exists():
        folder = _previous(folder)  # a crash between the two renames of a save
    state = _state(folder)
    tensors = {}
    for name, digest in state["files"].items():
        path = folder / name
        if not path.is_file():
            raise StoreError(f"checkpoint file {str(path)!r} is missing. {_REMEDY}")
        if _digest(path) != digest:
            raise StoreError(
                f"checkpoint file {str(path)!r} is damaged: it is not what was written. {_REMEDY}"
            )
        try:
            tensors[name] = load_file(path)
        except (SafetensorError, OSError) as error:
            raise StoreError(f"checkpoint file {str(path)!r} cannot be read: {error}. {_REMEDY}") from None
    return tensors, state


def match(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Raise ``StoreError`` where the names or shapes of a checkpoint are not those of the network."""
    lacking, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if lacking or extra:
        first = f"lacks {lacking[0]!r}" if lacking else f"has {extra[0]!r}, which the network lacks"
        raise StoreError(
            f"checkpoint file {str(path)!r} is of another architecture: it {first} "
            f"({len(lacking)} missing, {len(extra)} unknown). Load it into the model that it was saved from."
        )
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape or found[name].dtype != tensor.dtype:
            raise StoreError(
                f"checkpoint file {str(path)!r}: {name!r} is {tuple(found[name].shape)} {found[name].dtype}, the network "
                f"has {tuple(tensor.shape)} {tensor.dtype}. Load it into the model that it was saved from."
            )


_REMEDY = "Load another checkpoint, or save this one again."


def _state(folder: Path) -> dict[str, Any]:
    path = folder / STATE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(
            f"checkpoint file {str(path)!r} is missing: {str(folder)!r} is no checkpoint of a learner. {_REMEDY}"
        ) from None
    except (OSError, ValueError) as error:
        raise StoreError(f"checkpoint file {str(path)!r} cannot be read: {error}. {_REMEDY}") from None
    if (
        not isinstance(state, dict)
        or state.get("format") != FORMAT
        or not isinstance(state.get("files"), dict)
    ):
        raise StoreError(
            f"checkpoint file {str(path)!r} is not of format {FORMAT}. Load it with the version that wrote it."
        )
    return state


def _swap(temporary: Path, folder: Path) -> None:
    previous = _previous(folder)
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        os.rename(folder, previous)
    os.rename(temporary, folder)
    _sync(folder.parent)
    shutil.rmtree(previous, ignore_errors=True)


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.previous")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
