"""Benchmarks from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from everystep.app.cli import main

SAMPLE = ("procbench", "--options", "cases=sample")


def test_an_oracle_is_right_everywhere_and_a_noisy_one_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    assert main(["bench", *SAMPLE, "--out", str(tmp_path / "a"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["cases"], told["lost"]) == (76, 0)
    assert {told["measures"][one]["value"] for one in ("prefix_accuracy", "sequential_match", "final_match")} == {1.0}  # fmt: skip
    assert main(["bench", *SAMPLE, "--out", str(tmp_path / "b"), "--json", "--model", "noisy:0.3"]) == 0
    noisy = json.loads(capsys.readouterr().out)["measures"]
    assert 0.2 < noisy["prefix_accuracy"]["value"] < 0.98
    assert noisy["sequential_match"]["value"] < noisy["prefix_accuracy"]["value"]


def test_it_stops_at_its_limit_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow")
    folder = tmp_path / "run"
    assert main(["bench", *SAMPLE, "--cases", "20", "--runs", "2", "--by", "length", "--quiet", "--seconds", "0.0001", "--batch", "1", "--out", str(folder)]) == 0  # fmt: skip
    assert f"everystep resume {folder}" in capsys.readouterr().err
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["options"]["seconds"] = None
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert main(["resume", str(folder)]) == 0
    assert "40 attempts at 20 cases, 0 lost" in capsys.readouterr().out
    assert {"rows.jsonl", "rows.parquet", "results.json", "report.md"} <= {one.name for one in folder.iterdir()}  # fmt: skip
    assert "| length |" in (folder / "report.md").read_text(encoding="utf-8")


def test_wrong_names_are_refused_before_a_folder_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "procbensh", "--out", str(tmp_path / "a")]) == 2
    assert "Did you mean 'procbench'" in capsys.readouterr().err
    assert main(["bench", "procbench", "--options", "case=sample", "--out", str(tmp_path / "a")]) == 2
    assert "no option 'case'. Did you mean 'cases'" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_the_list_says_size_needs_and_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "list"]) == 0
    told = capsys.readouterr().out
    assert "1,319 cases" in told
    assert "needs EVERYSTEP_DATA/procbench; licence: CC-BY-4.0" in told
    assert main(["bench", "list", "--json"]) == 0
    assert {"name", "kind", "cases", "needs", "licence", "source"} <= set(json.loads(capsys.readouterr().out)[0])  # fmt: skip


def test_the_leaderboard_orders_contestants_and_escapes_what_they_are_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    script = tmp_path / "<b>bad.py"
    script.write_text("def answer(text, seed):\n    return '?'\n", encoding="utf-8")
    for name, model in (("good", "noisy:0.4"), ("bad", f"script:{script}"), ("best", "oracle")):
        assert main(["bench", *SAMPLE, "--cases", "12", "--model", model, "--quiet", "--out", str(tmp_path / name)]) == 0  # fmt: skip
    out = tmp_path / "page.html"
    folders = [str(tmp_path / name) for name in ("bad", "good", "best")]
    assert main(["bench", "page", *folders, "--out", str(out)]) == 0
    page = out.read_text(encoding="utf-8")
    assert page.index("oracle") < page.index("noisy:0.4") < page.index("script:")
    assert "<b>bad" not in page
    assert "&lt;b&gt;bad" in page
    assert "<script" not in page
    capsys.readouterr()
    assert main(["bench", "page", str(tmp_path), "--out", str(out)]) != 0
    assert "is not a run" in capsys.readouterr().err


def test_a_contestant_that_cannot_play_is_refused_and_not_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert main(["bench", *SAMPLE, "--model", "random", "--quiet", "--out", str(folder)]) != 0
    assert "chooses among admissible actions" in capsys.readouterr().err
    assert not (folder / "rows.jsonl").read_text(encoding="utf-8")


def test_runs_of_a_model_need_a_temperature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["bench", *SAMPLE, "--model", "chat:m@http://127.0.0.1:1/v1", "--runs", "4", "--out", str(tmp_path / "a")]  # fmt: skip
    assert main(asked) == 2
    assert "Give --temperature" in capsys.readouterr().err


def test_agents_are_named_or_files_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow")
    found = {}
    for agent in ("plain", "vote:7", "window:0,vote:7"):
        out = tmp_path / agent.replace(":", "-")
        assert (
            main(["bench", *SAMPLE, "--model", "noisy:0.3", "--agent", agent, "--out", str(out), "--json"])
            == 0
        )
        found[agent] = json.loads(capsys.readouterr().out)["measures"]["prefix_accuracy"]["value"]
    assert found["plain"] + 0.05 < found["vote:7"]
    assert found["window:0,vote:7"] == found["vote:7"]  # a script does not look back
    own = tmp_path / "agent.py"
    own.write_text(
        "class Shout:\n    policy = 'own'\n    def __init__(self, of): self.of = of\n    def sample(self, r, s): return [type(g)(text='?', stop=g.stop) for g in self.of.sample(r, s)]\n    def release(self, s): pass\ndef agent(sampler): return Shout(sampler)\n"
    )
    assert main(["bench", *SAMPLE, "--agent", str(own), "--out", str(tmp_path / "own"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measures"]["prefix_accuracy"]["value"] == 0.0
    for wrong, told in (
        ("votes:3", "Did you mean 'vote'"),
        ("vote", "expected plain"),
        ("vote:x", "no number"),
        ("vote:0", "1 or more"),
    ):
        assert main(["bench", *SAMPLE, "--agent", wrong, "--out", str(tmp_path / "w")]) == 2
        assert told in capsys.readouterr().err
    assert (
        main(
            ["bench", "processbench", "--agent", "vote:3", "--model", "random", "--out", str(tmp_path / "j")]
        )
        == 2
    )
    assert "no effect on judges" in capsys.readouterr().err
