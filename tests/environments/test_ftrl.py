"""FTRL's cases: published sources run in the sandbox only, sub-goals are scored, and a reference can be found."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from everystep.core.errors import DataError
from everystep.core.records import ToolCall
from everystep.environments.published import source_folder
from everystep.environments.tooluse.ftrl import (
    answered,
    calls_of,
    load_cases,
    run_source,
    solved,
    task_of,
    toolbox_of,
)
from everystep.environments.tooluse.ftrl_oracle import candidates, reference_calls
from everystep.tools.sandbox import Limits, Sandbox


def test_the_sample_has_one_case_of_each_kind() -> None:
    kinds = [case.kind for case in load_cases()]
    assert kinds == ["multi_hop", "parallel_multi_hop", "parallel_single_hop", "single_hop"]


@pytest.mark.skipif(source_folder("ftrl") is None, reason="EVERYSTEP_DATA is not set")
def test_the_published_cases_load() -> None:
    cases = load_cases("published")
    assert len(cases) == 200
    assert sum(len(case.sources) for case in cases) == 1852
    assert sum(sum(map(len, case.wanted.values())) for case in cases) == 820


def test_the_reference_solves_every_sub_goal_and_the_answer_is_right(tmp_path: Path) -> None:
    async def play() -> None:
        sandbox = Sandbox(tmp_path)
        case = load_cases()[0]
        found = await reference_calls(case, sandbox)
        calls = [call for call in found.values() if call is not None]
        assert len(calls) == len(found) > 1
        box = toolbox_of(case, sandbox)
        box.reset(task_of(case))
        seen = []
        for number, call in enumerate(calls):
            text = json.dumps({"tool": call.name, "arguments": dict(call.arguments)})
            result = await box.act(box.parse(text), key=str(number))
            assert result.scores["executed"] == 1.0
            seen.append((call.name, result.observation.text))
        score = solved(case, seen, case.answer)
        assert (score.recall, score.precision, score.right) == (1.0, 1.0, True)
        half = solved(case, [*seen[:1], *seen[:1]])
        assert half.recall == pytest.approx(1 / len(seen))
        assert half.precision == 0.5
        assert half.f1 == pytest.approx(2 * half.recall * 0.5 / (half.recall + 0.5))
        last = await box.act(box.parse(json.dumps({"answer": case.answer})), key="end")
        assert last.success is True

    asyncio.run(play())


def test_a_hostile_tool_is_a_failed_call(tmp_path: Path) -> None:
    sources = {
        "loops": "def loops():\n    while True: pass\n",
        "prints": "def prints():\n    print('x' * 10)\n    return 1\n",
        "exits": "def exits():\n    import os; os._exit(3)\n",
        "breaks": "def breaks(",
        "raises": "def raises():\n    raise SystemExit('no')\n",
    }
    sandbox = Sandbox(tmp_path, limits=Limits(time_s=2.0))
    results = {name: asyncio.run(run_source(sandbox, name, text, [{}]))[0] for name, text in sources.items()}
    assert {name for name, result in results.items() if result.error} == {
        "loops",
        "exits",
        "breaks",
        "raises",
    }
    assert results["prints"].text == "1"


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("50", "50", True),
        (50, "50", True),
        ("It was 2,396 km.", "2396", True),
        ("It was 2,396.", "2,396", True),
        ("150", "50", False),
        ("", "50", False),
    ],
)
def test_answers(answer: object, reference: str, right: bool) -> None:
    task = replace(task_of(load_cases()[0]), reference=reference)
    assert answered(task, answer) is right  # type: ignore[arg-type]


def test_calls_are_read_from_an_episode() -> None:
    from everystep.core.records import Action, Observation, Step

    def step(number: int, name: str) -> Step:
        return Step(
            id=str(number),
            parent=None,
            index=number,
            observation=Observation(text=f"seen {number}"),
            action=Action(text="", calls=(ToolCall(name=name),)),
        )

    steps = [step(0, "a"), step(1, "b"), step(2, "answer")]
    assert calls_of(steps, "end") == [("a", "seen 1"), ("b", "seen 2")]


def test_candidates_come_from_the_source() -> None:
    source = "def f(x, y=False):\n    return 1 if x == 'ada' and y else {'bob': 2}.get(x)\n"
    described = {
        "parameters": {
            "properties": {"x": {"type": "string"}, "y": {"type": "boolean"}},
            "required": ["x"],
        }
    }
    tried = list(candidates(source, described))
    assert {"x": "ada"} in tried
    assert {"x": "bob"} in tried
    assert {"x": "ada", "y": True} in tried


def test_a_file_that_is_not_there_or_no_case(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        load_cases(str(tmp_path / "x.jsonl"))
    (tmp_path / "y.jsonl").write_text('{"codes": "{}"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="record 0"):
        load_cases(str(tmp_path / "y.jsonl"))
