"""Trajectories to samples: who wrote a token decides whether it can have loss."""

from __future__ import annotations

from dataclasses import replace

import pytest

from everystep.core.errors import LearnerError
from everystep.core.records import (
    Action,
    End,
    Observation,
    Span,
    SpanKind,
    Step,
    Task,
    TokenRecord,
    Trajectory,
)
from everystep.learn.samples import sample_of, supervised_sample, token_record

TASK = Task(id="t", instruction="go", environment="none")


def step(index: int, tokens: TokenRecord | None, agent: str = "agent") -> Step:
    return Step(
        id=f"s{index}",
        parent=f"s{index - 1}" if index else None,
        index=index,
        observation=Observation(text=""),
        action=Action(text=""),
        tokens=tokens,
        agent=agent,
    )


def walk(*steps: Step) -> Trajectory:
    return Trajectory(id="walk", task=TASK, group="g", steps=steps, end=End.DONE)


MIXED = TokenRecord(
    ids=(10, 11, 12, 13, 14, 15, 16),
    spans=(
        Span(start=0, end=1, kind=SpanKind.CONTEXT),
        Span(start=1, end=3, kind=SpanKind.SAMPLED, weight=0.5),
        Span(start=3, end=4, kind=SpanKind.TOOL),
        Span(start=4, end=5, kind=SpanKind.FORCED),
        Span(start=5, end=6, kind=SpanKind.OTHER_AGENT),
        Span(start=6, end=7, kind=SpanKind.SAMPLED),
    ),
    logprobs=(-1.0, -2.0, -3.0),
    allowed=((11, 99), (12,), ()),
)
PLAIN = token_record([20, 21], [22, 23], [-4.0, -5.0])


def test_only_sampled_tokens_get_weight_and_their_own_step_s_credit() -> None:
    sample = sample_of(walk(step(0, MIXED), step(1, PLAIN)), {"s0": 2.0, "s1": -1.0}, forced=True)
    assert sample.ids == MIXED.ids + PLAIN.ids
    assert sample.policy_weight == (0, 0.5, 0.5, 0, 0, 0, 1, 0, 0, 1, 1)
    assert sample.advantage == (0, 2, 2, 0, 0, 0, 2, 0, 0, -1, -1)
    assert sample.logprobs == (0, -1, -2, 0, 0, 0, -3, 0, 0, -4, -5)
    assert sample.step_of == (-1, 0, 0, -1, -1, -1, 0, -1, -1, 1, 1)
    assert sample.allowed == {1: (11, 99), 2: (12,)}
    assert sample.rollout == "walk"


def test_a_token_without_a_choice_has_no_weight() -> None:
    sample = sample_of(walk(step(0, MIXED)), [1.0])
    assert sample.policy_weight == (0, 0.5, 0, 0, 0, 0, 1)


def test_credit_in_order_and_by_id_agree() -> None:
    trajectory = walk(step(0, MIXED), step(1, PLAIN))
    assert sample_of(trajectory, [2.0, -1.0]) == sample_of(trajectory, {"s0": 2.0, "s1": -1.0})


def test_other_agents_steps_are_context() -> None:
    trajectory = walk(step(0, PLAIN, agent="planner"), step(1, PLAIN))
    sample = sample_of(trajectory, {"s0": 1.0}, agent="planner")
    assert sample.policy_weight == (0, 0, 1, 1, 0, 0, 0, 0)


def test_reference_stream_uses_the_same_tokens() -> None:
    sample = sample_of(walk(step(0, PLAIN)), [1.0], reference_logprobs=(0.0, -1.0, -2.0, -3.0))
    assert sample.reference_weight == sample.policy_weight
    assert sample.reference_logprobs == (0.0, -1.0, -2.0, -3.0)


def test_a_wrong_step_stays_in_the_context_without_loss() -> None:
    sample = supervised_sample(walk(step(0, PLAIN), step(1, PLAIN)), {"s0": 0.0})
    assert sample.ids == PLAIN.ids * 2
    assert sample.supervised_weight == (0, 0, 0, 0, 0, 0, 1, 1)
    assert sample.allowed is None


def test_supervision_among_allowed_ids() -> None:
    sample = supervised_sample(walk(step(0, MIXED)), restrict=True)
    assert sample.supervised_weight == (0, 0.5, 0, 0, 0, 0, 1)
    assert sample.allowed == {1: (11, 99), 2: (12,)}


def test_a_sampled_first_token_cannot_be_trained() -> None:
    assert sample_of(walk(step(0, token_record([], [1, 2], [-1, -1]))), [1.0]).policy_weight == (0, 1)


@pytest.mark.parametrize(
    ("trajectory", "credit", "word"),
    [
        (walk(step(0, None)), [1.0], "'s0'.*no tokens"),
        (walk(), [], "no steps"),
        (walk(step(0, PLAIN)), {"other": 1.0}, "'s0' has no credit"),
        (walk(step(0, PLAIN)), [1.0, 2.0], "2 credits for 1 steps"),
        (walk(step(0, PLAIN), step(1, replace(PLAIN, temperature=0.5))), [1.0, 2.0], "temperatures"),
        (walk(step(0, replace(PLAIN, logprobs=(-1.0,)))), [1.0], "1 log-prob"),
        (walk(step(0, replace(PLAIN, ids=(*PLAIN.ids, 9)))), [1.0], "5 ids"),
        (walk(step(0, replace(PLAIN, spans=PLAIN.spans[1:]))), [1.0], "do not tile"),
        (walk(step(0, replace(PLAIN, allowed=((1,),)))), [1.0], "1 allowed sets"),
    ],
)
def test_what_cannot_be_learned_from_is_named(trajectory: Trajectory, credit: object, word: str) -> None:
    with pytest.raises(LearnerError, match=word):
        sample_of(trajectory, credit)  # type: ignore[arg-type]


def test_a_weight_for_no_step_is_refused() -> None:
    with pytest.raises(LearnerError, match="'s9'"):
        supervised_sample(walk(step(0, PLAIN)), {"s9": 0.0})
