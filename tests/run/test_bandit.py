"""Bandits: bookkeeping, and that learning rules lose less than choosing evenly."""

from __future__ import annotations

from math import log, sqrt
from random import Random

import pytest

from everystep.core.errors import ConfigError, StoreError
from everystep.run.bandit import Bandit, Choice

RATES = {"a": 0.1, "b": 0.2, "c": 0.5, "d": 0.15, "e": 0.05}


def regret(choice: Choice, seed: int, pulls: int = 600) -> float:
    bandit, random = Bandit(list(RATES), choice=choice, seed=seed), Random(1000 + seed)
    for _ in range(pulls):
        arm = bandit.choose()
        bandit.update(arm, float(random.random() < RATES[arm]))
    return sum((max(RATES.values()) - RATES[name]) * arm.pulls for name, arm in bandit.arms.items())


@pytest.mark.parametrize("choice", [Choice.UCB, Choice.THOMPSON, Choice.GREEDY])
def test_learning_rules_lose_less_than_choosing_evenly(choice: Choice) -> None:
    evenly = sum(max(RATES.values()) - rate for rate in RATES.values()) * 600 / len(RATES)
    assert regret(Choice.UNIFORM, 0) == pytest.approx(evenly)
    assert sum(regret(choice, seed) for seed in range(10)) / 10 < 0.75 * evenly


def test_ucb_pulls_each_arm_once_and_then_the_greatest_bound() -> None:
    bandit = Bandit(["a", "b", "c"])
    for name, reward in (("a", 0.0), ("b", 1.0), ("c", 0.5)):
        assert bandit.choose() == name
        bandit.update(name, reward)
    assert bandit.choose() == "b"
    for _ in range(3):
        bandit.update("b", 1.0)
    bounds = {n: (arm.mean or 0) + sqrt(2) * sqrt(log(6) / arm.pulls) for n, arm in bandit.arms.items()}
    assert bandit.choose() == max(bounds, key=bounds.__getitem__) == "c"


@pytest.mark.parametrize("choice", list(Choice))
def test_the_same_seed_makes_the_same_choices(choice: Choice) -> None:
    runs = []
    for _ in range(2):
        bandit, chosen = Bandit(list(RATES), choice=choice, seed=3), []
        for number in range(50):
            chosen.append(bandit.choose())
            bandit.update(chosen[-1], float(number % 3 == 0))
        runs.append(chosen)
    assert runs[0] == runs[1]


def test_counts_are_stored_and_come_back() -> None:
    one, two = Bandit(["a", "b"]), Bandit(["a", "b"])
    for reward in (1.0, 0.0, 0.5):
        one.update(one.choose(), reward)
    two.load(one.dump())  # type: ignore[arg-type]
    assert (two.arms, two.pulls, two.choose()) == (one.arms, one.pulls, one.choose())
    with pytest.raises(StoreError, match="stored arms"):
        two.load({"a": [1, 1]})


def test_what_makes_no_sense_is_refused() -> None:
    for arms in ([], ["a", "a"]):
        with pytest.raises(ConfigError, match="arms"):
            Bandit(arms)
    with pytest.raises(ConfigError, match="Did you mean 'probe'"):
        Bandit(["probe"]).update("prope", 1.0)
    with pytest.raises(ConfigError, match="from 0 to 1"):
        Bandit(["a"]).update("a", float("nan"))
