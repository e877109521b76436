"""What every stored step changed: its advantage under a stated policy, exactly or from branches of the live environment.

The advantage of step ``t`` is ``r[t] + V(t + 1) - V(t)``, undiscounted, where ``V(t)`` is what the policy still earns from the state
before step ``t`` with the turns that are left. After the end, also when the turns have run out, it is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from everystep.core.errors import ConfigError, WorldError
from everystep.core.protocols import Sampler, Sampling
from everystep.core.records import Task, Trajectory
from everystep.credit.grouping import FloatArray, IntArray
from everystep.environments.exact import Rules
from everystep.run.branch import fork
from everystep.run.hosts import Hosts
from everystep.run.rollout import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """All states that the admissible actions of a task reach within its turns, numbered by anchor, and the actions between them.

    Edge ``e`` leads from state ``source_E`` to ``target_E`` (-1: the episode is over) with ``reward_E``; ``right_E`` marks what the
    oracle does. The start is state 0.
    """

    number: Mapping[str, int]
    source_E: IntArray
    target_E: IntArray
    reward_E: FloatArray
    right_E: FloatArray
    turns: int


def explore(rules: Rules[Any], task: Task, *, limit: int = 200_000) -> Graph:
    """Return the graph of ``task``. The world lists its admissible actions and its anchors are complete states (no ``nonce``).

    Raises ``WorldError`` for a world that lists no actions, ``ConfigError`` past ``limit`` states.
    """
    state = rules.start(task)
    first = rules.observe(state)
    number = {_anchor(first.anchor): 0}
    level = [(state, first)]
    edges: list[tuple[int, int, float, float]] = []
    for _ in range(rules.max_steps):
        after = []
        for state, seen in level:
            right = rules.oracle(state)
            if seen.admissible is None or right not in seen.admissible:
                raise WorldError(
                    f"task {task.id!r} lists no actions, or not the oracle's; exact values need them."
                )
            here = number[_anchor(seen.anchor)]
            for text in seen.admissible:
                outcome = rules.advance(state, rules.parse(text))
                target = -1
                if not outcome.over:
                    shown = rules.observe(outcome.state, outcome.note)
                    key = _anchor(shown.anchor)
                    if key not in number:
                        number[key] = len(number)
                        after.append((outcome.state, shown))
                    target = number[key]
                edges.append((here, target, outcome.reward, float(text == right)))
        if len(number) > limit:
            raise ConfigError(
                f"task {task.id!r} has more than {limit} states; use fewer turns or branch instead."
            )
        level = after
    ids = np.array([edge[:2] for edge in edges], dtype=np.int64).reshape(-1, 2)
    numbers = np.array([edge[2:] for edge in edges], dtype=np.float64).reshape(-1, 2)
    return Graph(
        number=number,
        source_E=ids[:, 0],
        target_E=ids[:, 1],
        reward_E=numbers[:, 0],
        right_E=numbers[:, 1],
        turns=rules.max_steps,
    )


def noisy_values(graph: Graph, error_rate: float) -> FloatArray:
    """Return the exact value of every state with every number of turns left, ``[turns + 1, states]``, by backward induction.

    The policy is that of ``everystep.run.demonstrate.demonstrator``: the oracle's action, or with ``error_rate`` one of the other
    admissible actions, evenly. Entries of states that cannot have so many turns left mean nothing and are never read.
    """
    size = len(graph.number)
    others = np.bincount(graph.source_E, weights=1.0 - graph.right_E, minlength=size)[graph.source_E]
    wrong_E = np.where(others > 0, error_rate / np.maximum(others, 1.0), 0.0)
    right_E = np.where(others > 0, 1.0 - error_rate, 1.0)
    chance_E = np.where(graph.right_E > 0, right_E, wrong_E)
    goes_on_E = graph.target_E >= 0
    value = np.zeros((graph.turns + 1, size))
    for left in range(1, graph.turns + 1):
        later_E = np.where(goes_on_E, value[left - 1][graph.target_E], 0.0)
        value[left] = np.bincount(
            graph.source_E, weights=chance_E * (graph.reward_E + later_E), minlength=size
        )
    return value


def exact_values(trajectory: Trajectory, graph: Graph, value: FloatArray) -> FloatArray:
    """Return ``V`` before every step of ``trajectory`` and 0 after the last, ``[steps + 1]``.

    Raises ``WorldError`` for a state that the graph does not have.
    """
    out = np.zeros(len(trajectory.steps) + 1)
    for turn, step in enumerate(trajectory.steps):
        place = graph.number.get(_anchor(step.observation.anchor))
        if place is None:
            raise WorldError(
                f"step {step.id!r} stands in a state that its task's graph does not have. Is it the same task?"
            )
        out[turn] = value[graph.turns - turn, place]
    return out


def advantages(trajectory: Trajectory, values: FloatArray) -> FloatArray:
    """Return the advantage of every step from the values before each of them and after the last, ``[steps + 1]``.

    >>> from everystep.core.records import Action, End, Observation, Step
    >>> steps = [Step(id=str(n), parent=None, index=n, observation=Observation(text=""), action=Action(text="a"), reward=r)
    ...          for n, r in enumerate((0.0, 1.0))]
    >>> walk = Trajectory(id="w", task=Task(id="t", instruction="", environment="e"), group="g", steps=tuple(steps), end=End.DONE)
    >>> advantages(walk, np.array([0.5, 0.75, 0.0])).tolist()
    [0.25, 0.25]
    """
    reward = np.array([step.reward or 0.0 for step in trajectory.steps])
    gained: FloatArray = reward + values[1:] - values[:-1]
    return gained


@dataclass(frozen=True, slots=True, kw_only=True)
class Branched:
    """Monte-Carlo values before every step and 0 after the last, their standard errors, and the branches from each step."""

    values: FloatArray
    errors: FloatArray
    branches: tuple[tuple[Trajectory, ...], ...]


def branched_values(
    hosts: Hosts,
    sampler: Sampler,
    trajectory: Trajectory,
    *,
    copies: int,
    sampling: Sampling,
    limits: Limits,
    seed: int,
    constrain: bool = True,
) -> Branched:
    """Estimate ``V`` before every step by letting ``sampler`` finish the episode ``copies`` times from there, in the live environment.

    Raises ``WorldError`` when a branch broke.
    """
    if copies < 1:
        raise ConfigError(f"copies is {copies!r}; it must be 1 or more.")
    earned, values, errors, branches = 0.0, [], [], []
    for at, step in enumerate(trajectory.steps):
        grown = fork(
            hosts,
            sampler,
            trajectory,
            at,
            copies=copies,
            sampling=sampling,
            limits=limits,
            seed=seed,
            constrain=constrain,
        )
        outcomes = _outcomes(grown) - earned
        values.append(float(outcomes.mean()))
        errors.append(float(outcomes.std(ddof=1) / np.sqrt(copies)) if copies > 1 else float("nan"))
        branches.append(tuple(grown))
        earned += step.reward or 0.0
    return Branched(
        values=np.array([*values, 0.0]), errors=np.array([*errors, 0.0]), branches=tuple(branches)
    )


def _outcomes(grown: Sequence[Trajectory]) -> FloatArray:
    for one in grown:
        if one.outcome is None:
            raise WorldError(
                f"branch {one.id!r} broke: {one.error}. Its outcome is unknown, so it gives no value."
            )
    return np.array([one.outcome for one in grown], dtype=np.float64)


def _anchor(anchor: str | None) -> str:
    if anchor is None:
        raise WorldError("the world gives no anchor, so its states cannot be told apart; branch instead.")
    return anchor
