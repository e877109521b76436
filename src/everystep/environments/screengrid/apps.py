"""The six apps of ScreenGrid: settings, shop, mail, files, calendar and music. Each has another structure of pages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from everystep.environments.screengrid.parts import (
    ABSENT,
    BACK,
    BUTTON,
    CHOICE,
    KEY,
    LINK,
    ROW,
    SWITCH,
    App,
    Draft,
)

OFF_ON = ("off", "on")
LEVELS = ("low", "mid", "high")
SWITCHES = {
    "sound": ("mute", "vibrate"),
    "display": ("rotate",),
    "network": ("wifi", "bluetooth", "roaming"),
    "privacy": ("location", "camera", "lock"),
    "clock": ("alarm", "summer"),
}
LEVELLED = {"sound": "volume", "display": "brightness"}
CHOICES = {"theme": ("display", ("light", "dark", "blue")), "zone": ("clock", ("east", "west", "north"))}

GOODS = {"fruit": ("apple", "pear", "plum", "lime"), "drink": ("milk", "tea", "juice", "water")}
DELIVERY = ("home", "store")
MOST = 3
"""How many of one good fit in the basket."""

FOLDERS = ("inbox", "archive", "trash")
SENDERS = ("ann", "bob", "eve", "dan", "kim", "lee", "max", "zoe", "ida", "tim", "uma", "sam")
CONTACTS = ("mum", "dad", "boss", "team")
SUBJECTS = ("hello", "thanks", "sorry", "party")

PLACES = ("docs", "work", "bin")
FILES = (
    *("report", "budget", "photo", "letter", "recipe", "poem"),
    *("map", "ticket", "essay", "speech", "bill", "sketch"),
)
VERSIONS = ("draft", "final", "old")

DAYS = ("mon", "tue", "wed", "thu", "fri")
HOURS = ("morning", "noon", "evening")
EVENTS = ("call", "gym", "lunch", "class")
FREE = "free"

ARTISTS: Mapping[str, tuple[str, str]] = {
    "wolf": ("moon", "river"),
    "luna": ("rain", "fire"),
    "echo": ("snow", "dance"),
    "nova": ("dream", "gold"),
}
SONGS = tuple(song for songs in ARTISTS.values() for song in songs)
LISTS = ("sport", "calm", "road")
NO_LIST = "none"
WINDOW, SHORT = 3, 5
"""Rows that are shown at a time of a list of things, and of one that is always the same and short."""


def _flip(draft: Draft, page: str, label: str) -> None:
    var = draft.variable(label, OFF_ON)
    draft.add(page, label, SWITCH, var=var, moves=(1, 0), shown=OFF_ON)


def _settings() -> App:
    draft = Draft(name="settings")
    windows = draft.windows("main", len(SWITCHES), SHORT)
    for place, (page, switches) in enumerate(SWITCHES.items()):
        window = windows[place // SHORT]
        draft.page(page)
        draft.add(window, page, LINK, page)
        if page in LEVELLED:
            var = draft.variable(LEVELLED[page], LEVELS)
            draft.add(page, LEVELLED[page], SWITCH, var=var, moves=(1, 2, 0), shown=LEVELS)
        for label in switches:
            _flip(draft, page, label)
        draft.add(page, "back", BACK, window)
    for choice, (page, values) in CHOICES.items():
        var = draft.variable(choice, values)
        draft.add(page, choice, LINK, draft.page(choice), var=var, shown=values)
        for number, value in enumerate(values):
            chosen = ["chosen" if one == value else "" for one in values]
            draft.add(choice, value, CHOICE, page, var=var, moves=[number] * len(values), shown=chosen)
        draft.add(choice, "back", BACK, page)
    return draft.finish((*windows, *SWITCHES))


def _shop() -> App:
    draft = Draft(name="shop")
    main = draft.page("main")
    for page in (*GOODS, "search", "basket"):
        draft.add(main, page, LINK, f"{page}/0" if page in GOODS else page)
    delivery = draft.variable("delivery", DELIVERY)
    draft.add(main, "delivery", SWITCH, var=delivery, moves=(1, 0), shown=DELIVERY)
    draft.page("search")
    draft.page("basket")
    counts = [str(number) for number in range(MOST + 1)]
    windows = []
    for group, goods in GOODS.items():
        shown = draft.windows(group, len(goods), WINDOW, back=main)
        windows += shown
        for place, good in enumerate(goods):
            window = shown[place // WINDOW]
            var = draft.variable(good, counts)
            bought = draft.page(f"basket/{good}", good)
            item = draft.page(good)
            draft.add(window, good, ROW, item)
            draft.add("search", good, KEY, item)
            here = (ABSENT, *range(1, MOST + 1))
            draft.add("basket", good, ROW, bought, var=var, moves=here, shown=counts)
            for page, back in ((item, window), (bought, "basket")):
                draft.add(page, "add", BUTTON, var=var, moves=(*range(1, MOST + 1), ABSENT), shown=counts)
                draft.add(page, "drop", BUTTON, var=var, moves=(ABSENT, *range(MOST)))
                draft.add(page, "back", BACK, back)
    for page in ("search", "basket"):
        draft.add(page, "back", BACK, main)
    return draft.finish((main, *windows, "basket"))


def _mail() -> App:
    draft = Draft(name="mail", names=SENDERS, slots=6)
    main = draft.page("main")
    lists = {folder: draft.windows(folder, draft.slots, WINDOW, back=main) for folder in FOLDERS}
    for folder in FOLDERS:
        draft.add(main, folder, LINK, lists[folder][0])
    draft.add(main, "sent", LINK, draft.page("sent"))
    draft.add(main, "write", LINK, draft.page("write"))
    states = [f"{folder} {star}" for folder in FOLDERS for star in OFF_ON]
    for slot in range(draft.slots):
        var = draft.variable(f"#{slot}", states)
        for number, folder in enumerate(FOLDERS):
            window = lists[folder][slot // WINDOW]
            page = draft.page(f"{folder}/#{slot}", f"#{slot}")
            here = [value if value // 2 == number else ABSENT for value in range(6)]
            starred = ["star" if value % 2 else "" for value in range(6)]
            draft.add(window, f"#{slot}", ROW, page, var=var, moves=here, shown=starred)
            flipped = [value ^ 1 if value // 2 == number else ABSENT for value in range(6)]
            draft.add(page, "star", SWITCH, var=var, moves=flipped, shown=OFF_ON * 3)
            for other, verb in enumerate(("restore", "archive", "delete")):
                if other != number:
                    moves = [other * 2 + value % 2 if value // 2 == number else ABSENT for value in range(6)]
                    draft.add(page, verb, BUTTON, window, var=var, moves=moves)
            draft.add(page, "back", BACK, window)
    _write(draft, main)
    return draft.finish((main, *(page for pages in lists.values() for page in pages[:1])))


def _write(draft: Draft, main: str) -> None:
    """Add writing a mail (to whom, what about, send) and the list of those that were sent."""
    words = ("none", *SUBJECTS)
    for person in CONTACTS:
        var = draft.variable(person, words)
        to = draft.page(f"write/{person}", person)
        draft.add("write", person, KEY, to)
        for number, subject in enumerate(SUBJECTS, 1):
            ready = draft.page(f"write/{person}/{subject}", "ready")
            draft.add(to, subject, KEY, ready)
            draft.add(ready, "send", BUTTON, main, var=var, moves=[number] * len(words))
            draft.add(ready, "back", BACK, to)
        draft.add(to, "back", BACK, "write")
        sent = draft.page(f"sent/{person}", person)
        here = (ABSENT, *range(1, len(words)))
        draft.add("sent", person, ROW, sent, var=var, moves=here, shown=words)
        draft.add(sent, "delete", BUTTON, "sent", var=var, moves=(ABSENT, *([0] * len(SUBJECTS))))
        draft.add(sent, "back", BACK, "sent")
    for page in ("write", "sent"):
        draft.add(page, "back", BACK, main)


def _files() -> App:
    draft = Draft(name="files", names=FILES, slots=6)
    main = draft.page("main")
    lists = {place: draft.windows(place, draft.slots, WINDOW, back=main) for place in PLACES}
    for place in PLACES:
        draft.add(main, place, LINK, lists[place][0])
    count, kinds = len(PLACES) * len(VERSIONS), len(VERSIONS)
    states = [f"{place} {version}" for place in PLACES for version in VERSIONS]
    for slot in range(draft.slots):
        var = draft.variable(f"#{slot}", states)
        for number, place in enumerate(PLACES):
            window = lists[place][slot // WINDOW]
            file = draft.page(f"{place}/#{slot}", f"#{slot}")
            move, rename = draft.page(f"{file}/move", "move"), draft.page(f"{file}/rename", "rename")
            here = [value if value // kinds == number else ABSENT for value in range(count)]
            draft.add(window, f"#{slot}", ROW, file, var=var, moves=here, shown=VERSIONS * len(PLACES))
            draft.add(file, "move", LINK, move)
            draft.add(file, "rename", LINK, rename)
            draft.add(file, "back", BACK, window)
            for other, target in enumerate(PLACES):
                if other != number:
                    moves = [
                        other * kinds + value % kinds if value // kinds == number else ABSENT
                        for value in range(count)
                    ]
                    draft.add(move, target, CHOICE, window, var=var, moves=moves)
            for other, version in enumerate(VERSIONS):
                moves = [
                    number * kinds + other if value // kinds == number else ABSENT for value in range(count)
                ]
                draft.add(rename, version, KEY, file, var=var, moves=moves)
            draft.add(move, "back", BACK, file)
            draft.add(rename, "back", BACK, file)
    return draft.finish((main, *(page for pages in lists.values() for page in pages[:1])))


def _calendar() -> App:
    draft = Draft(name="calendar")
    week = draft.windows("week", len(DAYS), SHORT)
    words = (FREE, *EVENTS)
    for place, day in enumerate(DAYS):
        draft.add(week[place // SHORT], day, LINK, draft.page(day))
        for hour in HOURS:
            var = draft.variable(f"{day} {hour}", words)
            slot = draft.page(f"{day}/{hour}", hour)
            draft.add(day, hour, ROW, slot, var=var, shown=words)
            draft.add(slot, "clear", BUTTON, day, var=var, moves=(ABSENT, *([0] * len(EVENTS))))
            for number, event in enumerate(EVENTS, 1):
                draft.add(slot, event, KEY, day, var=var, moves=[number] * len(words))
            draft.add(slot, "back", BACK, day)
        draft.add(day, "back", BACK, week[place // SHORT])
    return draft.finish((*week, *DAYS))


def _music() -> App:
    draft = Draft(name="music")
    main = draft.page("main")
    artists = draft.windows("artists", len(ARTISTS), WINDOW, back=main)
    draft.add(main, "artists", LINK, artists[0])
    draft.add(main, "lists", LINK, draft.page("lists"))
    draft.add(main, "player", LINK, draft.page("player"))
    playing = draft.variable("playing", ("none", *SONGS))
    stop = (ABSENT, *([0] * len(SONGS)))
    draft.add("player", "stop", BUTTON, var=playing, moves=stop, shown=("none", *SONGS))
    for label in ("shuffle", "repeat"):
        _flip(draft, "player", label)
    for name in LISTS:
        draft.add("lists", name, LINK, draft.page(name))
    groups = (NO_LIST, *LISTS)
    states = [f"{group} {liked}" for group in groups for liked in OFF_ON]
    for place, (artist, songs) in enumerate(ARTISTS.items()):
        draft.add(artists[place // WINDOW], artist, LINK, draft.page(artist))
        for song in songs:
            var = draft.variable(song, states)
            page, choose = draft.page(song), draft.page(f"{song}/add", "add")
            draft.add(artist, song, ROW, page)
            number = SONGS.index(song) + 1
            draft.add(page, "play", BUTTON, var=playing, moves=[number] * (len(SONGS) + 1))
            flipped = [value ^ 1 for value in range(8)]
            draft.add(page, "like", SWITCH, var=var, moves=flipped, shown=OFF_ON * len(groups))
            draft.add(page, "add", LINK, choose, var=var, shown=[group for group in groups for _ in OFF_ON])
            draft.add(page, "back", BACK, artist)
            for other, group in enumerate(groups):
                moves = [other * 2 + value % 2 for value in range(8)]
                draft.add(choose, group, CHOICE, page, var=var, moves=moves)
            draft.add(choose, "back", BACK, page)
            for other, group in enumerate(LISTS, 1):
                entry = draft.page(f"{group}/{song}", song)
                here = [value if value // 2 == other else ABSENT for value in range(8)]
                draft.add(group, song, ROW, entry, var=var, moves=here)
                away = [value % 2 if value // 2 == other else ABSENT for value in range(8)]
                draft.add(entry, "remove", BUTTON, group, var=var, moves=away)
                draft.add(entry, "back", BACK, group)
        draft.add(artist, "back", BACK, artists[place // WINDOW])
    for page in ("lists", "player"):
        draft.add(page, "back", BACK, main)
    for name in LISTS:
        draft.add(name, "back", BACK, "lists")
    return draft.finish((main, artists[0], "lists", "player"))


_BUILD = {
    "settings": _settings,
    "shop": _shop,
    "mail": _mail,
    "files": _files,
    "calendar": _calendar,
    "music": _music,
}
APPS = tuple(_BUILD)


@cache
def app_of(name: str) -> App:
    """Return the app called ``name``, one of ``APPS``."""
    return _BUILD[name]()
