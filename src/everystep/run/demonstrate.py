"""Demonstrations: an environment's oracle, with stated clumsiness, in the place of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from everystep.core.errors import ConfigError, WorldError
from everystep.core.protocols import Generation, Request, Sampling
from everystep.core.records import Stop
from everystep.run.hosts import Hosts

Encode = Callable[[Request, str], Generation]
"""Write a given answer down as a model's own turn, with its tokens."""


def plain(request: Request, text: str) -> Generation:  # noqa: ARG001 -- the form of ``Encode``
    """Write an answer down without tokens."""
    return Generation(text=text, stop=Stop.STOP)


class Demonstrator:
    """A sampler whose answers are the oracle's, and with probability ``error_rate`` a random other one.

    The random answers come from the request's seed, so demonstrations repeat to the bit.
    """

    def __init__(
        self,
        hosts: Hosts,
        *,
        error_rate: float = 0.0,
        encode: Encode = plain,
        forget: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        if not 0.0 <= error_rate <= 1.0:
            raise ConfigError(f"the demonstrator's error rate is {error_rate!r}; it must lie in 0 to 1.")
        self.hosts = hosts
        self.error_rate = error_rate
        self.policy = f"oracle-{error_rate:g}"
        self._encode = encode
        self._forget = forget

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:  # noqa: ARG002
        """Answer each request with the oracle of its episode; the sampling settings do not apply."""
        answers = self.hosts.oracle([request.session for request in requests])
        return [self._answer(request, answer) for request, answer in zip(requests, answers, strict=True)]

    def _answer(self, request: Request, answer: str | WorldError) -> Generation:
        if isinstance(answer, WorldError):
            return Generation(text="", stop=Stop.ERROR, error=str(answer))
        random = Random(request.seed)
        if self.error_rate and random.random() < self.error_rate:
            others = [text for text in request.allowed or () if text != answer]
            if not others:
                raise ConfigError(
                    "the demonstrator can only err among listed actions; this environment lists none. "
                    "Set the error rate to 0."
                )
            answer = random.choice(others)
        return self._encode(request, answer)

    def release(self, sessions: Sequence[str]) -> None:
        """Forget conversations."""
        if self._forget is not None:
            self._forget(sessions)
