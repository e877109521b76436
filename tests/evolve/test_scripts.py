"""Scripts say what the paths have in common; what comes next is foretold from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.errors import ConfigError, DataError
from everystep.core.protocols import Sampling
from everystep.environments.places.keydoor import KeyDoor
from everystep.evolve.next_steps import (
    END,
    Fit,
    Foretell,
    chance,
    completion,
    from_graph,
    learned,
    listed,
    mixed,
    rank,
    transitions,
)
from everystep.evolve.scripts import Thresholds, dot, induce, mermaid, paths_of
from everystep.run.demonstrate import OracleSampler
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Job, Limits, rollout

STEPS = ("a", "b", "c", "d", "e")
PATHS = st.lists(st.permutations(STEPS).flatmap(lambda one: st.integers(1, 5).map(lambda n: tuple(one[:n]))), min_size=1, max_size=30)  # fmt: skip
# b and c change places, d is left out by half, x or y stands between
COOKED = [
    ("a", "b", "c", "x", "d"),
    ("a", "c", "b", "y"),
    ("a", "b", "c", "y", "d"),
    ("a", "c", "b", "x"),
] * 10


def test_a_script_says_what_was_put_into_the_paths() -> None:
    script = induce(COOKED)
    assert script.steps[0] == "a"
    assert {frozenset(pair) for pair in script.swappable} == {frozenset("bc")}
    assert {frozenset(pair) for pair in script.alternatives} == {frozenset("xy")}
    assert set(script.optional) == {"x", "y", "d"}
    assert {("a", "b"), ("a", "c"), ("b", "x"), ("c", "y"), ("x", "d")} <= set(script.order)
    assert ("a", "x") not in script.order  # it follows from the others
    assert script.starts == {"a": 1.0}
    assert script.ends["d"] == 0.5
    assert "a" in script.branching
    assert {(edge.before, edge.after): edge.weight for edge in script.edges}["a", "b"] == 0.5
    assert not any(edge.before == "x" and edge.after == "d" for edge in induce(COOKED, Thresholds(edge=0.3)).edges)  # fmt: skip


@given(PATHS)
def test_scripts_of_any_paths_hold_together(paths: list[tuple[str, ...]]) -> None:
    script = induce(paths)
    assert sum(script.starts.values()) == pytest.approx(1)
    assert not {frozenset(pair) for pair in script.order} & {frozenset(pair) for pair in script.swappable}
    assert all(0.1 < edge.weight <= 1 for edge in script.edges)
    for drawn in (mermaid(script), dot(script)):
        assert len(drawn.splitlines()) >= len(script.steps) + len(script.edges)


def test_what_cannot_be_a_script_is_refused() -> None:
    with pytest.raises(DataError, match="no step"):
        induce([(), ()])
    with pytest.raises(ConfigError, match="share from 0 to 1"):
        Thresholds(sure=1.5)
    with pytest.raises(ConfigError, match="an order and swappable at once"):
        Thresholds(sure=0.7, swapped=0.3)


def test_steps_that_come_back_count_at_their_first_place() -> None:
    script = induce([("a", "b", "a", "b")] * 5)
    assert script.order == (("a", "b"),)
    assert {(edge.before, edge.after, edge.count) for edge in script.edges} == {("a", "b", 5), ("b", "a", 5)}


def test_own_trajectories_are_paths() -> None:
    world = KeyDoor()
    hosts = LocalHosts(world)
    tasks = [world.task("train", index) for index in range(8)]
    jobs = [Job(id=task.id, task=task, group=task.id, sample=0, seed=0) for task in tasks]
    made = rollout(
        hosts, OracleSampler(hosts), jobs, sampling=Sampling(), limits=Limits(max_steps=world.max_steps)
    )
    paths = paths_of(made, lambda text: text.split()[0])
    assert [len(path) for path in paths] == [len(one.steps) for one in made]
    assert induce(paths).paths == 8


def makers(paths: list[tuple[str, ...]]) -> list[Foretell]:
    fit = Fit(iterations=10)
    made = [
        chance(STEPS),
        listed(STEPS),
        transitions(paths, STEPS),
        from_graph(paths, STEPS),
        learned(paths, STEPS, fit),
    ]
    return [*made, mixed([(0.5, made[3]), (0.5, made[4])])]


@given(PATHS, st.permutations(STEPS), st.integers(0, 5))
def test_foretellers_share_one_among_what_is_left(
    paths: list[tuple[str, ...]], order: list[str], count: int
) -> None:
    done = tuple(order[:count])
    for foretell in makers(paths):
        told = foretell(done)
        assert set(told) == {*set(STEPS) - set(done), END}
        assert sum(told.values()) == pytest.approx(1)
        assert min(told.values()) >= 0
        assert set(rank(foretell, done)) == set(STEPS) - set(done)
        rest = completion(foretell, done)
        assert len(set(rest)) == len(rest)
        assert not set(rest) & set(done)


def test_the_graph_knows_more_than_the_last_step() -> None:
    # after b the way depends on what was done before it: a, b then c; c, b then a
    paths = [("a", "b", "c"), ("c", "b", "a"), ("d", "b", "e")] * 8 + [("c", "b", "a")] * 4
    assert completion(transitions(paths, STEPS), ("d", "b")) == ("a",)
    for foretell in (from_graph(paths, STEPS), learned(paths, STEPS)):
        assert completion(foretell, ("d", "b")) == ("e",)
        assert completion(foretell, ("a",)) == ("b", "c")
        assert completion(foretell, ("c",)) == ("b", "a")


def test_a_list_is_read_from_the_last_step_on() -> None:
    assert completion(listed(STEPS), ("b", "d")) == ("e",)
    assert rank(listed(STEPS), ("b", "d")) == ["e", "a", "c"]
    assert chance(STEPS, 3)(("a",)) == chance(STEPS, 3)(("a",)) != chance(STEPS, 4)(("a",))
