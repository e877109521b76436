"""Many items of work at a time, in this process, in processes of their own, or on a cluster, behind one interface.

Rollouts, judging, evaluation and sweeps consist of items that do not need each other. A pool takes them one by one as it has
room and gives each result as it comes, with the item's number. Every item gives exactly one result: a worker that dies or hangs costs
its item a try, and the item is failed when its tries are used up; the others go on.

``Tasks`` is for work that waits (remote models), ``Processes`` for work that computes or may crash,
``run.pool_ray.RayActors`` for a cluster.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from enum import StrEnum
from inspect import isawaitable, iscoroutinefunction
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from threading import Thread
from typing import Any, Generic, Protocol, TypeVar, cast

from everystep.core.errors import ConfigError

T = TypeVar("T")
R = TypeVar("R")
_GRACE_S = 5.0  # what cancelled work may take to clean up


class Failure(StrEnum):
    """Why an item has no value."""

    RAISED = "raised"  # the work raised an exception; it is not tried again
    DIED = "died"  # its worker died at every try
    TIMEOUT = "timeout"  # it took too long at every try


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(Generic[R]):
    """What became of item ``index``. ``value`` is what the work returned, ``failure`` and ``error`` say why there is none.

    ``tries`` counts how often the work was started.
    """

    index: int
    value: R | None = None
    failure: Failure | None = None
    error: str = ""
    tries: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a pool is: items ``done`` (``failed`` ones included), tries that died or timed out, items in work."""

    done: int
    failed: int
    lost_tries: int
    running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``workers`` items are in work at a time. An item whose worker dies, or that takes more than ``timeout_s``, is tried up to ``tries`` times.

    A worker's start does not count against the item's time; it may take ``start_s``.
    """

    workers: int = 2
    tries: int = 3
    timeout_s: float | None = None
    start_s: float = 300.0

    def __post_init__(self) -> None:
        for name, low in (("workers", 1), ("tries", 1)):
            if getattr(self, name) < low:
                raise ConfigError(f"{name} of a pool is {getattr(self, name)!r}; it must be {low} or more.")
        for name in ("timeout_s", "start_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} of a pool is {value!r}; it must be more than 0 seconds.")


Work = Callable[[T], Awaitable[R]] | Callable[[T], R]
"""What is done with each item: a function or a coroutine function. Other processes get it by pickle, once each, and so they get the items: what it keeps, it keeps from item to item."""

Report = Callable[[Progress], None]


class Pool(Protocol):
    """Does ``work`` on ``items``. Results come as they are there, in any order; ``run.pool.ordered`` waits for all.

    Items are drawn when there is room for them, so there may be very many. Closing the iterator (``contextlib.aclosing``) or cancelling
    its task stops the workers. An exception from ``items`` or ``progress`` ends the iteration.
    """

    def each(
        self, work: Work[T, R], items: Iterable[T], *, progress: Report | None = None
    ) -> AsyncIterator[Result[R]]: ...


class LostError(Exception):
    """A try without an answer. Worth another one, with a new worker."""

    def __init__(self, failure: Failure, why: str) -> None:
        super().__init__(why)
        self.failure = failure


class RaisedError(Exception):
    """The work raised; trying again would raise again."""


class Worker(Protocol):
    """One place of work. ``do`` answers, or raises ``LostError`` or ``RaisedError``; after a loss it starts afresh."""

    async def do(self, item: Any) -> Any: ...

    async def close(self) -> None: ...


async def ordered(results: AsyncIterator[Result[R]]) -> list[Result[R]]:
    """Wait for all results and return them in the order of their items."""
    return sorted([one async for one in results], key=lambda one: one.index)


# --- what all pools share ---------------------------------------------------------------------------


@dataclass(slots=True)
class _Count:
    report: Report | None
    done: int = 0
    failed: int = 0
    lost: int = 0
    running: int = 0

    def tell(self, *, done: int = 0, failed: int = 0, lost: int = 0, running: int = 0) -> None:
        self.done, self.failed, self.lost = self.done + done, self.failed + failed, self.lost + lost
        self.running += running
        if self.report is not None:
            self.report(
                Progress(done=self.done, failed=self.failed, lost_tries=self.lost, running=self.running)
            )


async def spread(
    make: Callable[[], Worker], items: Iterable[T], limits: Limits, progress: Report | None
) -> AsyncIterator[Result[Any]]:
    """Give ``items`` to workers that ``make`` makes and yield the results as they come; the body of every pool."""
    count, source = _Count(progress), enumerate(items)
    results: asyncio.Queue[Result[Any]] = asyncio.Queue(maxsize=limits.workers)
    places = [
        asyncio.create_task(_serve(make(), source, results, limits, count)) for _ in range(limits.workers)
    ]
    everybody = asyncio.gather(*places)
    try:
        while True:
            coming = asyncio.ensure_future(results.get())
            either: set[asyncio.Future[Any]] = {coming, everybody}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                coming.cancel()
                await everybody  # raises what broke, if anything did
                while not results.empty():
                    yield results.get_nowait()
                return
            yield coming.result()
    finally:
        for place in places:
            place.cancel()
        await asyncio.gather(*places, return_exceptions=True)


async def _serve(
    worker: Worker,
    source: Iterator[tuple[int, Any]],
    results: asyncio.Queue[Result[Any]],
    limits: Limits,
    count: _Count,
) -> None:
    try:
        for index, item in source:
            count.tell(running=1)
            result = await _tried(worker, index, item, limits, count)
            count.tell(done=1, failed=int(result.failure is not None), running=-1)
            await results.put(result)
    finally:
        await worker.close()


async def _tried(worker: Worker, index: int, item: Any, limits: Limits, count: _Count) -> Result[Any]:
    tries = 0
    while True:
        tries += 1
        try:
            return Result(index=index, value=await worker.do(item), tries=tries)
        except RaisedError as error:
            return Result(index=index, failure=Failure.RAISED, error=str(error), tries=tries)
        except LostError as error:
            count.tell(lost=1)
            if tries >= limits.tries:
                return Result(index=index, failure=error.failure, error=str(error), tries=tries)


# --- in this process --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tasks:
    """Work in this process: coroutines side by side, plain functions in threads (which a timeout cannot stop, only leave behind)."""

    limits: Limits = Limits()

    def each(
        self, work: Work[T, R], items: Iterable[T], *, progress: Report | None = None
    ) -> AsyncIterator[Result[R]]:
        """Do ``work`` on each item; see ``Pool``."""
        return spread(lambda: _Here(work, self.limits.timeout_s), items, self.limits, progress)


@dataclass(slots=True)
class _Here:
    work: Callable[[Any], Any]
    timeout_s: float | None

    async def do(self, item: Any) -> Any:
        call = self.work(item) if iscoroutinefunction(self.work) else _in_thread(self.work, item)
        task = asyncio.ensure_future(call)
        try:
            done, _ = await asyncio.wait([task], timeout=self.timeout_s)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=_GRACE_S)
        if not done:
            raise LostError(Failure.TIMEOUT, f"the work was not done after {self.timeout_s:g} s")
        if task.cancelled():
            raise RaisedError("the work was cancelled from within")
        error = task.exception()
        if error is None:
            return task.result()
        if not isinstance(error, Exception):
            raise error
        raise RaisedError(told(error)) from error

    async def close(self) -> None:
        pass


def _in_thread(work: Callable[[Any], Any], item: Any) -> asyncio.Future[Any]:
    """Do one item in a thread of its own that keeps nothing alive: there may be many, and some may never end."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Any] = loop.create_future()

    def tell(value: Any, error: Exception | None) -> None:
        if not answer.done():
            if error is None:
                answer.set_result(value)
            else:
                answer.set_exception(error)

    def run() -> None:
        try:
            value, broken = perform(work, item), None
        except Exception as error:  # whatever the work does wrong is the item's result
            value, broken = None, error
        with suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(tell, value, broken)

    Thread(target=copy_context().run, args=(run,), name="pool", daemon=True).start()
    return answer


# --- in processes of their own ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Processes:
    """Work in spawned processes, one item each at a time. A process that dies or hangs is replaced; it takes nothing else down.

    ``work`` and items must be picklable, and a script that uses this keeps its start under ``if __name__ == "__main__"``, as
    ``multiprocessing`` asks for.
    """

    limits: Limits = Limits()

    def each(
        self, work: Work[T, R], items: Iterable[T], *, progress: Report | None = None
    ) -> AsyncIterator[Result[R]]:
        """Do ``work`` on each item; see ``Pool``."""
        return spread(lambda: _Apart(work, self.limits), items, self.limits, progress)


class _Apart:
    """A process and the pipe to it. It is started for the first item, and again after each loss."""

    def __init__(self, work: Callable[[Any], Any], limits: Limits) -> None:
        self._work, self._limits = work, limits
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pool")

    async def do(self, item: Any) -> Any:
        try:
            payload = bytes(ForkingPickler.dumps(item))
            work = bytes(ForkingPickler.dumps(self._work)) if self._process is None else b""
        except Exception as error:  # pickle raises what it likes
            raise RaisedError(f"cannot be sent to another process: {told(error)}") from error
        try:
            if self._process is None:
                self._start()
                await self._within(self._limits.start_s, lambda: self._exchange(work), "the worker's start")
            answer = await self._within(self._limits.timeout_s, lambda: self._exchange(payload), "the work")
        except BaseException:
            await self._end()
            raise
        good, value = answer
        if not good:
            raise RaisedError(value)
        return value

    def _start(self) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_obey, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def _exchange(self, payload: bytes) -> Any:
        """Send the work or one item and wait for the answer; a dead process's pipe says so at once."""
        pipe = cast("Connection", self._pipe)
        try:
            pipe.send_bytes(payload)
            return pipe.recv()
        except (EOFError, OSError) as error:
            why = f"its process ended without an answer ({type(error).__name__})"
            raise LostError(Failure.DIED, why) from None
        except Exception as error:  # pickle raises what it likes
            raise RaisedError(f"its answer cannot be read here: {told(error)}") from error

    async def _within(self, seconds: float | None, exchange: Callable[[], Any], what: str) -> Any:
        waiting = asyncio.get_running_loop().run_in_executor(self._thread, exchange)
        waiting.add_done_callback(lambda one: one.cancelled() or one.exception())  # failing is expected
        done, _ = await asyncio.wait([waiting], timeout=seconds)
        if not done:
            raise LostError(Failure.TIMEOUT, f"{what} was not done after {seconds:g} s")
        return waiting.result()

    async def _end(self) -> None:
        """Kill the process and what it started, and wait until it is gone."""
        process, self._process = self._process, None
        pipe, self._pipe = self._pipe, None
        if process is not None:
            _kill(process)
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, process.join))
            process.close()
        if pipe is not None:
            _hang_up(pipe)

    async def close(self) -> None:
        await self._end()
        self._thread.shutdown(wait=False)


def _kill(process: BaseProcess) -> None:
    pid = process.pid
    try:
        if pid is not None and os.name == "posix" and os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass  # it is gone
    process.kill()


def _hang_up(pipe: Connection) -> None:
    """Close the pipe, and wake a thread that still reads it: something that the process left behind may hold the other end."""
    if os.name == "posix":
        with suppress(OSError), socket.socket(fileno=os.dup(pipe.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
    pipe.close()


def _obey(pipe: Connection) -> None:
    """The life of a worker process: take the work, then answer items until the pipe is closed."""
    if os.name == "posix":
        os.setpgrp()  # what it starts ends with it, and an interrupt is its owner's to handle
    work: Callable[[Any], Any] | None = None
    try:
        sent = pipe.recv_bytes()
        pipe.send((True, None))
    except (EOFError, OSError):
        return
    while True:
        try:
            payload = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            work = ForkingPickler.loads(sent) if work is None else work
            answer = bytes(ForkingPickler.dumps((True, perform(work, ForkingPickler.loads(payload)))))
        except Exception as error:  # whatever the work does wrong is the item's result
            answer = bytes(ForkingPickler.dumps((False, told(error))))
        try:
            pipe.send_bytes(answer)
        except OSError:
            return


def perform(work: Callable[[Any], Any], item: Any) -> Any:
    """Do one item in a process that is not asynchronous."""
    value = work(item)
    return asyncio.run(_awaited(value)) if isawaitable(value) else value


async def _awaited(value: Awaitable[R]) -> R:
    return await value


def told(error: BaseException) -> str:
    """Return an exception in one line, with where it came from.

    >>> told(ValueError("no"))
    'ValueError: no'
    """
    text = "".join(traceback.format_exception_only(error)).strip()
    frames = traceback.extract_tb(error.__traceback__)
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text
