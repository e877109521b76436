from __future__ import annotations

from collections import deque
from itertools import product

import pytest

from everystep.core.errors import ConfigError
from everystep.core.records import Action
from everystep.environments.check import check_environment, format_report
from everystep.environments.places.hanoi import Hanoi, distance, next_move


@pytest.mark.parametrize(
    "world", [Hanoi(), Hanoi(disks=6), Hanoi(disks=4, start_from="full"), Hanoi(disks=20)]
)
def test_contract(world: Hanoi) -> None:
    report = check_environment(world, tasks=2)
    assert report.ok, format_report(report)


def neighbours(pegs: tuple[int, ...]) -> list[tuple[int, ...]]:
    found = []
    for disk, origin in enumerate(pegs):
        smaller = pegs[:disk]
        if origin in smaller:
            continue
        found += [(*smaller, to, *pegs[disk + 1 :]) for to in range(3) if to != origin and to not in smaller]
    return found


@pytest.mark.parametrize("disks", [2, 3, 5])
def test_distance_and_next_move_agree_with_breadth_first_search_everywhere(disks: int) -> None:
    goal = (2,) * disks
    exact = {goal: 0}
    queue = deque([goal])
    while queue:
        pegs = queue.popleft()
        for near in neighbours(pegs):
            if near not in exact:
                exact[near] = exact[pegs] + 1
                queue.append(near)
    assert len(exact) == 3**disks
    for pegs in product(range(3), repeat=disks):
        assert distance(pegs, 2) == exact[pegs]
        if pegs != goal:
            disk, target = next_move(pegs, 2)
            after = (*pegs[: disk - 1], target, *pegs[disk:])
            assert after in neighbours(pegs)
            assert exact[after] == exact[pegs] - 1


def test_full_tower_of_ten_takes_1023_moves() -> None:
    world = Hanoi(disks=10, start_from="full")
    env = world.make()
    env.reset(world.task("train", 0))
    count = 1
    while not env.step(env.parse(env.oracle())).terminated:
        count += 1
    assert count == 1023
    assert world.max_steps == 2046


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("move 3 from a to b", "disk 3 is not on top"),
        ("move 1 from b to a", "disk 1 is not on peg b"),
        ("move 1 from a to a", "a disk must go to another peg"),
        ("move 7 from a to b", "there is no disk 7"),
        ("move 1 from a to d", "expected: move DISK from PEG to PEG"),
    ],
)
def test_illegal_moves_have_a_reason(text: str, reason: str) -> None:
    world = Hanoi(start_from="full")
    env = world.make()
    index = next(i for i in range(99) if env.reset(world.task("train", i)).anchor == "000")
    env.reset(world.task("train", index))
    result = env.step(env.parse(text))
    assert (result.valid, result.reason) == (False, reason)
    assert result.observation.anchor == "000"


def test_onto_a_smaller_disk() -> None:
    world = Hanoi(start_from="full")
    env = world.make()
    index = next(i for i in range(99) if env.reset(world.task("train", i)).anchor == "000")
    env.reset(world.task("train", index))
    env.step(Action(text="move 1 from a to b"))
    assert env.step(Action(text="move 2 from a to b")).reason == "a disk must not lie on a smaller one"


def test_bad_options() -> None:
    with pytest.raises(ConfigError, match="'disks' is 1"):
        Hanoi(disks=1)
    with pytest.raises(ConfigError, match="start_from is 'middle'"):
        Hanoi(start_from="middle")
