"""A small world, a small untrained model over it, and how both are run."""

from __future__ import annotations

import pytest

from everystep.core.protocols import Sampling
from everystep.environments.keydoor import KeyDoor
from everystep.models.local import LocalModel
from everystep.models.tiny import tiny_model
from everystep.run.rollout import Limits

WORLD = KeyDoor(side=3, horizon=6)
SAMPLING, LIMITS = Sampling(max_tokens=4), Limits(max_steps=6)


@pytest.fixture(scope="session")
def model() -> LocalModel:
    texts = []
    for number in range(12):
        task = WORLD.task("train", number)
        texts += [task.instruction, WORLD.observe(WORLD.start(task)).text]
    texts += ["north", "south", "east", "west", "take", "you . holding key . nothing happens"]
    return tiny_model(texts, size="0.02M", seed=0)
