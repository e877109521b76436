"""A pool on a Ray cluster: each worker is an actor, so a cluster's machines take the items between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from everystep.core.errors import ConfigError
from everystep.run.pool import (
    Failure,
    Limits,
    LostError,
    R,
    RaisedError,
    Report,
    Result,
    T,
    Work,
    perform,
    spread,
    told,
)


@dataclass(frozen=True, slots=True)
class RayActors:
    """Work in actors of the Ray cluster that this process is connected to (``ray.init``), one item each at a time.

    An actor that dies or hangs is replaced. ``cpus`` and ``gpus`` are what one worker occupies; a worker waits while the cluster has no
    room, and the others go on. ``work`` and items go through Ray's pickle.
    """

    limits: Limits = field(default_factory=Limits)
    cpus: float = 1.0
    gpus: float = 0.0

    def each(
        self, work: Work[T, R], items: Iterable[T], *, progress: Report | None = None
    ) -> AsyncIterator[Result[R]]:
        """Do ``work`` on each item; see ``run.pool.Pool``. Raises ``ConfigError`` without a cluster."""
        if not ray.is_initialized():
            raise ConfigError("no Ray cluster is connected. Call ray.init() first.")
        actor = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=0, max_task_retries=0)(_Actor)
        sent = ray.put(work)
        return spread(lambda: _Remote(actor, sent, self.limits.timeout_s), items, self.limits, progress)


class _Actor:
    """What runs on the cluster."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work

    def ready(self) -> bool:
        return True

    def do(self, item: Any) -> tuple[bool, Any]:
        try:
            return True, perform(self._work, item)
        except Exception as error:  # whatever the work does wrong is the item's result
            return False, told(error)


class _Remote:
    """The actor of one place; it is made for the first item, and again after each loss."""

    def __init__(self, make: Any, work: Any, timeout_s: float | None) -> None:
        self._make, self._work, self._timeout_s = make, work, timeout_s
        self._actor: Any = None

    async def do(self, item: Any) -> Any:
        try:
            if self._actor is None:
                self._actor = self._make.remote(self._work)
                await _answer(
                    self._actor.ready.remote(), None
                )  # as long as it takes: the cluster may be full
            good, value = await _answer(self._sent(item), self._timeout_s)
        except LostError:
            await self.close()
            raise
        if not good:
            raise RaisedError(value)
        return value

    def _sent(self, item: Any) -> Any:
        try:
            return self._actor.do.remote(item)
        except Exception as error:  # pickle raises what it likes
            raise RaisedError(f"cannot be sent to a worker: {told(error)}") from error

    async def close(self) -> None:
        actor, self._actor = self._actor, None
        if actor is not None:
            ray.kill(actor)


async def _answer(reference: Any, timeout_s: float | None) -> Any:
    waiting = asyncio.wrap_future(reference.future())
    done, _ = await asyncio.wait([waiting], timeout=timeout_s)
    if not done:
        waiting.cancel()
        raise LostError(Failure.TIMEOUT, f"the work was not done after {timeout_s:g} s")
    try:
        return waiting.result()
    except RayActorError as error:
        raise LostError(Failure.DIED, f"its actor ended without an answer ({type(error).__name__})") from None
    except RayTaskError as error:
        raise RaisedError(told(error)) from error
    except RayError as error:
        raise LostError(Failure.DIED, f"Ray lost it: {told(error)}") from error
