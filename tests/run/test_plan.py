"""The plan: rebuilt from its edits, right about what is ready, flat in cost, and calm about what models write."""

from __future__ import annotations

import json
import sys
from random import Random
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.codec import dumps, loads
from everystep.core.errors import ConfigError
from everystep.run.nodes import FROZEN, Alternative, Edit, Fault, Node, NodeKind, Op, Status, check_nodes
from everystep.run.plan import Plan
from everystep.run.plan_text import PlanLimits, graph, linear, parse_plan, tree

COMPOSITE = NodeKind.COMPOSITE


def do(plan: Plan, *edits: Edit) -> None:
    for edit in edits:
        plan.apply(edit)


def node(name: str, *needs: str, **more: Any) -> Node:
    return Node(id=name, instruction=f"do {name}", needs=needs, **more)


def order_of(plan: Plan) -> list[str]:
    """Work the plan off one by one; return the order."""
    done = []
    while (following := plan.next()) is not None:
        do(plan, plan.started(following.id), plan.finished(following.id))
        done.append(following.id)
    return done


# --- order ------------------------------------------------------------------------------------------


def test_a_list_a_tree_and_a_graph_run_in_their_order() -> None:
    assert order_of(Plan(linear(["x", "y", "z"]))) == ["1", "2", "3"]
    plan = Plan(tree([("tea", ["boil", ("pour", ["lift", "tilt"])]), "drink"]))
    assert order_of(plan) == ["1.1", "1.2.1", "1.2.2", "2"]
    assert plan.complete
    assert plan.status("1") is Status.DONE
    assert plan.index("1.2.2") == "1.2.2"
    edges = [("a", "b", 0.2), ("a", "c", 0.7), ("b", "d"), ("c", "d")]
    plan = Plan(graph({"d": "serve", "b": "salt", "c": "stir", "a": "boil"}, edges))
    assert order_of(plan) == ["a", "c", "b", "d"]


def test_ready_nodes_come_by_weight_then_in_plan_order() -> None:
    plan = Plan([node("a"), node("b", weight=2.0), node("c"), node("d", "a")])
    assert [one.id for one in plan.ready()] == ["b", "a", "c"]
    assert plan.next() == plan.node("b")


def test_a_composite_is_expanded_when_it_is_reached_and_finishes_with_its_children() -> None:
    plan = Plan([node("a", kind=COMPOSITE), node("b", "a")])
    assert plan.next() is not None
    do(plan, plan.expanded("a", [node("x"), node("y", "x")]))
    assert plan.status("a") is Status.RUNNING
    assert order_of(plan) == ["x", "y", "b"]
    assert plan.complete


def test_a_composite_may_hold_another_that_is_expanded_later() -> None:
    plan = Plan([node("a", kind=COMPOSITE)])
    do(plan, plan.expanded("a", [node("x", kind=COMPOSITE), node("y")]))
    assert plan.next() == plan.node("x")
    do(plan, plan.expanded("x", [node("deep")]))
    assert order_of(plan) == ["deep", "y"]
    assert plan.complete


# --- failure and repair ---------------------------------------------------------------------------


def test_alternatives_are_tried_in_order_and_the_last_failure_stands() -> None:
    ways = (Alternative(instruction="by train"), Alternative(instruction="on foot", tool="walk"))
    plan = Plan([node("go", alternatives=ways), node("stay", "go")])
    do(plan, plan.started("go"), plan.failed("go", "no car"))
    assert plan.covered("go")
    first = plan.next()
    assert first is not None
    assert (first.id, first.instruction) == ("go~1", "by train")
    do(plan, plan.started("go~1"), plan.failed("go~1", "strike"))
    second = plan.next()
    assert second is not None
    assert (second.id, second.tool) == ("go~2", "walk")
    survivor = Plan.rebuilt(plan.edits())
    assert order_of(survivor) == ["go~2", "stay"]
    assert survivor.complete
    do(plan, plan.started("go~2"), plan.failed("go~2", "rain"))
    assert not plan.covered("go~2")
    assert plan.stuck


def test_an_optional_node_may_fail_or_be_skipped() -> None:
    plan = Plan([node("a", optional=True), node("b", "a", optional=True), node("c", "b")])
    do(plan, plan.started("a"), plan.failed("a", "no"), plan.skipped("b", "not needed"))
    assert plan.covered("a")
    assert order_of(plan) == ["c"]
    assert plan.complete
    with pytest.raises(ConfigError, match="not optional"):
        Plan([node("a")]).apply(plan.skipped("a", "why not"))


def test_replanning_a_level_keeps_what_is_finished_and_forgives_what_failed() -> None:
    plan = Plan([node("all", kind=COMPOSITE), node("after", "all")])
    do(plan, plan.expanded("all", [node("x"), node("y", "x"), node("z", "y")]))
    do(plan, plan.started("x"), plan.finished("x"), plan.started("y"), plan.failed("y", "broken"))
    assert plan.stuck
    do(plan, plan.replaced("all", [node("z", "x"), node("w", "z")]))
    assert plan.status("x") is Status.DONE
    assert plan.status("y") is Status.FAILED
    assert order_of(plan) == ["z", "w", "after"]
    assert plan.complete


def test_replanning_with_nothing_settles_the_level() -> None:
    plan = Plan([node("all", kind=COMPOSITE), node("after", "all")])
    do(plan, plan.expanded("all", [node("x"), node("y", "x")]), plan.started("x"), plan.failed("x", "odd"))
    do(plan, plan.replaced("all", []))
    assert order_of(plan) == ["after"]


def test_what_is_frozen_stays() -> None:
    plan = Plan([node("a"), node("b", "a")])
    do(plan, plan.started("a"), plan.finished("a", "42"))
    for edit in (plan.started("a"), plan.failed("a", "x"), plan.finished("a"), plan.skipped("a", "x")):
        with pytest.raises(ConfigError, match="'a' is done"):
            plan.apply(edit)
    assert plan.result("a") == "42"


def test_branch_and_prune_walk_a_tree() -> None:
    plan = Plan([node("goal")])
    do(plan, plan.started("goal"))
    for parent, what in (("goal", "search"), ("goal", "filter"), ("goal.2", "by price")):
        do(plan, plan.branched(parent, what))
    assert plan.is_running("goal.2.1")
    do(plan, plan.finished("goal.2.1"), plan.pruned("goal.1", "wrong page"))
    assert plan.status("goal.2") is Status.PRUNED
    assert plan.status("goal.2.1") is Status.DONE
    assert plan.reason("goal.2") == "wrong page"
    assert plan.is_running("goal.1")
    do(plan, plan.branched("goal", "sort"), plan.finished("goal"))
    assert plan.children("goal") == ("goal.1", "goal.2", "goal.3")
    assert plan.complete


def test_pruning_gives_up_what_waits_for_it() -> None:
    plan = Plan([node("early", "late"), node("mark"), node("late")])
    do(plan, plan.pruned("mark", "no"))
    assert [plan.status(name) for name in ("early", "mark", "late")] == [
        Status.PRUNED,
        Status.READY,
        Status.PRUNED,
    ]


# --- resources ------------------------------------------------------------------------------------


def test_nodes_that_share_a_resource_never_run_together_and_none_is_forgotten() -> None:
    plan = Plan([node("a", resources=("r",)), node("b", resources=("r", "s")), node("c", resources=("s",))])
    do(plan, plan.started("a"))
    assert plan.next() == plan.node("c")
    with pytest.raises(ConfigError, match="in use"):
        plan.apply(plan.started("b"))
    do(plan, plan.started("c"))
    assert plan.next() is None
    do(plan, plan.finished("a"))
    assert plan.next() is None
    do(plan, plan.finished("c"))
    assert order_of(plan) == ["b"]


def test_a_node_that_is_given_up_does_not_hold_up_others_in_line() -> None:
    nodes = [node("a", resources=("r",)), node("b", resources=("r",), optional=True)]
    plan = Plan([*nodes, node("c", resources=("r",))])
    do(plan, plan.started("a"))
    assert plan.next() is None
    do(plan, plan.finished("a"), plan.skipped("b", "no time"))
    assert order_of(plan) == ["c"]


# --- rebuilding and an oracle, on random lives ------------------------------------------------------


def random_nodes(random: Random, plan: Plan, home: str, serial: list[int]) -> list[Node]:
    made: list[Node] = []
    for _ in range(random.randint(1, 4)):
        serial[0] += 1
        usable = [one.id for one in made] + [
            name
            for name in plan.children(home)
            if plan.status(name) in (Status.DONE, Status.RUNNING, Status.SKIPPED)
        ]
        made.append(
            Node(
                id=f"n{serial[0]}",
                instruction=f"do {serial[0]}",
                needs=tuple(random.sample(usable, min(len(usable), random.randint(0, 2)))),
                kind=COMPOSITE if random.random() < 0.3 else NodeKind.ATOMIC,
                optional=random.random() < 0.2,
                alternatives=(Alternative(instruction="else"),) * random.randint(0, 2),
                resources=("r",) if random.random() < 0.3 else (),
                weight=random.choice([1.0, 1.0, 2.0]),
            )
        )
    return made


def random_edit(random: Random, plan: Plan, serial: list[int]) -> Edit:
    names = ["", *(one.id for one in plan)]
    running = [name for name in names[1:] if plan.is_running(name)]
    name = random.choice(names[1:] or [""])
    following = plan.next()
    choice = random.random()
    if following is not None and choice < 0.35:
        if following.composite:
            return plan.expanded(following.id, random_nodes(random, plan, following.id, serial))
        return plan.started(following.id)
    if running and choice < 0.6:
        return plan.finished(random.choice(running), "fine")
    if running and choice < 0.7:
        return plan.failed(random.choice(running), "bad luck")
    if choice < 0.75:
        return plan.skipped(name, "skipped")
    if choice < 0.8:
        return plan.pruned(name, "pruned") if name else plan.added(random_nodes(random, plan, "", serial))
    if choice < 0.88:
        level = random.choice(["", *running])
        return plan.replaced(level, random_nodes(random, plan, level, serial))
    if choice < 0.92 and running:
        return plan.branched(random.choice(running), "try this")
    return plan.added(random_nodes(random, plan, "", serial))


def wants(plan: Plan) -> set[str]:
    """What is ready by definition: pending by its own, under what runs, its needs settled (or their stand-ins)."""
    found = set()
    for one in plan:
        if plan.status(one.id) not in (Status.PENDING, Status.READY):
            continue
        parent = plan.parent(one.id)
        runs = parent == "" or plan.is_running(parent)
        if runs and all(settled(plan, need) for need in one.needs):
            found.add(one.id)
    return found


def settled(plan: Plan, name: str) -> bool:
    while plan.status(name) is Status.FAILED:
        base, _, number = name.partition("~")
        heir = f"{base}~{int(number or 0) + 1}"
        if heir not in plan:
            return plan.node(name).optional
        name = heir
    return plan.status(name) in (Status.DONE, Status.SKIPPED)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_edits_rebuild_an_equal_plan_and_ready_is_what_the_definition_says(seed: int) -> None:
    random, serial, log = Random(seed), [0], []
    plan = Plan()
    for _ in range(30):
        edit = random_edit(random, plan, serial)
        frozen = {one.id: plan.status(one.id) for one in plan if plan.status(one.id) in FROZEN}
        if plan.problems(edit):
            with pytest.raises(ConfigError):
                plan.apply(edit)
            assert plan == Plan.rebuilt(log)
            continue
        plan.apply(edit)
        log.append(loads(Edit, dumps(edit)))
        assert {name: plan.status(name) for name in frozen} == frozen
        assert {one.id for one in plan.ready()} == wants(plan)
        assert sum(plan.count(status) for status in Status) == len(plan) == len(list(plan))
        for status in Status:
            assert plan.count(status) == sum(plan.status(one.id) is status for one in plan)
        busy = [r for one in plan if plan.is_running(one.id) and not one.composite for r in one.resources]
        assert len(busy) == len(set(busy))
        free = [one for one in plan.ready() if one.composite or not set(one.resources) & set(busy)]
        assert plan.next() == (free[0] if free else None) or free
        assert (plan.next() is None) == (not free)
    twin = Plan.rebuilt(log)
    assert twin == plan
    assert [one.id for one in twin.ready()] == [one.id for one in plan.ready()]
    assert not plan.check()


def test_what_was_running_is_handed_out_again_after_a_rebuild() -> None:
    plan = Plan(linear(["x", "y"]))
    first = plan.edits()
    edit = plan.started("1")
    plan.apply(edit)
    assert plan.edits() == first
    again = Plan.rebuilt([*first, edit])
    assert again == plan
    assert again.next() == plan.node("1")
    do(again, again.started("1"))
    assert again.next() is None
    do(again, again.finished("1"))
    assert again.next() == plan.node("2")


# --- cost -----------------------------------------------------------------------------------------


def lines_of(action: Any) -> int:
    """How many lines of Python ``action`` executes."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


def work(plan: Plan, steps: int) -> None:
    for _ in range(steps):
        following = plan.next()
        assert following is not None
        do(plan, plan.started(following.id), plan.finished(following.id))


@pytest.mark.parametrize("shape", ["linear", "wide", "shared"])
def test_a_step_costs_the_same_in_a_plan_a_hundred_times_as_long(shape: str) -> None:
    costs = []
    for size in (100, 10_000):
        resources = ("r",) if shape == "shared" else ()
        nodes = linear(["step"] * size)
        if shape != "linear":
            nodes = tuple(node(one.id, resources=resources) for one in nodes)
        plan = Plan(nodes)
        work(plan, size // 2)
        costs.append(lines_of(lambda plan=plan: work(plan, 50)))
    assert costs[1] <= 1.05 * costs[0]


def test_a_hundred_thousand_nodes_work() -> None:
    plan = Plan(linear(["step"] * 100_000))
    work(plan, 1000)
    assert plan.count(Status.DONE) == 1000
    do(plan, plan.replaced("", linear(["other"] * 1000)[0:0]))
    assert plan.complete
    assert len(plan) == 1000


def test_a_deep_plan_does_not_recurse() -> None:
    plan = Plan([node("0", kind=COMPOSITE)])
    for depth in range(1500):
        do(plan, plan.expanded(str(depth), [node(str(depth + 1), kind=COMPOSITE)]))
    do(plan, plan.finished("1500"))
    assert plan.complete
    nested = [node(str(i), parent=str(i - 1) if i else "", kind=COMPOSITE) for i in range(1500)]
    assert len(Plan(nested[::-1])) == 1500


# --- checks ---------------------------------------------------------------------------------------


def faults(*nodes: Node, **options: Any) -> list[Fault]:
    return [one.fault for one in check_nodes(nodes, **options)]


def test_the_checks_name_what_is_wrong() -> None:
    assert faults(node("a", "b"), node("b", "a"), node("c")) == [Fault.CYCLE]
    assert faults(node("a", "a")) == [Fault.CYCLE]
    assert faults(node("a"), node("a")) == [Fault.DUPLICATE]
    assert faults(node("")) == [Fault.BAD_ID]
    assert faults(node("a", weight=float("nan"))) == [Fault.FORM]
    assert faults(node("a", parent="nowhere")) == [Fault.UNKNOWN_NODE]
    assert faults(node("a", kind=COMPOSITE), node("b", parent="a"), node("c", "b")) == [Fault.FAR_NEED]
    assert faults(node("a", tool="serch"), tools=["search"]) == [Fault.UNKNOWN_TOOL]
    chain = [node("a", tool="load"), node("b", "a", tool="plot"), node("c", "b", tool="load")]
    assert faults(*chain, graph={"load": ["plot"]}) == [Fault.FORBIDDEN_EDGE]
    typed = [node("a", produces=("text",)), node("b", "a"), node("c", "b", consumes=("text", "sound"))]
    assert faults(*typed, given=()) == [Fault.MISSING_TYPE]
    assert faults(*typed, given=("sound",)) == []


def test_an_edit_of_a_model_is_told_what_is_wrong_and_changes_nothing() -> None:
    plan = Plan([node("a", kind=COMPOSITE), node("b", "a"), node("c")])
    do(plan, plan.expanded("a", [node("x")]))
    do(plan, plan.started("c"), plan.failed("c", "no"))

    def told(edit: Edit) -> set[Fault]:
        return {one.fault for one in plan.problems(edit)}

    assert told(plan.expanded("a", [node("x")])) == {Fault.DUPLICATE}
    assert told(plan.expanded("a", [node("y", "b")])) == {Fault.FAR_NEED}
    assert told(plan.expanded("a", [])) == {Fault.EMPTY}
    assert told(plan.expanded("a", [node("y", parent="b")])) == {Fault.FORM}
    assert told(plan.expanded("b", [node("y")])) == {Fault.STATUS}
    assert told(plan.expanded("z", [node("y")])) == {Fault.UNKNOWN_NODE}
    assert told(plan.added([node("y", "c")])) == {Fault.LOST_NEED}
    assert told(plan.replaced("", [node("b", "b")])) == {Fault.CYCLE}
    assert told(plan.replaced("", [node("c")])) == {Fault.DUPLICATE}
    assert told(plan.started("b")) == {Fault.STATUS}
    assert told(Edit(op=Op.BRANCH, node="a")) == {Fault.FORM}
    assert (
        plan.problems(plan.expanded("a", [node("y", tool="t")]), tools=["u"])[0].fault is Fault.UNKNOWN_TOOL
    )


# --- what models write ------------------------------------------------------------------------------


def fault_of(text: str, **limits: int) -> list[Fault]:
    read = parse_plan(text, PlanLimits(**limits))
    assert bool(read.nodes) != bool(read.problems)
    return [one.fault for one in read.problems]


def test_a_plan_is_read_in_its_three_forms() -> None:
    as_list = parse_plan('["fetch", {"instruction": "add", "tool": "sum", "arguments": {"a": [1]}}]')
    assert [(one.id, one.needs, one.tool) for one in as_list.nodes] == [("1", (), None), ("2", ("1",), "sum")]
    fenced = parse_plan('```json\n{"steps": [{"id": "a", "instruction": "x", "alternatives": ["y"]}]}\n```')
    assert fenced.nodes[0].alternatives == (Alternative(instruction="y"),)
    free = parse_plan('[{"id": "a", "instruction": "x", "needs": []}, {"id": "b", "instruction": "y"}]')
    assert [one.needs for one in free.nodes] == [(), ()]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", Fault.NOT_JSON),
        ("I would first look.", Fault.NOT_JSON),
        ('["a"', Fault.NOT_JSON),
        ('["a"] ["b"]', Fault.NOT_JSON),
        ('```json\n["a"]\n```\n```json\n["b"]\n```', Fault.NOT_JSON),
        ("[" * 1000 + "]" * 1000, Fault.TOO_DEEP),
        ('"' + '\\"' * 49_000, Fault.NOT_JSON),
        ("[" + "9" * 5000 + "]", Fault.NOT_JSON),
        ('[{"instruction": "x", "weight": NaN}]', Fault.NOT_JSON),
        ('[{"instruction": "x", "weight": 1e999}]', Fault.NOT_JSON),
        ('[{"instruction": "x", "weight": 1e99}]', Fault.FORM),
        ('[{"instruction": "x", "instruction": "y"}]', Fault.NOT_JSON),
        ("[]", Fault.EMPTY),
        ('["  "]', Fault.EMPTY),
        ("null", Fault.FORM),
        ('{"plan": []}', Fault.FORM),
        ("[1]", Fault.FORM),
        ('[{"id": "a"}]', Fault.FORM),
        ('[{"instruction": "x", "status": "done"}]', Fault.FORM),
        ('[{"instruction": "x", "parent": "a"}]', Fault.FORM),
        ('[{"instruction": "x", "optional": 1}]', Fault.FORM),
        ('[{"instruction": "x", "max_steps": true}]', Fault.FORM),
        ('[{"instruction": "x", "kind": ["atomic"]}]', Fault.FORM),
        ('[{"instruction": "x\\u0000"}]', Fault.FORM),
        ('[{"instruction": "\\ud800"}]', Fault.FORM),
        ('[{"id": "../x", "instruction": "x"}]', Fault.BAD_ID),
        ('[{"id": "a~1", "instruction": "x"}]', Fault.BAD_ID),
        ('[{"id": "a", "instruction": "x"}, {"id": "a", "instruction": "y", "needs": []}]', Fault.DUPLICATE),
        ('[{"instruction": "x", "needs": ["7"]}]', Fault.UNKNOWN_NEED),
        ('[{"instruction": "x", "needs": ["2"]}, {"instruction": "y", "needs": ["1"]}]', Fault.CYCLE),
        (json.dumps(["x" * 3000]), Fault.TOO_LONG),
        ("x" * 200_000, Fault.TOO_LONG),
        (json.dumps(["x"] * 2000), Fault.TOO_MANY),
    ],
)
def test_a_bad_plan_is_a_named_problem(text: str, fault: Fault) -> None:
    assert fault_of(text)[0] is fault


def test_the_limits_are_options() -> None:
    assert fault_of('["a", "b"]', nodes=1) == [Fault.TOO_MANY]
    assert fault_of('["a", "b"]', chars=5) == [Fault.TOO_LONG]
    assert fault_of('["a"]', depth=0) == [Fault.TOO_DEEP]
