"""A plan that an agent grows and cuts while it acts, and what it is shown of its own past under it.

The two planning actions of AgentOccam (arXiv 2410.13825, section 4.3): ``branch`` puts a new goal under a named one and works on it; ``prune`` goes back to a goal: its later siblings and all
below it are hidden, its notes are cleared, the reason is kept, and the work goes on where that goal was begun. The past is what was done for the goal that is worked on now. Records only:
whoever acts keeps the outline, and goes back to the place that it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from everystep.core.errors import WorldError

MOST_ITEMS = 200
FULL = 3
"""So many of the last steps are shown with what was looked at."""
WORDS = 200
"""More words than these are not shown again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A goal: the one above it (-1 for none), where it was begun, and what was noted for it. ``reason`` says why the work came back to it."""

    parent: int
    intent: str
    place: str
    notes: tuple[str, ...] = ()
    hidden: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """The goals in the order in which they were made, by number; 0 is the task itself. ``active`` is worked on."""

    items: tuple[Item, ...]
    active: int = 0

    @property
    def plain(self) -> bool:
        """Whether nothing was branched, noted or given up yet."""
        return len(self.items) == 1 and self.items[0].reason == "" and not self.items[0].notes


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A step that was taken for a goal: what was done, on which page (``looks`` says how it looked), and what was pivotal there."""

    goal: int
    action: str
    page: str
    looks: str
    pivotal: str = ""
    said: str = ""


def begun(intent: str, place: str) -> Outline:
    """Return the outline of a task that begins at a place."""
    return Outline(items=(Item(parent=-1, intent=intent, place=place),))


def refusal(outline: Outline, number: int) -> str:
    """Return why a goal cannot be named, or nothing."""
    shown = [at for at, one in enumerate(outline.items) if not one.hidden]
    return "" if number in shown else f"there is no goal {number} in the plan; there are {', '.join(map(str, shown))}"  # fmt: skip


def branched(outline: Outline, parent: int, intent: str, place: str) -> Outline:
    """Return the outline with a new goal under ``parent``, which is active. ``WorldError`` for a parent that there is not."""
    _check(outline, parent)
    if len(outline.items) >= MOST_ITEMS:
        raise WorldError(f"the plan has {MOST_ITEMS} goals; no more are kept.")
    made = Item(parent=parent, intent=intent, place=place)
    return Outline(items=(*outline.items, made), active=len(outline.items))


def pruned(outline: Outline, number: int, reason: str) -> Outline:
    """Return the outline back at goal ``number``: its later siblings and everything below them and it are hidden."""
    _check(outline, number)
    gone = set(_below(outline, number))
    parent = outline.items[number].parent
    for at in range(number + 1, len(outline.items)):
        if outline.items[at].parent == parent and parent >= 0:
            gone |= {at, *_below(outline, at)}
    items = [replace(one, hidden=one.hidden or at in gone) for at, one in enumerate(outline.items)]
    items[number] = replace(items[number], notes=(), reason=reason)
    return Outline(items=tuple(items), active=number)


def noted(outline: Outline, text: str) -> Outline:
    """Return the outline with a note on the active goal."""
    items = list(outline.items)
    items[outline.active] = replace(items[outline.active], notes=(*items[outline.active].notes, text))
    return replace(outline, items=tuple(items))


def plan_text(outline: Outline) -> str:
    """Return the goals that are not hidden, indented under each other, the active one marked.

    >>> print(plan_text(branched(begun("buy a pen", "/"), 0, "find it", "/")))
    [0] buy a pen
     [1] find it (active)
    """

    def lines(number: int, depth: int) -> Iterator[str]:
        one = outline.items[number]
        mark = " (active)" if number == outline.active else ""
        back = f" (came back: {one.reason})" if one.reason else ""
        yield f"{' ' * depth}[{number}] {one.intent}{mark}{back}"
        for note in one.notes:
            yield f"{' ' * (depth + 1)}note: {note}"
        for at, other in enumerate(outline.items):
            if other.parent == number and not other.hidden:
                yield from lines(at, depth + 1)

    return "\n".join(lines(0, 0))


def past_text(past: Sequence[Past], now: str, *, goal: int | None = None) -> str:
    """Return what was done before, oldest first; ``goal`` leaves only what was done for that one. ``now`` is how the page looks now.

    The last three show what was pivotal on their page, where that is not the page that is shown now and not too long; the older ones only what was done.
    """
    kept = [one for one in past if goal is None or one.goal == goal]
    lines = []
    for at, one in enumerate(kept):
        lines.append(f"{at + 1}. {one.action} on {one.page}" + (f": {one.said}" if one.said else ""))
        if at < len(kept) - FULL:
            continue
        if one.looks == now:
            lines.append("   (the same page as now)")
        elif one.pivotal and len(one.pivotal.split()) <= WORDS:
            lines += [f"   {line}" for line in one.pivotal.splitlines()]
    return "\n".join(lines)


def _check(outline: Outline, number: int) -> None:
    why = refusal(outline, number)
    if why:
        raise WorldError(f"{why}.")


def _below(outline: Outline, number: int) -> Iterator[int]:
    """Yield what lies below a goal; children come after their parents."""
    within = {number}
    for at in range(number + 1, len(outline.items)):
        if outline.items[at].parent in within:
            within.add(at)
            yield at
