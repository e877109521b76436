"""Mobile-Eval-E: the packaged tasks, the reader, and what shortcuts would cover."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from everystep.core.errors import ConfigError, DataError
from everystep.environments.phone.mobile_eval import FILES, EvalTask, load, plain, reuse, sample


def test_the_packaged_tasks_are_whole() -> None:
    first, second = sample()
    assert (first.id, len(first.rubrics), len(first.operations)) == ("1_nearest_bakery", 6, 10)
    assert (second.id, second.apps, len(second.operations)) == (
        "2_llm_agents_survey",
        ("Chrome", "Notes"),
        12,
    )


def test_the_reader_takes_the_published_form_and_names_what_is_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Mobile-Eval-E"):
        load(tmp_path)
    one = {
        "task_id": "t",
        "instruction": "do",
        "apps": ["Maps"],
        "rubrics": ["r"],
        "human_reference_operations": ["open maps"],
    }
    for name in FILES:
        (tmp_path / name).write_text(json.dumps({"scenario": "S", "tasks": [one]}), encoding="utf-8")
    assert [task.operations for task in load(tmp_path)] == [("open maps",)] * 5
    (tmp_path / FILES[2]).write_text(
        json.dumps({"scenario": "S", "tasks": [one | {"rubrics": [1]}]}), encoding="utf-8"
    )
    with pytest.raises(DataError, match=FILES[2]):
        load(tmp_path)


def task(name: str, *operations: str) -> EvalTask:
    return EvalTask(id=name, scenario="", instruction="", apps=(), rubrics=(), operations=operations)


def test_a_shortcut_needs_two_tasks_before_it_can_save_anything() -> None:
    search = ("open Maps", "tap the search bar", "type 'cake'", "tap enter")
    tasks = [task(str(n), *search, f"tap place {'abcd'[n]}") for n in range(4)]
    found = reuse(tasks)
    assert [one.covered for one in found] == [0, 0, 4, 4]
    assert [one.uses for one in found] == [0, 0, 1, 1]
    assert all(one.operations == 5 for one in found)


def test_the_same_operation_has_one_spelling() -> None:
    assert plain("tap on the search bar") == plain("Tap search bar (top of the screen)")
    assert plain("type 'a b c'") == plain("type the summary of it")
    assert plain("tap Home") != plain("tap back")


def test_two_tasks_of_the_sample_share_no_long_routine() -> None:
    assert [one.covered for one in reuse(sample(), most=None)] == [0, 0]
