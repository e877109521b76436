from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from everystep.core.errors import ConfigError, DataError
from everystep.environments.check import check_environment, format_report
from everystep.environments.reasoning.procbench import ProcBench, _generated, canonical, same
from everystep.environments.reasoning.procbench_cases import BANDS, FAMILIES, load_cases

FOLDER = Path(os.environ.get("EVERYSTEP_DATA", "/nowhere")) / "procbench"
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason="EVERYSTEP_DATA/procbench is not there")


@pytest.mark.parametrize(
    "world",
    [
        ProcBench(),
        ProcBench(ending="agent", reward="prefix"),
        ProcBench(strict=False, band="short"),
        ProcBench(cases="generated", lengths="2-6"),
    ],
)
def test_contract(world: ProcBench) -> None:
    report = check_environment(world, tasks=2)
    assert report.ok, format_report(report)


def play(world: ProcBench, index: int, *texts: str):  # type: ignore[no-untyped-def]
    env = world.make()
    env.reset(world.task("train", index))
    return [env.step(env.parse(text)) for text in texts]


def find(world: ProcBench, length: int, family: str = "any") -> int:
    """The index of a case of this length."""
    for index in range(world.size("train")):
        task = world.task("train", index)
        if task.tags["length"] == str(length) and family in ("any", task.tags["family"]):
            return index
    raise AssertionError("no such case")


def test_the_sample_has_four_cases_of_each_family() -> None:
    cases = load_cases("sample")
    assert len(cases) == 76
    assert set(Counter(case.family for case in cases).values()) == {4}
    assert {case.band for case in cases} == set(BANDS)
    world = ProcBench()
    assert world.size("train") + world.size("test") == 76
    assert min(world.size("train"), world.size("test")) > 5


def test_each_step_shows_the_procedure_its_number_and_the_current_state() -> None:
    world = ProcBench(family="sort")
    index = find(world, 2)
    task = world.task("train", index)
    env = world.make()
    seen = env.reset(task)
    assert task.instruction.startswith("Sort a given string into alphabetical order step by step")
    case = load_cases("sample")[task.seed]
    assert seen.text == f"Step 1 of 2. Current state: {canonical(case.first)}"
    seen = env.step(env.parse(env.oracle())).observation
    assert seen.text == f"Step 2 of 2. Current state: {canonical(case.states[0])}"
    result = env.step(env.parse(env.oracle()))
    assert result.success
    assert result.reward == 1.0
    assert result.scores == {
        "right": 1.0,
        "prefix_accuracy": 1.0,
        "sequential_match": 1.0,
        "final_match": 1.0,
    }


def test_a_wrong_state_ends_a_strict_case_and_keeps_its_prefix() -> None:
    world = ProcBench(family="sort", reward="prefix")
    index = find(world, 2)
    truth = world.task("train", index).reference
    assert isinstance(truth, list)
    *_, last = play(world, index, canonical(truth[0]), '"x"')
    assert (last.terminated, last.success) == (True, False)
    assert last.scores == {"right": 0.0, "prefix_accuracy": 0.5, "sequential_match": 0.0, "final_match": 0.0}


def test_without_strict_it_goes_on_from_what_was_answered() -> None:
    world = ProcBench(family="sort", strict=False)
    index = find(world, 2)
    truth = world.task("train", index).reference
    assert isinstance(truth, list)
    first, last = play(world, index, '"x"', canonical(truth[1]))
    assert first.observation.text == 'Step 2 of 2. Current state: "x"'
    assert last.scores == {"right": 1.0, "prefix_accuracy": 0.0, "sequential_match": 0.0, "final_match": 1.0}
    assert (last.terminated, last.success) == (True, False)


def test_an_agent_that_ends_the_case_itself() -> None:
    world = ProcBench(family="sort", ending="agent")
    index = find(world, 2)
    truth = world.task("train", index).reference
    assert isinstance(truth, list)
    first, last = (canonical(state) for state in truth)
    assert play(world, index, first, f"FINAL {last}")[-1].success is True
    assert (
        play(world, index, first, last, f"FINAL {last}")[-1].success is True
    )  # as published: said twice counts once
    assert play(world, index, f"FINAL {last}")[-1].scores["prefix_accuracy"] == 0.0
    early = play(world, index, f"FINAL {first}")[-1]
    assert (early.terminated, early.success) == (True, False)
    late = play(
        ProcBench(family="sort", ending="agent", strict=False), index, first, last, '"x"', f"FINAL {last}"
    )[-1]
    assert late.success is False
    assert late.scores["prefix_accuracy"] == 0.5  # two of four


def test_rewards_of_the_prefix_add_up_to_the_prefix_accuracy() -> None:
    world = ProcBench(strict=False, reward="prefix")
    rng = Random(3)
    for index in range(12):
        env = world.make()
        env.reset(world.task("train", index))
        total = 0.0
        while True:
            result = env.step(env.parse(env.oracle() if rng.random() < 0.9 else '"?"'))
            total += result.reward
            if result.terminated:
                break
        assert total == pytest.approx(result.scores["prefix_accuracy"])


@pytest.mark.parametrize(
    ("truth", "answer", "equal"),
    [
        (5, 5, True),
        (5, "5", True),
        ("21", 21, True),
        ("a", "b", False),
        ("a", ["a"], False),
        (["a", "1"], ["a", 1], True),
        (["a"], ["a", "b"], False),
        (["a", "b"], ["b", "a"], False),
        ([1], "[1]", False),
        (231, [231], False),
    ],
)
def test_equality_is_the_published_one(truth: object, answer: object, equal: bool) -> None:
    assert same(truth, answer) is equal  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["abc", "{}", "null", "true", "1.5", '[["a"]]', '"a" "b"', "NaN", '"a', "[" * 9000]
)
def test_what_is_no_state_is_refused_and_costs_a_turn_only(text: str) -> None:
    result = play(ProcBench(), 0, text)[0]
    assert not result.valid
    assert not result.terminated
    assert result.observation.text.startswith("nothing happens\n")


def test_success_falls_as_the_power_of_the_rate() -> None:
    """An agent that is right with chance 0.97 at each step solves a case of n steps with chance 0.97 to the n."""
    world = ProcBench(strict=True)
    rng = Random(11)
    env = world.make()
    solved, expected, spread = 0, 0.0, 0.0
    for turn in range(1200):
        task = world.task("train", turn % world.size("train"))
        chance = 0.97 ** int(task.tags["length"])
        expected += chance
        spread += chance * (1 - chance)
        env.reset(task)
        while True:
            result = env.step(env.parse(env.oracle() if rng.random() < 0.97 else '"wrong"'))
            if result.terminated:
                break
        solved += result.success is True
    assert abs(solved - expected) < 4 * spread**0.5


def test_generated_cases_have_no_end_and_no_case_is_in_both_splits() -> None:
    world = ProcBench(
        cases="generated", lengths="2-3", family="encode"
    )  # 162 problems of two runs, 1,458 of three
    assert world.size("train") is world.size("test") is None
    told = {split: {world.task(split, n).instruction for n in range(300)} for split in ("train", "test")}
    assert len(told["train"]) > 100
    assert len(told["test"]) > 50
    assert not told["train"] & told["test"]
    assert world.task("train", 7) == world.task("train", 7)
    assert world.task("train", 7).reference != world.task("train", 8).reference


@pytest.mark.parametrize("family", ["any", "decompose", "count2", "fill_word", "delete_word"])
def test_the_oracle_solves_generated_cases(family: str) -> None:
    world = ProcBench(cases="generated", family=family, lengths="24-30", ending="agent", strict=False)
    env = world.make()
    for index in range(6):
        task = world.task("test", index)
        assert 24 <= int(task.tags["length"]) <= 30
        assert family in ("any", task.tags["family"])
        env.reset(task)
        while not (result := env.step(env.parse(env.oracle()))).terminated:
            pass
        assert result.success


def test_the_state_of_a_generated_case_is_kept_without_the_case() -> None:
    world = ProcBench(cases="generated", family="rotate")
    env, other = world.make(), world.make()
    task = world.task("train", 3)
    env.reset(task)
    env.step(env.parse(env.oracle()))
    _generated.cache_clear()
    kept = env.dump()
    assert list(kept["state"]) == ["answers", "right"]  # type: ignore[index,call-overload,arg-type]
    other.load(task, kept)
    assert other.oracle() == env.oracle()


def test_lengths_select_and_bound() -> None:
    world = ProcBench(lengths="2-6")
    assert {world.task("train", n).tags["band"] for n in range(world.size("train") or 0)} == {"short"}
    assert ProcBench(cases="generated", band="long").bounds == (17, 25)
    assert ProcBench(cases="generated", band="long", lengths="20-60").bounds == (20, 25)
    for wrong in ({"lengths": "6"}, {"lengths": "7-6"}, {"lengths": "1-5"}, {"lengths": "2-61"}):
        with pytest.raises(ConfigError, match="lengths"):
            ProcBench(cases="generated", **wrong)
    assert ProcBench(cases="generated", lengths="2-100", horizon=100).bounds == (2, 100)
    with pytest.raises(ConfigError, match="no number of states"):
        ProcBench(band="short", lengths="8-9")


@needs_data
def test_every_published_case_is_solved_by_its_truth() -> None:
    world = ProcBench(cases="published")
    env = world.make()
    count: Counter[str] = Counter()
    for split in ("train", "test"):
        for index in range(world.size(split)):
            task = world.task(split, index)
            env.reset(task)
            for _ in range(int(task.tags["length"])):
                result = env.step(env.parse(env.oracle()))
            assert result.success, task.id
            count[f"{task.tags['family']} {task.tags['band']}"] += 1
    assert sum(count.values()) == 3192
    assert len(count) == 19 * 3


def test_bad_options_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'sort'"):
        ProcBench(family="sortt")
    monkeypatch.delenv("EVERYSTEP_DATA", raising=False)
    with pytest.raises(ConfigError, match="EVERYSTEP_DATA is not set"):
        ProcBench(cases="published").size("train")
    broken = tmp_path / "cases.jsonl"
    broken.write_text('{"task": "task01"}\n')
    with pytest.raises(DataError, match=r"cases\.jsonl: a line is no case"):
        ProcBench(cases=str(broken)).size("train")
    assert len(FAMILIES) == 23
