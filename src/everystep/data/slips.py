"""Wrong steps of a model on the way of a known solution (S3c-Math: sampling from existing paths).

At a step of a correct solution a model is put behind what stands there, and continues it several times; a continuation that a check calls wrong is taken
in the place of the right step. With a teacher that corrects it (``data.corrections``) the solution goes on: prefix, wrong step, reflection, improved step, rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from everystep.core.errors import ConfigError
from everystep.core.protocols import Generation, Primes, Request, Sampler, Sampling, Turn
from everystep.core.records import Stop
from everystep.run.rollout import seed_of

When = Callable[[str, int], bool]
"""Whether to slip at a turn (0-based) of a session."""

Wrong = Callable[[str, str], bool]
"""Given the right step and another one, whether the other one is wrong (and still a step)."""


def once(turns: int, seed: int = 0) -> When:
    """Slip once a session, at one of its first ``turns`` turns, each as likely."""

    def when(session: str, turn: int) -> bool:
        return seed_of(seed, session) % turns == turn

    return when


def now_and_then(rate: float, seed: int = 0) -> When:
    """Slip at each turn with probability ``rate``."""

    def when(session: str, turn: int) -> bool:
        return Random(seed_of(seed, session, turn)).random() < rate

    return when


def another(right: str, other: str) -> bool:
    """Say that any other text is wrong, but for spaces: it disagrees with the reference step."""
    return bool(other.strip()) and other.split() != right.split()


class Slips:
    """A sampler that answers as ``right`` does and, ``when`` it is time, with a wrong answer of ``model`` instead.

    ``model`` is put behind the very turns of the session and asked ``width`` times with ``sampling``; the first answer that is ``wrong`` is taken, and the
    right one where there is none. ``right`` is put behind the turns without the slips: a script of the solution goes on with the right
    step after that which was corrected. ``slipped`` and ``missed`` count the slips and the turns without a wrong answer.
    """

    def __init__(
        self,
        right: Sampler,
        model: Sampler,
        *,
        when: When,
        sampling: Sampling,
        wrong: Wrong = another,
        width: int = 4,
    ) -> None:
        for sampler in (right, model):
            if not isinstance(sampler, Primes):
                raise ConfigError(
                    f"{type(sampler).__name__} cannot be put behind turns. Use a model that can be primed."
                )
        if width < 1:
            raise ConfigError(f"width is {width!r}; it must be 1 or more.")
        self.right, self.model, self.when, self.wrong = right, model, when, wrong
        self.sampling, self.width = sampling, width
        self.slipped = self.missed = 0
        self._turns: dict[str, list[Turn]] = {}
        self._wrong: dict[str, set[int]] = {}

    @property
    def policy(self) -> str:
        return f"{self.right.policy}, slips of {self.model.policy}"

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """Answer all requests."""
        for one in requests:
            if one.session not in self._turns:
                self._wrong.pop(one.session, None)  # a name that begins anew
        answers = self.right.sample(requests, sampling)
        places = [len(self._turns.get(one.session, ())) for one in requests]
        due = [
            at
            for at, (one, answer) in enumerate(zip(requests, answers, strict=True))
            if answer.stop is not Stop.ERROR and self.when(one.session, places[at])
        ]
        for at, slip in zip(
            due, self._slips([requests[at] for at in due], [answers[at] for at in due]), strict=True
        ):
            if slip is None:
                self.missed += 1
            else:
                self.slipped += 1
                answers[at] = slip
                self._wrong.setdefault(requests[at].session, set()).add(places[at])
        for one, answer in zip(requests, answers, strict=True):
            turn = Turn(messages=one.messages, text=answer.text, tokens=answer.tokens)
            self._turns.setdefault(one.session, []).append(turn)
        changed = [
            requests[at].session for at in due if places[at] in self._wrong.get(requests[at].session, ())
        ]
        for session in changed:
            self._behind(session)
        return answers

    def release(self, sessions: Sequence[str]) -> None:
        """Forget conversations, but not where they slipped: they may be primed again."""
        self.right.release(sessions)
        for session in sessions:
            self._turns.pop(session, None)

    def prime(self, session: str, turns: Sequence[Turn]) -> None:
        """Start ``session`` behind turns that were taken before."""
        self._turns[session] = list(turns)
        self._behind(session)

    def _behind(self, session: str) -> None:
        assert isinstance(self.right, Primes)  # noqa: S101
        slips = self._wrong.get(session, set())
        kept = [turn for at, turn in enumerate(self._turns[session]) if at not in slips]
        self.right.release([session])
        self.right.prime(session, kept)

    def _slips(self, requests: Sequence[Request], right: Sequence[Generation]) -> list[Generation | None]:
        assert isinstance(self.model, Primes)  # noqa: S101
        asked: list[Request] = []
        for one in requests:
            for number in range(self.width):
                session = f"{one.session}~slip{number}"
                if self._turns.get(one.session):
                    self.model.prime(session, self._turns[one.session])
                asked.append(
                    Request(
                        session=session,
                        messages=one.messages,
                        allowed=one.allowed,
                        seed=seed_of(one.seed, number),
                    )
                )
        if not asked:
            return []
        answers = self.model.sample(asked, self.sampling)
        self.model.release([one.session for one in asked])
        found: list[Generation | None] = []
        for at, good in enumerate(right):
            some = answers[at * self.width : (at + 1) * self.width]
            found.append(
                next(
                    (one for one in some if one.stop is not Stop.ERROR and self.wrong(good.text, one.text)),
                    None,
                )
            )
        return found
