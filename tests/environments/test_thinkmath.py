from __future__ import annotations

import pytest

from everystep.core.errors import ConfigError
from everystep.core.protocols import Sampling
from everystep.environments.check import check_environment, format_report
from everystep.environments.reasoning.thinkmath import (
    ANSWER,
    DECISION,
    MODES,
    ThinkMath,
    decide,
    force_of,
    forced,
    mode_of,
    segment_of,
    words,
)
from everystep.models.tiny import tiny_tokenizer
from everystep.run.demonstrate import demonstrator
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Limits, jobs_of, rollout

WORLD = ThinkMath()


@pytest.mark.parametrize(
    "world", [WORLD, ThinkMath(force="on"), ThinkMath(easy=1, low=3, high=24, top=9, hard=0.9)]
)
def test_contract(world: ThinkMath) -> None:
    report = check_environment(world)
    assert report.ok, format_report(report)


def play(world: ThinkMath, index: int, decision: str, answer: str) -> tuple[float, bool | None, bool]:
    env = world.make()
    env.reset(world.task("test", index))
    env.step(env.parse(decision))
    result = env.step(env.parse(answer))
    assert result.terminated
    return result.reward, result.success, result.valid


def test_the_answer_is_right_only_in_the_form_of_its_mode() -> None:
    world = ThinkMath(easy=1, hard=0.0)
    task = world.task("test", 3)
    _, _, first, _, operation, operand = task.instruction.split()
    value = eval(f"({first} {operation} {operand}) % 10")  # noqa: S307 -- the text is our own
    assert value == task.reference
    plain, thought = f"answer {value}", f"think b {operation} {operand} = {value} answer {value}"
    assert play(world, 3, "judge easy mode off", plain) == (1.0, True, True)
    assert play(world, 3, "judge hard mode on", thought) == (1.0, True, True)
    assert play(world, 3, "judge easy mode on", plain) == (0.0, False, False)
    assert play(world, 3, "judge hard mode off", thought) == (0.0, False, False)
    assert play(world, 3, "judge easy mode off", f"answer {(value + 1) % 10}") == (0.0, False, True)
    assert play(world, 3, "judge easy mode off", plain + " or 3") == (0.0, False, False)


def test_lengths_are_those_that_were_asked_for() -> None:
    steps = [int(WORLD.task("train", index).tags["steps"]) for index in range(400)]
    assert set(steps) == {*range(1, WORLD.easy + 1), *range(WORLD.low, WORLD.high + 1)}
    assert WORLD.hard - 0.08 < sum(one > WORLD.easy for one in steps) / len(steps) < WORLD.hard + 0.08


def test_a_forced_task_shows_the_same_and_takes_one_mode_only() -> None:
    env, task = WORLD.make(), WORLD.task("train", 0)
    seen = env.reset(task)
    for mode in MODES:
        other = forced(task, mode)
        assert (other.id, other.instruction, force_of(other), force_of(task)) == (
            task.id,
            task.instruction,
            mode,
            "",
        )
        shown = env.reset(other)
        assert (shown.text, shown.anchor) == (seen.text, seen.anchor)
        assert shown.admissible == tuple(one for one in seen.admissible or () if one.endswith(f" {mode}"))
        result = env.step(env.parse(decide("easy", "on" if mode == "off" else "off")))
        assert not result.valid
        assert mode_of_oracle(env, other) == mode


def mode_of_oracle(env: object, task: object) -> str:
    env.reset(task)  # type: ignore[attr-defined]
    return str(env.oracle().split()[-1])  # type: ignore[attr-defined]


def test_segments_are_steps_and_every_word_is_known() -> None:
    hosts = LocalHosts(WORLD)
    tasks = [forced(WORLD.task("train", index), MODES[index % 2]) for index in range(40)]
    jobs = jobs_of(tasks, group_size=1, prefix="x", seed=0)
    tokenizer = tiny_tokenizer(words())
    for one in rollout(hosts, demonstrator(hosts), jobs, sampling=Sampling(), limits=Limits(max_steps=4)):
        assert one.success
        assert [segment_of(step) for step in one.steps] == [DECISION, ANSWER]
        assert [mode_of(step) for step in one.steps] == [force_of(one.task), None]
        for text in (
            one.task.instruction,
            *(part for s in one.steps for part in (s.observation.text, s.action.text)),
        ):
            assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="force"):
        ThinkMath(force="maybe")
    with pytest.raises(ConfigError, match="high"):
        ThinkMath(low=5, high=4)
