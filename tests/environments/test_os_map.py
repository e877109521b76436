"""OS-MAP's tasks load into their matrix; those on plain files run, and only what its published check accepts solves one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.bench.catalog import benchmark
from everystep.bench.running import Plan, Source, read_rows, run_here
from everystep.core.errors import ConfigError, DataError
from everystep.environments.check import check_environment, format_report
from everystep.environments.published import source_folder
from everystep.environments.tooluse.os_map import DesktopTask, desktop_tasks, matrix, table
from everystep.environments.tooluse.os_map_checks import FETCHED, HOME, Check, absolute, on_files
from everystep.environments.tooluse.os_map_files import OSMapFiles, _done, file_tasks
from everystep.run.pool import Limits, Tasks

needs = pytest.mark.skipif(source_folder("os_map") is None, reason="EVERYSTEP_DATA is not set")
SETTINGS = f"{HOME}/.config/Code/User/settings.json"


def made_up(config: list[object], result: dict[str, object], function: str, rules: object) -> DesktopTask:
    return DesktopTask(
        id="os/x", name="l2_x", app="os", level=2, domain="System", group="Files", leaf="Files", instruction="do it",
        config=tuple(config),  # type: ignore[arg-type]
        evaluator={"func": function, "result": result, "expected": {"type": "rule", "rules": rules}},
    )  # fmt: skip


def test_missing_and_wrong_files_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVERYSTEP_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match="OS-Copilot/OS-Map"):
        desktop_tasks()
    (tmp_path / "os_map").mkdir()
    (tmp_path / "os_map" / "os_map_tasks.jsonl").write_text(json.dumps({"path": "x", "data": {}}))
    with pytest.raises(DataError, match="not the tasks of"):
        desktop_tasks()


@needs
def test_all_tasks_are_in_the_matrix() -> None:
    tasks = desktop_tasks()
    assert len(tasks) == len({one.id for one in tasks}) == 416
    assert Counter(one.level for one in tasks) == {1: 25, 2: 235, 3: 114, 4: 42}
    assert len({one.app for one in tasks}) == 15
    assert len({one.leaf for one in tasks}) == 45
    counts = matrix(tasks, lambda one: one.domain)
    assert len(next(iter(counts.values()))) == 6
    assert sum(sum(row.values()) for row in counts.values()) == 416
    assert table(counts).splitlines()[-1].endswith("| 416 |")
    assert len({name for one in tasks for name in one.functions}) == 122
    assert all(one.needs and one.getters for one in tasks)


@needs
def test_file_tasks_begin_unsolved_and_their_oracle_solves_them() -> None:
    report = check_environment(OSMapFiles())
    assert report.ok, format_report(report)
    assert not any(one.solved(one.files) for one in file_tasks())
    chosen = benchmark("os_map")
    assert sum(1 for _ in chosen.cases()) == chosen.about.cases == len(file_tasks())


@needs
def test_as_a_benchmark_the_oracle_has_all(tmp_path: Path) -> None:
    source = Source(lambda: benchmark("os_map"), lambda oracle: oracle)
    assert run_here(source, Tasks(Limits()), tmp_path, Plan())
    rows = read_rows(tmp_path / "rows.jsonl")
    assert len(rows) == len(file_tasks())
    assert all(row.numbers["success"] == 1 for row in rows)
    assert {row.tags["level"] for row in rows} == {"L2", "L3"}


def test_what_is_arranged_is_there_in_the_beginning() -> None:
    told = "echo 'password' | sudo -S touch ~/Desktop/a.txt && sudo mkdir ~/Desktop/done"
    test = {"type": "vm_command_line", "command": "[ -f ~/Desktop/done/a.txt ] && echo 'File exists.'"}
    task = made_up([{"type": "execute", "parameters": {"command": told, "shell": True}}], test, "exact_match", {"expected": "File exists.\n"})  # fmt: skip
    one = on_files(task)
    assert one is not None
    assert one.files[f"{HOME}/Desktop/a.txt"] == ""
    assert f"{HOME}/Desktop/done" in one.files
    assert one.checks == (Check(kind="file", path=f"{HOME}/Desktop/done/a.txt"),)


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "execute", "parameters": {"command": "sudo apt-get install zsh", "shell": True}},
        {"type": "execute", "parameters": {"command": "touch a && ./b", "shell": True}},
        {"type": "execute", "parameters": {"command": "echo 'a", "shell": True}},
        {"type": "chrome_open_tabs", "parameters": {"urls_to_open": ["https://a.b"]}},
    ],
)
def test_what_cannot_be_arranged_does_not_qualify(entry: object) -> None:
    test = {"type": "vm_command_line", "command": "[ -f ~/a ] && echo 'File exists.'"}
    assert on_files(made_up([entry], test, "exact_match", {"expected": "File exists.\n"})) is None


def test_a_check_that_reads_fetched_content_does_not_qualify() -> None:
    fetched = {"type": "download", "parameters": {"files": [{"url": "u", "path": SETTINGS}]}}
    file = {"type": "vm_file", "path": SETTINGS}
    assert on_files(made_up([fetched], file, "check_json_settings", {"expected": {"a": 1}})) is None
    one = on_files(made_up([], file, "check_json_settings", {"expected": {"a": 1}}))
    assert one is not None
    assert FETCHED not in one.files.values()


@pytest.mark.parametrize(
    ("check", "content", "holds"),
    [
        (Check(kind="settings", path="/f", expected={"a": 1}), '{"a": 1, "b": 2}', True),
        (Check(kind="settings", path="/f", expected={"a": 1}), '{"b": {"a": 1}}', False),
        (Check(kind="settings", path="/f", expected={"a": 1}), "[" * 3000, False),
        (Check(kind="keybindings", path="/f", expected={"key": "x"}), '// mine\n[{"key": "x"}]', True),
        (Check(kind="keybindings", path="/f", expected={"key": "x"}), '[{"key": "x", "when": "y"}]', False),
        (Check(kind="interval", path="/f", expected=3), "<value>3</value>", False),
        (Check(kind="file", path="/f"), None, False),
        (Check(kind="folder", path="/f"), "", False),
    ],
)
def test_checks_are_the_published_ones(check: Check, content: str | None, holds: bool) -> None:
    assert check.holds({"/": None, "/f": content}) is holds
    assert not check.holds({"/": None})


@pytest.mark.parametrize("kind", ["settings", "keybindings", "interval"])
def test_a_satisfied_check_holds(kind: str) -> None:
    check = Check(kind=kind, path="/f", expected={"a": 1} if kind != "interval" else 3)
    assert check.holds({"/f": check.satisfied('{"b": 2}')})


VERB = st.sampled_from(["mkdir", "write", "move", "delete"])
PATH = st.sampled_from(["/a", "/a/b", "/a/b/c", "/d", "/", "/d/e", "/a/b/../f"]).map(absolute)


@given(st.lists(st.tuples(VERB, PATH, PATH), max_size=25))
def test_files_stay_a_tree(actions: list[tuple[str, str, str]]) -> None:
    files: dict[str, str | None] = {"/": None, "/a": None, "/d": "text"}
    for verb, path, target in actions:
        before = dict(files)
        told = _done(verb, [path, target], "x", files)
        assert not told or files == before
        assert files["/"] is None
        for one in files:
            if one != "/":
                assert files[one.rpartition("/")[0] or "/"] is None


@needs
def test_episodes_end_as_their_agent_says() -> None:
    world = OSMapFiles()
    task = next(t for t in (world.task(s, n) for s in ("train", "test") for n in range(world.size(s))) if t.reference == "os/7688b85f-87a4-4e4a-b2f8-f3d6c3f29b82")  # fmt: skip
    env = world.make()
    env.reset(task)
    assert "todo.txt" in env.step(env.parse("list ~/Desktop")).observation.text
    assert not env.step(env.parse("move ~/Desktop/nothing ~/Desktop/done")).valid
    assert "Nobody answers" in env.step(env.parse("call_user may I?")).observation.text
    saved = env.snapshot()
    over = env.step(env.parse("fail"))
    assert (over.terminated, over.success) == (True, False)
    env.restore(saved)
    assert env.step(env.parse("done")).success is False
    env.restore(saved)
    env.step(env.parse("move ~/Desktop/todo.txt ~/Desktop/done"))
    last = env.step(env.parse("done"))
    assert (last.success, last.reward) == (True, 1.0)
