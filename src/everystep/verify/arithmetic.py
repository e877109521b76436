"""Equations of numbers in a text, and whether they hold: ``3 * 4 = 12``, ``\\frac{1}{2} + 1/2 = 1``, ``15% of 200 = 30``.

Exact fractions, and a parser of its own: nothing is evaluated as code, and the work is bounded whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

_LONGEST = 120  # characters of one side
_TEXT = 20_000  # characters of a text that are looked at
_DIGITS = 15  # of one number
_POWER = 12

_LATEX = (
    (re.compile(r"\\[dt]?frac\s*\{([^{}]{1,40})\}\s*\{([^{}]{1,40})\}"), r"((\1)/(\2))"),
    (re.compile(r"\\(?:times|cdot|ast)(?![A-Za-z])|[\u00d7\u00b7\u2217\u22c5]"), "*"),
    (re.compile(r"\\div(?![A-Za-z])|÷"), "/"),
    (re.compile(r"\\(?:left|right|[,;!:])"), ""),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"[\u2212\u2013]"), "-"),
    (re.compile(r"\^\{\s*(\d{1,3})\s*\}"), r"^\1"),
    (re.compile(r"(?<=\d),(?=\d{3}(?!\d))"), ""),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\\?\$"), ""),
    (re.compile(r"(?<=\d)\s*%\s*(?:of\s+)(?=[\d(])"), "/100*"),
)
_SIDE = r"[-+*/^().\d \t]"
_SIDES = re.compile(rf"({_SIDE}{{1,{_LONGEST}}})(=|≈|\\approx(?![A-Za-z]))(?={_SIDE}{{0,{_LONGEST}}})")
_RIGHT = re.compile(rf"{_SIDE}{{1,{_LONGEST}}}")
_TOKEN = re.compile(r"\s*(\d+\.\d+|\.\d+|\d+|[-+*/^()])")
_ENDS = re.compile(r"\\(?:text|mathrm|q?quad|\\|\]|\)|Rightarrow|implies|end)")
_CLOSE = Fraction(1, 20)  # how far two sides of "≈" may be apart, relatively


def wrong_equation(text: str) -> str | None:
    """Return the first equation of numbers in ``text`` that does not hold, or ``None``. A rounded right side holds.

    >>> wrong_equation("She has 3 * 4 = 13 apples"), wrong_equation("10 / 3 = 3.33"), wrong_equation("2x + 3 = 7")
    ('3 * 4 = 13', None, None)
    """
    for left, right, holds in equations(text):
        if not holds:
            return f"{left} = {right}"
    return None


def equations(text: str) -> Iterator[tuple[str, str, bool]]:
    """Yield each equation of numbers: its sides as written (after LaTeX is read) and whether it holds.

    A side that touches a letter or a brace belongs to something larger and is left alone. One side at least has to calculate something.
    """
    text = text[:_TEXT]
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    for match in _SIDES.finditer(text):
        found = _RIGHT.match(text, match.end())
        if found is None:
            continue
        left, right = match[1], found[0]
        if not _free(text, match.start(), left, found.end()):
            continue
        left, right = left.strip(), _number_end(right)
        first, second = value(left), value(right)
        if first is None or second is None or not (_calculates(left) or _calculates(right)):
            continue
        near = match[2] != "="
        yield left, right, _equal(first, second, left, right, near=near)


def value(text: str) -> Fraction | None:
    """Return what an expression of numbers comes to; ``None`` for anything else, division by zero and powers above 12.

    >>> value("2 * (3 + 4) - 2^3"), value("1/0"), value("2 3")
    (Fraction(6, 1), None, None)
    """
    tokens = _tokens(text)
    if not tokens:
        return None
    try:
        found, rest = _sum(tokens, 0, 0)
    except (ZeroDivisionError, ValueError, IndexError, OverflowError):
        return None
    return found if rest == len(tokens) else None


def _free(text: str, start: int, left: str, end: int) -> bool:
    """Whether nothing stands right before and behind that the equation could be a part of."""
    if start:
        spaced = left[:1].isspace()
        before = text[:start].rstrip()[-1:] if spaced else text[start - 1]
        if not spaced and (before.isalpha() or before in "\\{}_|%<>≤≥≈!&:]"):
            return False
        if left.strip()[:1] in tuple("+-*/^.)") and (before.isalnum() or before in ")}]\\|%"):
            return False
    behind = text[end : end + 1]
    if behind == "\\":
        return _ENDS.match(text, end) is not None and not _open_end(text[:end])
    if behind and (behind in "{}_^|%!" or (behind.isalpha() and not text[end - 1].isspace())):
        return False
    return not _open_end(text[:end])


def _open_end(text: str) -> bool:
    return text.rstrip()[-1:] in ("+", "-", "*", "/", "^", "(")


def _number_end(text: str) -> str:
    """Return the right side without a full stop or opening bracket that belongs to the sentence."""
    return text.strip().rstrip(".(").strip()


def _calculates(text: str) -> bool:
    return any(sign in text.lstrip("+-( ") for sign in "+-*/^")


def _equal(left: Fraction, right: Fraction, first: str, second: str, *, near: bool) -> bool:
    if left == right:
        return True
    if near:
        return abs(left - right) <= _CLOSE * max(abs(left), abs(right))
    places = max(
        (len(part.partition(".")[2]) for part in re.findall(r"\d*\.\d+", f"{first} {second}")), default=0
    )
    return places > 0 and abs(left - right) <= Fraction(1, 10**places)


def _tokens(text: str) -> list[str]:
    tokens, place = list[str](), 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            return [] if text[place:].strip() else tokens
        if len(match[1]) > _DIGITS:
            return []
        tokens.append(match[1])
        place = match.end()
    return tokens


def _sum(tokens: list[str], at: int, depth: int) -> tuple[Fraction, int]:
    total, at = _product(tokens, at, depth)
    while at < len(tokens) and tokens[at] in "+-":
        more, place = _product(tokens, at + 1, depth)
        total = total + more if tokens[at] == "+" else total - more
        at = place
    return total, at


def _product(tokens: list[str], at: int, depth: int) -> tuple[Fraction, int]:
    total, at = _signed(tokens, at, depth)
    while at < len(tokens) and (tokens[at] in "*/" or tokens[at] == "("):
        sign = "*" if tokens[at] == "(" else tokens[at]
        more, place = _signed(tokens, at if tokens[at] == "(" else at + 1, depth)
        total = total * more if sign == "*" else total / more
        at = place
    return total, at


def _signed(tokens: list[str], at: int, depth: int) -> tuple[Fraction, int]:
    if depth > _LONGEST:
        raise ValueError("nested too deep")
    if tokens[at] in "+-":
        found, place = _signed(tokens, at + 1, depth + 1)
        return (-found if tokens[at] == "-" else found), place
    base, at = _atom(tokens, at, depth)
    if at < len(tokens) and tokens[at] == "^":
        power, at = _signed(tokens, at + 1, depth + 1)
        if power.denominator != 1 or abs(power) > _POWER or base.numerator.bit_length() > 64:
            raise ValueError("a power that is not looked at")
        return base ** int(power), at
    return base, at


def _atom(tokens: list[str], at: int, depth: int) -> tuple[Fraction, int]:
    first = tokens[at]
    if first == "(":
        found, at = _sum(tokens, at + 1, depth + 1)
        if tokens[at] != ")":
            raise ValueError("a bracket is missing")
        return found, at + 1
    if first[0].isdigit() or first[0] == ".":
        return Fraction(first), at + 1
    raise ValueError(f"{first!r} is no number")
