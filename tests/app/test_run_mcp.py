"""Tools of MCP servers in a run of the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from everystep.app.cli import main

pytest.importorskip("mcp")

SERVER = Path(__file__).parents[1] / "tools" / "mcp_server.py"


def servers(path: Path, told: object) -> str:
    path.write_text(json.dumps({"mcpServers": {"demo": told}}))
    return f"mcp:{path}"


def test_a_run_acts_with_the_tools_of_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "model.py"
    call = {"tool": "demo_add", "arguments": {"a": 2, "b": 40}}
    script.write_text(
        f"def answer(text, seed):\n    return '{{\"answer\": \"42\"}}' if '| 42' in text else {json.dumps(call)!r}\n"
    )
    spec = servers(
        tmp_path / "servers.json",
        {"command": sys.executable, "args": [str(SERVER)], "trusted": True},
    )
    words = ["add two and forty", "--tools", spec, "--model", f"script:{script}", "--vote", "single"]
    code = main(["run", *words, "--reliability", "1", "--out", str(tmp_path / "run")])
    told = capsys.readouterr()
    assert code == 0, told
    assert "2 steps" in told.out + told.err


@pytest.mark.parametrize("told", [{}, {"command": "/no/such/program"}])
def test_a_server_that_cannot_be_reached_is_one_clear_error(
    tmp_path: Path, told: object, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["x", "--tools", servers(tmp_path / "servers.json", told), "--out", str(tmp_path / "run")]
    assert main(["run", *words]) in (1, 2)
    assert "demo" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
