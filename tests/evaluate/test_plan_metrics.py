from __future__ import annotations

from itertools import permutations
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.environments.tooluse.backinstruct import sample_plan
from everystep.environments.tooluse.toolgraph import tool_graph
from everystep.environments.tooluse.toolplan import Argument, Call, ToolPlan, chain, same_plan
from everystep.evaluate.plan_metrics import (
    F1S,
    cost_matrix,
    distance,
    f1,
    matching,
    nothing_counts,
    plan_counts,
    right_calls,
    similarity,
)

GRAPH = tool_graph("huggingface")
SHAPES = [("single", 1), ("chain", 2), ("chain", 5), ("dag", 3), ("dag", 6)]
plans = st.builds(
    lambda shape, seed: sample_plan(GRAPH, *shape, Random(seed)), st.sampled_from(SHAPES), st.integers(0, 10**6)
)  # fmt: skip


def call(tool: str, *values: str) -> Call:
    return Call(tool=tool, arguments=tuple(Argument(value=value) for value in values))


GOLD = ToolPlan(
    calls=(
        call("Object Detection", "example.jpg"),
        call("Translation", "<node-0>"),
        call("Text-to-Speech", "<node-1>"),
    ),
    links=(("Object Detection", "Translation"), ("Translation", "Text-to-Speech")),
)
SAID = ToolPlan(  # one tool too many that exists, one that does not, one edge right, an argument of another value
    calls=(
        call("Object Detection", "photo.jpg"),
        call("Translation", "<node-0>"),
        call("Summarization", "<node-1>"),
        call("Read Aloud", "<node-2>"),
    ),
    links=(("Object Detection", "Translation"), ("Translation", "Summarization"), ("Summarization", "Read Aloud")),
)  # fmt: skip


def test_by_hand() -> None:
    found = plan_counts(SAID, GOLD, GRAPH)
    pairs = {name: (found[f"{name}_hit"], found[f"{name}_both"]) for name in F1S}
    assert pairs == {
        "node": (2.0, 3.0 + 3.0),  # the made-up tool is passed over
        "node_strict": (2.0, 4.0 + 3.0),
        "edge": (1.0, 3.0 + 2.0),
        # (Object Detection, image), (Translation, text) are right; (Summarization, text), (Read Aloud, text) are not
        "argument_name": (2.0, 4.0 + 3.0),
        # (Translation, text, Object Detection) is right
        "argument_value": (1.0, 4.0 + 3.0),
    }
    assert found["similarity"] == pytest.approx(2 * 2 / 7)
    assert found["case_node_f1"] == pytest.approx(2 * 2 / 7)
    assert found["case_edge_f1"] == pytest.approx(2 * 1 / 5)
    assert (found["accuracy"], found["edged"], found["matched"], found["matched_of"]) == (0, 1, 1, 4)
    assert (found["calls"], found["calls_unknown"], found["links"], found["links_illegal"], found["flawed"]) == (4, 1, 3, 1, 1)  # fmt: skip


def test_micro_is_of_sums_not_a_mean() -> None:
    counts = np.array([[1.0, 2.0], [0.0, 8.0]])
    assert float(f1(counts.sum(axis=0))) == pytest.approx(2 / 10)
    assert f1(counts).tolist() == [1.0, 0.0]
    assert float(distance(np.array([4.0, 3.0]))) == 0.25


@pytest.mark.parametrize(
    ("one", "other", "value"),
    # by hand: 2 * the longest common subsequence / both lengths
    [("ab", "ba", 0.5), ("abcd", "acbd", 0.75), ("abc", "xyz", 0.0), ("a", "aaa", 0.5), ("kitten", "sitting", 8 / 13)],
)  # fmt: skip
def test_similarity(one: str, other: str, value: float) -> None:
    assert similarity(one, other) == similarity(other, one) == pytest.approx(value)


def test_the_cost_of_matching_by_hand() -> None:
    gold, said = chain("a", "b", "c"), chain("b", "c", "a")
    # b-c is a link of both: it touches b and c; every pair of one tool costs 1 less
    assert cost_matrix(said, gold).tolist() == [[2, 0.5, 2], [2, 2, 0.5], [1, 2, 2]]
    assert sorted(matching(said, gold)) == [(0, 1), (1, 2), (2, 0)]


def test_repeated_tools_are_told_apart_by_their_arguments() -> None:
    gold = ToolPlan(
        calls=(call("Translation", "one"), call("Translation", "two"), call("Summarization", "x"))
    )
    said = ToolPlan(calls=(call("Translation", "two"), call("Translation", "one")))
    assert sorted(right_calls(said, gold, GRAPH)) == [(0, 1), (1, 0)]
    assert plan_counts(said, gold, GRAPH)["matched_of"] == 3


@settings(max_examples=60, deadline=None)
@given(plans)
def test_gold_is_perfect_and_nothing_is_nothing(plan: ToolPlan) -> None:
    same, none = plan_counts(plan, plan, GRAPH), plan_counts(ToolPlan(), plan, GRAPH)
    for name in F1S:
        assert 2 * same[f"{name}_hit"] == same[f"{name}_both"]
        assert none[f"{name}_hit"] == 0
    assert same["similarity"] == same["case_node_f1"] == same["accuracy"] == 1
    assert same["matched"] == same["matched_of"] == len(plan.calls)
    assert same["flawed"] == none["similarity"] == none["matched"] == none["case_node_f1"] == 0
    assert same.keys() == none.keys() == nothing_counts().keys()


@settings(max_examples=40, deadline=None)
@given(plans, plans, st.randoms(use_true_random=False))
def test_the_order_of_calls_does_not_matter_but_for_the_edit_distance(
    plan: ToolPlan, gold: ToolPlan, random: Random
) -> None:
    mixed = shuffled(plan, random)
    assert same_plan(mixed, plan, GRAPH)
    one, other = plan_counts(plan, gold, GRAPH), plan_counts(mixed, gold, GRAPH)
    assert {k: v for k, v in one.items() if k != "similarity"} == {k: v for k, v in other.items() if k != "similarity"}  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(plans, plans)
def test_f1s_do_not_care_who_is_gold(plan: ToolPlan, gold: ToolPlan) -> None:
    one, other = plan_counts(plan, gold, GRAPH), plan_counts(gold, plan, GRAPH)
    for name in (
        *(f"{f}_{part}" for f in F1S for part in ("hit", "both")),
        "similarity",
        "matched",
        "case_node_f1",
    ):
        assert one[name] == other[name]


def test_the_assignment_is_the_cheapest_of_all() -> None:
    random = Random(0)
    for _ in range(50):
        said, gold = (chain(*random.choices("abcd", k=4)) for _ in range(2))
        cost = cost_matrix(said, gold)
        best = min(sum(cost[a, b] for a, b in enumerate(order)) for order in permutations(range(4)))
        assert sum(cost[a, b] for a, b in matching(said, gold)) == pytest.approx(best)


def shuffled(plan: ToolPlan, random: Random) -> ToolPlan:
    order = random.sample(range(len(plan.calls)), len(plan.calls))
    place = {old: new for new, old in enumerate(order)}
    calls = tuple(
        Call(
            tool=plan.calls[old].tool,
            arguments=tuple(
                one if one.refers is None else Argument(value=f"<node-{place[one.refers]}>")
                for one in plan.calls[old].arguments
            ),
        )
        for old in order
    )
    return ToolPlan(calls=calls, links=tuple(random.sample(plan.links, len(plan.links))))
