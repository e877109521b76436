"""How far preference labels can be trusted: the share of pairs whose label agrees with known values of both sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from everystep.core.errors import DataError
from everystep.core.records import PreferencePair


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Counts of pairs: the chosen side is worth more, both are worth the same, all."""

    right: int
    tied: int
    pairs: int

    @property
    def share(self) -> float:
        """The share of right labels among all pairs; a tie is not right. Without pairs it is 0."""
        return self.right / self.pairs if self.pairs else 0.0


def agreement(pairs: Iterable[PreferencePair], values: Mapping[str, float]) -> Agreement:
    """Compare the labels of ``pairs`` with ``values`` by step or trajectory id; a side without a value is a ``DataError``."""
    right = tied = count = 0
    for pair in pairs:
        missing = [name for name in (pair.chosen, pair.rejected) if name not in values]
        if missing:
            raise DataError(f"{missing[0]!r} has no value to compare the label of its pair with.")
        gap = values[pair.chosen] - values[pair.rejected]
        right += gap > 0
        tied += gap == 0
        count += 1
    return Agreement(right=right, tied=tied, pairs=count)
