"""Plots are written, the same for the same numbers."""

from __future__ import annotations

from pathlib import Path

from everystep.evaluate.intervals import Interval
from everystep.evaluate.plot import plot_intervals


def test_intervals_are_drawn_the_same_twice(tmp_path: Path) -> None:
    one = Interval(value=0.2, low=0.1, high=0.3)
    panels = {"first": {"run": {"a": one, "b": one}, "group": {"b": one}}, "second": {"run": {"a": one}}}
    first = plot_intervals(panels, tmp_path / "a.png", across="rank correlation")
    second = plot_intervals(panels, tmp_path / "b.png", across="rank correlation")
    assert first.read_bytes() == second.read_bytes()
    other = plot_intervals({"first": panels["first"]}, tmp_path / "c.svg", across="rank correlation")
    assert "<svg" in other.read_text()
