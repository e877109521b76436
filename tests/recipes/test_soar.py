"""SOAR on a tiny setting: equal cost with all inner loops, students that are thrown away, disjoint sets, and rewards of one size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from everystep.evolve.teaching import Promotion
from everystep.recipes import soar
from everystep.recipes.soar import STEPS, Config, School, grounded, learned, menu_of, scaled
from everystep.run.folder import RunFolder

TINY = Config(
    base=3, places=2, known="+-*", hard="-*", size="0.02M", demonstrations=40, rule_updates=3, habit_updates=2, budget=16,
    datasets=2, proposals=2, inner=4, batch=4, group_size=2, hard_train=6, subsample=4, hard_test=5, seeds=1,
)  # fmt: skip
LEARNABLE = replace(
    TINY, demonstrations=200, rule_updates=60, habit_updates=20, right=0.5, batch=8, group_size=8
)


def test_the_study_runs(tmp_path: Path) -> None:
    told = soar.run(TINY, RunFolder(path=tmp_path))
    assert {f"final {name}" for name in STEPS} <= set(told)
    assert (tmp_path / "soar.svg").stat().st_size > 1000


def test_all_arms_cost_the_same_inner_loops_included() -> None:
    found = {name: learned(TINY, name, 0, 1e-3)[0] for name in STEPS}
    assert {one["updates"] for one in found.values()} == {16.0}
    assert {one["attempts"] for one in found.values()} == {16.0 * 4 * 2}
    assert found["grounded"]["lineage"] <= 16 / TINY.datasets
    assert found["uniform"]["lineage"] == 16


class Always(Promotion):
    """Promotes whenever it is told to."""

    def __init__(self, answer: bool) -> None:
        super().__init__()
        self.answer = answer

    def add(self, reward: float) -> bool:
        return self.answer


@pytest.mark.parametrize("promotes", [False, True])
def test_without_promotion_the_student_is_as_it_was(promotes: bool) -> None:
    school = School(LEARNABLE, 0, 1e-2)  # so that some answers are right
    before = school.student.learner.snapshot()
    grounded(school, menu_of(LEARNABLE, 0), 0, Always(promotes))
    after = school.student.learner.snapshot()
    same = all(bool((before.weights[name] == after.weights[name]).all()) for name in before.weights)
    assert same is not promotes
    assert before.updates + promotes <= after.updates <= before.updates + promotes * LEARNABLE.inner
    assert before.moments.keys() == after.moments.keys()
    if not promotes:
        assert all(
            bool((value == after.moments[name][key]).all())
            for name, some in before.moments.items()
            for key, value in some.items()
        )
    assert (
        school.student.ledger.updates == LEARNABLE.datasets * LEARNABLE.inner
    )  # what was thrown away is charged
    assert school.lineage == promotes * LEARNABLE.inner


def test_promotion_and_evaluation_sets_are_disjoint() -> None:
    school = School(replace(TINY, base=5, places=4, hard_train=64, hard_test=64), 0, 1e-3)
    environment = school.student.world.make()
    shown = [{environment.reset(task).text for task in tasks} for tasks in (school.train, school.test)]
    assert not shown[0] & shown[1]
    assert not {task.id for task in school.train} & {
        task.id for task in school.problems({"steps": 4, "operators": "-*"}, 50)
    }


def test_every_problem_of_a_lesson_is_of_a_proposed_kind() -> None:
    school, menu = School(TINY, 0, 1e-3), menu_of(TINY, 0)
    rates = school.lesson(menu, [(0, 0), (1, 1)])
    assert len(rates) == 2
    assert all(0 <= rate <= 1 for rate in rates)
    assert school.student.ledger.updates == TINY.inner


def test_credit_is_scaled_to_one_size_and_zeros_stay() -> None:
    assert scaled([0.0, 0.0]) == [0.0, 0.0]
    assert scaled([0.03, -0.03]) == [1.0, -1.0]
