"""The buffer of partial histories: its arithmetic, what it keeps and drops, shared starts, and going on from a dumped state."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from math import e

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.core.protocols import Attempts, Sampling, Start
from everystep.core.records import Action, End, Observation, SpanKind, Step, Task, Trajectory
from everystep.environments.places.keydoor import KeyDoor
from everystep.evolve.histories import HistoryBuffer, learnability
from everystep.evolve.tasks import Fresh, Listed, results_of
from everystep.learn.samples import sample_of
from everystep.models.local import LocalSampler
from everystep.models.tiny import tiny_model
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Job, Limits, rollout

TASKS = [Task(id=name, instruction=name, environment="none") for name in "abcdefghij"]


def buffer(**more: object) -> HistoryBuffer:
    options: dict[str, object] = {
        "share": 1.0,
        "least": 1,
        "most": 100,
        "going_on": tagged,
        "can_go_on": lambda _: True,
    }
    return HistoryBuffer(Listed(TASKS), **{**options, **more})  # type: ignore[arg-type]


def tagged(task: Task, steps: tuple[Step, ...], mode: str) -> Start:
    return Start(task=replace(task, id=f"{task.id}{len(steps)}{mode}"), steps=steps)


def attempt(start: Start, name: str, outcome: float, steps: int = 1, end: End = End.TRUNCATED) -> Trajectory:
    made = tuple(
        Step(
            id=f"{name}/{n}", parent=None, index=n, observation=Observation(text=""), action=Action(text=name)
        )
        for n in range(steps)
    )
    return Trajectory(
        id=name, task=start.task, group="g", steps=(*start.steps, *made), end=end, outcome=outcome
    )


def result(start: Start, *outcomes: float, steps: int = 1, end: End = End.TRUNCATED) -> Attempts:
    made = tuple(attempt(start, f"{start.id}.{n}", one, steps, end) for n, one in enumerate(outcomes))
    return Attempts(start=start, outcomes=outcomes, trajectories=made)


def test_variance_is_of_outcomes_scaled_to_the_unit_range() -> None:
    assert learnability([0, 1]) == 0.25
    assert learnability([2, 4], low=2, high=4) == 0.25
    assert learnability([0.2, 0.4, 0.9]) == pytest.approx(0.08666667)
    assert learnability([5, 5, 5], high=10) == 0.0
    assert learnability([1, None]) is None
    with pytest.raises(ConfigError, match="range"):
        learnability([0, 2])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.floats(-5, 5), st.floats(0.1, 9))
def test_variance_does_not_depend_on_the_scale_of_the_outcomes(
    values: list[float], low: float, size: float
) -> None:
    moved = [min(max(low + value * size, low), low + size) for value in values]
    found = learnability(moved, low=low, high=low + size)
    assert found == pytest.approx(learnability(values), abs=1e-9)
    assert found is not None
    assert 0 <= found <= 0.25


def test_it_is_used_from_the_least_number_on_and_with_its_share() -> None:
    source = buffer(least=3, share=0.5, seed=4)
    for _ in range(3):
        start = source.next(1)[0]
        assert start.steps == ()
        source.report([result(start, 0, 1)])
    found = Counter(bool(start.steps) for start in source.next(400))
    assert 160 < found[True] < 240


def test_chances_are_the_softmax_of_kappa_times_the_score() -> None:
    source = buffer(share=0.0, kappa=8.0, seed=1)
    for outcomes in ((0, 1), (0.5, 0.5)):  # scores 0.25 and 0
        source.report([result(source.next(1)[0], *outcomes)])
    assert [one.score for one in source.kept.values()] == [0.25, 0.0]
    assert list(source.chances().values()) == pytest.approx([e**2 / (e**2 + 1), 1 / (e**2 + 1)])
    source.share = 1.0
    drawn = Counter(start.task.id[0] for start in source.next(1000))
    assert drawn["a"] / 1000 == pytest.approx(e**2 / (e**2 + 1), abs=0.04)
    source.prioritised = False
    assert list(source.chances().values()) == pytest.approx([0.5, 0.5])


def test_children_start_with_their_groups_score_and_parents_are_rated_anew() -> None:
    source = buffer(seed=0)
    first = source.next(1)[0]
    source.report([result(first, 0, 1)])
    (kept,) = source.kept.values()
    assert (kept.score, kept.rated, len(kept.steps)) == (0.25, 0, 1)
    again = source.next(1)[0]
    assert again.steps == kept.steps
    assert again.task.id == "a1"
    source.report([result(again, 0.4, 0.6)])
    parent, child = source.kept.values()
    assert (parent.score, parent.rated) == (pytest.approx(0.01), 1)  # what was inherited is measured on use
    assert child.score == pytest.approx(0.01)
    assert child.steps[:1] == parent.steps
    assert child.task == TASKS[0]  # the task that it all began with


def test_a_full_buffer_drops_the_lowest_score_and_refuses_what_is_lower() -> None:
    source = buffer(most=2, share=0.0)
    for low in (0.0, 0.5, 0.8, 0.5):  # scores 0.25, 0.0625, 0.01, 0.0625
        source.report([result(source.next(1)[0], low, 1)])
    assert [(one.task.id, one.score) for one in source.kept.values()] == [("a", 0.25), ("d", 0.0625)]
    plain = buffer(most=2, share=0.0, prioritised=False)
    for low in (0.0, 0.5, 0.8):
        plain.report([result(plain.next(1)[0], low, 1)])
    assert [one.task.id for one in plain.kept.values()] == ["b", "c"]  # the oldest is dropped


def test_prefixes_are_of_every_length_and_never_empty() -> None:
    source = buffer(share=0.0, children=1, seed=3)
    source.report([result(source.next(1)[0], 0, 1, steps=5)])
    source.share = 1.0
    lengths = Counter(len(start.steps) for start in source.next(500))
    assert sorted(lengths) == [1, 2, 3, 4, 5]
    assert min(lengths.values()) > 60


def test_modes_come_by_their_weights() -> None:
    source = buffer(modes={"improve": 0.8, "diverge": 0.2}, seed=5)
    source.report([result(source.next(1)[0], 0, 1)])
    found = Counter(start.task.id[2:] for start in source.next(500))
    assert found["diverge"] / 500 == pytest.approx(0.2, abs=0.05)


def test_ended_episodes_and_too_long_histories_have_no_children() -> None:
    source = HistoryBuffer(Listed(TASKS), share=0.0, least=1, longest=3, children=9)
    source.report([result(source.next(1)[0], 0, 1, end=End.DONE)])
    assert not source.kept
    source.report([result(source.next(1)[0], 0, 1, steps=4)])
    assert not source.kept
    source.report([result(source.next(1)[0], 0, 1, 1, steps=3)])
    assert len(source.kept) == 3


def test_what_it_did_not_give_is_passed_over_and_lone_attempts_rate_nothing() -> None:
    source = buffer()
    source.report([result(Start(task=TASKS[0], id="somebody else's"), 0, 1)])
    source.report([result(source.next(1)[0], 1)])
    assert not source.kept


def test_a_dumped_buffer_goes_on_with_the_same_choices() -> None:
    one, other = (buffer(share=0.6, modes={"x": 1, "y": 1}, seed=2) for _ in range(2))
    for turn in range(6):
        starts = one.next(4)
        if turn == 3:  # between giving and hearing
            other.load(json.loads(json.dumps(one.dump())))
        elif turn > 3:
            assert other.next(4) == starts
        results = [result(start, (n + turn) % 3 / 2, 1.0) for n, start in enumerate(starts)]
        for source in (one, other) if turn >= 3 else (one,):
            source.report(results)
    assert one.kept == other.kept
    assert one.dump() == other.dump()


def test_a_group_shares_one_history_that_stands_in_the_context_and_carries_no_loss() -> None:
    world = KeyDoor(side=3, horizon=6)
    hosts, limits = LocalHosts(world), Limits(max_steps=3)
    model = tiny_model(
        ["go north south east west take open use key door you see a ."], size="0.02M", seed=0, characters=True
    )
    sampler = LocalSampler(model, policy="p")
    source = HistoryBuffer(Fresh(world), share=1.0, least=1, high=10.0, seed=1)

    def play(starts: list[Start], name: str) -> list[Trajectory]:
        jobs = [
            Job(id=f"{name}.{n}.{k}", task=start.task, group=f"{name}.{n}", seed=k, prefix=start.steps)
            for n, start in enumerate(starts)
            for k in range(2)
        ]
        return rollout(hosts, sampler, jobs, sampling=Sampling(max_tokens=8), limits=limits)

    starts = source.next(2)
    source.report(results_of(starts, play(starts, "first")))
    assert source.kept
    limits = Limits(max_steps=6)
    start = source.next(1)[0]
    assert start.steps
    both = play([start], "second")
    assert [one.steps[: len(start.steps)] for one in both] == [start.steps] * 2
    sample = sample_of(both[0], [1.0] * len(both[0].steps))
    trained = {step for step, weight in zip(sample.step_of, sample.policy_weight, strict=True) if weight}
    assert trained == set(range(len(start.steps), len(both[0].steps)))
    read = [tokens.spans for step in start.steps if (tokens := step.tokens) is not None]
    assert {span.kind for spans in read for span in spans} == {SpanKind.CONTEXT, SpanKind.SAMPLED}
