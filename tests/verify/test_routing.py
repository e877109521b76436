"""Rewards of routing and of answers: one test a rule of the published score, on synthetic strings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.verify.overlap import answer_words, best_overlap, overlap, tf_idf
from everystep.verify.routing import answer_reward, labelled, routing_reward, tagged

STORES = ("Text Retriever", "Text Image Retriever", "Table Retriever")


def half(one: str, other: str) -> float:
    """A stand-in for an embedder: equal texts 1, others 0.6."""
    return 1.0 if one == other else 0.6


def ret(text: str, question: str = "Who leads Lima?", store: str = "Table Retriever") -> float:
    return routing_reward(text, question, store, stores=STORES, similarity=half)


def turn(question: str, store: str, *, think: str = "<think>why</think>") -> str:
    return f"{think}\n<sub-question>{question}</sub-question>\n<ret>{store}</ret>"


# --- retrieval ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "store", "expected"),
    [
        ("who leads lima?", "table retriever", 1.0),
        ("WHO LEADS LIMA?", " Table Retriever ", 1.0),  # in lower case, without spaces around
        ("who rules lima?", "Table Retriever", 0.8),  # half of the likeness, and the half for the store
        ("who leads lima?", "Text Retriever", 0.5),
        ("who rules lima?", "Text Retriever", 0.3),
        ("who leads lima?", "Table Retriever, Text Retriever", 0.5),  # exactly one store
        ("who leads lima?", "Table Retriever, Table Retriever", 0.5),
        ("who leads lima?", "Web Retriever", 0.0),  # an unknown name takes all
        ("who leads lima?", "Table Retriever, Web Retriever", 0.0),
        ("who leads lima?", "None, Table Retriever", 0.0),  # none mixed with others takes all
        ("who leads lima?", "None", 0.5),
        ("who leads lima?", "", 0.0),
    ],
)
def test_retrieval(question: str, store: str, expected: float) -> None:
    assert ret(turn(question, store)) == pytest.approx(expected)


def test_no_retrieval_is_a_right_answer_where_the_reference_has_none() -> None:
    assert ret(turn("None", "None"), question="none", store="none") == 1.0
    assert ret(turn("Who leads Lima?", "Table Retriever"), question="none", store="none") == pytest.approx(
        0.3
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        turn("Who leads Lima?", "Table Retriever", think=""),
        "<think>.</think><sub-question>Who leads Lima?</sub-question>",
        "<think>.</think><ret>Table Retriever</ret>",
        "<think>.</think><sub-question>Who leads Lima?<ret>Table Retriever</ret>",
        "Who leads Lima? Table Retriever",
    ],
)
def test_a_missing_tag_takes_all(text: str) -> None:
    assert ret(text) == 0.0


# --- answers --------------------------------------------------------------------------------------


def ans(said: str, *references: str) -> float:
    return answer_reward(f"<think>.</think><answer>{said}</answer>", references)


@pytest.mark.parametrize(
    ("said", "references", "expected"),
    [
        ("Lima", ("lima",), 1.0),
        ("It is Lima.", ("Lima",), 1.0),
        ("Oslo", ("Lima",), 0.0),
        ("", ("Lima",), 0.0),
        ("York", ("New York",), 0.0),  # short: all or nothing
        ("the two towers", ("2 towers",), 1.0),  # numbers and articles
        ("he won four gold cups", ("he won four gold cups in rome",), 5 / 7),  # long: the recall itself
        ("he won four gold", ("he won four gold cups",), 0.0),  # five words are short
        ("new york", ("york", "paris"), 1.0),
        ("he won four gold cups", ("he won four gold cups in rome", "paris"), 0.0),  # several: all or nothing
    ],
)
def test_answers(said: str, references: tuple[str, ...], expected: float) -> None:
    assert ans(said, *references) == pytest.approx(expected)


def test_among_several_references_the_highest_f1_counts_not_the_highest_recall() -> None:
    assert ans("new york", "york") == 1.0
    assert (
        ans("new york", "new york city", "york") == 0.0
    )  # F1 0.8 with recall 2/3 beats F1 2/3 with recall 1
    assert best_overlap("new york", ["new york city", "york"]).recall == pytest.approx(2 / 3)


def test_missing_parts_of_an_answer() -> None:
    assert answer_reward("<answer>Lima</answer>", ["Lima"]) == 0.0  # no thought
    assert answer_reward("<answer>Lima</answer>", ["Lima"], also=()) == 1.0
    assert answer_reward("<think>.</think>Lima", ["Lima"]) == 0.0


def test_recall_pays_for_listing_everything() -> None:
    assert ans("lima oslo bern cairo", "Cairo") == 1.0  # as published: bound the length of answers


def test_words_that_come_twice_count_twice() -> None:
    assert overlap("bora", "bora bora").recall == 0.5
    assert answer_words("Don't stop; the 3rd, an ten!") == ["don't", "stop", "3rd", "10"]


# --- reading and likeness ---------------------------------------------------------------------------


def test_labels() -> None:
    names = ("ask", "from")
    assert labelled("Ask: Ada home\nfrom : Text, table", names) == ("ada home", "text, table")
    for text in (
        "ask: ada",
        "from: text ask: ada",
        "ask: ada from: text from: table",
        "so ask: ada from: text",
        "",
    ):
        assert labelled(text, names) is None


@given(st.text(max_size=60))
def test_any_text_is_read(text: str) -> None:
    assert 0.0 <= ret(text) <= 1.0
    assert 0.0 <= ans(text, "Lima") <= 1.0
    assert labelled(text, ("ask",)) is None or text.strip().lower().startswith("ask")
    assert tagged(f"<a>{text}</a>", ("a",)) is not None


def test_tf_idf() -> None:
    plain = tf_idf([])  # no text is known: all words weigh the same
    assert plain("ada home", "bob home") == pytest.approx(0.5)
    assert plain("ada home", "home ada") == pytest.approx(1.0)
    assert plain("", "") == plain("", "ada") == 0.0
    alike = tf_idf(["ada home", "bob home", "eva home"])
    assert alike("ada home", "bob home") < 0.45 < alike("ada home", "ada age")  # a rare word says more
