"""The local learner: torch in the same process, on the weights that the sampler reads.

It trains any causal LM of transformers whose logits are linear in the last hidden states, whole or through
LoRA. It knows streams and losses, and no method. The network runs without dropout, so that the ratio
is exactly 1 before the first update.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from everystep.core.errors import ConfigError, LearnerError, StoreError, did_you_mean
from everystep.core.protocols import Capabilities, Loss, Sampler, Scored
from everystep.core.records import Sample
from everystep.learn import checkpoints
from everystep.learn.batches import Flat, Work, everything, flatten, work_of
from everystep.learn.logprobs import token_logprobs
from everystep.learn.losses import POLICIES, PREFERENCES, check_loss
from everystep.learn.meter import Meter
from everystep.learn.networks import fingerprint, hidden_states, parts_of, refuse_tree
from everystep.learn.objective import loss_parts
from everystep.learn.packing import PACKINGS, Packed, pack
from everystep.learn.streams import (
    PREFERENCE,
    Streams,
    check_options,
    pair_divisor,
    streams_of,
    totals_of_streams,
)

WEIGHTS, OPTIMIZER = "weights.safetensors", "optimizer.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """How the local learner computes; none of it changes what is learned but the optimiser's numbers.

    ``packing`` is rows, tree or padded; a row joins a tree where it shares more than ``least_shared`` tokens, 0 chooses by
    device and width. ``tokens_per_batch`` bounds the cells of a micro-batch, 0 chooses by device. ``clip_norm`` 0 clips nothing. ``bf16`` computes in
    bfloat16 with fp32 weights (GPU).
    """

    packing: str = "rows"
    least_shared: int = 0
    tokens_per_batch: int = 0
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    bf16: bool = False
    value_head: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Trained weights, the optimiser's moments and the number of updates at one time, in memory."""

    weights: Mapping[str, Tensor]
    moments: Mapping[str, Mapping[str, Tensor]]
    updates: int


class LocalLearner:
    """Trains in place the weights of ``network`` that require a gradient: all, or its adapters.

    ``network`` is a causal LM of transformers, wrapped by peft or not. ``make_sampler`` gets a name of the current weights (the
    number of updates) and returns a sampler that reads them. ``updates`` counts the optimiser's steps.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        options: LocalOptions | None = None,
        make_sampler: Callable[[str], Sampler] | None = None,
    ) -> None:
        options = options or LocalOptions()
        _check(options)
        self.options = options
        self.updates = 0
        self._make_sampler = make_sampler
        self._network = network
        self._network.eval()
        self._parts = parts_of(self._network)
        self._device = self._parts.device
        if options.packing == "tree":
            refuse_tree(self._parts.model)
        if options.bf16 and self._parts.model.dtype != torch.float32:
            raise ConfigError(
                f"bf16 keeps fp32 weights, but the network is {self._parts.model.dtype}. Load it in float32."
            )
        self._value_head = (
            nn.Linear(self._parts.width, 1, device=self._device) if options.value_head else None
        )
        if self._value_head is not None:
            nn.init.zeros_(self._value_head.weight)
            nn.init.zeros_(self._value_head.bias)
        self._trainable = {name: p for name, p in self._network.named_parameters() if p.requires_grad}
        if self._value_head is not None:
            self._trainable |= {f"value_head.{name}": p for name, p in self._value_head.named_parameters()}
        if not self._trainable:
            raise LearnerError(
                "the network has no trainable weights. Unfreeze some, or put adapters into it."
            )
        self._optimizer = adamw(list(self._trainable.values()), options)
        self._pending = False

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            losses=frozenset(POLICIES),
            allowed_sets=True,
            entropy=True,
            value_head=self._value_head is not None,
            reference=True,
            tree_packing=True,
            exact_resume=True,
            preferences=frozenset(PREFERENCES) - {"none"},
            avoid=True,
        )

    def forward_backward(
        self, samples: Sequence[Sample], loss: Loss, *, totals: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Add the gradient of ``loss`` over ``samples`` and return its numbers.

        Raises ``LearnerError`` for an option that cannot be honoured and for a number that is not finite; the
        gradient is dropped then and no weight has changed.
        """
        check_loss(loss)
        if loss.value and self._value_head is None:
            raise LearnerError("loss.value needs a value head. Make the learner with value_head=True.")
        rows = self._rows(samples)
        check_options(rows, samples, loss)
        totals = totals_of_streams(rows) if totals is None else totals
        work = work_of(rows, loss, totals)
        divisor = 1.0 if loss.preference == "none" else pair_divisor(loss, totals)
        meter = Meter()
        try:
            for packed in self._pack(work):
                self._backward(packed, work, loss, divisor, meter)
        except LearnerError:
            self._optimizer.zero_grad(set_to_none=True)
            self._pending = False
            raise
        self._pending = True
        return meter.metrics() | {"samples": float(len(rows)), "idle_samples": float(len(rows) - len(work))}

    def optim_step(self, *, learning_rate: float) -> dict[str, float]:
        """Apply the gathered gradient by AdamW and clear it. ``grad_norm`` is the norm before clipping.

        Where no sample had a gradient nothing changes and ``updated`` is 0.
        """
        if not self._pending:
            raise LearnerError("optim_step without forward_backward: there is no gradient to apply.")
        if not (math.isfinite(learning_rate) and learning_rate >= 0):
            raise LearnerError(f"learning_rate={learning_rate!r}: expected a finite number of 0 or more.")
        self._pending = False
        gradients = [p.grad for p in self._trainable.values() if p.grad is not None]
        if not gradients:
            return {"grad_norm": 0.0, "updated": 0.0, "learning_rate": learning_rate}
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))
        if not math.isfinite(norm):
            self._optimizer.zero_grad(set_to_none=True)
            raise LearnerError(f"the gradient's norm is {norm!r}; it was dropped and no weight has changed.")
        if self.options.clip_norm and norm > self.options.clip_norm:
            torch._foreach_mul_(gradients, self.options.clip_norm / norm)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.updates += 1
        return {"grad_norm": norm, "updated": 1.0, "learning_rate": learning_rate}

    def score(self, samples: Sequence[Sample]) -> list[Scored]:
        """Return the log-probability of every token under the current weights, and values with a value head.

        The sample's temperature and allowed sets apply. Position 0 is 0.0 in both.
        """
        rows = self._rows(samples)
        work = everything(rows)
        logprobs = [np.zeros(len(row.ids), dtype=np.float32) for row in rows]
        values = [np.zeros(len(row.ids), dtype=np.float32) for row in rows]
        with torch.no_grad():
            for packed in self._pack(work):
                flat = flatten(packed, work, _PLAIN, self._device)
                hidden, new, _ = self._forward(packed, flat, entropy_gradient=False)
                guess = self._values(hidden).float().cpu().numpy() if self._value_head else None
                found, start = new.float().cpu().numpy(), 0
                for member in packed.members:
                    row, end = work[member].row, start + len(work[member].needed)
                    logprobs[row.index][1:] = found[start:end]
                    if guess is not None:
                        values[row.index][1:] = guess[start:end]
                    start = end
        return [
            Scored(logprobs=tuple(one.tolist()), values=tuple(two.tolist()) if self._value_head else None)
            for one, two in zip(logprobs, values, strict=True)
        ]

    def freeze(self) -> LocalLearner:
        """Return a copy with the current weights that later updates do not touch: a reference to ``score`` with."""
        return LocalLearner(copy.deepcopy(self._network), options=replace(self.options, value_head=False))

    def snapshot(self) -> Kept:
        """Return the state of weights and optimiser, to ``restore`` here or in a learner of a like network."""
        if self._pending:
            raise LearnerError("a gradient is pending: it would be lost. Step first.")
        return Kept(
            weights={name: p.detach().clone() for name, p in self._trainable.items()},
            moments={
                name: {key: value.clone() for key, value in self._optimizer.state.get(p, {}).items()}
                for name, p in self._trainable.items()
            },
            updates=self.updates,
        )

    def restore(self, kept: Kept) -> None:
        """Put back what ``snapshot`` returned, to the bit. It can be put back any number of times."""
        if kept.weights.keys() != self._trainable.keys():
            raise LearnerError("the snapshot is of another network: its trained weights have other names.")
        with torch.no_grad():
            for name, p in self._trainable.items():
                p.copy_(kept.weights[name])
        self._set_moments(kept.moments)
        self.updates = kept.updates

    def _set_moments(self, moments: Mapping[str, Mapping[str, Tensor]]) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        self._optimizer.state.clear()
        for name, parts in moments.items():
            p = self._trainable[name]
            if parts:
                self._optimizer.state[p] = {key: value.clone().to(p.device) for key, value in parts.items()}
        self._pending = False

    def gradient(self) -> NDArray[np.float32]:
        """Return the gathered gradient of all trained weights as one vector, for tests and diagnosis."""
        return np.concatenate(
            [
                (torch.zeros_like(p) if p.grad is None else p.grad).detach().float().cpu().numpy().ravel()
                for p in self._trainable.values()
            ]
        )

    def sampler(self) -> Sampler:
        """Return a sampler that reads the trained weights: it sees every update at once."""
        if self._make_sampler is None:
            raise LearnerError("this learner was made without make_sampler, so it cannot sample. Give one.")
        return self._make_sampler(str(self.updates))

    def save(self, folder: Path) -> None:
        """Write weights, optimiser and counters to ``folder``, whole or not at all. Frozen weights are not written."""
        if self._pending:
            raise LearnerError(
                "save between forward_backward and optim_step would lose the gradient. Step first."
            )
        state = {
            f"{name}/{key}": value
            for name, p in self._trainable.items()
            for key, value in self._optimizer.state.get(p, {}).items()
        }
        checkpoints.write(
            folder,
            {WEIGHTS: self._trainable, OPTIMIZER: state | {"random": torch.get_rng_state()}},
            {"updates": self.updates, "network": self._identity(), "options": asdict(self.options)},
        )

    def load(self, folder: Path) -> None:
        """Restore what ``save`` wrote, to the bit: weights, optimiser, counter and torch's random state.

        Raises ``StoreError`` that names the file when one is missing, damaged or of another network; nothing
        has changed then.
        """
        tensors, state = checkpoints.read(folder)
        if state.get("network") != self._identity():
            raise StoreError(
                f"checkpoint file {str(folder / checkpoints.STATE)!r} is of {state.get('network')!r}, this learner trains "
                f"{self._identity()!r}. Load it into the model that it was saved from."
            )
        weights, optimizer = tensors.get(WEIGHTS, {}), tensors.get(OPTIMIZER, {})
        checkpoints.match(weights, self._trainable, folder / WEIGHTS)
        random = optimizer.pop("random", None)
        moments: dict[str, dict[str, Tensor]] = {}
        for key, value in optimizer.items():
            name, _, part = key.rpartition("/")
            moments.setdefault(name, {})[part] = value
        if random is None or not moments.keys() <= self._trainable.keys():
            raise StoreError(
                f"checkpoint file {str(folder / OPTIMIZER)!r} is of another learner. Load another checkpoint."
            )
        with torch.no_grad():
            for name, p in self._trainable.items():
                p.copy_(weights[name])
        self._set_moments(moments)
        torch.set_rng_state(random)
        self.updates = int(state["updates"])

    def _identity(self) -> dict[str, str]:
        kept = {id(p) for p in self._trainable.values()}
        frozen = [(name, p) for name, p in self._network.named_parameters() if id(p) not in kept]
        return {"class": type(self._parts.model).__name__, "frozen": fingerprint(frozen) if frozen else ""}

    def _rows(self, samples: Sequence[Sample]) -> list[Streams]:
        """Return checked streams; ids and lengths must be those of the network."""
        rows = streams_of(samples)
        limit = getattr(self._parts.model.config, "max_position_embeddings", None)
        for row in rows:
            low, high = int(row.ids.min()), int(row.ids.max())
            if low < 0 or high >= self._parts.vocabulary:
                raise LearnerError(
                    f"{row.label}: id {low if low < 0 else high} is not in the vocabulary of {self._parts.vocabulary}. "
                    "The sample was made with another tokenizer."
                )
            if limit is not None and len(row.ids) > limit:
                raise LearnerError(
                    f"{row.label}: {len(row.ids)} tokens, but the network was made for at most {limit}. "
                    "Shorten the episodes or the context, or use a model with a longer one."
                )
        return rows

    def _pack(self, work: Sequence[Work]) -> list[Packed]:
        budget = self.options.tokens_per_batch or (16384 if self._device.type == "cuda" else 2048)
        exact = self._device.type == "cpu"
        return pack(
            [one.fed for one in work],
            packing=self.options.packing,
            tokens_per_batch=budget,
            pair_cost=0.0 if exact else 1.0 / (4.0 * self._parts.width),
            run_cost=self.options.least_shared or (_RUN_COST / self._parts.width if exact else 0.0),
            together=[one.row.pair if PREFERENCE in one.weights else "" for one in work],
        )

    def _forward(
        self, packed: Packed, flat: Flat, *, entropy_gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.options.bf16):
            hidden = hidden_states(self._parts, packed)[flat.cell]
            new, entropy = token_logprobs(
                self._parts.head,
                hidden,
                self._parts.vocabulary,
                flat.choices,
                entropy_gradient=entropy_gradient,
            )
        return hidden, new, entropy

    def _values(self, hidden: Tensor) -> Tensor:
        if self._value_head is None:
            raise LearnerError("there is no value head. Make the learner with value_head=True.")
        values: Tensor = self._value_head(hidden.to(self._value_head.weight.dtype)).squeeze(-1)
        return values

    def _backward(
        self, packed: Packed, work: Sequence[Work], loss: Loss, divisor: float, meter: Meter
    ) -> None:
        flat = flatten(packed, work, loss, self._device)
        hidden, new, entropy = self._forward(packed, flat, entropy_gradient=loss.entropy != 0)
        labels = {work[index].row.index: work[index].row.label for index in packed.members}
        _finite(new, flat.owner, labels, "log-probability")
        values = self._values(hidden).float() if "value" in flat.weights else None
        parts = loss_parts(flat, new, entropy, values, loss, meter, pairs=divisor)
        total = torch.stack(list(parts.values())).sum()
        _finite(total, None, labels, "loss")
        torch.autograd.backward(total)
        gradients = [p.grad for p in self._trainable.values() if p.grad is not None]
        _finite(torch.stack(torch._foreach_norm(gradients)), None, labels, "gradient")
        meter.batch(parts, packed, trained=len(flat.cell))


_RUN_COST = 6400.0  # over the width: tokens that a branch of a trie costs, measured at widths of 64 to 512
_PLAIN = Loss(policy="reinforce")


def _check(options: LocalOptions) -> None:
    if options.packing not in PACKINGS:
        raise ConfigError(
            f"packing={options.packing!r} is unknown. {did_you_mean(options.packing, PACKINGS)}"
        )
    for name in ("least_shared", "tokens_per_batch", "weight_decay", "clip_norm"):
        if getattr(options, name) < 0:
            raise ConfigError(f"{name}={getattr(options, name)!r}: expected 0 or more.")
    if not (0 <= options.beta1 < 1 and 0 <= options.beta2 < 1 and options.epsilon > 0):
        raise ConfigError(
            f"beta1={options.beta1!r}, beta2={options.beta2!r}, epsilon={options.epsilon!r}: expected betas in [0, 1) and epsilon above 0."
        )


def adamw(parameters: list[nn.Parameter], options: LocalOptions) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov and Hutter 2019); vectors (norms, biases) are not decayed."""
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": options.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=0.0, betas=(options.beta1, options.beta2), eps=options.epsilon, fused=True
    )


def _finite(value: Tensor, owner: Tensor | None, labels: Mapping[int, str], what: str) -> None:
    if bool(torch.isfinite(value).all()):
        return
    if owner is None:
        names = list(labels.values())
    else:
        names = [labels[index] for index in sorted(set(owner[~torch.isfinite(value)].tolist()))]
    raise LearnerError(
        f"{what} is not finite in {', '.join(names[:4])}{' and others' if len(names) > 4 else ''}. The gradient was dropped and no "
        "weight has changed. Lower the learning rate, or leave the sample out and look at its streams."
    )
