"""Finding a value in a text, also where it is escaped, encoded, in another case or with other white space.

A text is read in several views: as it is without white space, and with one or two layers of escapes undone. Each view knows where its
characters stand in the source, so a value that is found there can be cut out of the source.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from urllib.parse import unquote_to_bytes

from everystep.core.errors import ConfigError

_LEAST = 6  # characters; shorter values cannot be told from ordinary text
_ESCAPES = re.compile(
    r"(?P<percent>(?:%[0-9a-fA-F]{2})+)"
    r"|(?P<unicode>(?:\\+u[0-9a-fA-F]{4})+)|\\+x(?P<hex>[0-9a-fA-F]{2})|\\+(?P<plain>[^\sux])"
    r"|(?P<html>&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8});)|(?P<plus>\+)"
)
_LAYERS = 2  # escapes within escapes that are undone


@dataclass(frozen=True, slots=True, kw_only=True)
class Needle:
    """What to look for: ``text`` in the folded view, or as it is (``exact``) in the one without white space."""

    name: str
    text: str
    exact: bool = False


@dataclass(frozen=True, slots=True)
class _View:
    """A text as it may be read: its characters, and where in the source each of them stands."""

    text: str
    start: list[int]
    end: list[int]


def needles_of(name: str, value: str) -> list[Needle]:
    """Return what to look for, to find ``value``; ``ConfigError`` for one that is too short."""
    plain = folded(value)
    if len("".join(value.split())) < _LEAST or len(plain) < _LEAST:
        raise ConfigError(
            f"the value of secret {name!r} has fewer than {_LEAST} characters beside white space and could not "
            "be told from ordinary text. Use a longer one."
        )
    data = value.encode("utf-8", "surrogatepass")
    opened = folded(_open(_open(value)))
    texts = {plain, folded(data.hex())} | ({opened} if len(opened) >= _LEAST else set())
    needles = [Needle(name=name, text=text) for text in texts]
    return needles + [Needle(name=name, text=text, exact=True) for text in sorted(_base64(data))]


def _base64(data: bytes) -> set[str]:
    """Return the characters that ``data`` determines in Base64, at the three places it can have in a longer text."""
    found = set()
    for before in range(3):
        code = b64encode(bytes(before) + data).decode()
        middle = code[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        found |= {middle, middle.replace("+", "-").replace("/", "_")}
    return {one for one in found if len(one) >= _LEAST}


def folded(text: str) -> str:
    """Return ``text`` without white space and case."""
    return "".join(text.split()).casefold()


def _open(text: str) -> str:
    """Undo one layer of escapes."""
    return _ESCAPES.sub(_opened, text)


def _opened(match: re.Match[str]) -> str:
    kind = match.lastgroup
    if kind == "percent":
        return unquote_to_bytes(match[0]).decode("utf-8", "replace")
    if kind == "unicode":
        units = re.findall(r"u([0-9a-fA-F]{4})", match[0])
        return b"".join(int(one, 16).to_bytes(2, "big") for one in units).decode("utf-16-be", "surrogatepass")
    if kind == "hex":
        return chr(int(match["hex"], 16))
    if kind == "html":
        return unescape(match[0])
    if kind == "plus":
        return " "
    return _LETTERS.get(match["plain"], match["plain"])


_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


def found(text: str, needles: Sequence[Needle]) -> list[tuple[int, int, str]]:
    """Return where values stand in ``text``: start, end, name. The common case, none, costs no more than a few scans."""
    hits = _hits(text, text, needles, 0)
    opened = text
    for layer in range(1, _LAYERS + 1):
        if not any(mark in opened for mark in "%\\&+"):
            break
        opened = _open(opened)
        hits += _hits(text, opened, needles, layer)
    return hits


def _hits(source: str, text: str, needles: Sequence[Needle], layer: int) -> list[tuple[int, int, str]]:
    plain = "".join(text.split())
    lower = plain.casefold()
    present = [one for one in needles if one.text in (plain if one.exact else lower)]
    if not present:
        return []
    view = _whole(source)
    for _ in range(layer):
        view = _without_escapes(view)
    hits = []
    for exact in (False, True):
        some = [one for one in present if one.exact is exact]
        squeezed = _squeezed(view, fold=not exact) if some else view
        for needle in some:
            at = squeezed.text.find(needle.text)
            while at >= 0:
                last = at + len(needle.text) - 1
                hits.append((squeezed.start[at], squeezed.end[last], needle.name))
                at = squeezed.text.find(needle.text, at + 1)
    return hits


def _whole(text: str) -> _View:
    return _View(text, list(range(len(text))), list(range(1, len(text) + 1)))


def _without_escapes(view: _View) -> _View:
    parts: list[str] = []
    start: list[int] = []
    end: list[int] = []
    last = 0
    for match in _ESCAPES.finditer(view.text):
        new = _opened(match)
        parts += (view.text[last : match.start()], new)
        start += view.start[last : match.start()] + [view.start[match.start()]] * len(new)
        end += view.end[last : match.start()] + [view.end[match.end() - 1]] * len(new)
        last = match.end()
    return _View("".join((*parts, view.text[last:])), start + view.start[last:], end + view.end[last:])


def _squeezed(view: _View, *, fold: bool) -> _View:
    kept = [
        (letter, view.start[i], view.end[i])
        for i, one in enumerate(view.text)
        if not one.isspace()
        for letter in (one.casefold() if fold else one)
    ]
    return _View("".join(one for one, _, _ in kept), [s for _, s, _ in kept], [e for _, _, e in kept])
