from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from everystep.core.errors import ConfigError, WorldError
from everystep.core.records import Action

pytest.importorskip("stardist", reason="needs everystep[medical]")

from everystep.environments.check import check_environment, format_report
from everystep.environments.images import refinemask
from everystep.environments.images.refinemask import ACTIONS, BOX, POINT, STOP, TURNS, RefineMask, State, view
from everystep.environments.images.refinemask_images import SIDE, STRUCTURES, numbers, picture, pictures
from everystep.environments.images.segmenters import (
    SEGMENTERS,
    Image,
    Mask,
    Prompts,
    RandomWalker,
    Segmenter,
    Watershed,
    seeds,
)

WORLD = RefineMask()


def square(low: int = 12, high: int = 36) -> Image:
    image = np.full((SIDE, SIDE), 0.1)
    image[low:high, low:high] = 0.9
    return image


def iou(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_contract() -> None:
    report = check_environment(replace(WORLD, segmenter="watershed"), tasks=1)
    assert report.ok, format_report(report)


def test_pictures_are_whole_and_no_split_sees_pixels_of_the_other() -> None:
    for structure in STRUCTURES:
        for one in pictures(structure):
            assert one.image_HW.shape == one.truth_HW.shape == (SIDE, SIDE)
            assert (one.image_HW.min(), one.image_HW.max()) == (0, 1)
            assert 0.02 < one.truth_HW.mean() < 0.6
            centre = np.argwhere(one.truth_HW).mean(axis=0) / SIDE
            assert np.all(np.abs(centre - 0.5) < 0.3), f"{structure} is not in the middle"
    split_of = {split: set(numbers(tuple(STRUCTURES), split)) for split in ("train", "test")}
    assert not {n // 8 for n in split_of["train"]} & {n // 8 for n in split_of["test"]}
    assert {picture(n).structure for n in split_of["train"]} == {"nucleus", "ventricle"}
    # A window of one split that held pixels of the other would repeat some of its rows exactly.
    rows = {
        split: {one.image_HW[row].tobytes() for one in pictures("nucleus") if one.split == split for row in range(SIDE)}
        for split in split_of
    }  # fmt: skip
    assert not rows["train"] & rows["test"]


def test_a_picture_comes_in_eight_rotations() -> None:
    first = numbers(("cell",), "test")[0] // 8 * 8
    images = [picture(first + turn).image_HW for turn in range(8)]
    assert len({image.tobytes() for image in images}) == 8
    assert all(np.array_equal(np.sort(image, axis=None), np.sort(images[0], axis=None)) for image in images)
    for turn in range(8):
        assert picture(first + turn).truth_HW.sum() == picture(first).truth_HW.sum()


@pytest.mark.parametrize("tool", [RandomWalker(), Watershed()])
def test_a_box_finds_a_square_and_clicks_mend_it(tool: Segmenter) -> None:
    truth = square() > 0.5
    assert iou(tool.segment(square(), Prompts(box=(8, 8, 40, 40))), truth) > 0.85
    two = np.maximum(square(6, 18), square(28, 42))
    second = np.zeros_like(truth)
    second[28:42, 28:42] = True
    both = tool.segment(two, Prompts(points=((12, 12, True), (34, 34, True))))
    one = tool.segment(two, Prompts(points=((12, 12, False), (34, 34, True))))
    assert min(iou(both, two > 0.5), iou(one, second)) > 0.8
    assert not tool.segment(square(), Prompts()).any()
    assert not tool.segment(square(), Prompts(points=((3, 3, False),))).any()


def test_seeds() -> None:
    marks = seeds((20, 20), Prompts(box=(4, 6, 16, 18), points=((5, 7, True), (5, 8, False))))
    assert (marks[:6] == 2).all() or (marks[6:9, 4:7] == 1).any()
    assert marks[12, 10] == 1  # the middle of the box
    assert marks[8, 5] == 2  # the later click has the last word
    assert not (
        seeds((20, 20), Prompts(box=(4, 6, 16, 18), points=((10, 12, False),)))[9:15, 7:13] == 1
    ).any()


def test_one_session_cannot_change_another() -> None:
    task = WORLD.task("train", 0)
    one, two = WORLD.make(), WORLD.make()
    one.reset(task)
    two.reset(task)
    one.step(one.parse(f"{BOX} 167 167 833 833"))
    saved = one.snapshot()
    masks = [WORLD.mask(saved.state)]
    before = masks[0].copy()
    one.step(one.parse(f"{POINT} 583 583 negative"))
    one.close()
    two.step(two.parse(f"{BOX} 0 0 333 333"))
    assert np.array_equal(masks[0], before)
    assert not masks[0].flags.writeable
    assert one.restore(saved).text == saved.observation.text
    assert two.snapshot().state.points == ()


def test_a_segmenter_that_reuses_its_buffer_does_no_harm() -> None:
    class Careless:
        def __init__(self) -> None:
            self.buffer = np.zeros((SIDE, SIDE), dtype=np.bool_)

        def segment(self, image_HW: Image, prompts: Prompts) -> Mask:
            self.buffer[:] = False
            for x, y, positive in prompts.points:
                self.buffer[y, x] = positive
            return self.buffer

    if "careless" not in SEGMENTERS:
        SEGMENTERS.add("careless", Careless())
    world = RefineMask(segmenter="careless")
    number = world.task("train", 0).seed
    first = world.mask(State(number, points=((0, 0, True),)))
    second = world.mask(State(number, points=((500, 500, True),)))
    assert [bool(mask[0, 0]) for mask in (first, second)] == [True, False]
    assert second[24, 24]


def test_rewards_add_up_to_the_final_quality_wherever_it_ends() -> None:
    task = WORLD.task("train", 3)
    for calls in (
        [STOP],
        [ACTIONS[80], STOP],
        [ACTIONS[80], ACTIONS[230], ACTIONS[250], "so long"],
        [ACTIONS[7]] * 5,
    ):
        env = WORLD.make()
        env.reset(task)
        rewards = []
        for call in calls:
            result = env.step(env.parse(call))
            rewards.append(result.reward)
        assert result.terminated or result.truncated
        state = env.snapshot().state
        assert sum(rewards) == pytest.approx(sum(WORLD.quality(state)) / 2)
        assert result.scores["iou"] == WORLD.quality(state)[0]


def test_what_is_no_call_ends_and_a_wrong_one_costs_a_turn() -> None:
    env = WORLD.make()
    for text in (
        "",
        "the lesion is on the left",
        "zoom 1 2",
        "add_bbox\n167 167 833 833 " * 9,
        "ADD_POINT 1 2 positive",
    ):
        env.reset(WORLD.task("train", 0))
        result = env.step(env.parse(text))
        assert (result.terminated, result.success, bool(result.reason)) == (True, False, True), text
    wrong = (
        BOX, f"{BOX} 1 2 3", f"{BOX} 833 167 167 833", f"{BOX} 0 0 1000 9", f"{POINT} 1 2 maybe", f"{POINT} 1 -2 positive",
        f"{STOP} 3", f"{POINT} 1 2 positive 3", f"{BOX} \u0663 \u0663 \u0665 \u0665",
    )  # fmt: skip
    for text in wrong:
        env.reset(WORLD.task("train", 0))
        action = env.parse(text)
        result = env.step(action)
        assert (result.valid, result.terminated, len(action.calls)) == (False, False, 1), text
    env.reset(WORLD.task("train", 0))
    for turn in range(TURNS):
        result = env.step(env.parse(wrong[0]))
        assert result.truncated == (turn == TURNS - 1)
    env.reset(WORLD.task("train", 0))
    assert env.step(Action(text=f"{BOX} 833 167 167 833")).valid is False


def test_calls_off_the_grid_are_executed() -> None:
    env = WORLD.make()
    env.reset(WORLD.task("train", 0))
    action = env.parse(f" {POINT}  511 498 positive ")
    assert action.valid
    assert action.calls[0].arguments == {"x": 511, "y": 498, "sign": "positive"}
    assert env.step(action).valid
    assert action.text not in ACTIONS
    assert len(set(ACTIONS)) == 225 + 72 + 1


def test_the_view_shows_no_truth() -> None:
    number = WORLD.task("train", 0).seed
    shown = WORLD.observe(State(number, box=(0, 0, 999, 999)))
    other = replace_truth(number)
    try:
        assert WORLD.observe(State(number, box=(0, 0, 999, 999))) == shown
        assert WORLD.quality(State(number, box=(0, 0, 999, 999))) != other
    finally:
        refinemask.picture = picture
    assert all(len(row.split()) == 6 for row in shown.text.splitlines())
    drawn = view(WORLD, State(number, box=(167, 167, 833, 833)))
    mask = WORLD.mask(State(number, box=(167, 167, 833, 833)))
    assert drawn.shape == (SIDE, SIDE, 3)
    assert (drawn[mask][:, 1] >= 127).all()


def replace_truth(number: int) -> tuple[float, float]:
    """Let the world have another truth of one picture; return the quality before."""
    before = WORLD.quality(State(number, box=(0, 0, 999, 999)))
    empty = np.zeros((SIDE, SIDE), dtype=np.bool_)
    empty[0, 0] = True
    refinemask.picture = lambda n: replace(picture(n), truth_HW=empty)
    return before


def test_the_oracle_is_good_and_never_overshoots() -> None:
    found = []
    for world in (WORLD, RefineMask(structures="cell,disc,gland,canal")):
        env = world.make()
        for index in range(8):
            env.reset(world.task("test", index))
            trace = []
            while True:
                result = env.step(env.parse(env.oracle()))
                trace.append(result.scores["iou"])
                if result.terminated:
                    break
                assert not result.truncated
            assert trace[-1] == max(trace)
            found.append(trace[-1])
    assert np.mean(found) > 0.8


def test_the_anchor_knows_no_order_and_no_clock() -> None:
    number = WORLD.task("train", 0).seed
    one = State(number, points=((83, 83, True), (250, 250, False)), turns=2)
    two = State(number, points=((250, 250, False), (83, 83, True)), turns=4)
    assert WORLD.observe(one).anchor == WORLD.observe(two).anchor
    assert WORLD.observe(one).anchor != WORLD.observe(replace(one, box=(0, 0, 500, 500))).anchor


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'nucleus'"):
        RefineMask(structures="nucleos")
    with pytest.raises(ConfigError, match="each once"):
        RefineMask(structures="cell,cell")
    with pytest.raises(ConfigError, match="random_walker"):
        RefineMask(segmenter="random_walkr")
    with pytest.raises(ConfigError, match="out of range"):
        RefineMask(structures="cell").task("train", 0)
    with pytest.raises(WorldError, match="no picture"):
        picture(7_999_999)
