from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from everystep.core.errors import DataError
from everystep.core.protocols import Judge, Looks
from everystep.core.records import Level, PreferencePair, Trajectory
from everystep.learn.learner import LocalLearner
from everystep.learn.step_reward import (
    RANKING,
    label_samples,
    labelled_steps,
    ranking_samples,
    train_label_tokens,
    train_step_model,
)
from everystep.verify.estimators import Labels, LabelToken, log_odds
from everystep.verify.evidence import step_evidence
from everystep.verify.regress import Trained, Training
from verify.stored import written

WORDS = {
    word: number
    for number, word in enumerate(
        ["\n", "?", ">", "good", "bad", "a", "b", "c", "d", "e", "f", "g", "h", "task", "seen"], 1
    )
}


def encode(text: str) -> list[int]:
    """A token a word; what is unknown is 0."""
    return [WORDS.get(word, 0) for word in text.split()]


FORM = Labels(encode=encode, ask=" ?", good="good", bad="bad", most=64)
FORM_LOOKS = Looks(actions=None, observations=0)


def data(count: int) -> tuple[list[Trajectory], dict[str, float]]:
    """Steps with an ``a`` are good, those with a ``b`` are bad; the rest is noise."""
    trajectories, labels = [], {}
    for number in range(count):
        texts = [
            f"{'cdefgh'[(number + place) % 6]} {'ab'[(number // (place + 1)) % 2]}" for place in range(3)
        ]
        trajectories.append(written(texts, name=f"t{number}", task="task"))
        labels |= {
            f"t{number}/{place}": float(text.endswith("a")) for place, text in enumerate(texts) if place != 1
        }
    return trajectories, labels


def agreement(judge: Judge, trajectories: list[Trajectory], labels: dict[str, float]) -> float:
    async def right() -> int:
        count = 0
        for trajectory in trajectories:
            for evidence in step_evidence(trajectory, judge.looks):
                if evidence.targets[0] in labels:
                    (found,) = await judge.judge(Level.STEP, evidence)
                    count += ((found.score or 0.0) >= 0.5) == bool(labels[evidence.targets[0]])
        return count

    return asyncio.run(right()) / len(labels)


def test_only_labelled_steps_are_targets() -> None:
    trajectories, labels = data(4)
    found = list(labelled_steps(trajectories, labels))
    assert {evidence.targets[0] for evidence, _ in found} == set(labels)
    rows = label_samples(trajectories, labels, FORM)
    assert len(rows) == len(labels)
    sums = {
        good: sum(row.supervised_weight[-1] for row in rows if row.ids[-1] == FORM.label(good))
        for good in (True, False)
    }
    assert sums[True] == pytest.approx(sums[False])
    with pytest.raises(DataError, match="expected 0 to 1"):
        list(labelled_steps(trajectories, {"t0/0": 3.0}))
    with pytest.raises(DataError, match="all labels are equal"):
        label_samples(trajectories, {"t0/0": 1.0, "t1/0": 1.0}, FORM)


def test_any_learner_can_be_taught_the_label(make_learner: Callable[..., LocalLearner]) -> None:
    learner = make_learner()
    trajectories, labels = data(12)
    losses = train_label_tokens(
        learner, label_samples(trajectories, labels, FORM), epochs=12, batch=8, learning_rate=5e-3
    )
    assert losses[-1] < 0.3 * losses[0]
    judge = LabelToken(model=learner, labels=FORM)
    assert agreement(judge, trajectories, labels) >= 0.9


def test_the_small_form_learns_the_same_labels() -> None:
    trajectories, labels = data(40)
    judge = Trained(model=train_step_model(trajectories, labels, Training(size=1 << 10)))
    assert agreement(judge, trajectories, labels) >= 0.95


def test_pairs_teach_to_score_the_chosen_step_higher(make_learner: Callable[..., LocalLearner]) -> None:
    trajectories, labels = data(24)
    evidence = {one.targets[0]: one for walk in trajectories for one in step_evidence(walk, FORM_LOOKS)}
    good = [name for name, label in labels.items() if label]
    bad = [name for name, label in labels.items() if not label]
    pairs = [
        PreferencePair(context=(), chosen=one, rejected=other, level=Level.STEP)
        for one, other in zip(good, bad, strict=False)
    ]
    rows = ranking_samples(pairs[:16], evidence, FORM)
    assert len(rows) == 32
    assert {len(row.allowed or {}) for row in rows} == {1}
    model = make_learner()
    before = model.forward_backward(rows, RANKING)["loss"]
    for _ in range(40):
        model.optim_step(learning_rate=3e-3)
        after = model.forward_backward(rows, RANKING)["loss"]
    assert after < 0.5 * before
    held = pairs[16:]
    scores = [log_odds(model, FORM, [evidence[pair.chosen], evidence[pair.rejected]]) for pair in held]
    assert len(held) > 4
    assert sum(one > other for one, other in scores) > 0.8 * len(held)


def test_the_loss_of_a_pair_is_that_of_bradley_and_terry(make_learner: Callable[..., LocalLearner]) -> None:
    trajectories, _ = data(4)
    evidence = {one.targets[0]: one for walk in trajectories for one in step_evidence(walk, FORM_LOOKS)}
    model = make_learner()
    pair = PreferencePair(context=(), chosen="t0/0", rejected="t1/0", level=Level.STEP)
    loss = model.forward_backward(ranking_samples([pair], evidence, FORM), RANKING)["loss"]
    odds = log_odds(model, FORM, [evidence["t0/0"], evidence["t1/0"]])
    chosen, rejected = (-math.log1p(math.exp(-one)) for one in odds)  # log p(good | good or bad)
    assert loss == pytest.approx(math.log1p(math.exp(rejected - chosen)), abs=1e-5)


def test_pairs_that_read_the_same_have_no_rows() -> None:
    trajectories, _ = data(2)
    evidence = {one.targets[0]: one for one in step_evidence(trajectories[0], FORM_LOOKS)}
    pair = PreferencePair(context=(), chosen="t0/0", rejected="t0/1", level=Level.STEP)
    blind = replace(FORM, tell=lambda _: "task")
    assert ranking_samples([pair], evidence, blind) == []
    with pytest.raises(DataError, match="'t9/0' of a pair has no evidence"):
        ranking_samples([replace(pair, rejected="t9/0")], evidence, FORM)
