"""Models and environments behind a vault: values never reach the one, and reach the other only in the act."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from everystep.core.acts import Effect
from everystep.core.errors import WorldError
from everystep.core.protocols import (
    AsyncSampler,
    Environment,
    Forks,
    Generation,
    Oracle,
    Outside,
    Portable,
    Primes,
    Request,
    Sampler,
    Sampling,
    Settled,
    Snapshots,
    Transition,
    Turn,
)
from everystep.core.records import Action, Json, Observation, Task
from everystep.guard.secrets import Vault

R = TypeVar("R")


def sealed_sampler(sampler: Sampler | AsyncSampler, vault: Vault) -> Any:
    """Return ``sampler`` with every request scrubbed before it goes out, and every answer and error on the way back.

    The result can do what ``sampler`` can (answer in batches or one by one, fork, prime). An answer that held a value
    loses its token record, which would spell it.
    """
    return _sampler_class(tuple(kind for kind, _ in _SAMPLER_PARTS if isinstance(sampler, kind)))(
        sampler, vault
    )


def sealed_environment(environment: Environment, vault: Vault) -> Any:
    """Return ``environment`` with values filled in at the act and scrubbed from all that it says.

    The result can do what ``environment`` can (``Outside``, ``Snapshots``, ``Portable``, ``Oracle``). An action whose placeholders may not
    be filled is not executed: it is invalid, with the reason. What the environment raises is raised scrubbed, without its cause.
    """
    return _environment_class(tuple(kind for kind, _ in _PARTS if isinstance(environment, kind)))(
        environment, vault
    )


# --- samplers ---------------------------------------------------------------------------------------


@runtime_checkable
class _Batches(Protocol):
    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]: ...


class _Sampler:
    def __init__(self, inner: Any, vault: Vault) -> None:
        self._inner = inner
        self._vault = vault

    @property
    def policy(self) -> str:
        return cast("str", self._inner.policy)

    def release(self, sessions: Sequence[str]) -> None:
        self._inner.release(sessions)

    def _out(self, request: Request) -> Request:
        return replace(self._vault.scrub_record(request), session=request.session)

    def _back(self, answer: Generation) -> Generation:
        clean = self._vault.scrub_record(answer)
        return answer if clean is answer else replace(clean, tokens=None)


class _Sample(_Sampler):
    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        answers = _guarded(
            self._vault, lambda: self._inner.sample([self._out(one) for one in requests], sampling)
        )
        return [self._back(one) for one in answers]


class _SampleOne(_Sampler):
    async def sample_one(self, request: Request, sampling: Sampling) -> Generation:
        work = self._inner.sample_one(self._out(request), sampling)
        return self._back(await _guarded_async(self._vault, work))


class _Fork(_Sampler):
    def fork(self, session: str, new_session: str) -> None:
        self._inner.fork(session, new_session)


class _Prime(_Sampler):
    def prime(self, session: str, turns: Sequence[Turn]) -> None:
        self._inner.prime(session, [self._turn(one) for one in turns])

    def _turn(self, turn: Turn) -> Turn:
        clean = self._vault.scrub_record(turn)
        return turn if clean is turn else replace(clean, tokens=None)


_SAMPLER_PARTS: tuple[tuple[Any, type], ...] = (
    (_Batches, _Sample),
    (AsyncSampler, _SampleOne),
    (Forks, _Fork),
    (Primes, _Prime),
)


@cache
def _sampler_class(abilities: tuple[Any, ...]) -> Any:
    parts = tuple(part for kind, part in _SAMPLER_PARTS if kind in abilities)
    return type("SealedSampler", parts, {})


# --- environments -----------------------------------------------------------------------------------


class _Environment:
    def __init__(self, inner: Any, vault: Vault) -> None:
        self._inner = inner
        self._vault = vault
        self._seen = Observation(text="")

    def reset(self, task: Task) -> Observation:
        return self._see(_guarded(self._vault, lambda: self._inner.reset(task)))

    def parse(self, text: str) -> Action:
        action: Action = _guarded(self._vault, lambda: self._inner.parse(text))
        return action if action.reason is None else replace(action, reason=self._vault.scrub(action.reason))

    def step(self, action: Action) -> Transition:
        filled, why = self._vault.fill(action)
        if why is not None:
            return self._refused(why)
        return self._clean(_guarded(self._vault, lambda: self._inner.step(filled)))

    def close(self) -> None:
        _guarded(self._vault, self._inner.close)

    def _see(self, observation: Observation) -> Observation:
        self._seen = self._vault.scrub_record(observation)
        return self._seen

    def _clean(self, transition: Transition) -> Transition:
        clean = self._vault.scrub_record(transition)
        self._seen = clean.observation
        return clean

    def _refused(self, why: str) -> Transition:
        return Transition(observation=self._seen, reward=0.0, valid=False, reason=why)


class _Outside(_Environment):
    def effect(self, action: Action) -> Effect:
        effect: Effect = _guarded(self._vault, lambda: self._inner.effect(action))
        return self._vault.scrub_record(effect)

    async def act(self, action: Action, *, key: str) -> Transition:
        filled, why = self._vault.fill(action)
        if why is not None:
            return self._refused(why)
        return self._clean(await _guarded_async(self._vault, self._inner.act(filled, key=key)))

    async def settled(self, action: Action, *, key: str) -> Settled:
        filled, why = self._vault.fill(action)
        if why is not None:
            return Settled(known=True)  # it was refused before it could happen
        settled: Settled = await _guarded_async(self._vault, self._inner.settled(filled, key=key))
        if settled.transition is None:
            return settled
        return replace(settled, transition=self._clean(settled.transition))

    def rejoin(self, task: Task, observation: Observation) -> Observation:
        return self._see(_guarded(self._vault, lambda: self._inner.rejoin(task, observation)))


class _Snapshots(_Environment):
    def snapshot(self) -> Any:
        return _guarded(self._vault, self._inner.snapshot)

    def restore(self, state: Any) -> Observation:
        return self._see(_guarded(self._vault, lambda: self._inner.restore(state)))


class _Portable(_Environment):
    def dump(self) -> Json:
        state: Json = _guarded(self._vault, self._inner.dump)
        clean = self._vault.scrub_json(state)
        if clean != state and self._vault.fill_json(clean) != state:
            raise WorldError(
                "the environment's state holds a secret in a form that cannot be put back, so it cannot be stored. "
                "Keep the value out of the state, or run without checkpoints."
            )
        return clean

    def load(self, task: Task, state: Json) -> Observation:
        filled = self._vault.fill_json(state)
        return self._see(_guarded(self._vault, lambda: self._inner.load(task, filled)))


class _Oracle(_Environment):
    def oracle(self) -> str:
        return self._vault.scrub(_guarded(self._vault, self._inner.oracle))


_PARTS: tuple[tuple[Any, type], ...] = (
    (Outside, _Outside),
    (Snapshots, _Snapshots),
    (Portable, _Portable),
    (Oracle, _Oracle),
)


@cache
def _environment_class(abilities: tuple[Any, ...]) -> Any:
    parts = tuple(part for kind, part in _PARTS if kind in abilities)
    return type("SealedEnvironment", parts or (_Environment,), {})


# --- errors -----------------------------------------------------------------------------------------


def _guarded(vault: Vault, work: Callable[[], R]) -> R:
    """Do ``work``; raise what it raises scrubbed, outside of the handler, so that no cause carries a value along."""
    try:
        return work()
    except Exception as error:
        clean = vault.scrub_error(error)
    raise clean


async def _guarded_async(vault: Vault, work: Awaitable[R]) -> R:
    try:
        return await work
    except Exception as error:
        clean = vault.scrub_error(error)
    raise clean
