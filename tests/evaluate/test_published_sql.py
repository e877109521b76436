"""Published SQL runs made live, and policies that go on from their steps, on the packaged sample."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from everystep.core.errors import ConfigError
from everystep.core.protocols import Sampling
from everystep.core.records import End, Trajectory
from everystep.environments.code.intercode_sql import SUBMIT
from everystep.evaluate.published_sql import (
    ACTS,
    LIMIT,
    Habits,
    History,
    Imitator,
    Kind,
    Run,
    Splicer,
    fold_of,
    live_world,
    pool_of,
    published_runs,
    replayed,
    tasks_by_number,
)
from everystep.evaluate.step_values import advantages, branched_values
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Limits

WORLD = live_world("sample")
TASKS = tasks_by_number(WORLD)
NUMBER = min(TASKS)
GOLD = str(TASKS[NUMBER].reference)


def run(agent: str, *acts: str, submits: bool, number: int = NUMBER) -> Run:
    return Run(number=number, agent=agent, acts=acts, submits=submits)


RUNS = [
    run("plain", "SELECT nothing FROM nowhere", "SELECT 1", GOLD, submits=False),
    run("plain2", *["SELECT 1"] * ACTS, submits=False),
    run("react", "SHOW TABLES", GOLD, SUBMIT, submits=True),
    run("react2", "SELECT 2", SUBMIT, submits=True),
    run("react3", "SELECT 2", submits=True),
]
MADE = replayed(RUNS, TASKS, WORLD)


def test_runs_live_again() -> None:
    plain, plain2, react, react2, react3 = MADE
    assert [step.reward for step in plain.steps] == [0.0, 0.0, 1.0]  # the last result was submitted for it
    assert [step.action.valid for step in plain.steps] == [False, True, True]
    assert (plain.end, plain.outcome) == (End.DONE, 1.0)
    assert (len(plain2.steps), plain2.end, plain2.outcome) == (ACTS, End.FAILED, 0.0)
    assert [step.reward for step in react.steps] == [0.0, 0.0, 1.0]
    assert (react2.end, react2.outcome, len(react2.steps)) == (End.FAILED, 0.0, 2)
    assert (react3.end, react3.outcome, len(react3.steps)) == (End.TRUNCATED, 0.0, 1)  # it never submitted
    assert {one.group for one in MADE} == {TASKS[NUMBER].id}
    assert [step.scores["gain"] for step in react.steps] == [0.0, 1.0, 0.0]


def test_the_start_and_an_error_are_one_state_of_the_database() -> None:
    first, after_error = (step.observation.anchor for step in MADE[0].steps[:2])
    assert first == after_error
    assert MADE[2].steps[1].observation.anchor != first


def test_a_history_tells_kinds() -> None:
    history = History()
    assert history.last is Kind.START
    assert history.add("SELECT a", "Error executing query: no", right=False) is Kind.ERROR
    assert history.add("SELECT a", "Error executing query: no", right=False) is Kind.REPEAT
    assert not history.looked
    assert history.add("describe t", "[...]", right=False) is Kind.LOOK
    assert history.looked
    assert history.add("SELECT b", "[(1,)]", right=False) is Kind.WRONG
    assert history.add("SELECT c", "[(2,)]", right=True) is Kind.RIGHT
    assert history.add("submit", "right", right=True) is Kind.SUBMIT


def test_habits_are_those_of_other_folds() -> None:
    here = fold_of(TASKS[NUMBER])
    number = next(n for n, task in TASKS.items() if fold_of(task) != here)
    elsewhere = run("plain", "SELECT 1", "SELECT 3", submits=False, number=number)
    habits = Habits([*zip(RUNS, MADE, strict=True), (elsewhere, *replayed([elsewhere], TASKS, WORLD))])
    hardness = TASKS[NUMBER].tags["hardness"]
    seen = habits.chances("plain", here, History(), hardness)
    assert sum(seen.values()) == pytest.approx(1.0)
    assert max(seen, key=lambda kind: seen[kind]) is Kind.WRONG  # the run of this task began with an error
    assert habits.end("plain", here, History(), hardness) < 0.1
    nobody = habits.chances("nobody", here, History(), hardness)
    assert list(nobody.values()) == pytest.approx([1 / 6] * 6)


def branched(sampler_of: type[Splicer], which: int, copies: int) -> tuple[Trajectory, np.ndarray]:
    hosts = LocalHosts(WORLD)
    trunk = MADE[which]
    sampler = sampler_of(hosts, RUNS[which], trunk.task, pool_of(MADE))
    found = branched_values(
        hosts,
        sampler,
        trunk,
        copies=copies,
        sampling=Sampling(),
        limits=Limits(max_steps=LIMIT),
        seed=0,
        constrain=False,
    )
    return trunk, found.values


def test_the_splicer_values_a_state_by_what_was_done_there() -> None:
    """``SHOW TABLES`` was followed by the gold query alone; before ``submit`` the rows are right."""
    trunk, values = branched(Splicer, 2, 40)
    assert values[1:] == pytest.approx([1.0, 1.0, 0.0])
    assert 0.0 < values[0] < 1.0
    assert advantages(trunk, values) == pytest.approx([1.0 - values[0], 0.0, 0.0])


def test_the_imitator_goes_on_from_a_stored_step() -> None:
    """An agent that always finds the gold query after an error: its value is 1 there, and the harness submits for it."""
    habits = Habits([])
    hosts = LocalHosts(WORLD)
    trunk = MADE[0]
    sampler = Imitator(hosts, RUNS[0], trunk.task, pool_of(MADE), habits)
    settings = {"sampling": Sampling(), "limits": Limits(max_steps=LIMIT), "constrain": False}
    found = branched_values(hosts, sampler, trunk, copies=12, seed=0, **settings)  # type: ignore[arg-type]
    again = branched_values(hosts, sampler, trunk, copies=12, seed=0, **settings)  # type: ignore[arg-type]
    assert found.values.tolist() == again.values.tolist()
    kinds = [branch.steps[-1].action.text for some in found.branches for branch in some]
    assert set(kinds) == {SUBMIT}
    assert 0.0 < found.values[0] < 1.0
    for at, some in enumerate(found.branches):
        for branch in some:
            assert [step.id for step in branch.steps[:at]] == [step.id for step in trunk.steps[:at]]


def test_a_file_of_another_form_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"0": {"other": 1}}))
    with pytest.raises(ConfigError, match="turn_history"):
        published_runs(tmp_path / "a.json", "x")


def test_acts_are_read_as_sql(tmp_path: Path) -> None:
    history = {"thoughts": ["t", "t", "t"], "actions": ["execute[SELECT 1]", "what?", "submit"]}
    plain = {"actions": ["SELECT 1", " "]}
    found = {
        "0": {"task_id": 3, "turn_history": history},
        "1": {"task_id": 4, "turn_history": plain},
        "2": {"task_id": 5, "turn_history": {"actions": []}},
    }
    (tmp_path / "a.json").write_text(json.dumps(found))
    assert published_runs(tmp_path / "a.json", "x") == [
        run("x", "SELECT 1", "what?", "submit", submits=True, number=3),
        run("x", "SELECT 1", ";", submits=False, number=4),
    ]
