"""S3c-Math on a tiny setting: what is spliced, what is masked, and what a forced error is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from everystep.core.errors import DataError
from everystep.core.records import Action, SpanKind
from everystep.data.corrected import spelled, without
from everystep.data.segments import MASKED, UNMASKED, Part
from everystep.evaluate.study import RESULTS
from everystep.learn.samples import supervised_sample
from everystep.recipes import s3c_math
from everystep.recipes.s3c_math import (
    ARMS,
    Config,
    base_of,
    data_of,
    equation,
    flagged,
    spliced,
    starts_of,
    wrong_step,
)
from everystep.run.folder import RunFolder

TINY = Config(
    steps=2, operations="+", solutions=24, base_updates=70, updates=2, sweep_updates=1, batch=4, layers=2, hidden=32,
    test_tasks=6, width=24, heat=1.2, learning_rate=4e-3, seeds=1,
)  # fmt: skip


def test_a_wrong_step_is_followed_by_its_reflection_and_the_improved_step() -> None:
    made = spliced(TINY, 0)
    assert len(made) == 12
    for one in made:
        steps = one.trajectory.steps
        assert one.trajectory.success
        assert one.mistakes == 1
        [at] = [place for place, step in enumerate(steps) if one.parts[step.id][0].part is Part.WRONG]
        wrong, back, better = steps[at : at + 3]
        assert [each.part for each in one.parts[back.id]] == [Part.CORRECTED, Part.REFLECTION, Part.CORRECTED]
        assert flagged(back.action)
        assert better.observation.text == f"taken back . {wrong.observation.text}"
        assert back.action.text == f"thought: that was wrong , {equation(better.action.text)}\nstep: back"
        assert equation(wrong.action.text) != equation(better.action.text)
        assert wrong.tokens is not None  # the model's own
        assert len(steps) == TINY.steps + 2


def test_arms_differ_by_mask_and_words_only() -> None:
    data = {name: data_of(TINY, arm, 0) for name, arm in ARMS.items()}
    assert {len(some) for some in data.values()} == {24}
    assert data["corrections, masked"] == data["corrections, unmasked"]
    assert data["clean"][:12] == data["corrections, masked"][:12]
    for one, bare in zip(
        data["corrections, masked"][12:], data["corrections, masked, no text"][12:], strict=True
    ):
        assert bare == without(one)
        texts = [step.action.text for step in bare.trajectory.steps]
        assert texts.count("thought:\nstep: back") == 1
        assert all(s3c_math.world_of(TINY).parse(text).valid for text in texts)


def test_only_the_wrong_step_is_masked() -> None:
    template = base_of(TINY, 0).model.template
    for one in spliced(TINY, 0):
        masked, whole = (supervised_sample(spelled(one, template, weights)) for weights in (MASKED, UNMASKED))
        assert masked.ids == whole.ids
        lost = [
            token
            for token, weight, other in zip(
                whole.ids, whole.supervised_weight, masked.supervised_weight, strict=True
            )
            if weight != other
        ]
        wrong = next(step for step in one.trajectory.steps if one.parts[step.id][0].part is Part.WRONG)
        assert wrong.tokens is not None
        [span] = [each for each in wrong.tokens.spans if each.kind is SpanKind.SAMPLED]
        assert tuple(lost) == wrong.tokens.ids[span.start : span.end]
        assert template.decode(tuple(lost[:-1])) == wrong.action.text


def test_forced_errors_are_wrong_steps_of_held_out_problems() -> None:
    for one in starts_of(TINY):
        assert one.task.split == "test"
        assert "mode" not in one.task.config
        assert one.wrong.scores["progress"] < 0 < one.right.scores["progress"]
        assert not flagged(one.wrong.action)


@pytest.mark.parametrize(
    ("other", "wrong"),
    [
        ("thought: add 5\nstep: 7 + 5 = 1 3", True),
        ("thought: add 4\nstep: 7 + 4 = 1 1", True),
        ("thought: so\nstep: 7 + 5 = 1 2", False),  # another thought, the same step
        ("thought: that was wrong\nstep: back", False),
        ("seven and five is thirteen", False),
        ("", False),
    ],
)
def test_what_counts_as_a_wrong_step(other: str, *, wrong: bool) -> None:
    assert wrong_step("thought: add 5\nstep: 7 + 5 = 1 2", other) is wrong


def test_flags() -> None:
    assert flagged(Action(text="thought:\nstep: back"))
    assert not flagged(Action(text="thought: back\nstep: 1 + 1 = 2"))


def test_too_few_wrong_steps_are_named() -> None:
    with pytest.raises(DataError, match="Raise heat"):
        spliced(replace(TINY, base_updates=1, width=1, heat=0.01), 0)


def test_the_study_runs(tmp_path: Path) -> None:
    told = s3c_math.run(TINY, RunFolder(path=tmp_path))
    assert set(told) == {f"{key} {name}" for key in ("accuracy", "recall", "after error") for name in ARMS}
    values = json.loads((tmp_path / RESULTS).read_text())["arms"]["clean"]["values"]
    assert values["recall"] == [0.0]  # who never saw a correction does not write one
    assert set(values) == {
        f"{name}{key}"
        for name in ("", "sampled ")
        for key in ("accuracy", "after error", "recall", "false alarms")
    }
