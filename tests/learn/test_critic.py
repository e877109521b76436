"""The critic: where values stand, what they are trained towards, and that the loop honours its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import small
from everystep.core.errors import ConfigError, LearnerError
from everystep.core.ledger import Ledger
from everystep.core.protocols import Loss, Sampling
from everystep.core.records import End, Sample, Trajectory
from everystep.credit.assess import assess
from everystep.credit.estimators import estimator
from everystep.environments.catalog import world
from everystep.learn.critic import (
    AFTER,
    VALUE,
    critic_scores,
    decisions,
    explained,
    value_targets,
    with_targets,
)
from everystep.learn.learner import LocalLearner, LocalOptions
from everystep.learn.samples import sample_of
from everystep.learn.training import units_of
from everystep.models.local import LocalModel, LocalSampler
from everystep.models.tiny import tiny_model
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Limits, jobs_of, rollout

CRITIC: dict[str, Any] = {"tasks": 9, "group_size": 1}
TEXT = "you door key go left right up down take open the a wall at is of steps"


def walks(model: LocalModel, max_steps: int) -> list[Trajectory]:
    keydoor = world("keydoor", side=3, horizon=9)
    tasks = [keydoor.task("train", index) for index in range(4)]
    return rollout(
        LocalHosts(keydoor),
        LocalSampler(model, policy="tiny"),
        jobs_of(tasks, group_size=2, prefix="x", seed=3),
        sampling=Sampling(),
        limits=Limits(max_steps=max_steps),
        ledger=Ledger(),
    )


def rows_of(trajectories: list[Trajectory]) -> list[Sample]:
    return [sample_of(one, [1.0] * len(one.steps)) for one in trajectories]


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return tiny_model([TEXT], size="0.02M", characters=True)


@pytest.fixture(scope="module")
def learner(model: LocalModel) -> LocalLearner:
    """A learner whose critic has learned something, so that its values differ from state to state."""
    learner = LocalLearner(model.network, options=LocalOptions(value_head=True))
    rows = rows_of(walks(model, 3))
    rng = np.random.default_rng(0)
    rows = [with_targets(row, rng.normal(size=len(decisions(row))).tolist()) for row in rows]
    errors = []
    for _ in range(12):
        errors.append(learner.forward_backward(rows, Loss(value=1.0))["value_error"])
        learner.optim_step(learning_rate=1e-2)
    assert errors[-1] < errors[0]
    return learner


def test_an_episode_that_was_cut_off_is_valued_at_what_it_would_have_read_next(
    model: LocalModel, learner: LocalLearner
) -> None:
    long = walks(model, 5)
    short = walks(model, 4)
    assert {one.end for one in short} == {End.TRUNCATED}
    for one, other in zip(short, long, strict=True):
        assert [step.action.text for step in one.steps] == [step.action.text for step in other.steps[:4]]
    cut = critic_scores(learner, short, rows_of(short), model.template)
    whole = critic_scores(learner, long, rows_of(long), model.template)
    values = whole[VALUE].reshape(len(long), 5)
    np.testing.assert_allclose(cut[VALUE].reshape(-1, 4), values[:, :4], atol=1e-5)
    after = cut[AFTER].reshape(-1, 4)
    np.testing.assert_allclose(after[:, 3], values[:, 4], atol=1e-5)
    assert np.isnan(after[:, :3]).all()
    assert np.ptp(values) > 0.01


def test_targets_are_the_lambda_return(model: LocalModel, learner: LocalLearner) -> None:
    """With trace 0 one step ahead, with trace 1 everything that came and the value of where it was cut off."""
    short = walks(model, 3)
    rows = rows_of(short)
    credit = estimator("gae", discount=0.9, trace=0.7)
    table, _ = assess(short, credit, scores=critic_scores(learner, short, rows, model.template))
    value, after = table.score(VALUE), table.score(AFTER)
    reward = table.reward_S
    ahead = value_targets(table, discount=0.9, trace=0.0)
    np.testing.assert_allclose(ahead[0::3], reward[0::3] + 0.9 * value[1::3])
    np.testing.assert_allclose(ahead[2::3], reward[2::3] + 0.9 * after[2::3])
    far = value_targets(table, discount=0.9, trace=1.0)
    wanted = reward[0::3] + 0.9 * (reward[1::3] + 0.9 * (reward[2::3] + 0.9 * after[2::3]))
    np.testing.assert_allclose(far[0::3], wanted)


def test_the_value_stands_where_the_answer_begins() -> None:
    row = Sample(ids=(1, 2, 3, 4, 5, 6), step_of=(-1, 0, 0, -1, 1, 1))
    assert decisions(row) == [1, 4]
    valued = with_targets(row, [2.0, float("nan")])
    assert valued.value_weight == (0, 1, 0, 0, 0, 0)
    assert valued.value_target == (0, 2, 0, 0, 0, 0)


def test_the_share_of_variance_that_is_explained() -> None:
    target = np.array([0.0, 1.0, np.nan, 2.0])
    assert explained(np.array([5.0, 6.0, 0.0, 7.0]), target) == 1.0
    assert explained(np.zeros(4), target) == 0.0
    assert explained(np.array([0.0, -1.0, 0.0, -2.0]), target) == pytest.approx(-3.0)


def test_a_critic_needs_a_value_head(model: LocalModel) -> None:
    with pytest.raises(LearnerError, match="value head"):
        critic_scores(LocalLearner(model.network), [], [], model.template)


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("ppo", {"critic": 0.0}),
        ("grpo", {"critic": 0.5}),
        ("ppo", {"critic": -1.0}),
        ("ppo", {"critic_trace": 1.5}),
        ("ppo", {"critic_discount": -0.1}),
    ],
)
def test_a_critic_that_nothing_reads_or_that_is_not_there_is_refused(
    tmp_path: Path, recipe: str, options: dict[str, float]
) -> None:
    with pytest.raises(ConfigError, match="critic"):
        small.trained(tmp_path / "run", recipe, **options)


def test_the_loop_trains_the_critic_and_comes_back_to_the_bit(tmp_path: Path) -> None:
    whole = small.trained(tmp_path / "whole", "ppo", **CRITIC)
    rows = [row for row in small.trace_of(whole).metrics if row["phase"] == "train"]
    assert len(rows) == 3
    assert all(row["value_loss"] > 0 and "explained_variance" in row for row in rows)
    assert [row["first_ratio_max"] for row in rows] == pytest.approx([1.0] * 3, abs=1e-4)
    assert small.trace_of(whole).run["estimator"]["name"] == "gae"

    class Stopped(Exception):  # noqa: N818
        pass

    class Once:
        def log(self, step: int, metrics: object) -> None:
            raise Stopped

        def close(self) -> None:
            pass

    config, folder = small.start(tmp_path / "parts", "ppo", **CRITIC)
    for _ in units_of(config):
        with pytest.raises(Stopped):
            small.go(config, folder, Once())
    small.go(config, folder)
    assert small.weights(folder) == small.weights(whole)
    assert small.said(folder) == small.said(whole)


def test_discount_and_trace_matter(tmp_path: Path) -> None:
    """The first values are zero, so the second update is the first that the options can change."""
    found = {
        small.weights(small.trained(tmp_path / f"{number}", "ppo", **CRITIC, **options, seed=1))
        for number, options in enumerate(
            ({}, {"critic_discount": 0.5}, {"critic_trace": 0.0}, {"critic": 0.1})
        )
    }
    assert len(found) == 4
