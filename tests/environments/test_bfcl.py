"""BFCL multi-turn through its package: the reference passes its checker and ours, wrong calls fail both, nothing is evaluated."""

from __future__ import annotations

import json
from random import Random

import pytest

pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed")

from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker import multi_turn_checker

from everystep.core.records import ToolCall
from everystep.environments.tooluse.bfcl import ANSWER, BFCL, CATEGORIES, Case, _lines, load_cases


def _play(
    world: BFCL, split: str, index: int, drop: int | None = None
) -> tuple[bool | None, list[list[list[str]]]]:
    """Play the reference, without the call ``drop``; return success and the calls as the package writes them, by turn."""
    env = world.make()
    env.reset(world.task(split, index))
    turns: list[list[list[str]]] = [[]]
    made = 0
    while True:
        text = env.oracle()
        calls = env.parse(text).calls
        if calls[0].name != ANSWER and made == drop:
            made += 1
            result = env.step(env.parse("{nothing"))
        else:
            made += calls[0].name != ANSWER
            result = env.step(env.parse(text))
            if calls[0].name == ANSWER:
                turns.append([])
            else:
                turns[-1].append([_written(call) for call in calls])
        if result.terminated:
            return result.success, turns
        assert not result.truncated


def _written(call: ToolCall) -> str:
    return f"{call.name}({', '.join(f'{key}={value!r}' for key, value in call.arguments.items())})"


def _case(world: BFCL, split: str, index: int) -> Case:
    return load_cases(world.category)[world.task(split, index).seed]


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_reference_of_every_case_passes(category: str) -> None:
    world = BFCL(category=category)
    assert world.size("train") + world.size("test") == 200
    for split in ("train", "test"):
        for index in range(world.size(split)):
            assert _play(world, split, index)[0] is True, _case(world, split, index).id


@pytest.mark.parametrize("category", ["base", "miss_param"])
def test_our_verdict_is_the_package_s_own(category: str) -> None:
    world, rng = BFCL(category=category), Random(0)
    entries = {one["id"]: one for one in _lines(f"BFCL_v4_multi_turn_{category}.json")}
    gold = {
        one["id"]: one["ground_truth"]
        for one in _lines(f"possible_answer/BFCL_v4_multi_turn_{category}.json")
    }
    verdicts = []
    for index in range(world.size("test")):
        case = _case(world, "test", index)
        drop = rng.randrange(sum(map(len, case.reference))) if index % 2 else None
        success, turns = _play(world, "test", index, drop)
        played = turns[: len(case.requests)]
        theirs = multi_turn_checker(
            played, gold[case.id], entries[case.id], "multi_turn", f"test{category}{index}"
        )
        assert success is theirs["valid"], (case.id, theirs.get("error_type"))
        verdicts.append(success)
    assert {True, False} == set(verdicts)


def test_snapshots_share_nothing() -> None:
    world = BFCL()
    env = world.make()
    env.reset(world.task("train", 0))
    kept = env.snapshot()
    while not env.step(env.parse(env.oracle())).terminated:
        pass
    env.restore(kept)
    while not (result := env.step(env.parse(env.oracle()))).terminated:
        pass
    assert result.success is True


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"tool": "__class__", "arguments": {}}', "no tool"),
        ('{"tool": "_load_scenario", "arguments": {}}', "no tool"),
        ('{"tool": "__import__(\'os\').system", "arguments": {}}', "no tool"),
        ('{"tool": "ls"', "not JSON"),
        ("[" * 5000 + "{", "not JSON"),
    ],
)
def test_hostile_calls_are_refused(text: str, why: str) -> None:
    world = BFCL()
    env = world.make()
    env.reset(world.task("train", 0))
    result = env.step(env.parse(text))
    assert not result.valid
    assert why in (result.reason or "")


def test_wrong_arguments_are_for_the_tool_to_say_and_a_turn_ends_after_its_calls() -> None:
    world = BFCL(calls=3)
    env = world.make()
    env.reset(world.task("train", 0))
    name = next(iter(env.tools()))
    text = json.dumps({"tool": name, "arguments": {"nonsense": 1}})
    results = [env.step(env.parse(text)) for _ in range(3)]
    assert "Error during execution" in results[0].observation.text
    assert "User:" in results[2].observation.text
    assert "turn" in results[2].scores


def test_a_tool_that_comes_later_is_told_later() -> None:
    world = BFCL(category="miss_func")
    case = _case(world, "train", 0)
    turn, names = next(iter(case.later.items()))
    env = world.make()
    env.reset(world.task("train", 0))
    assert not set(names) & set(env.tools())
    for _ in range(turn):
        result = env.step(env.parse("I cannot do that"))
    assert set(names) <= set(env.tools())
    assert names[0] in result.observation.text
