"""Learning in rounds: the budget ends it, tests stand at even marks, and what is spent before counts."""

from __future__ import annotations

import pytest

from everystep.core.errors import ConfigError
from everystep.core.records import Trajectory
from everystep.environments.places.keydoor import KeyDoor
from everystep.learn.rounds import practise
from everystep.learn.student import Student


def student() -> Student:
    world = KeyDoor(side=3, horizon=5)
    words = [
        "take the key , then go to the door . actions : north south east west . you holding nothing 0 1 2"
    ]
    return Student.begin(world, words, size="0.02M", max_tokens=2)


def test_rounds_end_with_the_budget_and_tests_stand_at_even_marks() -> None:
    agent = student()
    shares: list[float] = []
    tests: list[int] = []

    def attempt(number: int) -> list[Trajectory]:
        return agent.attempt([agent.world.task("train", number)], group_size=2)

    def learn(made: list[Trajectory], share: float) -> dict[str, float]:
        shares.append(share)
        return {"made": float(len(made)), "share": share} if share < 0.5 else {"made": float(len(made))}

    def test() -> dict[str, float]:
        tests.append(agent.ledger.environment_steps)
        return {"success": 0.25}

    rows = practise(agent, steps=40, attempt=attempt, learn=learn, test=test, tests=2)
    spent = agent.ledger.environment_steps
    assert 40 <= spent < 50
    assert [row["environment_steps"] for row in rows] == tests
    assert tests[0] == 0
    assert tests[2] == spent
    assert 20 <= tests[1] < 30
    assert rows[0] == {"environment_steps": 0.0, "success": 0.25}
    assert rows[1]["made"] == 2.0
    assert shares[0] == 0.0
    assert shares == sorted(shares)
    assert max(shares) < 1.0


def test_what_was_spent_before_counts() -> None:
    agent = student()
    agent.ledger.add(environment_steps=30)
    rows = practise(
        agent,
        steps=40,
        attempt=lambda number: agent.attempt([agent.world.task("train", number)]),
        learn=lambda made, share: {"share": share},
        test=lambda: {"success": 0.0},
        tests=1,
    )
    assert [row["environment_steps"] >= 30 for row in rows] == [True, True]
    assert rows[1]["share"] >= 0.75
    with pytest.raises(ConfigError, match="tests"):
        practise(agent, steps=1, attempt=lambda _: [], learn=lambda *_: {}, test=dict, tests=0)
