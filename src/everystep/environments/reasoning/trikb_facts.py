"""The knowledge of TriKB: entities, relations, and three stores of which one holds the truth about a relation.

What the other two say about it is out of date: it looks the same and is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from random import Random

from everystep.environments.bm25 import Index, best, index_of

STORES = ("text", "table", "image")
NONE = "none"

ENTITIES: Mapping[str, tuple[str, ...]] = {
    "person": (
        *("ada", "bob", "cleo", "dan", "eva", "finn", "gina", "hugo", "ines", "jan"),
        *("kate", "leo", "mia", "nils", "olga", "paul", "rosa", "sven", "tom", "uma"),
    ),
    "city": (
        *("accra", "bern", "cairo", "delhi", "essen", "faro", "genoa", "hanoi"),
        *("izmir", "kyoto", "lima", "milan", "nice", "oslo", "porto", "quito"),
    ),
    "dish": ("rice", "soup", "bread", "fish", "beans", "cake", "stew", "pie"),
    "color": ("red", "blue", "green", "white", "black", "gold", "pink", "brown"),
    "number": ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),
}
"""Names by kind. Relations lead from persons and cities to all kinds."""


@dataclass(frozen=True, slots=True)
class Relation:
    """From which kind of entity to which it leads, and the store that holds the truth about it."""

    subject: str
    object: str
    store: str


RELATIONS: Mapping[str, Relation] = {
    "home": Relation("person", "city", "text"),
    "teacher": Relation("person", "person", "text"),
    "twin": Relation("city", "city", "text"),
    "dish": Relation("city", "dish", "text"),
    "boss": Relation("person", "person", "table"),
    "age": Relation("person", "number", "table"),
    "mayor": Relation("city", "person", "table"),
    "founder": Relation("city", "person", "table"),
    "partner": Relation("person", "person", "image"),
    "hat": Relation("person", "color", "image"),
    "flag": Relation("city", "color", "image"),
    "statue": Relation("city", "person", "image"),
}

Fact = tuple[str, str]
"""An entity and a relation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Entries as they are shown, the facts that each states, and their index."""

    entries: tuple[str, ...]
    facts: tuple[tuple[Fact, ...], ...]
    index: Index


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The facts, and the three stores with what is right and what is out of date."""

    truth: Mapping[Fact, str]
    stores: Mapping[str, Store]

    def passages(self, names: Sequence[str], query: str, k: int) -> tuple[tuple[str, int], ...]:
        """Return the ``k`` best entries of each named store for ``query``, as store and number."""
        return tuple((name, number) for name in names for number in best(self.stores[name].index, query, k))

    def supported(self, passages: Sequence[tuple[str, int]], question: str) -> str:
        """Return the value of the asked fact (``entity relation``) if a passage of the store that knows it states it, else ``none``."""
        for store, number in passages:
            for entity, name in self.stores[store].facts[number]:
                if question == f"{entity} {name}" and RELATIONS[name].store == store:
                    return self.truth[entity, name]
        return NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question: an entity and relations to follow. ``chain`` holds the facts to find, ``values`` what each is.

    ``given`` says that the only fact stands in the question.
    """

    question: str
    base: Base
    chain: tuple[Fact, ...]
    values: tuple[str, ...]
    given: bool


@lru_cache(maxsize=16384)
def question_of(fewest: int, hops: int, seed: int) -> tuple[int, str, tuple[str, ...]]:
    """Return how many facts the question of ``seed`` needs (0: its only fact is given), its entity, and the relations to follow."""
    rng = Random(f"question {seed}")
    length = rng.randint(fewest, hops)
    while True:
        kind = first = rng.choice(("person", "city"))
        names: list[str] = []
        for _ in range(max(1, length)):
            options = [name for name, one in RELATIONS.items() if one.subject == kind and name not in names]
            if not options:
                break
            names.append(rng.choice(options))
            kind = RELATIONS[names[-1]].object
        if len(names) == max(1, length):
            return length, rng.choice(ENTITIES[first]), tuple(names)


@lru_cache(maxsize=4096)
def problem_of(
    people: int, cities: int, fewest: int, hops: int, top: int, stale: float, width: int, seed: int
) -> Problem:
    """Return the problem of ``seed``: its question, and a base in which each fact is among the ``top`` passages of its store.

    So following the reference always leads to the answer. No entity comes twice in the chain.
    """
    length, entity, names = question_of(fewest, hops, seed)
    for attempt in count():
        base = base_of(Random(f"base {seed} {attempt}"), entity, people, cities, stale, width)
        chain: list[Fact] = []
        values = [entity]
        for name in names:
            chain.append((values[-1], name))
            values.append(base.truth[chain[-1]])
        if len(set(values)) == len(values) and all(
            base.supported(base.passages((RELATIONS[name].store,), f"{one} {name}", top), f"{one} {name}")
            != NONE
            for one, name in chain
        ):
            break
    return Problem(
        question=" ".join((entity, *names)),
        base=base,
        chain=tuple(chain),
        values=tuple(values[1:]),
        given=length == 0,
    )


def base_of(rng: Random, entity: str, people: int, cities: int, stale: float, width: int) -> Base:
    """Return a base with ``entity`` in it; with chance ``stale`` each wrong store holds a fact too, with another value.

    A row or a picture has up to ``width`` facts about one entity, a sentence one.
    """
    there = dict(ENTITIES)
    for kind, size in (("person", people), ("city", cities)):
        names = list(ENTITIES[kind])
        rng.shuffle(names)
        there[kind] = tuple(sorted(names, key=lambda name: name != entity)[:size])
    truth = {
        (one, name): _other(rng, there[relation.object], one)
        for name, relation in RELATIONS.items()
        for one in there[relation.subject]
    }
    stores = {}
    for store in STORES:
        said = {}
        for (one, name), value in truth.items():
            if RELATIONS[name].store == store:
                said[one, name] = value
            elif rng.random() < stale:
                said[one, name] = _other(rng, there[RELATIONS[name].object], one, value)
        stores[store] = _store(rng, store, said, 1 if store == "text" else width)
    return Base(truth=truth, stores=stores)


def _other(rng: Random, names: Sequence[str], *taken: str) -> str:
    return rng.choice([name for name in names if name not in taken])


def _store(rng: Random, store: str, said: Mapping[Fact, str], size: int) -> Store:
    """Return entries of up to ``size`` facts about one entity, in random order."""
    names_of: dict[str, list[str]] = {}
    for entity, name in said:
        names_of.setdefault(entity, []).append(name)
    entries: list[tuple[str, tuple[Fact, ...]]] = []
    for entity, names in names_of.items():
        rng.shuffle(names)
        for at in range(0, len(names), size):
            told = [(name, said[entity, name]) for name in names[at : at + size]]
            entries.append((_entry(store, entity, told), tuple((entity, name) for name, _ in told)))
    rng.shuffle(entries)
    texts = tuple(text for text, _ in entries)
    return Store(entries=texts, facts=tuple(facts for _, facts in entries), index=index_of(texts))


def _entry(store: str, entity: str, told: Sequence[tuple[str, str]]) -> str:
    if store == "text":
        return " ".join(f"{entity} has {name} {value}" for name, value in told)
    mark = "|" if store == "table" else "#"
    return f"{mark} {entity} " + " ".join(f"{mark} {name} {value}" for name, value in told)
