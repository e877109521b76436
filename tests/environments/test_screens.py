"""The small phone: the contract, the shortest ways, the noise it can be given, and what is private on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from everystep.core.errors import ConfigError
from everystep.core.protocols import Gesture
from everystep.environments.check import check_environment, format_report
from everystep.environments.phone.errands import (
    KINDS,
    Goal,
    State,
    filled,
    goals_of,
    instruction_of,
    met,
    moved,
    plain,
    plan,
    secrets_of,
    strays,
)
from everystep.environments.phone.handsets import Handset, ScreenTask, risk_on_phones, specialist
from everystep.environments.phone.phones import possible, read_gesture, show, told, written
from everystep.environments.phone.screens import Screens


@pytest.mark.parametrize(
    "world",
    [
        Screens(goals=2, items=8),
        Screens(infeasible=0.5, kinds="alarm,switch"),
        Screens(declare=True),
    ],
)
def test_contract(world: Screens) -> None:
    report = check_environment(world, tasks=1)
    assert report.ok, format_report(report)


def test_misses_only_make_the_anchor_silent_about_luck() -> None:
    report = check_environment(Screens(miss=0.3), tasks=1)
    assert set(report.broken) <= {"anchors are states"}


def fewest(state: State, limit: int) -> int | None:
    """Breadth-first search over all gestures, the words of the task included."""
    goals, seen, edge = state.goals, {state}, [state]
    if all(met(state, goal) for goal in goals):
        return 0
    for depth in range(1, limit + 1):
        further = []
        for one in edge:
            gestures = possible(one)
            if one.focus:
                gestures += [Gesture(kind="type", text=word) for word in state.words]
            for gesture in gestures:
                after, reason = moved(one, gesture)
                assert reason is None
                if all(met(after, goal) for goal in goals):
                    return depth
                if after not in seen:
                    seen.add(after)
                    further.append(after)
        edge = further
    return None


@pytest.mark.parametrize("kind", ["alarm", "reply", "note", "switch", "delete"])
def test_no_way_is_shorter_than_the_planned_one(kind: str) -> None:
    world, random = Screens(kinds=kind, items=6), Random(kind)
    for index in range(3):
        state = world.start(world.task("train", index))
        words = {word for goal in state.goals for word in (goal.word, goal.what) if word}
        state = replace(plain(state), words=tuple(sorted(words)))
        for _ in range(index * 3):
            state, _ = moved(state, random.choice(possible(state)))
        length = len(plan(plain(state)))
        assert length <= 6
        assert fewest(state, min(length, 4)) in ((length,) if length <= 4 else (None,))


def test_several_errands_are_run_in_the_best_order() -> None:
    phone = Handset(filled(3)).state
    note, call = Goal("note", "x"), Goal("contact", "Zed", "555123")
    both = replace(phone, goals=(note, call, Goal("note", "y")))
    alone = [len(plan(replace(phone, goals=(one,)))) for one in both.goals]
    assert len(plan(both)) == sum(alone) - 1  # the two notes share one way to the app


@pytest.mark.parametrize("kind", KINDS)
def test_every_errand_can_be_said_understood_and_run(kind: str) -> None:
    world = Screens(kinds=kind)
    for index in range(5):
        task = world.task("train", index)
        assert goals_of(task.instruction) == world.start(task).goals
        env = world.make()
        env.reset(task)
        for _ in range(20):
            result = env.step(env.parse(env.oracle()))
            assert result.valid
            assert result.scores["progress"] == 1.0
            assert result.scores["stray"] == 0.0
            if result.terminated:
                break
        assert result.success
        assert result.reward == 1.0


def test_a_lookup_reads_before_it_writes() -> None:
    world = Screens(kinds="lookup")
    env = world.make()
    task = world.task("train", 0)
    seen, number = env.reset(task).text, env.oracle()
    assert number == "open messages"
    texts = []
    while True:
        texts.append(env.oracle())
        seen += (result := env.step(env.parse(texts[-1]))).observation.text
        if result.terminated:
            break
        if texts[-1].startswith("type") and texts[-1][5:].isdigit():
            assert texts[-1][5:] in seen


def test_what_is_missing_is_answered_with_abort() -> None:
    world = Screens(infeasible=1.0)
    tasks = [world.task("train", index) for index in range(20)]
    assert {task.tags["feasible"] for task in tasks} == {"no"}
    env = world.make()
    for task in tasks:
        env.reset(task)
        assert env.oracle() == "abort"
        assert env.step(env.parse("abort")).success
    plenty = Screens(infeasible=0.4)
    share = sum(plenty.task("train", index).tags["feasible"] == "no" for index in range(300)) / 300
    assert 0.3 < share < 0.5
    env.reset(Screens().task("train", 0))
    assert env.step(env.parse("abort")).success is False


def test_misses_come_as_often_as_they_should_and_repeat() -> None:
    world = Screens(miss=0.25, horizon=4000, kinds="note")
    outcomes: Counter[str] = Counter()
    for _ in range(2):
        env, random = world.make(), Random(5)
        seen = env.reset(world.task("train", 1))
        trail = []
        for _ in range(900):
            taps = [text for text in seen.admissible or () if text.startswith("tap")]
            text = random.choice(taps) if taps and random.random() < 0.7 else "home"
            if text == "home" and "home" not in (seen.admissible or ()):
                text = "open notes"
            result = env.step(env.parse(text))
            if text in ("tap add", "tap clock", "tap notes", "tap contacts", "tap messages", "tap settings"):
                wanted = "new" if text == "tap add" else text[4:]
                there = result.observation.text.split("\n")[-0].split()
                outcomes["hit" if wanted in there[1:3] else "miss"] += 1
            seen = result.observation
            trail.append(seen.text)
        outcomes[str(hash(tuple(trail)))] += 1
    assert min(outcomes.values()) == 2  # the same trail twice
    assert 0.20 < outcomes["miss"] / (outcomes["hit"] + outcomes["miss"]) < 0.30


def test_an_agent_that_declares_the_end_must_be_right() -> None:
    world = Screens(declare=True, kinds="switch")
    env = world.make()
    task = world.task("train", 2)
    env.reset(task)
    assert env.step(env.parse("done")).success is False
    env.reset(task)
    while (text := env.oracle()) != "done":
        assert not env.step(env.parse(text)).terminated
    assert env.step(env.parse("done")).success is True


def test_what_nobody_asked_for_is_counted() -> None:
    world = Screens(kinds="note")
    env = world.make()
    env.reset(world.task("train", 0))
    env.step(env.parse("open settings"))
    wrong = env.step(env.parse("tap switch1"))
    assert wrong.scores == {"progress": 0.0, "stray": 1.0}
    for text, stray in (("open clock", 0), ("hold alarm1", 0), ("tap delete", 1), ("tap alarm1", 1)):
        assert env.step(env.parse(text)).scores["stray"] == stray


def test_errands_share_sequences_of_gestures() -> None:
    """What can be mined: the same routine, with other words, in every task of a kind."""
    world = Screens(goals=3, kinds="contact,note,alarm")
    env = world.make()
    shapes: Counter[tuple[str, ...]] = Counter()
    for index in range(10):
        env.reset(world.task("train", index))
        done, texts = False, []
        while not done:
            texts.append(env.oracle())
            done = env.step(env.parse(texts[-1])).terminated
        shape = ["type" if text.startswith("type") else text for text in texts]
        shapes.update(tuple(shape[i : i + 4]) for i in range(len(shape) - 3))
    assert shapes["tap add", "tap name", "type", "tap number"] >= 5
    assert shapes["tap add", "tap text", "type", "tap save"] >= 5


def test_private_things_are_not_in_the_instruction() -> None:
    for index in range(30):
        task = Screens(kinds="reply,lookup,switch,note").task("train", index)
        hidden = secrets_of(Screens().start(task)) + secrets_of(filled(index))
        assert len(hidden) > 20
        assert not any(one in task.instruction for one in hidden if any(c.isdigit() for c in one))


def test_gestures_are_text_and_back() -> None:
    for gesture in (
        Gesture(kind="tap", target="save"),
        Gesture(kind="type", text="a b  c"),
        Gesture(kind="back"),
        Gesture(kind="swipe", target="up"),
    ):
        assert read_gesture(written(gesture)) == gesture
    for text in ("tap", "tap a b", "type ", "swipe", "back now", "tap ../x", "type a\nb"):
        assert read_gesture(text) is None


def test_bad_options() -> None:
    with pytest.raises(ConfigError, match=r"no errand 'alarms'\. Did you mean 'alarm'"):
        Screens(kinds="alarms")
    with pytest.raises(ConfigError, match="each errand once"):
        Screens(kinds="alarm,alarm")
    with pytest.raises(ConfigError, match="'goals' is 5"):
        Screens(goals=5)


# --- as a device -------------------------------------------------------------------------------


def test_a_handset_stays_as_it_is_between_tasks() -> None:
    handset = Handset(filled(1))
    for text in ("set an alarm at 07:31", "turn off wifi , then set an alarm at 07:32"):
        handset.state = replace(handset.state, switches=show_wifi(handset))
        for _ in range(30):
            answer = specialist(handset, text)
            if answer.startswith("done"):
                break
            gesture = read_gesture(answer)
            assert gesture is not None
            assert handset.do(gesture) is None
    goals = goals_of("set an alarm at 07:31 , then set an alarm at 07:32")
    assert goals is not None
    assert all(met(handset.state, goal) for goal in goals)
    assert specialist(handset, "make me rich").startswith("abort")
    assert specialist(handset, "turn on teleport").startswith("abort")


def show_wifi(handset: Handset) -> tuple:  # type: ignore[type-arg]
    from everystep.environments.phone.phones import Switch

    others = tuple(one for one in handset.state.switches if one.name != "wifi")
    return (Switch("wifi", True), *others)


def test_any_screen_is_an_environment_whose_acts_reach_outside() -> None:
    handset = Handset(filled(1))
    env = ScreenTask(handset, effects=risk_on_phones)
    assert env.parse("tap save").valid
    assert not env.parse("please tap save").valid
    assert env.step(env.parse("open messages")).valid
    assert env.step(env.parse("tap nowhere")).reason == "there is no element 'nowhere' on this screen"
    assert env.effect(env.parse("tap send")).risk.value == "high"
    assert not env.effect(env.parse("tap send")).repeatable
    end = env.step(env.parse("done it is all there"))
    assert (end.terminated, end.success) == (True, None)
    assert env.step(env.parse("abort no")).success is False
    assert told(handset.view()) == end.observation.text


def test_strays_know_a_lookup_from_a_contact() -> None:
    state = State(
        **{name: getattr(filled(9), name) for name in ("alarms", "contacts", "threads", "switches")}
    )
    name = state.threads[0].name
    state = replace(state, goals=(Goal("lookup", name),), contacts=())
    env_way = plan(state)
    after = state
    for gesture in env_way:
        after, _ = moved(after, gesture)
    assert strays(state, after) == 0
    assert instruction_of(after.goals).startswith("save the number")
    assert show(after).app == "contacts"
