"""Task sources: lists, the tasks of a world, and tasks by their recent pass rate. They hear how groups went and say what is tried next.

All sources are deterministic: the same results in the same order give the same choices, also after ``dump`` and ``load``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any

from everystep.core.codec import decode, encode
from everystep.core.errors import ConfigError, DataError, StoreError
from everystep.core.protocols import Attempts, Start, World
from everystep.core.records import Json, Step, Task, Trajectory


def results_of(starts: Sequence[Start], trajectories: Iterable[Trajectory]) -> list[Attempts]:
    """Return how the attempts from each of ``starts`` went, in their order.

    The trajectories are those of jobs whose group names end in the number of their start, ``.0`` for the first (``run.rollout.jobs_of`` over the
    tasks of ``starts`` makes such). Raises ``DataError`` for a group that belongs to no start.
    """
    made: list[list[Trajectory]] = [[] for _ in starts]
    for one in trajectories:
        number = one.group.rpartition(".")[2]
        place = int(number) if number.isdecimal() else len(starts)
        if place >= len(starts) or starts[place].task.id != one.task.id:
            raise DataError(
                f"group {one.group!r} of task {one.task.id!r} is of none of these {len(starts)} starts. "
                "Give the starts that the jobs were made from, in the same order."
            )
        made[place].append(one)
    return [
        Attempts(start=start, outcomes=tuple(map(gained, some)), trajectories=tuple(some))
        for start, some in zip(starts, made, strict=True)
    ]


def gained(trajectory: Trajectory) -> float | None:
    """Return the outcome of an attempt without the rewards of the steps that it started behind; ``None`` where it broke."""
    if trajectory.outcome is None:
        return None
    before = trajectory.steps[: len(trajectory.steps) - len(own(trajectory))]
    return trajectory.outcome - sum(step.reward or 0.0 for step in before)


def own(trajectory: Trajectory) -> tuple[Step, ...]:
    """Return the steps that a trajectory took itself: those behind the steps that it started from."""
    mark = f"{trajectory.id}/"
    first = next((k for k, step in enumerate(trajectory.steps) if step.id.startswith(mark)), 0)
    return trajectory.steps[first:]


class Listed:
    """Gives the tasks of a list in turn, and from the start again; with a ``seed`` each round in an order of its own.

    >>> tasks = [Task(id=name, instruction="", environment="none") for name in "abc"]
    >>> [start.task.id for start in Listed(tasks).next(4)]
    ['a', 'b', 'c', 'a']
    """

    def __init__(self, tasks: Sequence[Task], *, seed: int | None = None) -> None:
        self.tasks = _distinct(tasks)
        self.seed = seed
        self.given = 0

    def next(self, count: int) -> list[Start]:
        """Return the next ``count`` tasks."""
        names = list(self.tasks)
        starts: list[Start] = []
        while len(starts) < count:
            turn, place = divmod(self.given, len(names))
            some = _order(names, self.seed, turn)[place : place + count - len(starts)]
            starts += [Start(task=self.tasks[name]) for name in some]
            self.given += len(some)
        return starts

    def report(self, results: Sequence[Attempts]) -> None:
        """Do nothing: a list does not change."""

    def dump(self) -> Json:
        return {"given": self.given}

    def load(self, state: Json) -> None:
        self.given = _count(state, "given")


class Fresh:
    """Gives the tasks of a world's split in order from ``first`` on, and from the first again where the split ends."""

    def __init__(self, world: World, split: str = "train", *, first: int = 0) -> None:
        self.world, self.split = world, split
        self.given = first

    def next(self, count: int) -> list[Start]:
        """Return the next ``count`` tasks."""
        size = self.world.size(self.split)
        numbers = range(self.given, self.given + count)
        self.given += count
        return [Start(task=self.world.task(self.split, n % size if size else n)) for n in numbers]

    def report(self, results: Sequence[Attempts]) -> None:
        """Do nothing: fresh tasks have no past."""

    def dump(self) -> Json:
        return {"given": self.given}

    def load(self, state: Json) -> None:
        self.given = _count(state, "given")


class Order(StrEnum):
    """In which order a round gives its tasks. Tasks that were not tried yet come first."""

    EASY_FIRST = "easy_first"  # high pass rates first, as Step-GUI orders its items
    EDGE_FIRST = "edge_first"  # pass rates near one half first: where a group tells most
    SHUFFLED = "shuffled"


@dataclass(slots=True)
class Record:
    """What is known of one task: its last pass rates, and the round in which it was last tried."""

    rates: deque[float] = field(default_factory=deque)
    round: int = 0

    @property
    def rate(self) -> float | None:
        """The mean of the last pass rates, ``None`` before the first."""
        return sum(self.rates) / len(self.rates) if self.rates else None


class PassRate:
    """Gives the tasks of a list in rounds, by the share of recent attempts that passed.

    An attempt passed when its outcome is ``passed`` or more. A task's rate is the mean over its last ``window`` groups. A task that nobody
    passed is withheld for the next ``withhold`` rounds and then tried again (0 withholds none, ``None`` for good): Step-GUI does so with zero-pass items. One
    that everybody passed rests for ``rest`` rounds: history resampling (KAT-V1) drops a prompt that was all correct and keeps mixed and all-wrong ones.
    When nothing is left for a round, those that are withheld or rest for a while come back; when all left for good, ``next`` has no more.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        order: Order = Order.SHUFFLED,
        passed: float = 1.0,
        window: int = 1,
        withhold: int | None = 0,
        rest: int | None = 0,
        seed: int = 0,
    ) -> None:
        if window < 1 or (withhold is not None and withhold < 0) or (rest is not None and rest < 0):
            raise ConfigError(
                f"window {window!r}, withhold {withhold!r}, rest {rest!r}: expected a window of 1 or more, rounds of 0 or more or None."
            )
        self.tasks = _distinct(tasks)
        self.order, self.passed, self.window = Order(order), passed, window
        self.withhold, self.rest, self.seed = withhold, rest, seed
        self.records = {name: Record(deque(maxlen=window)) for name in self.tasks}
        self.round = 0
        self._queue: deque[str] = deque()

    def next(self, count: int) -> list[Start]:
        """Return the next ``count`` tasks of this round and those after it."""
        starts: list[Start] = []
        while len(starts) < count:
            if not self._queue:
                self.round += 1
                self._queue.extend(self._line_up())
                if not self._queue:
                    break
            starts.append(Start(task=self.tasks[self._queue.popleft()]))
        return starts

    def report(self, results: Sequence[Attempts]) -> None:
        """Book the pass rate of each group; attempts that broke do not count, nor tasks that are not of this list."""
        for one in results:
            known = [outcome >= self.passed for outcome in one.outcomes if outcome is not None]
            record = self.records.get(one.start.task.id)
            if record is not None and known:
                record.rates.append(sum(known) / len(known))
                record.round = self.round

    def rate(self, task: str) -> float | None:
        """Return the recent pass rate of a task by its id."""
        return self.records[task].rate

    def _line_up(self) -> list[str]:
        names = _order(list(self.tasks), self.seed, self.round)
        line = [name for name in names if self._is_due(self.records[name])]
        if not line:
            line = [name for name in names if self._away(self.records[name]) is not None]
        if self.order is Order.SHUFFLED:
            return line
        return sorted(line, key=lambda name: self._place(self.records[name].rate))

    def _away(self, record: Record) -> int | None:
        """Return for how many rounds a task stays away, ``None`` for good."""
        if record.rate == 0.0:
            return self.withhold
        return self.rest if record.rate == 1.0 else 0

    def _is_due(self, record: Record) -> bool:
        away = self._away(record)
        return away is not None and self.round > record.round + away

    def _place(self, rate: float | None) -> float:
        if rate is None:
            return -2.0
        return -rate if self.order is Order.EASY_FIRST else abs(rate - 0.5) - 1.0

    def dump(self) -> Json:
        records: Json = {
            name: [one.round, *one.rates] for name, one in self.records.items() if one.rates or one.round
        }
        return {"round": self.round, "queue": list(self._queue), "records": records}

    def load(self, state: Json) -> None:
        body = body_of(state, "round", "queue", "records")
        unknown = [*(set(body["records"]) | set(body["queue"])) - set(self.tasks)]
        if unknown:
            raise StoreError(
                f"the state names task {unknown[0]!r}, which is not in the list. Give the same tasks."
            )
        self.round = int(body["round"])
        self._queue = deque(body["queue"])
        for name in self.tasks:
            turn, *rates = body["records"].get(name, [0])
            self.records[name] = Record(deque(rates, maxlen=self.window), int(turn))


def body_of(state: Json, *keys: str) -> Mapping[str, Any]:
    """Return a dumped state as a mapping; ``StoreError`` where it lacks a key."""
    if not isinstance(state, Mapping) or any(key not in state for key in keys):
        raise StoreError(
            f"this is no state of a task source with {', '.join(keys)}. Give back what dump returned."
        )
    return state


def start_of(body: Json) -> Start:
    """Read a start that was stored with ``encode``."""
    return decode(Start, body)


def stored(start: Start) -> Json:
    """Return a start as a JSON value."""
    made: Json = encode(start)
    return made


def _count(state: Json, key: str) -> int:
    return int(body_of(state, key)[key])


def _distinct(tasks: Sequence[Task]) -> dict[str, Task]:
    named = {task.id: task for task in tasks}
    if not tasks or len(named) < len(tasks):
        raise ConfigError(
            f"{len(tasks)} tasks with {len(named)} different ids; expected one or more, each with its own."
        )
    return named


def _order(names: list[str], seed: int | None, turn: int) -> list[str]:
    if seed is None:
        return names
    mixed = list(names)
    Random(f"{seed} {turn}").shuffle(mixed)
    return mixed
