"""Shell commands that an agent wrote, run in the sandbox."""

from __future__ import annotations

from everystep.tools.program import program_tool
from everystep.tools.sandbox import Sandbox
from everystep.tools.tool import Tool


def shell_tool(sandbox: Sandbox, *, name: str = "shell", max_output_chars: int = 20_000) -> Tool:
    """Return a tool that runs a command with ``/bin/sh``. See ``program.program_tool``."""
    return program_tool(
        sandbox,
        name=name,
        description=(
            "Run a command with sh in a fresh process, without network. "
            "Files in the current folder stay; nothing else can be written."
        ),
        argument="command",
        run=lambda command: (("sh", "-s"), command.encode("utf-8", "replace")),
        max_output_chars=max_output_chars,
    )
