"""A world in which something may be said before an action, and solutions in text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.errors import ConfigError, WorldError
from everystep.core.protocols import Oracle, Snapshots
from everystep.core.records import Task
from everystep.environments.check import check_environment
from everystep.environments.places.hanoi import Hanoi
from everystep.environments.places.keydoor import KeyDoor
from everystep.environments.reasoning.solutions import Solutions, same_text
from everystep.environments.reflecting import MARK, Reflecting

WORLD = Reflecting(world=KeyDoor(side=3), sayings=("that was wrong", "so far so good"))
SUM = Task(id="sum", instruction="2 + 3?", environment="solutions", reference="5")


def test_it_keeps_the_contract_of_environments() -> None:
    report = check_environment(WORLD)
    assert report.broken == (
        "tasks are pure",
    )  # that clause builds the world from flat options; this one holds another world


@given(st.text(max_size=40).filter(lambda text: MARK not in text))
def test_what_is_said_changes_nothing(said: str) -> None:
    plain, told = KeyDoor(side=3).make(), WORLD.make()
    task = WORLD.task("train", 3)
    plain.reset(task)
    told.reset(task)
    for _ in range(3):
        act = plain.oracle()
        one, other = plain.step(plain.parse(act)), told.step(told.parse(f"{said}{MARK}{act}"))
        assert (one.observation.text, one.reward, one.valid) == (
            other.observation.text,
            other.reward,
            other.valid,
        )
        if one.terminated:
            break


def test_what_may_be_written_is_listed() -> None:
    seen = WORLD.make().reset(WORLD.task("train", 0))
    plain = KeyDoor(side=3).make().reset(WORLD.task("train", 0)).admissible or ()
    assert seen.admissible == (
        *plain,
        *(f"that was wrong{MARK}{act}" for act in plain),
        *(f"so far so good{MARK}{act}" for act in plain),
    )
    environment = WORLD.make()
    environment.reset(WORLD.task("train", 0))
    assert not environment.parse(f"{plain[0]}{MARK}fly").valid  # the last part is the action
    assert environment.parse(f"x{MARK}{plain[0]}").text == f"x{MARK}{plain[0]}"


def test_abilities_are_those_of_the_world() -> None:
    assert isinstance(WORLD.make(), Oracle)
    assert isinstance(WORLD.make(), Snapshots)
    bare = Reflecting(world=Solutions(tasks=(SUM,))).make()
    assert not isinstance(bare, Oracle | Snapshots)
    environment = WORLD.make()
    first = environment.reset(WORLD.task("train", 1))
    state = environment.snapshot()  # type: ignore[attr-defined]
    environment.step(environment.parse((first.admissible or ())[0]))
    assert environment.restore(state) == first  # type: ignore[attr-defined]


def test_a_mark_inside_of_a_saying_is_refused() -> None:
    with pytest.raises(ConfigError, match="mark"):
        Reflecting(world=Hanoi(), sayings=(f"a{MARK}b",))


def test_a_solution_ends_with_its_answer() -> None:
    environment = Solutions(tasks=(SUM,), max_steps=3).make()
    environment.reset(SUM)
    assert not environment.step(environment.parse("2 + 3 = 5")).terminated
    last = environment.step(environment.parse("so\nThe final answer is: 5."))
    assert (last.terminated, last.success, last.reward) == (True, True, 1.0)
    with pytest.raises(WorldError, match="reset"):
        environment.step(environment.parse("more"))
    environment.reset(SUM)
    assert environment.step(environment.parse("answer: 6")).success is False
    environment.reset(SUM)
    assert environment.step(environment.parse("  ")).valid is False
    environment.step(environment.parse("a"))
    assert environment.step(environment.parse("b")).truncated


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("5", "5.0", True),
        ("1,000", "1000", True),
        ("A b", "ab", True),
        ("5", "6", False),
        ("nan", "1", False),
    ],
)
def test_answers_are_compared(one: str, other: str, same: bool) -> None:
    assert same_text(one, other) is same


def test_solutions_need_tasks_and_a_named_answer() -> None:
    with pytest.raises(ConfigError, match="tasks"):
        Solutions(tasks=())
    with pytest.raises(ConfigError, match="answer"):
        Solutions(tasks=(SUM,), final="x")
