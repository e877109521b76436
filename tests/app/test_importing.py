"""import, filter and pairs by the command line, and what the other commands make of their results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from everystep.app.cli import main
from everystep.run.store import read_parquet


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    rows = []
    for number, (answer, reward) in enumerate((("4", 1.0), ("5", 0.0), ("four", 1.0))):
        asked = {"role": "user", "content": "2 + 2?"}
        messages = [asked, {"role": "assistant", "content": answer}]
        rows.append({"id": number, "messages": messages, "reward": reward, "success": reward == 1.0})
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "broken\n")
    return path


def test_an_import_can_be_shown_viewed_credited_exported_filtered_and_paired(
    chats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, kept, pairs = (str(tmp_path / name) for name in ("run", "kept", "pairs"))
    assert main(["import", "chat", str(chats), "--out", run]) == 0
    said = capsys.readouterr().out
    assert "3 trajectories of 1 tasks: 3 steps, 0 tool calls; 2 of 3 solved" in said
    assert "1 records could not be read" in said
    assert "line 4: not JSON" in said
    assert main(["show", run]) == 0
    shown = capsys.readouterr().out
    assert "imported as chat from chats.jsonl" in shown
    assert "0.6667" in shown
    assert main(["show", run, "--episode", "chats/1"]) == 0
    assert "2 + 2?" in capsys.readouterr().out
    assert main(["view", run]) == 0
    assert (tmp_path / "run" / "page.html").stat().st_size > 10_000
    assert main(["credit", run, "--estimator", "grpo"]) == 0
    assert "3 steps" in capsys.readouterr().out
    assert main(["filter", run, "--rules", "success", "--out", kept]) == 0
    assert "kept 2 of 3 trajectories, 2 of 3 steps, 2 with weight; 1 parts" in capsys.readouterr().out
    assert [one.id for one in read_parquet(kept)] == ["chats/0", "chats/2"]
    assert main(["credit", kept, "--estimator", "grpo"]) == 0
    assert main(["export", kept, str(tmp_path / "sft.jsonl")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "sft.jsonl").read_text().splitlines()]
    assert [row["messages"][-1] for row in rows] == [
        {"role": "assistant", "content": answer, "weight": 1.0} for answer in ("4", "four")
    ]
    capsys.readouterr()
    assert main(["pairs", run, "--out", pairs, "--form", "trl-preference"]) == 0
    assert "2 pairs of 1 contexts" in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "pairs" / "trl.jsonl").read_text().splitlines()]
    assert {(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows} == {
        ("4", "5"),
        ("four", "5"),
    }


def test_masked_steps_are_exported_without_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{broken"}}
    asked = {"role": "user", "content": "go"}
    messages = [
        asked,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        asked,
        {"role": "assistant", "content": "done"},
    ]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    run, kept = str(tmp_path / "run"), str(tmp_path / "kept")
    assert main(["import", "chat", str(tmp_path / "a.jsonl"), "--out", run]) == 0
    assert main(["filter", run, "--rules", "errors", "--out", kept]) == 0
    assert main(["export", kept, str(tmp_path / "sft.jsonl")]) == 0
    (row,) = [json.loads(line) for line in (tmp_path / "sft.jsonl").read_text().splitlines()]
    assert [message.get("weight") for message in row["messages"]] == [None, 0.0, None, 1.0]
    capsys.readouterr()


def test_wrong_words_are_refused(chats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "chta", str(chats), "--out", str(tmp_path / "r")]) == 2
    assert "Did you mean 'chat'?" in capsys.readouterr().err
    assert main(["import", "list"]) == 0
    assert "tau-bench" in capsys.readouterr().out
    assert (
        main(
            [
                "import",
                "jsonl",
                str(chats),
                "--out",
                str(tmp_path / "r"),
                "--fields",
                "action=messages.1.content,outcome=reward",
            ]
        )
        == 0
    )
    assert "3 trajectories" in capsys.readouterr().out
    assert main(["filter", str(tmp_path / "r"), "--rules", "sucess", "--out", str(tmp_path / "o")]) == 2
    assert "Did you mean 'success'" in capsys.readouterr().err
