"""Measures of foretold sequences, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.environments.reasoning.graph_paths import starts
from everystep.evaluate.sequences import (
    completed,
    edit_distance,
    edit_similarity,
    f1_at,
    next_step,
)

WORDS = st.lists(st.sampled_from("abc"), max_size=6).map(tuple)


def test_a_start_sequence_has_all_that_came_after_it() -> None:
    found = {one.done: one for one in starts([("a", "b", "c"), ("a", "c"), ("a", "b", "d"), ("b",)])}
    assert set(found) == {("a",), ("a", "b")}
    assert found["a",].next == {"b": 2, "c": 1}
    assert found["a",].completions == (("b", "c"), ("c",), ("b", "d"))
    first = next_step(["b", "d", "c", "x"], found["a",])
    assert first == {"acc@1": 1.0, "f1@3": pytest.approx(2 * 2 / (3 + 2)), "taken": pytest.approx(2 / 3)}
    assert next_step(["d"], found["a",]) == {"acc@1": 0.0, "f1@3": 0.0, "taken": 0.0}
    assert completed(("b", "c"), found["a",]) == {"accuracy": 1.0, "edit_distance": 0.0, "edit_similarity": 1.0}  # fmt: skip
    assert completed(("b",), found["a",]) == {"accuracy": 0.0, "edit_distance": 1.0, "edit_similarity": 0.5}


@given(WORDS, WORDS, WORDS)
def test_the_edit_distance_is_a_distance(one: tuple[str, ...], other: tuple[str, ...], third: tuple[str, ...]) -> None:  # fmt: skip
    apart = edit_distance(one, other)
    assert (apart == 0) == (one == other)
    assert apart == edit_distance(other, one)
    assert apart <= edit_distance(one, third) + edit_distance(third, other)
    assert abs(len(one) - len(other)) <= apart <= max(len(one), len(other))
    assert 0 <= edit_similarity(one, other) <= 1


def test_f1() -> None:
    assert f1_at(["a", "b", "c"], {"a"}) == pytest.approx(0.5)
    assert f1_at(["a", "b", "c", "d"], {"d"}) == 0.0
    assert f1_at([], {"a"}) == 0.0
