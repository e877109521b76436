from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.environments.tooluse.backinstruct import sample_plan
from everystep.environments.tooluse.taskbench import published
from everystep.environments.tooluse.toolgraph import tool_graph
from everystep.environments.tooluse.toolplan import Argument, Call, ToolPlan, chain
from everystep.run.nodes import Fault
from everystep.run.plan import Plan
from everystep.run.plan_repair import EDGES, Lexicon, repair
from everystep.run.plan_tools import nodes_of, problems

FOLDER = Path(os.environ.get("EVERYSTEP_DATA", "/nowhere")) / "taskbench"
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason="EVERYSTEP_DATA/taskbench is not there")
GRAPH = tool_graph("huggingface")
LEXICON = Lexicon(GRAPH)
SHAPES = [("single", 1), ("chain", 2), ("chain", 5), ("dag", 3), ("dag", 6)]


def faults(plan: ToolPlan) -> list[Fault]:
    return [one.fault for one in problems(plan, GRAPH)]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SHAPES), st.integers(0, 10**6), st.sampled_from(EDGES))
def test_a_legal_plan_has_no_problems_and_stays(shape: tuple[str, int], seed: int, edges: str) -> None:
    plan = sample_plan(GRAPH, *shape, Random(seed))
    assert problems(plan, GRAPH) == ()
    assert repair(plan, LEXICON, edges=edges).plan == plan
    assert repair(plan, LEXICON, edges=edges).changes == ()


names = st.sampled_from(
    [*sorted(GRAPH.tools), "Text Summarization", "OCR", "x", "<node-1>", "Step 2", "\x00"]
)
arguments = st.builds(Argument, value=st.sampled_from([f"<node-{n}>" for n in (0, 1, 2, 3, 9, 1000, 9999)] + ["a.jpg", "<node-0> <node-1>"]))  # fmt: skip
wild = st.builds(
    ToolPlan,
    calls=st.lists(st.builds(Call, tool=names, arguments=st.lists(arguments, max_size=3).map(tuple)), max_size=6).map(tuple),
    links=st.lists(st.tuples(names, names), max_size=6).map(tuple),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(wild, st.sampled_from(EDGES))
def test_whatever_is_given_becomes_legal_or_empty(plan: ToolPlan, edges: str) -> None:
    found = repair(plan, LEXICON, edges=edges)
    left = [fault for fault in faults(found.plan) if fault is not Fault.EMPTY]
    assert left == []
    assert repair(found.plan, LEXICON, edges=edges).plan == found.plan
    assert bool(found.changes) == (found.plan != plan) or not found.changes


def test_each_fault_is_named() -> None:
    assert faults(chain("Translation", "Make Coffee")) == [Fault.UNKNOWN_TOOL, Fault.FORBIDDEN_EDGE]
    assert faults(chain("Text-to-Speech", "Sentence Similarity")) == [Fault.FORBIDDEN_EDGE]
    assert faults(ToolPlan(calls=chain("Translation").calls, links=(("Translation", "Summarization"),))) == [Fault.UNKNOWN_NODE]  # fmt: skip
    assert faults(ToolPlan()) == [Fault.EMPTY]
    circle = ToolPlan(
        calls=(
            Call(tool="Translation", arguments=(Argument(value="<node-1>"),)),
            Call(tool="Summarization", arguments=(Argument(value="<node-0>"),)),
        )
    )
    assert faults(circle) == [Fault.CYCLE]
    assert repair(circle, LEXICON).plan.references == [(0, 1)]


def test_ways_to_repair_an_edge() -> None:
    plan = chain("Text-to-Speech", "Sentence Similarity")
    path = repair(plan, LEXICON, edges="path").plan
    assert path.tools == [
        "Text-to-Speech",
        "Audio Classification",
        "Sentence Similarity",
    ]  # the first by name of the shortest ways
    assert path.links == tuple(zip(path.tools, path.tools[1:], strict=False))
    assert path.references == [(0, 1), (1, 2)]
    assert repair(plan, LEXICON, edges="drop").plan.links == ()
    assert repair(plan, LEXICON, edges="drop").plan.references == []
    swapped = repair(plan, LEXICON, edges="swap").plan
    assert len(swapped.calls) == 2
    assert GRAPH.legal(*swapped.tools)
    with pytest.raises(ConfigError, match="path"):
        repair(plan, LEXICON, edges="paths")


def test_references_that_count_from_one() -> None:
    plan = ToolPlan(
        calls=(
            Call(tool="Object Detection", arguments=(Argument(value="a.jpg"),)),
            Call(tool="Translation", arguments=(Argument(value="<node-1>"),)),
            Call(tool="Text-to-Speech", arguments=(Argument(value="<node-2>"),)),
        ),
        links=(("Object Detection", "Translation"), ("Translation", "Text-to-Speech")),
    )
    found = repair(plan, LEXICON)
    assert found.plan.references == [(0, 1), (1, 2)]
    assert found.changes == ("references counted from 0, no longer from 1",)


def test_the_nodes_are_a_plan_that_runs() -> None:
    nodes = nodes_of(sample_plan(GRAPH, "dag", 5, Random(2)))
    plan, order = Plan(nodes), []
    while (node := plan.next()) is not None:
        plan.apply(plan.started(node.id))
        plan.apply(plan.finished(node.id))
        order.append(node.id)
    assert plan.complete
    assert sorted(order) == [node.id for node in nodes]
    assert all(order.index(need) < order.index(node.id) for node in nodes for need in node.needs)


@needs_data
@pytest.mark.parametrize(("domain", "count", "flawed"), [("huggingface", 497, 315), ("multimedia", 498, 202)])
def test_published_plans_and_their_repair(domain: str, count: int, flawed: int) -> None:
    graph = tool_graph(domain)
    lexicon = Lexicon(graph)
    plans = [one.plan for one in published(domain, "codellama13b")]
    read = [plan for plan in plans if isinstance(plan, ToolPlan)]
    assert len(plans) == len(read) == count
    ill = [p for p in read if {*p.tools} - graph.tools.keys() or any(not graph.legal(*x) for x in p.links)]
    assert len(ill) == flawed
    for plan in ill:
        assert problems(plan, graph)
        assert problems(repair(plan, lexicon).plan, graph) == ()
