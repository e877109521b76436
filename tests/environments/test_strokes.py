"""When two strokes on a screen are the same action: the published thresholds at their boundaries, and the four canonical drags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.environments.phone.strokes import (
    RELEASED_SCROLLS,
    SCROLLS,
    Stroke,
    annotated,
    canonical,
    is_tap,
    same_action,
    way_of,
)

shares = st.floats(0, 1)
points = st.tuples(shares, shares)
strokes = st.builds(Stroke, touch=points, lift=points)


def tap(x: float, y: float) -> Stroke:
    return Stroke(touch=(x, y), lift=(x, y))


@pytest.mark.parametrize(("lift", "said"), [(0.04, True), (0.0400001, False), (0.0, True)])
def test_a_tap_lifts_within_four_hundredths(lift: float, said: bool) -> None:
    assert is_tap((0.0, 0.5), (lift, 0.5)) is said
    assert is_tap((0.5, 0.0), (0.5, lift)) is said
    assert not is_tap((0.0, 0.0), (0.04, 0.04))  # each axis within it, the distance not


@pytest.mark.parametrize(("apart", "said"), [(0.14, True), (0.1400001, False)])
def test_taps_near_each_other_are_the_same(apart: float, said: bool) -> None:
    assert same_action(tap(0.0, 0.5), tap(apart, 0.5)) is said


def test_taps_in_one_enlarged_box_are_the_same_its_edges_included() -> None:
    box = (0.25, 0.5, 0.75, 0.625)  # enlarged: -0.1 -> 0 and up to 1.2, and 0.4125 to 0.7125 on y
    left, top, right, bottom = annotated(box)
    assert (left, top, right, bottom) == pytest.approx((0.0, 0.4125, 1.0, 0.7125))
    assert same_action(tap(0.0, top), tap(1.0, bottom), [box])
    assert not same_action(tap(0.0, top - 1e-9), tap(1.0, bottom), [box])
    assert not same_action(tap(0.0, top), tap(1.0, bottom))
    far = [(0.0, 0.0, 0.1, 0.01), (0.9, 0.9, 1.0, 1.0)]
    assert not same_action(tap(0.05, 0.005), tap(0.95, 0.95), far)  # each in a box, but not in the same one


def test_a_box_at_the_upper_edge_grows_downwards_as_released() -> None:
    assert annotated((0.4, 0.0, 0.6, 0.1)) == pytest.approx((0.26, 0.0, 0.74, 0.24))


def test_drags_are_compared_by_their_main_axis_only() -> None:
    up, down = Stroke(touch=(0.5, 0.9), lift=(0.5, 0.1)), Stroke(touch=(0.3, 0.1), lift=(0.5, 0.9))
    left = Stroke(touch=(0.9, 0.5), lift=(0.1, 0.6))
    assert same_action(up, down)
    assert not same_action(up, left)
    assert not same_action(up, tap(0.5, 0.9))
    diagonal = Stroke(touch=(0.25, 0.25), lift=(0.5, 0.5))
    assert same_action(
        diagonal, up
    )  # both as far: the upright axis, as the first of the released arrays is y


def test_actions_without_a_finger_are_compared_by_their_kind() -> None:
    assert same_action(Stroke(kind="type"), Stroke(kind="type"))
    assert not same_action(Stroke(kind="type"), Stroke(kind="press_back"))
    assert not same_action(Stroke(kind="type"), tap(0.0, 0.0))


@given(strokes, strokes, st.lists(st.tuples(shares, shares, shares, shares), max_size=3))
def test_it_is_reflexive_and_symmetric(one: Stroke, other: Stroke, boxes: list[tuple[float, ...]]) -> None:
    rows = [
        (min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in (tuple(map(float, b)) for b in boxes)
    ]
    assert same_action(one, one, rows)
    assert same_action(one, other, rows) is same_action(other, one, rows)


@given(strokes)
def test_a_canonical_stroke_is_the_same_action_and_stays_as_it_is(one: Stroke) -> None:
    made = canonical(one)
    assert same_action(one, made)
    assert canonical(made) == made


def test_left_and_right_are_not_up_and_down() -> None:
    for way, (touch, lift) in SCROLLS.items():
        assert way_of(touch, lift) == way
        assert canonical(Stroke(touch=touch, lift=lift)) == Stroke(touch=touch, lift=lift)
    assert len(set(SCROLLS.values())) == 4
    assert way_of(*RELEASED_SCROLLS["left"]) == "up"  # what the released table says
    leftward = Stroke(touch=(0.9, 0.5), lift=(0.2, 0.5))
    assert same_action(leftward, canonical(leftward))
    assert not same_action(leftward, canonical(leftward, scrolls=RELEASED_SCROLLS))
