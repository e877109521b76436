"""The numbers of one ``forward_backward``, gathered over its micro-batches."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from everystep.learn.losses import PolicyTerms
from everystep.learn.packing import Packed


class Meter:
    """Gathers the numbers of one ``forward_backward`` over its micro-batches."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}
        self._totals: dict[str, float] = {"loss": 0.0, "tokens": 0.0, "cells": 0.0, "trained_tokens": 0.0}
        self._ratio_max = 0.0

    def add(self, name: str, values: Tensor) -> None:
        """Note one number a token, to be averaged."""
        pair = self._sums.setdefault(name, [0.0, 0.0])
        pair[0] += float(values.sum())
        pair[1] += values.numel()

    def policy(self, terms: PolicyTerms, gap: Tensor) -> None:
        """Note ratios and clips, and ``gap`` = old - new log-probability, whose mean estimates the divergence."""
        self.add("clip_fraction", terms.clipped.float())
        self.add("dual_clip_fraction", terms.dual_clipped.float())
        self.add("approximate_kl", gap)
        self.add("ratio_mean", terms.ratio)
        self._ratio_max = max(self._ratio_max, float(terms.ratio.max()))

    def batch(self, parts: Mapping[str, Tensor], packed: Packed, *, trained: int) -> None:
        """Note the parts of the loss of one micro-batch, to be added up, and its size."""
        for name, value in parts.items():
            number = float(value.detach())
            self._totals[name] = self._totals.get(name, 0.0) + number
            self._totals["loss"] += number
        self._totals["tokens"] += packed.tokens
        self._totals["cells"] += packed.ids.size
        self._totals["trained_tokens"] += trained

    def metrics(self) -> dict[str, float]:
        means = {name: total / count for name, (total, count) in self._sums.items() if count}
        return self._totals | means | ({"ratio_max": self._ratio_max} if "ratio_mean" in means else {})
