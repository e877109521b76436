"""Episodes of exact worlds as JSON: small, complete, and refused where they do not fit."""

from __future__ import annotations

import json

import pytest

from everystep.core.codec import dumps
from everystep.core.errors import WorldError
from everystep.core.protocols import Portable
from everystep.environments.catalog import world
from everystep.environments.places.hanoi import Hanoi


@pytest.mark.parametrize("name", ["boxoban", "hanoi", "household", "keydoor", "stepmath", "toolchain"])
def test_only_what_changed_is_kept(name: str) -> None:
    made = world(name)
    env = made.make()
    assert isinstance(env, Portable)
    env.reset(made.task("train", 0))
    assert env.dump() == {}
    env.step(env.parse(env.oracle()))  # type: ignore[attr-defined]
    assert 0 < len(dumps(env.dump())) < 300


def test_the_step_limit_goes_with_the_episode() -> None:
    made = Hanoi(disks=3, horizon=3)
    env, other = made.make(), made.make()
    task = made.task("train", 0)
    env.reset(task)
    for _ in range(2):
        env.step(env.parse("nonsense"))
    assert other.load(task, json.loads(dumps(env.dump()))).text.startswith("nothing happens")
    assert other.step(other.parse("nonsense")).truncated
    ended = other.dump()
    env.load(task, ended)
    with pytest.raises(WorldError, match="has ended"):
        env.step(env.parse("nonsense"))


@pytest.mark.parametrize(
    "state",
    [
        [],
        "x",
        {"turns": 1},
        {"state": {"peg": []}},
        {"state": {"pegs": "abc"}},
        {"state": {"pegs": [7]}},
        {"turn": "1"},
    ],
)
def test_a_state_that_does_not_fit_is_refused(state: object) -> None:
    made = Hanoi(disks=3)
    env = made.make()
    with pytest.raises(WorldError, match=r"no state of task 'hanoi:train:0'"):
        env.load(made.task("train", 0), state)  # type: ignore[arg-type]


def test_nothing_to_dump_before_an_episode() -> None:
    with pytest.raises(WorldError, match="Call reset first"):
        Hanoi().make().dump()
