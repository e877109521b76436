import json
from pathlib import Path
from typing import Any

import pytest

from everystep.core.errors import ConfigError
from everystep.core.records import (
    Action,
    End,
    Level,
    Observation,
    PreferencePair,
    Step,
    Task,
    ToolCall,
    Trajectory,
)
from everystep.run.export import FORMS, export
from everystep.run.store import read_parquet

TASK = Task(id="t", instruction="Open the door.", environment="keydoor", reference="open")


def step(name: str, parent: str | None, index: int, action: Action, seen: str) -> Step:
    return Step(
        id=name,
        parent=parent,
        index=index,
        observation=Observation(text=seen),
        action=action,
        scores={"near": 0.5},
    )


ROOT = step("root", None, 0, Action(text="take key"), "A key.")
WRONG = step("wrong", "root", 1, Action(text="fly", valid=False, reason="no wings"), "You have it.")
RIGHT = step("right", "root", 1, Action(text="open door"), "You have it.")
GOOD = Trajectory(
    id="good", task=TASK, group="g", steps=(ROOT, RIGHT), end=End.DONE, outcome=1.0, success=True, seed=3
)
BAD = Trajectory(
    id="bad", task=TASK, group="g", steps=(ROOT, WRONG), end=End.TRUNCATED, outcome=0.0, success=False
)
EMPTY = Trajectory(id="empty", task=TASK, group="g", steps=(), end=End.ERROR, error="the world broke")
BROKEN = Trajectory(id="broken", task=TASK, group="g", steps=(WRONG,), end=End.ERROR, error="timeout")

CALL = ToolCall(name="search", arguments={"q": "key"}, id="c1")
TOOLS = Trajectory(
    id="tools",
    task=TASK,
    group="g",
    steps=(
        step("t0", None, 0, Action(text="", calls=(CALL,)), "Start."),
        step("t1", "t0", 1, Action(text="", calls=(ToolCall(name="a"), ToolCall(name="b"))), "found"),
        step("t2", "t1", 2, Action(text="done"), "both ran"),
    ),
    end=End.DONE,
    outcome=1.0,
)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_chat_lines_weigh_each_answer(tmp_path: Path) -> None:
    done = export([GOOD, BAD, EMPTY, BROKEN], "chat", tmp_path / "new" / "chat.jsonl")
    assert (done.written, done.skipped) == (2, {"no steps": 1, "every weight is zero": 1})
    good, bad = lines(done.path)
    assert good == {
        "messages": [
            {"role": "user", "content": "Open the door.\nA key."},
            {"role": "assistant", "content": "take key", "weight": 1.0},
            {"role": "user", "content": "You have it."},
            {"role": "assistant", "content": "open door", "weight": 1.0},
        ]
    }
    assert [message.get("weight") for message in bad["messages"]] == [None, 1.0, None, 0.0]


def test_given_weights_replace_the_usual_ones(tmp_path: Path) -> None:
    export([GOOD, BAD], "chat", tmp_path / "c", weights={"root": 0.0, "wrong": 0.25})
    weights = [[one["weight"] for one in row["messages"] if "weight" in one] for row in lines(tmp_path / "c")]
    assert weights == [[0.0, 1.0], [0.0, 0.25]]


def test_tool_calls_and_their_results_have_ids(tmp_path: Path) -> None:
    export([TOOLS], "chat", tmp_path / "c")
    _, first, found, second, nothing, both, last = lines(tmp_path / "c")[0]["messages"]
    function = {"name": "search", "arguments": '{"q": "key"}'}
    assert first["tool_calls"] == [{"id": "c1", "type": "function", "function": function}]
    assert found == {"role": "tool", "content": "found", "tool_call_id": "c1"}
    ids = [call["id"] for call in second["tool_calls"]]
    assert len(set(ids)) == 2
    assert [(one["tool_call_id"], one["content"]) for one in (nothing, both)] == list(
        zip(ids, ["", "both ran"], strict=True)
    )
    assert last["content"] == "done"


def test_trl_lines_put_the_loss_on_one_answer_each(tmp_path: Path) -> None:
    done = export([GOOD, BAD, EMPTY], "trl", tmp_path / "t")
    assert (done.written, done.skipped) == (
        2,
        {"no steps": 1, "step shared with an earlier trajectory": 1, "weight is zero": 1},
    )
    first, second = lines(done.path)
    assert first["prompt"] == [{"role": "user", "content": "Open the door.\nA key."}]
    assert first["completion"] == [{"role": "assistant", "content": "take key"}]
    assert second["prompt"] == first["prompt"] + first["completion"] + [
        {"role": "user", "content": "You have it."}
    ]
    assert second["completion"] == [{"role": "assistant", "content": "open door"}]


def test_trl_gives_templates_their_arguments_as_objects(tmp_path: Path) -> None:
    export([TOOLS], "trl", tmp_path / "t")
    assert lines(tmp_path / "t")[0]["completion"][0]["tool_calls"][0]["function"]["arguments"] == {"q": "key"}


def pair(chosen: str, rejected: str, level: Level = Level.STEP) -> PreferencePair:
    return PreferencePair(context=("root",), chosen=chosen, rejected=rejected, level=level)


def test_preference_pairs_of_steps_and_trajectories(tmp_path: Path) -> None:
    pairs = [pair("right", "wrong"), pair("good", "bad", Level.TRAJECTORY)]
    done = export([GOOD, BAD], "trl-preference", tmp_path / "p", pairs=pairs)
    assert (done.written, done.skipped) == (2, {})
    by_step, by_trajectory = lines(done.path)
    assert by_step["prompt"][-1] == {"role": "user", "content": "You have it."}
    assert by_step["chosen"] == [{"role": "assistant", "content": "open door"}]
    assert by_step["rejected"] == [{"role": "assistant", "content": "fly"}]
    assert by_trajectory["prompt"] == [{"role": "user", "content": "Open the door.\nA key."}]
    assert len(by_trajectory["chosen"]) == 3


def test_pairs_that_cannot_be_written_are_counted(tmp_path: Path) -> None:
    pairs = [pair("right", "gone"), pair("right", "root"), pair("right", "right")]
    done = export([GOOD, BAD], "trl-preference", tmp_path / "p", pairs=pairs)
    assert done.written == 0
    assert done.skipped == {
        "one side is not in the trajectories": 1,
        "the two sides answer different prompts": 1,
        "the two sides are equal": 1,
    }


def test_verifiers_rows_have_its_fields(tmp_path: Path) -> None:
    done = export([GOOD, BAD, EMPTY, BROKEN], "verifiers", tmp_path / "v")
    assert (done.written, done.skipped) == (2, {"no steps": 1, "no outcome": 1})
    good, bad = lines(done.path)
    assert good["prompt"] + good["completion"] == [
        {"role": "user", "content": "Open the door.\nA key."},
        {"role": "assistant", "content": "take key"},
        {"role": "user", "content": "You have it."},
        {"role": "assistant", "content": "open door"},
    ]
    assert len(good["prompt"]) == 1
    assert good["example_id"] == bad["example_id"] == 0
    assert (good["task"], good["answer"], good["reward"]) == ("keydoor", "open", 1.0)
    assert good["metrics"] == {"num_turns": 2.0, "success": 1.0, "near": 0.5}
    assert (bad["is_truncated"], bad["stop_condition"], bad["is_completed"]) == (True, "truncated", True)


def test_parquet_is_a_form_too(tmp_path: Path) -> None:
    assert export([GOOD, BAD], "parquet", tmp_path / "folder").written == 2
    assert list(read_parquet(tmp_path / "folder")) == [GOOD, BAD]


def test_wrong_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown export form 'verifier'\. Did you mean 'verifiers'"):
        export([], "verifier", tmp_path / "x")
    with pytest.raises(ConfigError, match="'verifiers' does not use 'weights'"):
        export([], "verifiers", tmp_path / "x", weights={})
    with pytest.raises(ConfigError, match="'chat' does not use 'pairs'"):
        export([], "chat", tmp_path / "x", pairs=[])
    with pytest.raises(ConfigError, match="needs pairs"):
        export([GOOD], "trl-preference", tmp_path / "x")
    with pytest.raises(ConfigError, match="weight of step 'root' is -1"):
        export([GOOD], "chat", tmp_path / "x", weights={"root": -1})
    assert list(tmp_path.iterdir()) == []


def test_a_failing_source_leaves_the_old_file(tmp_path: Path) -> None:
    export([GOOD], "chat", tmp_path / "c")
    before = (tmp_path / "c").read_text()

    def source() -> Any:
        yield BAD
        raise RuntimeError("the journal ends here")

    with pytest.raises(RuntimeError):
        export(source(), "chat", tmp_path / "c")
    assert (tmp_path / "c").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_every_form_is_described() -> None:
    assert set(FORMS) == {"chat", "trl", "trl-preference", "verifiers", "parquet"}
    assert all(form.summary for form in FORMS.values())
