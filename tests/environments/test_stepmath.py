from __future__ import annotations

import re
from random import Random

import pytest

from everystep.core.errors import ConfigError
from everystep.core.records import Action
from everystep.environments.check import check_environment, format_report
from everystep.environments.reasoning.stepmath import StepMath, write_step


@pytest.mark.parametrize(
    "world",
    [
        StepMath(),
        StepMath(steps=1, digits=2),
        StepMath(steps=6, digits=3, operations="+-", mode="choose"),
        StepMath(operations="-", mode="choose", choices=8),
        StepMath(mode="choose", undo=False, horizon=4, mistakes="slip,operation,stale", thoughts="filler"),
        StepMath(mode="choose", choices=9, mistakes="stale,slip", thoughts="hedged"),
        StepMath(undo=False, thoughts="filler"),
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


def step_of(text: str) -> tuple[str, str]:
    thought, expression = text.split("\n")
    return thought.removeprefix("thought: "), expression.removeprefix("step: ")


def walk(world: StepMath, index: int) -> list[tuple[str, tuple[str, ...]]]:
    """The right text and the listed ones of every state on the right way."""
    env = world.make()
    seen, found = env.reset(world.task("train", index)), []
    while True:
        right = env.oracle()
        found.append((right, seen.admissible or ()))
        last = env.step(env.parse(right))
        assert last.scores["thought"] == 1.0
        if last.terminated:
            return found
        seen = last.observation


def test_thoughts_change_the_thought_and_nothing_else() -> None:
    plain, filler, hedged = (
        StepMath(
            mode="choose", undo=False, horizon=4, choices=9, mistakes="slip,operation,stale", thoughts=kind
        )
        for kind in ("operation", "filler", "hedged")
    )
    rightly = total = 0
    for index in range(60):
        for (a, one), (b, two), (c, three) in zip(
            walk(plain, index), walk(filler, index), walk(hedged, index), strict=True
        ):
            assert step_of(a)[1] == step_of(b)[1] == step_of(c)[1]
            assert (
                {step_of(text)[1] for text in one}
                == {step_of(text)[1] for text in two}
                == {step_of(text)[1] for text in three}
            )
            assert {step_of(text)[0] for text in two} == {"now the next step"}
            assert {step_of(text)[0].split()[0] for text in one} <= {"add", "subtract", "multiply"}
            for text in three:
                sure = step_of(text)[0].startswith("surely")
                rightly += sure == (text == c)
                total += 1
    assert rightly / total == pytest.approx(0.8, abs=0.03)


def test_a_stale_step_is_a_true_equation_from_an_earlier_value() -> None:
    world = StepMath(steps=4, mode="choose", choices=9, mistakes="stale", undo=False, horizon=4)
    stale = 0
    for index in range(20):
        values: list[str] = []
        for right, listed in walk(world, index):
            value = step_of(right)[1].replace(" ", "")
            for text in set(listed) - {right}:
                left, result = step_of(text)[1].replace(" ", "").split("=")
                assert eval(left) == int(result)  # noqa: S307 -- the text is our own
                begins = re.match(r"\d+", left)
                assert begins is not None
                assert begins[0] in values
                stale += 1
            values.append(value.split("=")[1])
            if len(values) == 1:
                values.insert(0, re.match(r"\d+", value)[0])  # type: ignore[index]
    assert stale > 60


def test_drifts_go_to_one_side() -> None:
    world = StepMath(steps=4, mode="choose", choices=5, mistakes="drift", undo=False, horizon=4)
    sides = []
    for index in range(30):
        side = set()
        for right, listed in walk(world, index):
            true = int(step_of(right)[1].replace(" ", "").split("=")[1])
            errors = [
                int(step_of(text)[1].replace(" ", "").split("=")[1]) - true for text in set(listed) - {right}
            ]
            assert len(errors) == 2
            assert all(1 <= abs(error) <= 9 for error in errors)
            side |= {error > 0 for error in errors}
        assert len(side) == 1
        sides += side
    assert 5 < sum(sides) < 25


def test_without_undo_a_step_stands() -> None:
    world = StepMath(steps=3, mode="choose", undo=False, horizon=3)
    env = world.make()
    seen = env.reset(world.task("train", 0))
    wrong = next(text for text in seen.admissible or () if text != env.oracle())
    after = env.step(env.parse(wrong)).observation
    assert not any("back" in text for text in after.admissible or ())
    refused = env.step(env.parse("thought: that was wrong\nstep: back"))
    assert not refused.valid
    assert env.oracle() in (after.admissible or ())
    for options in ({"mistakes": "slip,typo"}, {"thoughts": "loud"}, {"thoughts": "hedged"}):
        with pytest.raises(ConfigError, match="stepmath"):
            StepMath(**options)  # type: ignore[arg-type]
