"""The tools that ``--tools`` can name, as one environment."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from everystep.app.run_models import python_file
from everystep.core.acts import Risk
from everystep.core.errors import ConfigError, did_you_mean
from everystep.run.folder import read_json
from everystep.tools.toolbox import ToolBox

KNOWN = ("python", "shell", "files", "mcp")
SCRATCH = "scratch"
"""The folder within a run's where sandboxed programs work."""


def toolbox_of(
    specs: Sequence[str], place: Path, *, max_steps: int | None
) -> tuple[ToolBox, list[Callable[[], object]]]:
    """Return the tools that short forms name, ``python``, ``shell``, ``files:FOLDER``, ``mcp:FILE.json``, or Python files, and what closes them.

    ``place`` is the run's folder; programs work in a folder within it. What a file offers are its list ``TOOLS`` of functions and tools, or else its
    public functions; a function of which nothing is known counts as irreversible.
    """
    closers: list[Callable[[], object]] = []
    try:
        tools = [tool for spec in specs for tool in _tools(spec, place, closers)]
        return ToolBox(tools, max_steps=max_steps or 1_000_000, told=False), closers
    except BaseException:
        for close in closers:
            close()
        raise


def _tools(spec: str, place: Path, closers: list[Callable[[], object]]) -> Iterator[Any]:
    name, _, argument = spec.partition(":")
    if spec.endswith(".py"):
        yield from _from_file(Path(spec))
    elif name in ("python", "shell"):
        yield _program(name, place)
    elif name == "mcp":
        yield from _served(Path(argument), closers)
    elif name == "files":
        from everystep.tools.files import file_tools  # pydantic

        folder, _, mode = argument.partition(":")
        if mode not in ("", "write"):
            raise ConfigError(f"--tools {spec!r}: expected files:FOLDER or files:FOLDER:write.")
        yield from file_tools(Path(folder or "."), write=mode == "write")
    else:
        raise ConfigError(
            f"--tools {spec!r}: it is neither a Python file nor a known tool. {did_you_mean(name, KNOWN)}"
        )


def _program(name: str, place: Path) -> Any:
    from everystep.tools.python import python_tool
    from everystep.tools.sandbox import Sandbox
    from everystep.tools.shell import shell_tool

    sandbox = Sandbox(place / SCRATCH)
    tool = python_tool(sandbox) if name == "python" else shell_tool(sandbox)
    # nothing but the run's own scratch folder can be touched, so nobody has to be asked
    return replace(tool, effect=replace(tool.effect, risk=Risk.NONE))


def _served(path: Path, closers: list[Callable[[], object]]) -> Iterator[Any]:
    """Connect to the MCP servers of a file in the usual form and yield their tools."""
    from everystep.tools.mcp import Address, McpServer, Program  # the official SDK

    servers = read_json(path).get("mcpServers")
    if not isinstance(servers, dict) or not servers:
        raise ConfigError(
            f'{str(path)!r} names no MCP servers; expected {{"mcpServers": {{"NAME": {{"command": ..., "args": [...]}}}}}}, '
            'or {"url": ...} for a server.'
        )
    for name, told in servers.items():
        of: dict[str, Any] = told if isinstance(told, dict) else {}
        where: Program | Address
        if isinstance(of.get("command"), str):
            line = (of["command"], *map(str, of.get("args", ())))
            where = Program(line=line, environment=dict(of.get("env", {})))
        elif isinstance(of.get("url"), str):
            where = Address(url=of["url"], headers=dict(of.get("headers", {})))
        else:
            raise ConfigError(f"server {name!r} in {str(path)!r} has neither a command nor a url.")
        server = McpServer(str(name), where, trusted=of.get("trusted") is True)
        server.open()
        closers.append(server.close)
        yield from server.tools


def _from_file(path: Path) -> Iterator[Any]:
    from everystep.tools.function import tool_of  # pydantic
    from everystep.tools.tool import Tool

    defined = python_file(path)
    own = [
        value
        for name, value in defined.items()
        if inspect.isfunction(value) and not name.startswith("_") and value.__module__ == "<run_path>"
    ]
    given = defined.get("TOOLS", own)
    if not given:
        raise ConfigError(f"{str(path)!r} defines no public function and no list TOOLS.")
    for one in given:
        if not isinstance(one, Tool) and not callable(one):
            raise ConfigError(f"{str(path)!r}: {one!r} in TOOLS is neither a function nor a tool.")
        yield one if isinstance(one, Tool) else tool_of(one)
