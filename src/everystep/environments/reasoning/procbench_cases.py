"""The published cases of ProcBench (Fujisawa et al. 2024): what is asked, and every state.

Where they come from, the packaged sample of them, and the names of their families and bands.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from everystep.core.errors import DataError
from everystep.core.records import Json
from everystep.environments.published import SAMPLES, find_file, read_text

SOURCE = "https://github.com/ifujisawa/proc-bench (MIT): run its generator"
FAMILIES: Mapping[str, str] = {
    "task01": "sort",
    "task02": "gather",
    "task03": "count",
    "task04": "search",
    "task05": "copy",
    "task06": "substitute",
    "task07": "encode",
    "task08": "split1",
    "task09": "split2",
    "task10": "compose",
    "task11": "decompose",
    "task12": "rhythm",
    "task13": "compare",
    "task14": "count2",
    "task15": "decode",
    "task16": "pushpop",
    "task17": "rotate",
    "task18": "fill_word",
    "task19": "delete_char",
    "task20": "delete_word",
    "task21": "cumulate",
    "task22": "move_cyclic",
    "task23": "find_cyclic",
}
"""The published numbers of the families and the names of their templates."""
BANDS: Mapping[str, tuple[int, int]] = {"short": (2, 6), "medium": (7, 16), "long": (17, 25)}
"""How many states a case has, in the published bands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One problem with its truth, which its prompt decides. ``states`` are the intermediate states and the final one, as JSON values."""

    family: str
    number: int
    prompt: str
    first: Json = field(compare=False)
    states: tuple[Json, ...] = field(compare=False)

    @property
    def band(self) -> str:
        """The published band of its length; ``other`` for lengths that have none."""
        return next((name for name, (low, high) in BANDS.items() if low <= len(self.states) <= high), "other")


def load_cases(cases: str) -> tuple[Case, ...]:
    """Return the cases of ``sample``, ``published`` or a file; ``ConfigError`` if they are not there."""
    return read_cases(find_cases(cases))


def find_cases(cases: str) -> Path:
    """Return the file of ``sample``, ``published`` or a path; ``ConfigError`` if there is none."""
    if cases == "sample":
        return SAMPLES / "procbench_sample.jsonl"
    path = Path(cases)
    if cases != "published" and path.is_file():
        return path
    folder = "procbench" if cases == "published" else path
    return find_file(folder, "procbench_cases.jsonl", SOURCE)


@cache
def read_cases(path: Path) -> tuple[Case, ...]:
    """Return the cases of a file; ``DataError`` for a line that is none."""
    return tuple(_case(json.loads(line), path) for line in read_text(path).splitlines() if line.strip())


def _case(entry: Mapping[str, Json], path: Path) -> Case:
    try:
        label = entry["label"]
        assert isinstance(label, dict)  # noqa: S101 -- a wrong shape is told below
        between = label["intermediate"]
        assert isinstance(between, list)  # noqa: S101
        return Case(
            family=FAMILIES[str(entry["task"])],
            number=int(str(entry["i"])),
            prompt=str(entry["prompt"]),
            first=label["init"],
            states=(*between, label["final"]),
        )
    except (KeyError, AssertionError, ValueError) as error:
        raise DataError(
            f"{path.name}: a line is no case of ProcBench ({error!r}); expected task, i, prompt and label with init, "
            f"intermediate and final, as made by {SOURCE}."
        ) from None
