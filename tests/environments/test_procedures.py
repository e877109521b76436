from __future__ import annotations

import importlib.util
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.errors import ConfigError, DataError
from everystep.environments.procedures.families import (
    CHECKED,
    UNCHECKED,
    drawn,
    family_of,
    kind_of,
    prompt,
    read,
)
from everystep.environments.procedures.forms import question, read_question
from everystep.environments.reasoning.procbench import canonical
from everystep.environments.reasoning.procbench_cases import FAMILIES, load_cases

EVERY = (*CHECKED, *UNCHECKED)
FOLDER = Path(os.environ.get("EVERYSTEP_DATA", "/nowhere")) / "procbench"
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason="EVERYSTEP_DATA/procbench is not there")


def check_cases(cases: str) -> Counter[str]:
    """Read each prompt, carry it out, write it again; all must be as published."""
    count: Counter[str] = Counter()
    for case in load_cases(cases):
        problem = read(case.prompt)
        told = (case.family, case.number)
        assert family_of(problem) == case.family, told
        assert problem.first == case.first, told
        assert problem.states() == case.states, told
        assert prompt(problem) == case.prompt, told
        count[case.family] += 1
    return count


def test_the_packaged_cases_are_read_carried_out_and_written_again() -> None:
    assert check_cases("sample") == dict.fromkeys(CHECKED, 4)


@needs_data
def test_every_published_case_is_read_carried_out_and_written_again() -> None:
    count = check_cases("published")
    assert sum(count.values()) == 3192
    assert count.keys() == CHECKED.keys()


def test_every_published_family_is_there() -> None:
    assert sorted(EVERY) == sorted(FAMILIES.values())
    with pytest.raises(ConfigError, match="Did you mean 'rotate'"):
        kind_of("rotat")


@settings(max_examples=150, deadline=None)
@given(family=st.sampled_from(EVERY), steps=st.integers(2, 40), seed=st.integers(0, 2**32))
def test_a_drawn_problem_has_the_states_asked_for_and_is_read_back(
    family: str, steps: int, seed: int
) -> None:
    problem = CHECKED.get(family, UNCHECKED.get(family)).draw(Random(seed), steps)  # type: ignore[union-attr]
    states = problem.states()
    assert len(states) == steps
    assert read(prompt(problem)) == problem
    assert states == problem.states()  # nothing is changed by carrying it out
    assert all(canonical(state) for state in (problem.first, *states))
    assert drawn(seed, (family,), steps, steps) == drawn(seed, (family,), steps, steps)


@pytest.mark.parametrize("family", EVERY)
def test_other_seeds_give_other_problems(family: str) -> None:
    made = {question(drawn(seed, (family,), 12, 12)) for seed in range(60)}
    assert len(made) == 60


def test_lengths_and_families_are_drawn_alike() -> None:
    made = [drawn(seed, ("sort", "encode", "cumulate"), 2, 5) for seed in range(1200)]
    families = Counter(family_of(one) for one in made)
    lengths = Counter(len(one.states()) for one in made)
    assert all(abs(count - 400) < 4 * (1200 * 2 / 9) ** 0.5 for count in families.values())
    assert lengths.keys() == {2, 3, 4, 5}
    assert all(abs(count - 300) < 4 * (1200 * 3 / 16) ** 0.5 for count in lengths.values())


@pytest.mark.parametrize(
    ("family", "asked", "states"),
    [
        ("sort", "String: cba", ["abc"]),
        ("search", "Strings: [aaa, ab]\nSubstrings: [aa, a]\n", [[1, 0], [4, 1]]),
        ("compose", "Rules:\na, b -> c\nInitial state:\na, b, a, b", [["a", "b", "c"], ["c", "c"]]),
        ("delete_char", "String: aba\nSteps: \n1. a\n2. a", ["ba", "b"]),
        ("pushpop", "Initial string: ab\nActions: push_left(c), pop_right", ["cab", "ca"]),
        ("compare", "Target: ab\nCandidate: ac, ab, ab", ["a", ["a", "ab"]]),
        ("decompose", "Rules:\na -> bb\nb -> cd\nString:\nxa", ["xbb", "xcdb", "xcdcd"]),
        (
            "fill_word",
            "Words: (2, cat), (1, old)\nSentence: an [1] [2]",
            ["an [1] cat", "an old cat"],
        ),
        ("delete_word", "Sentence: a cat a dog\nWords: a, dog", ["cat a dog", "cat a"]),
    ],
)
def test_states_by_hand(family: str, asked: str, states: list[object]) -> None:
    assert list(read_question(kind_of(family), asked).states()) == states


def test_letters_are_counted_word_by_word() -> None:
    first, last = read_question(kind_of("count2"), "Sentence: Ab a").states()
    assert first == [1, 1] + [0] * 24
    assert last == [2, 1] + [0] * 24


@pytest.mark.parametrize("text", ["", "Sort it.\n\n[Question]\nString: abc", "[Question]\n"])
def test_what_is_no_prompt_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="no prompt of a known procedure"):
        read(text)


@pytest.mark.parametrize(
    ("family", "asked"),
    [
        ("sort", "Strings: abc"),
        ("cumulate", "N = x\nOperations: [Add 5]\n"),
        ("delete_char", "String: ab\nSteps: \n2. a"),  # its numbers begin with 1
        ("rotate", "String:\nabc\nIndices:\n(0, 2),(1, 2)"),
    ],
)
def test_what_would_be_written_otherwise_is_refused(family: str, asked: str) -> None:
    with pytest.raises(DataError, match="no question of"):
        read_question(kind_of(family), asked)


@pytest.fixture
def comparison() -> Iterator[ModuleType]:
    """The script that compares what is drawn with what is published."""
    path = Path(__file__).parents[2] / "benchmarks" / "procbench_drawn.py"
    spec = importlib.util.spec_from_file_location("procbench_drawn", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["procbench_drawn"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["procbench_drawn"]


@needs_data
@pytest.mark.slow
def test_what_is_drawn_is_distributed_as_published(comparison: ModuleType) -> None:
    rows = list(comparison.compared(0, 4))
    assert {row.family for row in rows} == set(CHECKED)
    assert [f"{row.family} {row.name}" for row in rows if row.p < 0.05 / len(rows)] == []
    assert [f"{row.family} {row.name}" for row in rows if not row.inside] == []
