"""Plots of learning curves, other lines and intervals, by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from everystep.evaluate.compare import Curve
from everystep.evaluate.intervals import Interval
from everystep.verify.reliability import Reliability


def plot_curves(
    arms: Mapping[str, Sequence[Curve]], out: Path, *, title: str, steps: float | None = None
) -> Path:
    """Draw each arm's seeds thin and their mean thick; write an SVG or PNG by the name of ``out``."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, curves) in enumerate(arms.items()):
        colour = f"C{number}"
        last = min(curve.steps[-1] for curve in curves)
        grid = np.linspace(0, last, 60)
        for curve in curves:
            axes.plot(curve.steps, curve.success, color=colour, alpha=0.25, linewidth=0.8)
        mean = np.mean([np.interp(grid, curve.steps, curve.success) for curve in curves], axis=0)
        axes.plot(grid, mean, color=colour, linewidth=2.2, label=f"{name} ({len(curves)} seeds)")
    if steps is not None:
        axes.axvline(steps, color="0.6", linestyle=":", linewidth=1)
    axes.set(xlabel="environment steps", ylabel="held-out success", ylim=(0, 1), title=title)
    axes.grid(alpha=0.25)
    axes.legend(loc="best", frameon=False)
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)
    return out


def plot_lines(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    out: Path,
    *,
    title: str,
    across: str,
    up: str,
) -> Path:
    """Draw named lines, each its places ``across`` and its values ``up``; write an SVG or PNG by the name of ``out``."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for name, (places, values) in lines.items():
        axes.plot(places, values, linewidth=1.8, label=name)
    axes.set(xlabel=across, ylabel=up, title=title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)
    return out


def plot_points(
    points: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    out: Path,
    *,
    title: str,
    across: str,
    up: str,
) -> Path:
    """Draw named clouds of points small and the mean of each large; write an SVG or PNG by the name of ``out``."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, (places, values)) in enumerate(points.items()):
        colour, marker = f"C{number % 10}", "osD^vP*X"[number % 8]
        axes.scatter(places, values, s=14, color=colour, marker=marker, alpha=0.35, linewidths=0)
        axes.scatter(np.mean(places), np.mean(values), s=70, color=colour, marker=marker, label=name)
    axes.set(xlabel=across, ylabel=up, title=title)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)
    return out


def plot_bands(
    lines: Mapping[str, Mapping[float, Interval]],
    out: Path,
    *,
    title: str,
    across: str,
    up: str,
    log: bool = False,
) -> Path:
    """Draw named lines with their intervals as bands, each from places ``across`` to intervals ``up``; write an SVG or PNG by the name of ``out``. ``log`` counts the places in powers."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, points) in enumerate(lines.items()):
        places = sorted(points)
        values = np.array([(points[one].low, points[one].value, points[one].high) for one in places]).T
        axes.fill_between(places, values[0], values[2], color=f"C{number}", alpha=0.15, linewidth=0)
        axes.plot(places, values[1], color=f"C{number}", linewidth=1.8, marker="o", markersize=4, label=name)
    if log:
        axes.set_xscale("log")
    marks = sorted({place for points in lines.values() for place in points})
    axes.set_xticks(marks, [f"{one:g}" for one in marks], minor=False)
    axes.minorticks_off()
    axes.set(xlabel=across, ylabel=up, title=title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)
    return out


def plot_reliability(judges: Mapping[str, Reliability], out: Path, *, title: str) -> Path:
    """Draw each judge's share of good steps over its score, with 95 % intervals; on the diagonal scores mean what they say."""
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot((0, 1), (0, 1), color="0.6", linestyle=":", linewidth=1)
    for name, found in judges.items():
        score = [one.score for one in found.bins]
        good = [one.good.value for one in found.bins]
        below = [max(0.0, one.good.value - one.good.low) for one in found.bins]
        above = [max(0.0, one.good.high - one.good.value) for one in found.bins]
        axes.errorbar(
            score, good, yerr=(below, above), marker="o", markersize=4, linewidth=1.6, capsize=2, label=name
        )
    axes.set(xlabel="score", ylabel="share that is good", xlim=(0, 1), ylim=(0, 1), title=title)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)
    return out


def plot_intervals(
    panels: Mapping[str, Mapping[str, Mapping[str, Interval]]], out: Path, *, across: str, blind: float = 0.0
) -> Path:
    """Draw panels side by side: for each series a dot with its interval on every row; write an SVG or PNG by the name of ``out``.

    ``panels`` maps a panel's title to its series, a series to its rows. All panels share the rows, in the order in which they come up;
    ``blind`` is marked by a line.
    """
    rows = list(dict.fromkeys(row for series in panels.values() for some in series.values() for row in some))
    figure = Figure(figsize=(3.4 * len(panels) + 1.6, 0.34 * len(rows) + 1.4), layout="constrained")
    for axes, (title, series) in zip(
        np.atleast_1d(figure.subplots(1, len(panels), sharey=True)), panels.items(), strict=True
    ):
        for number, (name, some) in enumerate(series.items()):
            shift = 0.16 * (number - (len(series) - 1) / 2)
            places = [rows.index(row) + shift for row in some]
            values = np.array([(one.low, one.value, one.high) for one in some.values()]).reshape(-1, 3)
            axes.hlines(places, values[:, 0], values[:, 2], color=f"C{number}", linewidth=1.4)
            axes.plot(values[:, 1], places, "o", color=f"C{number}", markersize=3.6, label=name)
        axes.axvline(blind, color="0.5", linewidth=1)
        axes.set(title=title, xlabel=across)
        axes.grid(alpha=0.25)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.legend(loc="lower right", frameon=True, fontsize=8)
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)
    return out
