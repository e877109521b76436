"""One turn of one local conversation while it is generated, and when free text ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from everystep.core.errors import ConfigError
from everystep.core.protocols import Request, Sampling
from everystep.core.records import Stop
from everystep.models.draw import uniforms
from everystep.models.template import Context, Template
from everystep.models.trie import Node


@dataclass(slots=True)
class Session:
    """A conversation: its cache row, and the tokens at its end that were not read into the cache yet."""

    row: int
    pending: list[int] = field(default_factory=list)
    turns: int = 0


@dataclass(slots=True)
class Pending:
    """One turn while it is generated. ``feed`` are the tokens that the network has not read yet."""

    index: int
    request: Request
    session: Session
    context: Context
    cached: int
    feed: list[int]
    node: Node | None
    limit: int
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    allowed: list[tuple[int, ...]] = field(default_factory=list)
    forced: tuple[int, ...] = ()
    text: str = ""
    stop: Stop | None = None
    error: str | None = None

    def take(self, token: int, logprob: float) -> None:
        self.ids.append(token)
        self.logprobs.append(logprob)
        self.feed.append(token)

    def descend(self, token: int, logprob: float) -> None:
        """Take an allowed token, and all tokens after it that have no alternative."""
        assert self.node is not None  # noqa: S101
        self.allowed.append(self.node.ids)
        self.node = self.node.next[token]
        self.take(token, logprob)
        self.skip()

    def skip(self) -> None:
        """Take all tokens that have no alternative."""
        assert self.node is not None  # noqa: S101
        while len(self.node.ids) == 1:
            token = self.node.ids[0]
            self.allowed.append(self.node.ids)
            self.node = self.node.next[token]
            self.take(token, 0.0)
        if self.node.text is not None:
            self.text, self.stop = self.node.text, Stop.ALLOWED


def check_sampling(sampling: Sampling) -> None:
    """Raise ``ConfigError`` for options out of range."""
    temperature = sampling.temperature
    if not (temperature == 0.0 or 0.01 <= temperature < math.inf):
        raise ConfigError(f"temperature {temperature!r}: expected 0 (greedy) or at least 0.01.")
    if not 0.0 < sampling.top_p <= 1.0:
        raise ConfigError(f"top_p {sampling.top_p!r}: expected more than 0 and at most 1.")
    if sampling.max_tokens < 1:
        raise ConfigError(f"max_tokens {sampling.max_tokens!r}: expected at least 1.")
    if "" in sampling.stop:
        raise ConfigError("a stop string is empty, which would stop every answer at once. Remove it.")


def points(turns: Sequence[Pending]) -> npt.NDArray[np.float64]:
    """Return the next random number of each turn's own stream."""
    return uniforms([turn.request.seed for turn in turns], [len(turn.ids) for turn in turns])


def check_number(turn: Pending, logprob: float) -> None:
    """End the turn with an error when the model gave no number."""
    if not math.isfinite(logprob):
        turn.error = "the model's output is not a number: its weights are damaged, or training diverged"
        turn.stop = Stop.ERROR


def text_before_stop(template: Template, ids: list[int], stops: tuple[str, ...]) -> str | None:
    """Return the text before the first stop string, ``None`` where there is none."""
    if not stops:
        return None
    tail = template.decode(tuple(ids[-max(map(len, stops)) - 4 :]))
    if not any(stop in tail for stop in stops):
        return None
    text = template.decode(tuple(ids))
    ends = [text.index(stop) for stop in stops if stop in text]
    return text[: min(ends)] if ends else None
