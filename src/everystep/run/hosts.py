"""Where episodes live: many environments behind one batched interface, in this process or in workers.

A broken, killed or hung environment costs its own episodes: their next answer is a ``WorldError``
value. It is never raised into the batch.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from everystep.core.errors import ConfigError, WorldError
from everystep.core.protocols import Environment, Oracle, Snapshots, Transition, World
from everystep.core.records import Action, Observation, Task

START_S = 120.0
"""Seconds that a worker may take to start: the libraries of its world are loaded in it."""
_READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """An action as it was parsed and judged by the environment, and what it led to."""

    action: Action
    transition: Transition


class Hosts(Protocol):
    """Environments by slot. The lists that come back are aligned with the lists that go in."""

    def start(self, episodes: Sequence[tuple[str, Task]]) -> list[Observation | WorldError]: ...

    def act(self, texts: Sequence[tuple[str, str]]) -> list[Acted | WorldError]: ...

    def oracle(self, slots: Sequence[str]) -> list[str | WorldError]: ...

    def snapshot(self, slot: str) -> Any: ...

    def restore(self, slot: str, state: Any) -> Observation: ...

    def stop(self, slots: Sequence[str]) -> None: ...

    def close(self) -> None: ...


class LocalHosts:
    """Environments in this process. Closed episodes leave their environment for the next one."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._live: dict[str, Environment] = {}
        self._free: list[Environment] = []

    def start(self, episodes: Sequence[tuple[str, Task]]) -> list[Observation | WorldError]:
        """Reset an environment for each ``(slot, task)``."""
        return [self._start(slot, task) for slot, task in episodes]

    def _start(self, slot: str, task: Task) -> Observation | WorldError:
        if slot in self._live:
            return WorldError(f"episode {slot!r} is running already. Stop it first, or name another.")
        environment = None
        try:
            environment = self._free.pop() if self._free else self.world.make()
            observation = environment.reset(task)
        except Exception as error:
            if environment is not None:
                _close(environment)
            return _broken(f"resetting task {task.id!r}", error)
        self._live[slot] = environment
        return observation

    def act(self, texts: Sequence[tuple[str, str]]) -> list[Acted | WorldError]:
        """Parse and execute one text in each slot."""
        return [self._act(slot, text) for slot, text in texts]

    def _act(self, slot: str, text: str) -> Acted | WorldError:
        environment = self._live.get(slot)
        if environment is None:
            return _not_running(slot)
        try:
            action = environment.parse(text)
            transition = environment.step(action)
            if not transition.valid and action.valid:
                action = replace(action, valid=False, reason=transition.reason)
        except Exception as error:
            _close(self._live.pop(slot))
            return _broken(f"acting {text[:80]!r} in episode {slot!r}", error)
        return Acted(action=action, transition=transition)

    def oracle(self, slots: Sequence[str]) -> list[str | WorldError]:
        """Return the oracle's next action in each slot."""
        answers: list[str | WorldError] = []
        for slot in slots:
            environment = self._live.get(slot)
            if environment is None:
                answers.append(_not_running(slot))
            elif not isinstance(environment, Oracle):
                none = f"environment {self.world.name!r} has no oracle; use other demonstrations."
                answers.append(WorldError(none))
            else:
                try:
                    answers.append(environment.oracle())
                except Exception as error:
                    answers.append(_broken(f"asking the oracle in episode {slot!r}", error))
        return answers

    def snapshot(self, slot: str) -> Any:
        """Return the complete state of a slot, to be given to ``restore`` any number of times."""
        return self._snapshots(slot).snapshot()

    def restore(self, slot: str, state: Any) -> Observation:
        """Put a state back into a slot; a new slot gets an environment."""
        if slot not in self._live:
            self._live[slot] = self._free.pop() if self._free else self.world.make()
        return self._snapshots(slot).restore(state)

    def _snapshots(self, slot: str) -> Snapshots:
        environment = self._live.get(slot)
        if environment is None:
            raise _not_running(slot)
        if not isinstance(environment, Snapshots):
            raise WorldError(
                f"environment {self.world.name!r} has no snapshots, so it cannot branch. "
                "Use the group mode, or an environment that has them."
            )
        return environment

    def stop(self, slots: Sequence[str]) -> None:
        """End episodes; unknown slots are ignored."""
        for slot in slots:
            environment = self._live.pop(slot, None)
            if environment is not None:
                self._free.append(environment)

    def close(self) -> None:
        """Close every environment."""
        for environment in (*self._live.values(), *self._free):
            _close(environment)
        self._live.clear()
        self._free.clear()


def _close(environment: Environment) -> None:
    with contextlib.suppress(Exception):
        environment.close()


def _not_running(slot: str) -> WorldError:
    return WorldError(f"episode {slot!r} is not running. Start it first.")


def _broken(doing: str, error: Exception) -> WorldError:
    return WorldError(f"the environment broke while {doing}: {type(error).__name__}: {error}")


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    slots: set[str] = field(default_factory=set)
    ready: bool = False


class WorkerHosts:
    """Environments in worker processes. A worker that dies or is silent for ``timeout_s`` is replaced.

    Each answer may take ``timeout_s`` seconds for the whole share of a worker, and its start ``START_S``. The
    episodes of a lost worker answer ``WorldError``; those of the others go on. The workers are spawned: a script
    that makes them needs ``if __name__ == "__main__":``.
    """

    def __init__(self, world: World, *, workers: int = 2, timeout_s: float = 60.0) -> None:
        if workers < 1 or not timeout_s > 0:
            raise ConfigError(
                f"workers is {workers!r} and timeout_s {timeout_s!r}; expected 1 or more, and above 0."
            )
        self.world = world
        self.timeout_s = timeout_s
        self._context = multiprocessing.get_context("spawn")
        self._workers = [self._spawn() for _ in range(workers)]
        self._of: dict[str, int] = {}
        self.lost = 0

    def _spawn(self) -> _Worker:
        here, there = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(there, self.world), daemon=True)
        process.start()
        there.close()
        return _Worker(process, here)

    @property
    def processes(self) -> list[int]:
        """The process ids of the workers."""
        return [worker.process.pid or 0 for worker in self._workers]

    def start(self, episodes: Sequence[tuple[str, Task]]) -> list[Observation | WorldError]:
        """Reset an environment for each ``(slot, task)``, on the least loaded workers."""
        for slot, _ in episodes:
            if slot in self._of:
                continue  # its worker refuses to start it twice
            number = min(range(len(self._workers)), key=lambda n: len(self._workers[n].slots))
            self._workers[number].slots.add(slot)
            self._of[slot] = number
        return self._call("start", episodes)

    def act(self, texts: Sequence[tuple[str, str]]) -> list[Acted | WorldError]:
        """Parse and execute one text in each slot."""
        return self._call("act", texts)

    def oracle(self, slots: Sequence[str]) -> list[str | WorldError]:
        """Return the oracle's next action in each slot."""
        return self._call("oracle", [(slot,) for slot in slots])

    def snapshot(self, slot: str) -> Any:
        """Return the complete state of a slot."""
        return self._one("snapshot", (slot,))

    def restore(self, slot: str, state: Any) -> Observation:
        """Put a state back into a slot."""
        if slot not in self._of:
            self._of[slot] = min(range(len(self._workers)), key=lambda n: len(self._workers[n].slots))
            self._workers[self._of[slot]].slots.add(slot)
        observation: Observation = self._one("restore", (slot, state))
        return observation

    def _one(self, verb: str, argument: tuple[Any, ...]) -> Any:
        answer = self._call(verb, [argument])[0]
        if isinstance(answer, WorldError):
            raise answer
        return answer

    def _call(self, verb: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send each worker its share and collect the answers until the deadline."""
        shares: dict[int, list[int]] = {}
        answers: list[Any] = [None] * len(arguments)
        for position, argument in enumerate(arguments):
            number = self._of.get(argument[0])
            if number is None:
                answers[position] = WorldError(f"episode {argument[0]!r} was lost with its worker.")
            else:
                shares.setdefault(number, []).append(position)
        pending: dict[Connection, int] = {}
        for number, positions in shares.items():
            try:
                self._await_start(self._workers[number])
                self._workers[number].pipe.send((verb, [arguments[p] for p in positions]))
                pending[self._workers[number].pipe] = number
            except (EOFError, OSError):
                self._lose(number, "died", positions, answers)
        deadline = time.monotonic() + self.timeout_s
        while pending:
            ready = wait(list(pending), timeout=max(0.0, deadline - time.monotonic()))
            for pipe in ready:
                assert isinstance(pipe, Connection)  # noqa: S101 -- only connections are waited for
                number = pending.pop(pipe)
                try:
                    for position, answer in zip(shares[number], pipe.recv(), strict=True):
                        answers[position] = answer
                except (EOFError, OSError):
                    self._lose(number, "died", shares[number], answers)
            if not ready:
                for number in pending.values():
                    self._lose(number, f"was silent for {self.timeout_s} s", shares[number], answers)
                break
        return answers

    def _await_start(self, worker: _Worker) -> None:
        """Wait until a new worker says that it is there, so that its start is not taken for a silence."""
        if not worker.ready:
            if not worker.pipe.poll(START_S):
                raise EOFError
            worker.ready = worker.pipe.recv() == _READY

    def _lose(self, number: int, why: str, positions: Sequence[int], answers: list[Any]) -> None:
        worker = self._workers[number]
        worker.process.kill()
        worker.pipe.close()
        for slot in worker.slots:
            self._of.pop(slot, None)
        for position in positions:
            answers[position] = WorldError(
                f"the environment worker {why}; its episodes are lost, the rest goes on."
            )
        self._workers[number] = self._spawn()
        self.lost += 1

    def stop(self, slots: Sequence[str]) -> None:
        """End episodes; unknown slots are ignored."""
        known = [slot for slot in slots if slot in self._of]
        self._call("stop", [(slot,) for slot in known])
        for slot in known:
            number = self._of.pop(slot, None)
            if number is not None:
                self._workers[number].slots.discard(slot)

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.pipe.send(("close", []))
            worker.process.join(timeout=2.0)
            worker.process.kill()
            worker.pipe.close()


def _serve(pipe: Connection, world: World) -> None:
    """Answer the parent until it closes the pipe. Runs in a worker process; Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hosts = LocalHosts(world)
    with contextlib.suppress(OSError):
        pipe.send(_READY)
    while True:
        try:
            verb, arguments = pipe.recv()
        except (EOFError, OSError):
            return
        if verb == "close":
            hosts.close()
            return
        pipe.send([_answer(hosts, verb, argument) for argument in arguments])


def _answer(hosts: LocalHosts, verb: str, argument: tuple[Any, ...]) -> Any:
    try:
        match verb:
            case "start":
                return hosts.start([argument])[0]
            case "act":
                return hosts.act([argument])[0]
            case "oracle":
                return hosts.oracle(argument)[0]
            case "snapshot":
                return hosts.snapshot(argument[0])
            case "restore":
                return hosts.restore(argument[0], argument[1])
            case _:
                return hosts.stop(argument)
    except WorldError as error:
        return error
    except Exception as error:
        return _broken(f"answering {verb!r} in episode {argument[0]!r}", error)
