"""AndroidControl: the reader, the published check at its boundaries, the worlds of steps and of episodes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.errors import ConfigError, DataError
from everystep.environments.catalog import world
from everystep.environments.phone.android_acts import Act, Gold, Match, matched, read_act, write_act
from everystep.environments.phone.android_control import AndroidControl, walk_of, walks

SIZE = (1000, 2000)
BOX = (0.4, 0.4, 0.6, 0.5)  # enlarged to 120 %: 0.38 to 0.62, 0.39 to 0.51


def click(x: float, y: float) -> Act:
    return Act(kind="click", point=(x, y))


@pytest.mark.parametrize(
    ("text", "act"),
    [
        ('{"action": "click", "coordinate": [500, 500]}', click(0.5, 0.25)),
        ('{"action_type": "click", "x": 500, "y": 500.0}', click(0.5, 0.25)),
        ('first {"action": "wait"}, no: ```json\n{"action": "tap", "coordinate": [0, 0]}\n```', click(0, 0)),
        ('{"action": "swipe", "direction": "Down "}', Act(kind="swipe", way="down")),
        ('{"action": "swipe", "coordinate": [5, 900], "coordinate2": [5, 100]}', Act(kind="swipe", way="down")),
        ('{"action_type": "scroll", "direction": "up"}', Act(kind="swipe", way="up")),
        ('{"action_type": "input_text", "text": " a"}', Act(kind="type", text=" a")),
        ('{"action_type": "open_app", "app_name": "Maps"}', Act(kind="open", text="Maps")),
        ('{"action_type": "navigate_back"}', Act(kind="system_button", text="Back")),
        ('{"action": "WAIT", "time": 2}', Act(kind="wait")),
    ],
)  # fmt: skip
def test_both_forms_are_read(text: str, act: Act) -> None:
    assert read_act(text, SIZE) == act


@pytest.mark.parametrize(
    "text",
    [
        "", "click 3 4", "[]", "{}", '{"action": 3}', '{"action": "fly"}', '{"action": "click"}', '{"action": "click", "coordinate": [1]}',
        '{"action": "click", "coordinate": ["1", 2]}', '{"action": "click", "coordinate": [true, 2]}', '{"action": "click", "coordinate": [NaN, 1]}',
        '{"action": "click", "coordinate": [1e99, 1]}', '{"action": "type"}', '{"action": "type", "text": "  "}', '{"action": "open", "text": 5}',
        '{"action": "swipe"}', '{"action": "swipe", "direction": "away"}', '{"action": "swipe", "coordinate": [1, 2]}', '{"action": "system_button"}',
        '{"action": "click", "coordinate": [1, 2]', "{" * 30_000, "[" * 9_000,
    ],
)  # fmt: skip
def test_what_is_no_action_is_said_to_be_none(text: str) -> None:
    assert isinstance(read_act(text, SIZE), str)


@given(st.text() | st.recursive(st.none() | st.floats() | st.text(), lambda one: st.lists(one) | st.dictionaries(st.sampled_from(["action", "text", "coordinate"]), one)).map(json.dumps))  # fmt: skip
def test_no_answer_raises(text: str) -> None:
    read = read_act(text, SIZE)
    assert isinstance(read, str | Act)
    environment = AndroidControl(data="sample").make()
    environment.reset(AndroidControl(data="sample").task("test", 0))
    assert environment.step(environment.parse(text)).terminated


@pytest.mark.parametrize(
    ("act", "met"),
    [
        (click(0.38, 0.39), True), (click(0.62, 0.51), True), (click(0.3799999, 0.45), False), (click(0.5, 0.5100001), False),
        (click(0.9, 0.9399999), True), (click(0.9, 0.9400001), False), (click(0.8600001, 0.9), True), (click(0.87, 0.87), False),
    ],
)  # fmt: skip
def test_a_point_is_right_in_an_enlarged_box_or_near_the_gold_point(act: Act, met: bool) -> None:
    gold = Gold(act=click(0.9, 0.9), boxes=(BOX,))
    assert matched(act, gold) == Match(kind=True, action=met, exact=met)


def test_the_kinds_are_checked_as_published() -> None:
    typed = Gold(act=Act(kind="type", text="New York"))
    assert matched(Act(kind="type", text=" new york "), typed) == Match(kind=True, action=True, exact=True)
    assert matched(Act(kind="type", text="York"), typed) == Match(kind=True, action=True)
    assert matched(Act(kind="type", text="Boston"), typed) == Match(kind=True)
    assert matched(Act(kind="open", text="New York"), typed) == Match()
    swipe = Gold(act=Act(kind="swipe", way="down"))
    assert matched(Act(kind="swipe", way="left"), swipe) == Match(kind=True, action=True)
    assert matched(Act(kind="swipe", way="down"), swipe) == Match(kind=True, action=True, exact=True)
    back = Gold(act=Act(kind="system_button", text="Back"))
    assert matched(Act(kind="system_button", text="back"), back).action
    assert matched(Act(kind="system_button", text="Home"), back) == Match(kind=True)
    held = Gold(act=Act(kind="long_press", point=(0.5, 0.45)), boxes=(BOX,))
    assert matched(click(0.5, 0.45), held) == Match()
    assert matched(None, back) == Match()


def test_an_app_in_sight_may_be_opened_by_a_click() -> None:
    seen = Gold(act=Act(kind="open", text="Maps"), boxes=(BOX,))
    assert matched(click(0.5, 0.45), seen) == Match(kind=True, action=True)
    assert matched(click(0.1, 0.1), seen) == Match(kind=True)
    assert matched(click(0.5, 0.45), replace(seen, boxes=())) == Match()


@pytest.mark.parametrize("walk", walks("sample"), ids=lambda walk: walk.id)
def test_gold_is_right_and_its_text_reads_back(walk) -> None:  # type: ignore[no-untyped-def]
    for step in walk.steps:
        read = read_act(write_act(step.gold.act, walk.size), walk.size)
        assert isinstance(read, Act)
        assert matched(read, step.gold) == Match(kind=True, action=True, exact=True)


def test_the_screen_has_the_size_that_its_swipes_are_written_for() -> None:
    check = {"action": "swipe", "direction": "down"}

    def sized(start: list[float], end: list[float]) -> tuple[int, int]:
        done = {"action": "swipe", "coordinate": start, "coordinate2": end}
        step = {"action_content": done, "check_options": check, "step_instruction": "s"}
        return walk_of({"episode_id": 1, "goal": "g", "steps": [step]}).size

    assert sized([720.0, 2340.0], [720.0, 780.0]) == (1440, 3120)
    assert sized([270.0, 1200.0], [810.0, 1200.0]) == (1080, 2400)


def test_history_is_of_gold_actions_and_words_are_told_when_asked_for() -> None:
    made = AndroidControl(data="sample", history=1, words=True)
    index = next(i for i in range(made.size("train")) if made.task("train", i).tags["step"] == "3")
    task = made.task("train", index)
    number = task.seed // 64
    walk = walks("sample")[number]
    told = made.make().reset(task).text
    assert write_act(walk.steps[1].gold.act, walk.size) in told
    assert write_act(walk.steps[0].gold.act, walk.size) not in told
    assert told.endswith(f"Now: {walk.steps[2].words}")
    bare = AndroidControl(data="sample", history=0)
    assert "Actions so far" not in bare.make().reset(bare.task("train", index)).text


def test_an_episode_goes_on_while_the_answers_are_right() -> None:
    made = AndroidControl(data="sample", ask="episode")
    environment = made.make()
    task = next(task for i in range(made.size("train")) if int((task := made.task("train", i)).tags["length"]) >= 4)  # fmt: skip
    length = int(task.tags["length"])
    environment.reset(task)
    for place in range(length):
        found = environment.step(environment.parse(environment.oracle()))
        assert (found.terminated, found.success) == ((True, True) if place == length - 1 else (False, None))
    assert found.scores["progress"] == 1.0
    environment.reset(task)
    environment.step(environment.parse(environment.oracle()))
    found = environment.step(environment.parse("I do not know"))
    assert (found.terminated, found.success, found.valid) == (True, False, False)
    assert found.scores["progress"] == pytest.approx(1 / length)


def test_wrong_options_and_missing_or_broken_files_are_named(monkeypatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match="episode"):
        world("android_control", ask="episodes")
    folder = tmp_path / "android_control"
    folder.mkdir()
    monkeypatch.setenv("EVERYSTEP_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match="UI-S1"):
        walks()
    (folder / "android_control_evaluation_std.jsonl").write_text('{"goal": "g"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 1"):
        walks()
