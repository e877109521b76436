from __future__ import annotations

from random import Random

import numpy as np

from everystep.core.records import Action
from everystep.environments.screengrid.pixels import (
    COLOURS,
    HEIGHT,
    MARK,
    PAPER,
    WIDTH,
    marked,
    pixels_of,
    render,
)
from everystep.environments.screengrid.screen import State, box_of, view
from everystep.environments.screengrid.world import ScreenGrid


def _states(points: bool = False, count: int = 12) -> list[State]:
    world, random = ScreenGrid(points=points, horizon=40), Random(0)
    env = world.make()
    states = []
    for index in range(count):
        env.reset(world.task("train", index))
        for _ in range(15):
            state = env.snapshot().state
            states.append(state)
            said = random.choice([one.id for one in view(state).elements if one.id != "done"])
            box = box_of(state, said)
            assert box is not None
            text = f"click {(box[0] + box[2]) // 2} {(box[1] + box[3]) // 2}" if points else said
            assert env.step(Action(text=text)).valid
    return states


def test_elements_are_blocks_in_the_colour_of_their_kind_and_the_rest_is_paper() -> None:
    for state in _states():
        image = render(state)
        assert image.shape == (HEIGHT, WIDTH, 3)
        assert image.dtype == np.uint8
        free = np.ones((HEIGHT, WIDTH), bool)
        for element in view(state).elements:
            left, top, right, bottom = pixels_of(element.box)
            assert tuple(image[bottom - 1, left]) == COLOURS[element.kind]
            assert free[top:bottom, left:right].all()
            free[top:bottom, left:right] = False
        assert (image[free] == PAPER).all()


def test_equal_screens_give_equal_pictures_and_others_give_others() -> None:
    pictures: dict[bytes, tuple[object, ...]] = {}
    for state in _states() + _states(points=True):
        shown = view(state).elements
        image = render(state)
        assert np.array_equal(image, render(state))
        assert pictures.setdefault(image.tobytes(), shown) == shown
    assert len(pictures) > 60


def test_the_target_of_an_action_is_marked() -> None:
    for points in (False, True):
        for state in _states(points=points, count=3):
            image = render(state)
            for element in view(state).elements:
                changed = (marked(image, state, element.id) != image).any(axis=2)
                rows, columns = np.nonzero(changed)
                assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == pixels_of(
                    element.box
                )
    state = _states(count=1)[0]
    image = render(state)
    assert np.array_equal(marked(image, state, "tap nowhere"), image)
    circle = marked(image, state, "click 500 500")
    rows, columns = np.nonzero((circle == MARK).all(axis=2))
    assert 12 <= len(rows) <= 24
    assert (round(columns.mean()), round(rows.mean())) == (32, 24)
    assert marked(image, state, "click 999 999").shape == image.shape
