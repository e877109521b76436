"""The published paths: what can be counted in them, the split, the world, and the arms on a small part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from everystep.bench.catalog import benchmark
from everystep.core.errors import ConfigError, DataError
from everystep.environments.check import check_environment, format_report
from everystep.environments.published import source_folder
from everystep.environments.reasoning.graph_paths import LISTS, PATHS, _read, procedures, split
from everystep.environments.reasoning.graph_scripts import FINISHED, GraphScripts, step_of
from everystep.recipes.graph_scripts import (
    Config,
    arms,
    ceiling,
    chosen,
    facts,
    inner,
    measured,
    parts,
    trial,
)

needs = pytest.mark.skipif(source_folder("graph_scripts") is None, reason="EVERYSTEP_DATA is not set")


def test_missing_files_say_where_they_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVERYSTEP_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match="Multimodal-Graph-Script-Learning"):
        procedures()


def test_a_path_with_an_unknown_step_is_refused(tmp_path: Path) -> None:
    lists, paths = tmp_path / LISTS, tmp_path / PATHS
    lists.write_text(json.dumps(["a <-> b <-> "]))
    paths.write_text(json.dumps(["a <-> x <-> "]))
    with pytest.raises(DataError, match="that its list"):
        _read(lists, paths)


@needs
def test_the_data_has_what_its_card_says() -> None:
    found = facts(procedures())
    assert (found["tasks"], found["paths"]) == (17, 2610)
    assert found["reversed"] == pytest.approx(0.815, abs=5e-4)
    assert found["next steps"] == pytest.approx(5.4, abs=0.05)
    assert [one.steps[-1] for one in procedures() if one.name == "change a tire"] == ["put back the tools."]


@needs
def test_no_path_has_two_roles_and_seeds_differ() -> None:
    for part in split(procedures(), 0):
        assert sorted((*part.train, *part.test)) == sorted(part.procedure.paths)
        assert len(part.test) == round(0.2 * len(part.procedure.paths))
        again = inner(part, 0.25, 0)
        assert sorted((*again.train, *again.test)) == sorted(part.train)
    assert split(procedures(), 0) != split(procedures(), 1)


@needs
def test_the_graph_beats_the_list_and_the_last_step_from_few_paths() -> None:
    config = Config(paths=30)
    some = parts(config, 7)
    assert {len(part.train) for part in some} == {30}
    found = {
        name: measured(next(iter(arms(7)[name].values())), some)
        for name in ("random", "linear list", "transitions", "graph script")
    }
    for key in ("f1@3", "accuracy"):
        assert found["random"][key] < found["linear list"][key] < found["transitions"][key] < found["graph script"][key]  # fmt: skip
    assert found["graph script"]["f1@3"] < ceiling(some) < 1
    assert list(trial(config, "random", 7)) == list(found["random"])


@needs
def test_options_are_chosen_by_what_they_are_worth_on_the_given_paths() -> None:
    some = parts(Config(paths=10), 3)[:3]
    options = arms(3)["graph script"]
    worth = {name: sum(measured(make, some)[key] for key in ("f1@3", "accuracy")) for name, make in options.items()}  # fmt: skip
    assert worth[chosen(options, some)] == max(worth.values())


@needs
@pytest.mark.parametrize("ask", ["next", "rest"])
def test_the_world_keeps_the_contract(ask: str) -> None:
    report = check_environment(GraphScripts(ask=ask, examples=2))
    assert report.ok, format_report(report)


@needs
def test_what_is_named_is_scored() -> None:
    world = GraphScripts(ask="rest")
    task = next(
        world.task("test", n) for n in range(50) if len(world.task("test", n).reference["completions"][0]) > 1
    )  # type: ignore[index,call-overload,arg-type]
    env = world.make()
    seen = env.reset(task)
    assert seen.admissible is not None
    assert FINISHED in seen.admissible
    assert not env.step(env.parse("fly to the moon")).valid
    for step in task.reference["completions"][0]:  # type: ignore[index,call-overload,union-attr]
        last = env.step(env.parse(str(step).upper()))
    if not last.terminated:
        last = env.step(env.parse(FINISHED))
    assert last.success
    assert step_of("- B", ["a.", "b."]) == "b."


@needs
def test_the_benchmark_has_as_many_cases_as_it_says() -> None:
    for ask in ("next", "rest"):
        one = benchmark("graph_scripts", {"ask": ask})
        assert sum(1 for _ in one.cases()) == one.about.cases
        assert set(one.failed) >= {column for it in one.measures for column in it.columns} - {"rows"}
    with pytest.raises(ConfigError, match="ask is 'nxt'"):
        benchmark("graph_scripts", {"ask": "nxt"})
