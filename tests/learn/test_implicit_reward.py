"""The implicit reward model: which trajectories are compared, what a step is worth, and that its update is the published loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from everystep.core.protocols import Loss
from everystep.core.records import (
    Action,
    End,
    Level,
    Observation,
    Span,
    SpanKind,
    Step,
    Task,
    TokenRecord,
    Trajectory,
)
from everystep.credit.estimators import estimator
from everystep.learn.implicit_reward import (
    PREFER,
    implicit_scores,
    log_ratios,
    outcome_pairs,
    prefer_outcomes,
    rollout_rows,
    token_credit,
)
from everystep.learn.learner import LocalLearner
from everystep.learn.pairs import pair_samples
from everystep.learn.samples import token_record

Learners = Callable[..., LocalLearner]
TASK = Task(id="t", instruction="go", environment="none")


def step(name: str, parent: str | None, seen: list[int], wrote: list[int], logprobs: list[float]) -> Step:
    return Step(
        id=name,
        parent=parent,
        index=0,
        observation=Observation(text=""),
        action=Action(text=""),
        tokens=token_record(seen, wrote, logprobs),
    )


def walk(name: str, group: str, outcome: float | None, end: End, answers: list[list[int]]) -> Trajectory:
    steps, parent = [], None
    for number, wrote in enumerate(answers):
        steps.append(step(f"{name}{number}", parent, [1, 2], wrote, [-1.0 - 0.1 * one for one in wrote]))
        parent = steps[-1].id
    return Trajectory(id=name, task=TASK, group=group, steps=tuple(steps), end=end, outcome=outcome)


WON = walk("won", "g", 10.0, End.DONE, [[3], [4, 5], [6]])
ALSO = walk("also", "g", 10.0, End.DONE, [[7], [6]])
LOST = walk("lost", "g", 0.0, End.FAILED, [[7], [8]])
WORSE = walk("worse", "g", 0.0, End.FAILED, [[9, 9], [3], [10]])
CUT = walk("cut", "g", 0.0, End.TRUNCATED, [[11], [12]])
ELSEWHERE = walk("elsewhere", "h", 0.0, End.FAILED, [[13]])
ALL = [WON, LOST, ALSO, WORSE, CUT, ELSEWHERE]


def named(trajectories: list[Trajectory], *, cut_off: bool = False) -> set[tuple[str, str]]:
    return {(one.chosen, one.rejected) for one in outcome_pairs(trajectories, cut_off=cut_off)}


def test_every_success_is_compared_with_every_failure_of_its_group() -> None:
    assert named(ALL) == {("won", "lost"), ("won", "worse"), ("also", "lost"), ("also", "worse")}
    assert {one.level for one in outcome_pairs(ALL)} == {Level.TRAJECTORY}
    assert named([WON, ALSO]) == named([LOST, WORSE]) == named([WON, ELSEWHERE]) == set()


def test_a_trajectory_that_was_cut_off_has_not_failed_unless_that_is_said() -> None:
    assert named([WON, CUT]) == set()
    assert named([WON, CUT], cut_off=True) == {("won", "cut")}
    assert named([WON, replace(LOST, outcome=None), replace(CUT, end=End.ERROR)], cut_off=True) == set()


def test_a_step_is_worth_its_summed_log_ratio(make_learner: Learners) -> None:
    """Against the log-probabilities as they were recorded, of the tokens that were sampled and nothing else."""
    learner = make_learner()
    found = implicit_scores(learner, [WON, LOST], beta=0.05)
    wanted = []
    for one in (WON, LOST):
        ids = tuple(token for own in one.steps for token in own.tokens.ids)  # type: ignore[union-attr]
        now = learner.score([replace(rollout_rows([one])[0], ids=ids)])[0].logprobs
        place = 0
        for own in one.steps:
            assert own.tokens is not None
            at = range(place + 2, place + len(own.tokens.ids))
            wanted.append(0.05 * (sum(now[i] for i in at) - sum(own.tokens.logprobs)))
            place += len(own.tokens.ids)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    ratios = log_ratios(learner, [WON, LOST])
    sums = [
        one[row.step_of.index(0) :].sum() for one, row in zip(ratios, rollout_rows([WON, LOST]), strict=True)
    ]
    np.testing.assert_allclose([0.05 * one for one in sums], [found[:3].sum(), found[3:].sum()], atol=1e-6)


def test_a_model_that_is_the_policy_finds_every_step_worth_nothing(make_learner: Learners) -> None:
    learner = make_learner()

    def as_written(one: Trajectory) -> Trajectory:
        (row,) = rollout_rows([one])
        (scored,) = learner.score([row])
        steps, place = [], 0
        for own in one.steps:
            assert own.tokens is not None
            end = place + len(own.tokens.ids)
            logprobs = tuple(scored.logprobs[place + 2 : end])
            steps.append(replace(own, tokens=replace(own.tokens, logprobs=logprobs)))
            place = end
        return replace(one, steps=tuple(steps))

    own = [as_written(one) for one in (WON, LOST)]
    np.testing.assert_allclose(implicit_scores(learner, own), 0.0, atol=1e-6)
    assert prefer_outcomes(learner, own, learning_rate=0.0)["preference_loss"] == pytest.approx(
        np.log(2), abs=1e-5
    )


def test_a_choice_among_allowed_tokens_is_scored_among_them(make_learner: Learners) -> None:
    """A token without a choice is worth nothing, however unlikely the model finds it."""
    tokens = TokenRecord(
        ids=(1, 2, 3, 4),
        spans=(Span(start=0, end=2, kind=SpanKind.CONTEXT), Span(start=2, end=4, kind=SpanKind.SAMPLED)),
        logprobs=(-0.7, 0.0),
        allowed=((3, 5), (4,)),
    )
    one = replace(WON, steps=(replace(WON.steps[0], tokens=tokens),))
    learner = make_learner()
    (found,) = log_ratios(learner, [one])
    assert found[3] == 0.0
    three, five = (
        learner.score([replace(rollout_rows([one])[0], ids=(1, 2, token, 4), allowed=None)])[0].logprobs[2]
        for token in (3, 5)
    )
    assert found[2] == pytest.approx(three - np.logaddexp(three, five) + 0.7, abs=1e-5)


@pytest.mark.parametrize("length", ["sum", "steps"])
def test_the_update_is_that_of_the_loss_over_all_pairs(make_learner: Learners, length: str) -> None:
    """Each trajectory is computed once; written out pair by pair the gradient is the same."""
    known = {row.ids: row for row in rollout_rows(ALL)}
    rows = [
        replace(side, reference_logprobs=known[side.ids].logprobs)
        for side in pair_samples(outcome_pairs(ALL), ALL, length=length, restrict=True).samples
    ]
    assert len(rows) == 8
    plain = make_learner()
    numbers = plain.forward_backward(rows, PREFER)
    wanted = plain.gradient()
    plain.optim_step(learning_rate=1e-2)

    once = make_learner()
    found = prefer_outcomes(once, ALL, learning_rate=1e-2, length=length)
    assert found["pairs"] == 4.0
    assert found["preference_loss"] == pytest.approx(numbers["preference_loss"], abs=1e-6)
    assert found["preference_accuracy"] == numbers["preference_accuracy"]
    assert found["grad_norm"] == pytest.approx(float(np.linalg.norm(wanted)), rel=1e-4)
    probe = rollout_rows(ALL)
    for one, other in zip(plain.score(probe), once.score(probe), strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=2e-3)
    assert once.updates == 1


def test_it_learns_which_trajectories_succeed_and_then_likes_their_steps(make_learner: Learners) -> None:
    learner = make_learner()
    losses = [
        prefer_outcomes(learner, ALL, learning_rate=1e-2, loss=PREFER)["preference_loss"] for _ in range(12)
    ]
    assert losses[-1] < losses[0]
    good = implicit_scores(learner, [WON, ALSO]).sum()
    assert good > implicit_scores(learner, [LOST, WORSE]).sum()


def test_without_a_pair_nothing_is_updated(make_learner: Learners) -> None:
    learner = make_learner()
    assert prefer_outcomes(learner, [WON, ALSO, CUT, ELSEWHERE], learning_rate=1e-2) == {}
    assert learner.updates == 0


def test_with_a_token_for_a_step_the_same_rule_gives_one_number_a_token(make_learner: Learners) -> None:
    """The golden group of two trajectories with three and two steps, here as tokens of one step each."""
    scores = {"a": [0.2, -0.1, 0.5], "b": [0.4, -0.3]}
    first = walk("a", "g", 10.0, End.DONE, [[3, 4, 5]])
    second = walk("b", "g", 0.0, End.FAILED, [[6, 7]])
    ratios = [np.array([0.0, 0.0, *scores[one.id]]) for one in (first, second)]
    credit, samples = token_credit([first, second], ratios, estimator("istar"), beta=1.0)
    np.testing.assert_allclose(credit.value_S, [0.8856, -0.0068, 1.778, 0.0663, -2.016], atol=5e-5)
    np.testing.assert_allclose(samples[0].advantage, [0, 0, *credit.value_S[:3]])
    np.testing.assert_allclose(samples[1].advantage, [0, 0, *credit.value_S[3:]])
    assert samples[0].policy_weight == (0, 0, 1, 1, 1)
    make_learner().forward_backward(samples, Loss())
