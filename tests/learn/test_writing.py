"""A tiny model learns answers to prompts."""

from __future__ import annotations

import pytest

from everystep.core.errors import ConfigError
from everystep.learn.writing import Writer, spaced

PAIRS = [(f"say {word}", f"it is {word}") for word in ("red", "green", "blue", "black")]


def test_it_learns_pairs_by_heart_and_the_same_way_each_time() -> None:
    made = []
    for _ in range(2):
        writer = Writer.begin([text for pair in PAIRS for text in pair], size="0.02M", seed=3, max_tokens=8)
        before = writer.write([prompt for prompt, _ in PAIRS])
        told = writer.learn(PAIRS, updates=60, batch=4, learning_rate=2e-2)
        made.append((before, writer.write([prompt for prompt, _ in PAIRS], at_once=3), told["loss"]))
        assert (writer.updates, writer.tokens) == (
            60,
            60 * sum(len(one.ids) for one in writer.samples(PAIRS)),
        )
    assert made[0] == made[1]
    assert made[0][1] == [answer for _, answer in PAIRS]
    assert made[0][0] != made[0][1]


def test_the_loss_is_on_the_answers_only() -> None:
    writer = Writer.begin([text for pair in PAIRS for text in pair], size="0.02M")
    (sample,) = writer.samples(PAIRS[:1])
    answer = len(writer.model.template.action(PAIRS[0][1]))
    assert sum(weight > 0 for weight in sample.supervised_weight) == answer
    assert sample.supervised_weight[: len(sample.ids) - answer] == (0.0,) * (len(sample.ids) - answer)


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(ConfigError, match="no pairs"):
        Writer.begin(["a"], size="0.02M").learn([], updates=1)


def test_spaced_lines_are_cut_and_words_stand_alone() -> None:
    assert spaced('Enter "Emile"\n' + "x" * 200, line=20).splitlines() == ['Enter  " Emile " ', "x" * 20]
