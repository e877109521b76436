"""The loop of generating and refining structures: by search, and with a scripted model that may answer anything."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from everystep.core.errors import ConfigError, ModelError
from everystep.core.protocols import Request
from everystep.evolve.designing import Asked, Failure, Search, Solved, accuracy, alike, refined, suits
from everystep.evolve.operations_procedure import PROCEDURE_OPERATIONS
from everystep.evolve.operations_text import TEXT_OPERATIONS
from everystep.evolve.structures import Module, Structure, library_of, problem_of, written
from everystep.models.scripted import Scripted

LIBRARY = library_of((*TEXT_OPERATIONS, *PROCEDURE_OPERATIONS))
LISTS = ["b c a", "z y", "k m l j", "one two three four"]
QUESTIONS = [Solved(question=f"Sort: List: {one}", answer=" ".join(sorted(one.split()))) for one in LISTS]
LAST = (Module(op="line", option="last"),)
SORTED: Structure = (
    Module(op="after colon", option="last"),
    Module(op="split", option="spaces"),
    Module(op="sort", option="ascending"),
    Module(op="join", option="spaces"),
)


def test_search_refines_and_never_gets_worse_on_what_it_sees() -> None:
    search = Search(LIBRARY, edits=120, seed=1)
    made = refined(search, LAST, QUESTIONS, passes=25)
    assert len(made) == 26
    rights = [accuracy(one, QUESTIONS, LIBRARY) for one in made]
    assert rights == sorted(rights)
    assert rights[0] == 0.0
    assert rights[-1] == 1.0
    assert all(problem_of(one, LIBRARY) is None for one in made)


def test_the_same_seed_gives_the_same_structures() -> None:
    first, second = (refined(Search(LIBRARY, seed=4), LAST, QUESTIONS, passes=3) for _ in range(2))
    assert first == second


def test_a_generated_structure_answers_and_sees_no_answers() -> None:
    asked = [f"Which?\nOptions:\n(A) {one}\n(B) x" for one in LISTS]
    search = Search(LIBRARY, draws=200, seed=2)
    made = search.generate(asked)
    assert made is not None
    assert suits(made, asked, LIBRARY, {})[:2] == (1.0, 1.0)  # each is answered, with an option


class Proposing:
    """Proposes one structure, and remembers what it was shown."""

    library = LIBRARY

    def __init__(self, proposal: Structure) -> None:
        self.proposal = proposal
        self.shown: list[list[Failure]] = []

    def generate(self, examples: Sequence[str]) -> Structure | None:
        return None

    def refine(self, structure: Structure, failures: Sequence[Failure]) -> Sequence[Structure]:
        self.shown.append(list(failures))
        return [self.proposal]


def test_only_what_is_better_is_kept_and_without_failures_nobody_is_asked() -> None:
    better = Proposing(SORTED)
    assert refined(better, LAST, QUESTIONS, passes=3) == [LAST, SORTED, SORTED, SORTED]
    assert [len(one) for one in better.shown] == [4]
    worse = Proposing((Module(op="say", option="Yes"),))
    assert refined(worse, SORTED[:1], QUESTIONS, passes=1)[-1] == SORTED[:1]
    with pytest.raises(ConfigError, match="development"):
        refined(worse, LAST, [], passes=1)


def test_likeness_counts_characters() -> None:
    assert alike("a b c", "c b a") == 1.0
    assert alike("", "") == 0.0


# --- a model designs ---------------------------------------------------------------------------------


def test_a_model_generates_implements_and_refines() -> None:
    seen: list[dict[str, object]] = []
    poor = json.dumps({"modules": [{"op": "after colon", "option": "last"}]})
    answers = iter(
        [json.dumps({"operations": ["after colon", "split", "sort", "join"]}), poor, written(SORTED)]
    )

    def say(request: Request, _: object = None) -> str:
        seen.append(json.loads(request.messages[1].content))
        return next(answers)

    model = Asked(Scripted(say), LIBRARY)
    start = model.generate([one.question for one in QUESTIONS])
    assert start == SORTED[:1]
    made = refined(model, start, QUESTIONS, passes=4)
    assert made[-1] == SORTED
    assert model.calls == 3  # nothing fails after the first pass
    assert not model.refused
    assert "answer" not in json.dumps(seen[0]["questions"])
    told = seen[1]["operations"]
    assert isinstance(told, list)
    assert [one["op"] for one in told] == ["after colon", "split", "sort", "join"]
    failures = seen[2]["failures"]
    assert isinstance(failures, list)
    assert failures[0]["expected"] == "a b c"
    assert failures[0]["said"] == "b c a"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sure! Here is the plan.",
        "[" * 50_000,
        '{"modules": [{"op": "os.system"}]}',
        '{"operations": 3}',
        "null",
    ],
)
def test_what_a_model_writes_is_never_executed_unread(text: str) -> None:
    model = Asked(Scripted([text] * 5), LIBRARY)
    assert model.generate(["Sort: b a"]) is None
    assert refined(model, LAST, QUESTIONS, passes=2)[-1] == LAST
    assert len(model.refused) >= 3
    assert all(len(one) < 400 for one in model.refused)


def test_a_model_that_is_down_is_an_error() -> None:
    with pytest.raises(ModelError, match="designer"):
        Asked(Scripted([]), LIBRARY).generate(["Sort: b a"])
