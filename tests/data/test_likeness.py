from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.data.likeness import ENTRIES, near_earlier, sketch_texts


def shingles(text: str) -> set[bytes]:
    data = text.encode().ljust(8, b"\0")
    return {data[n : n + 8] for n in range(len(data) - 7)}


def test_the_share_of_equal_entries_estimates_the_likeness() -> None:
    rng = np.random.default_rng(0)
    words = [f"w{n}" for n in range(400)]
    gaps = []
    for _ in range(60):
        one = list(rng.choice(words, 120))
        two = [word if rng.random() > 0.05 else str(rng.choice(words)) for word in one]
        a, b = " ".join(one), " ".join(two)
        sketch = sketch_texts(pa.array([a, b]))
        exact = len(shingles(a) & shingles(b)) / len(shingles(a) | shingles(b))
        gaps.append(float((sketch[0] == sketch[1]).mean()) - exact)
    assert abs(float(np.mean(gaps))) < 0.03  # 60 estimates with a deviation of about 0.06 each
    assert float(np.std(gaps)) < 0.1


@given(st.lists(st.text(max_size=40), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_a_sketch_does_not_depend_on_its_neighbours(texts: list[str]) -> None:
    together = sketch_texts(pa.array(texts))
    alone = np.concatenate([sketch_texts(pa.array([one])) for one in texts])
    assert (together == alone).all()


@given(st.text(min_size=8, max_size=60), st.text(min_size=8, max_size=60))
@settings(max_examples=50, deadline=None)
def test_the_sketch_of_both_is_the_minimum(one: str, two: str) -> None:
    sketch = sketch_texts(pa.array([one, two]))
    both = shingles(one) | shingles(two)
    parts = sketch_texts(pa.array([each.decode("latin1") for each in both if each.isascii()]))
    if len(parts) == len(both):
        assert (np.minimum(sketch[0], sketch[1]) == parts.min(axis=0)).all()


def test_only_earlier_rows_of_the_same_scope_are_found() -> None:
    rng = np.random.default_rng(1)
    base = rng.integers(0, 2**32, (3, ENTRIES), dtype=np.uint32)
    rows = np.stack([base[0], base[1], base[0], base[0], base[2]])
    rows[2, :3] += np.uint32(1)  # likeness 61 / 64
    scope = np.array([0, 0, 0, 1, 0], dtype=np.uint64)
    assert near_earlier(rows, scope, 0.9).tolist() == [-1, -1, 0, -1, -1]
    assert near_earlier(rows, scope, 0.97).tolist() == [-1, -1, -1, -1, -1]
