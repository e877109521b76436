"""Plans of tool calls as nodes of a plan that runs, and what is wrong with them in a graph of tools."""

from __future__ import annotations

from everystep.core.records import Json
from everystep.environments.tooluse.toolgraph import ToolGraph
from everystep.environments.tooluse.toolplan import Call, ToolPlan, joined
from everystep.run.nodes import Fault, Node, Problem, check_nodes


def nodes_of(plan: ToolPlan) -> tuple[Node, ...]:
    """Return the calls as nodes ``0``, ``1``, ...: each needs those that its links and references name. Links without calls at both ends are left out; ``problems`` tells them.

    >>> from everystep.environments.tooluse.toolplan import chain
    >>> [(node.id, node.tool, node.needs, node.arguments) for node in nodes_of(chain("search", "book"))]
    [('0', 'search', (), {}), ('1', 'book', ('0',), {'0': '<node-0>'})]
    """
    pairs = [pair for link in plan.links if (pair := joined(plan, link)) is not None]
    needs: dict[int, dict[str, None]] = {number: {} for number in range(len(plan.calls))}
    for source, target in (*pairs, *plan.references):
        needs[target][str(source)] = None
    stepwise = len(plan.steps) == len(plan.calls)
    return tuple(
        Node(
            id=str(number),
            instruction=plan.steps[number] if stepwise else f"use {call.tool}",
            needs=tuple(needs[number]),
            tool=call.tool,
            arguments=_arguments(call),
        )
        for number, call in enumerate(plan.calls)
    )


def problems(plan: ToolPlan, graph: ToolGraph) -> tuple[Problem, ...]:
    """Return what is wrong with a plan: tools that do not exist, pairs of calls that are no edge of the graph, links of tools that are not called, circles.

    >>> from everystep.environments.tooluse.toolgraph import tool_graph
    >>> from everystep.environments.tooluse.toolplan import chain
    >>> [str(one) for one in problems(chain("Text-to-Speech", "Sumarization"), tool_graph("huggingface"))]
    ["unknown tool: node '1' uses tool 'Sumarization', which does not exist. Did you mean 'Summarization'?", "forbidden edge: 'Sumarization' may not follow 'Text-to-Speech' (node '1')."]
    """
    lost = [link for link in plan.links if joined(plan, link) is None]
    found = [
        Problem(fault=Fault.UNKNOWN_NODE, node="", detail=f"a link joins {a[:60]!r} and {b[:60]!r}, which are not two calls of the plan.")
        for a, b in lost
    ]  # fmt: skip
    if not plan.calls:
        found.append(Problem(fault=Fault.EMPTY, node="", detail="the plan has no calls."))
    return (*check_nodes(nodes_of(plan), tools=graph.tools, graph=graph.after), *found)


def _arguments(call: Call) -> dict[str, Json]:
    """Return the arguments by name, by number where they have none or one that is there already."""
    found: dict[str, Json] = {}
    for number, one in enumerate(call.arguments):
        name = one.name if one.name and one.name not in found else str(number)
        found[name] = one.value
    return found
