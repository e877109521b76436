"""Reading a phone's screen: what can be told from its text agrees with the phone."""

from __future__ import annotations

from collections import Counter
from random import Random

from everystep.core.protocols import Gesture
from everystep.environments.phone.errands import goals_of, moved, secrets_of
from everystep.environments.phone.looks import can, look, outcome
from everystep.environments.phone.phones import possible, read_gesture, show, told
from everystep.environments.phone.screens import Screens
from everystep.environments.phone.watch import WatchedPhone, as_meant, commands, doable, not_doable, walks


def test_what_can_be_done_is_told_by_the_screen() -> None:
    world = Screens(goals=2, miss=0.3)
    for index in range(15):
        state, rng = world.start(world.task("train", index)), Random(index)
        for _ in range(20):
            listed = [*possible(state), *(Gesture(kind="type", text=word) for word in state.words)]
            some = rng.choice([rng.choice(listed), read_gesture(not_doable(state, rng)) or listed[0]])
            assert can(look(told(show(state))), some) == doable(state, some)
            state, _ = moved(state, some)


def test_an_outcome_is_right_but_for_what_no_screen_shows() -> None:
    seen: Counter[tuple[str, bool]] = Counter()
    world = Screens(goals=2, miss=0.4)
    for index in range(40):
        state, rng = world.start(world.task("train", index)), Random(index)
        for _ in range(20):
            gesture = rng.choice(possible(state))
            after, _ = moved(state, gesture)
            label, why = outcome(look(told(show(state))), gesture, look(told(show(after))))
            assert (label == "A") == (not why)
            seen[label, as_meant(state, gesture, after)] += 1
            state = after
    right = seen["A", True] + seen["B", False] + seen["C", False]
    assert right / seen.total() > 0.97
    assert seen["B", True] + seen["C", True] <= 2  # saving twice what is there already may look like nothing
    assert seen["B", False] > 10 < seen["C", False]


def test_the_watched_phone_counts_and_has_no_way_back() -> None:
    world = Screens(miss=0.5)
    phone = WatchedPhone(world)
    phone.reset(world.task("train", 0))
    for _ in range(20):
        phone.step(phone.parse("tap clock" if phone.state.app == "home" else "home"))
    phone.step(phone.parse("tap save"))
    assert (phone.steps, phone.invalid) == (21, 1)
    assert phone.missed > 2
    assert not phone.right
    assert not hasattr(phone, "snapshot")


def test_commands_run_the_errands_and_name_what_is_not_there() -> None:
    world = Screens(goals=2, infeasible=0.5, declare=True, kinds="alarm,contact,note,reply,switch")
    kinds = Counter[bool]()
    for index in range(30):
        task = world.task("train", index)
        phone = WatchedPhone(world)
        phone.reset(task)
        made = [phone.step(phone.parse(text)) for text in commands(phone.state)]
        feasible = task.tags["feasible"] == "yes"
        assert made[-1].success is feasible
        assert (phone.invalid == 0) is feasible
        kinds[feasible] += 1
    assert min(kinds.values()) > 5


def test_walks_have_good_and_bad_acts_and_repeat() -> None:
    world = Screens(goals=2, miss=0.2)
    tasks = [world.task("train", index) for index in range(5)]
    found = walks(world, tasks, steps=20, seed=1)
    assert found == walks(world, tasks, steps=20, seed=1)
    assert 0.3 < sum(one[3] for one in found) / len(found) < 0.9
    assert all(not right or possible for *_, possible, right in found)


def test_the_phone_has_secrets_to_leak() -> None:
    state = Screens().start(Screens().task("train", 0))
    assert goals_of("write the note x")
    assert len([one for one in secrets_of(state) if one.isdigit()]) >= 6
