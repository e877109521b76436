"""The inner side of ``tools/calling.py``: runs an agent's code in the sandbox, with functions that stand for our tools.

It is run as a script of its own (``python -I -S -c``) and needs the standard library only. Its orders come as JSON on standard input. A call whose
answer is not among them ends the process: it writes the call behind a mark that only this run knows, and the code is run again with the answer.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

ASKED = 75
"""The exit status of a run that waits for the answer to a call."""
CHANGED = 76
"""The exit status of a run that made other calls than the time before."""


def main() -> None:
    """Run the code."""
    orders = json.loads(sys.stdin.buffer.read())
    answers: list[Any] = orders["answers"]
    taken = 0

    def out(status: int, what: object) -> None:
        sys.stdout.flush()
        os.write(1, f"\n{orders['mark']}{json.dumps(what)}".encode())
        os._exit(status)

    def named(tool: str, parameters: list[str]) -> Callable[..., Any]:
        def call(*given: Any, **arguments: Any) -> Any:
            nonlocal taken
            if len(given) > len(parameters):
                raise TypeError(f"{tool} takes {len(parameters)} values, {len(given)} were given")
            asked = {"tool": tool, "arguments": dict(zip(parameters, given, strict=False)) | arguments}
            asked = json.loads(json.dumps(asked))
            if taken == len(answers):
                out(ASKED, asked)
            answer = answers[taken]
            taken += 1
            if answer["asked"] != asked:
                out(CHANGED, asked)
            if answer["error"]:
                raise RuntimeError(answer["text"])
            return answer["text"]

        call.__name__ = tool
        return call

    tools = {name: named(name, parameters) for name, parameters in orders["tools"].items()}
    exec(compile(orders["code"], "<code>", "exec"), {"__name__": "__main__", **tools})  # noqa: S102 -- in the sandbox


if __name__ == "__main__":
    main()
