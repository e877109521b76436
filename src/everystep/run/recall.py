"""How a model is asked: how much of the conversation it is shown, and how many answers are drawn of which one is taken. Any sampler in, a sampler out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from everystep.core.errors import ConfigError
from everystep.core.protocols import AsyncSampler, Generation, Primes, Request, Sampler, Sampling, Turn, Usage
from everystep.core.records import Stop
from everystep.run.demonstrate import COPY
from everystep.run.rollout import seed_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """``window`` turns before this one are shown, besides the first, which holds the task; ``None`` shows all. Of ``votes`` answers the most frequent is taken.

    Answers are alike when their last lines are: what stands before may differ from sample to sample. Of equally frequent ones the first drawn is taken. An answer that is an error has no vote.
    """

    window: int | None = None
    votes: int = 1

    def __post_init__(self) -> None:
        if self.votes < 1 or (self.window is not None and self.window < 0):
            raise ConfigError(
                f"window is {self.window!r}, votes {self.votes!r}; expected 0 or more, and 1 or more."
            )


@dataclass(slots=True)
class _Book:
    """What was said in each conversation, and how the next turn of it is asked."""

    manner: Manner
    turns: dict[str, list[Turn]] = field(default_factory=dict)

    def shown(self, session: str) -> tuple[Turn, ...]:
        past, window = self.turns.get(session, []), self.manner.window
        if window is None or len(past) <= window + 1:
            return tuple(past)
        return (past[0], *past[len(past) - window :])

    def copies(self, request: Request) -> list[Request]:
        at = len(self.turns.get(request.session, []))
        return [
            replace(request, session=f"{request.session}{COPY}{at}.{number}", seed=seed_of(request.seed, str(number)) if number else request.seed)
            for number in range(self.manner.votes)
        ]  # fmt: skip

    def told(self, request: Request, made: Sequence[Generation]) -> Generation:
        taken = most_frequent(made)
        kept = Turn(messages=request.messages, text=taken.text)
        self.turns.setdefault(request.session, []).append(kept)
        usage = Usage(
            prompt=sum(one.usage.prompt for one in made),
            cached=sum(one.usage.cached for one in made),
            completion=sum(one.usage.completion for one in made),
        )
        return replace(taken, tokens=None, usage=usage)

    def forget(self, sessions: Sequence[str]) -> None:
        for session in sessions:
            self.turns.pop(session, None)


def most_frequent(made: Sequence[Generation]) -> Generation:
    """Return the answer whose last line most answers have, the first drawn of those; an error only where all are.

    >>> most_frequent([Generation(text=text, stop=Stop.STOP) for text in ("so\\n4", "5", "2 + 2\\n4")]).text
    'so\\n4'
    """
    whole = [one for one in made if one.stop is not Stop.ERROR]
    if not whole:
        return made[0]
    counts = Counter(map(_last_line, whole))
    return max(whole, key=lambda one: counts[_last_line(one)])


def _last_line(one: Generation) -> str:
    lines = [line.strip() for line in one.text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _primed(sampler: object, session: str, turns: Sequence[Turn]) -> None:
    if not turns:
        return
    if not isinstance(sampler, Primes):
        raise ConfigError(
            f"{type(sampler).__name__} cannot be put behind turns that were taken before, so it can only be asked for one turn like this."
        )
    sampler.prime(session, turns)


class Recalling:
    """A sampler that asks ``of`` in a manner: each turn in conversations of its own, put behind what is shown."""

    def __init__(self, of: Sampler, manner: Manner) -> None:
        self._of, self._book = of, _Book(manner)

    @property
    def policy(self) -> str:
        """The policy of the model that is asked."""
        return self._of.policy

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """Ask all copies of all requests together."""
        groups = [self._book.copies(request) for request in requests]
        for request, group in zip(requests, groups, strict=True):
            for one in group:
                _primed(self._of, one.session, self._book.shown(request.session))
        asked = [one for group in groups for one in group]
        made = iter(self._of.sample(asked, sampling))
        self._of.release([one.session for one in asked])
        return [
            self._book.told(request, [next(made) for _ in group])
            for request, group in zip(requests, groups, strict=True)
        ]

    def release(self, sessions: Sequence[str]) -> None:
        """Forget what was said."""
        self._book.forget(sessions)


class RecallingAsync:
    """The same for a sampler that answers each request on its own."""

    def __init__(self, of: AsyncSampler, manner: Manner) -> None:
        self._of, self._book = of, _Book(manner)

    @property
    def policy(self) -> str:
        """The policy of the model that is asked."""
        return self._of.policy

    async def sample_one(self, request: Request, sampling: Sampling) -> Generation:
        """Ask all copies of a request side by side."""
        asked = self._book.copies(request)
        for one in asked:
            _primed(self._of, one.session, self._book.shown(request.session))
        try:
            made = await asyncio.gather(*(self._of.sample_one(one, sampling) for one in asked))
        finally:
            self._of.release([one.session for one in asked])
        return self._book.told(request, made)

    def release(self, sessions: Sequence[str]) -> None:
        """Forget what was said."""
        self._book.forget(sessions)


def recalling(of: Sampler | AsyncSampler, manner: Manner) -> Sampler | AsyncSampler:
    """Return a sampler that asks ``of`` in a manner."""
    return RecallingAsync(of, manner) if isinstance(of, AsyncSampler) else Recalling(of, manner)
