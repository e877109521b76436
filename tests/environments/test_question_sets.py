"""Answers are read and compared as each set publishes it, as text: nothing a model writes is evaluated."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.environments.check import check_environment, format_report
from everystep.environments.published import source_folder
from everystep.environments.reasoning.bbh import choices_of
from everystep.environments.reasoning.questions import (
    Questions,
    questions,
    said,
    same_latex,
    same_number,
    same_text,
)

needs = pytest.mark.skipif(source_folder("gsm8k") is None, reason="EVERYSTEP_DATA is not set")


@pytest.mark.parametrize(
    ("truth", "text", "right"),
    [
        ("18", "9 * 2 = 18 dollars\n#### 18", True),
        ("18", "it is 18. #### 17", False),
        ("1000", "A: $1,000", True),
        ("-3", "the answer is -3.0", True),
        ("5", "answer: five", False),
        ("5", "", False),
        ("5", "answer: " + "9" * 5000, False),
    ],
)
def test_numbers(truth: str, text: str, right: bool) -> None:
    assert same_number(truth, text) is right


@pytest.mark.parametrize(
    ("truth", "text", "right"),
    [
        (r"\frac{1}{2}", r"so \boxed{\dfrac{1}{2}}", True),
        (r"\frac{1}{2}", r"\boxed{0.5}", True),
        (r"\frac{1}{2}", r"\boxed{\frac{1}{3}}", False),
        (r"\left( 3, \frac{\pi}{2} \right)", r"\boxed{(3,\frac{\pi}{2})}", True),
        (r"\text{Evelyn}", r"the answer is Evelyn.", True),
        ("p - q", r"\boxed{p-q}", True),
        ("1,000", r"\boxed{1000}", True),
        ("6", r"\boxed{6} or rather \boxed{7}", False),
        ("x", r"\boxed{" * 3000, False),
        ("4", "__import__('os').system('true')", False),
    ],
)
def test_latex(truth: str, text: str, right: bool) -> None:
    assert same_latex(truth, text) is right


def test_text() -> None:
    assert same_text("(B)", "Hmm.\nSo the answer is (B).")
    assert not same_text("(B)", "(B) is wrong, so the answer is (A).")
    assert same_text("apple pear", "answer: Apple  pear.")


@given(st.text(max_size=300))
def test_nothing_that_a_model_writes_raises(text: str) -> None:
    said(text)
    for same in (same_number, same_latex, same_text):
        assert same("1", text) in (True, False)


def test_a_wrong_source_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'gsm8k'"):
        Questions(source="gsm8")


@needs
@pytest.mark.parametrize(
    ("source", "count"), [("gsm8k", 1319), ("math500", 500), ("aime24", 30), ("amc23", 40), ("bbh", 3824)]
)
def test_the_published_answers_are_right_and_others_are_not(source: str, count: int) -> None:
    world = Questions(source=source)
    assert world.size("test") == count
    report = check_environment(world, tasks=2)
    assert report.ok, format_report(report)
    env = world.make()
    others = 0
    for index in range(count):
        task = world.task("test", index)
        env.reset(task)
        assert env.step(env.parse(env.oracle())).success is True, task.id
        env.reset(task)
        others += bool(env.step(env.parse("answer: \\boxed{-987654321}")).success)
    assert others == 0


@needs
def test_published_solutions_are_judged_as_published() -> None:
    folder = source_folder("gsm8k")
    assert folder is not None
    right: Counter[str] = Counter()
    with gzip.open(folder / "example_model_solutions.jsonl.gz", "rt", encoding="utf-8") as file:
        for line, question in zip(file, questions("gsm8k"), strict=True):
            for model, told in json.loads(line).items():
                if isinstance(told, dict):
                    ours = same_number(question.answer, told["solution"])
                    assert ours == told["is_correct"], (model, question.text)
                    right[model] += ours
    assert right == {"6b_finetuning": 286, "6b_verification": 515, "175b_finetuning": 458, "175b_verification": 742}  # fmt: skip


@needs
def test_published_chains_of_thought_have_the_published_accuracy() -> None:
    folder = source_folder("bbh")
    assert folder is not None
    outputs, published = {}, {}
    with gzip.open(folder / "code_davinci_002_cot_outputs.jsonl.gz", "rt", encoding="utf-8") as file:
        for record in map(json.loads, file):
            family = record["path"].rpartition("/")[2].partition("_few_shot")[0]
            if record["path"].endswith("_eval_metrics.jsonl"):
                published[family] = record["data"]["accuracy"]
            else:
                outputs[family] = record["data"]["outputs"]
    assert len(outputs) == len(published) == 27
    for family, some in outputs.items():
        right = sum(same_text(one["target"], one["prediction"]) for one in some)
        assert 100 * right / len(some) == pytest.approx(published[family]), family


@needs
def test_a_guess_among_the_choices_is_right_as_often_as_chance_says() -> None:
    world = Questions(source="bbh", choices=True)
    env, draw = world.make(), Random(0)
    right, expected, variance = 0, 0.0, 0.0
    for index in range(world.size("test")):
        offered = env.reset(world.task("test", index)).admissible
        assert offered
        right += bool(env.step(env.parse(draw.choice(offered))).success)
        chance = 1 / len(offered)
        expected, variance = expected + chance, variance + chance * (1 - chance)
    assert abs(right - expected) < 3 * variance**0.5


@needs
def test_choices_are_those_of_the_question() -> None:
    assert choices_of("formal_fallacies", "Is it so?\nOptions:\n- valid \n- invalid") == ("valid", "invalid")
    assert choices_of("boolean_expressions", "True or False is") == ("True", "False")
    assert choices_of("word_sorting", "Sort the words (A) b") == ()
    with pytest.raises(ConfigError, match="offers choices"):
        Questions(source="bbh", part="word_sorting", choices=True).size("test")


@needs
def test_published_samples_of_competition_problems_are_judged_as_published() -> None:
    folder = source_folder("math")
    assert folder is not None
    judged = right = 0
    with gzip.open(folder / "math_cot_100.jsonl.gz", "rt", encoding="utf-8") as file:
        for record in map(json.loads, file):
            for text, score in zip(record["code"], record["score"], strict=True):
                assert same_latex(str(record["gt"]), text) == score, (record["idx"], text[-200:])
                judged, right = judged + 1, right + score
    assert judged == 800
    assert 0 < right < judged
