"""Proposers of tasks for ScreenGrid: the document of an app, and goals that are written with or without it.

A proposer stands for a model that invents tasks. It fills patterns with words. Without the document it guesses what such an app
usually has, and often names what is not there; with it, it keeps to what the document says. ``ScreenGrid.task_from`` says which of the goals are tasks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from random import Random

from everystep.core.errors import ConfigError, DataError, did_you_mean
from everystep.core.records import Task
from everystep.environments.screengrid.apps import APPS, app_of
from everystep.environments.screengrid.kinds import KINDS, WORDS
from everystep.environments.screengrid.world import ScreenGrid

CAN = "can "
"""Begins a line of the document that says what can be asked for."""

GUESSES: Mapping[str, tuple[str, ...]] = {
    "SWITCH": ("airplane", "hotspot", "contrast", "torch", "cast", "gps"),
    "STATE": (),
    "LEVELLED": ("bass", "zoom", "speed"),
    "LEVEL": ("max", "zero"),
    "THEME": ("green", "big"),
    "ZONE": ("south", "utc"),
    "GOOD": ("soap", "wine", "rice", "cheese", "bread", "egg"),
    "DELIVERY": ("office", "neighbour"),
    "SENDER": ("tom", "sue", "joe", "pam", "ron"),
    "FOLDER": ("spam", "drafts"),
    "SUBJECT": ("invoice", "news", "offer"),
    "CONTACT": ("aunt", "doctor", "bank"),
    "FILE": ("song", "video", "thesis", "slides", "notes"),
    "PLACE": ("desktop", "music", "cloud"),
    "TARGET": ("desktop", "cloud"),
    "VERSION": ("copy", "new"),
    "DAY": ("sat", "sun"),
    "HOUR": ("midnight", "dawn"),
    "EVENT": ("dentist", "flight", "dinner"),
    "SONG": ("yesterday", "imagine", "waterloo", "help", "thriller"),
    "LIST": ("work", "sleep", "dance"),
    "MODE": ("karaoke", "bass"),
}
"""Words that one would expect in a slot and that no app has there."""

GUESSED_PATTERNS: Mapping[str, tuple[str, ...]] = {
    "settings": ("reset SWITCH", "update the phone"),
    "shop": ("pay with card", "review GOOD"),
    "mail": ("forward SENDER to CONTACT", "print SENDER"),
    "files": ("copy FILE from PLACE to PLACE", "zip PLACE"),
    "calendar": ("invite CONTACT on DAY HOUR", "repeat EVENT on DAY HOUR"),
    "music": ("download SONG", "share SONG with CONTACT"),
}
"""What one would expect to be able to ask for and cannot."""


@cache
def manual_of(app: str) -> str:
    """Return the document of an app: a line for each page with its elements and the words that they show, the names, and what can be asked for."""
    _check(app)
    made = app_of(app)
    lines = [app]
    for page in made.pages:
        told = []
        for part in page.parts:
            shown = sorted({word for word in part.shown if word})
            told.append(" ".join(["NAME" if part.label[0] == "#" else part.label, *shown]))
        title = "NAME" if page.title[0] == "#" else page.title
        lines.append(f"page {title} : {' , '.join(dict.fromkeys(told))}")
    if made.names:
        lines.append(f"names : {' , '.join(made.names)}")
    lines += [f"{CAN}{kind.pattern}" for kind in KINDS[app]]
    return "\n".join(dict.fromkeys(lines))


def noted(app: str, seen: Collection[str], kinds: Collection[str] = ()) -> str:
    """Return the part of an app's document that somebody can have written who saw these screens (observations) and knows that these kinds can be asked for.

    >>> print(noted("shop", ["shop main : fruit , drink"], ["buy"]))
    shop
    page main : fruit , drink , search , basket , delivery home store
    can buy one GOOD
    """
    _check(app)
    told = [one.rpartition(" . ")[2].split() for one in seen]
    told = [words for words in told if words[:1] == [app]]
    words = {word for some in told for word in some}
    titles = {some[1] for some in told if len(some) > 1}
    names = set(app_of(app).names)
    asked = {f"{CAN}{kind.pattern}" for kind in KINDS[app] if kind.name in kinds}
    lines = []
    for line in manual_of(app).splitlines():
        if line.startswith("page "):
            title = line.split()[1]
            known = title in titles or (title == "NAME" and bool(titles & names))
        elif line.startswith("names : "):
            some = [name for name in app_of(app).names if name in words]
            line, known = f"names : {' , '.join(some)}", bool(some)
        else:
            known = not line.startswith(CAN) or line in asked
        if known:
            lines.append(line)
    return "\n".join(lines)


def proposals(app: str, known: str = "", *, count: int, seed: int) -> tuple[str, ...]:
    """Return ``count`` written goals for ``app``, by somebody who knows the text ``known`` about it: all or a part of its document, or nothing.

    The same arguments give the same goals. Where ``known`` has no word for a slot, or says nothing of what can be asked for, it is guessed.
    """
    _check(app)
    random = Random(f"{app}/{seed}/{known}")
    words = set(known.split())
    patterns = [line[len(CAN) :] for line in known.splitlines() if line.startswith(CAN)]
    patterns = patterns or [*(kind.pattern for kind in KINDS[app]), *GUESSED_PATTERNS[app]]
    return tuple(f"{app} : {_filled(random.choice(patterns), words, random)}" for _ in range(count))


def first_screens(world: ScreenGrid, apps: Collection[str]) -> list[str]:
    """Return what the start screen of each app shows: all that a proposer can know at first."""
    seen: dict[str, str] = {}
    for index in range(64):
        task = world.task("train", index)
        seen.setdefault(task.tags["app"], world.observe(world.start(task)).text)
    return [seen[app] for app in apps if app in seen]


def goals_of(
    world: ScreenGrid, known: Mapping[str, str], *, count: int, hardness: float, seed: int
) -> tuple[list[Task], int]:
    """Return the tasks among about ``count`` goals for each app, written by somebody with the documents ``known``, and how many of the goals are no tasks.

    Of twice as many that can be thought of those are taken whose plans are long (``hardness`` 1), short (0), or between. Raises ``DataError`` where none is a task.
    """
    kept: list[Task] = []
    impossible = 0
    for app, document in known.items():
        made = [
            world.task_from(goal)
            for goal in dict.fromkeys(proposals(app, document, count=2 * count, seed=seed))
        ]
        able = sorted((one for one in made if isinstance(one, Task)), key=lambda one: int(one.tags["steps"]))
        share = count * len(able) // len(made)
        first = int((len(able) - share) * hardness)
        kept += able[first : first + share]
        impossible += count - share
    if not kept:
        raise DataError(f"none of the goals for {', '.join(known)} can be done. Ask for more than {count}.")
    return kept, impossible


def _filled(pattern: str, words: set[str], random: Random) -> str:
    told = []
    for word in pattern.split():
        if word not in WORDS:
            told.append(word)
            continue
        known = [one for one in WORDS[word] if one in words]
        told.append(random.choice(known or [*WORDS[word], *GUESSES[word]]))
    return " ".join(told)


def _check(app: str) -> None:
    if app not in APPS:
        raise ConfigError(f"screengrid: there is no app {app!r}. {did_you_mean(app, APPS)}")
