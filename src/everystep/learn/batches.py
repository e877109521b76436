"""From rows of streams to the flat arrays ``[N]`` of a micro-batch: only the tokens that a loss speaks about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from everystep.core.protocols import Loss
from everystep.learn.logprobs import Choices
from everystep.learn.packing import Packed
from everystep.learn.streams import PREFERENCE, STREAMS, Floats, Ints, Streams, coefficients


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one row asks of the network: its tokens up to the last needed one, and the needed positions.

    ``weights`` are per position of ``needed``, one array a stream, normalised; those of ``PREFERENCE`` are as given.
    """

    row: Streams
    fed: Ints
    needed: Ints
    weights: Mapping[str, Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """The needed tokens ``[N]`` of one micro-batch, row after row.

    ``cell`` is the flat cell whose hidden state predicts the token, ``owner`` the index of its row in the batch,
    ``pair`` the number of its pair in the micro-batch.
    """

    cell: Tensor
    owner: Tensor
    choices: Choices
    weights: Mapping[str, Tensor]
    advantage: Tensor
    old: Tensor
    reference: Tensor
    value_target: Tensor
    segment: Tensor
    segments: int
    pair: Tensor


def work_of(rows: Sequence[Streams], loss: Loss, totals: Mapping[str, float]) -> list[Work]:
    """Return the rows that have a gradient.

    A row whose tokens all have advantage zero (a group that failed as a whole) has none, unless another stream
    or the entropy bonus speaks about it: it is not computed.
    """
    weights = {name: coefficients(rows, name, loss, totals) for name in STREAMS}
    some = []
    for place, row in enumerate(rows):
        own = {name: weights[name][place] for name in STREAMS} | {PREFERENCE: row.weights[PREFERENCE]}
        policy = own["policy"] != 0
        moves = policy if loss.entropy else policy & (row.advantage != 0)
        others = (own["supervised"] != 0) & (loss.supervised != 0)
        for name in ("reference", "value", "avoid", PREFERENCE):
            others |= own[name] != 0
        if not (moves | others).any():
            continue
        needed = np.flatnonzero(policy | others)
        some.append(
            Work(
                row=row,
                fed=row.ids[: needed[-1]],
                needed=needed,
                weights={name: weight[needed] for name, weight in own.items()},
            )
        )
    return some


def everything(rows: Sequence[Streams]) -> list[Work]:
    """Return work that needs every position but the first of every row, for scoring."""
    return [
        Work(row=row, fed=row.ids[:-1], needed=np.arange(1, len(row.ids)), weights={})
        for row in rows
        if len(row.ids) > 1
    ]


def flatten(packed: Packed, work: Sequence[Work], loss: Loss, device: torch.device) -> Flat:
    """Return the flat arrays of one micro-batch of ``work``."""
    members = [work[index] for index in packed.members]

    def join(arrays: Sequence[NDArray[np.generic]]) -> Tensor:
        return torch.from_numpy(np.concatenate(arrays)).to(device)

    def column(name: str) -> Tensor:
        return join([getattr(one.row, name)[one.needed] for one in members])

    segment, segments = _segments(members, loss)
    pairs: dict[str, int] = {}
    for one in members:
        pairs.setdefault(one.row.pair, len(pairs))
    return Flat(
        cell=join([cells[one.needed - 1] for cells, one in zip(packed.cells, members, strict=True)]),
        owner=join([np.full(len(one.needed), one.row.index) for one in members]),
        choices=_choices(members, device),
        weights={
            name: join([one.weights[name] for one in members])
            for name in (*STREAMS, PREFERENCE)
            if any(name in one.weights and one.weights[name].any() for one in members)
        },
        advantage=column("advantage"),
        old=column("logprobs"),
        reference=column("reference_logprobs"),
        value_target=column("value_target"),
        segment=torch.from_numpy(segment).to(device),
        segments=segments,
        pair=join([np.full(len(one.needed), pairs[one.row.pair]) for one in members]),
    )


def _segments(members: Sequence[Work], loss: Loss) -> tuple[Ints, int]:
    """Number the segments that share one ratio: rows for ``gspo``, steps of rows for ``step``."""
    numbers, count = [], 0
    for one in members:
        local = np.zeros(len(one.needed), dtype=np.int64)
        if loss.policy == "step" and len(local):
            _, local = np.unique(one.row.step_of[one.needed], return_inverse=True)
        numbers.append(local.astype(np.int64) + count)
        count += int(local.max()) + 1
    return np.concatenate(numbers), count


def _choices(members: Sequence[Work], device: torch.device) -> Choices:
    targets = np.concatenate([one.row.ids[one.needed] for one in members])
    temperature = None
    if any(one.row.temperature != 1.0 for one in members):
        values = [np.full(len(one.needed), one.row.temperature, dtype=np.float32) for one in members]
        temperature = torch.from_numpy(np.concatenate(values)).to(device)
    places, sets, start = [], [], 0
    for one in members:
        if one.row.allowed:
            for place, position in enumerate(one.needed.tolist()):
                ids = one.row.allowed.get(position)
                if ids is not None:
                    places.append(start + place)
                    sets.append(ids)
        start += len(one.needed)
    restricted = allowed = valid = None
    if places:
        sizes = np.fromiter((len(ids) for ids in sets), dtype=np.int64, count=len(sets))
        filled = np.arange(sizes.max()) < sizes[:, None]
        table = np.zeros(filled.shape, dtype=np.int64)
        table[filled] = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in sets])
        restricted = torch.tensor(places, device=device)
        allowed, valid = torch.from_numpy(table).to(device), torch.from_numpy(filled).to(device)
    return Choices(
        targets=torch.from_numpy(targets).to(device),
        temperature=temperature,
        restricted=restricted,
        allowed=allowed,
        valid=valid,
    )
