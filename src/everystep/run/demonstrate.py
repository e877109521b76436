"""Demonstrations: an environment's oracle, with stated clumsiness, in the place of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from everystep.core.errors import ConfigError, WorldError
from everystep.core.protocols import Generation, Request, Sampling
from everystep.core.records import Stop, Trajectory
from everystep.models.template import Template, encode_turn
from everystep.run.hosts import Hosts
from everystep.run.rollout import messages_of


class Demonstrator:
    """A sampler whose answers are the oracle's, and with probability ``error_rate`` a random other one.

    The random answers come from the request's seed, so demonstrations repeat to the bit.
    """

    def __init__(
        self,
        hosts: Hosts,
        *,
        error_rate: float = 0.0,
    ) -> None:
        if not 0.0 <= error_rate <= 1.0:
            raise ConfigError(f"the demonstrator's error rate is {error_rate!r}; it must lie in 0 to 1.")
        self.hosts = hosts
        self.error_rate = error_rate
        self.policy = f"oracle-{error_rate:g}"

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
        return Generation(text=answer, stop=Stop.STOP)

    def release(self, sessions: Sequence[str]) -> None:
        """Do nothing: an oracle remembers no conversation."""


def with_tokens(trajectory: Trajectory, template: Template, *, constrain: bool = True) -> Trajectory:
    """Return ``trajectory`` with the tokens that a model with this template would have made of it.

    This is how demonstrations and imported trajectories become training rows that look exactly like
    the model's own. With ``constrain`` the allowed sets are those of the admissible actions.
    """
    steps = []
    for number, step in enumerate(trajectory.steps):
        allowed = step.observation.admissible if constrain else None
        tokens = encode_turn(
            template,
            messages_of(trajectory.task, step.observation, first=number == 0),
            step.action.text,
            first=number == 0,
            allowed=allowed if allowed and step.action.text in allowed else None,
        )
        steps.append(replace(step, tokens=tokens))
    return replace(trajectory, steps=tuple(steps))
