"""What a local web site is: pages as functions of a state, forms that change it, and goals with a way to reach them."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any, Protocol
from urllib.parse import parse_qsl

BASE = "http://site.test"
"""Where a browser finds the site; the name is never looked up."""
_HREF = re.compile(r'<a href="?\'?([^"\'>]+)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What the known way needs next: ``kind`` is visit, search, fill, choose, tick, press or stop.

    ``path`` is the page where it is done, or that a search leads to; ``name`` what the element is called and the ``nth`` of that name; ``text`` what is filled in, chosen, ``on`` or ``off``, or the answer.
    """

    kind: str
    path: str = ""
    name: str = ""
    text: str = ""
    nth: int = 0


class Site(Protocol):
    """A site. ``page`` gives a page as HTML, ``None`` where there is none; ``post`` what a form changes and where it leads, ``None`` where there is no such form."""

    @property
    def name(self) -> str: ...

    def begin(self) -> Any: ...

    def page(self, state: Any, path: str, query: Mapping[str, str]) -> str | None: ...

    def post(self, state: Any, path: str, form: Mapping[str, str]) -> tuple[Any, str] | None: ...

    def title(self, path: str) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A task on a site: what is asked, whether a state and an answer reach it, and what the known way wants in a state, in order."""

    kind: str
    text: str
    reached: Callable[[Any, str], bool]
    wants: Callable[[Any], Sequence[Want]]


def links(html: str) -> tuple[str, ...]:
    """Return where a page's links lead, each once."""
    return tuple(dict.fromkeys(map(unescape, _HREF.findall(html))))


def route(site: Site, state: Any, here: str, there: str, *, most: int = 400) -> tuple[str, ...] | None:
    """Return the links of a shortest way from one page to another, ``None`` where links alone do not lead there."""
    queue: deque[tuple[str, tuple[str, ...]]] = deque([(here, ())])
    known = {here}
    while queue and len(known) < most:
        path, way = queue.popleft()
        if path == there:
            return way
        html = page_at(site, state, path)
        for one in links(html) if html else ():
            if one not in known:
                known.add(one)
                if one == there:
                    return (*way, one)
                queue.append((one, (*way, one)))
    return None


def page_at(site: Site, state: Any, address: str) -> str | None:
    """Return the page at a path with its query."""
    path, _, query = address.partition("?")
    return site.page(state, path, read_query(query))


def read_query(text: str) -> dict[str, str]:
    """Return the fields of a query or a form; the last of equal names counts.

    >>> read_query("q=red+pen&x=%26")
    {'q': 'red pen', 'x': '&'}
    """
    return dict(parse_qsl(text, keep_blank_values=True))


def whole(text: str | None) -> int:
    """Return a number that stands in an address or a form, -1 where none does.

    >>> whole("12"), whole("\u00b2"), whole(None)
    (12, -1, -1)
    """
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 8 else -1


def tidy(text: str) -> str:
    """Return an answer as it is compared: case, white space, a full stop at its end and quotes do not matter."""
    return " ".join(text.split()).strip(" .'\"").casefold()
