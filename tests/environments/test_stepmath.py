from __future__ import annotations

from random import Random

import pytest

from everystep.core.errors import ConfigError
from everystep.core.records import Action
from everystep.environments.check import check_environment, format_report
from everystep.environments.stepmath import StepMath, write_step


@pytest.mark.parametrize(
    "world",
    [
        StepMath(),
        StepMath(steps=1, digits=2),
        StepMath(steps=6, digits=3, operations="+-", mode="choose"),
        StepMath(operations="-", mode="choose", choices=8),
    ],
)
def test_contract(world: StepMath) -> None:
    report = check_environment(world)
    assert report.ok, format_report(report)


def test_the_oracle_writes_true_equations() -> None:
    world = StepMath(steps=6, digits=2)
    env = world.make()
    for index in range(50):
        task = world.task("test", index)
        env.reset(task)
        while True:
            text = env.oracle()
            left, right = text.split("step:")[1].replace(" ", "").split("=")
            assert eval(left) == int(right)  # noqa: S307 -- the text is our own
            result = env.step(env.parse(text))
            assert result.scores == {"correct": 1.0, "thought": 1.0, "progress": 1.0}
            if result.terminated:
                break
        assert result.success is True
        assert int(right) == task.reference


def test_a_mistake_is_carried_on_and_can_be_taken_back() -> None:
    world = StepMath(steps=3, operations="+")
    env = world.make()
    seen = env.reset(world.task("train", 0))
    first = seen.anchor
    right = env.oracle()
    result = env.step(env.parse(right + " 0"))
    assert result.scores == {"correct": 0.0, "thought": 1.0, "progress": -1.0}
    assert result.valid
    value = result.observation.anchor
    assert value is not None
    assert " ".join(value) in result.observation.text
    assert "step: back" in env.oracle()
    result = env.step(env.parse(env.oracle()))
    assert result.observation.anchor == first
    assert result.scores["progress"] == 1.0
    assert env.oracle() == right


def test_a_wrong_end_fails() -> None:
    world = StepMath(steps=1)
    env = world.make()
    env.reset(world.task("train", 0))
    result = env.step(env.parse(env.oracle() + "1"))
    assert (result.terminated, result.success, result.reward) == (True, False, 0.0)


def test_thought_and_expression_are_scored_apart() -> None:
    world = StepMath()
    env = world.make()
    task = world.task("train", 0)
    env.reset(task)
    thought, expression = env.oracle().split("\n")
    result = env.step(env.parse("thought: sing a song\n" + expression))
    assert (result.scores["correct"], result.scores["thought"]) == (1.0, 0.0)
    env.reset(task)
    result = env.step(env.parse(thought + " step: 1 + 1 = 2"))
    assert (result.scores["correct"], result.scores["thought"]) == (0.0, 1.0)


def test_progress_telescopes_to_the_distance() -> None:
    world = StepMath(steps=5, mode="choose", horizon=400)
    env, rng = world.make(), Random(3)
    for index in range(30):
        seen = env.reset(world.task("train", index))
        total = 0.0
        while True:
            assert seen.admissible is not None
            result = env.step(Action(text=rng.choice(seen.admissible)))
            total += result.scores["progress"]
            seen = result.observation
            if result.terminated:
                break
        assert total == 5.0 if result.success else total < 5.0


@pytest.mark.parametrize(
    "text", ["thought : add 8 step : 8 + 8 = 1 6", "thought:add 8\nstep:8+8=16", "thought: step: 8+8=1 6"]
)
def test_spaces_and_lines_do_not_matter(text: str) -> None:
    assert StepMath().make().parse(text).valid


@pytest.mark.parametrize(
    "text", ["8 + 8 = 16", "step: 8 + 8 = 16", "thought: x step: 8 + = 1", "thought: x step: 2 / 1 = 2"]
)
def test_other_texts_are_refused(text: str) -> None:
    action = StepMath().make().parse(text)
    assert (action.valid, action.reason) == (False, "expected: thought: WORDS step: A + B = C")


def test_back_at_the_start_is_refused() -> None:
    world = StepMath()
    env = world.make()
    env.reset(world.task("train", 0))
    assert (
        env.step(env.parse("thought: x step: back")).reason == "nothing is written that could be taken back"
    )


def test_write_step_and_bad_options() -> None:
    assert write_step(12, "-", 3, 9) == "thought: subtract 3\nstep: 1 2 - 3 = 9"
    with pytest.raises(ConfigError, match="operations is '/'"):
        StepMath(operations="/")
    with pytest.raises(ConfigError, match="grow beyond 36 digits"):
        StepMath(steps=20, digits=3)
