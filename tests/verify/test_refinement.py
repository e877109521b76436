from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.errors import ConfigError, DataError
from everystep.core.records import Action, End, Observation, Step, Task, ToolCall, Trajectory
from everystep.credit.assess import assess
from everystep.credit.estimators import estimator
from everystep.verify.refinement import (
    Refinement,
    Weights,
    refinement_correction,
    refinement_of,
    refinement_score,
)

TRUTH = np.zeros((10, 10), dtype=bool)
TRUTH[:5] = True


def rows(*counts: int, interacted: bool = True, stopped: bool = True) -> Refinement:
    """The session whose masks are the first so many rows of ten."""
    quality = []
    for count in counts:
        mask = np.zeros_like(TRUTH)
        mask[:count] = True
        shared = (mask & TRUTH).sum()
        quality.append((shared / (mask | TRUTH).sum(), 2 * shared / (mask.sum() + TRUTH.sum())))
    return Refinement(
        iou_T=tuple(float(iou) for iou, _ in quality),
        dice=float(quality[-1][1]) if quality else 0.0,
        interacted=interacted,
        stopped=stopped,
    )


@pytest.mark.parametrize(
    ("counts", "score"), [((5,), 1.0), ((3, 5), 1.0), ((5, 3), 0.404), ((2, 4, 3), 0.588), ((1,), 0.41333333)]
)
def test_the_released_codes_numbers(counts: tuple[int, ...], score: float) -> None:
    assert refinement_score(rows(*counts)).score == pytest.approx(score, abs=1e-6)


def test_form() -> None:
    only_stop = refinement_score(rows(interacted=False))
    assert (only_stop.form, only_stop.score) == (0.5, pytest.approx(0.1))
    assert refinement_score(rows(5, stopped=False)).score == pytest.approx(0.9)
    assert refinement_score(rows(interacted=False, stopped=False)).score == 0.0


def test_one_mask_pays_nothing_and_two_pay_for_both() -> None:
    assert refinement_score(rows(3)).penalty == 0.0
    assert refinement_score(rows(3, 3)).penalty == pytest.approx(0.02)
    assert refinement_score(rows(1, 3)).bonus == pytest.approx(0.1 * 0.4)


def test_parts_can_be_left_out() -> None:
    plain = Weights(form=0, overshoot=0, mask=0, gain=0)
    assert refinement_score(rows(5, 3), plain).score == pytest.approx((0.6 + 0.75) / 2)
    assert refinement_score(rows(5, 3), Weights(overshoot=0)).penalty == pytest.approx(0.02)
    with pytest.raises(ConfigError, match="form"):
        Weights(form=1.5)


@given(st.lists(st.integers(0, 10), max_size=6), st.booleans(), st.booleans())
def test_bounds(counts: list[int], interacted: bool, stopped: bool) -> None:
    told = refinement_score(rows(*counts, interacted=interacted, stopped=stopped))
    assert 0 <= min(told.score, told.quality) <= max(told.score, told.quality) <= 1
    assert min(told.penalty, told.bonus) >= 0


def trajectory(name: str, *calls: tuple[str, float, float, bool], outcome: float) -> Trajectory:
    steps = []
    for index, (tool, iou, dice, valid) in enumerate(calls):
        action = Action(
            text=tool or "so long", calls=(ToolCall(name=tool),) if tool else (), valid=valid, reason="no"
        )
        steps.append(
            Step(id=f"{name}/{index}", parent=None, index=index, observation=Observation(text="x", anchor="a"), action=action,
                 reward=0.0, scores={"iou": iou, "dice": dice})
        )  # fmt: skip
    task = Task(id="t", instruction="", environment="refinemask")
    return Trajectory(id=name, task=task, group="g", steps=tuple(steps), end=End.DONE, outcome=outcome)


def test_a_trajectory_is_read_from_its_steps() -> None:
    one = trajectory(
        "a",
        ("add_bbox", 0.4, 0.5, True),
        ("add_point", 0.4, 0.5, False),  # refused: no mask
        ("add_point", 0.8, 0.9, True),
        ("stop_action", 0.8, 0.9, True),
        outcome=0.85,
    )
    assert refinement_of(one) == Refinement(iou_T=(0.4, 0.8), dice=0.9, interacted=True, stopped=True)
    talk = trajectory("b", ("add_bbox", 0.4, 0.5, True), ("", 0.4, 0.5, False), outcome=0.45)
    assert refinement_of(talk) == Refinement(iou_T=(0.4,), dice=0.5, interacted=True, stopped=False)
    refused = trajectory("c", ("add_point", 0.0, 0.0, False), ("stop_action", 0.0, 0.0, True), outcome=0.0)
    assert refinement_score(refinement_of(refused)).score == pytest.approx(0.2)


def test_the_correction_turns_outcomes_into_scores() -> None:
    sessions = [
        trajectory("a", ("add_bbox", 1.0, 1.0, True), ("add_point", 0.6, 0.75, True), outcome=0.675),
        trajectory("b", ("add_bbox", 0.6, 0.75, True), ("stop_action", 0.6, 0.75, True), outcome=0.675),
    ]
    added = refinement_correction(sessions)
    table, credit = assess(
        sessions, estimator("grpo"), scores={"refinement": added}, process={"refinement": 1.0}
    )
    expected = [refinement_score(refinement_of(one)).score for one in sessions]
    assert table.outcome_S.tolist() == pytest.approx([expected[0]] * 2 + [expected[1]] * 2)
    assert credit.value_S[0] < 0 < credit.value_S[2]
    plain, flat = assess(sessions, estimator("grpo"))
    assert flat.value_S.tolist() == [0.0] * 4
    assert plain.outcome_S.tolist() == [0.675] * 4


def test_a_mask_without_a_score_is_refused() -> None:
    one = trajectory("a", ("add_bbox", 0.5, 0.6, True), outcome=0.0)
    steps = tuple(
        Step(id="a/0", parent=None, index=0, observation=s.observation, action=s.action) for s in one.steps
    )
    with pytest.raises(DataError, match="'iou' and 'dice'"):
        refinement_of(Trajectory(id="a", task=one.task, group="g", steps=steps, end=End.DONE, outcome=0.0))
