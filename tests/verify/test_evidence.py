from __future__ import annotations

import json
from dataclasses import replace

import pytest

from everystep.core.codec import encode
from everystep.core.errors import ConfigError
from everystep.core.protocols import Evidence, Looks
from everystep.verify.evidence import sibling_evidence, step_evidence, trajectory_evidence
from verify.stored import written


def shown(evidence: Evidence) -> str:
    return json.dumps(encode(evidence))


def test_a_window_shows_what_it_names_and_nothing_else() -> None:
    trajectory = written(["a0", "a1", "a2", "a3", "a4"], success=True)
    found = list(step_evidence(trajectory, Looks(actions=2, observations=2)))[3]
    assert [step.action.text for step in found.before] == ["a1", "a2"]
    assert [step.observation.text for step in found.before] == ["", "seen-2"]
    assert found.step.observation.text == "seen-3"
    for hidden in ("seen-1", "seen-4", "a4", "the end", "secret"):
        assert hidden not in shown(found)
    assert found.results == found.outcomes == found.after == ()
    assert found.seen == ("actions:2", "observations:2")


def test_the_judged_step_is_shown_without_what_it_led_to() -> None:
    trajectory = written(["a0", "a1"])
    blind, seeing = (list(step_evidence(trajectory, looks))[1] for looks in (Looks(), Looks(result=True)))
    assert blind.step.reward is None
    assert not blind.step.scores
    assert blind.step.action.valid
    assert "refused" not in shown(blind)
    assert seeing.step.reward == 1.0
    assert not seeing.step.action.valid
    assert [one.text for one in seeing.results if one] == ["the end"]


def test_the_outcome_is_not_told_by_rewards_where_it_is_hidden() -> None:
    trajectory = written(["a0", "a1", "a2"], success=True)
    hidden = trajectory_evidence((trajectory,), Looks(observations=9))
    assert all(step.reward is None and not step.scores for step in hidden.candidates[0])
    assert hidden.outcomes == ()
    told = trajectory_evidence((trajectory,), Looks(outcome=True))
    assert told.outcomes == (1.0,)
    assert told.candidates[0][2].reward == 2.0
    later = next(step_evidence(trajectory, Looks(after=1)))
    assert later.after[0].action.text == "a1"
    assert later.after[0].reward is None


def test_only_later_steps_and_the_outcome_are_the_future() -> None:
    assert not Looks(result=True, reference=True, tokens=True).sees_future
    assert Looks(after=1).sees_future
    assert Looks(outcome=True).sees_future


def test_texts_are_cut_and_hidden_things_stay_hidden() -> None:
    trajectory = written(["x" * 500])
    trajectory = replace(trajectory, steps=(replace(trajectory.steps[0], undone=True, cost={"usd": 1.0}),))
    (found,) = step_evidence(trajectory, Looks(observations=0, chars=60))
    assert len(found.step.action.text) == 60
    assert found.step.observation.text == ""
    assert not found.step.undone
    assert not found.step.cost
    assert found.step.tokens is None


def test_windows_that_make_no_sense_are_refused() -> None:
    trajectory = written(["a"])
    for looks in (Looks(actions=-1), Looks(observations=-1), Looks(after=-2), Looks(chars=3)):
        with pytest.raises(ConfigError, match="must be"):
            list(step_evidence(trajectory, looks))
    other = replace(trajectory, task=replace(trajectory.task, id="another"))
    with pytest.raises(ConfigError, match="of one task"):
        trajectory_evidence((trajectory, other), Looks())


def test_siblings_share_what_came_before_and_hide_the_future() -> None:
    trajectory = written(["a0", "a1", "a2"])
    found = sibling_evidence(trajectory.task, trajectory.steps[:2], trajectory.steps[2:], Looks(actions=1))
    assert found.targets == ("t/2",)
    assert [one.id for one in found.before] == ["t/1"]
    with pytest.raises(ConfigError, match="came later"):
        sibling_evidence(trajectory.task, (), trajectory.steps, Looks(outcome=True))
