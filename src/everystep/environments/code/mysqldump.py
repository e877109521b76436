"""A MySQL dump as SQLite databases: tables with their columns and rows, nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable

_USE = re.compile(r"USE `(\w+)`;")
_TABLE = re.compile(r"CREATE TABLE `([^`]+)` \(")
_COLUMN = re.compile(r"\s+`([^`]+)` (\w+)")
_INSERT = re.compile(r"INSERT INTO `([^`]+)` VALUES ")
_STRING = re.compile(r"'((?:[^'\\]|\\.|'')*)'", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\x00", "Z": "\x1a", "b": "\b"}
_KINDS = {
    **dict.fromkeys(("int", "tinyint", "smallint", "mediumint", "bigint"), "INTEGER"),
    **dict.fromkeys(("double", "float", "decimal"), "REAL"),
}


def databases_of(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the SQLite statements of every database in a dump, by name.

    Text compares without regard to case and has no spaces at its end, which MySQL's usual collation does
    not see either. Keys are left out: they would not change what a query gives, only refuse some writes.

    >>> dump = ["USE `d`;", "CREATE TABLE `t` (", "  `a (b)` int NOT NULL,", "  PRIMARY KEY (`a (b)`)", ") x;",
    ...         "INSERT INTO `t` VALUES (1),(2);"]
    >>> databases_of(dump)
    {'d': ('CREATE TABLE "t" ("a (b)" INTEGER);', 'INSERT INTO "t" VALUES (1),(2);')}
    """
    found: dict[str, list[str]] = {}
    statements: list[str] = []
    table, columns = "", list[str]()
    for line in lines:
        if match := _USE.match(line):
            statements = found.setdefault(match[1], [])
        elif match := _TABLE.match(line):
            table, columns = match[1], []
        elif table and (match := _COLUMN.match(line)):
            columns.append(f'"{match[1]}" {_KINDS.get(match[2], "TEXT COLLATE NOCASE")}')
        elif table and line.startswith(")"):
            statements.append(f'CREATE TABLE "{table}" ({", ".join(columns)});')
            table = ""
        elif match := _INSERT.match(line):
            values = _STRING.sub(_requote, line[match.end() :].rstrip())
            statements.append(f'INSERT INTO "{match[1]}" VALUES {values}')  # noqa: S608 -- quoted anew
    return {name: tuple(made) for name, made in found.items()}


def _requote(match: re.Match[str]) -> str:
    text = _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), match[1].replace("''", "'"))
    return "'" + text.rstrip(" ").replace("'", "''") + "'"
