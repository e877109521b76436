"""A benchmark whose cases are numbers, with workers that die: for processes of their own, which import it by name."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everystep.bench.benchmark import About, Ask, Attempt, Case, Measure, Scored, mean_of


@dataclass(frozen=True)
class Numbers:
    """Case n succeeds if the contestant says n. Every ``dies``-th batch kills its worker the first time; case ``bad`` kills it each time."""

    count: int
    folder: str
    dies: int = 0
    bad: int = -1
    batch: int = 8

    @property
    def about(self) -> About:
        return About(name="numbers", kind="agent", summary="numbers", source="here", licence="MIT", cases=self.count, batch=self.batch)  # fmt: skip

    @property
    def measures(self) -> tuple[Measure, ...]:
        return (mean_of("success", "share of right numbers"),)

    @property
    def failed(self) -> Mapping[str, float]:
        return {"success": 0.0}

    def cases(self) -> Iterator[Case]:
        for number in range(self.count):
            yield Case(id=f"n{number}", what=number, tags={"parity": str(number % 2)})

    def open(self, make: Callable[..., Any]) -> Attempt:
        says = make()
        with (Path(self.folder) / "opened").open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")

        def attempt(asks: Sequence[Ask]) -> list[Scored]:
            for ask in asks:
                number = ask.case.what
                mark = Path(self.folder) / f"died{number}"
                if number == self.bad or (self.dies and number % self.dies == 0 and not mark.exists()):
                    mark.touch()
                    os._exit(7)
            return [
                Scored(numbers={"success": float(says(ask.case.what) == ask.case.what)}, steps=1, sampled_tokens=10)
                for ask in asks
            ]  # fmt: skip

        return attempt


@dataclass(frozen=True)
class Make:
    """Makes a benchmark, as a picklable function."""

    count: int
    folder: str
    dies: int = 0
    bad: int = -1
    batch: int = 8

    def __call__(self) -> Numbers:
        return Numbers(self.count, self.folder, self.dies, self.bad, self.batch)


def right() -> Callable[[int], int]:
    return lambda number: number


def even() -> Callable[[int], int]:
    return lambda number: number if number % 2 == 0 else -1


def slow() -> Callable[[int], int]:
    def say(number: int) -> int:
        time.sleep(0.01)
        return number

    return say
