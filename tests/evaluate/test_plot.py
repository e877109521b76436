"""Plots are written, the same for the same numbers."""

from __future__ import annotations

from pathlib import Path

from everystep.evaluate.intervals import Interval
from everystep.evaluate.plot import plot_bands, plot_intervals, plot_points


def test_intervals_are_drawn_the_same_twice(tmp_path: Path) -> None:
    one = Interval(value=0.2, low=0.1, high=0.3)
    panels = {"first": {"run": {"a": one, "b": one}, "group": {"b": one}}, "second": {"run": {"a": one}}}
    first = plot_intervals(panels, tmp_path / "a.png", across="rank correlation")
    second = plot_intervals(panels, tmp_path / "b.png", across="rank correlation")
    assert first.read_bytes() == second.read_bytes()
    other = plot_intervals({"first": panels["first"]}, tmp_path / "c.svg", across="rank correlation")
    assert "<svg" in other.read_text()


def test_points_are_drawn_with_their_names(tmp_path: Path) -> None:
    clouds = {"thinks": ([30.0, 31.0], [0.9, 1.0]), "answers": ([8.0, 8.0], [0.6, 0.7])}
    first, second = (
        plot_points(clouds, tmp_path / name, title="t", across="tokens", up="accuracy")
        for name in ("a.png", "b.png")
    )
    assert first.read_bytes() == second.read_bytes()
    plot_points({"thinks": clouds["thinks"]}, tmp_path / "c.png", title="t", across="tokens", up="accuracy")
    assert (tmp_path / "c.png").read_bytes() != first.read_bytes()


def test_bands_mark_every_place(tmp_path: Path) -> None:
    low, high = Interval(value=0.1, low=0.0, high=0.2), Interval(value=0.4, low=0.3, high=0.5)
    lines = {name: {20.0: low, 300.0: high} for name in ("few", "many")}
    plot_bands(lines, tmp_path / "b.svg", title="t", across="K", up="success", log=True)
    text = (tmp_path / "b.svg").read_text(encoding="utf-8")
    assert all(f"<!-- {mark} -->" in text for mark in ("20", "300", "few", "many", "K", "success"))
    first, second = (
        plot_bands(lines, tmp_path / name, title="t", across="K", up="success") for name in ("a.png", "c.png")
    )
    assert first.read_bytes() == second.read_bytes()
