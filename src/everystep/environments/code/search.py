"""Where in a code base an issue is: units by words and by vectors, files by a map, outlines, then places in the files that are left.

After the three levels of SuperCoder2.0 (arXiv:2409.11190): queries against name, signature, returns and docstring of every unit, united with the files chosen from the file map; the outlines of
those choose again; the chosen files are read, and give places of the kinds top-level, class, function and method. Where a model chooses there, word statistics do here. Rankings are joined by reciprocal ranks (Cormack et al. 2009).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from everystep.environments.bm25 import Index, best, index_of
from everystep.tools.code_map import TOP_LEVEL, CodeMap, Unit, schematic

_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_WORD = re.compile(r"\w+")
_DOTTED = re.compile(
    r"\b[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+\b|\b\w*_\w+\b|\b[a-z]+[A-Z]\w*\b|\b(?:[A-Z][a-z0-9]+){2,}\b|`[^`\n]+`|\b\w+(?=\()"
)
_TRACE = re.compile(r"^.*(?:File \"|\.py\b).*$", re.MULTILINE)
_FUSED = 60
_DEEP = 60


class Nearest(Protocol):
    """Finds the ``k`` texts that are nearest to a query, by their numbers."""

    def best(self, query: str, k: int) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in the code, by kind: a unit's, or top-level code of a file (``unit`` is ``None``)."""

    path: str
    kind: str
    unit: Unit | None = None

    @property
    def id(self) -> str:
        """``path::name`` of a unit, ``path::`` of top-level code."""
        return self.unit.id if self.unit else f"{self.path}::"


def words(text: str) -> str:
    """Return a text's words and, of names, their parts, in lower case.

    >>> words("HTTPServer.send_file(x)")
    'httpserver http server send_file send file x'
    """
    found = []
    for word in _WORD.findall(text):
        found.append(word.lower())
        parts = [part.lower() for part in _PART.findall(word)]
        found += parts if len(parts) > 1 else []
    return " ".join(found)


def queries(statement: str) -> tuple[str, ...]:
    """Return the queries that a statement gives: its first line, its names, its lines that speak of files, and all of it."""
    first = statement.strip().partition("\n")[0]
    names = " ".join(_DOTTED.findall(statement))
    traced = "\n".join(_TRACE.findall(statement))
    return tuple(dict.fromkeys(one for one in (first, names, traced, statement) if one.strip()))


def described(unit: Unit) -> str:
    """Return what a unit is searched by: path, name, signature, decorators, returns and docstring."""
    return " ".join((unit.path, unit.name, unit.signature, *unit.decorators, unit.returns, unit.docstring))


def fused(rankings: Sequence[Sequence[str]]) -> list[str]:
    """Return one ranking of several: by the sum of 1 / (60 + rank).

    >>> fused([["a", "b"], ["b", "c"]])
    ['b', 'a', 'c']
    """
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, one in enumerate(ranking, 1):
            scores[one] = scores.get(one, 0.0) + 1 / (_FUSED + rank)
    return sorted(scores, key=lambda one: -scores[one])


@dataclass(frozen=True, slots=True, eq=False)
class CodeIndex:
    """A code base to be searched. ``vectors`` are over ``described`` units, in the map's order, or ``None``."""

    code: CodeMap
    units: tuple[Unit, ...]
    paths: tuple[str, ...]
    by_unit: Index
    by_map: Index
    by_outline: Index
    vectors: Nearest | None = None

    def _ask(self, index: Index, names: Sequence[str], asked: Sequence[str]) -> list[str]:
        return fused([[names[n] for n in best(index, words(one), _DEEP)] for one in asked])

    def lexical(self, asked: Sequence[str]) -> list[str]:
        """Return units by the words of their descriptions (BM25)."""
        return self._ask(self.by_unit, [one.id for one in self.units], asked)

    def embedded(self, asked: Sequence[str]) -> list[str]:
        """Return units by the vectors of their descriptions."""
        if self.vectors is None:
            return []
        return fused([[self.units[n].id for n in self.vectors.best(one, _DEEP)] for one in asked])

    def mapped(self, asked: Sequence[str]) -> list[str]:
        """Return files by the words of their line in the file map."""
        return self._ask(self.by_map, self.paths, asked)

    def outlined(self, asked: Sequence[str], among: Sequence[str]) -> list[str]:
        """Return ``among`` these files by the words of their outlines."""
        found = self._ask(self.by_outline, self.paths, asked)
        return [one for one in found if one in set(among)]

    def places(self, asked: Sequence[str], paths: Sequence[str]) -> list[Place]:
        """Read some files fully; return their units and top-level code by the words of their own lines."""
        rows: list[tuple[Place, str]] = []
        for path in paths:
            file = self.code.files[path]
            inner = {line for one in file.units for line in range(one.first, one.last + 1)}
            rest = "".join(line for number, line in enumerate(file.lines, 1) if number not in inner)
            rows.append((Place(path=path, kind=TOP_LEVEL), f"{path} {rest}"))
            for unit in file.units:
                if unit.kind == "class":  # without its methods: they stand for themselves
                    below = [one for one in file.units if one.name.startswith(f"{unit.name}.")]
                    held = {line for one in below for line in range(one.first, one.last + 1)}
                    own = "".join(
                        file.lines[n - 1] for n in range(unit.first, unit.last + 1) if n not in held
                    )
                    rows.append((Place(path=path, kind=unit.kind, unit=unit), f"{unit.id} {own}"))
                else:
                    rows.append((Place(path=path, kind=unit.kind, unit=unit), f"{unit.id} {file.text(unit)}"))
        index = index_of([words(text) for _, text in rows])
        known = {place.id: place for place, _ in rows}
        return [known[one] for one in self._ask(index, [place.id for place, _ in rows], asked)]


def index_code(code: CodeMap, vectors: Nearest | None = None) -> CodeIndex:
    """Return a code base as an index to search."""
    units, paths = code.units, tuple(code.files)
    lines = {path: " ".join([path, *(one.name for one in file.units)]) for path, file in code.files.items()}
    return CodeIndex(
        code=code, units=units, paths=paths, vectors=vectors,
        by_unit=index_of([words(described(one)) for one in units]),
        by_map=index_of([words(lines[path]) for path in paths]),
        by_outline=index_of([words(f"{file.docstring}\n{schematic(file)}") for file in code.files.values()]),
    )  # fmt: skip


def paths_of(units: Sequence[str]) -> list[str]:
    """Return the files of ranked units, each where its first unit stands."""
    return list(dict.fromkeys(one.partition("::")[0] for one in units))


@dataclass(frozen=True, slots=True, kw_only=True)
class Localised:
    """Files and units, the likeliest first."""

    paths: tuple[str, ...]
    units: tuple[str, ...]


WAYS = ("lexical", "embedding", "file map", "union", "union and schematic")
"""The ways to localise; the last one is all three levels."""


def localise(index: CodeIndex, statement: str, *, files: int = 5) -> dict[str, Localised]:
    """Return where an issue is, by each of ``WAYS``; the last one reads ``files`` files fully."""
    asked = queries(statement)
    lexical, embedded, mapped = index.lexical(asked), index.embedded(asked), index.mapped(asked)
    place = {path: n for n, path in enumerate(mapped)}
    in_mapped = [one for one in lexical if one.partition("::")[0] in place]
    by_map = sorted(in_mapped, key=lambda one: place[one.partition("::")[0]])
    union = fused([paths_of(lexical), paths_of(embedded), mapped])
    units = fused([lexical, embedded])
    chosen = fused([union, index.outlined(asked, union)])
    read = [one.id for one in index.places(asked, chosen[:files])]
    found = (
        (paths_of(lexical), lexical),
        (paths_of(embedded), embedded),
        (mapped, by_map),
        (union, units),
        (chosen, fused([units, read])),
    )
    return {
        way: Localised(paths=tuple(paths), units=tuple(some))
        for way, (paths, some) in zip(WAYS, found, strict=True)
    }
