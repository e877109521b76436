"""The families of procedures by name: problems of any length are drawn from a seed, written as a prompt, and read back from one.

What a procedure of the nineteen published families is told by are the published words, as they stand in the packaged cases; those of the other four are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from random import Random
from types import MappingProxyType

from everystep.core.errors import ConfigError, DataError, did_you_mean
from everystep.environments.procedures.append import Copy, Decode, Gather, Rhythm
from everystep.environments.procedures.count import Count, Cumulate, Find, Search
from everystep.environments.procedures.edit import DeleteCharacter, Move, PushPop, Rotate, Sort, Substitute
from everystep.environments.procedures.forms import Procedure, question, read_question
from everystep.environments.procedures.lists import Compare, Encode, Split, SplitPart
from everystep.environments.procedures.rules import Compose, Decompose
from everystep.environments.procedures.sentence import CountLetters, DeleteWord, FillWord
from everystep.environments.reasoning.procbench_cases import load_cases

CHECKED: Mapping[str, type[Procedure]] = MappingProxyType(
    {
        "sort": Sort,
        "gather": Gather,
        "count": Count,
        "search": Search,
        "copy": Copy,
        "substitute": Substitute,
        "encode": Encode,
        "split1": Split,
        "split2": SplitPart,
        "compose": Compose,
        "rhythm": Rhythm,
        "compare": Compare,
        "decode": Decode,
        "pushpop": PushPop,
        "rotate": Rotate,
        "delete_char": DeleteCharacter,
        "cumulate": Cumulate,
        "move_cyclic": Move,
        "find_cyclic": Find,
    }
)
"""The families that published cases are there of: their states were compared with all of these."""
UNCHECKED: Mapping[str, type[Procedure]] = MappingProxyType(
    {
        "decompose": Decompose,
        "count2": CountLetters,
        "fill_word": FillWord,
        "delete_word": DeleteWord,
    }
)
"""The families that there are only published templates of: the procedure is theirs, words, layout and problems are ours."""
MARK = "[Question]\n"
"""What stands between the procedure and the question."""

_OWN: Mapping[str, str] = {
    "decompose": (
        "You are given a string and rules of the form A -> BC. Look through the string from the left for the first character that a rule begins with, and put the two "
        "characters of the rule in its place. That is one step. Go on until no character of the string has a rule.\n"
        "Each step gives one state: the string."
    ),
    "count2": (
        "Go through the sentence word by word and count how often each letter of the alphabet has come so far, capitals and small letters alike.\n"
        "Each word gives one state: the list of the 26 counts from a to z, zeros included."
    ),
    "fill_word": (
        "A sentence has numbers in square brackets, and there is a list of pairs of a number and a word. Take the pairs in their order and put the word where its number "
        "with its brackets stands.\n"
        "Each pair gives one state: the sentence, without any punctuation but the brackets that are left."
    ),
    "delete_word": (
        "Take the listed words out of the sentence one by one, in the order of the list. A word that stands in the sentence more than once is taken out where it "
        "stands first.\n"
        "Each word gives one state: the sentence, with one space between words."
    ),
}  # fmt: skip


def kind_of(family: str) -> type[Procedure]:
    """Return the dataclass of a family; ``ConfigError`` for an unknown name."""
    known = {**CHECKED, **UNCHECKED}
    if family not in known:
        raise ConfigError(f"procbench: there is no family {family!r}. {did_you_mean(family, known)}")
    return known[family]


@cache
def instructions() -> Mapping[str, str]:
    """Return how each family tells its procedure, up to its question."""
    told = {case.family: case.prompt.split(MARK, 1)[0] for case in load_cases("sample")}
    return {**told, **{family: f"{text}\n\n" for family, text in _OWN.items()}}


def family_of(problem: Procedure) -> str:
    """Return the name of a problem's family."""
    return next(name for name, kind in {**CHECKED, **UNCHECKED}.items() if kind is type(problem))


def prompt(problem: Procedure) -> str:
    """Return the procedure and the question, in the published layout."""
    return f"{instructions()[family_of(problem)]}{MARK}{question(problem)}"


def read(text: str) -> Procedure:
    """Return the problem of a prompt, published or made here. Raises ``DataError`` for any other text."""
    told, _, asked = text.partition(MARK)
    for family, words in instructions().items():
        if told == words:
            return read_question(kind_of(family), asked)
    raise DataError(
        f"no prompt of a known procedure: {text[:60]!r} ... Expected one of the {len(instructions())} texts that "
        f"procedures begin with, then {MARK.strip()!r} and the question."
    )


def drawn(seed: int, families: tuple[str, ...], shortest: int, longest: int) -> Procedure:
    """Return the problem of a seed: a family, then a number of states, each as likely as any other, then its parameters."""
    random = Random(seed)
    return kind_of(random.choice(families)).draw(random, random.randint(shortest, longest))
