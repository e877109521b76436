"""The replay of successes: PAE's percentile of lengths, and what is sampled."""

from __future__ import annotations

import numpy as np
import pytest

from everystep.core.errors import ConfigError
from everystep.core.records import Action, End, Observation, Step, Task, Trajectory
from everystep.learn.replay import Replay, shortest


def _made(task: str, length: int) -> Trajectory:
    steps = tuple(
        Step(
            id=f"{task}{length}/{at}",
            parent=None,
            index=at,
            observation=Observation(text=""),
            action=Action(text="a"),
        )
        for at in range(length)
    )
    return Trajectory(
        id=f"{task}{length}",
        task=Task(id=task, instruction="", environment="e"),
        group=task,
        steps=steps,
        end=End.DONE,
    )


def test_the_published_case() -> None:
    """Lengths 5, 3, 9 of one task keep only 3: the 20th percentile is 3.8."""
    made = [_made("a", length) for length in (5, 3, 9)]
    assert [len(one.steps) for one in shortest(made)] == [3]
    assert [len(one.steps) for one in shortest([*made, _made("b", 12)])] == [3, 12]
    assert shortest(made, percentile=100) == made


def test_only_what_is_good_is_kept_and_the_latest_stay() -> None:
    replay = Replay(percentile=100, size=2)
    made = [_made(name, 2) for name in "abcd"]
    replay.add(made, [True, False, True, True])
    assert [one.task.id for one in replay.successes] == ["c", "d"]
    drawn = replay.sample(5, np.random.default_rng(0))
    assert sorted(one.task.id for one in drawn) == ["c", "d"]
    assert len(replay.sample(1, np.random.default_rng(0))) == 1


def test_bad_options() -> None:
    with pytest.raises(ConfigError, match="percentile"):
        Replay(percentile=120)
    with pytest.raises(ConfigError, match="size"):
        Replay(size=0)
