"""The benchmarks of text games: which cases, what a score is, and that who knows the way gets all of it."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

import pytest

if find_spec("py4j") is None or find_spec("textworld_express") is None or find_spec("scienceworld") is None:
    pytest.skip("the packages textworld-express and scienceworld are not installed", allow_module_level=True)
if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
    pytest.skip("there is no Java here", allow_module_level=True)

from everystep.bench.benchmark import Ask
from everystep.bench.catalog import benchmark
from everystep.bench.text_games import hundredths_of
from everystep.bench.worlds import WorldBenchmark
from everystep.core.errors import ConfigError
from everystep.core.records import End, Observation, Step, Trajectory


def test_cases_are_the_first_of_each_kind_in_the_published_fold() -> None:
    cases = list(benchmark("textworld_express", {"seeds": 2}).cases())
    assert len(cases) == 16
    assert {(case.tags["fold"], case.tags["seed"]) for case in cases} == {
        ("test", "20000"),
        ("test", "20001"),
    }
    made = benchmark("scienceworld", {"variations": 3})
    cases = list(made.cases())
    assert len(cases) == made.about.cases == 90
    assert [case.tags["variation"] for case in cases if case.tags["task"] == "boil"] == ["21", "22", "23"]
    whole = benchmark("scienceworld", {"variations": 0})
    assert len(list(whole.cases())) == whole.about.cases == 1819
    dev = benchmark("scienceworld", {"task_type": "boil", "held_out": "dev", "variations": 0})
    assert len(list(dev.cases())) == 7


def test_who_knows_the_way_gets_the_whole_score_and_a_mistake_does_not() -> None:
    made = benchmark("textworld_express", {"game": "arithmetic", "seeds": 2})
    asks = [Ask(case=case) for case in made.cases()]
    for one in made.open(lambda oracle: oracle)(asks):
        assert (one.numbers["score"], one.numbers["success"], one.numbers["invalid"]) == (1.0, 1.0, 0.0)
        assert not one.error


def test_a_score_below_0_counts_as_0() -> None:
    made = benchmark("scienceworld", {"task_type": "boil", "variations": 1})
    assert isinstance(made, WorldBenchmark)
    env = made.world().make()
    case = next(iter(made.cases()))
    env.reset(case.what)
    told = env.step(env.parse("focus on agent"))
    env.close()
    assert told.scores["score"] < 0
    step = Step(
        id="0",
        parent=None,
        index=0,
        observation=Observation(text=""),
        action=env.parse("focus on agent"),
        scores=told.scores,
    )
    trajectory = Trajectory(id="t", task=case.what, group="t", steps=(step,), end=End.FAILED)
    assert hundredths_of(trajectory) == {"score": 0.0}


def test_options_that_make_no_cases_are_refused() -> None:
    with pytest.raises(ConfigError, match="seeds"):
        benchmark("textworld_express", {"seeds": 0})
    with pytest.raises(ConfigError, match="variations"):
        benchmark("scienceworld", {"variations": -1})
