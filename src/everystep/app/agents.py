"""The ways to ask a model that ``--agent`` can name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from everystep.app.run_models import python_file
from everystep.app.run_options import number
from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.protocols import AsyncSampler, Sampler
from everystep.run.recall import Manner, recalling

KNOWN = ("plain", "window", "vote")
Model = Sampler | AsyncSampler


def agent_of(spec: str) -> Callable[[Model], Model]:
    """Return what makes an agent of a model: ``plain``, ``window:N``, ``vote:N``, both with a comma between them, or ``FILE.py`` with a function ``agent(sampler)``."""
    if spec.endswith(".py"):
        return _own(spec)
    given = {}
    for part in spec.split(","):
        name, sign, told = part.strip().partition(":")
        if name not in KNOWN or bool(sign) is (name == "plain"):
            raise ConfigError(
                f"--agent {spec!r}: expected plain, window:N, vote:N or FILE.py. {did_you_mean(name, KNOWN)}"
            )
        if sign:
            given[name] = number(told, int, "agent")
    if not given:
        return lambda model: model
    manner = Manner(window=given.get("window"), votes=given.get("vote", 1))
    return lambda model: recalling(model, manner)


def _own(path: str) -> Callable[[Model], Model]:
    make = python_file(Path(path)).get("agent")
    if not callable(make):
        raise ConfigError(f"{path!r} defines no function agent(sampler) that returns a sampler.")

    def made(model: Model) -> Model:
        found = make(model)
        if not isinstance(found, (Sampler, AsyncSampler)):
            raise ConfigError(
                f"agent(sampler) of {path!r} returned {type(found).__name__}; expected a sampler (policy, sample or sample_one, release)."
            )
        return found

    return made
