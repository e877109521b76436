"""Splitting an outcome over steps: contributions sum to the prediction, are trained by the error of the sum, and nothing is learned of a cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from everystep.core.errors import DataError, LearnerError
from everystep.core.records import Action, End, Observation, Step, Task, Trajectory
from everystep.learn.attribution import contributions, fit_outcomes, turn_rows, with_step_rewards
from everystep.learn.learner import LocalLearner, LocalOptions
from everystep.learn.samples import token_record

Networks = Callable[..., LlamaForCausalLM]
TASK = Task(id="t", instruction="go", environment="none")


def walk(name: str, outcome: float | None, end: End, turns: list[tuple[list[int], list[int]]]) -> Trajectory:
    steps = tuple(
        Step(
            id=f"{name}{number}",
            parent=f"{name}{number - 1}" if number else None,
            index=number,
            observation=Observation(text=""),
            action=Action(text=""),
            reward=0.0,
            tokens=token_record(seen, wrote, [-1.0] * len(wrote)),
        )
        for number, (seen, wrote) in enumerate(turns)
    )
    return Trajectory(id=name, task=TASK, group="g", steps=steps, end=end, outcome=outcome)


GOOD = walk("good", 1.0, End.DONE, [([1, 2], [3, 4]), ([5], [6]), ([7, 8, 9], [10, 11])])
BAD = walk("bad", 0.0, End.FAILED, [([1, 2], [4]), ([5], [12, 13])])
HALF = walk("half", 0.5, End.FAILED, [([2, 1], [14])])
CUT = walk("cut", 0.0, End.TRUNCATED, [([1, 2], [3, 4]), ([5], [15])])
ALL = [GOOD, BAD, HALF, CUT]


@pytest.fixture
def make_headed(make_network: Networks) -> Callable[[], tuple[LocalLearner, LlamaForCausalLM]]:
    """Makes a learner whose value head is not zero, with its network."""

    def make() -> tuple[LocalLearner, LlamaForCausalLM]:
        network = make_network()
        learner = LocalLearner(network, options=LocalOptions(value_head=True))
        assert learner._value_head is not None
        torch.manual_seed(5)
        with torch.no_grad():
            learner._value_head.weight.normal_(0.0, 0.3)
            learner._value_head.bias.fill_(0.1)
        return learner, network

    return make


Headed = Callable[[], tuple[LocalLearner, LlamaForCausalLM]]


def test_a_number_stands_behind_the_last_token_of_every_turn() -> None:
    (row,) = turn_rows([GOOD])
    assert row.ids[:11] == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
    assert len(row.ids) == 12
    assert [at for at, one in enumerate(row.value_weight) if one] == [4, 6, 11]


def test_contributions_sum_to_the_prediction(make_headed: Headed) -> None:
    """The prediction, computed apart: the head on the sum of the hidden states at the turns' ends."""
    learner, network = make_headed()
    assert learner._value_head is not None
    found = contributions(learner, ALL)
    start = 0
    for one in ALL:
        (row,) = turn_rows([one])
        ends = [at - 1 for at, weight in enumerate(row.value_weight) if weight]
        with torch.no_grad():
            hidden = network.model(torch.tensor([row.ids[:-1]])).last_hidden_state[0, ends]
            summed = hidden.double().sum(0) @ learner._value_head.weight[0].double()
        predicted = float(summed) + len(ends) * float(learner._value_head.bias.detach())
        assert float(found[start : start + len(one.steps)].sum()) == pytest.approx(predicted, abs=1e-6)
        start += len(one.steps)
    assert start == found.size
    assert np.ptp(found) > 0.1


def test_a_head_on_the_hidden_state_can_say_what_one_on_the_logits_says(make_headed: Headed) -> None:
    """The released estimator: one linear layer from the logits at each turn's last token to a number, summed over the turns."""
    learner, network = make_headed()
    assert learner._value_head is not None
    torch.manual_seed(9)
    released = torch.nn.Linear(network.config.vocab_size, 1)
    with torch.no_grad():
        learner._value_head.weight.copy_(released.weight @ network.lm_head.weight)
        learner._value_head.bias.copy_(released.bias)
        for one in (GOOD, BAD):
            (row,) = turn_rows([one])
            ends = [at - 1 for at, weight in enumerate(row.value_weight) if weight]
            logits = network(torch.tensor([row.ids[:-1]])).logits[0, ends]
            rewards = released(logits).squeeze(-1)
            np.testing.assert_allclose(contributions(learner, [one]), rewards.numpy(), atol=1e-5)
            assert float(contributions(learner, [one]).sum()) == pytest.approx(float(rewards.sum()), abs=1e-5)


def test_the_gradient_is_that_of_the_squared_error_of_the_sum(make_headed: Headed) -> None:
    learner, network = make_headed()
    head = learner._value_head
    assert head is not None
    total = torch.zeros(())
    for one in (GOOD, BAD):
        (row,) = turn_rows([one])
        ends = [at - 1 for at, weight in enumerate(row.value_weight) if weight]
        hidden = network.model(torch.tensor([row.ids[:-1]])).last_hidden_state[0, ends]
        assert one.outcome is not None
        total = total + 0.5 * (head(hidden).sum() - one.outcome).square() / 2
    wanted = torch.autograd.grad(total, [network.model.layers[0].mlp.up_proj.weight, head.weight])

    seen: list[torch.Tensor] = []

    def stop(*, learning_rate: float) -> dict[str, float]:
        for weight in (network.model.layers[0].mlp.up_proj.weight, head.weight):
            assert weight.grad is not None
            seen.append(weight.grad.clone())
        return {}

    learner.optim_step = stop  # type: ignore[method-assign]
    (error,) = fit_outcomes(learner, [GOOD, BAD], learning_rate=0.0, batch=2)
    assert error == pytest.approx(2 * float(total.detach()), abs=1e-5)
    for mine, theirs in zip(seen, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-3)


def test_the_sum_learns_the_outcome_and_a_cut_teaches_nothing(make_headed: Headed) -> None:
    learner, _ = make_headed()
    errors = fit_outcomes(learner, ALL, learning_rate=1e-2, epochs=30, batch=3)
    assert errors[-1] < 0.05 < errors[0]
    sums = np.add.reduceat(contributions(learner, [GOOD, BAD, HALF]), [0, 3, 5])
    np.testing.assert_allclose(sums, [1.0, 0.0, 0.5], atol=0.3)

    (one, _), (other, _) = make_headed(), make_headed()
    fit_outcomes(one, [GOOD, CUT, BAD], learning_rate=1e-2)
    fit_outcomes(other, [GOOD, BAD], learning_rate=1e-2)
    np.testing.assert_array_equal(contributions(one, ALL), contributions(other, ALL))
    told, _ = make_headed()
    fit_outcomes(told, [GOOD, CUT, BAD], learning_rate=1e-2, cut_off=0.0)
    assert not np.array_equal(contributions(told, ALL), contributions(other, ALL))


def test_outcomes_lie_between_nothing_and_the_best(make_headed: Headed) -> None:
    learner, _ = make_headed()
    ten = replace(GOOD, outcome=10.0)
    with pytest.raises(DataError, match="best"):
        fit_outcomes(learner, [ten], learning_rate=1e-2)
    fit_outcomes(learner, [ten], learning_rate=1e-2, best=10.0)
    with pytest.raises(DataError, match="cut off"):
        fit_outcomes(learner, [CUT], learning_rate=1e-2)


def test_a_value_head_is_needed(make_network: Networks) -> None:
    with pytest.raises(LearnerError, match="value_head"):
        contributions(LocalLearner(make_network()), [GOOD])


def test_rewards_are_put_in_the_place_of_the_environments() -> None:
    one, two = with_step_rewards([GOOD, HALF], [0.5, -0.25, 1.0, 0.125])
    assert [step.reward for step in one.steps] == [0.5, -0.25, 1.0]
    assert (one.outcome, two.outcome) == (1.25, 0.125)
    assert [step.reward for step in GOOD.steps] == [0.0, 0.0, 0.0]
    assert with_step_rewards([replace(HALF, outcome=None)], [1.0])[0].outcome is None
    with pytest.raises(DataError, match="one a step"):
        with_step_rewards([GOOD], [1.0])
