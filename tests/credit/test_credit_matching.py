"""Tool calls against a reference trace."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.core.records import Action, End, Observation, Step, Task, ToolCall, Trajectory
from everystep.credit.matching import (
    call_rewards,
    greedy_pairs,
    optimal_pairs,
    similarity,
    token_f1,
    transport,
    turn_rewards,
)


def call(name: str, **arguments: int) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


@pytest.mark.parametrize(
    ("predicted", "reference", "wanted"),
    [
        (call("f", x=1, y=2), call("F", x=1, y=3), 0.75),
        (call("f", x=1), call("f", x=1), 1.0),
        (call("f"), call("f"), 1.0),
        (call("f", x=1), call("g", x=1), 0.0),
        (call("f"), call("f", x=1), 1 / 3),
        (call("f", y=1), call("f", x=1), 1 / 3),
        (call("f", x=1, y=2), call("f", x=1), (1 + 0.5 + 1) / 3),
    ],
)
def test_similarity(predicted: ToolCall, reference: ToolCall, wanted: float) -> None:
    assert similarity(predicted, reference) == pytest.approx(wanted)


SCORES = (
    st.integers(1, 4)
    .flatmap(
        lambda rows: st.integers(1, 4).flatmap(
            lambda places: st.lists(
                st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=places, max_size=places),
                min_size=rows,
                max_size=rows,
            )
        )
    )
    .map(np.array)
)


@settings(max_examples=60, deadline=None)
@given(scores=SCORES)
def test_optimal_is_the_best_of_all_assignments_and_greedy_never_better(scores: np.ndarray) -> None:
    rows, places = scores.shape
    best = max(
        sum(scores[r, c] for r, c in zip(chosen, order, strict=True))
        for size in [min(rows, places)]
        for chosen in itertools.combinations(range(rows), size)
        for order in itertools.permutations(range(places), size)
    )
    optimal, greedy = optimal_pairs(scores), greedy_pairs(scores)
    assert sum(scores[pair] for pair in optimal) == pytest.approx(best)
    assert sum(scores[pair] for pair in greedy) <= best + 1e-12
    for pairs in (optimal, greedy):
        assert len({r for r, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)
        assert all(scores[pair] > 0 for pair in pairs)


def test_greedy_can_miss_the_best_total() -> None:
    scores = np.array([[1.0, 0.75], [0.75, 0.0]])
    assert greedy_pairs(scores) == [(0, 0)]
    assert sorted(optimal_pairs(scores)) == [(0, 1), (1, 0)]


@settings(max_examples=40, deadline=None)
@given(scores=SCORES)
def test_transport_has_uniform_marginals_and_the_entropic_form(scores: np.ndarray) -> None:
    plan = transport(-scores, 0.1)
    rows, places = scores.shape
    np.testing.assert_allclose(plan.sum(axis=1), 1 / rows, atol=1e-9)
    np.testing.assert_allclose(plan.sum(axis=0), 1 / places, atol=1e-9)
    potential = np.log(plan) - scores / 0.1  # f[i] + g[j]: its mixed differences vanish
    np.testing.assert_allclose(potential - potential[:1] - potential[:, :1] + potential[0, 0], 0.0, atol=1e-6)


def test_soft_rewards_shrink_with_the_number_of_calls() -> None:
    reference = [call("f", x=1)]
    assert call_rewards(reference, reference, solver="soft").tolist() == pytest.approx([1.0])
    assert call_rewards(reference * 2, reference, solver="soft").tolist() == pytest.approx([0.5, 0.5])


def test_no_calls_and_no_references() -> None:
    for solver in ("optimal", "greedy", "soft"):
        assert call_rewards([], [call("f")], solver=solver).shape == (0,)
        assert call_rewards([call("f")], [], solver=solver).tolist() == [0.0]
    assert call_rewards([call("f"), call("f")], [call("f")], unmatched=-0.5).tolist() == [1.0, -0.5]
    with pytest.raises(ConfigError, match="solver is 'best'"):
        call_rewards([], [], solver="best")
    with pytest.raises(ConfigError, match="regularisation is 0"):
        transport(np.zeros((1, 1)), 0)


def test_turn_rewards_are_means_over_the_turn_and_answers_are_scored() -> None:
    task = Task(
        id="t",
        instruction="",
        environment="e",
        reference="the red lamp",
        reference_calls=(call("f", x=1), call("g")),
    )
    seen = Observation(text="")
    actions = [
        Action(text="", calls=(call("f", x=1), call("h"))),
        Action(text="thinking"),
        Action(text="answer: red lamp"),
    ]
    steps = tuple(
        Step(id=str(i), parent=None, index=i, observation=seen, action=action)
        for i, action in enumerate(actions)
    )
    trajectory = Trajectory(id="a", task=task, group="g", steps=steps, end=End.DONE)
    assert turn_rewards(trajectory).tolist() == [0.5, 0.0, 0.0]
    said = lambda text: text.removeprefix("answer:") if text.startswith("answer:") else None  # noqa: E731
    np.testing.assert_allclose(turn_rewards(trajectory, answer=said), [0.5, 0.0, 0.8])
    untraced = Trajectory(
        id="a", task=Task(id="u", instruction="", environment="e"), group="g", steps=steps, end=End.DONE
    )
    with pytest.raises(ConfigError, match="'u' has no reference calls"):
        turn_rewards(untraced)


def test_token_f1() -> None:
    assert token_f1("Red LAMP!", "the red lamp") == pytest.approx(0.8)
    assert token_f1("", "x") == 0.0
    assert token_f1("x", "x") == 1.0
