"""Shortcuts: what a model may write, what running one blindly does, and that only what works is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.environments.phone.errands import filled
from everystep.environments.phone.handsets import Handset, ScreenTask
from everystep.environments.phone.screens import Screens
from everystep.evolve.shortcuts import Shortcuts, read_shortcut, ready, shown
from everystep.evolve.skills import Skill
from everystep.evolve.trial import verify_skill

GOOD: dict[str, Any] = {
    "name": "set_alarm",
    "description": "an alarm",
    "arguments": ["time"],
    "sequence": ["tap add", "tap time", "type <time>", "tap save"],
    "precondition": ["tap add", "hold alarm1"],
    "about": ["alarm"],
    "after": "screen clock list",
}


def shortcut(**changes: Any) -> Skill:
    skill, why = read_shortcut(json.dumps(GOOD | changes))
    assert skill is not None, why
    return skill


def phone(*skills: Skill) -> Shortcuts:
    world = Screens(kinds="alarm")
    made = Shortcuts(world.make(), skills)
    made.reset(world.task("train", 0))
    return made


def do(world: Shortcuts, text: str) -> Any:
    return world.step(world.parse(text))


def test_a_shortcut_is_one_action_and_tells_its_gestures() -> None:
    world = phone(shortcut())
    do(world, "open clock")
    made = do(world, 'use set_alarm {"time": "07:35"}')
    assert made.valid
    assert "07:35 on" in made.observation.text or "screen clock list" in made.observation.text
    assert world.done == ("tap add", "tap time", "type 07:35", "tap save")
    assert (world.uses, world.unmet, world.broken) == (1, 0, 0)


def test_it_runs_blindly_and_says_where_it_stopped() -> None:
    world = phone(shortcut())
    made = do(world, 'use set_alarm {"time": "07:35"}')  # at the home screen
    assert not made.valid
    assert "stopped at its gesture 1, 'tap add'" in str(made.reason)
    assert (world.uses, world.unmet, world.broken) == (1, 1, 1)


@pytest.mark.parametrize(
    "text",
    ["use nothing", "use set_alarm", "use set_alarm {}", 'use set_alarm {"time": 7}', "use set_alarm {", 'use set_alarm {"time": "a\\nb"}'],
)  # fmt: skip
def test_a_bad_call_is_refused_and_does_nothing(text: str) -> None:
    world = phone(shortcut())
    assert not world.parse(text).valid
    assert not world.step(world.parse(text)).valid
    assert world.uses == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Set alarm"}, {"sequence": []}, {"sequence": ["tap <place>"]}, {"arguments": ["time", "time"]},
        {"sequence": ["tap add"] * 13}, {"extra": 1}, {"about": "alarm"}, {"after": 3}, {"sequence": ["a\nb"]},
    ],
)  # fmt: skip
def test_what_is_not_a_shortcut_is_named(changes: dict[str, Any]) -> None:
    skill, why = read_shortcut(json.dumps(GOOD | changes))
    assert skill is None
    assert why


@settings(max_examples=50, deadline=None)
@given(st.text() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_no_text_breaks_the_reader(text: str) -> None:
    skill, why = read_shortcut(text)
    assert (skill is None) == bool(why)


def test_braces_and_brackets_in_a_value_stay_text() -> None:
    world = phone(shortcut(sequence=["open notes", "tap add", "tap text", "type <time>", "tap save"]))
    value = "{0} <time> __import__"
    assert do(world, f"use set_alarm {json.dumps({'time': value})}").valid
    assert value in do(world, "swipe up").observation.text + do(world, "swipe down").observation.text


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({}, True),
        ({"precondition": []}, False),
        ({"sequence": ["tap add", "tap time", "type <time>"]}, False),
        ({"sequence": ["tap add", "type <time>", "tap save"]}, False),
        ({"sequence": ["tap add", "tap time", "type 03:15", "tap save"], "arguments": []}, False),
    ],
)
def test_only_what_works_elsewhere_passes_its_trial(changes: dict[str, Any], passes: bool) -> None:
    world = Screens(kinds="alarm")
    trial = verify_skill(shortcut(**changes), world, [world.task("test", index) for index in range(10)])
    assert trial.passed is passes


def test_the_precondition_is_looked_up_in_what_is_possible() -> None:
    world = Screens(kinds="alarm")
    env = world.make()
    seen = env.reset(world.task("train", 0))
    assert not ready(shortcut(), seen, {0: "07:00"})
    assert ready(shortcut(), env.step(env.parse("open clock")).observation, {0: "07:00"})
    assert not ready(shortcut(), env.step(env.parse("open notes")).observation, {0: "07:00"})
    assert shown(shortcut())["precondition"] == ["tap add", "hold alarm1"]


def test_where_acts_reach_outside_a_shortcut_is_not_one_act() -> None:
    with pytest.raises(ConfigError, match="one by one"):
        Shortcuts(ScreenTask(Handset(filled(0))))
