"""Groups: who is compared with whom."""

from difflib import SequenceMatcher

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.credit import keys
from everystep.credit.columns import Columns, from_arrays
from everystep.credit.estimators import estimator
from everystep.credit.grouping import dense, pair
from everystep.credit.likeness import Pattern
from everystep.credit.similarity import first_fit
from everystep.credit.terms import assign


def rows(size: int, tasks: int = 3) -> Columns:
    task = np.arange(size) % tasks
    return from_arrays(
        task_S=task,
        trajectory_S=np.arange(size),
        reward_S=np.arange(size),
        scores={"progress": np.arange(size)},
    )


@given(ids=st.lists(st.integers(0, 10**9), max_size=30))
def test_dense_keeps_order_and_equality(ids: list[int]) -> None:
    got, size = dense(np.array(ids, dtype=np.int64))
    ranks = {value: rank for rank, value in enumerate(sorted(set(ids)))}
    assert got.tolist() == [ranks[value] for value in ids]
    assert size == len(ranks)


@given(pairs=st.lists(st.tuples(st.integers(-1, 5), st.integers(-1, 10**6)), max_size=30))
def test_pair_is_equal_where_both_parts_are(pairs: list[tuple[int, int]]) -> None:
    got = pair(
        np.array([a for a, _ in pairs], dtype=np.int64), np.array([b for _, b in pairs], dtype=np.int64)
    )
    for i, one in enumerate(pairs):
        assert bool(got[i] == -1) is (-1 in one)
        for j, other in enumerate(pairs):
            if got[i] >= 0 and got[j] >= 0:
                assert (got[i] == got[j]) == (one == other)


def test_equal_anchors_of_two_tasks_are_different_states() -> None:
    columns = from_arrays(
        task_S=[0, 0, 1, 1], trajectory_S=[0, 1, 2, 3], reward_S=[1, 0, 5, 5], anchor_S=[7] * 4
    )
    assert keys.anchor().ids(columns, None).tolist() == [0, 0, 1, 1]
    credit = assign(columns, estimator("gigpo", normaliser="centre"))
    np.testing.assert_allclose(credit.terms_TS[1], [0.5, -0.5, 0, 0])


def test_equal_texts_of_two_tasks_do_not_merge_by_similarity() -> None:
    columns = from_arrays(
        task_S=[0, 1, 0], trajectory_S=[0, 1, 2], reward_S=[0] * 3, texts=["a room with a door"] * 3
    )
    assert keys.similar(threshold=0.9).ids(columns, None).tolist() == [0, 1, 0]


def test_a_history_needs_the_states_before_in_the_same_trajectory() -> None:
    columns = from_arrays(
        task_S=[0] * 6, trajectory_S=[0, 0, 1, 1, 2, 2], reward_S=[0] * 6, anchor_S=[1, 2, 1, 2, 3, 2]
    )
    assert keys.anchor(history=1).ids(columns, None).tolist() == [-1, 0, -1, 0, -1, 1]
    padded = keys.anchor(history=1, padded=True).ids(columns, None).tolist()
    assert padded[0] == padded[2] != padded[4]
    assert padded[1] == padded[3] != padded[5]
    with pytest.raises(ConfigError, match="no effect with history=0"):
        keys.anchor(padded=True)


def test_random_blocks_need_a_generator_of_their_own() -> None:
    with pytest.raises(ConfigError, match="generator of their own"):
        assign(rows(10), estimator("srgpo"))
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    assign(rows(10), estimator("srgpo"), rng=np.random.default_rng(0))
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


@pytest.mark.parametrize(("size", "count"), [(4, [4, 4, 2]), (16, [10]), (1, [1] * 10)])
def test_blocks_cover_every_row_once_and_only_the_last_is_short(size: int, count: list[int]) -> None:
    ids = keys.block(size=size).ids(rows(10), np.random.default_rng(3))
    assert sorted(np.bincount(ids).tolist(), reverse=True) == count


def test_blocks_are_random_and_repeatable() -> None:
    a, b, c = (keys.block(size=5).ids(rows(100), np.random.default_rng(seed)).tolist() for seed in (1, 1, 2))
    assert a == b != c


@pytest.mark.parametrize("within", ["task", "trajectory"])
def test_blocks_within_a_task_or_trajectory_take_effect(within: str) -> None:
    columns = from_arrays(
        task_S=np.repeat([0, 1], 12), trajectory_S=np.repeat([0, 1, 2, 3], 6), reward_S=np.zeros(24)
    )
    inside = {"task": columns.task_S, "trajectory": columns.trajectory_S}[within]
    for size in (4, None):
        ids = keys.block(size=size, within=within).ids(columns, np.random.default_rng(0))
        for block in np.unique(ids):
            assert len(set(inside[ids == block].tolist())) == 1
    mixed = keys.block(size=4).ids(columns, np.random.default_rng(0))
    assert any(len(set(inside[mixed == block].tolist())) > 1 for block in np.unique(mixed))


def test_srgpo_within_the_task_differs_from_the_whole_batch() -> None:
    columns = rows(30)
    a, b = (
        assign(columns, estimator("srgpo", within=within, block=None)).terms_TS[1]
        for within in ("task", "batch")
    )
    assert not np.allclose(a, b)


def test_every_key_states_its_assumption() -> None:
    made = [
        keys.task(), keys.batch(), keys.anchor(), keys.anchor(history=2), keys.turn(),
        keys.prefix(), keys.siblings(), keys.block(), keys.similar(),
    ]  # fmt: skip
    assert all(len(key.assumption) > 10 for key in made)
    assert len({key.name for key in made}) == len(made)


def exact_definition(texts: list[str], scope: list[int], threshold: float) -> list[int]:
    """Greedy first-fit as published, with nothing left out."""
    clusters: list[tuple[int, str]] = []
    out = []
    for text, where in zip(texts, scope, strict=True):
        for number, (task, member) in enumerate(clusters):
            if task == where and SequenceMatcher(None, text, member).ratio() >= threshold:
                out.append(number)
                break
        else:
            out.append(len(clusters))
            clusters.append((where, text))
    return out


@settings(max_examples=120, deadline=None)
@given(
    a=st.text("abcxy é", max_size=30),
    b=st.text("abcxy é", max_size=30),
    repeat=st.sampled_from([1, 12, 40]),
    threshold=st.floats(0.05, 0.99),
    autojunk=st.booleans(),
)
def test_likeness_is_difflibs(a: str, b: str, repeat: int, threshold: float, autojunk: bool) -> None:
    """Also for texts of 200 characters and more, where difflib skips the characters that fill them."""
    a, b = a * repeat + b, b * repeat + "q" + a
    wanted = SequenceMatcher(None, a, b, autojunk).ratio()
    assert Pattern(b, autojunk=autojunk).is_like(a, threshold) == (wanted >= threshold)
    assert Pattern(b, autojunk=autojunk).is_like(a, wanted)


WORDS = st.sampled_from(["door", "key", "red", "blue", "table", "on", "the", "a", "lamp 3", "é"])
SENTENCES = st.lists(WORDS, max_size=8).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.tuples(SENTENCES, st.integers(0, 1)), max_size=12),
    threshold=st.sampled_from([0.6, 0.8, 0.9, 0.95]),
    exact=st.booleans(),
)
def test_short_texts_follow_the_exact_definition(
    texts: list[tuple[str, int]], threshold: float, exact: bool
) -> None:
    words, scope = [t for t, _ in texts], [s for _, s in texts]
    got = first_fit(words, np.array(scope, dtype=np.int64), threshold=threshold, exact=exact)
    assert got.tolist() == exact_definition(words, scope, threshold)


def pages(rng: np.random.Generator, kinds: int, size: int, edits: int, length: int = 500) -> list[str]:
    """Pages of words, each a copy of one of ``kinds`` with a few characters replaced here and there."""
    letters = np.array(list("etaoinshrdlucmfw "))
    bases = [rng.choice(letters, size=length) for _ in range(kinds)]
    out = []
    for _ in range(size):
        page = bases[int(rng.integers(kinds))].copy()
        page[rng.integers(0, page.size, size=edits)] = rng.choice(letters, size=edits)
        out.append("".join(page))
    return out


@pytest.mark.parametrize(
    ("threshold", "edits", "length"),
    [
        (0.95, 4, 500),
        (0.95, 25, 500),
        (0.9, 30, 500),
        (0.8, 60, 500),
        (0.95, 2, 80),
        (0.9, 6, 80),
        (0.95, 100, 1500),
    ],
)
def test_the_sketch_finds_what_the_exact_definition_finds(threshold: float, edits: int, length: int) -> None:
    """Recall on long texts with scattered edits around the threshold, the hardest case for shingles."""
    texts = pages(np.random.default_rng(0), kinds=5, size=40, edits=edits, length=length)
    scope = np.zeros(40, dtype=np.int64)
    fast = first_fit(texts, scope, threshold=threshold)
    exact = first_fit(texts, scope, threshold=threshold, exact=True)
    assert exact.tolist() == exact_definition(texts, [0] * 40, threshold)
    same_exact = exact[:, None] == exact[None, :]
    same_fast = fast[:, None] == fast[None, :]
    assert (same_fast & same_exact).sum() / same_exact.sum() >= 0.99


def test_similarity_is_used_by_the_estimator() -> None:
    texts = [
        "you stand in a dark room, time 10:31",
        "you stand in a dark room, time 10:32",
        "a long bright corridor",
    ]
    columns = from_arrays(
        task_S=[0] * 3, trajectory_S=[0, 1, 2], reward_S=[1, 0, 0], anchor_S=[0, 1, 2], texts=texts
    )
    exact = assign(columns, estimator("gigpo", normaliser="centre")).terms_TS[1]
    near = assign(columns, estimator("gigpo", normaliser="centre", similarity=0.9)).terms_TS[1]
    assert exact.tolist() == [0, 0, 0]
    assert near.tolist() == [0.5, -0.5, 0]
    with pytest.raises(ConfigError, match="hold no observation texts"):
        assign(rows(3), estimator("gigpo", similarity=0.9))
    with pytest.raises(ConfigError, match=r"threshold is 1\.0"):
        estimator("gigpo", similarity=1.0)
