"""A tiny model that learns to answer prompts: pairs of texts in, texts out, without a world."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from everystep.core.errors import ConfigError
from everystep.core.protocols import Request, Sampler, Sampling
from everystep.core.records import Action, End, Message, Observation, Sample, Step, Task, Trajectory
from everystep.learn.learner import LocalLearner
from everystep.learn.samples import supervised_sample
from everystep.learn.warm import imitate
from everystep.models.local import LocalModel, LocalSampler
from everystep.models.template import encode_turn
from everystep.models.tiny import Shape, tiny_model
from everystep.run.rollout import seed_of

Pair = tuple[str, str]
"""A prompt and its answer."""

_MARKS = re.compile(r'(["#.,=()])')


def spaced(text: str, *, line: int = 120) -> str:
    """Return a text whose quotes and marks stand alone, so that a word is one token wherever it stands, and whose lines end after ``line`` characters.

    >>> spaced('1 button #ok "Send"')
    '1 button  # ok  " Send " '
    """
    return "\n".join(_MARKS.sub(r" \1 ", one[:line]) for one in text.splitlines())


class Writer:
    """A model and its learner. ``tokens`` counts those that were trained on, prompts included; ``updates`` the optimiser's steps."""

    def __init__(self, model: LocalModel, *, seed: int = 0, max_tokens: int = 64) -> None:
        self.model, self.seed, self.max_tokens = model, seed, max_tokens
        self.tokens = self.updates = 0
        self._learner = LocalLearner(
            model.network, make_sampler=lambda policy: LocalSampler(model, policy=policy)
        )

    @classmethod
    def begin(
        cls,
        texts: Iterable[str],
        *,
        size: str | Shape = "0.1M",
        seed: int = 0,
        context: int = 1024,
        characters: bool = True,
        max_tokens: int = 64,
    ) -> Writer:
        """Return an untrained tiny model that knows the words of ``texts``, and spells others where it has ``characters``."""
        known = sorted(set(texts) - {""})
        made = tiny_model(known, size=size, seed=seed, context=context, characters=characters)
        return cls(made, seed=seed, max_tokens=max_tokens)

    def samples(self, pairs: Iterable[Pair]) -> list[Sample]:
        """Return the pairs as rows for the learner: the loss is on the answers."""
        return [self._sample(number, *pair) for number, pair in enumerate(pairs)]

    def learn(
        self, pairs: Sequence[Pair], *, updates: int, batch: int = 16, learning_rate: float = 4e-3
    ) -> dict[str, float]:
        """Do ``updates`` on random batches, the rate warmed up and falling to zero; return the mean of the numbers."""
        if not pairs:
            raise ConfigError("there is nothing to learn from: no pairs were given.")
        samples = self.samples(pairs)
        self.updates += updates
        self.tokens += round(updates * min(batch, len(samples)) * sum(len(one.ids) for one in samples) / len(samples))  # fmt: skip
        return imitate(
            self._learner, samples, first=0, last=updates, updates=updates, batch=batch, learning_rate=learning_rate,
            seed=seed_of(self.seed, "writing"),
        )  # fmt: skip

    def sampler(self) -> Sampler:
        """Return a sampler that reads the current weights."""
        return self._learner.sampler()

    def write(self, prompts: Sequence[str], *, temperature: float = 0.0, at_once: int = 64) -> list[str]:
        """Return an answer to each prompt."""
        sampler, found = self.sampler(), []
        sampling = Sampling(temperature=temperature, max_tokens=self.max_tokens)
        for first in range(0, len(prompts), at_once):
            requests = [
                Request(session=f"write{number}", messages=(Message(role="user", content=prompt),), seed=seed_of(self.seed, number))
                for number, prompt in enumerate(prompts[first : first + at_once], start=first)
            ]  # fmt: skip
            found += [one.text for one in sampler.sample(requests, sampling)]
            sampler.release([request.session for request in requests])
        return found

    def _sample(self, number: int, prompt: str, answer: str) -> Sample:
        asked = (Message(role="user", content=prompt),)
        step = Step(
            id=f"pair{number}/0", parent=None, index=0, observation=Observation(text=prompt), action=Action(text=answer),
            tokens=encode_turn(self.model.template, asked, answer, first=True, allowed=None),
        )  # fmt: skip
        task = Task(id=f"pair{number}", instruction="", environment="writing")
        return supervised_sample(
            Trajectory(id=f"pair{number}", task=task, group="", steps=(step,), end=End.DONE)
        )
