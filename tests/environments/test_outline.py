"""A plan that grows and is cut while it is followed, and the past that is shown under it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.errors import WorldError
from everystep.environments.outline import (  # fmt: skip
    MOST_ITEMS,
    Outline,
    Past,
    begun,
    branched,
    noted,
    past_text,
    plan_text,
    pruned,
    refusal,
)


def grown() -> Outline:
    made = branched(begun("all", "/"), 0, "first", "/a")
    made = branched(made, 1, "part", "/a/1")
    return branched(noted(made, "seen it"), 0, "second", "/b")


def test_a_branch_is_active_and_begins_where_it_was_made() -> None:
    made = grown()
    assert (made.active, made.items[3].parent, made.items[3].place) == (3, 0, "/b")
    assert plan_text(made) == "[0] all\n [1] first\n  [2] part\n   note: seen it\n [3] second (active)"


def test_prune_hides_later_siblings_and_what_is_below_clears_notes_and_keeps_the_reason() -> None:
    made = pruned(noted(grown(), "x"), 1, "a dead end")
    assert plan_text(made) == "[0] all\n [1] first (active) (came back: a dead end)"
    assert [one.hidden for one in made.items] == [False, False, True, True]
    assert made.items[made.active].place == "/a"
    back = pruned(noted(made, "again"), 1, "still one")
    assert back.items[1].notes == ()


def test_what_is_hidden_or_unknown_cannot_be_named() -> None:
    made = pruned(grown(), 0, "start again")
    assert refusal(made, 2) == "there is no goal 2 in the plan; there are 0"
    for act in (lambda: branched(made, 2, "x", "/"), lambda: pruned(made, 9, "x")):
        with pytest.raises(WorldError, match="there is no goal"):
            act()
    assert branched(made, 0, "new", "/").active == 4


def test_a_plan_has_a_bound() -> None:
    made = begun("all", "/")
    for _ in range(MOST_ITEMS - 1):
        made = branched(made, 0, "x", "/")
    with pytest.raises(WorldError, match="no more are kept"):
        branched(made, 0, "x", "/")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), max_size=25))
def test_the_active_goal_is_never_hidden_and_below_what_is_hidden_all_is(acts: list[tuple[bool, int]]) -> None:  # fmt: skip
    made = begun("all", "/")
    for grow, at in acts:
        if refusal(made, at):
            continue
        made = branched(made, at, "x", "/") if grow else pruned(made, at, "r")
        assert not made.items[made.active].hidden
        for one in made.items[1:]:
            assert one.hidden or not made.items[one.parent].hidden


def test_the_past_is_of_the_active_goal_and_only_its_end_in_full() -> None:
    past = [Past(goal=k % 2, action=f"click {k}", page="P", looks=str(k), pivotal=f"line {k}") for k in range(10)]  # fmt: skip
    told = past_text(past, "9", goal=1)
    assert [line for line in told.split("\n") if line[0].isdigit()] == [f"{n + 1}. click {k} on P" for n, k in enumerate((1, 3, 5, 7, 9))]  # fmt: skip
    assert "line 3" not in told
    assert "line 5" in told
    assert "line 9" not in told
    assert told.endswith("(the same page as now)")
    assert past_text(past, "x").count("click") == 10


def test_too_many_words_are_not_shown_again() -> None:
    one = Past(goal=0, action="click", page="P", looks="a", pivotal="word " * 201, said="a list of pens")
    assert past_text([one], "b") == "1. click on P: a list of pens"
