"""Progress on the screen: a live bar on a terminal, plain lines without control codes elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

RECENT = 10
"""The time left is reckoned from the mean of so many last parts."""


class ConsoleProgress:
    """Shows how far a run is: phase, part, success, held-out success with its interval, reward, speed, times.

    ``log(step, metrics)`` says that part ``step`` of ``total`` (from 0) is done. Its phase is the one that ``start`` gave, or
    what its numbers tell: a part with ``success`` has trained, one with ``loss`` only has imitated.
    On a terminal the bar and the numbers below it are live, and a line stays for each held-out test.
    """

    def __init__(
        self,
        total: int = 0,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stdout
        self._clock = clock
        self._begun = clock()
        self._times: deque[float] = deque([self._begun], maxlen=RECENT + 1)
        self._total = total
        self._phase: str | None = None
        self._tested = ""
        self._live: Live | None = None
        if self._stream.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[times]}", markup=False),
            )
            self._task = self._bar.add_task("starting", total=total or None, times="")
            self._live = Live(self._bar, console=Console(file=self._stream), refresh_per_second=4)
            self._live.start()

    def start(self, total: int, phase: str) -> None:
        """Begin a phase of ``total`` parts with its own bar and its own reckoning of the time left."""
        self._total, self._phase = total, phase
        self._times = deque([self._clock()], maxlen=RECENT + 1)
        if self._live is not None:
            self._bar.reset(self._task, total=total, description=phase, times="")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show that part ``step`` is done and what it gave."""
        now = self._clock()
        self._times.append(now)
        done = step + 1
        phase = self._phase or phase_of(metrics)
        fresh = held_out_text(metrics)
        self._tested = fresh or self._tested
        numbers = "  ".join(word for word in (_numbers(metrics), self._tested) if word)
        times = f"{clock_text(now - self._begun)} elapsed"
        left = self._left(done)
        if left is not None:
            times += f"  {clock_text(left)} left"
        place = f"{phase}  {done}/{self._total or '?'}"
        if self._live is None:
            self._stream.write("  ".join(word for word in (place, numbers, times) if word) + "\n")
            self._stream.flush()
            return
        if fresh:
            self._live.console.print(f"{place}  {fresh}", markup=False, highlight=False)
        self._bar.update(self._task, completed=done, description=phase, times=times)
        self._live.update(Group(self._bar, Text(numbers, no_wrap=True, overflow="ellipsis")))

    def close(self) -> None:
        """Leave the screen as it should stay."""
        if self._live is not None:
            self._live.stop()

    def _left(self, done: int) -> float | None:
        parts = len(self._times) - 1
        if not self._total or not parts or done >= self._total:
            return None
        return (self._times[-1] - self._times[0]) / parts * (self._total - done)


def phase_of(metrics: Mapping[str, float]) -> str:
    """Name the phase that a part with these numbers belongs to.

    >>> phase_of({"heldout_success": 0.1}), phase_of({"loss": 2.0}), phase_of({"success": 0.3, "loss": 0.1})
    ('first test', 'warm start', 'training')
    """
    if "success" in metrics:
        return "training"
    return "warm start" if "loss" in metrics else "first test"


def held_out_text(metrics: Mapping[str, float]) -> str:
    """Return the held-out success with its interval, empty without one.

    >>> held_out_text({"heldout_success": 0.8, "heldout_low": 0.711, "heldout_high": 0.867})
    'held-out 80.0% [71.1, 86.7]'
    """
    if "heldout_success" not in metrics:
        return ""
    text = f"held-out {metrics['heldout_success']:.1%}"
    if "heldout_low" in metrics and "heldout_high" in metrics:
        text += f" [{100 * metrics['heldout_low']:.1f}, {100 * metrics['heldout_high']:.1f}]"
    return text


def clock_text(seconds: float) -> str:
    """Return a time as minutes and seconds.

    >>> clock_text(83), clock_text(3723)
    ('1:23', '1:02:03')
    """
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _numbers(metrics: Mapping[str, float]) -> str:
    words = []
    if "success" in metrics:
        words.append(f"success {metrics['success']:.1%}")
    elif "loss" in metrics:
        words.append(f"loss {metrics['loss']:.3f}")
    if "reward" in metrics:
        words.append(f"reward {metrics['reward']:.3f}")
    speed = metrics.get("tokens_per_second", metrics.get("tokens_per_s"))
    if speed is not None:
        words.append(f"{speed:,.0f} tokens/s")
    return "  ".join(words)
