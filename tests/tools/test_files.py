"""File tools stay in their folder, whatever they are asked."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.acts import Reversal
from everystep.core.errors import ConfigError
from everystep.core.records import Task
from everystep.tools.files import file_tools
from everystep.tools.toolbox import ToolBox


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("one\ntwo\nthree\n")
    (folder / "deep" / "b.txt").write_text("two again\n")
    (tmp_path / "secret").write_text("planted")
    return folder


def use(root: Path, name: str, **arguments: Any) -> str:
    tool = next(one for one in file_tools(root, write=True) if one.name == name)
    try:
        return asyncio.run(tool.call(arguments, key="k")).text  # type: ignore[arg-type]
    except Exception as error:
        return f"error: {error}"


def test_list_read_search_write(root: Path) -> None:
    assert use(root, "list_files") == "a.txt (14 bytes)\ndeep/"
    assert use(root, "list_files", deep=True) == "a.txt (14 bytes)\ndeep/\ndeep/b.txt (10 bytes)"
    assert use(root, "read_file", path="a.txt") == "1: one\n2: two\n3: three"
    assert (
        use(root, "read_file", path="a.txt", start=2, lines=1) == "2: two\n... more lines follow; read from 3"
    )
    assert use(root, "read_file", path="a.txt", start=9) == "(line 9 is past the end; the file has 3 lines)"
    assert use(root, "search_files", text="two") == "a.txt:2: two\ndeep/b.txt:1: two again"
    assert use(root, "search_files", text="two", path="deep/b.txt") == "deep/b.txt:1: two again"
    assert use(root, "search_files", text=".*") == "'.*' was not found"
    assert use(root, "write_file", path="new/c.txt", text="é").startswith("wrote 2 bytes")
    assert (root / "new" / "c.txt").read_text() == "é"
    (root / "a.txt").chmod(0o755)
    use(root, "write_file", path="a.txt", text="x")
    assert (root / "a.txt").stat().st_mode & 0o777 == 0o755
    assert sorted(one.name for one in root.iterdir()) == ["a.txt", "deep", "new"]
    assert "cannot be read" in use(root, "read_file", path="deep/b.txt/x") or "no file" in use(
        root, "read_file", path="deep/b.txt/x"
    )
    assert "is a folder" in use(root, "write_file", path="deep", text="")
    assert "expected at most" in use(root, "write_file", path="big", text="x" * 1_000_001)


def test_no_path_leads_out(root: Path) -> None:
    (root / "link").symlink_to("../secret")
    (root / "up").symlink_to("..")
    (root / "loop").symlink_to("loop")
    (root / "inner").symlink_to("deep/b.txt")
    os.mkfifo(root / "pipe")
    for path in (
        "../secret",
        "/etc/passwd",
        "deep/../../secret",
        "link",
        "up/secret",
        "up",
        "..",
        "a\0b",
        "~/x",
        "loop",
    ):
        for name in ("read_file", "list_files", "write_file"):
            more = {"text": "x"} if name == "write_file" else {}
            if (name, path) in (("write_file", "~/x"), ("write_file", "loop")):
                continue
            result = use(root, name, path=path, **more)
            assert result.startswith("error"), (name, path, result)
            assert "planted" not in result
    assert (root.parent / "secret").read_text() == "planted"
    assert use(root, "read_file", path="inner") == "1: two again"
    assert "is not a file" in use(root, "read_file", path="pipe")
    assert use(root, "search_files", text="planted") == "'planted' was not found"


def test_writing_is_idempotent_and_reading_is_pure(root: Path) -> None:
    tools = {one.name: one for one in file_tools(root, write=True)}
    assert tools["write_file"].effect.repeatable
    assert tools["write_file"].effect.reversal is Reversal.IRREVERSIBLE
    assert tools["write_file"].effect.resources == (f"folder:{root.resolve()}",)
    assert all(
        tools[name].effect.reversal is Reversal.PURE for name in ("list_files", "read_file", "search_files")
    )
    assert "write_file" not in {one.name for one in file_tools(root)}
    with pytest.raises(ConfigError, match="is not a folder"):
        file_tools(root / "nothing")


@given(path=st.text(alphabet=st.sampled_from("./a~\\\0\n é"), max_size=12))
def test_odd_paths_are_answers(tmp_path_factory: pytest.TempPathFactory, path: str) -> None:
    root = tmp_path_factory.getbasetemp() / "odd" / "root"
    root.mkdir(parents=True, exist_ok=True)
    box = ToolBox(file_tools(root, write=True))
    box.reset(Task(id="t", instruction="", environment="tools"))
    for name, more in (("read_file", {}), ("list_files", {}), ("write_file", {"text": "x"})):
        action = box.parse("") if name == "" else box.parse(_call(name, path=path, **more))
        assert asyncio.run(box.act(action, key="k")).observation.text
    assert [one.name for one in root.parent.iterdir()] == ["root"]


def _call(name: str, **arguments: Any) -> str:

    return json.dumps({"tool": name, "arguments": arguments})
