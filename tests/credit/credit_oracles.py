"""Slow, plain-Python credit written from the formulas, and random batches to compare it on."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from everystep.credit.columns import Columns, from_arrays

EPS = 1e-6


@dataclass(frozen=True)
class Row:
    task: int
    trajectory: int
    turn: int
    reward: float
    outcome: float
    penalty: float
    anchor: int
    score: float


NUMBERS = st.sampled_from([0.0, 0.0, 1.0, 10.0, -1.0, 0.5]) | st.floats(-5, 5).map(lambda x: round(x, 2))


@st.composite
def batches(draw: st.DrawFn, max_tasks: int = 3, max_trajectories: int = 4, max_turns: int = 6) -> list[Row]:
    """Ragged batches of rows in random order."""
    rows: list[Row] = []
    trajectory = 0
    for task in range(draw(st.integers(1, max_tasks))):
        for _ in range(draw(st.integers(1, max_trajectories))):
            turns = draw(st.integers(1, max_turns))
            rewards = [draw(NUMBERS) for _ in range(turns)]
            outcome = draw(NUMBERS)
            for turn in range(turns):
                rows.append(
                    Row(
                        task=task,
                        trajectory=trajectory,
                        turn=turn,
                        reward=rewards[turn],
                        outcome=outcome,
                        penalty=float(draw(st.integers(0, 3)) == 0),
                        anchor=draw(st.integers(-1, 3)),
                        score=draw(NUMBERS),
                    )
                )
            trajectory += 1
    return draw(st.permutations(rows))


def table(rows: list[Row]) -> Columns:
    return from_arrays(
        task_S=[r.task for r in rows],
        trajectory_S=[r.trajectory for r in rows],
        turn_S=[r.turn for r in rows],
        reward_S=[r.reward for r in rows],
        outcome_S=[r.outcome for r in rows],
        penalty_S=[r.penalty for r in rows],
        anchor_S=[r.anchor for r in rows],
        scores={"s": [r.score for r in rows]},
    )


def returns(rows: list[Row], discount: float, of: str = "reward") -> list[float]:
    by_place = {(r.trajectory, r.turn): r for r in rows}
    out = []
    for r in rows:
        value, turn, factor = 0.0, r.turn, 1.0
        while (r.trajectory, turn) in by_place:
            value += factor * getattr(by_place[r.trajectory, turn], of)
            factor *= discount
            turn += 1
        out.append(value)
    return out


def compare(
    values: list[float],
    keys: list[object],
    trajectories: list[int],
    turns: list[int],
    *,
    kind: str,
    unit: str,
    singleton: str,
    ddof: int = 1,
    tolerance: float = 1e-6,
) -> list[float]:
    """Normalise each value inside its group; a key of ``None`` is a group of its own."""
    groups: dict[object, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        groups[("lone", row) if key is None else key].append(row)
    out = [0.0] * len(values)
    for members in groups.values():
        if unit == "step":
            entries = [values[row] for row in members]
        else:
            owned: dict[int, list[int]] = defaultdict(list)
            for row in members:
                owned[trajectories[row]].append(row)
            if unit == "trajectory":
                entries = [statistics.fmean(values[row] for row in mine) for mine in owned.values()]
            else:
                entries = [values[min(mine, key=lambda row: turns[row])] for mine in owned.values()]
        size = len(entries)
        if size == 1:
            for row in members:
                out[row] = (
                    0.0 if singleton == "zero" else values[row] / (1.0 + EPS if kind == "norm" else 1.0)
                )
            continue
        mean = math.fsum(entries) / size
        limit = tolerance * math.sqrt(math.fsum(e * e for e in entries) / size) + 1e-12
        spread = math.sqrt(math.fsum((e - mean) ** 2 for e in entries) / size)
        row_spread = math.sqrt(math.fsum((values[row] - mean) ** 2 for row in members) / len(members))
        if spread <= limit and (kind == "norm" or row_spread <= limit):
            continue
        std = math.sqrt(math.fsum((e - mean) ** 2 for e in entries) / (size - ddof))
        for row in members:
            off = values[row] - mean
            out[row] = {"centre": off, "leave_one_out": off * size / (size - 1), "norm": off / (std + EPS)}[
                kind
            ]
    return out


def shuffled(rows: list[Row], seed: int) -> tuple[list[Row], list[int]]:
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    return [rows[place] for place in order], order
