"""What a run has cost, counted where it happens, so that "equal budget" can be checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from everystep.core.errors import ConfigError, did_you_mean


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Counters that only grow.

    >>> ledger = Ledger()
    >>> ledger.add(environment_steps=3, updates=1)
    >>> ledger.environment_steps
    3
    """

    environment_steps: int = 0
    episodes: int = 0
    candidate_steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    sampled_tokens: int = 0
    trained_tokens: int = 0
    judge_calls: int = 0
    tool_calls: int = 0
    updates: int = 0
    demonstrations: int = 0

    def add(self, **amounts: int) -> None:
        """Add to the named counters; a negative amount or an unknown counter raises."""
        _check(amounts)
        for name, amount in amounts.items():
            setattr(self, name, getattr(self, name) + amount)

    def as_dict(self) -> dict[str, int]:
        """Return all counters."""
        return asdict(self)

    @classmethod
    def from_dict(cls, counts: Mapping[str, int]) -> Ledger:
        """Rebuild a ledger from ``as_dict``."""
        _check(counts)
        return cls(**counts)


_COUNTERS = frozenset(f.name for f in fields(Ledger))


def _check(amounts: Mapping[str, int]) -> None:
    for name, amount in amounts.items():
        if name not in _COUNTERS:
            raise ConfigError(f"the ledger has no counter {name!r}. {did_you_mean(name, _COUNTERS)}")
        if not amount >= 0:
            raise ConfigError(f"cannot add {amount!r} to {name!r}: the counters of a ledger only grow.")
