"""How well a plan of tool calls matches gold: the published measures, from counts, so that each is taken over all cases.

Sources: TaskBench (arXiv 2311.18760, section 4, and its released scorer) for the F1s and the edit distance; GNN4TaskPlan (arXiv 2405.19119, and its released scorer) for F1s that
are averaged over cases, accuracy and hallucination. All F1s compare sets: a tool that is used twice counts once. The released scorer of TaskBench passes over tools
that are not in the graph when it counts nodes, so made-up ones cost nothing there; ``node_f1_strict`` counts them as wrong. ``calls_right`` is ours: calls are matched by
assignment, with TaskBench's cost, so that repeated tools and their arguments are told apart.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from everystep.environments.tooluse.toolgraph import ToolGraph
from everystep.environments.tooluse.toolplan import ToolPlan, resolved
from everystep.evaluate.step_metrics import Counts

F1S = ("node", "node_strict", "edge", "argument_name", "argument_value")
"""What there are counts ``_hit`` and ``_both`` of."""


def plan_counts(plan: ToolPlan, gold: ToolPlan, graph: ToolGraph) -> dict[str, float]:
    """Return the numbers of one case that the measures are made of.

    ``X_hit`` and ``X_both`` (said plus true) for each of ``F1S``; ``similarity`` of the sequences of tools; ``case_node_f1``, ``case_edge_f1``, ``edged`` (gold has
    edges), ``accuracy``; ``calls``, ``calls_unknown``, ``links``, ``links_illegal``; ``flawed`` (an unknown tool or an illegal link); ``matched`` and ``matched_of`` (calls
    that are right of the more calls of both).
    """
    said, true = plan.edges(resource=graph.resource), gold.edges(resource=graph.resource)
    told, truth = _arguments(plan, graph), _arguments(gold, graph)
    pairs: dict[str, tuple[Collection[Hashable], Collection[Hashable]]] = {
        "node": ({*plan.tools} & graph.tools.keys(), {*gold.tools} & graph.tools.keys()),
        "node_strict": ({*plan.tools}, {*gold.tools}),
        "edge": (said, true),
        "argument_name": ({one[:2] for one in told}, {one[:2] for one in truth}),
        "argument_value": (told, truth),
    }
    numbers: dict[str, float] = {}
    for name, (one, other) in pairs.items():
        numbers[f"{name}_hit"] = float(len({*one} & {*other}))
        numbers[f"{name}_both"] = float(len(one) + len(other))
    case_node = case_f1(plan.tools, gold.tools)
    numbers |= {
        "similarity": similarity(plan.tools, gold.tools),
        "case_node_f1": case_node,
        "accuracy": float(case_node >= 0.99),
        "edged": float(bool(true)),
        "case_edge_f1": case_f1([*said], [*true]),
        "matched": float(len(right_calls(plan, gold, graph))),
        "matched_of": float(max(len(plan.calls), len(gold.calls))),
    }
    return numbers | flaws(plan, graph)


def flaws(plan: ToolPlan, graph: ToolGraph) -> dict[str, float]:
    """Return what can be said of a plan without gold: how many calls and links, unknown tools, links that are no edge, and whether there is any such."""
    unknown = sum(tool not in graph.tools for tool in plan.tools)
    illegal = sum(not graph.legal(*link) for link in plan.links)
    return {
        "calls": float(len(plan.calls)),
        "calls_unknown": float(unknown),
        "links": float(len(plan.links)),
        "links_illegal": float(illegal),
        "flawed": float(bool(unknown or illegal)),
    }


def _arguments(plan: ToolPlan, graph: ToolGraph) -> set[tuple[str, str, str]]:
    return {
        (call.tool, *one)
        for call, given in zip(plan.calls, resolved(plan, graph), strict=True)
        for one in given
    }


def f1(counts: Counts) -> Any:
    """Return 2 hits / (said + true), of counts (hits, said + true); 1 where nothing was to be said and nothing was.

    >>> float(f1(np.array([2.0, 5.0]))), float(f1(np.array([0.0, 0.0])))
    (0.8, 1.0)
    """
    hits, both = np.asarray(counts[..., 0]), np.asarray(counts[..., 1])
    return np.divide(2 * hits, both, out=np.ones_like(both, dtype=np.float64), where=both > 0)


def distance(counts: Counts) -> Any:
    """Return 1 less the mean similarity, of counts (cases, similarity)."""
    return 1 - counts[..., 1] / np.maximum(counts[..., 0], 1)


def case_f1(said: Collection[Hashable], true: Collection[Hashable]) -> float:
    """Return the F1 of one case, of sets; 0 where either is empty. GNN4TaskPlan's scorer divides by the lengths of the lists instead: there gold with a repeated tool is not 1.

    >>> case_f1(["a", "b"], ["a"]), case_f1(["a", "a"], ["a"])
    (0.6666666666666666, 1.0)
    """
    some, others = {*said}, {*true}
    return 2 * len(some & others) / (len(some) + len(others)) if some & others else 0.0


def similarity(said: Sequence[str], true: Sequence[str]) -> float:
    """Return the published similarity of two sequences: 1 - d / (lengths together), d the edit distance where a replacement costs 2 (so d counts what is not in the longest common subsequence).

    >>> similarity("abc", "abc"), similarity("abc", "axc"), similarity("", "ab"), similarity("", "")
    (1.0, 0.6666666666666666, 0.0, 1.0)
    """
    total = len(said) + len(true)
    if not total:
        return 1.0
    row = [0] * (len(true) + 1)  # lengths of the longest common subsequence
    for one in said:
        last, row = row, [0]
        for at, other in enumerate(true):
            row.append(last[at] + 1 if one == other else max(last[at + 1], row[at]))
    return 2 * row[-1] / total


def matching(plan: ToolPlan, gold: ToolPlan) -> list[tuple[int, int]]:
    """Return which call of ``plan`` stands for which of ``gold``: the assignment of least cost, 2 - (same tool) - (links of both that touch both calls) / 2, as in TaskBench.

    A link touches the first call of each of its tools.

    >>> from everystep.environments.tooluse.toolplan import chain
    >>> matching(chain("b", "a"), chain("a", "b"))
    [(0, 1), (1, 0)]
    """
    cost = cost_matrix(plan, gold)
    rows, columns = linear_sum_assignment(cost)
    return [(int(a), int(b)) for a, b in zip(rows, columns, strict=True)]


def cost_matrix(plan: ToolPlan, gold: ToolPlan) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the cost of each pair of calls, shape (calls of plan, calls of gold); see ``matching``."""
    said, true = plan.tools, gold.tools
    cost = np.full((len(said), len(true)), 2.0)
    for a, one in enumerate(said):
        for b, other in enumerate(true):
            cost[a, b] -= one == other
    common = [one for one in plan.links for other in gold.links if one == other]
    for link in common:
        for tool in link:
            if tool in said and tool in true:
                cost[said.index(tool), true.index(tool)] -= 0.5
    return cost


def right_calls(plan: ToolPlan, gold: ToolPlan, graph: ToolGraph) -> list[tuple[int, int]]:
    """Return the pairs of matched calls with one tool and (where gold has arguments) the same arguments."""
    if not plan.calls or not gold.calls:
        return []
    told, truth = resolved(plan, graph), resolved(gold, graph)
    bare = not any(call.arguments for call in gold.calls)
    cost = cost_matrix(plan, gold)
    for a, one in enumerate(told):  # among calls of one tool, those with the same arguments belong together
        for b, other in enumerate(truth):
            cost[a, b] -= 1e-3 * (sorted(one) == sorted(other))
    rows, columns = linear_sum_assignment(cost)
    return [
        (int(a), int(b))
        for a, b in zip(rows, columns, strict=True)
        if plan.tools[a] == gold.tools[b] and (bare or sorted(told[a]) == sorted(truth[b]))
    ]


def nothing_counts() -> Mapping[str, float]:
    """Return the numbers of a plan that never came: nothing right. What was true is not known, so every F1 counts one miss."""
    found = {f"{name}_hit": 0.0 for name in F1S} | {f"{name}_both": 1.0 for name in F1S}
    return found | dict.fromkeys(
        ("similarity", "case_node_f1", "case_edge_f1", "accuracy", "matched", "calls", "calls_unknown", "links", "links_illegal", "flawed"), 0.0
    ) | {"edged": 1.0, "matched_of": 1.0}  # fmt: skip
