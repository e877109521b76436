"""Models that are told what to answer: scripts, stated error rates, and teachers for supervised training.

They ship with the library because simulations, tests and demonstrations are made with them. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from random import Random
from typing import Protocol

from everystep.core.errors import ConfigError, ModelError
from everystep.core.protocols import Generation, Primes, Request, Sampler, Sampling, Turn, Usage
from everystep.core.records import Stop
from everystep.models.template import Template, encode_turn

Answer = Callable[[Request], str]
"""What to answer to a request."""

Corrupt = Callable[[Request, str, Random], str]
"""A wrong answer in place of the right one, for requests that list no allowed answers."""


class HasTemplate(Protocol):
    """Anything that carries a template, such as a ``LocalModel``."""

    @property
    def template(self) -> Template: ...


class Teacher:
    """Turns given answers into generations with the tokens that ``model`` would have written.

    A row of a teacher's records is token for token a row of generation, so supervised training and
    sampling see the same thing. Log-probabilities are 0 (the teacher is certain). ``sets`` records the
    allowed ids at each token for requests that list allowed answers.
    """

    def __init__(self, model: HasTemplate, *, sets: bool = True, policy: str = "teacher") -> None:
        self.template = model.template
        self.sets = sets
        self.policy = policy
        self._open: set[str] = set()

    def answer(self, request: Request, text: str) -> Generation:
        """Return ``text`` as the answer to ``request``, with tokens; a text outside ``allowed`` has no sets."""
        allowed = request.allowed if self.sets and text in (request.allowed or ()) else None
        first = request.session not in self._open
        record = encode_turn(
            self.template, request.messages, text, first=first, allowed=allowed, policy=self.policy
        )
        self._open.add(request.session)
        usage = Usage(prompt=len(record.ids) - len(record.logprobs), completion=len(record.logprobs))
        return Generation(text=text, stop=_stop(request, text), tokens=record, usage=usage)

    def release(self, sessions: Sequence[str]) -> None:
        """Forget conversations."""
        self._open.difference_update(sessions)

    def follow(self, session: str) -> None:
        """Treat ``session`` as a conversation that has begun (a fork, or a replayed prefix)."""
        self._open.add(session)


class Scripted:
    """A sampler that answers from a script.

    ``answers`` is a function of the request, one list for every session, or a list for each session
    by name; lists are read turn by turn, and their end gives ``Stop.ERROR``. With ``model`` the
    generations carry tokens.
    """

    def __init__(
        self,
        answers: Answer | Sequence[str] | Mapping[str, Sequence[str]],
        *,
        model: HasTemplate | None = None,
        policy: str = "scripted",
    ) -> None:
        if isinstance(answers, str):
            raise ConfigError(f"answers {answers!r} is one text; expected a list of texts or a function.")
        self.answers = answers
        self._policy = policy
        self._teacher = None if model is None else Teacher(model, policy=policy)
        self._turns: dict[str, int] = {}

    @property
    def policy(self) -> str:
        return self._policy

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:  # noqa: ARG002
        """Answer all requests; the sampling settings do not apply."""
        return [self._answer(request) for request in requests]

    def release(self, sessions: Sequence[str]) -> None:
        """Forget conversations, so that their scripts start over."""
        for session in sessions:
            self._turns.pop(session, None)
        if self._teacher:
            self._teacher.release(sessions)

    def fork(self, session: str, new_session: str) -> None:
        """Continue the script of ``session`` in ``new_session`` from the same turn."""
        self._start(new_session, self._turns.get(session, 0))

    def prime(self, session: str, turns: Sequence[Turn]) -> None:
        """Start ``session`` behind turns that were taken before."""
        self._start(session, len(turns))

    def _start(self, session: str, turn: int) -> None:
        self._turns[session] = turn
        if self._teacher and turn:
            self._teacher.follow(session)

    def _answer(self, request: Request) -> Generation:
        turn = self._turns.get(request.session, 0)
        if callable(self.answers):
            text = self.answers(request)
        else:
            script = (
                self.answers.get(request.session, ()) if isinstance(self.answers, Mapping) else self.answers
            )
            if turn >= len(script):
                why = f"the script of session {request.session!r} has {len(script)} answers and was asked for one more"
                return Generation(text="", stop=Stop.ERROR, error=f"{why}. Lengthen the script.")
            text = script[turn]
        self._turns[request.session] = turn + 1
        if self._teacher is None:
            return Generation(text=text, stop=_stop(request, text))
        try:
            return self._teacher.answer(request, text)
        except ModelError as error:
            return Generation(text="", stop=Stop.ERROR, error=str(error))


class Noisy:
    """A sampler whose answers are wrong with a stated probability.

    With probability ``error_rate`` the answer of ``inner`` is replaced by another allowed one, drawn
    evenly (or by ``corrupt`` where the request lists none). A share ``correlated`` of the states errs
    systematically: there, whether the answer is wrong and which wrong one it is depend on the state
    only (the last message and the allowed answers), so that voting does not help; elsewhere they
    depend on the request's seed. The rate over states is ``error_rate`` either way. The same seeds
    give the same errors.

    ``inner`` must not carry tokens, for they would be those of the right answer: give ``model`` here.
    """

    def __init__(
        self,
        inner: Sampler,
        *,
        error_rate: float,
        correlated: float = 0.0,
        corrupt: Corrupt | None = None,
        model: HasTemplate | None = None,
        seed: int = 0,
    ) -> None:
        for name, value in (("error_rate", error_rate), ("correlated", correlated)):
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"{name} {value!r}: expected a probability, 0 to 1.")
        self.inner = inner
        self.error_rate = error_rate
        self.correlated = correlated
        self.corrupt = corrupt
        self.seed = seed
        self._teacher = None if model is None else Teacher(model)

    @property
    def policy(self) -> str:
        return f"{self.inner.policy}+noise{self.error_rate:g}"

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """Answer all requests, some of them wrongly."""
        answers = self.inner.sample(requests, sampling)
        return [self._noised(request, answer) for request, answer in zip(requests, answers, strict=True)]

    def release(self, sessions: Sequence[str]) -> None:
        """Forget conversations."""
        self.inner.release(sessions)
        if self._teacher:
            self._teacher.release(sessions)

    def prime(self, session: str, turns: Sequence[Turn]) -> None:
        """Put the inner sampler behind turns that were taken before; noise has no memory."""
        if not isinstance(self.inner, Primes):
            raise ConfigError(f"{type(self.inner).__name__} cannot continue from stored turns. Start afresh.")
        self.inner.prime(session, turns)

    def _noised(self, request: Request, answer: Generation) -> Generation:
        if answer.stop is Stop.ERROR:
            return answer
        if answer.tokens is not None:
            raise ConfigError(
                "the inner sampler of Noisy carries tokens. Give model to Noisy, not to the inner one."
            )
        text = self._text(request, answer.text)
        if self._teacher is not None:
            return self._teacher.answer(request, text)
        return Generation(text=text, stop=_stop(request, text), usage=answer.usage)

    def _text(self, request: Request, right: str) -> str:
        state = _random(
            "state", self.seed, *(m.content for m in request.messages[-1:]), *(request.allowed or ())
        )
        random = state if state.random() < self.correlated else _random("request", self.seed, request.seed)
        if random.random() >= self.error_rate:
            return right
        if self.corrupt is not None:
            return self.corrupt(request, right, random)
        if request.allowed is None:
            raise ConfigError(
                "Noisy can only err among allowed answers, and this request lists none. Give corrupt."
            )
        others = [text for text in request.allowed if text != right]
        return random.choice(others) if others else right


def _random(*key: object) -> Random:
    digest = sha256("\x1f".join(map(str, key)).encode("utf-8", "replace")).digest()
    return Random(int.from_bytes(digest[:8], "big"))


def _stop(request: Request, text: str) -> Stop:
    return Stop.ALLOWED if text in (request.allowed or ()) else Stop.STOP
