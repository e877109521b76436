"""Python code that calls our tools: the code runs in the sandbox and nowhere else, the calls are made out here.

The sandbox has no way out while a program runs. So a call ends the program, we make it, and the code runs again with the answers so far: n calls
take n + 1 short processes. That asks for code that makes the same calls each time, and tools that may be called again; both are checked.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from secrets import token_hex

from everystep.core.acts import RISKS, Effect, Reversal
from everystep.core.errors import ConfigError, ToolError
from everystep.core.records import Json
from everystep.tools.caller import ASKED, CHANGED
from everystep.tools.sandbox import Ended, Outcome, Sandbox
from everystep.tools.schema import schema_problem
from everystep.tools.tool import Tool, ToolResult

_CALLER = Path(__file__).with_name("caller.py")
_REVERSALS = tuple(Reversal)
_ERRORS = 2000  # characters of standard error that are shown, from its end


def calling_tool(
    sandbox: Sandbox,
    tools: Sequence[Tool],
    *,
    name: str = "python",
    max_calls: int = 16,
    max_output_chars: int = 20_000,
) -> Tool:
    """Return a tool that runs Python code in which ``tools`` are functions of their names; what the code prints is its result.

    A function returns the tool's text, or raises where the tool failed. Every call of a function is checked as any call is. The code has no files of its own
    to keep: the sandbox's folder must be empty and is emptied after each run. Only tools whose effect is repeatable are allowed; the
    effect of the whole is the worst of theirs. At most ``max_calls`` calls are made.
    """
    known = {tool.name: tool for tool in tools}
    for tool in tools:
        if not tool.effect.repeatable or not tool.name.isidentifier():
            raise ConfigError(
                f"tool {tool.name!r} cannot be a function in code: it needs a Python name and an effect that is pure or idempotent, "
                "for code is run again after each call. Offer it to the agent as a tool of its own."
            )
    if sandbox.folder.exists() and any(sandbox.folder.iterdir()):
        raise ConfigError(
            f"{str(sandbox.folder)!r} is not empty, and it would be emptied. Name a new folder."
        )

    async def call(arguments: Mapping[str, Json], *, key: str) -> ToolResult:
        answers: list[Json] = []
        while True:
            mark = f"call {token_hex(16)} "
            outcome = await _run(sandbox, str(arguments["code"]), known, answers, mark)
            asked = _asked(outcome, mark)
            if outcome.status == CHANGED and asked is not None:
                return _failed(
                    "the code made other calls when it was run again; make them depend on nothing else"
                )
            if outcome.status != ASKED or asked is None:
                return _result(outcome)
            if len(answers) == max_calls:
                return _failed(f"the code made more than {max_calls} calls")
            answers.append(await _answer(known, asked, f"{key}:{len(answers)}"))

    limits = sandbox.limits
    return Tool(
        name=name,
        description=_described(tools),
        schema={
            "type": "object",
            "properties": {"code": {"type": "string"}},
            "required": ["code"],
            "additionalProperties": False,
        },
        effect=Effect(
            name=name,
            reversal=max((one.effect.reversal for one in tools), key=_REVERSALS.index, default=Reversal.PURE),
            risk=max((one.effect.risk for one in tools), key=RISKS.index, default=RISKS[0]),
            idempotent=True,
            resources=tuple(
                sorted({some for one in tools for some in one.effect.resources} | {str(sandbox.folder)})
            ),
        ),
        call=call,
        timeout_s=(limits.time_s + 30.0) * (max_calls + 1) + sum(one.timeout_s for one in tools) * max_calls,
        max_output_chars=max_output_chars,
    )


async def _run(
    sandbox: Sandbox, code: str, tools: Mapping[str, Tool], answers: Sequence[Json], mark: str
) -> Outcome:
    orders = {
        "code": code,
        "answers": list(answers),
        "mark": mark,
        "tools": {name: _parameters(tool) for name, tool in tools.items()},
    }
    given = json.dumps(orders).encode("utf-8", "replace")
    try:
        return await sandbox.run(("python", "-I", "-S", "-c", _CALLER.read_text()), given=given)
    finally:
        await asyncio.to_thread(_empty, sandbox.folder)


def _empty(folder: Path) -> None:
    for one in folder.iterdir() if folder.exists() else ():
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        else:
            one.unlink()


def _asked(outcome: Outcome, mark: str) -> dict[str, Json] | None:
    """Return the call that a run ended with, ``None`` where it ended otherwise. Only what stands behind the mark of this run counts."""
    _, found, last = outcome.output.rpartition(f"\n{mark}".encode())
    if not found or outcome.ended is not Ended.EXITED:
        return None
    try:
        asked = json.loads(last)
    except (ValueError, RecursionError):
        return None
    right = isinstance(asked, dict) and isinstance(asked.get("tool"), str)
    return asked if right and isinstance(asked.get("arguments"), dict) else None


async def _answer(tools: Mapping[str, Tool], asked: Mapping[str, Json], key: str) -> Json:
    """Make one call; whatever goes wrong in it is an answer."""
    tool, arguments = tools.get(str(asked["tool"])), asked["arguments"]
    if tool is None or not isinstance(arguments, dict):
        return {"asked": dict(asked), "text": f"there is no tool {asked['tool']!r}", "error": True}
    wrong = tool.problem(arguments) if tool.problem else schema_problem(tool.schema, arguments)
    result = _failed(f"{tool.name}: {wrong}") if wrong else None
    if result is None:
        try:
            async with asyncio.timeout(tool.timeout_s):
                result = await tool.call(arguments, key=key)
        except TimeoutError:
            result = _failed(f"{tool.name}: no result within {tool.timeout_s} s")
        except ToolError as error:
            result = _failed(str(error))
        except Exception as error:  # a tool is somebody's code
            result = _failed(f"{type(error).__name__}: {error}")
    return {"asked": dict(asked), "text": result.text[: tool.max_output_chars], "error": result.error}


def _failed(why: str) -> ToolResult:
    return ToolResult(text=why, error=True)


def _result(outcome: Outcome) -> ToolResult:
    parts = [outcome.output.decode("utf-8", "replace").rstrip("\n")]
    if not outcome.ok:
        parts.append(outcome.errors.decode("utf-8", "replace").strip()[-_ERRORS:])
        parts.append(f"[{outcome.ended.value}, status {outcome.status}]")
    return ToolResult(text="\n".join(part for part in parts if part) or "[no output]", error=not outcome.ok)


def _parameters(tool: Tool) -> list[str]:
    properties = tool.schema.get("properties")
    return list(properties) if isinstance(properties, dict) else []


def _described(tools: Sequence[Tool]) -> str:
    lines = [
        "Run Python code, without network and files. Print what you want to see. These functions return text:"
    ]
    for tool in tools:
        text = " ".join(tool.description.split())
        lines.append(f"{tool.name}({', '.join(_parameters(tool))}): {text}")
    return "\n".join(lines)
