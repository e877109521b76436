"""ExIt on a tiny setting: equal cost of all arms, histories that grow, a factor on advantages, and the numbers of a curve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from everystep.credit.estimators import estimator
from everystep.environments.reasoning.revise import Revise, revision
from everystep.recipes import exit as recipe
from everystep.recipes.exit import ARMS, Config, going_on, learned, numbers, source_of, spread, warm
from everystep.run.folder import RunFolder

TINY = Config(
    values=3, base=3, size="0.02M", demonstrations=40, rule_updates=3, habit_updates=2, iterations=5, groups=4,
    group_size=2, depth=2, least=2, rounds=2, test_tasks=3, seeds=1,
)  # fmt: skip


def test_the_study_runs_and_all_arms_cost_the_same(tmp_path: Path) -> None:
    told = recipe.run(TINY, RunFolder(path=tmp_path))
    assert {f"last {name}" for name in ARMS} <= set(told)
    assert (tmp_path / "exit.svg").stat().st_size > 1000
    spent = {name: learned(TINY, arm, 0, 1e-3)[0].ledger for name, arm in ARMS.items() if arm.trained}
    assert {one.environment_steps for one in spent.values()} == {5 * 4 * 2}
    assert {one.updates for one in spent.values()} == {5}


def test_only_arms_with_histories_start_behind_answers() -> None:
    config = replace(TINY, iterations=12, share=1.0)
    deepest = {name: learned(config, arm, 0, 1e-3)[1]["deepest"] for name, arm in ARMS.items()}
    assert deepest["base tasks"] == deepest["warm start"] == 0
    assert deepest["fixed depth"] == 1
    assert deepest["improve"] >= 2


def test_a_history_is_continued_behind_its_last_answer_and_reads_nothing_else() -> None:
    student = warm(TINY, 0)
    task = student.world.task("train", 0)
    step = student.test([task])[1][0].steps[0]
    steps = tuple(replace(step, action=replace(step.action, text=text)) for text in ("1 1 1", "2 0 1"))
    start = going_on(task, steps, "diverge")
    assert start.task == revision(task, "2 0 1", mode="diverge")
    assert start.steps == ()
    assert source_of(TINY, ARMS["improve"], 0).modes["diverge"] == 0.0
    assert source_of(TINY, ARMS["fixed depth"], 0).share == 0.0


def test_chains_share_the_quality_of_their_end() -> None:
    student = warm(TINY, 0).copy()
    tasks = [student.world.task("train", index) for index in range(2)]
    made = recipe.chains(student, tasks, TINY)
    assert len(made) == 2 * TINY.group_size * TINY.depth
    count = len(made) // TINY.depth
    assert [one.outcome for one in made[:count]] == [one.outcome for one in made[count:]]
    assert [one.outcome for one in made[count:]] == [one.steps[-1].scores["quality"] for one in made[count:]]
    assert len({one.id for one in made}) == len(made)
    credit = student.credited(made, estimator("grpo")).credit
    assert credit.value_S.sum() == pytest.approx(0, abs=1e-6)


def test_the_odd_one_out_is_the_farthest() -> None:
    student = warm(TINY, 0)
    one = student.test([student.world.task("train", 0)])[1][0]
    said = [replace(one, id=str(n), steps=(replace(one.steps[0], action=replace(one.steps[0].action, text=text)),))
            for n, text in enumerate(("1 1 1", "1 1 1", "2 0 0"))]  # fmt: skip
    assert spread(said, Revise(values=3, base=3)) == [0.0, 0.0, 1.0]


def test_numbers_of_a_curve() -> None:
    found = numbers([0.1, 0.2, 0.3, 0.5, 0.7], 3)
    assert (found["first"], found["at_depth"], found["last"]) == (0.1, 0.3, 0.7)
    assert found["slope"] == pytest.approx(0.2)
