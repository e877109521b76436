"""The student: its verbs repeat, copies are independent, snapshots come back to the bit, budgets are counted."""

from __future__ import annotations

import numpy as np
import pytest

from everystep.core.errors import ConfigError
from everystep.core.protocols import Loss, Sampling
from everystep.credit.estimators import estimator
from everystep.environments.places.keydoor import KeyDoor
from everystep.learn.samples import supervised_sample
from everystep.learn.setup import texts_of
from everystep.learn.student import Student
from everystep.run.demonstrate import demonstrator
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Limits, jobs_of, rollout


def _student(*, critic: bool = False) -> Student:
    world = KeyDoor(side=4)
    tasks = [world.task("train", index) for index in range(40)]
    hosts = LocalHosts(world)
    shown = rollout(
        hosts,
        demonstrator(hosts),
        jobs_of(tasks, group_size=1, prefix="words", seed=0),
        sampling=Sampling(),
        limits=Limits(max_steps=world.max_steps),
    )
    return Student.begin(world, texts_of(shown), size="0.03M", seed=3, critic=critic)


def _weights(student: Student) -> np.ndarray:
    return np.concatenate([p.detach().numpy().ravel() for p in student.model.network.parameters()])


def _trained() -> Student:
    student = _student()
    tasks = [student.world.task("train", index) for index in range(12)]
    shown = student.demonstrate(tasks, error_rate=0.2)
    student.imitate([supervised_sample(one, restrict=True) for one in shown], updates=3, batch=4)
    tried = student.attempt(tasks[:2], group_size=4)
    student.reinforce(tried, estimator("grpo"), Loss(entropy=0.01), learning_rate=1e-3)
    return student


def test_the_same_calls_give_the_same_student() -> None:
    one, two = _trained(), _trained()
    assert np.array_equal(_weights(one), _weights(two))
    assert one.ledger == two.ledger
    assert one.ledger.updates == 4
    assert one.ledger.episodes == 8
    assert one.ledger.demonstrations == 12


def test_a_copy_starts_alike_and_goes_its_own_way() -> None:
    student = _trained()
    before, other = _weights(student), student.copy()
    assert np.array_equal(_weights(other), before)
    assert other.ledger.updates == 0
    tasks = [student.world.task("train", index) for index in range(20, 24)]
    mine, its = student.attempt(tasks, group_size=2), other.attempt(tasks, group_size=2)
    assert [one.steps[-1].action for one in mine] == [one.steps[-1].action for one in its]
    other.reinforce(its, estimator("grpo"), Loss(entropy=0.01), learning_rate=1e-2)
    assert np.array_equal(_weights(student), before)
    assert not np.array_equal(_weights(other), before)


def test_an_inner_loop_is_taken_back_to_the_bit() -> None:
    student, never = _trained(), _trained()
    kept = student.learner.snapshot()
    rows = [supervised_sample(one) for one in student.demonstrate([student.world.task("train", 50)])]
    for _ in range(2):
        student.imitate(rows, updates=2)
        assert not np.array_equal(_weights(student), _weights(never))
        student.learner.restore(kept)
    for one in (student, never):
        for _ in range(2):  # the optimiser's moments are back, too
            one.learner.forward_backward(rows, Loss())
            one.learner.optim_step(learning_rate=1e-2)
    assert np.array_equal(_weights(student), _weights(never))


def test_tests_are_not_charged_and_repeat() -> None:
    student = _trained()
    before = student.ledger.as_dict()
    tasks = [student.world.task("test", index) for index in range(6)]
    one, two = student.test(tasks), student.test(tasks)
    assert one == two
    assert student.ledger.as_dict() == before


def test_groups_go_on_behind_their_own_steps() -> None:
    student = _student()
    tasks = [student.world.task("train", index) for index in range(4)]
    shown = [one for one in student.demonstrate(tasks) if len(one.steps) > 2]
    starts = [(one.task, one.steps[:2]) for one in shown]
    tried = student.attempt_from(starts, group_size=3)
    assert len(tried) == 3 * len(starts)
    for number, (_, steps) in enumerate(starts):
        for one in tried[3 * number : 3 * number + 3]:
            assert [step.action.text for step in one.steps[:2]] == [step.action.text for step in steps]
            assert len(one.steps) > 2
            assert one.group == tried[3 * number].group


def test_a_critic_learns_beside() -> None:
    student = _student(critic=True)
    tried = student.attempt([student.world.task("train", index) for index in range(4)], group_size=2)
    numbers = student.reinforce(tried, estimator("gae"), Loss(value=0.5), learning_rate=1e-3)
    assert "explained_variance" in numbers


def test_nothing_to_imitate_is_an_error() -> None:
    with pytest.raises(ConfigError, match="nothing to imitate"):
        _student().imitate([], updates=1)
