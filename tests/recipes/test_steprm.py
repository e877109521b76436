"""StepRM's arms: who judges, how often it is right, and that a reward model learns more than a coin knows."""

from __future__ import annotations

import pytest

from everystep.recipes.steprm import ARMS, Config, ground, said_by, trial

TINY = Config(size="0.03M", graded=150, rollouts=40, epochs=1, updates=2, test_tasks=4, seeds=1)


def test_oracle_judge_and_nobody_are_as_right_as_stated() -> None:
    shared = ground(TINY, 0)
    truth = shared.truth()

    def right(name: str) -> float:
        said = said_by(name, TINY, shared)
        return sum((said[step] > 0.5) == good for step, good in truth.items()) / len(truth)

    assert right("oracle") == 1.0
    assert right("judge") == pytest.approx(TINY.accuracy, abs=0.08)
    assert right("everything") == sum(truth.values()) / len(truth)


def test_reward_models_judge_every_step_with_a_share() -> None:
    shared = ground(TINY, 0)
    for name in ("words", "labels"):
        said = said_by(name, TINY, shared)
        assert set(said) == set(shared.truth())
        assert all(0 < share < 1 for share in said.values())
        assert len({round(share, 6) for share in said.values()}) > 5


def test_an_arm_reports_the_same_numbers_as_the_others() -> None:
    told = [trial(TINY, name, 0) for name in ARMS if name != "labels"]
    assert len({tuple(one) for one in told}) == 1
    assert told[1]["precision"] == told[1]["recall"] == 1.0
