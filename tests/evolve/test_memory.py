from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.errors import StoreError
from everystep.core.protocols import Recall, Situation
from everystep.core.records import Observation, Task
from everystep.evolve.memory import LONGEST, MOST_ROWS, MOST_WORDS, Item, Memory, Sort
from everystep.evolve.recall import Remembered, note


def situation(goal: str, run: str = "r1", seen: str = "") -> Situation:
    task = Task(id="t", instruction=goal, environment="x")
    return Situation(
        run=run, task=task, node="main", goal=goal, step="r1/3", index=3, observation=Observation(text=seen)
    )


def tip(text: str) -> Item:
    return Item(kind=Sort.TIP, text=text)


def test_the_best_item_has_the_rarest_words_of_the_query() -> None:
    with Memory.open() as memory:
        memory.write(tip("go to the fridge for cold things"))
        memory.write(tip("go to the microwave for hot things"))
        memory.write(tip("go to the sink for clean things"))
        found = memory.search("which things are heated in a microwave", k=2)
    assert found[0].item.text == "go to the microwave for hot things"
    assert found[0].score > found[1].score > 0


def test_words_are_found_in_other_forms_and_without_accents() -> None:
    with Memory.open() as memory:
        memory.write(tip("Heating the Café's cups"))
        assert [hit.item.text for hit in memory.search("heat cup")] == ["Heating the Café's cups"]
        assert memory.search("cafe")


def test_kinds_and_filters_are_applied_before_the_best_are_taken() -> None:
    with Memory.open() as memory:
        for number in range(20):
            memory.write(tip(f"apple {number}"))
        memory.write(
            Item(kind=Sort.FACT, text="an apple a day keeps nobody away from the long description of it")
        )
        (fact,) = memory.search("apple", k=1, kinds=(Sort.FACT,))
        assert fact.item.kind is Sort.FACT
        found = memory.search("apple", k=2, only=lambda item: item.text in ("apple 7", "apple 9"))
        assert sorted(hit.item.text for hit in found) == ["apple 7", "apple 9"]


def test_writing_the_same_twice_keeps_it_once_with_its_statistics() -> None:
    with Memory.open() as memory:
        name = memory.write(tip("look twice"))
        memory.credit([name, name, "nobody"], helped=True)
        assert memory.write(tip("look twice")) == name
        assert len(memory) == 1
        kept = memory.get(name)
        assert kept is not None
        assert (kept.used, kept.helped) == (2, 2)
        memory.write(Item(kind=Sort.TIP, id=name, text="look three times", data={"n": 3}))
        assert [hit.item.data for hit in memory.search("three")] == [{"n": 3}]
        assert not memory.search("twice")


def test_what_is_forgotten_is_not_found() -> None:
    with Memory.open() as memory:
        name = memory.write(tip("an old song"))
        assert memory.forget(name)
        assert not memory.forget(name)
        assert memory.get(name) is None
        assert memory.search("song") == []
        memory.write(note(situation("x"), "an old song", time=1.0))
        assert memory.forget_run("r1") == 1
        assert len(memory) == 0


def test_a_memory_outlives_its_process(tmp_path: Path) -> None:
    path = tmp_path / "memory.sqlite"
    with Memory.open(path) as memory:
        memory.write(
            Item(
                kind=Sort.EPISODE,
                text="went well",
                run="r1",
                step="r1/9",
                time=12.5,
                data={"a": [1, "\ud800"]},
            )
        )
    with Memory.open(path) as memory:
        (item,) = memory.items()
    assert (item.kind, item.run, item.step, item.time) == (Sort.EPISODE, "r1", "r1/9", 12.5)
    assert item.data == {"a": [1, "\ud800"]}


def test_a_file_that_is_no_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"not a database, but long enough to be read as one" * 50)
    with pytest.raises(StoreError, match="cannot be opened as a memory"):
        Memory.open(path)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE mine (x)")
    with pytest.raises(StoreError, match="tables of version 0, expected 1"):
        Memory.open(other)
    with sqlite3.connect(other) as database:
        assert [name for (name,) in database.execute("SELECT name FROM sqlite_master")] == ["mine"]


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_can_be_written_and_looked_for(text: str, query: str) -> None:
    with Memory.open() as memory:
        name = memory.write(tip(text))
        memory.search(query)
        kept = memory.get(name)
        assert kept is not None
        if text.isascii() and "\x00" not in text:
            assert kept.text == text
        memory.forget(name)
        memory._db.execute("INSERT INTO words (words) VALUES ('integrity-check')")


@pytest.mark.parametrize(
    "query",
    [
        '"',
        "'; DROP TABLE items; --",
        "a AND",
        "NEAR(",
        "text : x",
        "* ^ - + (",
        "a\x00b",
        "\ud800",
        "OR OR",
        "{",
        "x" * 100_000,
    ],
)
def test_the_syntax_of_queries_has_no_power(query: str) -> None:
    with Memory.open() as memory:
        memory.write(tip("x text drop near or and"))
        assert len(memory.search(query)) <= 1
        assert len(memory) == 1


def test_queries_and_texts_are_bounded() -> None:
    with Memory.open() as memory:
        memory.write(tip(" ".join(f"w{n}" for n in range(500))))
        assert len(memory._rarest([f"w{n}" for n in range(500)])) == MOST_WORDS
        kept = memory.get(memory.write(tip("y" * 1_000_000)))
        assert kept is not None
        assert len(kept.text) == LONGEST


def test_common_words_are_not_looked_for_where_rare_ones_do() -> None:
    """A search touches a bounded number of items, however many have the common words."""
    with Memory.open() as memory:
        for number in range(30):
            memory.write(tip(f"open the door {number}"))
        memory._db.execute("UPDATE counts SET items = ? WHERE word IN ('the', 'open')", (MOST_ROWS + 1,))
        assert memory._rarest(["open", "the", "17", "door"]) == ["17", "door"]
        assert memory._rarest(["open", "the"]) == ["open"]
        assert memory.search("open the door 17", k=1)[0].item.text == "open the door 17"


def test_the_counts_of_words_are_those_of_the_items() -> None:
    with Memory.open() as memory:
        names = [memory.write(tip(f"doors open {number} open")) for number in range(3)]
        memory.write(Item(kind=Sort.TIP, id=names[0], text="windows open"))
        memory.forget(names[1])
        memory.write(note(situation("x"), "doors", time=0.0))
        memory.forget_run("r1")
        counts = dict(memory._db.execute("SELECT word, items FROM counts WHERE items != 0"))
    assert counts == {"door": 1, "open": 2, "2": 1, "window": 1}


# --- recall --------------------------------------------------------------------------------------------------


def test_recall_gives_lines_and_notes_of_the_same_run_only() -> None:
    with Memory.open() as memory:
        memory.write(note(situation("x", run="r1"), "the red key opens\nthe red door", time=1.0))
        memory.write(note(situation("x", run="r2"), "the red key is lost", time=1.0))
        memory.write(tip("keys open doors of their colour: red, blue"))
        remembered: Recall = Remembered(memory, k=5)
        told = remembered.recall(situation("open the red door"))
    assert told == ("note: the red key opens the red door", "tip: keys open doors of their colour: red, blue")


def test_what_was_recalled_in_failed_runs_falls_behind() -> None:
    with Memory.open() as memory:
        memory.write(tip("open the door with force"))
        memory.write(tip("open the door with care"))
        remembered = Remembered(memory, k=1)
        first = remembered.recall(situation("open the door", run="a"))
        remembered.settle("a", helped=False)
        second = remembered.recall(situation("open the door", run="b"))
        assert first != second
        remembered.settle("b", helped=True)
        remembered.settle("b", helped=True)  # a run is settled once
        assert remembered.recall(situation("open the door", run="c")) == second
        assert sorted((item.used, item.helped) for item in memory.items()) == [(1, 0), (1, 1)]


def test_long_memories_are_cut_in_recall() -> None:
    with Memory.open() as memory:
        memory.write(tip("door " * 1000))
        (told,) = Remembered(memory, chars=50).recall(situation("door"))
    assert len(told) <= len("tip: ") + 50
    assert told.endswith("...")
