"""SEAgent's parts: what the judge's report gives, the rewards and the loss of bad steps by numbers, equal budgets, who is tested where."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from everystep.credit.overlap import character_bleu
from everystep.environments.screengrid.kinds import KINDS
from everystep.environments.screengrid.proposals import first_screens, goals_of, noted
from everystep.environments.screengrid.steps import beside
from everystep.environments.screengrid.world import ScreenGrid
from everystep.learn.losses import avoid_terms
from everystep.learn.pairs import avoid_samples, avoided_mass, with_reference
from everystep.recipes import seagent
from everystep.recipes.seagent import (
    ARMS,
    AVOID,
    Config,
    direct,
    ensemble,
    everywhere,
    generalist,
    practise,
    report_of,
    reward,
    start,
    success_of,
    warm,
    world_of,
)
from everystep.verify.localise import Report, cut

TINY = Config(
    size="0.02M",
    demonstrations=40,
    errors=0.0,
    warm_updates=40,
    phases=2,
    goals=6,
    budget=300,
    tasks=4,
    attempts=2,
    positives=4,
    samples=4,
    minibatches=1,
    generalist_updates=2,
    test_tasks=8,
    wrong=0.0,
)


def test_published_numbers_of_the_loss_and_of_the_reward() -> None:
    new, reference = torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([-1.2, -1.5, -0.5])
    assert AVOID * float(avoid_terms(new, reference).mean()) == pytest.approx(0.131024, abs=1e-6)
    assert character_bleu("hello world", "hello word") == pytest.approx(0.807056, abs=1e-6)
    assert character_bleu("ctrl c", "ctrl v") == pytest.approx(0.759836, abs=1e-6)
    assert character_bleu("ok", "ok") == 0.0


def test_a_demonstration_is_all_good_and_an_error_is_where_it_was_made() -> None:
    student, world = warm(TINY, 0).copy(), world_of(TINY)
    tasks = [world.task("train", index) for index in range(60)]
    for one in student.demonstrate(tasks):
        report = report_of(beside(world, one), one, 0.0, 0)
        assert report == Report(correct=True)
        assert cut(report, len(one.steps)).positive == tuple(range(len(one.steps)))
    failed = [one for one in student.demonstrate(tasks, error_rate=0.3, name="bent") if not one.success]
    assert failed
    for one in failed:
        report = report_of(beside(world, one), one, 0.0, 0)
        assert not report.correct
        if report.first_error is not None:
            assert one.steps[report.first_error - 1].scores["closer"] == 0.0
        parts = cut(report, len(one.steps))
        assert all(one.steps[at].scores["closer"] > 0 for at in parts.positive)
        assert parts.negative is None or one.steps[parts.negative].scores["closer"] == 0.0


def test_the_reward_is_two_for_the_good_step_one_and_more_for_a_click_nothing_for_another_kind() -> None:
    student, world = warm(TINY, 0).copy(), world_of(TINY)
    [made] = student.demonstrate([world.task("train", 3)])
    place = next(one for one in beside(world, made) if one.right.startswith("tap "))
    clicks = [one.id for one in place.view.elements if one.id.startswith("tap ") and one.id != place.right]
    assert reward(place.right, place) == 2.0
    assert all(1.0 <= reward(other, place) < 2.0 for other in clicks)
    assert reward("done", place) == 0.0
    assert reward("tap zebra", place) == 0.0


def test_the_mass_on_bad_steps_is_their_probability_and_learning_to_avoid_them_lowers_it() -> None:
    student = warm(TINY, 0).copy()
    made = student.attempt([student.world.task("train", index) for index in range(6)])
    steps = [one.steps[0] for one in made if one.steps[0].tokens]
    rows = avoid_samples(made, [step.id for step in steps], restrict=True)
    told = [math.exp(sum(step.tokens.logprobs)) for step in steps if step.tokens]
    before = avoided_mass(student.learner, rows)
    assert before == pytest.approx(sum(told) / len(told), rel=1e-4)
    scored = with_reference(rows, student.learner.score(rows))
    student.fit(scored, replace(seagent.LOSS, avoid=1.0), learning_rate=1e-2, epochs=3)
    assert avoided_mass(student.learner, rows) < before


def test_goals_grow_longer_and_more_of_them_can_be_done_with_a_document() -> None:
    world, apps = world_of(TINY), ["mail", "shop"]
    few = {app: noted(app, first_screens(world, apps)) for app in apps}
    every = {app: noted(app, list(_screens(world, app)), list(_kinds(app))) for app in apps}
    found = {
        (name, phase): goals_of(world, known, count=40, hardness=phase, seed=0)
        for name, known in (("few", few), ("every", every))
        for phase in range(2)
    }
    assert found["every", 0][1] < found["few", 0][1]

    def steps(name: str, phase: int) -> float:
        tasks = found[name, phase][0]
        return sum(int(one.tags["steps"]) for one in tasks) / len(tasks)

    assert steps("every", 0) < steps("every", 1)


def _screens(world: ScreenGrid, app: str) -> set[str]:
    tasks = [world.task("train", index) for index in range(90)]
    walks = warm(TINY, 0).copy().demonstrate([one for one in tasks if one.tags["app"] == app])
    return {step.observation.text for one in walks for step in one.steps}


def _kinds(app: str) -> set[str]:
    return {kind.name for kind in KINDS[app]}


def test_arms_spend_the_same_and_specialists_practise_in_their_app_only() -> None:
    most = TINY.budget + 1000
    told = [
        start(TINY, 0),
        *(direct(TINY, ARMS[name], 0) for name in ("imitation", "GRPO + AFI")),
        ensemble(TINY, ARMS["GRPO + AFI"], 0),
        generalist(TINY, ARMS["GRPO + AFI"], 0, reinforce=True),
    ]
    assert len({tuple(one) for one in told}) == 1
    assert told[0]["environment_steps"] == 0.0
    assert all(TINY.budget <= one["environment_steps"] < most for one in told[1:])
    assert all(one["good_right"] == 1.0 for one in told[1:] if one["good_right"])
    made = practise(TINY, ARMS["GRPO + AFI"], warm(TINY, 0).copy(), ("shop",), 150, lambda _: 0.0)
    assert {one.task.tags["app"] for one in made.successes} <= {"shop"}
    alone = sum(success_of(TINY, {app: warm(TINY, 0)}) for app in TINY.apps.split(","))
    assert alone == pytest.approx(success_of(TINY, everywhere(TINY, warm(TINY, 0))))
