"""A teacher paid by its student's gain: leave-one-out, attribution, promotion, and a scripted student that only the right problems help."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import log
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.errors import ConfigError, StoreError
from everystep.evolve.teaching import Choice, Menu, Promotion, credit_of, leave_one_out, lessons


def test_leave_one_out() -> None:
    assert leave_one_out([0.2, 0.1]) == pytest.approx([0.1, -0.1])
    assert leave_one_out([3.0]) == [0.0]
    assert leave_one_out([0.0, 0.0, 0.3]) == pytest.approx([-0.15, -0.15, 0.3])


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8))
def test_leave_one_out_sums_to_zero_and_is_the_centred_reward_scaled(rewards: list[float]) -> None:
    found, mean, size = leave_one_out(rewards), sum(rewards) / len(rewards), len(rewards)
    assert sum(found) == pytest.approx(0, abs=1e-9)
    assert found == pytest.approx([(one - mean) * size / (size - 1) for one in rewards], abs=1e-9)


def test_promotion_by_the_moving_average_over_three() -> None:
    rule = Promotion()
    assert [rule.add(one) for one in (0.0, 0.015, 0.01)] == [False, False, False]  # mean 0.0083
    assert rule.add(0.0051)  # mean of the last three 0.01003
    assert [rule.add(one) for one in (0.0, 0.0, 0.0)] == [False] * 3
    assert rule.add(0.031)  # the mean is over the last three, whatever happened before
    afresh = Promotion(afresh=True)
    assert [afresh.add(0.5) for _ in range(6)] == [False, False, True, False, False, True]


def test_exactly_at_the_threshold_nobody_moves_on() -> None:
    rule = Promotion(window=1, threshold=0.25)
    assert not rule.add(0.25)
    assert rule.add(0.2500001)


def test_a_dumped_rule_goes_on() -> None:
    one, other = Promotion(), Promotion()
    one.add(0.02), one.add(0.02)
    other.load(json.loads(json.dumps(one.dump())))
    assert one.add(0.0) is other.add(0.0) is True
    with pytest.raises(StoreError):
        other.load({"a": 1})


def test_every_proposal_gets_the_credit_of_its_whole_data_set() -> None:
    trained: list[tuple[tuple[str, ...], int]] = []

    def train(data: Sequence[str], number: int) -> tuple[str, int]:
        trained.append((tuple(data), number))
        return "".join(data), number

    def accuracy(student: tuple[str, int]) -> float:
        return student[0].count("x") / 10 + student[1] / 100

    made = lessons(
        [["x", "y"], ["y", "z"], ["x", "x"]], train=train, accuracy=accuracy, before=0.05, students=2
    )
    assert len(trained) == 6
    assert [one.reward for one in made] == pytest.approx([0.055, -0.045, 0.155])
    assert made[0].student == ("xy", 1)  # the better of the two
    credit = credit_of(made)
    assert [name for name, _ in credit] == ["x", "y", "y", "z", "x", "x"]
    assert [value for _, value in credit] == pytest.approx([0.0, 0.0, -0.15, -0.15, 0.15, 0.15])


def test_a_menu_learns_by_the_gradient_of_the_log_probability() -> None:
    menu = Menu({"a": (1, 2, 3), "b": ("x", "y")}, learning_rate=0.3)
    menu.learn([(0, 1), (2, 1)], [1.0, -1.0])
    # gradient of log p(a=0) - log p(a=2), halved: (1, 0, -1) / 2; for b it cancels
    chances = menu.probabilities("a")
    assert log(chances[0] / chances[1]) == pytest.approx(0.15)
    assert log(chances[1] / chances[2]) == pytest.approx(0.15)
    assert menu.probabilities("b") == [0.5, 0.5]
    assert menu.values((2, 0)) == {"a": 3, "b": "x"}


def test_entropy_is_the_sum_over_factors_and_the_bonus_raises_it() -> None:
    menu = Menu({"a": (1, 2), "b": (1, 2, 3, 4)}, learning_rate=1.0)
    assert menu.entropy() == pytest.approx(log(8))
    menu.learn([(0, 0)], [5.0])
    low = menu.entropy()
    menu.entropy_bonus = 1.0
    for _ in range(50):
        menu.learn([(0, 0)], [0.0])
    assert low < menu.entropy() == pytest.approx(log(8), abs=1e-2)


def test_a_dumped_menu_draws_the_same() -> None:
    one, other = (Menu({"a": tuple(range(9))}, seed=7) for _ in range(2))
    one.learn(one.draw(3), [1.0, 0.5, -1.0])
    other.load(json.loads(json.dumps(one.dump())))
    assert one.draw(20) == other.draw(20)
    with pytest.raises(StoreError, match="factors"):
        Menu({"a": (1, 2)}).load(one.dump())
    with pytest.raises(ConfigError):
        one.learn([(0,)], [])


def test_a_scripted_student_is_taught_what_it_can_just_not_do() -> None:
    """The student learns level d only from problems of level d when it knows d - 1; the hard set is level 4. A teacher paid by the gain finds the next
    level again and again; one that always proposes the hard level gets nowhere."""

    def run(teacher: Menu, outer: int) -> tuple[int, int]:
        level, promoted, rule, rng = 0, 0, Promotion(window=1, threshold=0.01), Random(0)

        def train(data: Sequence[Choice], number: int) -> int:
            right = sum(choice[0] == level for choice in data)
            return level + (rng.random() < right / len(data))

        for _ in range(outer):
            datasets = [teacher.draw(4) for _ in range(6)]
            made = lessons(datasets, train=train, accuracy=lambda one: one / 4, before=level / 4)
            choices, credit = zip(*credit_of(made), strict=True)
            teacher.learn(choices, credit)
            if rule.add(sum(one.reward for one in made) / len(made)):
                level = max(made, key=lambda one: one.reward).student
                promoted += 1
            if level == 4:
                break
        return level, promoted

    assert run(Menu({"level": (0, 1, 2, 3)}, learning_rate=4.0, seed=1), 60) == (4, 4)
    hard = Menu({"level": (0, 1, 2, 3)})
    hard.load({"logits": {"level": [-50.0, -50.0, -50.0, 0.0]}, "drawn": 0})
    assert run(hard, 60) == (0, 0)
