"""Small changes to Python code by its syntax tree: to put known bugs into good code, and as a space of repairs to search.

Most operators are their own inverse or have one among the others, so a bug of theirs is repaired by a mutation of the buggy code; ``LOST`` are those whose bug drops something that no mutation
brings back. Only the characters of the changed node are touched.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from everystep.core.errors import ToolError
from everystep.tools.code_map import Definition, definitions, lines_of, parse

_COMPARE: dict[type[ast.AST], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">", ">=")), ast.LtE: ("<=", ("<", ">=", ">")), ast.Gt: (">", (">=", "<", "<=")),
    ast.GtE: (">=", (">", "<=", "<")), ast.Eq: ("==", ("!=",)), ast.NotEq: ("!=", ("==",)), ast.Is: ("is", ("is not",)),
    ast.IsNot: ("is not", ("is",)), ast.In: ("in", ("not in",)), ast.NotIn: ("not in", ("in",)),
}  # fmt: skip
_OPERATOR: dict[type[ast.AST], tuple[str, tuple[str, ...]]] = {
    ast.Add: ("+", ("-",)), ast.Sub: ("-", ("+",)), ast.Mult: ("*", ("//", "/", "+")), ast.Div: ("/", ("*", "//")),
    ast.FloorDiv: ("//", ("*", "/")), ast.Mod: ("%", ("//", "*")), ast.And: ("and", ("or",)), ast.Or: ("or", ("and",)),
    ast.BitAnd: ("&", ("|",)), ast.BitOr: ("|", ("&",)), ast.LShift: ("<<", (">>",)), ast.RShift: (">>", ("<<",)),
}  # fmt: skip
_OTHERS = 8
LOST = ("branch", "statement", "return")
"""Operators whose bugs cannot be undone by a mutation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """Characters ``start`` to ``end`` of a file's text become ``text``; ``unit`` is the innermost function or method, ``line`` counted from 1."""

    operator: str
    unit: str
    line: int
    start: int
    end: int
    text: str

    def of(self, source: str) -> str:
        """Return the changed text of the file. A few mutations do not parse: see ``sound``."""
        return source[: self.start] + self.text + source[self.end :]

    def sound(self, source: str) -> bool:
        """Whether the changed text parses, and is another program."""
        try:
            return ast.dump(parse(self.of(source))) != ast.dump(parse(source))
        except SyntaxError:
            return False


Found = Iterator[tuple[str, int, int, str]]


@dataclass(frozen=True, slots=True)
class _Place:
    """A file's text, and where its lines start in it and in its bytes."""

    text: str
    lines: Sequence[str]
    starts: Sequence[int]

    def at(self, line: int, column: int) -> int:
        one = self.lines[line - 1]
        return self.starts[line - 1] + (
            column if one.isascii() else len(one.encode()[:column].decode(errors="ignore"))
        )

    def span(self, node: ast.AST) -> tuple[int, int]:
        lines = (getattr(node, name) for name in ("lineno", "col_offset", "end_lineno", "end_col_offset"))
        first, column, last, end = lines
        return self.at(first, column), self.at(last, end)

    def source(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.text[start:end]

    def between(self, left: ast.AST, right: ast.AST, symbol: str) -> tuple[int, int] | None:
        """Return where the operator between two nodes stands."""
        start, end = self.span(left)[1], self.span(right)[0]
        word = r"\s+".join(map(re.escape, symbol.split()))
        pattern = rf"(?<!\w){word}(?!\w)" if symbol[0].isalpha() else word
        found = list(re.finditer(pattern, self.text[start:end]))
        if len(found) != 1 or "#" in self.text[start:end]:
            return None
        return start + found[0].start(), start + found[0].end()


def mutations(text: str, *, operators: Sequence[str] = (), units: Sequence[str] = ()) -> tuple[Mutation, ...]:
    """Return all mutations of a file, in the order of the text; of some ``operators`` (see ``OPERATORS``) and ``units`` only, if named.

    >>> sorted({(one.operator, one.text) for one in mutations("def f(a, b):\\n    return a < b\\n", operators=("compare",))})
    [('compare', '<='), ('compare', '>'), ('compare', '>=')]
    """
    for name in operators:
        if name not in OPERATORS:
            raise ToolError(f"no mutation operator {name!r}. Known: {', '.join(OPERATORS)}.")
    tree = parse(text)
    lines = lines_of(text)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    place = _Place(text, lines, starts)
    attributes = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    strings = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    made: dict[tuple[int, int, str], Mutation] = {}
    for name, kind, unit in definitions(tree):
        if kind == "class" or (units and name not in units):
            continue
        nodes = list(_code(unit))
        around = _Around(unit, nodes, attributes, strings)
        for node in nodes:
            for operator, start, end, new in _of(node, place, around):
                if operators and operator not in operators:
                    continue
                one = Mutation(operator=operator, unit=name, line=node.lineno, start=start, end=end, text=new)
                if text[start:end] != new:
                    made.setdefault((start, end, new), one)
    return tuple(made[key] for key in sorted(made))


def _code(unit: Definition) -> Iterator[ast.expr | ast.stmt]:
    """Yield the statements and expressions of a function's body: no docstring, annotations, or parts of f-strings (whose places are not known)."""
    todo: list[ast.AST] = list(unit.body)
    while todo:
        node = todo.pop(0)
        if isinstance(node, ast.JoinedStr):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.expr | ast.stmt):
            yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            todo += node.body
        elif isinstance(node, ast.AnnAssign):
            todo += [node.value] if node.value else []
        else:
            todo += list(ast.iter_child_nodes(node))


@dataclass(frozen=True, slots=True)
class _Around:
    """What names, attributes and words there are to put in the place of another."""

    unit: Definition
    nodes: Sequence[ast.AST]
    attributes: Sequence[str]
    strings: Sequence[str]

    def names(self) -> list[str]:
        if isinstance(self.unit, ast.ClassDef):
            return []
        arguments = [
            one.arg for one in (*self.unit.args.posonlyargs, *self.unit.args.args, *self.unit.args.kwonlyargs)
        ]
        local = [n.id for n in self.nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        return [one for one in dict.fromkeys([*arguments, *local]) if one not in ("self", "cls", "_")][
            :_OTHERS
        ]

    def others(self, mine: Sequence[str], everywhere: Sequence[str], word: str) -> list[str]:
        """Return other words: those of the unit first, then the commonest of the file."""
        ordered = [*dict.fromkeys(mine), *(one for one, _ in Counter(everywhere).most_common(_OTHERS))]
        return [one for one in dict.fromkeys(ordered) if one != word][:_OTHERS]


def _of(node: ast.AST, place: _Place, around: _Around) -> Found:
    for make in _MAKERS:
        yield from make(node, place, around)


def _compare(node: ast.AST, place: _Place, _: _Around) -> Found:
    if isinstance(node, ast.Compare):
        for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            symbol, others = _COMPARE[type(op)]
            if (where := place.between(left, right, symbol)) is not None:
                yield from (("compare", *where, other) for other in others)


def _operator(node: ast.AST, place: _Place, _: _Around) -> Found:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATOR:
        pairs = [(node.left, node.right, node.op)]
    elif isinstance(node, ast.BoolOp):
        pairs = [(left, right, node.op) for left, right in zip(node.values, node.values[1:], strict=False)]  # type: ignore[misc]
        if len(pairs) > 1:  # changing one of several needs brackets
            return
    elif isinstance(node, ast.AugAssign) and type(node.op) in _OPERATOR:
        pairs = [(node.target, node.value, node.op)]
    else:
        return
    for left, right, op in pairs:
        symbol, others = _OPERATOR[type(op)]
        if (where := place.between(left, right, symbol)) is not None:
            yield from (("operator", *where, other) for other in others)


def _number(node: ast.AST, place: _Place, _: _Around) -> Found:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        for value in (node.value + 1, node.value - 1):
            yield "off by one", *place.span(node), str(value) if value >= 0 else f"({value})"
    if (
        isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and isinstance(node.operand, ast.Constant)
    ):
        below = node.operand.value
        if type(below) is int:
            yield from (("off by one", *place.span(node), str(other)) for other in (1 - below, -below - 1))


def _bound(node: ast.AST, place: _Place, _: _Around) -> Found:
    ends: list[ast.expr] = []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        ends = [one for one in node.args[:2] if not isinstance(one, ast.Starred)]
    elif isinstance(node, ast.Slice):
        ends = [one for one in (node.lower, node.upper) if one is not None]
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name):
        ends = [node.slice]
    for one in ends:
        if not isinstance(one, ast.Constant | ast.UnaryOp):
            yield from (
                ("off by one", *place.span(one), f"{place.source(one)}{more}") for more in (" + 1", " - 1")
            )
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub)):
        return
    if isinstance(node.right, ast.Constant) and node.right.value == 1:
        yield "off by one", *place.span(node), place.source(node.left)


def _arguments(node: ast.AST, place: _Place, _: _Around) -> Found:
    if isinstance(node, ast.Call) and not any(isinstance(one, ast.Starred) for one in node.args):
        for one, other in zip(node.args, node.args[1:], strict=False):
            (start, middle), (after, end) = place.span(one), place.span(other)
            if not isinstance(other, ast.GeneratorExp):
                swapped = place.text[after:end] + place.text[middle:after] + place.text[start:middle]
                yield "arguments", start, end, swapped


def _condition(node: ast.AST, place: _Place, _: _Around) -> Found:
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        test = node.test
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            yield "condition", *place.span(test), place.source(test.operand)
        else:
            yield "condition", *place.span(test), f"not ({place.source(test)})"


def _constant(node: ast.AST, place: _Place, around: _Around) -> Found:
    if not isinstance(node, ast.Constant):
        return
    if isinstance(node.value, bool):
        yield "constant", *place.span(node), str(not node.value)
    elif isinstance(node.value, str) and len(node.value) <= 20:
        mine = [n.value for n in around.nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        short = [one for one in around.strings if len(one) <= 20]
        for other in around.others([one for one in mine if len(one) <= 20], short, node.value):
            yield "constant", *place.span(node), repr(other)


def _attribute(node: ast.AST, place: _Place, around: _Around) -> Found:
    if isinstance(node, ast.Attribute):
        _, end = place.span(node)
        mine = [n.attr for n in around.nodes if isinstance(n, ast.Attribute)]
        for other in around.others(mine, around.attributes, node.attr):
            yield "attribute", end - len(node.attr), end, other


def _name(node: ast.AST, place: _Place, around: _Around) -> Found:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        known = around.names()
        if node.id in known:
            yield from (("name", *place.span(node), other) for other in known if other != node.id)


def _dropped(node: ast.AST, place: _Place, _: _Around) -> Found:
    if isinstance(node, ast.If):
        for body in (node.body, node.orelse):
            if body and not (body is node.orelse and isinstance(body[0], ast.If)):
                start, end = place.span(body[0])[0], place.span(body[-1])[1]
                if place.text[start:end] != "pass":
                    yield "branch", start, end, "pass"
    elif isinstance(node, ast.Return) and node.value is not None:
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield "return", *place.span(node.value), "None"
    elif (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)) or isinstance(node, ast.AugAssign):
        yield "statement", *place.span(node), "pass"


_MAKERS: tuple[Callable[[ast.AST, _Place, _Around], Found], ...] = (
    _compare, _operator, _number, _bound, _arguments, _condition, _constant, _attribute, _name, _dropped,
)  # fmt: skip
OPERATORS = (
    "compare", "operator", "off by one", "arguments", "condition", "constant", "attribute", "name", *LOST,
)  # fmt: skip
"""The operators: a comparison, an arithmetic or logical operator, a number or bound by one, swapped arguments, a negated condition, another constant, attribute or local name; a branch, a statement or a returned value dropped."""
