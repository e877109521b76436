"""Mobile-R1's stages: their rewards, equal environment steps, and what the judge's noise does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from everystep.core.records import Action
from everystep.environments.screengrid.steps import beside
from everystep.recipes.mobile_r1 import (
    ARMS,
    Arm,
    Config,
    annotated,
    judge_of,
    step_reward,
    trained,
    trial,
    warm,
    world_of,
)
from everystep.verify.noise import Noise

TINY = Config(
    size="0.02M",
    annotated=24,
    warm_updates=3,
    budget=120,
    tasks=2,
    group_size=4,
    test_tasks=4,
    minibatches=1,
)


def test_a_step_is_paid_for_its_form_and_for_the_right_place() -> None:
    world = world_of(TINY)
    made = annotated(warm(TINY, 0), [world.task("train", 5)], 0.0)[0]
    [first, *_] = beside(world, made)
    assert first.step.action.text == first.right
    other = next(
        one.id for one in first.view.elements if one.id not in (first.right, "done") and one.kind != "key"
    )
    paid = {
        text: step_reward(world, replace(first, step=replace(first.step, action=Action(text=text))))
        for text in (first.right, other, "tap zebra", "tap tap tap")
    }
    assert paid == {first.right: 2.0, other: 1.0, "tap zebra": 1.0, "tap tap tap": 0.0}


def test_half_of_the_annotated_trajectories_hold_errors_and_find_back() -> None:
    world = world_of(TINY)
    made = annotated(warm(TINY, 0), [world.task("train", index) for index in range(40)], 0.3)
    wrong = [
        any(
            step.action.text != one.right for step, one in zip(made_.steps, beside(world, made_), strict=True)
        )
        for made_ in made
    ]
    assert not any(wrong[:20])
    assert sum(wrong[20:]) > 5
    assert all(step.tokens for one in made for step in one.steps)


@pytest.mark.parametrize("stages", [("imitate",), ("single",), ("whole",), ("single", "whole")])
def test_arms_spend_the_same_number_of_environment_steps(stages: tuple[str, ...]) -> None:
    student = trained(TINY, Arm(stages=stages), 0, 1e-3)
    most = TINY.group_size * student.limits.max_steps * TINY.tasks
    assert TINY.budget <= student.ledger.environment_steps < TINY.budget + most
    assert student.ledger.updates > 0


def test_the_start_is_only_tested_and_the_judge_errs_where_it_is_told_to() -> None:
    told = trial(TINY, ARMS["1"], 0, 1e-3)
    assert told["environment_steps"] == 0.0
    assert 0.0 < told["well_formed"] <= 1.0
    judge = judge_of(TINY, ARMS["1 + 2 + 3, noisy judge"], 0)
    assert isinstance(judge, Noise)
    assert judge.false_positive == judge.false_negative == TINY.false_rate
    assert not isinstance(judge_of(TINY, ARMS["1 + 2 + 3"], 0), Noise)
