"""Python code that an agent wrote, run in the sandbox and never in our process."""

from __future__ import annotations

from everystep.tools.program import program_tool
from everystep.tools.sandbox import Sandbox
from everystep.tools.tool import Tool


def python_tool(sandbox: Sandbox, *, name: str = "python", max_output_chars: int = 20_000) -> Tool:
    """Return a tool that runs Python code with the interpreter and the packages that we run on ourselves.

    Every call is a fresh process; files in the scratch folder stay. See ``program.program_tool``.
    """
    return program_tool(
        sandbox,
        name=name,
        description=(
            "Run Python code in a fresh process, without network. Print what you want to see. "
            "Variables are gone after each call; files in the current folder stay."
        ),
        argument="code",
        run=lambda code: (("python", "-"), code.encode("utf-8", "replace")),
        max_output_chars=max_output_chars,
    )
