"""ModChain: the contract, answers read strictly, what operators do, and a hasty scripted answer."""

from __future__ import annotations

from random import Random

import pytest

from everystep.core.errors import ConfigError
from everystep.core.protocols import Transition
from everystep.core.records import Task
from everystep.environments.check import check_environment
from everystep.environments.reasoning.modchain import OPERATORS, ModChain, hasty

WORLD = ModChain(steps=3, operators="-*", base=5, places=4)


def once(task: Task, text: str) -> Transition:
    environment = WORLD.make()
    environment.reset(task)
    return environment.step(environment.parse(text))


@pytest.mark.parametrize("world", [ModChain(), WORLD, ModChain(steps=8, operators="".join(OPERATORS))])
def test_the_contract_holds(world: ModChain) -> None:
    assert check_environment(world, tasks=2).broken == ()


def test_only_all_running_values_count() -> None:
    task = WORLD.task("train", 0)
    right = str(task.reference)
    assert once(task, right).reward == 1.0
    values = [int(one) for one in right.split()[1::2]]
    off = [*values[:2], (values[2] + 1) % 5]
    made = once(task, " ".join(f"= {one}" for one in off))
    assert (made.reward, made.terminated, made.success) == (0.0, True, False)
    assert made.scores["right"] == pytest.approx(2 / 3)
    assert once(task, f"{right} = 1").reward == 0.0
    assert once(task, " ".join(right.split()[:4])).reward == 0.0


@pytest.mark.parametrize("text", ["", "1 2 3", "= 1 = x", "= 12 = 3 =", "=" * 500, "= 1 = \uff12"])
def test_what_is_no_answer_is_refused(text: str) -> None:
    made = once(WORLD.task("train", 1), text)
    assert (made.valid, made.reward, made.terminated) == (False, 0.0, True)


def test_questions_have_the_same_number_of_places() -> None:
    lengths = set()
    for steps in (1, 2, 4):
        environment = ModChain(steps=steps, operators="+", base=5, places=4).make()
        world = ModChain(steps=steps, operators="+", base=5, places=4)
        lengths.add(len(environment.reset(world.task("train", 0)).text.split()))
    assert lengths == {9}


def test_a_hasty_answer_takes_every_operator_for_a_plus() -> None:
    task = WORLD.task("train", 2)
    problem = WORLD.start(task).problem
    value, values = problem.first, []
    for _, operand in problem.steps:
        value = (value + operand) % 5
        values.append(value)
    assert hasty(task, WORLD, right=0.0, rng=Random(0)) == " ".join(f"= {one}" for one in values)
    assert hasty(task, WORLD, right=1.0, rng=Random(0)) == task.reference


@pytest.mark.parametrize(
    "options", [{"steps": 9}, {"base": 1}, {"operators": ""}, {"operators": "?"}, {"places": 0}]
)
def test_options_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        ModChain(**options)  # type: ignore[arg-type]
