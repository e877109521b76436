"""Changes to code as an agent writes them: a heading that names a unit, or top-level lines, and the whole new text in a block.

    ### package/module.py::Class.method
    ```python
    def method(self): ...
    ```

``### package/module.py:10-12`` replaces these lines instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from everystep.core.errors import ToolError, did_you_mean
from everystep.tools.code_edit import replace_lines, replace_unit

_HEAD = re.compile(r"^#{2,4}[ \t]*`?([^\s`:]+\.py)(?:::([\w.#]+)|:(\d+)-(\d+))`?[ \t]*$", re.MULTILINE)
_BLOCK = re.compile(r"\A\s*(`{3,})(?:python|py)?[^\S\n]*\n(.*?)^[ \t]*\1[ \t]*$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The new ``text`` of a unit, or of the lines ``first`` to ``last`` where ``unit`` is empty."""

    path: str
    text: str
    unit: str = ""
    first: int = 0
    last: int = 0


def read_changes(text: str) -> tuple[Change, ...]:
    """Return the changes that an answer names. ``ToolError`` where there is none, or a heading has no block.

    >>> read_changes("### a.py::f\\n```python\\ndef f(): pass\\n```")[0].unit
    'f'
    """
    heads = list(_HEAD.finditer(text))
    made = []
    for n, head in enumerate(heads):
        end = heads[n + 1].start() if n + 1 < len(heads) else len(text)
        block = _BLOCK.match(text[head.end() : end])
        if block is None:
            raise ToolError(f"{head[0]!r} is not followed by a block of code between ```python and ```.")
        first, last = int(head[3] or 0), int(head[4] or 0)
        made.append(Change(path=head[1], unit=head[2] or "", first=first, last=last, text=block[2]))
    if not made:
        raise ToolError(
            "no change found: expected '### path.py::name' and a block between ```python and ```."
        )
    return tuple(made)


def write_changes(changes: Sequence[Change]) -> str:
    """Return changes as ``read_changes`` reads them."""
    parts = []
    for one in changes:
        where = f"{one.path}::{one.unit}" if one.unit else f"{one.path}:{one.first}-{one.last}"
        fence = "`" * max(3, max((len(run) for run in re.findall(r"`+", one.text)), default=0) + 1)
        parts.append(
            f"### {where}\n{fence}python\n{one.text}{'' if one.text.endswith(chr(10)) else chr(10)}{fence}"
        )
    return "\n\n".join(parts)


def changed(changes: Sequence[Change], files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the changed files. Changes of lines are counted in the files as they were, so they are made last to first. ``ToolError`` where one cannot be made."""
    made: dict[str, bytes] = {}
    for one in sorted(changes, key=lambda change: -change.first):
        if one.path not in files:
            raise ToolError(f"there is no file {one.path!r}. {did_you_mean(one.path, files)}")
        source = made.get(one.path, files[one.path])
        if one.unit:
            made[one.path] = replace_unit(source, one.unit, one.text)
        else:
            made[one.path] = replace_lines(source, one.first, one.last, one.text)
    return made
