"""A small phone, exactly: five apps as a graph of pages with elements, fields and lists, and the gestures between them.

A phone is an immutable value; ``perform`` gives the next one. What is stored in it is private to its owner: numbers, codes,
messages. Nothing here knows about tasks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar

from everystep.core.protocols import Element, Gesture, ScreenView

APPS = ("clock", "contacts", "messages", "notes", "settings")
HOME = "home"
LIST, NEW, CARD, MENU = "list", "new", "card", "menu"
ROWS = 4
"""Rows of a list that fit on the screen."""
LONGEST = 200
"""Characters that a field takes."""

ITEM = {"clock": "alarm", "contacts": "contact", "messages": "thread", "notes": "note", "settings": "switch"}
"""What a row of an app's list is called; a row's id is this and its number."""
FIELDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("clock", NEW): ("time",),
    ("contacts", NEW): ("name", "number"),
    ("notes", NEW): ("text",),
    ("messages", CARD): ("reply",),
}
"""The fields of each page with fields."""
SUBMIT = {"clock": "save", "contacts": "save", "notes": "save", "messages": "send"}
"""The button that takes what stands in the fields."""

_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
P = TypeVar("P", bound="Phone")


@dataclass(frozen=True, slots=True)
class Alarm:
    """``time`` is HH:MM."""

    time: str
    on: bool = True


@dataclass(frozen=True, slots=True)
class Contact:
    """A name and a number."""

    name: str
    number: str


@dataclass(frozen=True, slots=True)
class Thread:
    """The messages with one person, oldest first. What the owner wrote begins with ``me: ``."""

    name: str
    messages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Switch:
    """A setting that is on or off."""

    name: str
    on: bool


@dataclass(frozen=True, slots=True)
class Phone:
    """What is stored in a phone and what its screen shows.

    ``item`` is the row that a card or a menu is about, ``scroll`` the first row that is shown, ``draft`` what stands in the fields of the
    page, ``taps`` the number of taps so far where they can miss (``miss`` is the chance, ``luck`` the seed of the draws).
    """

    alarms: tuple[Alarm, ...] = ()
    contacts: tuple[Contact, ...] = ()
    threads: tuple[Thread, ...] = ()
    notes: tuple[str, ...] = ()
    switches: tuple[Switch, ...] = ()
    app: str = HOME
    page: str = LIST
    item: int = -1
    scroll: int = 0
    focus: str = ""
    draft: tuple[tuple[str, str], ...] = ()
    taps: int = 0
    miss: float = 0.0
    luck: int = 0

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the page that is shown."""
        return FIELDS.get((self.app, self.page), ())

    @property
    def drafted(self) -> dict[str, str]:
        """What stands in the fields."""
        return dict(self.draft)

    def rows(self, app: str) -> tuple[tuple[str, str], ...]:
        """Return the kind and the text of each row of an app's list."""
        if app == "clock":
            return tuple(("switch", f"{one.time} {_state(one.on)}") for one in self.alarms)
        if app == "contacts":
            return tuple(("item", one.name) for one in self.contacts)
        if app == "messages":
            return tuple(("item", f"{one.name} - {one.messages[-1]}") for one in self.threads)
        if app == "notes":
            return tuple(("item", one) for one in self.notes)
        return tuple(("switch", f"{one.name} {_state(one.on)}") for one in self.switches)


# --- what is shown ------------------------------------------------------------------------------


def show(phone: Phone) -> ScreenView:
    """Return what the screen shows."""
    parts = _parts(phone)
    height = 1000 // max(8, len(parts))
    elements = tuple(
        Element(
            id=name,
            kind=kind,
            text=text,
            enabled=enabled,
            box=(0, place * height, 1000, (place + 1) * height),
        )
        for place, (name, kind, text, enabled) in enumerate(parts)
    )
    return ScreenView(app=phone.app, page=phone.page, elements=elements, focus=phone.focus)


def told(view: ScreenView) -> str:
    """Return a view as lines of text: where one is, then each element with its id."""
    lines = [f"screen {view.app} {view.page} . keyboard {'on ' + view.focus if view.focus else 'off'}"]
    lines += [
        f"[{one.id}] {one.kind} {one.text!r}{'' if one.enabled else ' disabled'}" for one in view.elements
    ]
    return "\n".join(lines)


def _parts(phone: Phone) -> list[tuple[str, str, str, bool]]:
    """Return the elements: id, kind, text, and whether it reacts."""
    app, page = phone.app, phone.page
    if app == HOME:
        return [(one, "button", one, True) for one in APPS]
    if page == LIST:
        add = [("add", "button", "add", True)] if (app, NEW) in FIELDS else []
        rows = phone.rows(app)[phone.scroll : phone.scroll + ROWS]
        return add + [
            (f"{ITEM[app]}{phone.scroll + place + 1}", kind, text, True)
            for place, (kind, text) in enumerate(rows)
        ]
    if page == MENU:
        return [
            ("about", "text", phone.rows(app)[phone.item][1], False),
            ("delete", "button", "delete", True),
        ]
    drafted = phone.drafted
    fields = [(name, "field", drafted.get(name, ""), True) for name in phone.fields]
    if page == NEW:
        return [*fields, ("save", "button", "save", _ready(phone))]
    if app == "contacts":
        contact = phone.contacts[phone.item]
        return [("name", "text", contact.name, False), ("number", "text", contact.number, False)]
    if app == "notes":
        return [("text", "text", phone.notes[phone.item], False)]
    thread = phone.threads[phone.item]
    said = [(f"line{place + 1}", "text", text, False) for place, text in enumerate(thread.messages)]
    return [*said, *fields, ("send", "button", "send", _ready(phone))]


def _ready(phone: Phone) -> bool:
    """Say whether the fields hold what the page's button needs."""
    drafted = phone.drafted
    if not all(drafted.get(name) for name in phone.fields):
        return False
    return phone.app != "clock" or _TIME.fullmatch(drafted["time"]) is not None


# --- what gestures do ---------------------------------------------------------------------------


def perform(phone: P, gesture: Gesture) -> tuple[P, str | None]:
    """Return the phone after a gesture, and why it could not be done, ``None`` where it was.

    A tap misses with probability ``phone.miss``: half of the misses touch nothing, half the element above or below. Nobody is told.
    """
    handler = _GESTURES.get(gesture.kind)
    if handler is None:
        return phone, f"there is no gesture {gesture.kind!r}"
    after, reason = handler(phone, gesture)
    return (phone, reason) if reason is not None else (after, None)  # type: ignore[return-value]


def possible(phone: Phone) -> list[Gesture]:
    """Return the gestures that can be done now, all but typing, each once."""
    found = [Gesture(kind="tap", target=one.id) for one in show(phone).elements if one.enabled]
    if phone.page == LIST and phone.app in _DELETE:
        found += [Gesture(kind="hold", target=f"{ITEM[phone.app]}{n + 1}") for n in _visible(phone)]
    found += [Gesture(kind="swipe", target=to) for to in ("up", "down") if _swiped(phone, to) is not None]
    if phone.app != HOME:
        found += [Gesture(kind="back"), Gesture(kind="home")]
    found += [Gesture(kind="open", target=app) for app in APPS if (phone.app, phone.page) != (app, LIST)]
    return found


_Done = tuple[Phone, str | None]


def _tap(phone: Phone, gesture: Gesture) -> _Done:
    return _touch(phone, gesture.target, _press)


def _hold(phone: Phone, gesture: Gesture) -> _Done:
    return _touch(phone, gesture.target, _press_long)


def _touch(phone: Phone, target: str, press: Callable[[Phone, str], _Done]) -> _Done:
    names = [one.id for one in show(phone).elements]
    if target not in names:
        return phone, f"there is no element {target[:40]!r} on this screen"
    if phone.miss == 0:
        return press(phone, target)
    after, reason = press(phone, target)
    if reason is not None:  # what cannot be done is refused, however well one aims
        return phone, reason
    draw = Random(f"{phone.luck}/{phone.taps}")
    phone = replace(phone, taps=phone.taps + 1)
    if draw.random() >= phone.miss:
        return replace(after, taps=phone.taps), None
    place = names.index(target) + draw.choice((-1, 1))
    if draw.random() < 0.5 or not 0 <= place < len(names):
        return phone, None
    other, reason = press(phone, names[place])
    return (phone, None) if reason is not None else (other, None)


def _press(phone: Phone, target: str) -> _Done:
    element = next(one for one in show(phone).elements if one.id == target)
    if not element.enabled:
        return phone, f"{target!r} does not react now"
    if phone.app == HOME:
        return _page(phone, target, LIST), None
    if target in phone.fields:
        return replace(phone, focus=target), None
    if target == "add":
        return _page(phone, phone.app, NEW), None
    if target == "delete":
        return _page(_DELETE[phone.app](phone, phone.item), phone.app, LIST), None
    if target == SUBMIT.get(phone.app):
        return _submitted(phone), None
    return _row(phone, int(target.removeprefix(ITEM[phone.app])) - 1), None


def _press_long(phone: Phone, target: str) -> _Done:
    if phone.page != LIST or phone.app not in _DELETE or not target.startswith(ITEM[phone.app]):
        return phone, f"{target!r} does not react to being held"
    number = int(target.removeprefix(ITEM[phone.app])) - 1
    return replace(_page(phone, phone.app, MENU), item=number), None


def _row(phone: Phone, number: int) -> Phone:
    if phone.app == "clock":
        return replace(phone, alarms=_put(phone.alarms, number, _flipped(phone.alarms[number])))
    if phone.app == "settings":
        switch = phone.switches[number]
        return replace(phone, switches=_put(phone.switches, number, Switch(switch.name, on=not switch.on)))
    return replace(_page(phone, phone.app, CARD), item=number)


def _submitted(phone: Phone) -> Phone:
    drafted = phone.drafted
    if phone.app == "messages":
        thread = phone.threads[phone.item]
        longer = Thread(thread.name, (*thread.messages, f"me: {drafted['reply']}"))
        sent = replace(phone, threads=_put(phone.threads, phone.item, longer))
        return replace(sent, draft=(), focus="")
    if phone.app == "clock":
        phone = replace(phone, alarms=(*phone.alarms, Alarm(drafted["time"])))
    elif phone.app == "contacts":
        phone = replace(phone, contacts=(*phone.contacts, Contact(drafted["name"], drafted["number"])))
    else:
        phone = replace(phone, notes=(*phone.notes, drafted["text"]))
    return _page(phone, phone.app, LIST)


def _type(phone: Phone, gesture: Gesture) -> _Done:
    if not phone.focus:
        return phone, "no field has the keyboard : tap a field first"
    if not 0 < len(gesture.text) <= LONGEST or not gesture.text.isprintable():
        return phone, f"a field takes 1 to {LONGEST} printable characters"
    drafted = {**phone.drafted, phone.focus: gesture.text}
    return replace(
        phone, draft=tuple((name, drafted[name]) for name in phone.fields if name in drafted)
    ), None


def _swipe(phone: Phone, gesture: Gesture) -> _Done:
    if gesture.target not in ("up", "down"):
        return phone, "expected: swipe up or swipe down"
    scroll = _swiped(phone, gesture.target)
    if scroll is None:
        return phone, "there is nothing more to see that way"
    return replace(phone, scroll=scroll), None


def _swiped(phone: Phone, direction: str) -> int | None:
    """Return the first row after a swipe: a swipe up shows what is further down."""
    if phone.app == HOME or phone.page != LIST:
        return None
    to = phone.scroll + (ROWS if direction == "up" else -ROWS)
    return to if 0 <= to < len(phone.rows(phone.app)) else None


def _back(phone: Phone, _: Gesture) -> _Done:
    if phone.app == HOME:
        return phone, "this is the home screen"
    return (_page(phone, HOME, LIST) if phone.page == LIST else _page(phone, phone.app, LIST)), None


def _home(phone: Phone, _: Gesture) -> _Done:
    return (phone, "this is the home screen") if phone.app == HOME else (_page(phone, HOME, LIST), None)


def _open(phone: Phone, gesture: Gesture) -> _Done:
    if gesture.target not in APPS:
        return phone, f"there is no app {gesture.target[:40]!r}"
    return _page(phone, gesture.target, LIST), None


def _page(phone: Phone, app: str, page: str) -> Phone:
    return replace(phone, app=app, page=page, item=-1, scroll=0, focus="", draft=())


def _visible(phone: Phone) -> range:
    return range(phone.scroll, min(phone.scroll + ROWS, len(phone.rows(phone.app))))


T = TypeVar("T")


def _put(row: tuple[T, ...], place: int, item: T) -> tuple[T, ...]:
    return (*row[:place], item, *row[place + 1 :])


def _without(row: tuple[T, ...], place: int) -> tuple[T, ...]:
    return row[:place] + row[place + 1 :]


def _flipped(alarm: Alarm) -> Alarm:
    return Alarm(alarm.time, on=not alarm.on)


def _state(on: bool) -> str:
    return "on" if on else "off"


_DELETE: Mapping[str, Callable[[Phone, int], Phone]] = {
    "clock": lambda phone, item: replace(phone, alarms=_without(phone.alarms, item)),
    "contacts": lambda phone, item: replace(phone, contacts=_without(phone.contacts, item)),
    "notes": lambda phone, item: replace(phone, notes=_without(phone.notes, item)),
}
_GESTURES: Mapping[str, Callable[[Phone, Gesture], _Done]] = {
    "tap": _tap,
    "hold": _hold,
    "type": _type,
    "swipe": _swipe,
    "back": _back,
    "home": _home,
    "open": _open,
}


# --- gestures as text ---------------------------------------------------------------------------

_GRAMMAR = re.compile(r"(tap|hold|swipe|open) ([A-Za-z0-9_-]{1,60})|(type) ([^\n]{1,200})|(back|home)")
EXPECTED = "expected: tap ID, hold ID, type TEXT, swipe up or down, open APP, back or home"


def read_gesture(text: str) -> Gesture | None:
    """Return the gesture that a text says, ``None`` where it says none.

    >>> read_gesture("type hello there")
    Gesture(kind='type', target='', text='hello there')
    """
    match = _GRAMMAR.fullmatch(text.strip())
    if match is None:
        return None
    if match[3]:
        return Gesture(kind="type", text=match[4])
    return Gesture(kind=match[1] or match[5], target=match[2] or "")


def written(gesture: Gesture) -> str:
    """Return a gesture as text, the inverse of ``read_gesture``."""
    return " ".join(part for part in (gesture.kind, gesture.target or gesture.text) if part)
