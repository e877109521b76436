"""The families of tasks of ScreenGrid: what can be asked for in each app, in which words, and what it means for the stored values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from everystep.environments.screengrid import apps
from everystep.environments.screengrid.parts import App

Changes = dict[int, int]
"""The stored values that a clause asks for: variable and value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A family of tasks: its name, its pattern (words in capitals are slots) and what it asks for."""

    name: str
    pattern: str
    asks: Callable[[Scene, Sequence[str]], Changes | str]

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots of the pattern, in order."""
        return tuple(word for word in self.pattern.split() if word.isupper())


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """An app as a task finds it: the names of its lists, the stored values, and where one stands."""

    app: App
    names: tuple[str, ...]
    values: tuple[int, ...]
    page: int = 0


# --- what each family asks for ----------------------------------------------------------------------


def _turn(scene: Scene, slots: Sequence[str]) -> Changes | str:
    label, state = slots
    return _change(scene, label, apps.OFF_ON.index(state))


def _switch(state: int) -> Callable[[Scene, Sequence[str]], Changes | str]:
    return lambda scene, slots: _change(scene, slots[0], state)


def _level(scene: Scene, slots: Sequence[str]) -> Changes | str:
    label, level = slots
    return _change(scene, label, apps.LEVELS.index(level))


def _choose(choice: str) -> Callable[[Scene, Sequence[str]], Changes | str]:
    values = apps.CHOICES[choice][1]
    return lambda scene, slots: _change(scene, choice, values.index(slots[0]))


def _buy(count: int) -> Callable[[Scene, Sequence[str]], Changes | str]:
    def asks(scene: Scene, slots: Sequence[str]) -> Changes | str:
        had = scene.values[_variable(scene, slots[0])]
        if had + count > apps.MOST:
            return f"no more than {apps.MOST} {slots[0]} fit in the basket"
        return _change(scene, slots[0], had + count)

    return asks


def _drop(count: int) -> Callable[[Scene, Sequence[str]], Changes | str]:
    def asks(scene: Scene, slots: Sequence[str]) -> Changes | str:
        had = scene.values[_variable(scene, slots[0])]
        if had < count:
            return f"there is not so much {slots[0]} in the basket"
        return _change(scene, slots[0], had - count)

    return asks


def _swap(scene: Scene, slots: Sequence[str]) -> Changes | str:
    if slots[0] == slots[1]:
        return "a good cannot take its own place"
    gone, come = _drop(1)(scene, slots[:1]), _buy(1)(scene, slots[1:])
    return gone if isinstance(gone, str) else come if isinstance(come, str) else gone | come


def _deliver(scene: Scene, slots: Sequence[str]) -> Changes | str:
    return _change(scene, "delivery", apps.DELIVERY.index(slots[0]))


def _file_mail(folder: int) -> Callable[[Scene, Sequence[str]], Changes | str]:
    """Put a mail into a folder; it comes from the inbox where the clause does not say."""

    def asks(scene: Scene, slots: Sequence[str]) -> Changes | str:
        var = _variable(scene, slots[0])
        if var < 0:
            return f"there is no mail from {slots[0]}"
        place, star = divmod(scene.values[var], 2)
        source = apps.FOLDERS.index(slots[1]) if len(slots) > 1 else 0
        if source == folder:
            return "a mail cannot move to where it is"
        if place != source:
            return f"the mail from {slots[0]} is not in the {apps.FOLDERS[source]}"
        return {var: folder * 2 + star}

    return asks


def _star(state: int) -> Callable[[Scene, Sequence[str]], Changes | str]:
    def asks(scene: Scene, slots: Sequence[str]) -> Changes | str:
        var = _variable(scene, slots[0])
        if var < 0:
            return f"there is no mail from {slots[0]}"
        place, star = divmod(scene.values[var], 2)
        if place:
            return f"the mail from {slots[0]} is not in the inbox"
        return {var: place * 2 + state} if star != state else "it is so already"

    return asks


def _send(scene: Scene, slots: Sequence[str]) -> Changes | str:
    subject, person = slots
    return _change(scene, person, apps.SUBJECTS.index(subject) + 1)


def _move(scene: Scene, slots: Sequence[str]) -> Changes | str:
    name, source, target = slots
    if source == target:
        return "a file cannot move to where it is"
    return _refile(scene, name, source, lambda version: apps.PLACES.index(target) * 3 + version)


def _rename(scene: Scene, slots: Sequence[str]) -> Changes | str:
    name, source, version = slots
    place = apps.PLACES.index(source)
    return _refile(scene, name, source, lambda _: place * 3 + apps.VERSIONS.index(version))


def _bin(scene: Scene, slots: Sequence[str]) -> Changes | str:
    return _move(scene, (slots[0], slots[1], "bin"))


def _refile(scene: Scene, name: str, source: str, after: Callable[[int], int]) -> Changes | str:
    var = _variable(scene, name)
    if var < 0:
        return f"there is no file {name}"
    place, version = divmod(scene.values[var], 3)
    if place != apps.PLACES.index(source):
        return f"{name} is not in {source}"
    wanted = after(version)
    return {var: wanted} if wanted != scene.values[var] else "it is so already"


def _plan(scene: Scene, slots: Sequence[str]) -> Changes | str:
    event, day, hour = slots
    if scene.values[_variable(scene, f"{day} {hour}")]:
        return f"{day} {hour} is taken"
    return _change(scene, f"{day} {hour}", apps.EVENTS.index(event) + 1)


def _replan(scene: Scene, slots: Sequence[str]) -> Changes | str:
    day, hour, event = slots
    if not scene.values[_variable(scene, f"{day} {hour}")]:
        return f"{day} {hour} is free"
    return _change(scene, f"{day} {hour}", apps.EVENTS.index(event) + 1)


def _clear(scene: Scene, slots: Sequence[str]) -> Changes | str:
    return _change(scene, " ".join(slots), 0, f"{' '.join(slots)} is free already")


def _clear_day(scene: Scene, slots: Sequence[str]) -> Changes | str:
    slots_of = [_variable(scene, f"{slots[0]} {hour}") for hour in apps.HOURS]
    return {var: 0 for var in slots_of if scene.values[var]} or f"{slots[0]} is free already"


def _shift(scene: Scene, slots: Sequence[str]) -> Changes | str:
    event, hour, day, other = slots
    if hour == other:
        return "an event cannot move to where it is"
    source, target = _variable(scene, f"{day} {hour}"), _variable(scene, f"{day} {other}")
    if scene.values[source] != apps.EVENTS.index(event) + 1:
        return f"there is no {event} on {day} {hour}"
    if scene.values[target]:
        return f"{day} {other} is taken"
    return {source: 0, target: scene.values[source]}


def _play(scene: Scene, slots: Sequence[str]) -> Changes | str:
    return _change(scene, "playing", apps.SONGS.index(slots[0]) + 1)


def _stop(scene: Scene, slots: Sequence[str]) -> Changes | str:  # noqa: ARG001
    return _change(scene, "playing", 0, "nothing is playing")


def _like(state: int) -> Callable[[Scene, Sequence[str]], Changes | str]:
    def asks(scene: Scene, slots: Sequence[str]) -> Changes | str:
        value = scene.values[_variable(scene, slots[0])]
        return _change(scene, slots[0], value // 2 * 2 + state)

    return asks


def _put(scene: Scene, slots: Sequence[str]) -> Changes | str:
    return _relist(scene, slots[0], apps.NO_LIST, slots[1])


def _pass_on(scene: Scene, slots: Sequence[str]) -> Changes | str:
    return _relist(scene, *slots)


def _take(scene: Scene, slots: Sequence[str]) -> Changes | str:
    return _relist(scene, slots[0], slots[1], apps.NO_LIST)


def _relist(scene: Scene, song: str, source: str, target: str) -> Changes | str:
    groups = (apps.NO_LIST, *apps.LISTS)
    value = scene.values[_variable(scene, song)]
    if source == target:
        return "a song cannot move to where it is"
    if value // 2 != groups.index(source):
        return f"{song} is not in {source}" if source in apps.LISTS else f"{song} is in a list already"
    return _change(scene, song, groups.index(target) * 2 + value % 2)


def _change(scene: Scene, name: str, value: int, why: str = "it is so already") -> Changes | str:
    var = _variable(scene, name)
    return {var: value} if scene.values[var] != value else why


def _variable(scene: Scene, name: str) -> int:
    """Return the number of a stored value by its name, -1 where the task has none of that name."""
    if name in scene.names:
        name = f"#{scene.names.index(name)}"
    numbers: Mapping[str, int] = _numbers(scene.app)
    return numbers.get(name, -1)


@lru_cache(maxsize=16)
def _numbers(app: App) -> Mapping[str, int]:
    return {variable.name: number for number, variable in enumerate(app.variables)}


KINDS: Mapping[str, tuple[Kind, ...]] = {
    "settings": (
        Kind(name="turn_on", pattern="turn SWITCH on", asks=_switch(1)),
        Kind(name="turn_off", pattern="turn SWITCH off", asks=_switch(0)),
        Kind(name="level", pattern="set LEVELLED to LEVEL", asks=_level),
        Kind(name="theme", pattern="choose theme THEME", asks=_choose("theme")),
        Kind(name="zone", pattern="choose zone ZONE", asks=_choose("zone")),
    ),
    "shop": (
        Kind(name="buy", pattern="buy one GOOD", asks=_buy(1)),
        Kind(name="buy_two", pattern="buy two GOOD", asks=_buy(2)),
        Kind(name="drop", pattern="drop one GOOD", asks=_drop(1)),
        Kind(name="drop_two", pattern="drop two GOOD", asks=_drop(2)),
        Kind(name="swap", pattern="swap GOOD for GOOD", asks=_swap),
        Kind(name="deliver", pattern="deliver to DELIVERY", asks=_deliver),
    ),
    "mail": (
        Kind(name="archive", pattern="archive SENDER", asks=_file_mail(1)),
        Kind(name="delete", pattern="delete SENDER", asks=_file_mail(2)),
        Kind(name="restore", pattern="restore SENDER from FOLDER", asks=_file_mail(0)),
        Kind(name="file", pattern="archive SENDER from FOLDER", asks=_file_mail(1)),
        Kind(name="discard", pattern="delete SENDER from FOLDER", asks=_file_mail(2)),
        Kind(name="star", pattern="star SENDER", asks=_star(1)),
        Kind(name="unstar", pattern="unstar SENDER", asks=_star(0)),
        Kind(name="send", pattern="send SUBJECT to CONTACT", asks=_send),
    ),
    "files": (
        Kind(name="move", pattern="move FILE from PLACE to TARGET", asks=_move),
        Kind(name="bin", pattern="move FILE from PLACE to bin", asks=_bin),
        Kind(name="rename", pattern="rename FILE in PLACE to VERSION", asks=_rename),
    ),
    "calendar": (
        Kind(name="plan", pattern="plan EVENT on DAY HOUR", asks=_plan),
        Kind(name="replan", pattern="change DAY HOUR to EVENT", asks=_replan),
        Kind(name="clear", pattern="clear DAY HOUR", asks=_clear),
        Kind(name="clear_day", pattern="clear DAY", asks=_clear_day),
        Kind(name="shift", pattern="shift EVENT from HOUR on DAY to HOUR", asks=_shift),
    ),
    "music": (
        Kind(name="play", pattern="play SONG", asks=_play),
        Kind(name="stop", pattern="stop", asks=_stop),
        Kind(name="like", pattern="like SONG", asks=_like(1)),
        Kind(name="unlike", pattern="unlike SONG", asks=_like(0)),
        Kind(name="put", pattern="put SONG in LIST", asks=_put),
        Kind(name="pass_on", pattern="move SONG from LIST to LIST", asks=_pass_on),
        Kind(name="take", pattern="move SONG from LIST to none", asks=_take),
        Kind(name="mode", pattern="turn MODE STATE", asks=_turn),
    ),
}
"""What can be asked for in each app."""

WORDS: Mapping[str, tuple[str, ...]] = {
    "SWITCH": tuple(label for labels in apps.SWITCHES.values() for label in labels),
    "STATE": apps.OFF_ON,
    "LEVELLED": tuple(apps.LEVELLED.values()),
    "LEVEL": apps.LEVELS,
    "THEME": apps.CHOICES["theme"][1],
    "ZONE": apps.CHOICES["zone"][1],
    "GOOD": tuple(good for goods in apps.GOODS.values() for good in goods),
    "DELIVERY": apps.DELIVERY,
    "SENDER": apps.SENDERS,
    "FOLDER": apps.FOLDERS[1:],
    "SUBJECT": apps.SUBJECTS,
    "CONTACT": apps.CONTACTS,
    "FILE": apps.FILES,
    "PLACE": apps.PLACES,
    "TARGET": apps.PLACES[:2],
    "VERSION": apps.VERSIONS,
    "DAY": apps.DAYS,
    "HOUR": apps.HOURS,
    "EVENT": apps.EVENTS,
    "SONG": apps.SONGS,
    "LIST": apps.LISTS,
    "MODE": ("shuffle", "repeat"),
}
"""The words that each slot takes."""

HELD_OUT: Mapping[str, tuple[str, ...]] = {
    "settings": ("turn_off",),
    "shop": ("drop_two",),
    "mail": ("discard",),
    "files": ("bin",),
    "calendar": ("clear_day",),
    "music": ("pass_on",),
}
"""The families that only the test split has where families are held out. The words of their patterns are met in other families."""
