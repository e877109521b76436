"""Keys and values of many conversations, one row each, that join, grow, fork and leave at any time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import Cache

from everystep.core.errors import ModelError

_PIECE = 1024  # tokens of one row that are fed at once: bounds the attention mask
_WASTE = 512  # padded tokens that a batch may have more than twice its real ones
_FIRST_LENGTH = 64


class RowCache(Cache):
    """A key/value cache with a length of its own for each row.

    A layer's keys lie in one tensor ``[rows, length, heads, dim]``. New tokens are padded on the right;
    what padding writes lies beyond a row's length, where the mask hides it and the next tokens
    overwrite it. Rows that are asked for together and lie together are read in place, others are copied.
    """

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.lengths: list[int] = []
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self._rows_capacity = 0
        self._length_capacity = 0
        self._flat = torch.empty(0, dtype=torch.long)
        self._where: slice | torch.Tensor = slice(0, 0)
        self._span = 0

    # --- rows ---------------------------------------------------------------------------------

    def add(self) -> int:
        """Return the index of a new, empty row."""
        self.lengths.append(0)
        self._reserve(len(self.lengths), self._length_capacity)
        return len(self.lengths) - 1

    def copy_row(self, row: int) -> int:
        """Return the index of a new row that is a copy of ``row``."""
        new = self.add()
        self._move(row, new)
        return new

    def remove(self, row: int) -> int | None:
        """Forget ``row``. Return the index of the row that was moved into its place, if one was."""
        last = len(self.lengths) - 1
        if row != last:
            self._move(last, row)
        self.lengths.pop()
        return None if row == last else last

    def clear(self) -> None:
        """Forget all rows and give their memory back."""
        self.lengths.clear()
        self._keys.clear()
        self._values.clear()
        self._rows_capacity = self._length_capacity = 0

    def _move(self, source: int, target: int) -> None:
        length = self.lengths[source]
        for tensor in (*self._keys, *self._values):
            tensor[target, :length] = tensor[source, :length]
        self.lengths[target] = length

    def _reserve(self, rows: int, length: int) -> None:
        """Make room for ``rows`` rows of ``length`` tokens, growing by doubling."""
        if rows <= self._rows_capacity and length <= self._length_capacity:
            return
        more_rows = _grown(self._rows_capacity, rows, 1)
        more_length = _grown(self._length_capacity, length, _FIRST_LENGTH)
        for tensors in (self._keys, self._values):
            for index, old in enumerate(tensors):
                new = old.new_zeros(more_rows, more_length, *old.shape[2:])
                new[: old.shape[0], : old.shape[1]] = old
                tensors[index] = new
        self._rows_capacity, self._length_capacity = more_rows, more_length

    # --- one forward --------------------------------------------------------------------------

    def plan(self, rows: Sequence[int], counts: Sequence[int]) -> torch.Tensor:
        """Prepare to append ``counts[i]`` tokens to ``rows[i]``; return the positions ``[n, longest]``."""
        starts = np.array([self.lengths[row] for row in rows])
        positions = starts[:, None] + np.arange(max(counts))
        self._span = int(positions[:, -1].max()) + 1
        self._reserve(len(self.lengths), self._span)
        index = np.array(rows)
        self._flat = torch.from_numpy((index[:, None] * self._length_capacity + positions).reshape(-1))
        first, last = int(index[0]), int(index[-1])
        together = last - first == len(rows) - 1 and bool((np.diff(index) == 1).all())
        self._where = slice(first, last + 1) if together else torch.from_numpy(index)
        for row, count in zip(rows, counts, strict=True):
            self.lengths[row] += count
        return torch.from_numpy(positions)

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_: object,
        **__: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new states ``[n, heads, new, dim]`` and return all of these rows' states."""
        while len(self._keys) <= layer_idx:
            shape = (self._rows_capacity, self._length_capacity)
            self._keys.append(key_states.new_zeros(*shape, key_states.shape[1], key_states.shape[3]))
            self._values.append(value_states.new_zeros(*shape, value_states.shape[1], value_states.shape[3]))
        return self._write(self._keys[layer_idx], key_states), self._write(
            self._values[layer_idx], value_states
        )

    def _write(self, store: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        heads, dim = store.shape[2:]
        if self._flat.device != store.device:
            self._flat = self._flat.to(store.device)
        store.view(-1, heads, dim).index_copy_(0, self._flat, new.transpose(1, 2).reshape(-1, heads, dim))
        seen = store[:, : self._span]
        if isinstance(self._where, slice):
            return seen[self._where].transpose(1, 2)
        if self._where.device != store.device:
            self._where = self._where.to(store.device)
        return seen.index_select(0, self._where).transpose(1, 2)

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002  the rows have lengths of their own
        """Return the longest row's length; positions are always passed explicitly."""
        return max(self.lengths, default=0)


def _grown(now: int, needed: int, least: int) -> int:
    size = max(now, least)
    while size < needed:
        size *= 2
    return size


def forward(
    decoder: torch.nn.Module,
    head: torch.nn.Module,
    cache: RowCache,
    rows: Sequence[int],
    feeds: Sequence[Sequence[int]],
    *,
    context: int,
    max_tokens: int,
) -> torch.Tensor:
    """Append ``feeds[i]`` to ``rows[i]`` and return the logits after each, ``[n, vocabulary]`` in float32.

    Rows with similar numbers of new tokens share a batch of at most ``max_tokens`` padded tokens.
    """
    pending = dict(zip(rows, feeds, strict=True))
    if not all(pending.values()):
        raise ModelError("a conversation has no new tokens to read. Give each request at least one message.")
    long = [row for row in rows if len(pending[row]) > _PIECE]
    while long:
        for chunk in _chunks(dict.fromkeys(long, _PIECE), max_tokens):
            _run(decoder, cache, chunk, [pending[row][:_PIECE] for row in chunk], context)
        for row in long:
            pending[row] = pending[row][_PIECE:]
        long = [row for row in long if len(pending[row]) > _PIECE]
    chunks = _chunks({row: len(feed) for row, feed in pending.items()}, max_tokens)
    logits = [
        head(_run(decoder, cache, chunk, [pending[row] for row in chunk], context)).float()
        for chunk in chunks
    ]
    order = {row: index for index, row in enumerate(row for chunk in chunks for row in chunk)}
    return torch.cat(logits)[[order[row] for row in rows]]


def _chunks(counts: dict[int, int], max_tokens: int) -> list[list[int]]:
    """Split rows into batches with little padding; rows stand in ascending order within a batch."""
    chunks: list[list[int]] = []
    real = 0
    for row in sorted(counts, key=lambda one: (-counts[one], one)):
        real += counts[row]
        if chunks:
            padded = (len(chunks[-1]) + 1) * counts[chunks[-1][0]]
            if padded <= max_tokens and padded <= 2 * real + _WASTE:
                chunks[-1].append(row)
                continue
        chunks.append([row])
        real = counts[row]
    return [sorted(chunk) for chunk in chunks]


def _run(
    decoder: torch.nn.Module, cache: RowCache, rows: list[int], feeds: list[Sequence[int]], context: int
) -> torch.Tensor:
    """Run one padded batch; return the last hidden state of each row, ``[n, width]``."""
    counts = [len(feed) for feed in feeds]
    longest = max(counts)
    ids = np.zeros((len(rows), longest), dtype=np.int64)
    for index, feed in enumerate(feeds):
        ids[index, : counts[index]] = feed
    positions = cache.plan(rows, counts)
    embedding = next(decoder.parameters())
    device, dtype = embedding.device, embedding.dtype
    positions = positions.to(device)
    seen = torch.arange(cache._span, device=device) <= positions[:, None, :, None]
    mask = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, torch.finfo(dtype).min)
    hidden = decoder(
        input_ids=torch.from_numpy(ids).to(device),
        attention_mask=mask,
        position_ids=positions.clamp(max=context - 1),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    last = torch.tensor(counts, device=device) - 1
    picked: torch.Tensor = hidden[torch.arange(len(rows), device=device), last]
    return picked
