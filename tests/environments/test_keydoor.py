from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from everystep.core.errors import ConfigError, WorldError
from everystep.core.records import Action
from everystep.environments.check import check_environment, format_report
from everystep.environments.exact import split_of
from everystep.environments.places.hanoi import Hanoi
from everystep.environments.places.keydoor import KeyDoor, salted


@pytest.mark.parametrize(
    "world",
    [
        KeyDoor(),
        KeyDoor(side=3),
        KeyDoor(side=8, distractors=5, walls=15, horizon=120),
        KeyDoor(side=3, horizon=9, deadline=True),
        KeyDoor(side=4, compass=True, walls=3, distractors=1),
    ],
)
def test_contract(world: KeyDoor) -> None:
    report = check_environment(world)
    assert report.ok, format_report(report)


@pytest.mark.parametrize("world", [KeyDoor(), KeyDoor(side=7, walls=16, distractors=2, horizon=100)])
def test_oracle_takes_exactly_the_distance_and_every_step_makes_progress(world: KeyDoor) -> None:
    env = world.make()
    for index in range(50):
        env.reset(world.task("test", index))
        rewards = []
        while True:
            result = env.step(env.parse(env.oracle()))
            rewards.append(result.reward)
            assert result.scores == {"progress": 1.0, "closer": 1.0}
            if result.terminated:
                break
        assert result.success is True
        assert rewards == [0.0] * (len(rewards) - 1) + [10.0]


def test_progress_telescopes_on_a_random_walk() -> None:
    world = KeyDoor(horizon=500)
    env, rng = world.make(), Random(0)
    for index in range(20):
        task = world.task("train", index)
        seen = env.reset(task)
        total = 0.0
        while True:
            assert seen.admissible is not None
            result = env.step(Action(text=rng.choice(seen.admissible)))
            total += result.scores["progress"]
            seen = result.observation
            if result.terminated or result.truncated:
                break
        env.reset(task)
        best = 0
        while not env.step(env.parse(env.oracle())).terminated:
            best += 1
        if result.terminated:
            assert total == best + 1


def test_the_limit_truncates_and_leaves_the_outcome_open() -> None:
    world = KeyDoor(horizon=3)
    env = world.make()
    env.reset(world.task("train", 0))
    results = [env.step(Action(text="nonsense")) for _ in range(3)]
    assert [result.truncated for result in results] == [False, False, True]
    assert not any(result.terminated for result in results)
    assert results[-1].success is None
    assert results[0].observation.text.startswith("nothing happens . you ")
    with pytest.raises(WorldError, match="has ended"):
        env.step(Action(text="north"))


def test_a_wall_is_a_reason() -> None:
    world = KeyDoor()
    env = world.make()
    env.reset(world.task("train", 0))
    while (result := env.step(Action(text="north"))).valid:
        pass
    assert result.reason == "there is no way in that direction"


def test_nonce_observations_do_not_come_back() -> None:
    world = KeyDoor(nonce=True, horizon=2000)
    env, rng = world.make(), Random(1)
    seen = env.reset(world.task("train", 3))
    texts, anchors, result = [seen.text], [seen.anchor], None
    while result is None or not (result.terminated or result.truncated):
        result = env.step(Action(text=rng.choice(("north", "south", "east", "west"))))
        texts.append(result.observation.text)
        anchors.append(result.observation.anchor)
    assert len(texts) == 2001
    assert len(set(anchors)) == len(anchors)
    assert len(set(texts)) >= len(texts) - 5  # the words carry 16 bits


def test_no_layout_is_in_both_splits() -> None:
    world = KeyDoor(side=3)  # few layouts, so that they repeat
    env = world.make()
    texts = {split: {env.reset(world.task(split, i)).text for i in range(300)} for split in ("train", "test")}
    assert len(texts["train"]) < 300
    assert not texts["train"] & texts["test"]


def test_the_config_of_the_task_decides() -> None:
    big = KeyDoor(side=9, distractors=2)
    task = big.task("train", 5)
    assert task.config == {"side": 9, "distractors": 2}
    assert KeyDoor().make().reset(task) == big.make().reset(task)
    with pytest.raises(ConfigError, match=r"has no option 'sides'. Did you mean 'side'"):
        KeyDoor().make().reset(replace(task, config={"sides": 9}))
    with pytest.raises(WorldError, match="is of environment 'keydoor', this one is 'hanoi'"):
        Hanoi().make().reset(task)


def test_bad_options_are_named() -> None:
    with pytest.raises(ConfigError, match="'side' is 2; it must lie from 3 to 30"):
        KeyDoor(side=2)
    with pytest.raises(ConfigError, match=r"unknown split 'tets'. Did you mean 'test'"):
        KeyDoor().task("tets", 0)
    with pytest.raises(ConfigError, match="task index -1"):
        KeyDoor().task("train", -1)


def test_one_in_five_contents_is_test() -> None:
    share = sum(split_of(f"content {n}") == "test" for n in range(5000)) / 5000
    assert 0.17 < share < 0.23


def test_a_deadline_is_told_and_missing_it_is_a_failure() -> None:
    world = KeyDoor(side=3, horizon=12, deadline=True)
    env = world.make()
    env.reset(world.task("train", 0))
    seen, ends = [], []
    for _ in range(12):
        result = env.step(Action(text="nonsense"))
        seen.append(result.observation.text.rpartition("left ")[2])
        ends.append((result.terminated, result.truncated, result.success))
    assert seen == ["1 1", "1 0", *(str(left) for left in range(9, -1, -1))]
    assert ends == [(False, False, None)] * 11 + [(True, False, False)]
    assert result.reward == 0.0


def test_a_deadline_that_is_met_in_the_last_step_is_met() -> None:
    long = KeyDoor(side=3)
    env = long.make()
    env.reset(long.task("train", 1))
    steps = 1
    while not env.step(env.parse(env.oracle())).terminated:
        steps += 1
    world = KeyDoor(side=3, horizon=steps, deadline=True)
    env = world.make()
    env.reset(world.task("train", 1))
    for _ in range(steps):
        result = env.step(env.parse(env.oracle()))
    assert (result.terminated, result.success, result.reward) == (True, True, 10.0)


def test_salted_copies_of_a_task_differ_in_nothing_but_the_nonce() -> None:
    world = KeyDoor(side=3, nonce=True)
    task = world.task("train", 5)
    walks = []
    for salt in range(3):
        env = world.make()
        found = [env.reset(salted(task, salt))]
        while True:
            result = env.step(env.parse(env.oracle()))
            found.append(result.observation)
            if result.terminated:
                break
        walks.append([one.anchor for one in found])
        assert salted(task, salt).id == task.id
    plain = [[(one or "").rpartition(" ")[0] for one in walk] for walk in walks]
    assert plain[0] == plain[1] == plain[2]
    assert len({anchor for walk in walks for anchor in walk}) == 3 * len(walks[0])
    with pytest.raises(ConfigError, match="nonce"):
        KeyDoor(salt=1)


def test_the_compass_tells_the_way_and_the_plain_text_the_place() -> None:
    plain, compass = KeyDoor(), KeyDoor(compass=True)
    ways = {"north": (-1, 0), "south": (1, 0), "east": (0, 1), "west": (0, -1), "here": (0, 0)}
    for index in range(20):
        places, told = (world.make().reset(world.task("train", index)) for world in (plain, compass))
        assert places.anchor == told.anchor
        at = {part.split()[0]: part.split()[1:] for part in places.text.split(" . ")}
        way = {part.split()[0]: part.split()[1:] for part in told.text.split(" . ")}
        assert way["you"] == at["you"]
        row, column = map(int, at["you"])
        for thing in ("key", "door"):
            down, across = (sum(ways[word][axis] for word in way[thing]) for axis in (0, 1))
            to_row, to_column = map(int, at[thing])
            assert (down, across) == (
                (to_row > row) - (to_row < row),
                (to_column > column) - (to_column < column),
            )
