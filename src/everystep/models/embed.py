"""Vectors of texts out of a causal language model's own weights: hidden states after some layers, averaged over the tokens.

With 0 layers these are the token vectors alone, weighted by how rare a token is: thousands of texts a second on one core. Vectors are centred on the texts that are searched, since those of a language
model all point the same way (Mu and Viswanath 2018, arXiv:1702.01417), and have length 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from everystep.core.errors import ConfigError, ModelError

Floats = NDArray[np.float32]
_TABLE = "model.embed_tokens.weight"


class Embedder:
    """Embeds texts with the checkpoint in ``folder``: after ``layers`` layers, of the first ``tokens`` tokens of a text."""

    def __init__(self, folder: Path, *, layers: int = 0, tokens: int = 256) -> None:
        if layers < 0 or tokens < 1:
            raise ConfigError(f"layers {layers!r}, tokens {tokens!r}: expected 0 or more, and 1 or more.")
        self._layers, self._most = layers, tokens
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._model = None
        if layers:
            self._model = AutoModelForCausalLM.from_pretrained(folder).model.eval()
            self._model.layers = self._model.layers[:layers]
        else:
            with safe_open(str(folder / "model.safetensors"), framework="np") as file:
                if _TABLE not in file.keys():  # noqa: SIM118 -- it is no mapping
                    raise ModelError(f"{str(folder)!r} has no tensor {_TABLE!r}. Use layers of 1 or more.")
                self._table: Floats = file.get_tensor(_TABLE).astype(np.float32)

    def index(self, texts: Sequence[str]) -> Vectors:
        """Return the texts as vectors that can be searched."""
        ids = self._ids(texts)
        seen: dict[int, int] = {}
        for one in ids:
            for token in set(one):
                seen[token] = seen.get(token, 0) + 1
        rare = {token: float(np.log(1 + len(ids) / count)) for token, count in seen.items()}
        raw = self._raw(ids, rare, len(ids))
        centre = raw.mean(axis=0) if len(raw) else np.zeros(1, dtype=np.float32)
        return Vectors(self, _unit(raw - centre), centre, rare)

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        found = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [list(one.ids[: self._most]) or [0] for one in found]

    def _raw(self, ids: Sequence[Sequence[int]], rare: dict[int, float], total: int) -> Floats:
        if self._model is None:
            usual = float(np.log(1 + total))  # a token that no text has
            rows = []
            for one in ids:
                weights = np.asarray([rare.get(token, usual) for token in one], dtype=np.float32)
                rows.append(weights @ self._table[one] / max(1e-6, float(weights.sum())))
            return np.stack(rows) if rows else np.zeros((0, self._table.shape[1]), dtype=np.float32)
        order = sorted(range(len(ids)), key=lambda n: len(ids[n]))
        made: dict[int, Floats] = {}
        for start in range(0, len(order), 16):
            some = order[start : start + 16]
            longest = max(len(ids[n]) for n in some)
            batch = torch.zeros((len(some), longest), dtype=torch.long)
            mask = torch.zeros((len(some), longest))
            for row, n in enumerate(some):
                batch[row, : len(ids[n])] = torch.tensor(ids[n])
                mask[row, : len(ids[n])] = 1
            with torch.inference_mode():
                hidden = self._model(batch, attention_mask=mask.long()).last_hidden_state
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            made |= {n: mean[row].float().numpy() for row, n in enumerate(some)}
        return np.stack([made[n] for n in range(len(ids))]) if made else np.zeros((0, 1), dtype=np.float32)


class Vectors:
    """Texts as vectors; ``best`` finds those nearest to a query by the cosine."""

    def __init__(self, embedder: Embedder, rows: Floats, centre: Floats, rare: dict[int, float]) -> None:
        self._embedder, self._rows, self._centre, self._rare = embedder, rows, centre, rare

    def best(self, query: str, k: int) -> tuple[int, ...]:
        """Return the numbers of the ``k`` nearest texts, nearest first."""
        if not len(self._rows):
            return ()
        raw = self._embedder._raw(self._embedder._ids([query]), self._rare, len(self._rows))
        scores = self._rows @ _unit(raw - self._centre)[0]
        return tuple(int(n) for n in np.argsort(-scores, kind="stable")[:k])


def _unit(rows: Floats) -> Floats:
    length = np.maximum(1e-6, np.linalg.norm(rows, axis=1, keepdims=True))
    return np.asarray(rows / length, dtype=np.float32)
