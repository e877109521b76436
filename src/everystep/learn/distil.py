"""Distillation: a student learns the whole next-token distributions of a teacher, with extra heads that look further ahead.

The main head matches the teacher where it predicts token ``t + 1``. Extra head ``k`` sees the same hidden state and matches what the teacher
says of token ``t + 1 + k`` once it has read that far: a denser signal for the student's body. Extra heads live here only, so the student
that is left has none. Student and teacher need one tokenizer: unequal vocabularies are refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from everystep.core.errors import ConfigError, LearnerError
from everystep.core.records import Sample
from everystep.learn.learner import LocalOptions, adamw
from everystep.learn.logprobs import LOGITS_AT_ONCE
from everystep.learn.networks import Parts, hidden_states, parts_of
from everystep.learn.packing import Packed, pack
from everystep.learn.schedules import scale
from everystep.learn.streams import Streams, streams_of
from everystep.models.local import LocalModel

Head = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distillation:
    """``ahead`` extra heads, 0 for plain distillation. The loss is ``main_weight`` times the main head's divergence plus
    ``extra_weight`` times the mean divergence of the extra heads. ``temperature`` divides the logits of both sides, and its square multiplies
    the divergence, so that gradients keep their size (Hinton et al. 2015, arXiv:1503.02531, section 2).
    """

    ahead: int = 0
    main_weight: float = 1.0
    extra_weight: float = 0.3
    temperature: float = 1.0


class ExtraHead(nn.Module):
    """A residual block on the hidden state, before the student's own output embeddings. It starts as the identity.

    The shape is that of Medusa's heads (Cai et al. 2024, arXiv:2401.10774, section 2.1.1), but with the shared output embeddings.
    """

    def __init__(self, width: int, *, device: torch.device) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width, device=device)
        nn.init.zeros_(self.inner.weight)
        nn.init.zeros_(self.inner.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return hidden states of the same shape ``[N, width]``."""
        return hidden + nn.functional.silu(self.inner(hidden))


class Distiller:
    """Trains ``student`` in place towards ``teacher``, whose weights stay as they are.

    Raises ``LearnerError`` where the two do not have the same tokenizer and as many logits. ``heads`` are the extra heads; they are never part of the
    student's network.
    """

    def __init__(
        self,
        student: LocalModel,
        teacher: LocalModel,
        *,
        options: Distillation | None = None,
        computing: LocalOptions | None = None,
    ) -> None:
        self.options, self._computing = options or Distillation(), computing or LocalOptions()
        _check(self.options)
        _same_tokens(student, teacher)
        self._student = parts_of(student.adapter or student.network)
        self._teacher = parts_of(teacher.adapter or teacher.network)
        _same_logits(self._student, self._teacher)
        student.network.eval()
        teacher.network.eval()
        self.heads = nn.ModuleList(
            ExtraHead(self._student.width, device=self._student.device) for _ in range(self.options.ahead)
        )
        self._trained = [
            p for p in (*self._student.model.parameters(), *self.heads.parameters()) if p.requires_grad
        ]
        self._optimizer = adamw(self._trained, self._computing)

    def update(self, samples: Sequence[Sample], *, learning_rate: float) -> dict[str, float]:
        """Do one step of AdamW on ``samples``; return the loss, each head's divergence in nats a token, and the gradient's norm.

        Tokens with a supervised weight are distilled. Raises ``LearnerError`` where nothing is, and for a number that is not finite:
        no weight has changed then.
        """
        numbers = self._pass(samples, backward=True)
        norm = float(nn.utils.clip_grad_norm_(self._trained, self._computing.clip_norm or math.inf))
        if not (math.isfinite(norm) and math.isfinite(numbers["loss"])):
            self._optimizer.zero_grad(set_to_none=True)
            raise LearnerError(
                f"the loss is {numbers['loss']!r} and the gradient's norm {norm!r}; the gradient was dropped and no weight has changed. "
                "Lower the learning rate."
            )
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return numbers | {"grad_norm": norm}

    def measure(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Return the loss and each head's divergence in nats a token, and change nothing: for held-out rows."""
        with torch.no_grad():
            return self._pass(samples, backward=False)

    def _pass(self, samples: Sequence[Sample], *, backward: bool) -> dict[str, float]:
        rows = self._rows(samples)
        weights, ahead = self._weights(), range(self.options.ahead + 1)
        totals = [sum(float(row.weights["supervised"][1 + k :].sum()) for row in rows) for k in ahead]
        if not totals[0] > 0:
            raise LearnerError(
                "no token of these samples has a supervised weight, so nothing can be distilled. Make them with supervised_sample."
            )
        sums = [0.0] * len(weights)
        budget = self._computing.tokens_per_batch or 2048
        for packed in pack([row.ids[:-1] for row in rows], packing="rows", tokens_per_batch=budget):
            loss = torch.zeros((), device=self._student.device)
            for k, part in self._divergences(packed, rows):
                sums[k] += float(part.detach())
                loss = loss + weights[k] / totals[k] * part
            if backward:
                torch.autograd.backward(loss)
        means = [total / count if count else 0.0 for total, count in zip(sums, totals, strict=True)]
        told = {"main" if k == 0 else f"ahead{k}": mean for k, mean in enumerate(means)}
        return {"loss": float(np.dot(weights, means)), **told}

    def _divergences(self, packed: Packed, rows: Sequence[Streams]) -> Iterator[tuple[int, Tensor]]:
        """Yield each head's number and its summed, weighted divergence over one micro-batch; heads without a token are left out."""
        hidden = hidden_states(self._student, packed)
        with torch.no_grad():
            known = hidden_states(self._teacher, packed)
        for k in range(self.options.ahead + 1):
            seen, told, weight = places(packed, rows, ahead=k)
            if not len(seen):
                continue
            block: Head = nn.Identity() if k == 0 else self.heads[k - 1]
            terms = divergence(
                lambda some, block=block: self._student.head(block(some)),  # type: ignore[misc]
                self._teacher.head,
                hidden[torch.from_numpy(seen)],
                known[torch.from_numpy(told)],
                vocabulary=self._student.vocabulary,
                temperature=self.options.temperature,
            )
            yield k, (torch.from_numpy(weight).to(terms.device) * terms).sum()

    def _weights(self) -> list[float]:
        ahead = self.options.ahead
        return [self.options.main_weight] + [self.options.extra_weight / max(1, ahead)] * ahead

    def _rows(self, samples: Sequence[Sample]) -> list[Streams]:
        rows = streams_of(samples)
        for row in rows:
            if row.allowed:
                raise LearnerError(
                    f"{row.label}: it has allowed sets, but whole distributions are distilled. Make it with supervised_sample(restrict=False)."
                )
            if len(row.ids) < 2 or int(row.ids.min()) < 0 or int(row.ids.max()) >= self._student.vocabulary:
                raise LearnerError(
                    f"{row.label}: expected two or more ids below {self._student.vocabulary}. Leave it out, or make it with the student's tokenizer."
                )
        return rows


def distil(
    distiller: Distiller,
    samples: Sequence[Sample],
    *,
    updates: int,
    batch: int = 16,
    learning_rate: float = 4e-3,
    seed: int = 0,
) -> dict[str, float]:
    """Do ``updates`` on random batches, the rate warmed up over a twentieth and falling to zero; return the mean of the last tenth's numbers."""
    if not samples or updates < 1:
        raise ConfigError(f"{len(samples)} samples and {updates!r} updates; expected one or more of both.")
    rng, told = np.random.default_rng(seed), []
    for number in range(updates):
        chosen = rng.choice(len(samples), size=min(batch, len(samples)), replace=False)
        rate = learning_rate * scale("linear", number, updates, warmup=updates // 20)
        told.append(distiller.update([samples[index] for index in chosen], learning_rate=rate))
    last = told[-max(1, updates // 10) :]
    return {name: float(np.mean([one[name] for one in last])) for name in last[0]}


def places(
    packed: Packed, rows: Sequence[Streams], *, ahead: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each distilled token the cell that the student's head reads, the cell of the teacher, and the token's weight.

    The teacher reads up to the token before; the head stands ``ahead`` tokens further back.
    """
    seen, told, weights = [], [], []
    for member, cells in zip(packed.members, packed.cells, strict=True):
        weight = rows[member].weights["supervised"]
        at = np.flatnonzero(weight)
        at = at[at > ahead]
        seen.append(cells[at - 1 - ahead])
        told.append(cells[at - 1])
        weights.append(weight[at])
    return np.concatenate(seen), np.concatenate(told), np.concatenate(weights)


def divergence(
    student: Head,
    teacher: Head,
    hidden: Tensor,
    known: Tensor,
    *,
    vocabulary: int,
    temperature: float = 1.0,
    at_once: int = LOGITS_AT_ONCE,
) -> Tensor:
    """Return ``T^2 KL(teacher || student)`` ``[N]`` in nats from hidden states ``[N, D]`` of both; no gradient reaches the teacher.

    At most ``at_once`` logits of each exist at a time; where that takes several chunks they are computed again in the backward pass.

    >>> heads = nn.Identity(), nn.Identity()
    >>> divergence(*heads, torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, math.log(3.0)]]), vocabulary=2).round(decimals=4)
    tensor([0.1308])
    """

    def terms(ours: Tensor, theirs: Tensor) -> Tensor:
        logq = torch.log_softmax(student(ours).float() / temperature, -1)
        with torch.no_grad():
            logp = torch.log_softmax(teacher(theirs).float() / temperature, -1)
        return temperature**2 * (logp.exp() * (logp - logq)).sum(-1)

    chunk = max(1, at_once // vocabulary)
    if len(hidden) <= chunk:
        return terms(hidden, known)
    keep = not torch.is_grad_enabled()
    parts = zip(torch.split(hidden, chunk), torch.split(known, chunk), strict=True)
    return torch.cat(
        [
            terms(*part) if keep else checkpoint(terms, *part, use_reentrant=False, preserve_rng_state=False)
            for part in parts
        ]
    )


def _check(options: Distillation) -> None:
    if options.ahead < 0 or not options.temperature > 0:
        raise ConfigError(
            f"ahead={options.ahead!r}, temperature={options.temperature!r}: expected 0 or more heads and a temperature above 0."
        )
    if not options.main_weight > 0 or options.extra_weight < 0:
        raise ConfigError(
            f"main_weight={options.main_weight!r}, extra_weight={options.extra_weight!r}: expected above 0, and 0 or more."
        )
    if not options.ahead and options.extra_weight != Distillation().extra_weight:
        raise ConfigError(f"extra_weight={options.extra_weight!r} has no effect with ahead=0.")


def _same_tokens(student: LocalModel, teacher: LocalModel) -> None:
    ours, theirs = student.tokenizer.get_vocab(), teacher.tokenizer.get_vocab()
    if ours != theirs:
        other = sorted(ours.items() ^ theirs.items(), key=str)[:3]
        raise LearnerError(
            f"the tokenizers differ ({len(ours)} and {len(theirs)} tokens; for example {other!r}), so the distributions have no common "
            "tokens. Make the student with the teacher's tokenizer; distillation between unequal vocabularies is not offered."
        )


def _same_logits(student: Parts, teacher: Parts) -> None:
    if student.vocabulary != teacher.vocabulary or student.device != teacher.device:
        raise LearnerError(
            f"the student has {student.vocabulary} logits on {student.device}, the teacher {teacher.vocabulary} on {teacher.device}; "
            "expected as many, on one device. Resize the embeddings of one, or move it."
        )
