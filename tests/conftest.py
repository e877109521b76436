"""Every test: one thread, its own folder, nothing from the environment, and no network."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before torch is imported, here and in subprocesses
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TERM"] = "dumb"
os.environ["COLUMNS"] = "200"


def _refuse(self: socket.socket, address: object) -> None:
    if self.family == getattr(socket, "AF_UNIX", None):
        return _connect(self, address)  # type: ignore[arg-type]
    host = address[0] if isinstance(address, tuple) else address
    if host not in ("127.0.0.1", "::1", "localhost"):
        raise AssertionError(f"a test connects to {address!r}; tests use no network")
    return _connect(self, address)  # type: ignore[arg-type]


_connect = socket.socket.connect


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", _refuse)
    monkeypatch.delenv("FORCE_COLOR", raising=False)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is also the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def model() -> object:
    """A small untrained model with the words of ``KeyDoor(side=3)``."""
    from everystep.environments.places.keydoor import KeyDoor
    from everystep.models.tiny import tiny_model

    world = KeyDoor(side=3, horizon=6)
    texts = ["north", "south", "east", "west", "take", "you . holding key . nothing happens"]
    for number in range(12):
        task = world.task("train", number)
        texts += [task.instruction, world.observe(world.start(task)).text]
    return tiny_model(texts, size="0.02M", seed=0)
