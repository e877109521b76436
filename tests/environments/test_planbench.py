"""PlanBench's Blocksworld: plans are checked by the rules, and the published verdicts come out where the files are."""

from __future__ import annotations

import os
from random import Random

import pytest

from everystep.core.errors import ConfigError
from everystep.environments.reasoning.planbench import (
    COLOURS,
    PlanBench,
    after,
    check,
    facts_of,
    needs_of,
    plan_cases,
    plan_of,
    published_plan,
    said,
    verdict_of,
)

START = facts_of(
    "the red block is clear, the hand is empty, the red block is on top of the blue block and the blue block is on the table"
)
GOAL = facts_of("the blue block is on top of the red block")


def test_a_plan_is_valid_when_all_can_be_done_and_the_goal_holds() -> None:
    plan = published_plan(["(unstack a b)", "(put-down a)", "(pick-up b)", "(stack b a)"])
    assert check(START, GOAL, plan).valid
    assert check(START, GOAL, plan[:-1]).unmet == GOAL
    early = check(START, GOAL, plan[1:])
    assert (early.step, early.unmet) == (1, {("holding", "red")})
    late = check(START, GOAL, (*plan[:2], plan[3]))
    assert (late.step, late.unmet) == (3, {("holding", "blue")})
    held = check(START, GOAL, (plan[0], plan[2]))
    assert (held.step, held.unmet) == (2, {("empty",)})


def test_what_is_said_is_read_as_it_was_meant_and_other_lines_are_passed_over() -> None:
    plan = published_plan(["(unstack a b)", "(put-down a)", "(pick-up b)", "(stack b a)"])
    assert plan_of(said(plan)) == plan
    noisy = "Here is my plan:\n1. Unstack the red block from the blue block\n2) put down the red block\nstack everything\npick up the blue block\n- Stack the blue block on the red block"
    assert plan_of(noisy) == plan
    assert plan_of("") == plan_of("[PLAN END] pick up the red block") == ()


def test_in_random_play_there_is_one_hand_and_every_block_is_somewhere() -> None:
    random = Random(0)
    for _ in range(20):
        blocks = COLOURS[:4]
        state = frozenset({("empty",), *((what, one) for one in blocks for what in ("clear", "table"))})
        for _ in range(40):
            acts = [
                act
                for one in blocks
                for act in (("pick-up", one), ("put-down", one), *((verb, one, two) for two in blocks for verb in ("stack", "unstack") if two != one))
                if set(needs_of(act)) <= state
            ]  # fmt: skip
            state = after(state, random.choice(acts))
            held = [fact for fact in state if fact[0] == "holding"]
            assert len(held) + (("empty",) in state) == 1
            for one in blocks:
                assert sum(fact[0] in ("on", "table", "holding") and fact[1] == one for fact in state) == 1
                under = any(fact[0] == "on" and fact[2] == one for fact in state)
                assert (("clear", one) in state) == (not under and ("holding", one) not in state)


@pytest.mark.parametrize(
    ("text", "told"),
    [("It is not valid: step 3 fails.", (False, 3)), ("VALID", (True, None)), ("I cannot say", (None, None)), ("invalid", (False, None))],
)  # fmt: skip
def test_verdicts_are_read(text: str, told: tuple[bool | None, int | None]) -> None:
    assert verdict_of(text) == told


def test_an_unknown_part_and_missing_files_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="verification"):
        PlanBench(part="verify")
    plan_cases.cache_clear()
    monkeypatch.delenv("EVERYSTEP_DATA", raising=False)
    with pytest.raises(ConfigError, match="LLMs-Planning"):
        PlanBench().size("test")


@pytest.mark.skipif("EVERYSTEP_DATA" not in os.environ, reason="EVERYSTEP_DATA is not set")
def test_published_verdicts_come_out() -> None:
    plan_cases.cache_clear()
    cases = plan_cases("generation")
    assert len(cases) == 500
    assert all(check(case.state, case.goal, case.gold).valid for case in cases)
    assert all(check(case.state, case.goal, case.extracted).valid == case.correct for case in cases)
    read = [plan_of(case.response or "") for case in cases]
    assert all(
        check(case.state, case.goal, plan).valid == case.correct
        for case, plan in zip(cases, read, strict=True)
    )
    assert sum(case.correct is True for case in cases) == 157
    assert sum(plan == case.extracted for case, plan in zip(cases, read, strict=True)) == 497
    judged = plan_cases("verification")
    for case in judged:
        found = check(case.state, case.goal, case.given)
        assert (found.valid, found.step) == verdict_of(case.answer)
    assert sum(verdict_of(case.answer)[0] is True for case in judged) == 324


@pytest.mark.skipif("EVERYSTEP_DATA" not in os.environ, reason="EVERYSTEP_DATA is not set")
@pytest.mark.parametrize("part", ["generation", "verification"])
def test_the_published_answer_is_right_and_nonsense_is_not(part: str) -> None:
    plan_cases.cache_clear()
    world = PlanBench(part=part)
    env = world.make()
    for index in range(0, 500, 25):
        env.reset(world.task("test", index))
        assert env.step(env.parse(env.oracle())).success
        env.reset(world.task("test", index))
        assert not env.step(env.parse("no idea")).success
