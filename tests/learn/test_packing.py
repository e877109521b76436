"""Layouts: nothing is lost, ancestors are exactly the prefix, prefixes are stored once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.learn.packing import PACKINGS, Packed, pack, unique_tokens

ROWS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=8)


def seen(packed: Packed, cell: int) -> list[int]:
    """The tokens that a cell sees, in the order of their cells."""
    line, at = divmod(cell, packed.ids.shape[1])
    if packed.ends is None:
        return packed.ids[line, : at + 1].tolist()
    return [int(packed.ids[line, j]) for j in range(at + 1) if at < packed.ends[line, j]]


@pytest.mark.parametrize("packing", PACKINGS)
@given(rows=ROWS, budget=st.integers(1, 40), pair_cost=st.sampled_from([0.0, 0.05, 10.0]))
@settings(max_examples=60, deadline=None)
def test_every_token_sees_exactly_its_prefix(
    packing: str, rows: list[list[int]], budget: int, pair_cost: float
) -> None:
    arrays = [np.array(row) for row in rows]
    batches = pack(arrays, packing=packing, tokens_per_batch=budget, pair_cost=pair_cost)
    assert sorted(member for packed in batches for member in packed.members) == list(range(len(rows)))
    for packed in batches:
        assert packed.ids.size <= max(budget, 2 * max(len(rows[member]) for member in packed.members))
        for member, cells in zip(packed.members, packed.cells, strict=True):
            assert len(cells) == len(rows[member])
            for t, cell in enumerate(cells.tolist()):
                assert seen(packed, cell) == rows[member][: t + 1]
                if packed.positions is not None:
                    assert packed.positions.flat[cell] == t


@given(rows=ROWS)
@settings(max_examples=60, deadline=None)
def test_tree_computes_each_prefix_once(rows: list[list[int]]) -> None:
    arrays = [np.array(row) for row in rows]
    packed = pack(arrays, packing="tree", tokens_per_batch=1000, pair_cost=0.0)
    prefixes = {tuple(row[: t + 1]) for row in rows for t in range(len(row))}
    assert unique_tokens(arrays) == len(prefixes)
    assert sum(one.tokens for one in packed) == len(prefixes)


def test_sorting_saves_padding() -> None:
    rows = [np.arange(size) for size in (10, 100, 10, 100, 10, 100)]
    cells = {
        packing: sum(one.ids.size for one in pack(rows, packing=packing, tokens_per_batch=300))
        for packing in ("rows", "padded")
    }
    assert cells == {"rows": 330, "padded": 600}


def test_a_dense_mask_is_only_bought_where_sharing_pays() -> None:
    """Two tokens in common do not pay for a mask over both rows; nearly all in common do."""
    short, long = np.arange(2), np.arange(98)
    apart = [np.concatenate([short, np.full(98, 200 + i)]) for i in range(2)]
    close = [np.concatenate([long, np.full(2, 200 + i)]) for i in range(2)]
    assert len(pack(apart, packing="tree", tokens_per_batch=400, pair_cost=0.01)[0].ids) == 2
    assert pack(close, packing="tree", tokens_per_batch=400, pair_cost=0.01)[0].ids.shape == (1, 102)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'tree'"):
        pack([], packing="trees", tokens_per_batch=8)
    with pytest.raises(ConfigError, match="tokens_per_batch"):
        pack([], packing="rows", tokens_per_batch=0)
