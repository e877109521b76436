"""A sample's streams as arrays, checked once, and the totals that normalise each stream by its own count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everystep.core.errors import LearnerError
from everystep.core.protocols import Loss
from everystep.core.records import Sample

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

STREAMS = ("policy", "supervised", "reference", "value", "avoid")
"""The weighted streams. Each is normalised by the count of its own non-zero weights."""

PREFERENCE, PAIRS = "preference", "preference.pairs"
"""The stream that is summed over the rows of a pair; its loss is normalised by the number of pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """One sample as arrays of one length ``T``; a stream that the sample left out is all zero.

    ``weights`` has one array for each name of ``STREAMS``, and ``PREFERENCE``. ``index`` is the sample's place in the batch.
    """

    index: int
    rollout: str
    ids: Ints
    weights: Mapping[str, Floats]
    advantage: Floats
    logprobs: Floats
    reference_logprobs: Floats
    value_target: Floats
    step_of: Ints
    allowed: Mapping[int, tuple[int, ...]]
    temperature: float
    pair: str = ""

    @property
    def label(self) -> str:
        """How error messages name this sample."""
        return f"sample {self.index}" + (f" (rollout {self.rollout!r})" if self.rollout else "")


def streams_of(samples: Sequence[Sample]) -> list[Streams]:
    """Turn samples into arrays and check them.

    Raises ``LearnerError`` that names the sample and the stream: a stream of another length than ``ids``,
    a number that is not finite, a weight at position 0, a token outside of its allowed set.
    """
    return [_streams(index, sample) for index, sample in enumerate(samples)]


def _streams(index: int, sample: Sample) -> Streams:
    size = len(sample.ids)

    def column(name: str, values: tuple[float, ...]) -> Floats:
        if not values:
            return np.zeros(size, dtype=np.float32)
        if len(values) != size:
            raise LearnerError(
                f"sample {index} (rollout {sample.rollout!r}): {name} has {len(values)} values for {size} tokens. "
                "Every stream is empty or as long as ids."
            )
        array = np.asarray(values, dtype=np.float32)
        if not np.isfinite(array).all():
            where = int(np.flatnonzero(~np.isfinite(array))[0])
            raise LearnerError(
                f"sample {index} (rollout {sample.rollout!r}): {name}[{where}] is {values[where]!r}, expected a "
                "finite number. Check the reward or credit that it came from; no weights were changed."
            )
        return array

    streams = Streams(
        index=index,
        rollout=sample.rollout,
        ids=np.asarray(sample.ids, dtype=np.int64),
        weights={
            "policy": column("policy_weight", sample.policy_weight),
            "supervised": column("supervised_weight", sample.supervised_weight),
            "reference": column("reference_weight", sample.reference_weight),
            "value": column("value_weight", sample.value_weight),
            "avoid": column("avoid_weight", sample.avoid_weight),
            PREFERENCE: column("preference_weight", sample.preference_weight),
        },
        advantage=column("advantage", sample.advantage),
        logprobs=column("logprobs", sample.logprobs),
        reference_logprobs=column("reference_logprobs", sample.reference_logprobs),
        value_target=column("value_target", sample.value_target),
        step_of=np.asarray(sample.step_of, dtype=np.int64)
        if sample.step_of
        else np.zeros(size, dtype=np.int64),
        allowed=sample.allowed or {},
        temperature=sample.temperature,
        pair=sample.pair,
    )
    _check(streams)
    return streams


def _check(row: Streams) -> None:
    size = len(row.ids)
    if size == 0:
        raise LearnerError(f"{row.label}: it has no tokens. Leave empty samples out.")
    if len(row.step_of) != size:
        raise LearnerError(f"{row.label}: step_of has {len(row.step_of)} values for {size} tokens.")
    if not row.temperature > 0:
        raise LearnerError(
            f"{row.label}: temperature is {row.temperature!r}, expected above 0. Greedy samples have no "
            "log-probability to learn from: sample with a temperature, or use the supervised stream at 1.0."
        )
    for name, weight in row.weights.items():
        if weight[0] != 0:
            raise LearnerError(
                f"{row.label}: {name} weight at position 0 must be 0: nothing predicts the first token."
            )
    for position, ids in row.allowed.items():
        if not 0 < position < size or row.ids[position] not in ids:
            raise LearnerError(
                f"{row.label}: allowed[{position}] does not hold the token that stands there. "
                "Allowed sets must be those of the sampling, at the positions of this row."
            )


def check_options(rows: Sequence[Streams], samples: Sequence[Sample], loss: Loss) -> None:
    """Raise ``LearnerError`` where a weighted stream lacks what ``loss`` needs of it, or ``loss`` ignores it."""
    for row, sample in zip(rows, samples, strict=True):
        weights = row.weights
        if weights["policy"].any():
            if not sample.advantage:
                raise LearnerError(f"{row.label}: policy_weight without advantage. Give both streams.")
            if loss.policy != "reinforce" and not sample.logprobs:
                raise LearnerError(
                    f"{row.label}: the policy loss {loss.policy!r} needs logprobs as sampled. Keep them when "
                    "sampling, score the batch before the first update, or use 'reinforce'."
                )
        if weights["reference"].any() and (loss.kl == "none" or not sample.reference_logprobs):
            raise LearnerError(
                f"{row.label}: reference_weight needs a kl estimator (it is {loss.kl!r}) and reference_logprobs "
                f"({'given' if sample.reference_logprobs else 'missing'}). Give both, or leave the weight out."
            )
        if weights["value"].any() and (loss.value == 0 or not sample.value_target):
            raise LearnerError(
                f"{row.label}: value_weight needs loss.value above 0 (it is {loss.value!r}) and value_target."
            )
        if weights["avoid"].any() and (loss.avoid == 0 or not sample.reference_logprobs):
            raise LearnerError(
                f"{row.label}: avoid_weight needs loss.avoid above 0 (it is {loss.avoid!r}) and reference_logprobs "
                f"({'given' if sample.reference_logprobs else 'missing'})."
            )
        if weights[PREFERENCE].any():
            _check_preference(row, sample, loss)
    _check_pairs(rows, loss)
    if loss.kl != "none" and rows and not any(row.weights["reference"].any() for row in rows):
        raise LearnerError(
            f"kl is {loss.kl!r} but no sample has a reference_weight. Give the stream, or set kl='none'."
        )


def _check_preference(row: Streams, sample: Sample, loss: Loss) -> None:
    if loss.preference == "none" or not row.pair:
        raise LearnerError(
            f"{row.label}: preference_weight needs a preference loss (it is {loss.preference!r}) and the name of its pair "
            f"(it is {row.pair!r})."
        )
    if loss.preference_reference and not sample.reference_logprobs:
        raise LearnerError(
            f"{row.label}: preference_weight needs reference_logprobs: score the samples with the reference model before "
            "training, or set preference_reference=False for a loss without one."
        )


def _check_pairs(rows: Sequence[Streams], loss: Loss) -> None:
    """Raise where a preference loss has nothing to compare, or a side of a pair is missing."""
    if loss.preference == "none":
        return
    sides: dict[str, set[bool]] = {}
    for row in rows:
        weight = row.weights[PREFERENCE]
        if weight.any():
            sides.setdefault(row.pair, set()).update((weight[weight != 0] > 0).tolist())
    wanted = 1 if loss.preference == "kto" else 2
    for pair, found in sides.items():
        if len(found) != wanted:
            raise LearnerError(
                f"pair {pair!r} has {'both sides' if len(found) == 2 else 'one side only'}; {loss.preference!r} needs "
                f"{'both in one call: positive weights for the preferred, negative for the other' if wanted == 2 else 'one'}."
            )
    if rows and not sides:
        raise LearnerError(
            f"preference is {loss.preference!r} but no sample has a preference_weight. Give pairs, or set preference='none'."
        )


def totals_of(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the counts that normalise ``samples`` as one batch, to give to several ``forward_backward`` calls.

    Keys: ``preference.pairs``, ``STREAM.tokens`` and ``STREAM.rollouts``, and ``STREAM.rollout:NAME`` for a rollout that has more
    than one sample. Counts are of non-zero weights, so a loss stays linear in its weights.

    >>> totals_of([Sample(ids=(1, 2, 3), policy_weight=(0.0, 1.0, 0.5), advantage=(0.0, 1.0, 1.0))])
    {'policy.tokens': 2.0, 'policy.rollouts': 1.0}
    """
    return totals_of_streams(streams_of(samples))


def totals_of_streams(rows: Sequence[Streams]) -> dict[str, float]:
    """Return ``totals_of`` for samples that are arrays already."""
    totals: dict[str, float] = {}
    for name in STREAMS:
        counts: Counter[str] = Counter()
        members: Counter[str] = Counter()
        for row in rows:
            count = int(np.count_nonzero(row.weights[name]))
            if count:
                counts[_key(row)] += count
                members[_key(row)] += 1
        if counts:
            totals[f"{name}.tokens"] = float(sum(counts.values()))
            totals[f"{name}.rollouts"] = float(len(counts))
            totals |= {f"{name}.rollout:{key}": float(counts[key]) for key, n in members.items() if n > 1}
    pairs = {row.pair for row in rows if row.weights[PREFERENCE].any()}
    return totals | ({PAIRS: float(len(pairs))} if pairs else {})


def pair_divisor(loss: Loss, totals: Mapping[str, float]) -> float:
    """Return what the sum over pairs is divided by: their number, or ``loss.constant``."""
    return loss.constant if loss.aggregate == "constant" else _total(totals, PAIRS)


def coefficients(rows: Sequence[Streams], name: str, loss: Loss, totals: Mapping[str, float]) -> list[Floats]:
    """Return for each row the weight of every token in the loss of stream ``name``, normaliser included.

    ``rollout``: weight / (tokens of the rollout x rollouts). ``token``: weight / tokens of the batch.
    ``sum``: weight / rollouts. ``constant``: weight / ``loss.constant``.
    """
    own = totals_of_streams(rows) if loss.aggregate == "rollout" else {}
    result = []
    for row in rows:
        weight = row.weights[name]
        count = int(np.count_nonzero(weight))
        if not count:
            result.append(weight)
            continue
        if loss.aggregate == "constant":
            divisor = loss.constant
        elif loss.aggregate == "token":
            divisor = _total(totals, f"{name}.tokens")
        else:
            divisor = _total(totals, f"{name}.rollouts")
        if loss.aggregate == "rollout":
            key = f"{name}.rollout:{_key(row)}"
            divisor *= totals.get(key, own.get(key, float(count)))
        result.append((weight / np.float32(divisor)).astype(np.float32))
    return result


def _total(totals: Mapping[str, float], key: str) -> float:
    total = totals.get(key, 0.0)
    if total <= 0:
        raise LearnerError(
            f"totals has no {key!r} but a sample has such weights. Compute them with totals_of(batch)."
        )
    return total


def _key(row: Streams) -> str:
    return row.rollout or f"#{row.index}"
