"""Running a benchmark: every case once for each run, kept as it comes, gone on with after a kill.

Each finished attempt is one line of ``rows.jsonl``. A folder that was stopped, killed or ran out of budget goes on with the attempts that have no line. A worker that dies or hangs costs its
batch a try; what was in a batch that is lost in the end is tried once more one by one, so one bad case takes no other down. No attempt is scored twice, and none is lost: one
that never ends is a failed one, and is counted.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

from everystep.bench.benchmark import Ask, Attempt, Benchmark, Scored
from everystep.core.errors import ConfigError, StoreError
from everystep.run.pool import Failure, Pool, Progress, Result
from everystep.run.rollout import seed_of

ROWS_FILE = "rows.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One attempt that was scored. ``seconds`` is its share of its batch's wall time, ``error`` why it counts as failed where it never ended."""

    case: str
    run: int
    problem: str
    numbers: Mapping[str, float]
    tags: Mapping[str, str] = field(default_factory=dict)
    steps: int = 0
    prompt_tokens: int = 0
    sampled_tokens: int = 0
    seconds: float = 0.0
    answer: str = ""
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in self._items()}

    def _items(self) -> Iterator[tuple[str, Any]]:
        return ((name, getattr(self, name)) for name in Row.__dataclass_fields__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is run: at most ``most`` cases, the first ones, ``runs`` times each. ``tokens`` and ``seconds`` stop it between batches; what is left can be gone on with."""

    most: int | None = None
    runs: int = 1
    seed: int = 0
    batch: int | None = None
    tokens: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How far a benchmark is: attempts ``done`` of ``total`` (``None``: not counted), ``lost`` ones among them, tries of workers that died, tokens."""

    done: int
    total: int | None
    lost: int
    lost_tries: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Source:
    """Makes a benchmark and its contestant wherever they are wanted; it must be picklable for workers in processes of their own."""

    benchmark: Callable[[], Benchmark]
    contestant: Callable[..., Any]

    def __call__(self, asks: Sequence[Ask]) -> tuple[list[Scored], float]:
        """Attempt a batch in this process; one at a time, as world and model are shared."""
        attempt, turn = _opened(self)
        with turn:
            begun = time.perf_counter()
            found = list(attempt(asks))
            return found, time.perf_counter() - begun


@lru_cache(maxsize=2)
def _opened(source: Source) -> tuple[Attempt, Lock]:
    return source.benchmark().open(source.contestant), Lock()


async def run(
    source: Source,
    pool: Pool,
    folder: Path,
    plan: Plan,
    *,
    tell: Callable[[Told], None] | None = None,
) -> bool:
    """Attempt what is not attempted yet; return whether everything is done (``False`` where a limit stopped it)."""
    benchmark = source.benchmark()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ROWS_FILE
    rows = mended(path)
    done = {(row.case, row.run) for row in rows}
    count = _Count(
        done=len(done), lost=sum(bool(row.error) for row in rows), tokens=sum(map(_tokens, rows)), tell=tell,
        total=None if _cases(benchmark, plan) is None else (_cases(benchmark, plan) or 0) * plan.runs,
    )  # fmt: skip
    size = plan.batch or benchmark.about.batch
    began, before = time.monotonic(), count.tokens
    stopped = False

    def over() -> bool:
        spent = count.tokens - before
        late = plan.seconds is not None and time.monotonic() - began >= plan.seconds
        return late or (plan.tokens is not None and spent >= plan.tokens)

    def batches(asks: Iterable[Ask], size: int) -> Iterator[list[Ask]]:
        nonlocal stopped
        asks = iter(asks)
        while batch := list(islice(asks, size)):
            if over():
                stopped = True
                return
            given.append(batch)
            yield batch

    with path.open("a", encoding="utf-8") as file:
        again: list[Ask] = []
        for last, wanted, width in ((False, asks_of(benchmark, plan, done), size), (True, again, 1)):
            given: list[list[Ask]] = []
            async with aclosing(pool.each(source, batches(wanted, width), progress=count.pool)) as results:  # type: ignore[type-var]
                async for result in results:
                    batch = given[result.index]
                    if result.failure is Failure.RAISED and "ConfigError" in result.error:
                        raise ConfigError(result.error)  # every other attempt would say the same
                    if result.value is None and len(batch) > 1 and not last:
                        again += batch
                        continue
                    for row in _rows(benchmark, batch, result):
                        file.write(json.dumps(row.as_json(), ensure_ascii=False) + "\n")
                        count.add(row)
                    file.flush()
                    os.fsync(file.fileno())
            if stopped:
                return False
    return True


def run_here(source: Source, pool: Pool, folder: Path, plan: Plan, **more: Any) -> bool:
    """Do ``run`` to its end from plain code."""
    return asyncio.run(run(source, pool, folder, plan, **more))


def asks_of(benchmark: Benchmark, plan: Plan, done: set[tuple[str, int]]) -> Iterator[Ask]:
    """Yield the attempts that are not done: all runs of a case behind each other."""
    for case in islice(benchmark.cases(), plan.most):
        for number in range(plan.runs):
            if (case.id, number) not in done:
                yield Ask(case=case, run=number, seed=seed_of(plan.seed, case.id, number))


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file; a last line that was cut off is left out, any other that cannot be read raises ``StoreError``."""
    if not path.exists():
        return []
    found = []
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            found.append(Row(**json.loads(line)))
        except (ValueError, TypeError) as error:
            if number == len(lines):
                break
            raise StoreError(
                f"line {number} of {str(path)!r} is no row of a benchmark: {error}. Mend or delete it."
            ) from None
    return found


def mended(path: Path) -> list[Row]:
    """Return the rows of a file, after cutting off a last line that a kill left half."""
    rows = read_rows(path)
    if path.exists():
        data = path.read_bytes()
        if data and not data.endswith(b"\n"):
            path.write_bytes(data[: data.rfind(b"\n") + 1])
    return rows


def _rows(
    benchmark: Benchmark, batch: Sequence[Ask], result: Result[tuple[list[Scored], float]]
) -> Iterator[Row]:
    if result.value is None:
        why = f"{result.failure}: {result.error}"[:400]
        made, seconds = [Scored(numbers=benchmark.failed, error=why) for _ in batch], 0.0
    else:
        made, seconds = result.value
    for ask, one in zip(batch, made, strict=True):
        yield Row(
            case=ask.case.id,
            run=ask.run,
            problem=ask.case.problem or ask.case.id,
            numbers=one.numbers,
            tags=ask.case.tags,
            steps=one.steps,
            prompt_tokens=one.prompt_tokens,
            sampled_tokens=one.sampled_tokens,
            seconds=round(seconds / len(batch), 6),
            answer=one.answer,
            error=one.error,
        )


def _cases(benchmark: Benchmark, plan: Plan) -> int | None:
    cases = benchmark.about.cases
    if plan.most is None or cases is None:
        return cases if plan.most is None else plan.most
    return min(plan.most, cases)


def _tokens(row: Row) -> int:
    return row.prompt_tokens + row.sampled_tokens


@dataclass(slots=True, kw_only=True)
class _Count:
    done: int
    total: int | None
    lost: int
    tokens: int
    tell: Callable[[Told], None] | None
    lost_tries: int = 0

    def add(self, row: Row) -> None:
        self.done += 1
        self.lost += bool(row.error)
        self.tokens += _tokens(row)
        self._tell()

    def pool(self, progress: Progress) -> None:
        self.lost_tries = progress.lost_tries
        self._tell()

    def _tell(self) -> None:
        if self.tell is not None:
            self.tell(
                Told(
                    done=self.done,
                    total=self.total,
                    lost=self.lost,
                    lost_tries=self.lost_tries,
                    tokens=self.tokens,
                )
            )
