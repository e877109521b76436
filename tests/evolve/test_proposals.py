"""Tasks that a proposer writes: the document, results, hostile answers, duplicates, and going on from a dumped state."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.errors import ConfigError, ModelError
from everystep.core.protocols import Attempts, Request
from everystep.core.records import Json, Task
from everystep.evolve.proposals import LONGEST, Generated, Proposal, asked, read_proposal
from everystep.models.scripted import Scripted


def make(one: Mapping[str, Json]) -> Task:
    size = one["size"]
    if not isinstance(size, int) or not 1 <= size <= 9:
        raise ConfigError(f"size is {size!r}; it must be from 1 to 9.")
    return Task(id=f"size{size}", instruction=f"size {size}", environment="none", config={"size": size})


def answer(*sizes: Json, document: Json = "seen") -> str:
    return json.dumps({"document": document, "tasks": [{"size": size} for size in sizes]})


def names(source: Generated, count: int) -> list[str]:
    return [start.task.id for start in source.next(count)]


def test_document_and_results_go_in_and_come_out() -> None:
    heard: list[tuple[str, list[float | None]]] = []

    def propose(document: str, results: Sequence[Attempts], count: int) -> Proposal:
        heard.append((document, [outcome for one in results for outcome in one.outcomes]))
        first = len(heard) * 10
        tasks = tuple(
            Task(id=f"t{n}", instruction=f"{n}", environment="none") for n in range(first, first + count)
        )
        return Proposal(tasks=tasks, document=f"{document}+")

    source = Generated(propose, document="d", batch=2)
    starts = source.next(2)
    source.report([Attempts(start=starts[0], outcomes=(1.0, 0.0))])
    assert names(source, 3) == ["t20", "t21", "t30"]
    assert heard == [("d", []), ("d+", [1.0, 0.0]), ("d++", [])]
    assert (source.document, source.calls) == ("d+++", 3)


def test_tasks_that_were_proposed_before_do_not_count_again() -> None:
    source = Generated(asked(Scripted([answer(1, 2)]), make, role="r"), attempts=1)
    assert names(source, 2) == ["size1", "size2"]
    again = Generated(asked(Scripted(lambda _: answer(1, 1)), make, role="r"), attempts=2)
    assert names(again, 3) == ["size1"]
    assert again.calls == 3  # once with success, twice in vain
    assert again.refused == ("task 'size1' was proposed before",) * 2


def test_a_model_is_asked_with_one_json_object() -> None:
    seen: list[Request] = []

    def reply(request: Request) -> str:
        seen.append(request)
        return answer(3)

    source = Generated(asked(Scripted(reply), make, role="You write tasks."), document='"}]', batch=4)
    (start,) = source.next(1)
    source.report([Attempts(start=start, outcomes=(1.0, None, 0.0))])
    source.next(1)
    assert seen[0].messages[0].content.startswith("You write tasks.")
    assert json.loads(seen[0].messages[1].content) == {"document": '"}]', "results": [], "wanted": 4}
    told = json.loads(seen[1].messages[1].content)["results"]
    assert told == [{"task": "size 3", "attempts": 2, "mean_outcome": 0.5}]


def test_a_model_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(ModelError, match="proposer"):
        Generated(asked(Scripted([]), make, role="r")).next(1)


@pytest.mark.parametrize(
    ("text", "taken", "why"),
    [
        (answer(1, 2, 3), 2, "1 more than the 2"),
        (answer(0, 5, "x"), 1, "size is 0"),
        (answer(1, document=3), 0, "must be a text"),
        (answer(1, document="x" * 20_001), 0, "not too long"),
        ('{"document": "", "tasks": [1, null, {}, {"size": 4}]}', 1, "task 0: '1' is no object"),
        ('{"document": "", "tasks": {}}', 0, "tasks a list"),
        ('{"document": "", "tasks": [], "more": 1}', 0, "not one object"),
        ("Here you are: " + answer(1), 0, "not one object"),
        ("[" * 100_000, 0, "not one object"),
        (" " * LONGEST + answer(1), 0, "not one object"),
        ("", 0, "not one object"),
    ],
)
def test_answers_are_read_strictly(text: str, taken: int, why: str) -> None:
    found = read_proposal(text, make, document="old", most=2)
    assert len(found.tasks) == taken
    assert why in " ".join(found.refused)
    if not taken:
        assert found.document == "old"


@settings(max_examples=40, deadline=None)
@given(
    st.text(max_size=60)
    | st.recursive(
        st.none() | st.text(max_size=5) | st.integers(),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["document", "tasks", "size"]), x),
    ).map(json.dumps)
)
def test_whatever_is_answered_gives_a_proposal(text: str) -> None:
    found = read_proposal(text, make, document="old", most=3)
    assert len(found.tasks) <= 3
    assert found.tasks or found.refused or json.loads(text)["tasks"] == []


def test_a_dumped_source_goes_on() -> None:
    script = [answer(1, 2, 3), answer(4, 1, 5, document="later")]
    one = Generated(asked(Scripted(lambda _: script[one.calls]), make, role="r"))
    start = one.next(1)[0]
    one.report([Attempts(start=start, outcomes=(0.0,))])
    other = Generated(asked(Scripted(lambda _: script[other.calls]), make, role="r"))
    other.load(json.loads(json.dumps(one.dump())))
    assert names(other, 4) == names(one, 4) == ["size2", "size3", "size4", "size5"]
    assert other.document == one.document == "later"
