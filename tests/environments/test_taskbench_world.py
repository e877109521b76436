from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.core.protocols import Sampling
from everystep.environments.check import check_environment, format_report
from everystep.environments.tooluse import taskbench, toolgraph
from everystep.environments.tooluse.backinstruct import critics, judged, made, sample_plan, told, written
from everystep.environments.tooluse.taskbench import TaskBench
from everystep.environments.tooluse.toolgraph import DOMAINS, requests, tool_graph
from everystep.environments.tooluse.toolplan import (
    Argument,
    Call,
    ToolPlan,
    chain,
    plan_of,
    read_plan,
    same_plan,
)
from everystep.models.scripted import Scripted

FOLDER = Path(os.environ.get("EVERYSTEP_DATA", "/nowhere")) / "taskbench"
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason="EVERYSTEP_DATA/taskbench is not there")
GRAPH = tool_graph("huggingface")
SHAPES = [("single", 1), ("chain", 2), ("chain", 5), ("dag", 3), ("dag", 6)]


@pytest.mark.parametrize("world", [TaskBench(), TaskBench(kind="chain", number=20)])
def test_contract(world: TaskBench) -> None:
    report = check_environment(world, tasks=2)
    assert report.ok, format_report(report)


# --- the published graphs -----------------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize(
    ("domain", "tools", "edges", "asked"),
    [
        ("huggingface", 23, 225, 7546),
        ("multimedia", 40, 449, 5584),
        ("dailylifeapis", 40, 1560, 4320),
        ("tmdb", 46, 514, 100),  # 979 links in the file, 514 different ones
        ("ultratool", 260, 611, None),
    ],
)
def test_sizes_of_the_published_graphs(domain: str, tools: int, edges: int, asked: int | None) -> None:
    graph = tool_graph(domain)
    assert (len(graph.tools), graph.edges) == (tools, edges)
    assert asked is None or len(requests(domain)) == asked


@needs_data
def test_the_packaged_graph_is_the_published_one() -> None:
    body = json.loads(toolgraph.text_of("huggingface", "graph_desc.json"))
    links = {(link["source"], link["target"]) for link in body["links"]}
    assert links == {(a, b) for a, some in GRAPH.after.items() for b in some}
    assert {node["id"]: node["desc"] for node in body["nodes"]} == {
        t.name: t.text for t in GRAPH.tools.values()
    }


@needs_data
@pytest.mark.parametrize(("domain", "bad"), [("tmdb", 35), ("ultratool", 4)])
def test_published_gold(domain: str, bad: int) -> None:
    cases, graph = taskbench.gold(domain), tool_graph(domain)
    assert len(cases) == 100 if domain == "tmdb" else 2468 <= len(cases) <= 3527
    kinds = Counter(case.kind for case in cases)
    assert kinds == ({"chain": 95, "single": 5} if domain == "tmdb" else {"chain": len(cases)})
    assert all(tool in graph.tools for case in cases for tool in case.plan.tools)
    illegal = sum(any(not graph.legal(*link) for link in case.plan.links) for case in cases)
    assert illegal == bad or (domain == "ultratool" and len(cases) < 3527 and illegal <= bad)


def test_missing_files_say_where_they_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVERYSTEP_DATA", str(tmp_path))
    toolgraph._graph.cache_clear()
    with pytest.raises(ConfigError, match="microsoft/JARVIS"):
        tool_graph("multimedia")
    with pytest.raises(ConfigError, match="prediction/huggingface"):
        next(taskbench.published("huggingface", "nobody"))


# --- reading ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "no JSON"),
        ("[]", "no JSON"),
        ('{"task_nodes": [}', "not JSON"),
        ('{"task_nodes": [], "task_nodes": []}', "twice"),
        ('{"task_nodes": [{"task": "a", "arguments": [NaN]}]}', "NaN"),
        ('{"task_nodes": {}}', "task_nodes"),
        ('{"task_nodes": [{"task": ["a"]}]}', "names no tool"),
        ('{"task_nodes": [{"task": "a", "arguments": "x"}]}', "arguments"),
        ('{"task_nodes": [], "task_links": [["a", "b"]]}', "link 0"),
        ('{"task_nodes": [], "task_links": [{"source": 1, "target": "b"}]}', "link 0"),
        ('{"task_nodes": ' + json.dumps([{"task": "a"}] * 65) + "}", "at most 64"),
        ("```json\n{}\n```\n```json\n{}\n```", "2 blocks"),
        ('{"x":' * 40 + "1" + "}" * 40, "deep"),
        ('{"x":' * 20_000, "characters"),
        ('{"x":' * 9_000, "deep"),
        ('{"x": 1' + "0" * 9000 + "}", "not JSON"),
    ],
)  # fmt: skip
def test_what_is_no_plan_is_named(text: str, wrong: str) -> None:
    found = read_plan(text)
    assert isinstance(found, str)
    assert wrong in found


def test_the_ways_in_which_released_predictions_write_arguments() -> None:
    body = {"task_nodes": [{"task": "a", "arguments": ["x", 1.5, {"name": "n", "value": ["p", "q"]}, {"lang": "fr"}, {"name": "only"}], "id": 3}, {"task": "b"}]}  # fmt: skip
    plan = plan_of(body)
    assert isinstance(plan, ToolPlan)
    assert [(one.name, one.value) for one in plan.calls[0].arguments] == [("", "x"), ("", "1.5"), ("n", "p q"), ("lang", "fr"), ("only", "")]  # fmt: skip
    assert plan.calls[1].arguments == ()


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_reading_never_raises(text: str) -> None:
    for one in (text, f"```json\n{text}\n```", '{"task_nodes": [{"task": ' + text + "}]}"):
        assert isinstance(read_plan(one), str | ToolPlan)


plans = st.builds(
    lambda shape, seed: sample_plan(GRAPH, *shape, Random(seed)), st.sampled_from(SHAPES), st.integers(0, 10**6)
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(plans)
def test_a_plan_is_read_as_it_was_written(plan: ToolPlan) -> None:
    assert read_plan(json.dumps(plan.as_json())) == plan
    assert read_plan(f"Here it is.\n```json\n{json.dumps(plan.as_json())}\n```\n") == plan


def test_kinds_and_edges() -> None:
    assert [chain("a").kind, chain("a", "b").kind] == ["single", "chain"]
    fork = ToolPlan(calls=tuple(map(_given, ("a", "b", "c"), ("x", "<node-0>", "<node-0>"))))
    assert fork.kind == "dag"
    assert fork.edges(resource=True) == {("a", "b"), ("a", "c")}
    assert fork.edges(resource=False) == set()
    lost = ToolPlan(calls=(_given("a", "<node-0>"), _given("b", "<node-7>")))  # to itself, to no call
    assert lost.edges(resource=True) == set()


def _given(tool: str, value: str) -> Call:
    return Call(tool=tool, arguments=(Argument(value=value),))


# --- the generator ------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(SHAPES), st.integers(0, 10**6))
def test_what_is_made_is_right_by_construction(shape: tuple[str, int], seed: int) -> None:
    one = made(GRAPH, *shape, seed)
    assert (one.plan.kind, len(one.plan.calls)) == shape
    assert one.plan == made(GRAPH, *shape, seed).plan
    assert all(GRAPH.legal(a, b) for a, b in one.plan.links)
    assert critics(one.request, one.plan, GRAPH) == ()
    assert same_plan(one.plan, one.plan, GRAPH)


@needs_data
@pytest.mark.parametrize("domain", DOMAINS)
def test_every_domain_has_parts_of_every_kind(domain: str) -> None:
    for shape in SHAPES:
        assert made(tool_graph(domain), *shape, 1).plan.kind == shape[0]


def test_shapes_that_there_are_not() -> None:
    for kind, size in (("tree", 3), ("dag", 2), ("single", 2), ("chain", 99)):
        with pytest.raises(ConfigError):
            sample_plan(GRAPH, kind, size, Random(0))


def test_critics_see_each_fault() -> None:
    plan = ToolPlan(
        calls=(_given("Object Detection", "photo.png"), _given("Translation", "<node-0>")),
        links=(("Object Detection", "Translation"),),
    )
    request = "What is on 'photo.png', in French?"
    assert critics(request, plan, GRAPH) == ()

    def said(request: str, *calls: Call, links: tuple[tuple[str, str], ...] = plan.links) -> str:
        return "; ".join(critics(request, ToolPlan(calls=calls or plan.calls, links=links), GRAPH))

    assert "does not tell 'photo.png'" in said("What is on the photo?")
    assert "'other.png', which no call uses" in said(f"{request} And on other.png?")
    assert "speaks of nodes" in said(f"{request} <node-0>")
    assert "0 characters" in said("", *plan.calls)
    assert "does not exist" in said(request, plan.calls[0], _given("Translate", "<node-0>"))
    assert "not in one piece" in said(request, plan.calls[0], _given("Translation", "photo.png"), links=())
    assert "links are not those" in said(request, links=())
    assert "gives later" in said(request, _given("Translation", "<node-1>"), plan.calls[0])
    assert "used 2 times" in said(request, plan.calls[0], plan.calls[0])
    assert "not given a image" in said(request, Call(tool="Object Detection"), links=())
    assert "cannot take" in said(request, _given("Object Detection", "song.wav"), links=())
    assert "may not follow" in said(request, plan.calls[0], _given("Object Detection", "<node-0>"))


def test_a_model_writes_requests_and_critics_drop_what_does_not_fit() -> None:
    plan = sample_plan(GRAPH, "chain", 3, Random(3))
    good = {
        **plan.as_json(),
        "user_request": told(plan, GRAPH, Random(0)),
        "task_steps": ["one", "two", "three"],
    }
    fewer = {**good, "task_nodes": good["task_nodes"][:-1]}
    vague = {**good, "user_request": "Do it."}
    answers = [
        json.dumps(good),
        json.dumps(fewer),
        json.dumps(vague),
        "Sure!",
        '{"task_nodes": []}',
        "{" * 99,
    ]
    asked: list[str] = []

    def answer(request) -> str:  # type: ignore[no-untyped-def]
        asked.append(request.messages[0].content)
        return answers[int(request.session.rpartition(" ")[2])]

    found = written(Scripted(answer), GRAPH, [plan] * len(answers), sampling=Sampling())
    assert [not one.faults for one in found] == [True, False, False, False, False, False]
    assert found[0].plan.steps == ("one", "two", "three")
    assert "those that were sampled" in found[1].faults[0]
    assert "does not tell" in found[2].faults[0]
    assert all(tool in asked[0] for tool in plan.tools)


def test_text_around_a_block_does_not_matter() -> None:
    plan = sample_plan(GRAPH, "chain", 2, Random(3))
    body = {**plan.as_json(), "user_request": told(plan, GRAPH, Random(0))}
    assert judged(f"{{as asked}}\n```json\n{json.dumps(body)}\n```\n}}", plan, GRAPH).faults != ("x",)
    assert judged(f"as asked\n```json\n{json.dumps(body)}\n```\n}}", plan, GRAPH).faults == ()
