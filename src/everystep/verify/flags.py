"""Red flags: why a sampled answer looks ill and must not count.

A flag returns its reason or ``None``, and never raises for what a model wrote. Throwing ill answers away hardly changes the mean; it
is for the errors that samples share (MAKER, arXiv 2511.09030, section 3.3). ``Schema`` checks calls against JSON schemas and lives in ``schema.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from math import exp, isfinite
from operator import eq
from typing import ClassVar

from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.protocols import Candidate, Situation
from everystep.core.records import Action, Observation, Stop

_SHOWN = 200  # characters of a model's text in a reason
_LOOKED_AT = 20_000  # characters at the end of an answer in which loops are looked for
_PERIOD = 400  # the longest unit, in characters, of a loop at the end
_WORDS = 16  # the longest unit, in words, of a loop elsewhere


def shown(text: str) -> str:
    """Return a model's text as it may stand in a reason: quoted and short."""
    quoted = repr(text[: _SHOWN + 1])
    return quoted if len(quoted) <= _SHOWN else f"{quoted[:_SHOWN]}..."


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLong:
    """The answer is longer than ``max_tokens`` or ``max_chars``, or was cut off at the sampling limit.

    Where a model tells no token count only characters are checked.

    >>> TooLong()
    Traceback (most recent call last):
        ...
    everystep.core.errors.ConfigError: TooLong has no limit; give max_tokens, max_chars or both.
    """

    max_tokens: int | None = None
    max_chars: int | None = None
    name: ClassVar[str] = "too long"

    def __post_init__(self) -> None:
        if self.max_tokens is None and self.max_chars is None:
            raise ConfigError("TooLong has no limit; give max_tokens, max_chars or both.")

    def __call__(self, candidate: Candidate, situation: Situation) -> str | None:  # noqa: ARG002
        """Return why the answer is too long, or ``None``."""
        generation = candidate.generation
        if generation.stop is Stop.LENGTH:
            return "the answer was cut off at the token limit"
        written = generation.usage.completion or (
            0 if generation.tokens is None else len(generation.tokens.logprobs)
        )
        if self.max_tokens is not None and written > self.max_tokens:
            return f"{written} tokens; the limit is {self.max_tokens}"
        if self.max_chars is not None and len(generation.text) > self.max_chars:
            return f"{len(generation.text)} characters; the limit is {self.max_chars}"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Empty:
    """The answer has neither text nor calls."""

    name: ClassVar[str] = "empty"

    def __call__(self, candidate: Candidate, situation: Situation) -> str | None:  # noqa: ARG002
        """Return why the answer is empty, or ``None``."""
        blank = not candidate.action.text.strip() and not candidate.action.calls
        return "there is no text and no call" if blank else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BadFormat:
    """The parser could not read the answer. Nothing is repaired: an ill form goes with ill content."""

    name: ClassVar[str] = "bad format"

    def __call__(self, candidate: Candidate, situation: Situation) -> str | None:  # noqa: ARG002
        """Return what the parser said, or ``None``."""
        if candidate.action.valid:
            return None
        return (candidate.action.reason or "it cannot be read")[:_SHOWN]


@dataclass(frozen=True, slots=True)
class UnknownTool:
    """A call names a tool that does not exist."""

    tools: frozenset[str]
    name: ClassVar[str] = "unknown tool"

    def __init__(self, tools: Iterable[str]) -> None:
        object.__setattr__(self, "tools", frozenset(tools))

    def __call__(self, candidate: Candidate, situation: Situation) -> str | None:  # noqa: ARG002
        """Return the name that is unknown, or ``None``."""
        for call in candidate.action.calls:
            if call.name not in self.tools:
                return f"there is no tool {shown(call.name)}. {did_you_mean(call.name[:_SHOWN], self.tools)}"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAdmissible:
    """The observation lists what can be done now, and the answer is not among it."""

    name: ClassVar[str] = "not admissible"

    def __call__(self, candidate: Candidate, situation: Situation) -> str | None:
        """Return the action that is not admissible, or ``None``; anything goes where nothing is listed."""
        listed = situation.observation.admissible
        text = candidate.action.text
        if listed is None or text in listed or text.strip() in listed:
            return None
        return f"{shown(text.strip())} is not among the {len(listed)} admissible actions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """The action was tried ``times`` times in the last ``window`` steps with this same observation before it, and led back here.

    The situation must carry recent steps: a context with a window shows them. A tool that is polled on purpose needs a larger ``times``.
    """

    times: int = 2
    window: int = 8
    name: ClassVar[str] = "repeated"

    def __post_init__(self) -> None:
        if not 1 <= self.times <= self.window:
            raise ConfigError(
                f"{self.times!r} times in a window of {self.window!r}: expected 1 to as many as the window."
            )

    def __call__(self, candidate: Candidate, situation: Situation) -> str | None:
        """Return how often it was tried, or ``None``."""
        recent = situation.recent[-self.window :]
        if not recent:
            return None
        what, here = _deed(candidate.action), _sight(situation.observation)
        tried = sum(_deed(step.action) == what and _sight(step.observation) == here for step in recent)
        if tried < self.times:
            return None
        return f"tried {tried} times in the last {len(recent)} steps, and the observation is the same"


def _deed(action: Action) -> object:
    return [(call.name, call.arguments) for call in action.calls] or " ".join(action.text.split())


def _sight(observation: Observation) -> str:
    return observation.text if observation.anchor is None else observation.anchor


@dataclass(frozen=True, slots=True, kw_only=True)
class Looping:
    """The answer repeats one piece of text over and over: ``times`` times in a row, ``min_chars`` characters of it in all.

    At the end of the answer the piece has up to 400 characters, elsewhere up to 16 words; the last 20,000 characters are looked at.

    >>> looping = Looping()
    >>> looping.piece("so I move the disk. " * 30)
    ' so I move the disk.'
    >>> looping.piece("move disk 3 from a to c, then disk 1 from b to c") is None
    True
    """

    times: int = 6
    min_chars: int = 120
    name: ClassVar[str] = "looping"

    def __post_init__(self) -> None:
        if self.times < 2 or self.min_chars < 1:
            raise ConfigError(
                f"times {self.times!r}, min_chars {self.min_chars!r}: expected 2 or more, and 1 or more."
            )

    def __call__(self, candidate: Candidate, situation: Situation) -> str | None:  # noqa: ARG002
        """Return what is repeated, or ``None``."""
        piece = self.piece(candidate.generation.text)
        return None if piece is None else f"it repeats {shown(piece)}"

    def piece(self, text: str) -> str | None:
        """Return what ``text`` repeats, or ``None``."""
        text = text[-_LOOKED_AT:]
        if len(text) < self.min_chars:
            return None
        return self._at_the_end(text.rstrip()) or self._within(text.split())

    def _at_the_end(self, text: str) -> str | None:
        """A loop that goes on to the end, whole or broken off: a text with period p ends with its last p characters repeated."""
        for period in range(1, min(_PERIOD, len(text) // self.times) + 1):
            length = max(period * self.times, self.min_chars)
            if length <= len(text) and text[-length:-period] == text[len(text) - length + period :]:
                start = len(text) - length
                return text[start : start + period]
        return None

    def _within(self, words: list[str]) -> str | None:
        for period in range(1, min(_WORDS, len(words) // self.times) + 1):
            place = 0
            for same, group in groupby(map(eq, words, words[period:])):
                size = sum(1 for _ in group)
                if same and size + period >= period * self.times:
                    piece = words[place : place + period]
                    length = sum(map(len, piece)) + period
                    if length * (size + period) / period >= self.min_chars:
                        return " ".join(piece)
                place += size
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class LowMargin:
    """The model was unsure of its own words: the geometric mean of the token probabilities is below ``mean``, or one token's below ``least``.

    Where a model tells no log-probabilities nothing is said. Probabilities are those under the distribution that was sampled from.
    """

    mean: float = 0.0
    least: float = 0.0
    name: ClassVar[str] = "low margin"

    def __post_init__(self) -> None:
        if not (0 <= self.mean <= 1 and 0 <= self.least <= 1) or self.mean == self.least == 0:
            raise ConfigError(
                f"mean {self.mean!r}, least {self.least!r}: expected probabilities, one of them above 0."
            )

    def __call__(self, candidate: Candidate, situation: Situation) -> str | None:  # noqa: ARG002
        """Return the probability that is too low, or ``None``."""
        tokens = candidate.generation.tokens
        if tokens is None or not tokens.logprobs:
            return None
        if not all(map(isfinite, tokens.logprobs)):
            return "a log-probability is not a finite number"
        mean = exp(min(0.0, sum(tokens.logprobs) / len(tokens.logprobs)))
        least = exp(min(0.0, *tokens.logprobs, 0.0))
        if mean < self.mean:
            return f"a token has probability {mean:.3g} on average; the limit is {self.mean:g}"
        if least < self.least:
            return f"a token has probability {least:.3g}; the limit is {self.least:g}"
        return None
