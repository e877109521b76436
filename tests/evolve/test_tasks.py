"""Task sources: order, withheld and rested tasks, results by group, and going on from a dumped state."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.errors import ConfigError, DataError, StoreError
from everystep.core.protocols import Attempts, Sampling, Start, TaskSource
from everystep.core.records import End, Task, Trajectory
from everystep.environments.places.keydoor import KeyDoor
from everystep.evolve.tasks import Fresh, Listed, Order, PassRate, gained, own, results_of
from everystep.models.scripted import Scripted
from everystep.run.demonstrate import demonstrator
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Job, Limits, jobs_of, rollout

WORLD = KeyDoor(side=3, horizon=6)
TASKS = [Task(id=name, instruction=name, environment="none") for name in "abcdef"]


def names(starts: Sequence[Start]) -> str:
    return "".join(start.task.id for start in starts)


def told(name: str, *outcomes: float | None) -> Attempts:
    return Attempts(start=Start(task=Task(id=name, instruction="", environment="none")), outcomes=outcomes)


def test_a_list_goes_round_and_a_shuffled_one_gives_each_task_once_a_round() -> None:
    assert names(Listed(TASKS).next(8)) == "abcdefab"
    mixed = Listed(TASKS, seed=1)
    rounds = [names(mixed.next(6)) for _ in range(4)]
    assert all(sorted(one) == list("abcdef") for one in rounds)
    assert len(set(rounds)) > 1


def test_equal_ids_are_refused() -> None:
    with pytest.raises(ConfigError, match="different ids"):
        Listed([TASKS[0], TASKS[0]])


def test_fresh_tasks_never_repeat_where_the_split_has_no_end() -> None:
    source = Fresh(WORLD, first=5)
    first, second = source.next(3), source.next(3)
    assert [start.task.id for start in first] == [WORLD.task("train", n).id for n in (5, 6, 7)]
    assert len({start.task.id for start in (*first, *second)}) == 6


def test_high_pass_rates_come_first_and_zero_pass_is_withheld_then_comes_again() -> None:
    source = PassRate(TASKS[:4], order=Order.EASY_FIRST, withhold=1, seed=0)
    assert sorted(names(source.next(4))) == list("abcd")
    source.report([told("a", 0, 0), told("b", 1, 0), told("c", 1, 1), told("d", 0, 0)])
    assert names(source.next(2)) == "cb"  # the second round: a and d are withheld
    source.report([told("b", 1, 1, 1, 0), told("c", 0, 1)])
    third = names(source.next(4))
    assert third[:2] == "bc"
    assert sorted(third[2:]) == ["a", "d"]  # the zero-pass ones come again


def test_resampling_drops_all_correct_and_keeps_mixed_and_all_wrong() -> None:
    source = PassRate(TASKS[:3], rest=None)
    source.next(3)
    source.report([told("a", 1, 1), told("b", 1, 0), told("c", 0, 0)])
    assert sorted(names(source.next(2))) == ["b", "c"]
    source.report([told("b", 1, 1), told("c", 1, 1)])
    assert source.next(1) == []


def test_tasks_near_one_half_come_first_and_untried_ones_before_them() -> None:
    source = PassRate(TASKS[:4], order=Order.EDGE_FIRST, withhold=0)
    source.next(4)
    source.report([told("a", 1, 1, 1, 1), told("b", 1, 0), told("c", 1, 0, 0, 0)])
    assert names(source.next(4)) == "dbca"


def test_broken_attempts_do_not_count_and_the_window_is_a_mean_over_groups() -> None:
    source = PassRate(TASKS, window=2)
    source.report([told("a", 1, None), told("a", 0, 0), told("b", None), told("zz", 1)])
    assert source.rate("a") == 0.5
    assert source.rate("b") is None
    source.report([told("a", 1, 1)])
    assert source.rate("a") == 0.5


def test_when_all_are_withheld_they_come_back_at_once() -> None:
    source = PassRate(TASKS[:2], withhold=9)
    source.next(2)
    source.report([told("a", 0), told("b", 0)])
    assert sorted(names(source.next(2))) == ["a", "b"]


SOURCES: list[Callable[[], TaskSource]] = [
    lambda: Listed(TASKS, seed=3),
    lambda: Fresh(WORLD),
    lambda: PassRate(TASKS, order=Order.EASY_FIRST, withhold=1, rest=2, seed=2),
    lambda: PassRate(TASKS, order=Order.EDGE_FIRST, window=3),
]


@pytest.mark.parametrize("make", SOURCES)
@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=3))))
def test_a_dumped_source_goes_on_with_the_same_choices(
    make: Callable[[], TaskSource], rounds: list[tuple[int, list[float]]]
) -> None:
    one, at = make(), len(rounds) // 2
    other = make()
    for number, (count, outcomes) in enumerate(rounds):
        if number == at:
            other.load(json.loads(json.dumps(one.dump())))
        sources = (one,) if number < at else (one, other)
        given_now = [source.next(count) for source in sources]
        assert given_now[0] == given_now[-1]
        for source in sources:
            source.report([Attempts(start=start, outcomes=tuple(outcomes)) for start in given_now[0]])


def test_a_state_of_something_else_is_refused() -> None:
    with pytest.raises(StoreError, match="no state"):
        Listed(TASKS).load([1, 2])
    with pytest.raises(StoreError, match="'zz'"):
        PassRate(TASKS).load({"round": 1, "queue": ["zz"], "records": {}})


def test_results_are_matched_to_their_starts_by_group() -> None:
    hosts = LocalHosts(WORLD)
    starts = Fresh(WORLD).next(3)
    jobs = jobs_of([start.task for start in starts], group_size=2, prefix="p", seed=0)
    made = rollout(hosts, demonstrator(hosts), jobs, sampling=Sampling(), limits=Limits(max_steps=40))
    found = results_of(starts, made[::-1])
    assert [one.start for one in found] == starts
    assert [len(one.trajectories) for one in found] == [2, 2, 2]
    assert [one.outcomes for one in found] == [(made[k + 1].outcome, made[k].outcome) for k in (0, 2, 4)]
    assert results_of(starts, made[:2])[2].outcomes == ()
    with pytest.raises(DataError, match="none of these 1 starts"):
        results_of(starts[:1], made)


def test_steps_and_rewards_before_the_start_are_not_the_attempts_own() -> None:
    hosts = LocalHosts(WORLD)
    drive = {"sampling": Sampling(), "limits": Limits(max_steps=40)}
    task = WORLD.task("train", 0)
    whole = rollout(hosts, demonstrator(hosts), jobs_of([task], group_size=1, prefix="a", seed=0), **drive)[0]  # type: ignore[arg-type]
    paid = tuple(
        Trajectory(
            id=whole.id, task=task, group="g", steps=whole.steps, end=End.DONE, outcome=whole.outcome
        ).steps
    )
    job = Job(id="b", task=task, group="b.0", prefix=paid[:2])
    later = rollout(hosts, demonstrator(hosts), [job], **drive)[0]  # type: ignore[arg-type]
    assert own(whole) == whole.steps
    assert [step.id for step in own(later)] == [f"b/{n}" for n in range(2, len(whole.steps))]
    before = sum(step.reward or 0.0 for step in paid[:2])
    assert whole.outcome is not None
    assert gained(later) == pytest.approx(whole.outcome - before)
    broken = rollout(hosts, Scripted([]), jobs_of([task], group_size=1, prefix="c", seed=0), **drive)[0]  # type: ignore[arg-type]
    assert gained(broken) is None
