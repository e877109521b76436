"""Homes in the words of ALFWorld: rooms, receptacles, things, where things lie, and errands to run.

Kinds, sizes of rooms and usual places are those that real ALFWorld episodes show; the homes themselves are drawn here. The published games are not included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from everystep.core.errors import ConfigError

ERRANDS: Mapping[str, str] = {
    "place": "pick_and_place_simple",
    "look": "look_at_obj_in_light",
    "clean": "pick_clean_then_place_in_recep",
    "heat": "pick_heat_then_place_in_recep",
    "cool": "pick_cool_then_place_in_recep",
    "two": "pick_two_obj_and_place",
}
"""The six errands and ALFWorld's names for them."""

OPENABLE = frozenset({"cabinet", "drawer", "fridge", "microwave", "safe"})
TOOLS: Mapping[str, str] = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}
LAMP = "desklamp"

# Receptacles of a room, each with how many there are at most; 0 stands for one that only some homes have.
_ROOMS: Mapping[str, str] = {
    "kitchen": (
        "cabinet 20 coffeemachine 1 countertop 3 diningtable 0 drawer 12 fridge 1 garbagecan 1 microwave 1 "
        "shelf 0 sidetable 0 sinkbasin 1 stoveburner 4 toaster 1"
    ),
    "bedroom": (
        "armchair 0 bed 1 desk 2 drawer 8 dresser 1 garbagecan 1 laundryhamper 0 safe 0 shelf 6 sidetable 2"
    ),
    "bathroom": (
        "bathtubbasin 0 cabinet 4 cart 0 countertop 1 drawer 4 garbagecan 1 handtowelholder 2 shelf 0 "
        "sinkbasin 2 toilet 1 toiletpaperhanger 1 towelholder 1"
    ),
    "livingroom": (
        "armchair 2 cabinet 0 coffeetable 2 diningtable 0 drawer 5 dresser 0 garbagecan 1 ottoman 0 shelf 4 "
        "sidetable 2 sofa 1 tvstand 1"
    ),
}

# Where each kind of thing lies, the likeliest place first, and after a bar where it may be put too.
_PLACES = """
alarmclock: desk shelf dresser sidetable diningtable | bed drawer
apple: countertop fridge diningtable sinkbasin garbagecan microwave | sidetable
book: desk bed drawer dresser coffeetable sofa shelf | armchair sidetable diningtable cabinet countertop
bowl: countertop cabinet diningtable fridge desk shelf coffeetable | sinkbasin microwave dresser sidetable
box: sofa desk shelf coffeetable sidetable | armchair dresser ottoman diningtable
bread: countertop diningtable fridge | sidetable garbagecan microwave
butterknife: countertop diningtable sinkbasin drawer | sidetable
candle: toilet countertop cabinet shelf drawer coffeetable | cart diningtable
cd: desk drawer shelf dresser sidetable garbagecan | safe cabinet diningtable
cellphone: desk bed dresser shelf drawer sidetable armchair | sofa coffeetable countertop diningtable
cloth: cabinet countertop drawer toilet sinkbasin bathtubbasin | shelf cart garbagecan dresser
creditcard: shelf desk drawer dresser sidetable coffeetable sofa armchair | countertop bed diningtable
cup: countertop diningtable fridge cabinet sinkbasin | shelf microwave sidetable
dishsponge: countertop cabinet drawer sinkbasin shelf diningtable | cart toilet
egg: countertop fridge sinkbasin diningtable | microwave garbagecan sidetable
fork: countertop diningtable drawer sinkbasin | sidetable
glassbottle: countertop cabinet fridge diningtable | sinkbasin shelf garbagecan
handtowel: handtowelholder countertop | toilet garbagecan cabinet drawer shelf
houseplant: countertop shelf desk diningtable sidetable coffeetable | dresser cabinet tvstand
kettle: countertop stoveburner cabinet | shelf diningtable sinkbasin
keychain: desk shelf dresser drawer sidetable coffeetable sofa | armchair diningtable safe ottoman
knife: countertop diningtable drawer sinkbasin | sidetable
ladle: countertop diningtable cabinet drawer | sinkbasin
laptop: bed desk coffeetable dresser sofa | armchair sidetable tvstand diningtable ottoman countertop
lettuce: countertop diningtable fridge sinkbasin | garbagecan sidetable
mug: countertop desk diningtable fridge dresser cabinet coffeemachine shelf sinkbasin | microwave sidetable
newspaper: sofa diningtable armchair dresser shelf coffeetable sidetable | ottoman drawer garbagecan
pan: countertop stoveburner diningtable cabinet fridge | sinkbasin
pen: desk dresser drawer shelf sidetable coffeetable | diningtable garbagecan countertop
pencil: desk shelf dresser drawer sidetable coffeetable | diningtable garbagecan countertop
papertowelroll: countertop diningtable toilet | shelf garbagecan
peppershaker: countertop cabinet diningtable drawer | shelf sidetable
pillow: bed sofa armchair | ottoman
plate: countertop diningtable cabinet fridge shelf coffeetable | sinkbasin microwave sidetable
pot: stoveburner countertop fridge cabinet | sinkbasin diningtable shelf
potato: countertop fridge diningtable sinkbasin | microwave garbagecan sidetable
remotecontrol: coffeetable sofa dresser drawer armchair shelf desk | sidetable ottoman tvstand countertop
saltshaker: countertop diningtable cabinet drawer | shelf sidetable
soapbar: countertop toilet cabinet sinkbasin drawer | garbagecan shelf cart bathtubbasin
soapbottle: countertop cabinet diningtable toilet shelf drawer | garbagecan cart dresser
spatula: countertop diningtable sinkbasin drawer | sidetable
spoon: countertop diningtable drawer sinkbasin | sidetable
spraybottle: countertop toilet cabinet shelf | garbagecan cart drawer
statue: shelf coffeetable dresser desk diningtable sidetable | tvstand countertop
teddybear: bed | sofa armchair
tissuebox: desk shelf coffeetable drawer tvstand diningtable | toilet countertop sidetable cabinet cart
toiletpaper: toilet countertop drawer cabinet shelf | toiletpaperhanger garbagecan cart
tomato: countertop diningtable fridge sinkbasin | microwave garbagecan sidetable
towel: towelholder | bathtubbasin countertop
vase: shelf dresser coffeetable diningtable sidetable cabinet | tvstand desk countertop
watch: dresser coffeetable drawer sidetable tvstand shelf | desk diningtable safe
winebottle: countertop diningtable cabinet fridge | shelf garbagecan
"""
_IN_ROOM: Mapping[str, str] = {
    "kitchen": (
        "apple bowl bread butterknife cup dishsponge egg fork glassbottle houseplant kettle knife ladle lettuce mug pan papertowelroll peppershaker "
        "plate pot potato saltshaker soapbottle spatula spoon statue tomato vase winebottle"
    ),
    "bedroom": (
        "alarmclock book bowl box cd cellphone creditcard houseplant keychain laptop mug pen pencil pillow remotecontrol "
        "statue teddybear tissuebox vase"
    ),
    "bathroom": "candle cloth dishsponge handtowel soapbar soapbottle spraybottle tissuebox toiletpaper towel",
    "livingroom": (
        "book box candle cellphone creditcard houseplant keychain laptop newspaper pen pencil pillow plate remotecontrol "
        "statue tissuebox vase watch"
    ),
}
_TREATED: Mapping[str, str] = {
    "clean": (
        "apple bowl butterknife cloth cup dishsponge egg fork kettle knife ladle lettuce mug pan plate pot "
        "potato soapbar spatula spoon tomato"
    ),
    "heat": "apple bread cup egg mug plate potato tomato",
    "cool": "apple bowl bread cup egg lettuce mug pan plate pot potato tomato winebottle",
}
_WORDS: Mapping[str, tuple[str, str]] = {
    "place": ("put a {thing} in {target}.", "put some {thing} on {target}."),
    "look": ("look at {thing} under the {target}.", "examine the {thing} with the {target}."),
    "clean": ("put a clean {thing} in {target}.", "clean some {thing} and put it in {target}."),
    "heat": ("put a hot {thing} in {target}.", "heat some {thing} and put it in {target}."),
    "cool": ("put a cool {thing} in {target}.", "cool some {thing} and put it in {target}."),
    "two": ("put two {thing} in {target}.", "find two {thing} and put them in {target}."),
}


def _read(table: str) -> tuple[dict[str, tuple[str, ...]], dict[str, frozenset[str]]]:
    usual, fits = {}, {}
    for line in table.strip().splitlines():
        kind, _, places = line.partition(":")
        likely, _, more = places.partition("|")
        usual[kind] = tuple(likely.split())
        fits[kind] = frozenset((*likely.split(), *more.split()))
    return usual, fits


def _counts(told: str) -> dict[str, int]:
    words = told.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


ROOMS: Mapping[str, Mapping[str, int]] = {room: _counts(told) for room, told in _ROOMS.items()}
"""The rooms, with the kinds of receptacles that each has."""
USUAL, FITS = _read(_PLACES)
"""Kinds of receptacles that a kind of thing usually lies in, and those that it can be put into."""
TREATED: Mapping[str, frozenset[str]] = {how: frozenset(kinds.split()) for how, kinds in _TREATED.items()}
"""Kinds of things that can be cleaned, heated and cooled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What is to be done: bring a ``thing`` to a ``target`` (kinds), treated as ``how`` says. For ``look`` the target is the lamp."""

    how: str
    thing: str
    target: str
    wording: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Home:
    """A room as it is at the start, and the errand. ``places`` has the number of the receptacle of each thing.

    A home is equal to itself only, so that states of it are compared and hashed by what changes.
    ``openable`` says which receptacles can be opened, ``kinds`` and ``thing_kinds`` are the names without numbers. The lamps are among the things.
    """

    room: str
    receptacles: tuple[str, ...]
    things: tuple[str, ...]
    places: tuple[int, ...]
    openable: tuple[bool, ...]
    errand: Errand
    kinds: tuple[str, ...]
    thing_kinds: tuple[str, ...]

    @property
    def content(self) -> str:
        """What the home is, in one text: equal for equal homes."""
        return f"{self.errand.wording} {self.receptacles} {list(zip(self.things, self.places, strict=True))}"


def kind_of(name: str) -> str:
    """Return the kind of a numbered name.

    >>> kind_of("countertop 2")
    'countertop'
    """
    return name.partition(" ")[0]


@lru_cache(maxsize=4096)
def draw_home(errand: str, room: str, numbered: int, things: int, usual: bool, seed: int) -> Home:
    """Draw a home. ``errand`` and ``room`` may be ``any``; ``numbered`` bounds the receptacles of one kind."""
    rng = Random(seed)
    how = rng.choice(list(ERRANDS)) if errand == "any" else errand
    rooms = [name for name in ROOMS if room in ("any", name) and _possible(how, name)]
    if not rooms:
        raise ConfigError(
            f"household: there is no errand {how!r} in a {room}. Choose room 'any' or another errand."
        )
    where = rng.choice(rooms)
    receptacles = _furnish(rng, where, numbered)
    kinds = tuple(map(kind_of, receptacles))
    wanted = _errand(rng, how, where, kinds)
    copies = 1 + (how == "two") + (rng.random() < 0.3)
    laid = [(wanted.thing, _spot(rng, wanted.thing, kinds, usual, wanted.target)) for _ in range(copies)]
    if how == "look" or (where in ("bedroom", "livingroom") and rng.random() < 0.5):
        laid.append(
            (LAMP, rng.choice(_indices(kinds, ("desk", "dresser", "sidetable", "shelf", "coffeetable"))))
        )
    others = [
        kind for kind in _IN_ROOM[where].split() if kind != wanted.thing and _indices(kinds, USUAL[kind])
    ]
    for _ in range(things):
        kind = rng.choice(others)
        laid.append((kind, _spot(rng, kind, kinds, usual)))
    rng.shuffle(laid)
    counts: dict[str, int] = {}
    named = []
    for kind, place in laid:
        counts[kind] = counts.get(kind, 0) + 1
        named.append((f"{kind} {counts[kind]}", place))
    named.sort(key=lambda pair: _order(pair[0]))
    return Home(
        room=where,
        receptacles=receptacles,
        things=tuple(name for name, _ in named),
        places=tuple(place for _, place in named),
        openable=tuple(kind in OPENABLE for kind in kinds),
        errand=wanted,
        kinds=kinds,
        thing_kinds=tuple(kind_of(name) for name, _ in named),
    )


def _possible(how: str, room: str) -> bool:
    kinds = ROOMS[room]
    if how == "look":
        return room in ("bedroom", "livingroom")
    return how not in TOOLS or TOOLS[how] in kinds


def _furnish(rng: Random, room: str, numbered: int) -> tuple[str, ...]:
    names = []
    for kind, most in ROOMS[room].items():
        count = rng.randint(0, 1) if most == 0 else rng.randint(1, min(most, numbered))
        names += [f"{kind} {number}" for number in range(1, count + 1)]
    return tuple(sorted(names, key=_order))


def _errand(rng: Random, how: str, room: str, kinds: tuple[str, ...]) -> Errand:
    things = [kind for kind in _IN_ROOM[room].split() if how not in TREATED or kind in TREATED[how]]
    choices = [
        (thing, target)
        for thing in things
        for target in ([LAMP] if how == "look" else sorted(FITS[thing] & set(kinds)))
        if target != TOOLS.get(how) and _indices(kinds, USUAL[thing], target)
    ]
    thing, target = rng.choice(choices)
    wording = rng.choice(_WORDS[how]).format(thing=thing, target=target)
    return Errand(how=how, thing=thing, target=target, wording=wording)


def _spot(rng: Random, kind: str, kinds: tuple[str, ...], usual: bool, avoid: str = "") -> int:
    where = _indices(kinds, USUAL[kind] if usual else FITS[kind], avoid)
    if not usual:
        return rng.choice(where)
    liked = sorted({kinds[place] for place in where}, key=USUAL[kind].index)
    chosen = rng.choices(liked, weights=[1 / (1 + rank) for rank in range(len(liked))])[0]
    return rng.choice([place for place in where if kinds[place] == chosen])


def _indices(kinds: tuple[str, ...], wanted: Iterable[str], avoid: str = "") -> list[int]:
    names = set(wanted) - {avoid}
    return [place for place, kind in enumerate(kinds) if kind in names]


def _order(name: str) -> tuple[str, int]:
    kind, _, number = name.partition(" ")
    return kind, -int(number)
