"""What the small screen apps of ScreenGrid are made of: pages with elements, stored values, and shortest ways between them.

An app is a graph of pages. Each element leads to a page and changes at most one stored value, and whether it is there depends on that value
alone. So the length of a shortest plan is found without a search over whole states: stored values that are right never have to be
touched, and each wrong one is put right by one of a few *ways* (go to a page, do a few taps there, come out at a page). What remains
is the order of the ways. Pages here are the nodes of the graph: what was typed so far and the part of a list that is shown belong to the node.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

LINK, ROW, SWITCH, CHOICE, BUTTON, KEY, SCROLL, BACK, DONE = (
    *("link", "row", "switch", "choice", "button"),
    *("key", "scroll", "back", "done"),
)
KINDS = (LINK, ROW, SWITCH, CHOICE, BUTTON, KEY, SCROLL, BACK, DONE)
ABSENT = -1
FAR = 1 << 20
"""The length of a way that there is not."""

Wrong = tuple[tuple[int, int, int], ...]
"""The stored values that are not as the goal wants them: variable, value, wanted value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """An element of a page. ``label`` is one word, or ``#n`` for the name number n of the task.

    ``to`` is the page that it leads to. ``var`` is the stored value that it shows or changes, -1 for none; ``moves`` has for each value the one
    that it becomes, ``ABSENT`` where the element is not there, and is empty where it is always there and changes nothing. ``shown`` is the word
    that is shown for each value.
    """

    label: str
    kind: str
    to: int
    var: int = -1
    moves: tuple[int, ...] = ()
    shown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A node of an app: its title (one word, or ``#n``) and its elements, in the order in which they are shown."""

    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One stored value: its name (``#n`` for a name of the task) and the words for its values."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class App:
    """A screen app. ``names`` is the pool of which each task draws ``slots`` names for its lists. ``hubs`` are pages where a task may begin."""

    name: str
    pages: tuple[Page, ...]
    variables: tuple[Variable, ...]
    names: tuple[str, ...] = ()
    slots: int = 0
    hubs: tuple[int, ...] = (0,)


@dataclass(slots=True, kw_only=True)
class Draft:
    """An app that is being written down: pages by key, elements that name the key of the page that they lead to."""

    name: str
    names: tuple[str, ...] = ()
    slots: int = 0
    titles: dict[str, str] = field(default_factory=dict)
    rows: dict[str, list[tuple[str, str, str, int, tuple[int, ...], tuple[str, ...]]]] = field(
        default_factory=dict
    )
    variables: list[Variable] = field(default_factory=list)

    def variable(self, name: str, values: Sequence[str]) -> int:
        """Add a stored value and return its number."""
        self.variables.append(Variable(name=name, values=tuple(values)))
        return len(self.variables) - 1

    def page(self, key: str, title: str = "") -> str:
        """Add a page and return its key; the title is the key where none is given."""
        self.titles[key] = title or key
        self.rows[key] = []
        return key

    def add(
        self,
        page: str,
        label: str,
        kind: str,
        to: str = "",
        *,
        var: int = -1,
        moves: Sequence[int] = (),
        shown: Sequence[str] = (),
    ) -> None:
        """Put an element on a page; without ``to`` it stays on the page."""
        self.rows[page].append((label, kind, to or page, var, tuple(moves), tuple(shown)))

    def windows(self, key: str, rows: int, size: int, *, title: str = "", back: str = "") -> list[str]:
        """Add the pages of a list of ``rows`` rows of which ``size`` are shown at a time, and return their keys."""
        count = -(-rows // size)
        keys = [self.page(f"{key}/{n}", title or key) for n in range(count)]
        for n, one in enumerate(keys):
            if n > 0:
                self.add(one, "up", SCROLL, keys[n - 1])
            if n + 1 < count:
                self.add(one, "down", SCROLL, keys[n + 1])
            if back:
                self.add(one, "back", BACK, back)
        return keys

    def finish(self, hubs: Sequence[str]) -> App:
        """Return the app: keys become numbers, and the controls of a page stand behind its own elements."""
        number = {key: place for place, key in enumerate(self.titles)}
        order = {SCROLL: 1, BACK: 2}
        pages = tuple(
            Page(
                title=title,
                parts=tuple(
                    Part(label=label, kind=kind, to=number[to], var=var, moves=moves, shown=shown)
                    for label, kind, to, var, moves, shown in sorted(
                        self.rows[key], key=lambda row: order.get(row[1], 0)
                    )
                ),
            )
            for key, title in self.titles.items()
        )
        return App(
            name=self.name,
            pages=pages,
            variables=tuple(self.variables),
            names=self.names,
            slots=self.slots,
            hubs=tuple(number[key] for key in hubs),
        )


# --- shortest ways --------------------------------------------------------------------------------


def wrong_of(values: Sequence[int], target: Sequence[int]) -> Wrong:
    """Return the stored values that differ from the wanted ones."""
    if values == target:
        return ()
    pairs = enumerate(zip(values, target, strict=True))
    return tuple((var, value, wanted) for var, (value, wanted) in pairs if value != wanted)


@lru_cache(maxsize=1 << 18)
def distance(app: App, page: int, wrong: Wrong) -> int:
    """Return the number of taps of a shortest plan that puts ``wrong`` right from ``page`` (``FAR``: there is none)."""
    for place, (var, value, wanted) in enumerate(wrong):
        cost = _at_once(app, page, var, value, wanted)
        if cost < FAR:
            return cost + distance(app, page, wrong[:place] + wrong[place + 1 :])
    best = 0 if not wrong else FAR
    row = _walks(app, page)
    for place, (var, value, wanted) in enumerate(wrong):
        rest = wrong[:place] + wrong[place + 1 :]
        for enter, cost, leave in _ways(app, var, value, wanted):
            walk = row[enter] + cost
            if walk < best:
                best = min(best, walk + distance(app, leave, rest))
    return best


@lru_cache(maxsize=1 << 14)
def _walks(app: App, page: int) -> tuple[int, ...]:
    """Return the taps from ``page`` to every page along elements that are always there and change nothing."""
    found = [FAR] * len(app.pages)
    found[page] = 0
    queue = deque([page])
    while queue:
        here = queue.popleft()
        for part in app.pages[here].parts:
            if not part.moves and found[part.to] == FAR:
                found[part.to] = found[here] + 1
                queue.append(part.to)
    return tuple(found)


@lru_cache(maxsize=1 << 14)
def _ways(app: App, var: int, value: int, wanted: int) -> tuple[tuple[int, int, int], ...]:
    """Return the ways to bring one stored value to the wanted one: entered at a page, taps, left at a page. None can be replaced by another."""
    found: dict[tuple[int, int], int] = {}
    for enter, page in enumerate(app.pages):
        if any(_moved(part, var, value) != ABSENT for part in page.parts):
            for leave, cost in _chains(app, enter, var, value, wanted).items():
                found[enter, leave] = cost
    kept: list[tuple[int, int, int]] = []
    for (enter, leave), cost in sorted(found.items(), key=lambda item: (item[1], item[0])):
        shorter = (_walks(app, enter)[a] + c + _walks(app, b)[leave] <= cost for a, c, b in kept)
        if not any(shorter):
            kept.append((enter, cost, leave))
    return tuple(kept)


@lru_cache(maxsize=1 << 16)
def _at_once(app: App, page: int, var: int, value: int, wanted: int) -> int:
    """Return the taps of a way that begins and ends at ``page`` where nothing is lost by taking it first, else ``FAR``.

    Nothing is lost if each way of the same value, wherever one comes from, can be left out of a plan and saves as many taps.
    """
    ways = _ways(app, var, value, wanted)
    cost = min((cost for enter, cost, leave in ways if enter == leave == page), default=FAR)
    for before in (page, *_exits(app)):
        row = _walks(app, before)
        if any(row[leave] + cost > row[enter] + other for enter, other, leave in ways):
            return FAR
    return cost


@lru_cache(maxsize=16)
def _exits(app: App) -> tuple[int, ...]:
    """Return the pages at which a change of a stored value can leave one."""
    return tuple({part.to for page in app.pages for part in page.parts if part.moves})


def _chains(app: App, enter: int, var: int, value: int, wanted: int) -> dict[int, int]:
    """Return for each page the taps from ``enter`` to it, where the first and the last tap are about the variable."""
    reached = {(enter, value): 0}
    ends: dict[int, int] = {}
    queue = deque([(enter, value)])
    while queue:
        here, now = queue.popleft()
        taps = reached[here, now]
        for part in app.pages[here].parts:
            after = _moved(part, var, now)
            if part.moves and after == ABSENT:
                continue
            if not part.moves and taps == 0:
                continue
            then = after if part.moves else now
            if part.moves and then == wanted and now != wanted:
                ends[part.to] = min(ends.get(part.to, FAR), taps + 1)
            if then != wanted and (part.to, then) not in reached:
                reached[part.to, then] = taps + 1
                queue.append((part.to, then))
    return ends


def _moved(part: Part, var: int, value: int) -> int:
    return part.moves[value] if part.moves and part.var == var else ABSENT


def label_of(word: str, names: Sequence[str]) -> str:
    """Return a label or title as it is shown: ``#n`` becomes the name number n of the task."""
    return names[int(word[1:])] if word[0] == "#" else word
