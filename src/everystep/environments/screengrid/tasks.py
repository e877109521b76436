"""Tasks of ScreenGrid: how a goal is written and read, and how tasks are drawn.

A goal is one or two clauses about one app: ``mail : archive ann and star bob``. The same patterns write and read it, so every goal of
the generator can be read back, and a goal that somebody wrote is refused with a reason where an app, an element or the goal itself does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from everystep.core.errors import ConfigError, did_you_mean
from everystep.environments.exact import TEST_SHARE
from everystep.environments.screengrid import apps
from everystep.environments.screengrid.kinds import KINDS, WORDS, Changes, Kind, Scene
from everystep.environments.screengrid.parts import distance, wrong_of

FEW = 5
"""A family with no more clauses than this has none held out."""
_TRIES = 100
LONGEST = 400
"""Characters of a written goal that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A goal that was read: the names of its families, its text, and the stored values that it wants in the end."""

    kinds: tuple[str, ...]
    text: str
    target: tuple[int, ...]


# --- reading and writing goals -----------------------------------------------------------------------


def kind_of(app: str, name: str) -> Kind:
    """Return a family of an app by its name."""
    return next(kind for kind in KINDS[app] if kind.name == name)


def held_out(app: str, kind: Kind, slots: Sequence[str]) -> bool:
    """Say whether a clause belongs to the test split: about one in five of each family with more than ``FEW`` clauses.

    The clauses are chosen so that training has each family and each word, though not together.
    """
    size = 1
    for slot in kind.slots:
        size *= len(WORDS[slot])
    places = sum(WORDS[slot].index(word) for slot, word in zip(kind.slots, slots, strict=True))
    return size > FEW and (places + KINDS[app].index(kind)) % TEST_SHARE == 0


def split_goal(text: str) -> tuple[str, tuple[tuple[Kind, tuple[str, ...]], ...]] | str:
    """Return the app and the clauses (family and slot words) of a written goal, or why it cannot be read."""
    app, colon, rest = text[:LONGEST].strip().partition(":")
    app = app.strip()
    if not colon:
        return "expected an app, a colon and what to do, such as 'mail : archive ann'"
    if app not in KINDS:
        return f"there is no app {app[:40]!r}. {did_you_mean(app[:40], apps.APPS)}"
    clauses = [clause.split() for clause in f" {rest} ".split(" and ")]
    if len(clauses) > 2:
        return "a goal has one or two clauses"
    read = [_clause(app, words) for words in clauses]
    refusals = [one for one in read if isinstance(one, str)]
    if refusals:
        return refusals[0]
    return app, tuple(one for one in read if not isinstance(one, str))


def _clause(app: str, words: Sequence[str]) -> tuple[Kind, tuple[str, ...]] | str:
    best = f"{app} cannot {' '.join(words)[:60]!r}"
    depth = 0
    for kind in KINDS[app]:
        pattern = kind.pattern.split()
        if len(pattern) != len(words):
            continue
        slots = []
        for place, (slot, word) in enumerate(zip(pattern, words, strict=True)):
            if slot.isupper() and word in WORDS[slot]:
                slots.append(word)
            elif slot != word:
                if slot.isupper() and place > depth:
                    best, depth = f"{app} has no {slot.lower()} {word[:40]!r}", place
                break
        else:
            return kind, tuple(slots)
    return best


def read_goal(scene: Scene, text: str) -> Goal | str:
    """Return the goal that a text means in a scene, or why it is none: not readable, of another app, impossible, or so already."""
    found = split_goal(text)
    if isinstance(found, str):
        return found
    app, clauses = found
    if app != scene.app.name:
        return f"the goal is about {app}, the screen shows {scene.app.name}"
    return _goal(scene, clauses)


def _goal(scene: Scene, clauses: Sequence[tuple[Kind, Sequence[str]]]) -> Goal | str:
    changes: Changes = {}
    for kind, slots in clauses:
        asked = kind.asks(scene, slots)
        if isinstance(asked, str):
            return asked
        if changes.keys() & asked.keys():
            return "two clauses are about the same thing"
        changes |= asked
    target = list(scene.values)
    for var, value in changes.items():
        target[var] = value
    told = " and ".join(_told(kind, slots) for kind, slots in clauses)
    return Goal(
        kinds=tuple(kind.name for kind, _ in clauses),
        text=f"{scene.app.name} : {told}",
        target=tuple(target),
    )


def _told(kind: Kind, slots: Sequence[str]) -> str:
    words = iter(slots)
    return " ".join(next(words) if word.isupper() else word for word in kind.pattern.split())


# --- making tasks --------------------------------------------------------------------------------------


@lru_cache(maxsize=1 << 14)
def scene_of(app: str, seed: int) -> Scene:
    """Return an app as the task with this seed finds it."""
    random = Random(f"scene/{app}/{seed}")
    made = apps.app_of(app)
    names = tuple(random.sample(made.names, made.slots))
    values = tuple(_drawn(app, variable.name, len(variable.values), random) for variable in made.variables)
    page = made.hubs[0] if random.random() < 0.7 else random.choice(made.hubs)
    return Scene(app=made, names=names, values=values, page=page)


def _drawn(app: str, name: str, count: int, random: Random) -> int:
    """Draw a stored value; most of what can be empty is empty."""
    mostly_empty: list[int] = [0, 0, *range(1, count)]
    if app == "shop" and count > 2:
        return random.choice((0, 0, 0, 1, 2))
    if app == "mail":
        return random.choice((0, 0, 0, 1, 1, 2, 4)) if name[0] == "#" else random.choice((0, 0, 0, 1, 2))
    if app == "calendar" or (app == "music" and count > 2):
        return random.choice(mostly_empty)
    return random.randrange(count)


@lru_cache(maxsize=1 << 14)
def draw(
    apps_in: tuple[str, ...], kinds: tuple[str, ...], clauses: tuple[int, ...], longest: int, seed: int
) -> tuple[str, str]:
    """Return the app and the goal of the task with this seed: as many clauses as drawn, with a plan of at most ``longest`` actions."""
    random = Random(f"goal/{seed}")
    for _ in range(_TRIES):
        app = random.choice(apps_in)
        scene = scene_of(app, seed)
        offered = [kind for kind in KINDS[app] if not kinds or kind.name in kinds]
        chosen = random.choices(offered, k=random.choice(clauses))
        for _ in range(_TRIES):  # the families are kept for a while, so that none becomes rare
            goal = _goal(
                scene, [(kind, [random.choice(WORDS[slot]) for slot in kind.slots]) for kind in chosen]
            )
            if isinstance(goal, str):
                continue
            if distance(scene.app, scene.page, wrong_of(scene.values, goal.target)) < longest:
                return app, goal.text
    raise ConfigError(
        f"screengrid: no task was found for apps {apps_in}, kinds {kinds or 'all'} with {clauses} clauses. "
        "Name more kinds, or choose length 'easy'."
    )
