"""Mobile-Eval-E (Wang et al. 2025): 25 phone tasks with rubrics and the operations that a person took. No phone comes with it.

Two tasks are packaged; the others are read from the published files. What can be measured without a phone is how many of
the operations come again from task to task, so that a shortcut could have taken them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everystep.core.errors import DataError
from everystep.environments.published import SAMPLES, find_file, read_text

SOURCE = "https://github.com/X-PLUG/MobileAgent (MIT), folder Mobile-Agent-E/data/Mobile-Eval-E"
FILES = tuple(f"scenario_{number}_v1.json" for number in range(1, 6))
_SAMPLE = "mobile_eval_sample.json"
_EMPTY = frozenset({"the", "a", "an", "on", "app", "button", "in"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalTask:
    """One task: what to do, with which apps, what to look for in the result (``rubrics``), and what a person did (``operations``)."""

    id: str
    scenario: str
    instruction: str
    apps: tuple[str, ...]
    rubrics: tuple[str, ...]
    operations: tuple[str, ...]


def sample() -> list[EvalTask]:
    """Return the two tasks that are packaged."""
    return _read(SAMPLES / _SAMPLE)


def load(folder: Path | None = None) -> list[EvalTask]:
    """Return all 25 tasks, from ``folder`` or from ``mobile_eval`` below ``EVERYSTEP_DATA``; ``ConfigError`` says where to get them."""
    home = folder or "mobile_eval"
    return [task for name in FILES for task in _read(find_file(home, name, SOURCE))]


def _read(path: Path) -> list[EvalTask]:
    try:
        data = json.loads(read_text(path))
        return [_task(data["scenario"], one) for one in data["tasks"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{str(path)!r} holds no scenario of Mobile-Eval-E: {error!r}. Get it from {SOURCE}."
        ) from None


def _task(scenario: str, data: dict[str, Any]) -> EvalTask:
    lists = [tuple(data[key]) for key in ("apps", "rubrics", "human_reference_operations")]
    if not all(isinstance(text, str) for texts in lists for text in texts):
        raise TypeError("apps, rubrics and operations should be texts")
    apps, rubrics, operations = lists
    return EvalTask(
        id=str(data["task_id"]), scenario=str(scenario), instruction=str(data["instruction"]), apps=apps,
        rubrics=rubrics, operations=operations,
    )  # fmt: skip


def plain(operation: str) -> str:
    """Return an operation in one spelling: what is typed and which app is opened are arguments, remarks are left out.

    >>> plain("Tap on the search bar (top)"), plain("type 'Joy-Con'"), plain("open Best Buy app")
    ('tap search bar', 'type <text>', 'open <app>')
    """
    text = re.sub(r"\(.*?\)", " ", operation).lower()
    found = [word for word in re.findall(r"\w+", text) if word not in _EMPTY]
    if found[:1] == ["type"]:
        return "type <text>"
    if found[:1] == ["open"]:
        return "open <app>"
    return " ".join(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """What shortcuts from earlier tasks would have done in one: the operations, those that are covered, and the uses that cover them."""

    task: str
    operations: int
    covered: int
    uses: int


def reuse(tasks: Sequence[EvalTask], *, most: int | None = 1, longest: int = 6) -> list[Reuse]:
    """Return for each task how many operations the shortcuts from the tasks before it cover, the longest first.

    A shortcut is a sequence of 2 to ``longest`` operations that two earlier tasks share; after each task the ``most`` best new ones
    are kept (by the operations that they would have saved so far), all with ``None``. Whether they would have worked is not known: there is no phone.
    """
    known: list[tuple[str, ...]] = []
    seen: Counter[tuple[str, ...]] = Counter()
    found = []
    for task in tasks:
        steps = [plain(one) for one in task.operations]
        covered, uses = _cover(steps, known)
        found.append(Reuse(task=task.id, operations=len(steps), covered=covered, uses=uses))
        seen.update(
            {tuple(steps[i : i + n]) for n in range(2, longest + 1) for i in range(len(steps) - n + 1)}
        )
        fresh = [one for one, times in seen.items() if times >= 2 and one not in known]
        fresh.sort(key=lambda one: (-seen[one] * (len(one) - 1), one))
        known += fresh[:most]
    return found


def _cover(steps: Sequence[str], known: Sequence[tuple[str, ...]]) -> tuple[int, int]:
    """Return how many steps the longest known sequences cover from left to right, and how many sequences that takes."""
    order = sorted(known, key=len, reverse=True)
    place = covered = uses = 0
    while place < len(steps):
        fit = next((one for one in order if tuple(steps[place : place + len(one)]) == one), ())
        covered, uses = covered + len(fit), uses + bool(fit)
        place += len(fit) or 1
    return covered, uses
