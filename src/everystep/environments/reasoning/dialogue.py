"""A long dialogue that says facts about people here and there, and questions about them later: for tests of memory.

A turn is a few sentences: whom it is about, small talk, and sometimes a fact, told with a pronoun. Questions use the words of the fact, or other words;
some leave out the name, some ask what everybody knows. Facts may be told again with a new value; the newest holds. Ours, synthetic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

PEOPLE = (
    "Anna",
    "Bruno",
    "Carla",
    "David",
    "Elena",
    "Felix",
    "Greta",
    "Hugo",
    "Irene",
    "Jonas",
    "Karin",
    "Louis",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """One thing that people can tell: how it is said, asked in the same words, asked in others, and what it is about."""

    said: str
    asked: str
    otherwise: str
    about: str
    values: tuple[str, ...]


RELATIONS: Mapping[str, Relation] = {
    "home": Relation(
        said="{who} lives in {value}",
        asked="Where in the world does {who} live?",
        otherwise="Which town is {who}'s home?",
        about="home town address",
        values=("Oslo", "Lisbon", "Turin", "Gdansk", "Ghent", "Malmo"),
    ),
    "drink": Relation(
        said="{who} drinks mostly {value}",
        asked="What does {who} drink mostly?",
        otherwise="Which beverage should we offer {who}?",
        about="favourite beverage",
        values=("oolong", "espresso", "cider", "cocoa", "lemonade", "kefir"),
    ),
    "job": Relation(
        said="{who} works as a {value}",
        asked="What does {who} work as?",
        otherwise="Which profession has {who}?",
        about="profession job",
        values=("baker", "pilot", "nurse", "welder", "tailor", "judge"),
    ),
    "pet": Relation(
        said="{who} has bought a {value}",
        asked="What has {who} bought?",
        otherwise="Which animal does {who} keep?",
        about="animal pet",
        values=("parrot", "hamster", "terrier", "gecko", "pony", "rabbit"),
    ),
    "sport": Relation(
        said="{who} goes {value} on Sundays",
        asked="Where does {who} go on Sundays?",
        otherwise="Which sport is {who} fond of?",
        about="sport hobby",
        values=("rowing", "skiing", "fencing", "climbing", "surfing", "judo"),
    ),
}

KNOWN: Mapping[str, str] = {
    "What is the capital of France?": "Paris",
    "How many days has a week?": "seven",
    "What is frozen water called?": "ice",
    "Which planet do we live on?": "earth",
    "How many legs has a spider?": "eight",
    "What colour is snow?": "white",
}
"""Questions that need no memory."""

_TALK = (
    "The weather was fine and we walked for an hour.",
    "We talked about work and where people live these days.",
    "{other} came along later and drank a coffee with us.",
    "Then the train was late, mostly because of the snow.",
    "On Sundays the place is full, so we went elsewhere.",
    "{other} had bought a new coat in town.",
    "We laughed a lot about that old story of the boat.",
)
_MENTIONS = ("I met {who} today.", "{who} called this morning.", "I had lunch with {who}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that is told of a person in a turn."""

    who: str
    relation: str
    value: str

    @property
    def sentence(self) -> str:
        """The fact with the name in it."""
        return f"{RELATIONS[self.relation].said.format(who=self.who, value=self.value)}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One turn: its text, and the facts in it."""

    text: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question with its answer. ``kind`` is ``same`` or ``other`` (words), ``unclear`` (no name; ``who`` is meant) or ``known``; ``turn`` has the answer."""

    text: str
    kind: str
    answer: str
    who: str = ""
    turn: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """A dialogue and what is asked about it."""

    turns: tuple[Told, ...]
    questions: tuple[Question, ...]


def draw(
    *, turns: int, facts: int, kinds: Sequence[str], questions: int, updated: float, seed: int
) -> Dialogue:
    """Return a dialogue of ``turns`` with ``facts`` facts (at most one for each person and relation); ``updated`` of them change later. Questions take the ``kinds`` in turn.

    >>> made = draw(turns=20, facts=5, kinds=("same",), questions=2, updated=0.0, seed=1)
    >>> len(made.turns), made.questions[0].answer in made.turns[made.questions[0].turn].text
    (20, True)
    """
    rng = Random(f"dialogue {seed}")
    pairs = [(who, relation) for who in PEOPLE for relation in RELATIONS]
    chosen = rng.sample(pairs, min(facts, len(pairs), turns))
    told: dict[int, Fact] = {}
    newest: dict[tuple[str, str], int] = {}
    places = sorted(rng.sample(range(turns), len(chosen)))
    for place, (who, relation) in zip(places, rng.sample(chosen, len(chosen)), strict=True):
        told[place] = Fact(who=who, relation=relation, value=rng.choice(RELATIONS[relation].values))
        newest[who, relation] = place
    for who, relation in chosen:
        later = [place for place in range(newest[who, relation] + 1, turns) if place not in told]
        if later and rng.random() < updated:
            old = told[newest[who, relation]].value
            value = rng.choice([one for one in RELATIONS[relation].values if one != old])
            place = rng.choice(later)
            told[place] = Fact(who=who, relation=relation, value=value)
            newest[who, relation] = place
    made = tuple(_turn(rng, told.get(place)) for place in range(turns))
    known = rng.sample(sorted(KNOWN), len(KNOWN))
    asked = [
        _question(kinds[number % len(kinds)], pair, newest, told, known[number % len(known)], number)
        for number, pair in enumerate(rng.choices(sorted(newest), k=questions))
    ]
    return Dialogue(turns=made, questions=tuple(asked))


def _turn(rng: Random, fact: Fact | None) -> Told:
    who = fact.who if fact is not None else rng.choice(PEOPLE)
    sentences = [
        one.format(other=rng.choice([name for name in PEOPLE if name != who])) for one in rng.sample(_TALK, 3)
    ]
    if fact is not None:
        said = RELATIONS[fact.relation].said.format(who="By now this friend", value=fact.value)
        sentences.insert(rng.randrange(4), f"{said}.")
    first = rng.choice(_MENTIONS).format(who=who)
    return Told(text=" ".join((first, *sentences)), facts=() if fact is None else (fact,))


def _question(
    kind: str,
    pair: tuple[str, str],
    newest: Mapping[tuple[str, str], int],
    told: Mapping[int, Fact],
    known: str,
    number: int,
) -> Question:
    if kind == "known":
        return Question(text=known, kind=kind, answer=KNOWN[known])
    who, relation = pair
    turn = newest[pair]
    wording = RELATIONS[relation].otherwise if kind == "other" else RELATIONS[relation].asked
    name = f"my contact {number}" if kind == "unclear" else who
    return Question(text=wording.format(who=name), kind=kind, answer=told[turn].value, who=who, turn=turn)


def asked_of(question: str) -> tuple[str, str] | None:
    """Return the person ("" where none is named) and the relation that a question is about, ``None`` where it is about neither.

    >>> asked_of("Which town is Anna's home?"), asked_of("What colour is snow?")
    (('Anna', 'home'), None)
    """
    for name, relation in RELATIONS.items():
        for wording in (relation.asked, relation.otherwise):
            match = re.fullmatch(re.escape(wording).replace(r"\{who\}", "(.+)"), question)
            if match is not None:
                return (match[1] if match[1] in PEOPLE else "", name)
    return None


def read_value(text: str, who: str, relation: str) -> str | None:
    """Return the value that a turn tells of a person (of anybody where ``who`` is empty), ``None`` where it tells none."""
    if who and who not in text.partition(".")[0]:
        return None
    said = RELATIONS[relation].said.format(who="By now this friend", value="VALUE")
    match = re.search(re.escape(said).replace("VALUE", "([a-zA-Z]+)"), text)
    return None if match is None else match[1]
