"""FTRL's published cases: questions over several tools whose Python source is published too; the source runs in the sandbox only.

Data: Ye et al. 2025, "Feedback-Driven Tool-Use Improvements in Large Language Models via Automated Build Environments" (the test split that MatchTIR
scores on). A case has sub-goals: for a tool, texts that its output must contain. They are scored as there: a sub-goal is solved when a call of its tool
returned its text; precision is over calls, recall over sub-goals.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everystep.core.errors import ConfigError, DataError
from everystep.core.records import Json, Step, Task
from everystep.environments.published import SAMPLES, find_file
from everystep.tools.sandbox import Ended, Sandbox
from everystep.tools.tool import Tool, ToolResult, reading
from everystep.tools.toolbox import ToolBox

SOURCE = "https://github.com/quchangle1/MatchTIR (Data/FTRL, Apache-2.0)"
SAMPLE = "ftrl_sample.jsonl"
MOST_CHARS = 20_000

_HARNESS = """
import contextlib, io, json, sys
order = json.loads({order!r})
space = {{"__name__": "tools"}}
exec(compile(order["source"], order["name"], "exec"), space)
for arguments in order["calls"]:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            value = space[order["name"]](**arguments)
        told = json.dumps({{"value": value}}, ensure_ascii=False, default=str)
    except BaseException as error:
        told = json.dumps({{"error": f"{{type(error).__name__}}: {{error}}"}})
    sys.stdout.write(told + "\\n")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case: the question, the tools as they are described and their sources by name, the sub-goals, and the answer."""

    id: str
    kind: str
    question: str
    tools: tuple[Mapping[str, Any], ...]
    sources: Mapping[str, str]
    wanted: Mapping[str, tuple[str, ...]]
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """How many sub-goals were solved, of how many, in how many calls; and whether the answer was right (``None``: none was given)."""

    goals: int
    solved: int
    calls: int
    right: bool | None = None

    @property
    def recall(self) -> float:
        """Solved sub-goals over all."""
        return self.solved / self.goals if self.goals else 0.0

    @property
    def precision(self) -> float:
        """Solved sub-goals over calls."""
        return self.solved / self.calls if self.calls else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        both = self.recall + self.precision
        return 2 * self.recall * self.precision / both if both else 0.0


def load_cases(data: str = "sample") -> list[Case]:
    """Load ``sample`` (packaged), ``published`` (from EVERYSTEP_DATA/ftrl, a Parquet file) or a file in either form."""
    if data == "sample":
        path = SAMPLES / SAMPLE
    elif data == "published":
        path = find_file("ftrl", "ftrl_test.parquet", SOURCE)
    else:
        path = Path(data)
    if not path.is_file():
        raise DataError(
            f"there is no file {str(path)!r}. Expected a .parquet or .jsonl file of FTRL, from {SOURCE}."
        )
    cases = []
    for number, row in enumerate(_rows(path)):
        try:
            cases.append(_case(number, row))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{str(path)!r}, record {number}: it is no case of FTRL ({error!r}). See {SOURCE}."
            ) from None
    return cases


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)
        return
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ConfigError(f"reading {str(path)!r} needs pyarrow: pip install 'everystep[data]'") from error
    for batch in parquet.ParquetFile(path).iter_batches(64):
        yield from batch.to_pylist()


def _case(number: int, row: Mapping[str, Any]) -> Case:
    sources = json.loads(row["codes"])
    tools = tuple(one["function"] for one in json.loads(row["tools"]))
    question = str(row["messages"][-1]["content"])
    return Case(
        id=f"ftrl:{number}",
        kind=str(row["data_source"]).removeprefix("self/"),
        question=question,
        tools=tools,
        sources={str(name): str(text) for name, text in sources.items()},
        wanted={name: tuple(map(str, some)) for name, some in json.loads(row["unsolved_set"]).items()},
        answer=str(row["answer"]),
    )


def task_of(case: Case) -> Task:
    """Return the case as a task of a ``ToolBox``."""
    return Task(
        id=case.id,
        instruction=case.question,
        environment="toolbox",
        reference=case.answer,
        tags={"kind": case.kind, "goals": str(sum(map(len, case.wanted.values())))},
        split="test",
    )


def toolbox_of(case: Case, sandbox: Sandbox, *, max_steps: int = 20, told: bool = True) -> ToolBox:
    """Return the case's tools as an environment; every call is a process in ``sandbox``."""
    tools = [_tool(one, case.sources[str(one["name"])], sandbox) for one in case.tools]
    return ToolBox(tools, check=answered, max_steps=max_steps, told=told)


def answered(task: Task, answer: Json) -> bool:
    """Say whether an answer states the reference: the same text, or a text that contains it as words."""
    mine, right = (" ".join(str(one).lower().replace(",", "").split()) for one in (answer, task.reference))
    return mine == right or f" {right} " in f" {mine.rstrip('.')} "


def _tool(described: Mapping[str, Any], source: str, sandbox: Sandbox) -> Tool:
    name = str(described["name"])

    async def call(arguments: Mapping[str, Json], *, key: str) -> ToolResult:  # noqa: ARG001
        return (await run_source(sandbox, name, source, [arguments]))[0]

    return Tool(
        name=name,
        description=str(described.get("description", "")),
        schema=described.get("parameters") or {"type": "object"},
        effect=reading(name),
        call=call,
        timeout_s=sandbox.limits.time_s + 60.0,
        max_output_chars=MOST_CHARS,
    )


async def run_source(
    sandbox: Sandbox, name: str, source: str, calls: Sequence[Mapping[str, Json]]
) -> list[ToolResult]:
    """Run the function ``name`` of ``source`` once for each of ``calls`` in one process of the sandbox."""
    order = json.dumps({"name": name, "source": source, "calls": [dict(one) for one in calls]})
    outcome = await sandbox.run(
        ("python", "-I", "-"), given=_HARNESS.format(order=order).encode("utf-8", "replace")
    )
    lines = outcome.output.decode("utf-8", "replace").splitlines()
    if outcome.ended is not Ended.EXITED or len(lines) < len(calls):
        why = f"the tool did not finish ({outcome.ended})"
        lines += [json.dumps({"error": why})] * (len(calls) - len(lines))
    return [_result(line) for line in lines[: len(calls)]]


def _result(line: str) -> ToolResult:
    try:
        told = json.loads(line)
        if "error" in told:
            return ToolResult(text=str(told["error"]), error=True)
        value = told["value"]
    except (ValueError, TypeError, KeyError):
        return ToolResult(text="the tool wrote something that is no result", error=True)
    return ToolResult(text=value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def solved(case: Case, calls: Iterable[tuple[str, str]], answer: Json = None) -> Solved:
    """Score calls, each a tool's name and what it returned, and an answer."""
    made = list(calls)
    goals = [(tool, text) for tool, texts in case.wanted.items() for text in texts]
    found = sum(
        any(tool == name and text.lower() in output.lower() for name, output in made) for tool, text in goals
    )
    right = None if answer is None else answered(task_of(case), answer)
    return Solved(goals=len(goals), solved=found, calls=len(made), right=right)


def calls_of(steps: Sequence[Step], final: str) -> list[tuple[str, str]]:
    """Return the calls of an episode with what was seen after each; ``final`` is what was seen last."""
    seen = [*(step.observation.text for step in steps[1:]), final]
    return [
        (call.name, text)
        for step, text in zip(steps, seen, strict=True)
        for call in step.action.calls
        if call.name != "answer"
    ]
