"""Python and shell in the sandbox, as tools."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from everystep.core.acts import Reversal
from everystep.core.errors import ToolError
from everystep.core.records import Task
from everystep.tools.python import python_tool
from everystep.tools.sandbox import Limits, Sandbox
from everystep.tools.shell import shell_tool
from everystep.tools.tool import Tool, ToolResult
from everystep.tools.toolbox import ToolBox


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    made = Sandbox(tmp_path / "scratch", limits=Limits(time_s=5, output_bytes=20_000))
    try:
        asyncio.run(made.backend())
    except ToolError as error:
        pytest.skip(str(error))
    return made


def done(tool: Tool, text: str, key: str = "k") -> ToolResult:
    argument = next(iter(tool.schema["properties"]))  # type: ignore[arg-type]
    return asyncio.run(tool.call({argument: text}, key=key))  # type: ignore[arg-type]


def test_python_prints_fails_and_keeps_files(sandbox: Sandbox) -> None:
    python = python_tool(sandbox)
    assert done(python, "open('n', 'w').write('7')\nprint(6 * 7)").text == "42"
    again = done(python, "x = int(open('n').read())\nprint(x)\nraise SystemExit(x)")
    assert (again.text, again.error) == ("7\n[exit status 7]", True)
    failed = done(python, "1 / 0")
    assert failed.error
    assert "ZeroDivisionError" in failed.text
    assert done(python, "é = 1").text == "[no output]"
    assert done(python, "print(n)").error  # nothing but files is kept


def test_shell_and_python_share_a_folder_and_tell_what_stopped_them(sandbox: Sandbox) -> None:
    shell = shell_tool(sandbox)
    assert done(shell, "echo hi > f; cat f").text == "hi"
    assert done(python_tool(sandbox), "print(open('f').read())").text == "hi"
    assert "wrote more than 20000 bytes" in done(shell, "yes").text
    assert done(shell, "ln -s /etc/passwd p").text == "[not kept, they lead out of the folder: 'p']"
    nul = done(shell, "echo a\0b")
    assert isinstance(nul.text, str)


def test_a_call_in_doubt_can_be_settled(sandbox: Sandbox) -> None:
    shell = shell_tool(sandbox)
    assert shell.settle is not None
    assert not shell.effect.repeatable
    assert shell.effect.reversal is Reversal.COMPENSATABLE

    def settled(key: str) -> tuple[bool, str | None]:
        one = asyncio.run(shell.settle({"command": ""}, key=key))  # type: ignore[misc]
        return one.known, None if one.result is None else one.result.text

    assert settled("a") == (True, None)
    done(shell, "echo one >> f; cat f", key="a")
    assert settled("a") == (True, "one")
    assert settled("b") == (True, None)
    done(shell, "exit 1", key="b")
    assert settled("b") == (True, "[exit status 1]")
    note = sandbox.folder.parent / f".{sandbox.folder.name}.last"
    note.write_text(json.dumps({"key": "c"}))  # as it is while files are copied back
    assert settled("c") == (False, None)
    note.write_text("{")
    assert settled("c") == (True, None)


def test_code_of_an_agent_in_a_tool_box(sandbox: Sandbox) -> None:
    box = ToolBox([python_tool(sandbox)])
    box.reset(Task(id="t", instruction="", environment="tools", reference="3"))
    text = '```json\n{"tool": "python", "arguments": {"code": "print(1 + 2)"}}\n```'
    assert box.step(box.parse(text)).observation.text.endswith("| 3")
    assert "argument 'code' is missing" in (
        box.parse('{"tool": "python", "arguments": {"x": "1"}}').reason or ""
    )
    assert "must be of type string" in (
        box.parse('{"tool": "python", "arguments": {"code": 1}}').reason or ""
    )
