"""A map of Python code from its syntax tree: files, classes, functions and methods, with what a reader needs to choose among them.

Nothing is imported or run. A file that cannot be read as Python is listed with the reason and has no units.
"""

from __future__ import annotations

import ast
import re
import tokenize
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
TOP_LEVEL = "top-level"
"""The kind of a place in a file that is in no unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A class, function or method. ``first`` and ``last`` are lines counted from 1, decorators included.

    ``name`` is qualified within the file (``Class.method``); where a file defines a name again, the later ones are ``name#2``, ``name#3``. What a function
    defines inside itself is part of it and no unit.
    """

    path: str
    name: str
    kind: str
    signature: str
    decorators: tuple[str, ...]
    docstring: str
    returns: str
    first: int
    last: int

    @property
    def id(self) -> str:
        """The unit's name in the whole map: ``path::name``."""
        return f"{self.path}::{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file with its units in the order of their first lines; ``error`` says why it could not be read as Python."""

    path: str
    units: tuple[Unit, ...] = ()
    docstring: str = ""
    lines: tuple[str, ...] = ()
    error: str = ""

    def text(self, unit: Unit) -> str:
        """Return the source of a unit: its whole lines."""
        return "".join(self.lines[unit.first - 1 : unit.last])

    def at(self, line: int) -> Unit | None:
        """Return the innermost unit that has this line, ``None`` for top-level code."""
        found = [one for one in self.units if one.first <= line <= one.last]
        return max(found, key=lambda one: one.first) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeMap:
    """The files of a folder by path, in the order of the paths."""

    files: Mapping[str, SourceFile]

    @property
    def units(self) -> tuple[Unit, ...]:
        """All units of all files."""
        return tuple(unit for file in self.files.values() for unit in file.units)

    @property
    def broken(self) -> Mapping[str, str]:
        """Why files could not be read, by path."""
        return {path: file.error for path, file in self.files.items() if file.error}


def decoded(source: bytes) -> tuple[str, str]:
    """Return the text of a source file and its encoding, newlines and a byte order mark untouched. ``SyntaxError`` or ``UnicodeDecodeError`` if it has none."""
    encoding = tokenize.detect_encoding(BytesIO(source).readline)[0]
    plain = "utf-8" if encoding == "utf-8-sig" else encoding
    return source.decode(plain), plain


def lines_of(text: str) -> list[str]:
    r"""Return the lines of a text with their ends, as Python counts them (a form feed ends no line).

    >>> lines_of("a\x0cb\r\nc\n\nd")
    ['a\x0cb\r\n', 'c\n', '\n', 'd']
    """
    return _LINES.findall(text)


def parse(text: str) -> ast.Module:
    """Return the syntax tree; ``SyntaxError`` for anything that is none. Warnings about the code are not ours to tell."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text.removeprefix("\ufeff"))
        except (ValueError, RecursionError, MemoryError) as error:
            raise SyntaxError(f"{type(error).__name__}: {error}") from None


def definitions(tree: ast.Module) -> Iterator[tuple[str, str, Definition]]:
    """Yield qualified name, kind and node of every unit, in order; see ``Unit`` for names that occur again."""
    seen: dict[str, int] = {}
    for name, kind, node in _below(tree.body, "", "function"):
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), kind, node


def _below(body: Sequence[ast.stmt], prefix: str, kind: str) -> Iterator[tuple[str, str, Definition]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield f"{prefix}{node.name}", "class", node
            yield from _below(node.body, f"{prefix}{node.name}.", "method")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{node.name}", kind, node
        else:
            for inner in _bodies(node):  # definitions below if, try and with
                yield from _below(inner, prefix, kind)


def _bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        found = getattr(node, name, None)
        if isinstance(found, list):
            yield found
    for name in ("handlers", "cases"):
        for one in getattr(node, name, []):
            yield one.body


def first_line(node: Definition, lines: Sequence[str]) -> int:
    """Return the line, counted from 1, in which a unit starts: that of its first decorator's ``@``."""
    at = node.lineno
    if node.decorator_list:
        at = node.decorator_list[0].lineno
        while at > 1 and not lines[at - 1].lstrip(" \t\x0c\ufeff").startswith("@"):
            at -= 1
    return at


def map_source(source: bytes, path: str) -> SourceFile:
    """Return the map of one file. Never raises for what is in it.

    >>> [(one.name, one.kind, one.signature) for one in map_source(b"class A:\\n    def f(self, x=1) -> int: return x\\n", "a.py").units]
    [('A', 'class', 'class A'), ('A.f', 'method', 'def f(self, x=1) -> int')]
    """
    try:
        text, _ = decoded(source)
        tree = parse(text)
        lines = tuple(lines_of(text))
        units = tuple(_unit(path, *found, lines) for found in definitions(tree))
        return SourceFile(path=path, units=units, docstring=ast.get_docstring(tree) or "", lines=lines)
    except (SyntaxError, UnicodeDecodeError, LookupError, RecursionError) as error:
        return SourceFile(path=path, error=f"{type(error).__name__}: {error}")


def _unit(path: str, name: str, kind: str, node: Definition, lines: Sequence[str]) -> Unit:
    returns = "" if isinstance(node, ast.ClassDef) or node.returns is None else ast.unparse(node.returns)
    return Unit(
        path=path, name=name, kind=kind, signature=_signature(node),
        decorators=tuple(ast.unparse(one) for one in node.decorator_list),
        docstring=ast.get_docstring(node) or "", returns=returns,
        first=first_line(node, lines), last=node.end_lineno or node.lineno,
    )  # fmt: skip


def _signature(node: Definition) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(map(ast.unparse, [*node.bases, *node.keywords]))
        return f"class {node.name}({bases})" if bases else f"class {node.name}"
    head = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    return f"{head} {node.name}({ast.unparse(node.args)}){returns}"


def map_sources(sources: Iterable[tuple[str, bytes]]) -> CodeMap:
    """Return the map of files that are given as path and content."""
    return CodeMap(files={path: map_source(source, path) for path, source in sorted(sources)})


def map_folder(folder: Path, *, within: Sequence[str] = (".",)) -> CodeMap:
    """Return the map of the Python files below ``folder``, or below some of its subfolders; paths are relative, with slashes."""
    found = {
        path.relative_to(folder).as_posix(): path
        for one in within
        for path in ([folder / one] if (folder / one).is_file() else (folder / one).rglob("*.py"))
        if path.is_file()
    }
    return map_sources((name, path.read_bytes()) for name, path in found.items())


def file_map(code: CodeMap) -> str:
    """Return one line a file: its path and its outermost units; broken files are marked."""
    rows = []
    for path, file in code.files.items():
        names = ", ".join(unit.name for unit in file.units if "." not in unit.name)
        rows.append(f"{path}: {names}" if not file.error else f"{path}: cannot be read ({file.error})")
    return "\n".join(rows)


def schematic(file: SourceFile) -> str:
    """Return the outline of a file: its units with decorators, signatures and the first line of each docstring, indented as they nest."""
    rows = [f"# {file.path}" if not file.error else f"# {file.path}: cannot be read ({file.error})"]
    for unit in file.units:
        indent = "    " * unit.name.count(".")
        rows += [f"{indent}@{one}" for one in unit.decorators]
        told = unit.docstring.strip().partition("\n")[0]
        rows.append(f"{indent}{unit.signature}" + (f"  # {told}" if told else ""))
    return "\n".join(rows)
