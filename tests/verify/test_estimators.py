from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from math import log

import pytest

from everystep.core.errors import ConfigError, JudgeError
from everystep.core.protocols import Evidence, Judge, Looks, Scored
from everystep.core.records import Level, Sample, Span, SpanKind, TokenRecord, Trajectory, Verdict
from everystep.verify.estimators import Labels, LabelToken, LogRatio, Progress
from everystep.verify.evidence import step_evidence
from verify.stored import written


def encode(text: str) -> list[int]:
    """One token a character."""
    return [ord(one) % 1000 for one in text]


class Fixed:
    """Gives every token a log-probability by its id."""

    def __init__(self, table: dict[int, float], other: float = -5.0) -> None:
        self.table, self.other, self.rows = table, other, list[Sample]()

    def score(self, samples: Sequence[Sample]) -> list[Scored]:
        self.rows += samples
        return [
            Scored(logprobs=(0.0, *(self.table.get(one, self.other) for one in sample.ids[1:])))
            for sample in samples
        ]


def each(judge: Judge, trajectory: Trajectory) -> list[Verdict]:
    async def all_() -> list[Verdict]:
        return [(await judge.judge(Level.STEP, one))[0] for one in step_evidence(trajectory, judge.looks)]

    return asyncio.run(all_())


LABELS = Labels(encode=encode, ask="?", good="Y", bad="N")


def test_a_label_token_is_the_odds_of_two_labels_behind_the_step() -> None:
    model = Fixed({ord("Y"): log(0.3), ord("N"): log(0.1)})
    found = each(LabelToken(model=model, labels=LABELS), written(["ab", "cd"]))
    assert [one.score for one in found] == pytest.approx([0.75, 0.75])
    texts = ["".join(map(chr, row.ids)) for row in model.rows]
    assert [text[-1] for text in texts] == ["Y", "N", "Y", "N"]
    assert texts[0][:-1] == texts[1][:-1]
    assert texts[2].startswith("add up\nab\n")
    assert texts[2].endswith("cd?Y")
    assert "Y" not in texts[2][:-1]  # no earlier label in the context


def test_training_rows_have_loss_on_the_label_alone() -> None:
    evidence = next(step_evidence(written(["ab"]), Looks()))
    row = LABELS.sample(evidence, good=False, weight=2.0)
    assert row.ids[-1] == ord("N")
    assert row.supervised_weight[-1] == 2.0
    assert not any(row.supervised_weight[:-1])
    assert len(row.supervised_weight) == len(row.ids)


def test_long_steps_keep_the_task_and_the_step() -> None:
    short = replace(LABELS, most=40)
    evidence = next(step_evidence(written(["x" * 500 + "end"], task="the task"), Looks()))
    ids = short.context(evidence)
    text = "".join(map(chr, ids))
    assert len(ids) == 39
    assert text.startswith("the task")
    assert text.endswith("end?")
    with pytest.raises(ConfigError, match="same token"):
        Labels(encode=encode, good="yes", bad="yellow")
    with pytest.raises(ConfigError, match="has no token"):
        Labels(encode=encode, good="", bad="no")


def with_tokens(trajectory: Trajectory) -> Trajectory:
    spans = (Span(start=0, end=2, kind=SpanKind.CONTEXT), Span(start=2, end=4, kind=SpanKind.SAMPLED))
    steps = tuple(
        replace(step, tokens=TokenRecord(ids=(1, 2, 10 + step.index, 20), spans=spans, logprobs=(0.0, 0.0)))
        for step in trajectory.steps
    )
    return replace(trajectory, steps=steps)


def test_a_log_ratio_is_summed_over_the_sampled_tokens_of_the_step() -> None:
    ours, theirs = Fixed({10: -1.0, 11: -2.0, 20: -1.0}), Fixed({10: -3.0, 11: -1.0, 20: -1.0})
    found = each(LogRatio(model=ours, reference=theirs, beta=0.5), with_tokens(written(["a", "b"])))
    assert [one.reason for one in found] == ["log-ratio 1", "log-ratio -0.5"]
    assert found[0].score == pytest.approx(0.7310586)
    assert len(ours.rows[-1].ids) == 8  # the step stands in the context of the one before
    with pytest.raises(JudgeError, match="has no tokens"):
        each(LogRatio(model=ours, reference=theirs), written(["a"]))


def test_progress_is_the_difference_of_values_and_adds_up() -> None:
    values = {"a": 0.5, "b": 0.9, "c": 0.2}

    def value(evidence: Evidence) -> float:
        return values[evidence.step.action.text]

    found = each(Progress(value=value, start=0.4), written(["a", "b", "c"]))
    assert [one.score for one in found] == pytest.approx([0.1, 0.4, -0.7])
    assert sum(one.score or 0.0 for one in found) == pytest.approx(0.2 - 0.4)
    assert all((one.low, one.high) == (-1.0, 1.0) for one in found)
    with pytest.raises(JudgeError, match="expected 0 to 1"):
        each(Progress(value=lambda _: 3.0), written(["a"]))
