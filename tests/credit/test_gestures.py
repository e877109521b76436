"""Rewards of gestures: published numbers, bounds, and what is no gesture."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.core.protocols import Element, ScreenView
from everystep.credit.gestures import (
    Pointed,
    box_reward,
    graded,
    hit,
    overlap,
    point_reward,
    pointed,
    smooth,
    way_reward,
)

numbers = st.floats(0, 999, allow_nan=False)
points = st.tuples(numbers, numbers)


def test_published_numbers() -> None:
    assert point_reward((5, 5), (5, 5), (14, 14)) == 1.0
    assert point_reward((19, 5), (5, 5), (14, 14)) == pytest.approx(math.exp(-1), abs=1e-12)
    assert point_reward((19, 19), (5, 5), (14, 14)) == pytest.approx(math.exp(-2))
    same = (10.0, 10.0, 30.0, 50.0)
    assert box_reward(same, same, (5, 5)) == 1.0
    far = box_reward((500, 500, 520, 540), same, (5, 5))
    assert far == pytest.approx(0.0, abs=1e-12)
    wider = (
        5.0,
        10.0,
        35.0,
        50.0,
    )  # the same centre, 10 wider: half the weight for the size, two thirds of overlap
    assert box_reward(wider, same, (10, 10)) == pytest.approx(0.8 * math.exp(-0.5) + 0.2 * 2 / 3)


@given(points, points)
def test_bounds_and_symmetry(one: tuple[float, float], other: tuple[float, float]) -> None:
    assert 0 <= point_reward(one, other, (50, 50)) <= 1
    assert point_reward(one, other, (50, 50)) == point_reward(other, one, (50, 50))
    assert 0 <= way_reward(one, other) <= 1 + 1e-12
    assert 0 <= graded(Pointed(kind="click", point=one), Pointed(kind="click", point=other), (999, 999)) <= 2


def test_kinds() -> None:
    click = Pointed(kind="click", point=(100, 100), box=(90, 90, 120, 120))
    for made in (None, Pointed(kind="wait"), Pointed(kind="type", text="a")):
        assert smooth(made, click, (10, 10)) == graded(made, click, (999, 999)) == hit(made, click) == 0.0
    assert hit(Pointed(kind="click", point=(119, 91)), click) == 1.0
    assert hit(Pointed(kind="click", point=(121, 91)), click) == 0.0
    assert hit(Pointed(kind="click"), click) == 0.0
    assert smooth(Pointed(kind="click"), click, (10, 10)) == 0.0
    assert graded(Pointed(kind="click", point=(599.5, 100)), click, (999, 999)) == pytest.approx(1.5)
    assert graded(Pointed(kind="click"), click, (999, 999)) == 1.0


def test_texts() -> None:
    typed = Pointed(kind="type", text="hello word")
    assert graded(Pointed(kind="type", text="hello world"), typed, (1, 1)) == pytest.approx(
        1.807056, abs=1e-6
    )
    assert graded(Pointed(kind="type", text="hello word"), typed, (1, 1)) == pytest.approx(2.0)
    assert smooth(Pointed(kind="type", text=" Hello  WORD"), typed, (1, 1)) == 1.0
    assert hit(Pointed(kind="type", text="Hello word"), typed) == 0.0
    assert (
        smooth(Pointed(kind="wait"), Pointed(kind="wait"), (1, 1))
        == hit(Pointed(kind="wait"), Pointed(kind="wait"))
        == 1.0
    )


def test_boxes_and_ways() -> None:
    drag = Pointed(kind="drag", box=(0, 0, 10, 10))
    assert graded(Pointed(kind="drag", box=(0, 0, 10, 5)), drag, (1, 1)) == 1.5
    assert overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0.0
    assert overlap((0, 0, 1, 1), (2, 2, 3, 3)) == 0.0
    slide = Pointed(kind="slide", way=(0, -1))
    assert smooth(Pointed(kind="slide", way=(0, -300)), slide, (1, 1)) == 1.0
    assert smooth(Pointed(kind="slide", way=(0, 0)), slide, (1, 1)) == 0.0


def test_a_tolerance_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="tolerance"):
        point_reward((0, 0), (0, 0), (0, 1))


def test_actions_become_gestures_on_the_screen_they_are_done_on() -> None:
    elements = (
        Element(id="tap milk", kind="row", text="milk", box=(100, 100, 200, 140)),
        Element(id="type ann", kind="key", text="ann"),
        Element(id="back", kind="back", text="back"),
    )
    view = ScreenView(app="shop", page="main", elements=elements)
    milk = pointed("tap milk", view)
    assert milk == Pointed(kind="click", point=(150, 120), box=(100, 100, 200, 140))
    assert pointed("type ann", view) == Pointed(kind="key", text="ann")
    assert pointed(" back ", view) == Pointed(kind="back")
    assert pointed("tap tea", view) is None
    near = pointed("click 101 139", view)
    assert near is not None
    assert hit(near, milk) == 1.0
    assert hit(pointed("back", view), milk) == 0.0
