"""What becomes of an edit whose line numbers are off by a few, against one that names the unit."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from random import Random

from everystep.core.errors import ToolError
from everystep.environments.code.bugs import Bug, baseline, buggy
from everystep.environments.code.packages import project
from everystep.tools.code_edit import replace_lines, replace_unit, unit_text
from everystep.tools.code_map import lines_of, map_source
from everystep.tools.suite import PASSED, Variant, suite

BY_NAME = "unit by name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """The file after an edit, ``None`` where it was refused because it would not parse; ``clean`` if it is the program that was meant."""

    source: bytes | None
    clean: bool


def edits(before: bytes, after: bytes, unit: str, *, most: int, rng: Random) -> Mapping[str, Edited]:
    """Make the change from ``before`` to ``after``, which is inside of ``unit``, in several ways.

    By the unit's name; by the unit's lines, and by the changed lines alone, with line numbers that are off by 0 to ``most`` (up or down, drawn once for each size and used for both).
    """
    lines, new = lines_of(before.decode()), lines_of(after.decode())
    there = next(one for one in map_source(before, "").units if one.name == unit)
    ops = [
        one for one in SequenceMatcher(None, lines, new, autojunk=False).get_opcodes() if one[0] != "equal"
    ]
    start, end, new_start, new_end = ops[0][1], ops[-1][2], ops[0][3], ops[-1][4]
    text = unit_text(after, unit)
    made = {BY_NAME: _tried(lambda: replace_unit(before, unit, text), after)}
    hunk = "".join(new[new_start:new_end])
    for size in range(most + 1):
        off = rng.choice((-size, size))
        made[f"unit by lines, off by {size}"] = _tried(
            _lines(before, there.first + off, there.last + off, text), after
        )
        made[f"changed lines, off by {size}"] = _tried(
            _lines(before, start + 1 + off, end + off, hunk), after
        )
    return made


def mended(bug: Bug, *, most: int, rng: Random) -> dict[str, Mapping[str, float]]:
    """Mend a bug in each way; return whether the file would not parse, is as meant, is mended by its tests, and whether tests break that passed with the bug."""
    there, right = buggy(bug), project(bug.package).files[bug.path]
    made = edits(there.files[bug.path], right, bug.unit, most=most, rng=rng)
    run = {way: one.source for way, one in made.items() if one.source is not None and not one.clean}
    results = suite(there, [Variant(files={bug.path: source}) for source in run.values()]) if run else []
    lost = {
        way: baseline(bug.package) - one.having(PASSED) for way, one in zip(run, results, strict=True)
    } | {way: frozenset() for way, one in made.items() if one.clean}
    return {
        way: {
            "does not parse": float(one.source is None),
            "as meant": float(one.clean),
            "fixed": float(way in lost and not lost[way]),
            "breaks tests": float(bool(lost.get(way, frozenset()) - set(bug.failing))),
        }
        for way, one in made.items()
    }


def _lines(before: bytes, first: int, last: int, text: str) -> Callable[[], bytes]:
    return lambda: replace_lines(before, first, last, text)


def _tried(edit: Callable[[], bytes], after: bytes) -> Edited:
    try:
        made = edit()
    except ToolError:
        return Edited(source=None, clean=False)
    return Edited(source=made, clean=ast.dump(ast.parse(made)) == ast.dump(ast.parse(after)))
