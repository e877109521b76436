"""A program in the sandbox as a tool: what it may do, how its end is told, and how a call in doubt is settled."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from everystep.core.acts import Effect, Reversal, Risk
from everystep.core.records import Json
from everystep.tools.sandbox import Ended, Outcome, Sandbox
from everystep.tools.tool import Settlement, Tool, ToolResult

_TOLD = {
    Ended.TIME: "it was stopped after {limits.time_s} s",
    Ended.MEMORY: "it was stopped: its processes held more than {limits.memory_bytes} bytes of memory",
    Ended.OUTPUT: "it was stopped: it wrote more than {limits.output_bytes} bytes of output",
    Ended.FILES: "its files are larger than {limits.scratch_bytes} bytes, or nest too deep",
    Ended.KILLED: "the system killed it",
}


def program_tool(
    sandbox: Sandbox,
    *,
    name: str,
    description: str,
    argument: str,
    run: Callable[[str], tuple[tuple[str, ...], bytes]],
    max_output_chars: int,
) -> Tool:
    """Return a tool that takes one text and gives it to a program: ``run`` makes the command line and the input of it.

    A call that is stopped or interrupted changes no file. Which call was the last to change the scratch folder is
    written beside it (``.NAME.last``), so a call in doubt can be settled, but for one that was interrupted while its files were copied back.
    """
    limits = sandbox.limits

    async def call(arguments: Mapping[str, Json], *, key: str) -> ToolResult:
        line, given = run(str(arguments[argument]))
        outcome = await sandbox.run(line, given=given, keeping=lambda: _note(sandbox.folder, key, None))
        result = _result(outcome, _TOLD, sandbox)
        if outcome.ended is Ended.EXITED:
            _note(sandbox.folder, key, result)
        return result

    async def settle(arguments: Mapping[str, Json], *, key: str) -> Settlement:  # noqa: ARG001
        last = _last(sandbox.folder)
        if last.get("key") != key:
            return Settlement(known=True)
        text = last.get("text")
        if not isinstance(text, str):
            return Settlement(known=False)
        return Settlement(known=True, result=ToolResult(text=text, error=last.get("error") is True))

    return Tool(
        name=name,
        description=description,
        schema={
            "type": "object",
            "properties": {argument: {"type": "string"}},
            "required": [argument],
            "additionalProperties": False,
        },
        effect=Effect(
            name=name,
            reversal=Reversal.COMPENSATABLE,
            risk=Risk.LOW,
            resources=(f"folder:{sandbox.folder.resolve()}",),
        ),
        call=call,
        settle=settle,
        timeout_s=limits.time_s
        + 60.0,  # the sandbox keeps the time itself; this is for copying, and for a machine that is busy
        max_output_chars=max_output_chars,
    )


def _result(outcome: Outcome, told: Mapping[Ended, str], sandbox: Sandbox) -> ToolResult:
    output, errors = (part.decode("utf-8", "replace") for part in (outcome.output, outcome.errors))
    parts = [output.rstrip("\n")] if output else []
    if errors.strip():
        parts.append(f"[standard error]\n{errors.rstrip()}")
    if outcome.ended is not Ended.EXITED:
        why = told[outcome.ended].format(limits=sandbox.limits)
        parts.append(f"[{why}; files are as they were before]")
    elif outcome.status:
        how = f"exit status {outcome.status}" if outcome.status > 0 else f"signal {-outcome.status}"
        parts.append(f"[{how}]")
    if outcome.left_out:
        names = ", ".join(repr(one[:80]) for one in outcome.left_out[:10])
        parts.append(f"[not kept, they lead out of the folder: {names}]")
    data: Json = {"ended": outcome.ended.value, "status": outcome.status, "output": output, "errors": errors}
    return ToolResult(text="\n".join(parts) or "[no output]", error=not outcome.ok, data=data)


def _beside(folder: Path) -> Path:
    whole = folder.resolve()
    return whole.with_name(f".{whole.name}.last")


def _note(folder: Path, key: str, result: ToolResult | None) -> None:
    """Write down that the call ``key`` is about to change ``folder``, or has done so with ``result``."""
    path = _beside(folder)
    new = path.with_name(f"{path.name}.new")
    what = {"key": key} if result is None else {"key": key, "text": result.text, "error": result.error}
    new.write_text(json.dumps(what))
    new.replace(path)


def _last(folder: Path) -> Mapping[str, Json]:
    try:
        found = json.loads(_beside(folder).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
