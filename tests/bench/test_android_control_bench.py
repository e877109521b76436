"""AndroidControl as a benchmark: the oracle, what theory says of constant and of random answers, malformed answers."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from everystep.bench.benchmark import Ask
from everystep.bench.catalog import benchmark
from everystep.bench.running import Row
from everystep.bench.summary import measure
from everystep.environments.phone.android_acts import KINDS, Act, matched, write_act
from everystep.environments.phone.android_control import walks
from everystep.models.scripted import Scripted

FOLDER = Path(os.environ.get("EVERYSTEP_DATA", "/nowhere")) / "android_control"
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason="EVERYSTEP_DATA/android_control is not there")
MIDDLE = '{"action": "click", "coordinate": [540, 1200]}'
ANY = (
    MIDDLE, '{"action": "long_press", "coordinate": [540, 1200]}', '{"action": "swipe", "direction": "down"}', '{"action": "type", "text": "hello"}',
    '{"action": "open", "text": "Chrome"}', '{"action": "wait"}', '{"action": "system_button", "button": "Back"}',
)  # fmt: skip


def measured(options: dict[str, object], make) -> dict[str, float]:  # type: ignore[no-untyped-def]
    one = benchmark("android_control", options)
    cases = list(one.cases())
    assert len(cases) == one.about.cases
    rows = [
        Row(case=case.id, run=0, problem=case.problem, numbers=scored.numbers, tags=case.tags)
        for case, scored in zip(cases, one.open(make)([Ask(case=case, seed=n) for n, case in enumerate(cases)]), strict=True)
    ]  # fmt: skip
    return {it.name: measure(it, rows).value for it in one.measures}


@pytest.mark.parametrize("ask", ["step", "episode"])
def test_the_oracle_is_perfect(ask: str) -> None:
    found = measured({"data": "sample", "ask": ask}, lambda oracle: oracle)
    assert found.pop("invalid") == 0.0
    assert set(found.values()) == {1.0}


@pytest.mark.parametrize("data", ["sample", pytest.param("published", marks=[needs_data, pytest.mark.slow])])
def test_a_constant_answer_gets_its_share(data: str) -> None:
    steps = [(walk, step) for walk in walks(data) for step in walk.steps]
    kinds = Counter(step.gold.act.kind for _, step in steps)
    icons = sum(step.gold.act.kind == "open" and bool(step.gold.boxes) for _, step in steps)
    at = [matched(Act(kind="click", point=(540 / walk.size[0], 1200 / walk.size[1])), step.gold) for walk, step in steps]  # fmt: skip
    found = measured({"data": data}, lambda oracle: Scripted(lambda request: MIDDLE))
    assert found["type"] == pytest.approx((kinds["click"] + icons) / len(steps))
    assert found["action"] == pytest.approx(sum(one.action for one in at) / len(steps))
    swiped = measured({"data": data}, lambda oracle: Scripted(lambda request: ANY[2]))
    assert swiped["type"] == swiped["action"] == pytest.approx(kinds["swipe"] / len(steps))


@pytest.mark.parametrize("data", ["sample", pytest.param("published", marks=[needs_data, pytest.mark.slow])])
def test_random_kinds_are_right_one_time_in_seven(data: str) -> None:
    steps = sum(len(walk.steps) for walk in walks(data))
    icons = sum(step.gold.act.kind == "open" and bool(step.gold.boxes) for walk in walks(data) for step in walk.steps)  # fmt: skip
    expected = (1 + icons / steps) / len(KINDS)
    found = measured({"data": data}, lambda oracle: Scripted(lambda request: Random(request.seed).choice(ANY)))  # fmt: skip
    assert abs(found["type"] - expected) < 4 * (expected * (1 - expected) / steps) ** 0.5


@pytest.mark.parametrize("answer", ["", "click", "{" * 5000, '{"action": "type", "text": ""}'])
def test_malformed_answers_are_wrong(answer: str) -> None:
    for ask in ("step", "episode"):
        found = measured({"data": "sample", "ask": ask}, lambda oracle: Scripted(lambda request: answer))
        assert found.pop("invalid") == 1.0
        assert set(found.values()) == {0.0}


def test_steps_of_an_episode_stay_together_when_resampled() -> None:
    cases = list(benchmark("android_control", {"data": "sample"}).cases())
    assert len({case.problem for case in cases}) == len(walks("sample"))
    assert {"kind", "step", "length"} <= set(cases[0].tags)


def test_gold_texts_are_in_pixels() -> None:
    walk = walks("sample")[0]
    assert all(write_act(step.gold.act, walk.size).startswith('{"action": "') for step in walk.steps)
