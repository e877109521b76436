"""Unified diffs as they are published: read, checked against files, applied. Context must be there word for word, spaces at line ends apart; nothing is guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from everystep.core.errors import ToolError
from everystep.tools.code_map import lines_of

_HEAD = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunk:
    """Lines from ``start`` (counted from 1): each a mark (space, ``-`` or ``+``) and its text."""

    start: int
    lines: tuple[tuple[str, str], ...]

    @property
    def before(self) -> tuple[str, ...]:
        """The lines that must be there."""
        return tuple(text for mark, text in self.lines if mark != "+")


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePatch:
    """The changes of one file; a file that is new has ``new`` set."""

    path: str
    hunks: tuple[Hunk, ...]
    new: bool = False


def read_patch(text: str) -> tuple[FilePatch, ...]:
    """Return the changes of each file of a diff with ``a/`` and ``b/`` paths.

    >>> read_patch("--- a/x.py\\n+++ b/x.py\\n@@ -1,2 +1,2 @@\\n a\\n-b\\n+c\\n")[0].hunks[0].before
    ('a', 'b')
    """
    found: list[tuple[str, bool, list[Hunk]]] = []
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.startswith("--- ") and at + 1 < len(lines) and lines[at + 1].startswith("+++ "):
            new = line[4:].strip() == "/dev/null"
            path = (line if lines[at + 1][4:].strip() == "/dev/null" else lines[at + 1])[4:].strip()
            found.append((path.partition("/")[2], new, []))
            at += 2
        elif (head := _HEAD.match(line)) and found:
            olds, news = int(head[2] or 1), int(head[4] or 1)
            at += 1
            body: list[tuple[str, str]] = []
            while at < len(lines) and (olds > 0 or news > 0):
                mark, rest = (lines[at] or " ")[0], lines[at][1:]
                at += 1
                if mark == "\\":
                    continue
                if mark not in " +-":
                    raise ToolError(
                        f"line {at} of the diff is {lines[at - 1][:60]!r}; expected a changed line."
                    )
                olds -= mark != "+"
                news -= mark != "-"
                body.append((mark, rest))
            found[-1][2].append(Hunk(start=int(head[1]), lines=tuple(body)))
        else:
            at += 1
    return tuple(FilePatch(path=path, hunks=tuple(hunks), new=new) for path, new, hunks in found)


def place_of(hunk: Hunk, lines: Sequence[str]) -> int | None:
    """Return the index of the line at which a hunk's old lines stand, the one nearest to where it says; ``None`` where they stand nowhere."""
    wanted = [one.rstrip() for one in hunk.before]
    have = [one.rstrip() for one in lines]
    guess = max(0, hunk.start - 1)
    fits = [n for n in range(len(have) - len(wanted) + 1) if have[n : n + len(wanted)] == wanted]
    return min(fits, key=lambda n: abs(n - guess)) if fits else None


def apply_patch(patch: Sequence[FilePatch], files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the changed files by path. ``ToolError`` where a file or a hunk's lines are missing."""
    made: dict[str, bytes] = {}
    for one in patch:
        if one.new:
            added = [text for hunk in one.hunks for mark, text in hunk.lines if mark == "+"]
            made[one.path] = "".join(f"{text}\n" for text in added).encode()
            continue
        if one.path not in files:
            raise ToolError(f"the diff changes {one.path!r}, which is not there.")
        lines = lines_of(files[one.path].decode("utf-8", "surrogateescape"))
        for hunk in reversed(one.hunks):
            at = place_of(hunk, lines)
            if at is None:
                raise ToolError(
                    f"the lines that the diff of {one.path!r} expects at {hunk.start} are not there."
                )
            lines[at : at + len(hunk.before)] = _new(hunk, lines[at : at + len(hunk.before)])
        made[one.path] = "".join(lines).encode("utf-8", "surrogateescape")
    return made


def _new(hunk: Hunk, old: Sequence[str]) -> list[str]:
    """Return a hunk's new lines; context keeps the file's own text."""
    made, at = [], 0
    for mark, text in hunk.lines:
        if mark != "+":
            if mark == " ":
                made.append(old[at])
            at += 1
        else:
            made.append(f"{text}\n")
    return made


def changed_lines(one: FilePatch, lines: Sequence[str]) -> list[int]:
    """Return the lines of the old file, counted from 1, that are removed, or before which something is added."""
    found: list[int] = []
    for hunk in one.hunks:
        at = place_of(hunk, lines)
        if at is None:
            continue
        for mark, _ in hunk.lines:
            if mark != " ":
                found.append(min(at + 1, len(lines)))
            at += mark != "+"
    return list(dict.fromkeys(found))
