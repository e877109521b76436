"""Edits of Python code without a model: a whole unit by its name, top-level code by its lines.

An edit changes nothing outside of what it names: not the encoding, the ends of lines, the comments above, nor decorators that a new text leaves out. What does not parse, or does not define the
named unit, is refused with one error.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize

from everystep.core.errors import ToolError, did_you_mean
from everystep.tools.code_map import Definition, decoded, definitions, first_line, lines_of, parse

_INDENT = re.compile(r"[ \t]*")
_STRINGS = {"STRING", "FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END"}


def unit_text(source: bytes, name: str) -> str:
    """Return the text of a unit: its whole lines, decorators included. ``ToolError`` where there is no such unit."""
    text, _ = _read(source)
    lines = lines_of(text)
    node = _find(text, name)
    return "".join(lines[first_line(node, lines) - 1 : node.end_lineno])


def replace_unit(source: bytes, name: str, text: str) -> bytes:
    r"""Return ``source`` with the unit ``name`` (``Class.method``; see ``code_map.Unit``) replaced by ``text``.

    ``text`` defines one unit of that name, at any indentation; comments may stand above it. Decorators stay where it has none. Raises ``ToolError`` that says what is wrong.

    >>> replace_unit(b"class A:\n    @cached\n    def f(self):\n        return 1  # one\n", "A.f", "def f(self):\n    return 2").decode()
    'class A:\n    @cached\n    def f(self):\n        return 2\n'
    """
    old, encoding = _read(source)
    lines = lines_of(old)
    node = _find(old, name)
    first, last = first_line(node, lines), node.end_lineno or node.lineno
    given, defined = _given(text, name)
    if node.decorator_list and not defined.decorator_list:
        first = node.lineno  # of def or class, behind the decorators
        given = given[_skipped(given) :]
    target = _indent_of(lines[first - 1].removeprefix("\ufeff"))
    if first == 1 and lines[0].startswith("\ufeff"):
        given = ["\ufeff" + given[0], *given[1:]] if given[0][:1] != "\ufeff" else given
    made = _ends(_shift(given, target), lines, last)
    return _checked([*lines[: first - 1], *made, *lines[last:]], encoding, name)


def replace_lines(source: bytes, first: int, last: int, text: str) -> bytes:
    """Return ``source`` with lines ``first`` to ``last`` (counted from 1, both included; ``last`` = ``first`` - 1 inserts) replaced by ``text``.

    Raises ``ToolError`` for lines that there are not, and where the outcome does not parse. That it parses does not mean that the right lines were named.
    """
    old, encoding = _read(source)
    lines = lines_of(old)
    if not (1 <= first <= len(lines) + 1 and first - 1 <= last <= len(lines)):
        raise ToolError(f"lines {first} to {last} of a file of {len(lines)}: expected lines of the file.")
    made = _ends(lines_of(text), lines, last) if text else []
    return _checked([*lines[: first - 1], *made, *lines[last:]], encoding, None)


def _read(source: bytes) -> tuple[str, str]:
    try:
        return decoded(source)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise ToolError(f"the file cannot be read as Python: {error}. Nothing was changed.") from None


def _find(text: str, name: str) -> Definition:
    try:
        known = {found: node for found, _, node in definitions(parse(text))}
    except SyntaxError as error:
        raise ToolError(f"the file does not parse ({error}), so no unit can be found in it.") from None
    if name not in known:
        raise ToolError(f"the file defines no {name!r}. {did_you_mean(name, known)}")
    return known[name]


def _given(text: str, name: str) -> tuple[list[str], Definition]:
    """Return the lines of a replacement and what they define. Lines before the unit that are blank are cut."""
    lines = lines_of(text.removeprefix("\ufeff"))
    while lines and not lines[0].strip():
        lines = lines[1:]
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    plain = name.rpartition(".")[2].partition("#")[0]
    wrapped = f"if True:\n{''.join(lines)}" if lines and _indent_of(lines[0]) else "".join(lines)
    try:
        tree = parse(wrapped)
    except SyntaxError as error:
        raise ToolError(f"the new text of {name!r} does not parse: {error}. Nothing was changed.") from None
    body = (
        tree.body[0].body
        if wrapped.startswith("if True:\n") and isinstance(tree.body[0], ast.If)
        else tree.body
    )
    if len(body) != 1 or not isinstance(body[0], Definition) or body[0].name != plain or len(tree.body) > 1:
        told = ", ".join(ast.unparse(one).partition("\n")[0][:60] for one in body) or "nothing"
        raise ToolError(
            f"the new text must define {plain!r} and nothing else; it has: {told}. Nothing was changed."
        )
    return lines, body[0]


def _skipped(given: list[str]) -> int:
    """Return how many lines of comments stand above a new unit."""
    return next(n for n, line in enumerate(given) if line.strip() and not line.lstrip().startswith("#"))


def _indent_of(line: str) -> str:
    found = _INDENT.match(line)
    return found.group() if found else ""


def _shift(given: list[str], target: str) -> list[str]:
    """Return the lines at another indentation; lines inside of strings stay as they are."""
    indent = _indent_of(given[_skipped(given)])
    if indent == target:
        return given
    head = ["if True:\n"] if indent else []
    fixed: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO("".join([*head, *given])).readline):
        if tokenize.tok_name[token.type] in _STRINGS:
            fixed |= set(range(token.start[0] + 1, token.end[0] + 1))
    return [
        line if place + len(head) in fixed or not line.strip() else target + _cut(line, indent)
        for place, line in enumerate(given, 1)
    ]


def _cut(line: str, indent: str) -> str:
    return line.removeprefix(indent) if line.startswith(indent) else line.lstrip(" \t")


def _ends(made: list[str], lines: list[str], last: int) -> list[str]:
    """Return new lines with the ends of the file's: ``\\r\\n`` where all lines have that, and the last one's as the replaced last one's."""
    crlf = all(line.endswith("\r\n") for line in lines[:-1]) and any(line.endswith("\r\n") for line in lines)
    if crlf:
        made = [re.sub(r"(?<!\r)\n\Z", "\r\n", line) for line in made]
    usual = "\r\n" if crlf else "\n"
    bare = made[-1].rstrip("\r\n")
    final = lines[last - 1][len(lines[last - 1].rstrip("\r\n")) :] if 0 < last <= len(lines) else usual
    return [*made[:-1], bare + (final or ("" if last == len(lines) else usual))]


def _checked(lines: list[str], encoding: str, name: str | None) -> bytes:
    text = "".join(lines)
    try:
        tree = parse(text)
    except SyntaxError as error:
        raise ToolError(f"the file would not parse: {error}. Nothing was changed.") from None
    if name is not None and name not in {found for found, _, _ in definitions(tree)}:
        raise ToolError(f"the file would not define {name!r} any more. Nothing was changed.")
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        raise ToolError(f"the file is in {encoding!r}, which cannot write the new text: {error}.") from None
