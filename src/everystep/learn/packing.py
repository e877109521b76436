"""Packing: how ragged rows become the rectangles that a network reads, without computing a prefix twice.

``rows`` sorts by length and cuts into micro-batches, padded on the right: a causal row never sees its
padding, so no mask is needed. ``padded`` keeps the given order, as most trainers do. ``tree`` folds rows that
share a token prefix into a trie: every node is computed once and sees its ancestors only, so each row gets
the hidden states that it would get alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everystep.core.errors import ConfigError, did_you_mean

Ints = NDArray[np.int64]

PACKINGS = ("rows", "tree", "padded")


@dataclass(frozen=True, slots=True)
class Run:
    """A chain of cells, ``start`` to ``end``, of a packed row, and the ranges that its last cell sees, its own last."""

    start: int
    end: int
    seen: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """One micro-batch of ``B`` packed rows of ``L`` cells.

    ``ids`` ``[B, L]``. ``positions`` and ``ends`` ``[B, L]`` are ``None`` where every packed row is one causal row from
    position 0; else cell ``j`` is seen by cell ``i`` of its packed row exactly if ``j <= i < ends[j]``. ``members`` are the indices
    of the rows in here, and ``cells[k][t]`` the flat cell (``b * L + column``) of token ``t`` of the k-th of them.
    ``runs`` say the same as ``ends``: the chains of each packed row. ``tokens`` counts the cells that hold a token.
    """

    ids: Ints
    positions: Ints | None
    ends: Ints | None
    runs: tuple[tuple[Run, ...], ...]
    members: tuple[int, ...]
    cells: tuple[Ints, ...]
    tokens: int


@dataclass(slots=True)
class _Tree:
    """A trie of rows laid out depth first: children stand behind their parents, a subtree in one run."""

    ids: list[Ints]
    positions: list[Ints]
    ends: Ints
    members: list[int]
    cells: list[Ints]
    runs: list[Run]
    size: int
    branches: bool


def pack(
    rows: Sequence[Ints],
    *,
    packing: str,
    tokens_per_batch: int,
    pair_cost: float = 0.0,
    run_cost: float = 0.0,
    together: Sequence[str] | None = None,
) -> list[Packed]:
    """Lay out ``rows`` (token ids, none empty) as micro-batches of at most ``tokens_per_batch`` cells each.

    A row longer than that gets a micro-batch of its own, and a trie may grow to twice its longest row. ``pair_cost`` is what one cell of an attention matrix
    costs beside one token in the rest of the network: the price of a wider trie where its mask is dense.
    ``run_cost`` is what a branch of a trie costs beside one token, where attention is computed branch by branch.
    ``together`` has a name for each row: rows of one name, other than the empty one, stand in one micro-batch (and one trie), which may grow to
    what they need.
    """
    if packing not in PACKINGS:
        raise ConfigError(f"packing={packing!r} is unknown. {did_you_mean(packing, PACKINGS)}")
    if tokens_per_batch < 1:
        raise ConfigError(f"tokens_per_batch={tokens_per_batch!r}: expected 1 or more.")
    units = _units(len(rows), together)
    if packing != "tree":
        bundles = [[_grow([index], rows) for index in unit] for unit in units]
    elif len(units) == len(rows):
        bundles = [[tree] for tree in _fold(rows, tokens_per_batch, pair_cost, run_cost)]
    else:
        bundles = [[tree] for tree in _fold_units(rows, units, tokens_per_batch, pair_cost, run_cost)]
    if packing != "padded":
        bundles.sort(key=lambda bundle: -max(tree.size for tree in bundle))
    return [_rectangle(some) for some in _cut(bundles, tokens_per_batch)]


def unique_tokens(rows: Sequence[Ints]) -> int:
    """Return the number of nodes of the trie of ``rows``: the least that any packing must compute.

    >>> unique_tokens([np.array([1, 2, 3]), np.array([1, 2, 4]), np.array([1, 2])])
    4
    """
    total, last = 0, np.empty(0, dtype=np.int64)
    for row in sorted(rows, key=_lexical):
        total += len(row) - _shared(last, row)
        last = row
    return total


def _units(size: int, together: Sequence[str] | None) -> list[list[int]]:
    """Return the rows that must stay together, in the order of their first."""
    units: dict[str | int, list[int]] = {}
    for index in range(size):
        units.setdefault((together[index] if together else "") or index, []).append(index)
    return list(units.values())


def _cut(bundles: list[list[_Tree]], tokens_per_batch: int) -> list[list[_Tree]]:
    """Cut the sequence of bundles of trees into rectangles of at most ``tokens_per_batch`` cells."""
    batches: list[list[_Tree]] = []
    width = 0
    for bundle in bundles:
        own = max(tree.size for tree in bundle)
        width = max(width, own)
        if batches and width * (len(batches[-1]) + len(bundle)) <= tokens_per_batch:
            batches[-1].extend(bundle)
        else:
            batches.append([*bundle])
            width = own
    return batches


def _rectangle(trees: list[_Tree]) -> Packed:
    width = max(tree.size for tree in trees)
    shape = (len(trees), width)
    ids = np.zeros(shape, dtype=np.int64)
    branches = any(tree.branches for tree in trees)
    positions = np.zeros(shape, dtype=np.int64) if branches else None
    ends = np.tile(np.arange(1, width + 1), (len(trees), 1)) if branches else None
    cells = []
    for place, tree in enumerate(trees):
        ids[place, : tree.size] = np.concatenate(tree.ids)
        if positions is not None and ends is not None:
            positions[place, : tree.size] = np.concatenate(tree.positions)
            ends[place, : tree.size] = tree.ends[: tree.size]
        cells += [cell + place * width for cell in tree.cells]
    return Packed(
        ids=ids,
        positions=positions,
        ends=ends,
        runs=tuple(tuple(tree.runs) for tree in trees) if branches else (),
        members=tuple(member for tree in trees for member in tree.members),
        cells=tuple(cells),
        tokens=sum(tree.size for tree in trees),
    )


def _fold(rows: Sequence[Ints], tokens_per_batch: int, pair_cost: float, run_cost: float) -> list[_Tree]:
    """Cut the rows, in lexical order, into tries: a row joins where what it shares outweighs the wider mask."""
    groups: list[list[int]] = []
    size, longest, last = 0, 0, np.empty(0, dtype=np.int64)
    for index in sorted(range(len(rows)), key=lambda one: _lexical(rows[one])):
        row = rows[index]
        new = len(row) - _shared(last, row)
        apart = _cost(size, pair_cost) + _cost(len(row), pair_cost)
        longest = max(longest, len(row))
        if (
            groups
            and size + new <= max(tokens_per_batch, 2 * longest)
            and _cost(size + new, pair_cost) + run_cost < apart
        ):
            groups[-1].append(index)
            size += new
        else:
            groups.append([index])
            size = longest = len(row)
        last = row
    return [_grow(group, rows) for group in groups]


def _fold_units(
    rows: Sequence[Ints],
    units: list[list[int]],
    tokens_per_batch: int,
    pair_cost: float,
    run_cost: float,
) -> list[_Tree]:
    """Like ``_fold``, for units of rows that stay in one trie; the rows of a trie are kept in lexical order."""
    keys = [_lexical(row) for row in rows]
    units = [sorted(unit, key=keys.__getitem__) for unit in units]
    groups: list[list[int]] = []
    size = longest = 0
    for unit in sorted(units, key=lambda one: keys[one[0]]):
        own = unique_tokens([rows[index] for index in unit])
        longest = max(longest, own)
        if groups:
            joined, total = list(groups[-1]), size
            for index in unit:  # a row adds what neither of its neighbours in the order shares with it
                at = bisect_left(joined, keys[index], key=keys.__getitem__)
                near = [_shared(rows[index], rows[one]) for one in joined[max(0, at - 1) : at + 1]]
                total += len(rows[index]) - max(near, default=0)
                joined.insert(at, index)
            apart = _cost(size, pair_cost) + _cost(own, pair_cost)
            if total <= max(tokens_per_batch, 2 * longest) and _cost(total, pair_cost) + run_cost < apart:
                groups[-1], size = joined, total
                continue
        groups.append(unit)
        size = longest = own
    return [_grow(group, rows) for group in groups]


def _cost(tokens: int, pair_cost: float) -> float:
    return tokens + pair_cost * tokens * tokens


def _grow(group: list[int], rows: Sequence[Ints]) -> _Tree:
    """Build the trie of ``group``, whose rows are in lexical order."""
    first = rows[group[0]]
    if len(group) == 1:
        run = np.arange(len(first))
        whole = np.full(len(first), len(first))
        return _Tree([first], [run], whole, group, [run], [_run(run[:0], 0, len(first))], len(first), False)
    ends = np.zeros(sum(len(rows[index]) for index in group), dtype=np.int64)
    tree = _Tree([], [], ends, group, [], [], 0, True)
    path = np.empty(0, dtype=np.int64)  # the cells from the root to the end of the row before
    last = path
    for index in group:
        row = rows[index]
        depth = _shared(last, row)
        ends[path[depth:]] = tree.size
        fresh = np.arange(tree.size, tree.size + len(row) - depth)
        tree.ids.append(row[depth:])
        tree.positions.append(np.arange(depth, len(row)))
        if len(fresh):
            tree.runs.append(_run(path[:depth], tree.size, tree.size + len(fresh)))
        path = np.concatenate([path[:depth], fresh])
        tree.cells.append(path)
        tree.size += len(fresh)
        last = row
    ends[path] = tree.size
    return tree


def _run(ancestors: Ints, start: int, end: int) -> Run:
    breaks = np.flatnonzero(np.diff(ancestors) != 1) + 1
    seen = [(int(some[0]), int(some[-1]) + 1) for some in np.split(ancestors, breaks) if len(some)]
    if seen and seen[-1][1] == start:  # the run goes on where its last ancestors stand
        return Run(start, end, (*seen[:-1], (seen[-1][0], end)))
    return Run(start, end, (*seen, (start, end)))


def _shared(one: Ints, other: Ints) -> int:
    """Return the length of the common prefix."""
    size = min(len(one), len(other))
    differ = np.flatnonzero(one[:size] != other[:size])
    return int(differ[0]) if differ.size else size


def _lexical(row: Ints) -> bytes:
    return row.astype(">u4").tobytes()
