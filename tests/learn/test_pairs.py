"""Preferences and bad steps as rows: exact tokens, shared contexts, and what gives no row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from everystep.core.errors import ConfigError, LearnerError
from everystep.core.protocols import Loss
from everystep.core.records import (
    Action,
    End,
    Level,
    Observation,
    PreferencePair,
    Sample,
    Step,
    Task,
    TokenRecord,
    Trajectory,
)
from everystep.learn.learner import LocalLearner
from everystep.learn.pairs import as_cross_entropy, avoid_samples, pair_samples, with_reference
from everystep.learn.samples import token_record

Learners = Callable[..., LocalLearner]
TASK = Task(id="t", instruction="go", environment="none")


def step(name: str, parent: str | None, seen: list[int], wrote: list[int]) -> Step:
    return Step(
        id=name,
        parent=parent,
        index=0,
        observation=Observation(text=""),
        action=Action(text=""),
        tokens=token_record(seen, wrote, [-1.0] * len(wrote)),
    )


def walk(name: str, *steps: Step) -> Trajectory:
    return Trajectory(id=name, task=TASK, group="g", steps=steps, end=End.DONE)


A = step("a", None, [1, 2], [3, 4])
B = step("b", "a", [5], [6, 7])
C = step("c", "b", [8, 9], [10])
OTHER = step("other", "a", [5], [6, 11, 12])
D = step("d", "other", [13], [14, 15, 16])
FIRST, SECOND = walk("first", A, B, C), walk("second", A, OTHER, D)


def preferred(
    chosen: str, rejected: str, level: Level = Level.STEP, context: tuple[str, ...] = ()
) -> PreferencePair:
    return PreferencePair(context=context, chosen=chosen, rejected=rejected, level=level)


def test_a_pair_of_steps_weighs_the_two_steps_behind_what_they_share() -> None:
    found = pair_samples([preferred("b", "other", context=("a",))], [FIRST, SECOND], supervised=True)
    chosen, rejected = found.samples
    assert chosen.ids == (1, 2, 3, 4, 5, 6, 7)
    assert rejected.ids == (1, 2, 3, 4, 5, 6, 11, 12)
    assert chosen.preference_weight == (0, 0, 0, 0, 0, 1, 1)
    assert rejected.preference_weight == (0, 0, 0, 0, 0, -1, -1, -1)
    assert chosen.supervised_weight == chosen.preference_weight
    assert rejected.supervised_weight == ()
    assert chosen.pair == rejected.pair != ""
    assert found.left_out == {}


def test_a_candidate_that_is_in_no_trajectory_stands_behind_its_parent() -> None:
    found = pair_samples([preferred("b", "other")], [FIRST], siblings=[OTHER])
    assert found.samples == pair_samples([preferred("b", "other")], [FIRST, SECOND]).samples
    alone = [step("x", None, [1], [2]), step("y", None, [1], [3])]
    rows = pair_samples([preferred("x", "y")], [], siblings=alone).samples
    assert [row.ids for row in rows] == [(1, 2), (1, 3)]


def test_a_pair_of_trajectories_weighs_what_they_do_not_share() -> None:
    pair = preferred("first", "second", Level.TRAJECTORY)
    chosen, rejected = pair_samples([pair], [FIRST, SECOND]).samples
    assert chosen.ids == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    assert chosen.preference_weight == (0, 0, 0, 0, 0, 1, 1, 0, 0, 1)
    tokens = pair_samples([pair], [FIRST, SECOND], length="tokens").samples
    assert [sum(one.preference_weight) for one in tokens] == pytest.approx([1.0, -1.0])
    steps = pair_samples([pair], [FIRST, SECOND], length="steps").samples
    assert steps[0].preference_weight == (0, 0, 0, 0, 0, 0.5, 0.5, 0, 0, 0.5)
    assert steps[1].preference_weight[-3:] == (-0.5, -0.5, -0.5)
    assert rejected.preference_weight[-4:] == (0, -1, -1, -1)


def test_restricted_rows_keep_the_allowed_sets() -> None:
    def limited(one: Step) -> Step:
        assert one.tokens is not None
        record: TokenRecord = one.tokens
        sets = tuple(
            (token, 20) if at == 0 else (token,)
            for at, token in enumerate(record.ids[-len(record.logprobs) :])
        )
        return replace(one, tokens=replace(record, allowed=sets))

    x, y = limited(step("x", None, [1], [2, 4])), limited(step("y", None, [1], [3, 4]))
    rows = pair_samples([preferred("x", "y")], [walk("one", x), walk("two", y)], restrict=True).samples
    assert [row.preference_weight for row in rows] == [(0, 1, 0), (0, -1, 0)]
    assert rows[0].allowed == {1: (2, 20), 2: (4,)}


def test_pairs_without_rows_are_counted_by_reason() -> None:
    blank = replace(step("blank", "a", [5], [1]), tokens=None)
    elsewhere = step("elsewhere", "a", [99], [6, 7])
    pairs = [
        preferred("b", "nobody"),
        preferred("b", "blank"),
        preferred("b", "d"),
        preferred("b", "elsewhere"),
        preferred("b", "other", context=("z",)),
        preferred("b", "same"),
        preferred("b", "other"),
    ]
    found = pair_samples(pairs, [FIRST, SECOND], siblings=[blank, elsewhere, replace(B, id="same")])
    assert len(found.samples) == 2
    assert found.left_out == {
        "a side is not among the trajectories": 1,
        "a step has no tokens": 1,
        "the sides stand behind different contexts": 2,
        "the context is not what leads to the chosen step": 1,
        "both sides have the same tokens": 1,
    }
    with pytest.raises(LearnerError, match="level 'list'"):
        pair_samples([preferred("b", "other", Level.LIST)], [FIRST, SECOND])
    with pytest.raises(ConfigError, match="tokens"):
        pair_samples([], [], length="token")


def test_bad_steps_end_their_rows() -> None:
    (row,) = avoid_samples([FIRST, SECOND], ["other"])
    assert row.ids == (1, 2, 3, 4, 5, 6, 11, 12)
    assert row.avoid_weight == (0, 0, 0, 0, 0, 1, 1, 1)
    assert not row.supervised_weight
    with pytest.raises(LearnerError, match="nobody"):
        avoid_samples([FIRST], ["nobody"])


def test_the_golden_trajectory_preference_comes_out_of_the_learner(make_learner: Learners) -> None:
    """Summed log-ratios of the steps 2, 4, 6 (success) and -2, 0 (failure) at beta 0.05."""
    won = walk(
        "won", step("w0", None, [1], [2, 3]), step("w1", "w0", [4], [5]), step("w2", "w1", [6], [7, 8, 9])
    )
    lost = walk("lost", step("l0", None, [1], [10]), step("l1", "l0", [4], [11, 12]))
    ratios = {"w0": 2.0, "w1": 4.0, "w2": 6.0, "l0": -2.0, "l1": 0.0}
    learner = make_learner(packing="tree")
    pair = [preferred("won", "lost", Level.TRAJECTORY)]
    for length, expected in (("steps", 0.575939), ("sum", 0.403186)):
        rows = []
        for trajectory, row in zip(
            (won, lost), pair_samples(pair, [won, lost], length=length).samples, strict=True
        ):
            now = learner.score([row])[0].logprobs
            counts = [sum(own == at for own in row.step_of) for at in range(3)]
            shift = [ratios[trajectory.steps[at].id] / counts[at] if at >= 0 else 0.0 for at in row.step_of]
            rows.append(
                replace(row, reference_logprobs=tuple(p - s for p, s in zip(now, shift, strict=True)))
            )
        metrics = learner.forward_backward(rows, Loss(preference="sigmoid", preference_beta=0.05))
        assert metrics["preference_loss"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        Loss(preference="sigmoid", preference_smoothing=0.1, supervised=0.3, avoid=0.2),
        Loss(preference="ipo", aggregate="token", supervised=0.3, avoid=0.2),
        Loss(preference="kto", preference_offset=0.1, avoid=0.2),
    ],
    ids=lambda one: one.preference,
)
def test_a_learner_of_cross_entropy_alone_takes_the_same_update(make_learner: Learners, loss: Loss) -> None:
    pairs = [preferred("b", "other"), preferred("first", "second", Level.TRAJECTORY)]
    rows = [
        *pair_samples(pairs, [FIRST, SECOND], supervised=True, length="tokens").samples,
        *avoid_samples([FIRST, SECOND], ["d"]),
    ]
    if loss.preference == "kto":
        rows = [replace(row, pair=f"{at}") if row.pair else row for at, row in enumerate(rows)]
    learner, other = make_learner(packing="tree"), make_learner(seed=1)
    rows = with_reference(rows, other.score(rows))
    learner.forward_backward(rows, loss)
    plain, sums = as_cross_entropy(rows, learner.score(rows), loss)
    again = make_learner()
    again.forward_backward(plain, sums)
    expected = learner.gradient()
    np.testing.assert_allclose(again.gradient(), expected, atol=1e-5 * np.abs(expected).max())


def test_only_cross_entropy_can_be_made_of_pairs(make_learner: Learners) -> None:
    row = Sample(ids=(1, 2), policy_weight=(0.0, 1.0), advantage=(0.0, 1.0), logprobs=(0.0, -1.0))
    with pytest.raises(LearnerError, match="policy stream"):
        as_cross_entropy([row], make_learner().score([row]), Loss())
