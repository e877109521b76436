"""Rewards for tool calls by matching them to a reference trace (MatchTIR, appendix formulas and released code).

A predicted call is like a reference call as far as name, parameter names and parameter values agree. Calls are
assigned one to one, by the best total (``optimal``) or greedily by score (``greedy``, the released code), or
spread over references by entropic transport (``soft``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum

import numpy as np
from scipy.optimize import linear_sum_assignment

from everystep.core.errors import ConfigError
from everystep.core.records import ToolCall, Trajectory
from everystep.credit.grouping import FloatArray


class Solver(StrEnum):
    """How calls are assigned to references."""

    OPTIMAL = "optimal"  # the assignment with the largest total
    GREEDY = "greedy"  # the largest score first; can miss the best total
    SOFT = "soft"  # entropic transport with uniform marginals


def similarity(call: ToolCall, reference: ToolCall) -> float:
    """How far a call agrees with a reference, in ``[0, 1]``; 0 when the names differ (in more than case).

    ``(1 + K + E) / (2 + n)`` with ``n`` reference parameters, ``E`` of them with an equal value, and ``K`` the Jaccard index of the
    parameter names.

    >>> similarity(ToolCall(name="f", arguments={"x": 1, "y": 2}), ToolCall(name="F", arguments={"x": 1, "y": 3}))
    0.75
    """
    if call.name.lower() != reference.name.lower():
        return 0.0
    names, wanted = set(call.arguments), set(reference.arguments)
    overlap = len(names & wanted) / len(names | wanted) if names | wanted else 1.0
    equal = sum(
        name in call.arguments and call.arguments[name] == value
        for name, value in reference.arguments.items()
    )
    return (1.0 + overlap + equal) / (2.0 + len(wanted))


def call_rewards(
    calls: Sequence[ToolCall],
    references: Sequence[ToolCall],
    *,
    solver: str = "optimal",
    unmatched: float = 0.0,
    regularisation: float = 0.1,
) -> FloatArray:
    """One reward a call of a whole trajectory, in order. An unmatched call gets ``unmatched``.

    A matched call gets its similarity. With ``soft`` the reward is ``sum over references of T * similarity``; the rows of the plan ``T``
    sum to one over the number of calls, so rewards shrink with it (as published), and ``unmatched`` is not used.
    """
    if solver not in list(Solver):
        raise ConfigError(f"solver is {solver!r}; expected one of {', '.join(Solver)}.")
    scores = np.array(
        [[similarity(call, reference) for reference in references] for call in calls], dtype=np.float64
    ).reshape(len(calls), len(references))
    if solver == Solver.SOFT:
        return soft_rewards(scores, regularisation)
    rewards = np.full(len(calls), unmatched)
    for call, reference in optimal_pairs(scores) if solver == Solver.OPTIMAL else greedy_pairs(scores):
        rewards[call] = scores[call, reference]
    return rewards


def optimal_pairs(scores: FloatArray) -> list[tuple[int, int]]:
    """The one-to-one assignment with the largest total; pairs with score 0 are left out."""
    if not scores.size:
        return []
    rows, places = linear_sum_assignment(scores, maximize=True)
    return [(int(r), int(c)) for r, c in zip(rows, places, strict=True) if scores[r, c] > 0]


def greedy_pairs(scores: FloatArray) -> list[tuple[int, int]]:
    """The largest positive score first, ties in order of the call, then of the reference."""
    out: list[tuple[int, int]] = []
    calls: set[int] = set()
    references: set[int] = set()
    for flat in np.argsort(-scores, axis=None, kind="stable").tolist():
        call, reference = divmod(flat, scores.shape[1])
        if scores[call, reference] <= 0:
            break
        if call not in calls and reference not in references:
            calls.add(call)
            references.add(reference)
            out.append((call, reference))
    return out


def soft_rewards(scores: FloatArray, regularisation: float = 0.1) -> FloatArray:
    """Each call's share of similarity under entropic transport with cost ``-score`` (see ``transport``)."""
    if not scores.size:
        return np.zeros(scores.shape[0])
    rewards: FloatArray = (transport(-scores, regularisation) * scores).sum(axis=1)
    return rewards


def transport(
    cost: FloatArray, regularisation: float, *, rounds: int = 10_000, tolerance: float = 1e-12
) -> FloatArray:
    """The entropic optimal transport plan between uniform marginals, by Sinkhorn steps on logarithms.

    Raises ``ConfigError`` when ``regularisation`` is not positive.
    """
    if not regularisation > 0:
        raise ConfigError(f"regularisation is {regularisation!r}; expected a number above 0.")
    rows, places = cost.shape
    log_kernel = -cost / regularisation
    log_row, log_place = -np.log(rows), -np.log(places)
    f, g = np.zeros(rows), np.zeros(places)
    for _ in range(rounds):
        f = log_row - _log_sum_exp(log_kernel + g[None, :], axis=1)
        before, g = g, log_place - _log_sum_exp(log_kernel + f[:, None], axis=0)
        if float(np.abs(g - before).max()) < tolerance:
            break
    plan: FloatArray = np.exp(f[:, None] + log_kernel + g[None, :])
    return plan


def _log_sum_exp(values: FloatArray, *, axis: int) -> FloatArray:
    top = values.max(axis=axis, keepdims=True)
    out: FloatArray = np.log(np.exp(values - top).sum(axis=axis)) + np.squeeze(top, axis=axis)
    return out


def token_f1(text: str, reference: str) -> float:
    """F1 of the sets of lower-case words of an answer and its reference, in ``[0, 1]``."""
    said, wanted = set(re.findall(r"\w+", text.lower())), set(re.findall(r"\w+", reference.lower()))
    common = len(said & wanted)
    return 2.0 * common / (len(said) + len(wanted)) if common else 0.0


def turn_rewards(
    trajectory: Trajectory,
    *,
    solver: str = "optimal",
    answer: Callable[[str], str | None] | None = None,
    unmatched: float = 0.0,
    regularisation: float = 0.1,
) -> FloatArray:
    """One reward a step: the mean over its calls; a step with an answer gets the answer's token F1 instead.

    ``answer`` extracts the final answer from an action's text, or ``None``; without it a step's score ``"answer"`` is taken where
    there is one. A step with neither gets 0. Raises ``ConfigError`` when the task has no reference calls.
    """
    task = trajectory.task
    if task.reference_calls is None:
        raise ConfigError(
            f"task {task.id!r} has no reference calls to match with; set `Task.reference_calls`, () for none."
        )
    calls = [call for step in trajectory.steps for call in step.action.calls]
    rewards = call_rewards(
        calls, task.reference_calls, solver=solver, unmatched=unmatched, regularisation=regularisation
    )
    out = np.zeros(len(trajectory.steps))
    start = 0
    for turn, step in enumerate(trajectory.steps):
        stop = start + len(step.action.calls)
        said = answer(step.action.text) if answer else None
        if said is not None:
            out[turn] = token_f1(said, str(task.reference))
        elif answer is None and "answer" in step.scores:
            out[turn] = step.scores["answer"]
        elif stop > start:
            out[turn] = rewards[start:stop].mean()
        start = stop
    return out


def match_scores(trajectories: Sequence[Trajectory], *, solver: str, **options: float) -> FloatArray:
    """The turn rewards of all trajectories, in the row order of ``columns``."""
    rewards = [turn_rewards(one, solver=solver, **options) for one in trajectories]  # type: ignore[arg-type]
    return np.concatenate(rewards) if rewards else np.zeros(0)
