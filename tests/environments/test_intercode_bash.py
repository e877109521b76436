"""InterCode-Bash on a small file system of our own, and the published rewards on small cases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.bench.catalog import benchmark
from everystep.core.errors import ConfigError, WorldError
from everystep.environments.check import check_environment, format_report
from everystep.environments.code.intercode_bash import (
    HOMES,
    BashEnvironment,
    InterCodeBash,
    Said,
    changes,
    likeness,
    reward_of,
    words_of,
)

TASKS = [
    {"query": "count the lines of all text files", "gold": "cat {home}/*.txt | wc -l"},
    {"query": "make a copy of a.txt called b.md", "gold": "cp {home}/a.txt {home}/b.md"},
    {"query": "say hello to the world", "gold": 'echo "hello world"'},
    {"query": "delete the folder deep", "gold": "rm -r {home}/deep"},
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("intercode")
    (folder / "data" / "nl2bash").mkdir(parents=True)
    (folder / "docker" / "bash_scripts").mkdir(parents=True)
    for system, home in HOMES.items():
        tasks = [{**one, "gold": one["gold"].replace("{home}", home)} for one in TASKS]
        (folder / "data" / "nl2bash" / f"nl2bash_fs_{system}.json").write_text(json.dumps(tasks))
        script = f"#!/bin/bash\nrm -rf {home}\nmkdir -p {home}/deep\necho one > {home}/a.txt\necho two > {home}/deep/c.txt\n"
        (folder / "docker" / "bash_scripts" / f"setup_nl2b_fs_{system}.sh").write_text(script)
    return folder


def play(env: BashEnvironment, *commands: str) -> tuple[float, str]:
    done = [env.step(env.parse(command)) for command in commands][-1]
    return done.reward, done.observation.text


@pytest.mark.slow
def test_the_world_keeps_its_promises(clone: Path) -> None:
    report = check_environment(InterCodeBash(data=str(clone), system=1), tasks=2)
    assert report.ok, format_report(report)


def test_the_gold_commands_solve_every_task(clone: Path) -> None:
    assert sum(InterCodeBash(data=str(clone)).size(split) for split in ("train", "test")) == 12
    world = InterCodeBash(data=str(clone), system=2)
    env = world.make()
    for split in ("train", "test"):
        for index in range(world.size(split)):
            env.reset(world.task(split, index))
            assert env.step(env.parse(env.oracle())).reward == 0.0
            assert env.step(env.parse(env.oracle())).success is True
    env.close()


def test_commands_act_on_a_copy_and_only_there(clone: Path) -> None:
    world = InterCodeBash(data=str(clone), system=1)
    tasks = [world.task(split, index) for split in ("train", "test") for index in range(world.size(split))]
    counting = next(task for task in tasks if "count" in task.instruction)
    env = world.make()
    env.reset(counting)
    assert play(env, "cd /testbed/deep", "pwd; cat c.txt; ls /")[1].splitlines()[:2] == [
        "/testbed/deep",
        "two",
    ]
    assert play(env, "cd ..", "pwd")[1] == "/testbed\n"
    assert "No such file" in play(env, "cd nowhere")[1]
    assert play(env, "pwd")[1] == "/testbed\n"
    assert "Read-only" in play(env, "touch /usr/x")[1]
    play(env, "rm -r /testbed/*", "echo 1")
    reward, _ = play(env, "submit")
    assert reward == pytest.approx(
        0.01 + 0.0 + 0.33 + 0.33
    )  # the output is right, two files are gone that should not be
    with pytest.raises(WorldError, match="no episode"):
        env.oracle()
    env.reset(counting)
    assert play(env, "cat /testbed/a.txt")[1] == "one\n"
    env.close()


def test_the_quoting_of_the_harness_loses_double_quotes() -> None:
    assert words_of('find . -name "*.c"', "published") == ("find . -name *.c",)
    assert words_of("awk '{print $1}' f", "published") == ("awk '{print $1}' f",)
    assert words_of('echo "', "published") == ()


@given(
    st.dictionaries(st.sampled_from(["a", "b/c", "b/d/e", "f/g"]), st.sampled_from("12")),
    st.dictionaries(st.sampled_from(["a", "b/c", "b/d/e", "f/g"]), st.sampled_from("12")),
)
def test_changes_are_none_for_equal_states_and_name_every_difference(
    one: dict[str, str], other: dict[str, str]
) -> None:
    assert changes(one, one) == {}
    found = changes(one, other)
    for path in {*one, *other}:
        unequal = one.get(path) != other.get(path)
        assert (
            any(path == name or (name.endswith("/") and path.startswith(name)) for name in found) is unequal
        )


@given(st.text(max_size=60), st.text(max_size=60))
def test_likeness_is_symmetric_and_whole_for_equal_texts(one: str, other: str) -> None:
    assert likeness(one, one) == pytest.approx(1.0)
    assert likeness(one, other) == pytest.approx(likeness(other, one))
    assert -1e-9 <= likeness(one, other) <= 1 + 1e-9


def test_rewards_are_those_of_the_paper() -> None:
    before = {"a": "1"}
    gold = Said(output="x.txt y.txt", ok=True, files={"a": "1", "b": "2"})
    assert reward_of(before, gold, gold) == 1.0
    other = Said(output="x.txt y.txt", ok=True, files={"a": "1", "b": "3"})
    assert reward_of(before, other, gold) == pytest.approx(0.67)  # the new file's content is wrong
    nothing = Said(output="", ok=True, files=before)
    assert reward_of(before, nothing, gold) == pytest.approx(
        0.01 + 0.05 + 0.33
    )  # 0.33 (1 - erf(1)) for one file that is missing


def test_a_missing_clone_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVERYSTEP_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match="git clone"):
        InterCodeBash().size("test")
    with pytest.raises(ConfigError, match="expected plain or published"):
        InterCodeBash(quoting="none")
    assert benchmark("intercode_bash").about.cases == 173
