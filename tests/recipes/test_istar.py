"""iStar on a tiny setting: where no state comes back GiGPO is GRPO, every arm does something else, and the study writes its table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from everystep.core.records import End, Trajectory
from everystep.credit.assess import assess
from everystep.credit.estimators import estimator
from everystep.learn.implicit_reward import implicit_scores
from everystep.learn.student import Student
from everystep.recipes import istar
from everystep.recipes.istar import ARMS, RELEASED, Config, agreement, attempts, learner_of, warm
from everystep.run.folder import RunFolder

TINY = Config(
    side=3,
    horizon=5,
    size="0.02M",
    demonstrations=24,
    warm_updates=4,
    steps=60,
    tasks=2,
    group_size=4,
    test_tasks=4,
    tests=1,
    seeds=2,
)


def after(name: str, rounds: int = 2, config: Config = TINY) -> np.ndarray:
    """The weights of the policy after a few rounds of an arm."""
    student = warm(config, 0).copy()
    learn = learner_of(student, config, {**ARMS, **RELEASED}[name], 1e-2)
    for number in range(rounds):
        learn(solved(student, config, number), 0.0)
    return np.concatenate([p.detach().numpy().ravel() for p in student.model.network.parameters()])


def solved(student: Student, config: Config, number: int) -> list[Trajectory]:
    """Episodes of which every second one is taken to have been solved, so that each group has both kinds."""
    made = attempts(student, config, 0, number)
    return [
        replace(one, outcome=10.0 * (at % 2), end=End.DONE if at % 2 else End.FAILED)
        for at, one in enumerate(made)
    ]


def test_where_no_state_comes_back_gigpo_is_grpo_exactly() -> None:
    student = warm(TINY, 0).copy()
    made = solved(student, TINY, 0)
    anchors = [step.observation.anchor for one in made for step in one.steps]
    assert len(set(anchors)) == len(anchors)
    _, plain = assess(made, estimator("grpo"))
    _, grouped = assess(made, estimator("gigpo"))
    np.testing.assert_array_equal(plain.value_S, grouped.value_S)
    assert np.abs(plain.value_S).max() > 0
    np.testing.assert_array_equal(after("grpo"), after("gigpo"))


def test_every_arm_learns_something_else() -> None:
    names = [name for name in (*ARMS, *RELEASED) if name != "gigpo"]
    found = [after(name) for name in names]
    for place, one in enumerate(found):
        for other in found[:place]:
            assert np.abs(one - other).max() > 1e-5, names


def test_at_equal_rms_the_advantages_are_as_large_as_those_of_grpo() -> None:
    student = warm(TINY, 0).copy()
    made = solved(student, TINY, 0)
    size = assess(made, estimator("grpo"))[1].diagnostics.rms
    scores = implicit_scores(student.learner.freeze(), made)
    rng = np.random.default_rng(0)
    _, credit = assess(
        made, estimator("istar"), scores={"implicit": scores + rng.normal(size=scores.size)}, match_rms=size
    )
    assert float(np.sqrt(np.mean(credit.value_S**2))) == pytest.approx(size)


def test_scores_that_are_the_progress_rank_it_perfectly() -> None:
    student = warm(TINY, 0).copy()
    tasks = [student.world.task("train", index) for index in range(8)]
    made = student.demonstrate(tasks, error_rate=0.5)
    progress = np.array([step.scores["progress"] for one in made for step in one.steps])
    assert np.ptp(progress) > 0
    found = agreement(made, progress)
    assert found["rank"] == pytest.approx(1.0)
    assert found.get("same_state", 1.0) == 1.0
    assert agreement(made, -progress)["rank"] == pytest.approx(-1.0)
    assert agreement(made, np.zeros(progress.size))["rank"] == 0.0


def test_the_study_writes_its_table_and_its_plot(tmp_path: Path) -> None:
    told = istar.run(TINY, RunFolder(path=tmp_path))
    assert {"area grpo", "end istar", "area istar, equal RMS"} <= told.keys()
    assert told["area grpo"] == told["area gigpo"]
    assert told["end grpo"] == told["end gigpo"]
    report = (tmp_path / "report.md").read_text()
    assert "same_state" in report
    assert (tmp_path / "istar.svg").stat().st_size > 1000
    assert len((tmp_path / "trials.jsonl").read_text().splitlines()) == 2 * len(ARMS)
