"""Reasoning structures: what is well typed, what hostile JSON does, and that whatever is drawn or edited can be executed."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.errors import DataError
from everystep.environments.reasoning.procbench_cases import load_cases
from everystep.evolve.operations_procedure import PROCEDURE_OPERATIONS
from everystep.evolve.operations_text import TEXT_OPERATIONS
from everystep.evolve.structures import (
    LONGEST_STRUCTURE,
    Module,
    Structure,
    answered,
    drawn,
    edited,
    library_of,
    plain,
    problem_of,
    read_structure,
    weights_for,
    written,
)

LIBRARY = library_of((*TEXT_OPERATIONS, *PROCEDURE_OPERATIONS))


def structure(*modules: str) -> Structure:
    made = []
    for one in modules:
        op, _, option = one.partition("/")
        made.append(Module(op=op, option=option or LIBRARY[op].options[0]))
    return tuple(made)


PROCEDURES = {
    "sort": structure("question", "fields", "field", "join/nothing", "characters", "sort", "join/nothing"),
    "gather": structure("question", "fields", "append parts"),
    "count": structure("question", "fields", "products"),
    "search": structure("question", "fields", "counts/apart", "join"),
    "copy": structure("question", "fields", "append"),
    "substitute": structure("question", "fields", "substitute"),
    "encode": structure("question", "fields", "runs", "join"),
    "split1": structure("question", "fields", "cut", "join"),
    "split2": structure("question", "fields", "cut parts", "join"),
    "compose": structure("question", "fields", "rewrite", "join"),
    "rhythm": structure("question", "fields", "alternate"),
    "compare": structure("question", "fields", "prefixes", "join"),
    "decode": structure("question", "fields", "repeat"),
    "pushpop": structure("question", "fields", "push pop"),
    "rotate": structure("question", "fields", "rotate"),
    "delete_char": structure("question", "fields", "delete"),
    "cumulate": structure("question", "fields", "cumulate"),
    "move_cyclic": structure("question", "fields", "move"),
    "find_cyclic": structure("question", "fields", "walk"),
}


def test_the_library_can_do_every_packaged_procedure() -> None:
    cases = load_cases("sample")
    assert {one.family for one in cases} == PROCEDURES.keys()
    for case in cases:
        last = case.states[-1]
        told = " ".join(map(str, last)) if isinstance(last, list) else str(last)
        assert answered(PROCEDURES[case.family], case.prompt, LIBRARY) == plain(told), case.family


@pytest.mark.parametrize(
    ("made", "question", "answer"),
    [
        (structure("truth"), "not ( True or False ) or True and not False is", "True"),
        (structure("truth"), "True or True and False is", "True"),
        (structure("truth/left to right"), "True or True and False is", "False"),
        (structure("after colon/last", "split", "close", "join"), "Complete: < [ ( ) {", "} ] >"),
        (
            structure("split/sentences", "claims"),
            "Question: Ann lies. Bob says Ann lies. Kim says Bob lies. Does Kim tell the truth?",
            "No",
        ),
        (
            structure("swaps", "letter"),
            "Ann, Bob, and Kim are friends. At the start, they each hold one: Ann has a red ball, Bob has a blue ball, and Kim has a pin.\nThen they trade. First, Ann and Bob swap balls. Then, Ann and Kim swap. At the end, Kim has\nOptions:\n(A) red ball\n(B) blue ball\n(C) pin",
            "(B)",
        ),
        (
            structure("gap", "letter"),
            "Ann woke up at 6am.\nBob saw Ann from 6am to 11am.\nKim saw Ann from 1pm to 5pm.\nThe shop was closed after 5pm.\nOptions:\n(A) 6am to 11am\n(B) 11am to 1pm",
            "(B)",
        ),
        (
            structure("corners", "shape", "letter"),
            'A path <path d="M 1.0,1.0 L 2.0,1.0 L 1.5,2.0 L 1.0,1.0"/> draws a\nOptions:\n(A) line\n(B) triangle',
            "(B)",
        ),
    ],
)
def test_small_reasonings(made: Structure, question: str, answer: str) -> None:
    assert problem_of(made, LIBRARY) is None
    assert answered(made, question, LIBRARY) == answer


def test_what_does_not_fit_is_told() -> None:
    for made, word in (
        ((), "1 to"),
        (structure("split"), "ends with a text"),
        (structure("join"), "takes words"),
        ((Module(op="eval"),), "no operation"),
        ((Module(op="split", option="eval"),), "options"),
        (structure(*["line"] * (LONGEST_STRUCTURE + 1)), "1 to"),
    ):
        assert word in str(problem_of(made, LIBRARY))
    with pytest.raises(DataError, match="one name"):
        library_of((TEXT_OPERATIONS[0], TEXT_OPERATIONS[0]))


def test_a_structure_survives_being_written() -> None:
    for made in PROCEDURES.values():
        assert read_structure(written(made), LIBRARY) == made
    assert read_structure('{"modules": [{"op": "line"}]}', LIBRARY) == (Module(op="line", option="first"),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "line",
        "[]",
        '{"modules": "line"}',
        '{"modules": [], "then": 1}',
        '{"modules": []}',
        '{"modules": ["line"]}',
        '{"modules": [{"op": "line", "run": "x"}]}',
        '{"modules": [{"op": ["line"]}]}',
        '{"modules": [{"op": "line"}], "modules": [{"op": "line"}]}',
        '{"modules": [{"op": "__import__"}]}',
        "[" * 100_000,
        json.dumps({"modules": [{"op": "line"}] * 1000}),
        json.dumps({"modules": [{"op": "x" * 30_000}]}),
    ],
)
def test_hostile_structures_are_refused_with_a_short_reason(text: str) -> None:
    found = read_structure(text, LIBRARY)
    assert isinstance(found, str)
    assert 0 < len(found) < 400


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), question=st.text(max_size=200))
def test_whatever_is_drawn_or_edited_runs_on_any_text(seed: int, question: str) -> None:
    random = Random(seed)
    made = drawn(LIBRARY, random, weights=weights_for([question], LIBRARY))
    for _ in range(10):
        assert problem_of(made, LIBRARY) is None
        said = answered(made, question, LIBRARY)
        assert said is None or said == plain(said)
        changed = edited(made, LIBRARY, random)
        assert changed != made
        made = changed


@pytest.mark.parametrize(
    "question",
    [
        "[Question]\nSentence: ax" + "9" * 5000,
        "[Question]\nSentence: " + " ".join(["ax99999999"] * 3000),
        "[Question]\nSequence 1: a\nSequence 2: b\nN: 999999999999",
        "[Question]\nRules:\na, a -> a\nInitial state:\n" + ", ".join("a" * 3000),
        "(" * 5000 + "True",
        "not " * 5000 + "True",
        "[Question]\nN = 4\nOperations: [" + ", ".join(["Multiply 99999999"] * 5000) + "]",
        "[Question]\nString: a\nIndices:\n(0, " + "9" * 5000 + ")",
    ],
)
def test_hostile_questions_are_bounded(question: str) -> None:
    for made in (*PROCEDURES.values(), structure("truth")):
        said = answered(made, question, LIBRARY)
        assert said is None or len(said) <= 20_000


def test_operations_that_a_question_speaks_of_weigh_more() -> None:
    weights = weights_for(["Rotate a substring within a string"], LIBRARY)
    assert max(weights, key=lambda name: weights[name]) == "rotate"
    assert set(weights_for(["xyz"], LIBRARY).values()) == {1.0}
