"""WebSTAR's arms keep what they say: steps, successes or everything, with a judge that errs as often as stated."""

from __future__ import annotations

from pathlib import Path

import pytest

from everystep.recipes import webstar
from everystep.recipes.webstar import ARMS, Arm, Config, kept, rollouts, samples_of
from everystep.run.folder import RunFolder

TINY = Config(size="0.02M", rollouts=120, updates=3, test_tasks=4, seeds=1)


def test_filters_keep_what_they_say() -> None:
    _, made = rollouts(TINY, 0.3, 0)
    good = {step.id for one in made for step in one.steps if step.scores["closer"] > 0}
    every = {step.id for one in made for step in one.steps}
    steps = kept(made, Arm(errors=0.3, keep="steps"), 0)
    assert {name for name, weight in steps.items() if weight} == good
    assert set(kept(made, Arm(errors=0.3, keep="everything"), 0)) == every
    successes = kept(made, Arm(errors=0.3, keep="successes"), 0)
    assert 0 < len(successes) < len(every)
    assert not set(successes) <= good  # a success has bad steps, too
    few = kept(made, Arm(errors=0.3, keep="steps", few=True), 0)
    assert len(successes) <= sum(few.values()) < len(successes) + 12


def test_the_judge_errs_at_its_rate() -> None:
    _, made = rollouts(TINY, 0.3, 0)
    truth = {step.id: step.scores["closer"] > 0 for one in made for step in one.steps}
    said = kept(made, Arm(errors=0.3, keep="steps", accuracy=0.7), 0)
    right = sum(bool(said[name]) == good for name, good in truth.items()) / len(truth)
    assert right == pytest.approx(0.7, abs=0.07)


def test_bad_steps_are_context_and_never_targets() -> None:
    _, made = rollouts(TINY, 0.3, 0)
    weights = kept(made, Arm(errors=0.3, keep="steps"), 0)
    for sample, one in zip(
        samples_of(made, weights), (m for m in made if any(weights[s.id] for s in m.steps)), strict=True
    ):
        trained = {
            step for step, weight in zip(sample.step_of, sample.supervised_weight, strict=True) if weight
        }
        assert trained == {at for at, step in enumerate(one.steps) if weights[step.id]}
        assert set(sample.step_of) - {-1} == set(range(len(one.steps)))


def test_a_study_of_two_arms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("30% errors, everything", "30% errors, good steps")
    monkeypatch.setattr(webstar, "ARMS", {name: ARMS[name] for name in names})
    monkeypatch.setattr(webstar, "SHOWN", {name: {1.0: name} for name in names})
    folder = RunFolder(path=tmp_path / "run")
    numbers = webstar.run(TINY, folder)
    assert set(numbers) == {f"success {name}" for name in names}
    assert "precision" in (folder.path / "report.md").read_text(encoding="utf-8")
    assert "<svg" in (folder.path / "webstar.svg").read_text(encoding="utf-8")
