"""Causal language models in this process: load one, and sample many conversations at once from it.

The sampler keeps every conversation's keys and values between turns, so a turn costs its new tokens
only, and it runs the network only where more than one token is possible.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from everystep.core.errors import ConfigError, ModelError, did_you_mean
from everystep.core.protocols import Generation, Request, Sampling, Turn, Usage
from everystep.core.records import Stop
from everystep.models import smollm
from everystep.models.cache import RowCache, forward
from everystep.models.draw import draw_allowed, draw_free
from everystep.models.pending import Pending, Session, check_number, check_sampling, points, text_before_stop
from everystep.models.template import (
    MINIMAL_JINJA,
    Template,
    chat_template,
    encode_turn,
    minimal_template,
    turn_record,
)

NAMED = {smollm.NAME: smollm.folder}
"""Models that can be loaded by name: each gives the folder of its checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """A causal language model with its tokenizer and template.

    ``network`` is a transformers model; training and sampling share its weights. ``context`` is the
    longest conversation in tokens. ``adapter`` is the peft wrapper around the same network where there
    is one (see ``lora``); saving then writes the adapter only.
    """

    network: Any
    tokenizer: Any
    template: Template
    name: str
    context: int
    adapter: Any = None

    @property
    def decoder(self) -> torch.nn.Module:
        """The network without its head: token ids to hidden states."""
        decoder: torch.nn.Module = self.network.base_model
        return decoder

    @property
    def head(self) -> torch.nn.Module:
        """Hidden states to logits."""
        head: torch.nn.Module = self.network.get_output_embeddings()
        return head

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.decoder.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.decoder.parameters()).dtype

    def save(self, folder: Path) -> None:
        """Write a checkpoint (safetensors, tokenizer, template) that ``load`` reads; ``folder`` must be new."""
        if folder.exists() and any(folder.iterdir()):
            raise ModelError(f"folder {str(folder)!r} is not empty. Name a new folder for the checkpoint.")
        with _quiet():
            (self.adapter or self.network).save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide transformers' bars, which would write into a run's own progress."""
    bars: Any = transformers_logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def load(
    name: str | Path, *, device: str = "cpu", dtype: str = "float32", context: int | None = None
) -> LocalModel:
    """Load a Hugging Face checkpoint folder, or a model of ``NAMED``. Nothing is downloaded.

    ``dtype`` is float32, bfloat16 or float16. ``context`` shortens the longest conversation; the default is what
    the model was made for. Raises ``ModelError`` where the folder is missing or not usable.

    >>> load("smollm2-135m")
    Traceback (most recent call last):
        ...
    everystep.core.errors.ModelError: no model 'smollm2-135m': it is neither a checkpoint folder here nor a known name. Did you mean 'smollm2-135m-instruct'? Nothing is downloaded at run time: fetch the checkpoint first and pass its folder.
    """
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in types:
        raise ConfigError(f"dtype {dtype!r}. {did_you_mean(dtype, types)}")
    folder = NAMED[str(name)]() if str(name) in NAMED else Path(name)
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"no model {str(name)!r}: it is neither a checkpoint folder here nor a known name. "
            f"{did_you_mean(str(name), NAMED)} Nothing is downloaded at run time: fetch the checkpoint first and "
            "pass its folder."
        )
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            network: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                local_files_only=True,
                dtype=types[dtype],
                attn_implementation="sdpa",
                use_safetensors=True,
            )
    except Exception as error:  # transformers raises many types here
        raise ModelError(
            f"cannot load {str(folder)!r}: {error}. Expected a Hugging Face folder with config.json, "
            "tokenizer.json and model.safetensors."
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer in {str(folder)!r} has no tokenizer.json. Convert it to a fast tokenizer."
        )
    longest = _context(network.config)
    if context is not None and not 1 <= context <= longest:
        raise ConfigError(f"context {context!r}: expected 1 to {longest} for {str(name)!r}.")
    network.to(device).eval()
    minimal = tokenizer.chat_template == MINIMAL_JINJA
    model = LocalModel(
        network=network,
        tokenizer=tokenizer,
        template=minimal_template(tokenizer) if minimal else chat_template(tokenizer),
        name=str(name),
        context=context or longest,
    )
    check_cache(model)
    return model


def _context(config: Any) -> int:
    """Return the longest conversation for which attention is full in all layers."""
    kinds = getattr(config, "layer_types", None)
    unknown = set(kinds or ()) - {"full_attention", "sliding_attention"}
    if unknown:
        raise ModelError(
            f"layers of kind {', '.join(sorted(unknown))} are not supported by the local sampler, only attention. "
            "Serve this model through an OpenAI-compatible endpoint instead."
        )
    longest = int(config.max_position_embeddings)
    window = getattr(config, "sliding_window", None)
    slides = getattr(config, "use_sliding_window", True) if kinds is None else "sliding_attention" in kinds
    return min(longest, int(window)) if window and slides else longest


@torch.inference_mode()
def check_cache(model: LocalModel) -> None:
    """Raise ``ModelError`` unless reading in two parts with the row cache equals a plain forward pass."""
    ids = [3 + index % 5 for index in range(7)]
    plain = (
        model.network(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
        .logits[0, -1]
        .float()
    )
    cache = RowCache()
    rows = [cache.add(), cache.add()]
    options = {"context": model.context, "max_tokens": 64}
    forward(model.decoder, model.head, cache, rows, [ids[:4], ids[:2]], **options)
    parts = forward(model.decoder, model.head, cache, rows, [ids[4:], ids[2:]], **options)
    gap = (torch.log_softmax(parts, -1) - torch.log_softmax(plain, -1)).abs().max().item()
    limit = 1e-3 if model.dtype == torch.float32 else 0.25
    if not gap <= limit:
        raise ModelError(
            f"model {model.name!r} ({type(model.network).__name__}) gives other log-probabilities with the cache than "
            f"without (difference {gap:.2g}, at most {limit}). This architecture is not supported by the local "
            "sampler; serve it through an OpenAI-compatible endpoint instead."
        )


# --- sampling -------------------------------------------------------------------------------------


class LocalSampler:
    """A sampler over a ``LocalModel``, batched over all conversations that are asked at once.

    With ``Request.allowed`` the model chooses among these texts token by token: the softmax is over the
    ids that continue an allowed text (its end of turn included), ``max_tokens`` and ``stop`` do not
    apply, and ``TokenRecord.allowed`` has the sets. Where only one id is possible the network is not
    run; such a token is recorded with log-probability 0.

    Without it, generation is free and ends at the end-of-turn token or another special token, a stop
    string (which stays in the tokens, not in the text), ``max_tokens``, or the end of the context; an end
    of turn that the model did not write itself is added as a forced span. Log-probabilities are those
    of the tempered distribution over the whole vocabulary, also when ``top_p`` is below 1. Temperature 0
    is greedy and records temperature 1.

    An answer depends on the conversation, the weights and ``Request.seed`` only, up to float noise.
    A conversation that does not fit into the context gives ``Stop.ERROR`` and is left as it was.
    ``policy`` names the weights: call ``refresh`` after they changed, which ends all conversations.
    """

    def __init__(self, model: LocalModel, *, policy: str = "0", max_batch_tokens: int = 16_384) -> None:
        self.model = model
        self._policy = policy
        self._max_batch_tokens = max_batch_tokens
        self._cache = RowCache()
        self._sessions: dict[str, Session] = {}
        self._rows: list[str] = []
        self._closed: dict[str, str] = {}

    @property
    def policy(self) -> str:
        return self._policy

    @property
    def live(self) -> int:
        """The number of conversations that are held."""
        return len(self._sessions)

    def refresh(self, policy: str) -> None:
        """Say that the weights changed. Conversations of the old weights end; asking them is an error."""
        why = f"it was opened under policy {self._policy!r} and the weights are now {policy!r}"
        self._closed.update(dict.fromkeys(self._sessions, why))
        self._sessions.clear()
        self._rows.clear()
        self._cache.clear()
        self._policy = policy

    @torch.inference_mode()
    def release(self, sessions: Sequence[str]) -> None:
        """Forget conversations. Unknown names are ignored."""
        for name in sessions:
            self._closed.pop(name, None)
            self._drop(name)

    @torch.inference_mode()
    def fork(self, session: str, new_session: str) -> None:
        """Make ``new_session`` continue from where ``session`` is now."""
        if session not in self._sessions:
            raise ModelError(f"cannot fork session {session!r}: it is not open. Ask it for a turn first.")
        if new_session in self._sessions:
            raise ModelError(
                f"cannot fork into session {new_session!r}: it exists. Release it, or name another."
            )
        old = self._sessions[session]
        row = self._cache.copy_row(old.row)
        self._closed.pop(new_session, None)
        self._sessions[new_session] = Session(row=row, pending=list(old.pending), turns=old.turns)
        self._rows.append(new_session)

    def prime(self, session: str, turns: Sequence[Turn]) -> None:
        """Open ``session`` behind turns that were taken before; their tokens are read with its next turn.

        Turns with tokens are put in exactly as they were; a turn without is tokenised from its text.
        """
        if session in self._sessions:
            raise ModelError(f"cannot prime session {session!r}: it is open. Release it, or name another.")
        ids: list[int] = []
        for number, turn in enumerate(turns):
            tokens = turn.tokens or encode_turn(
                self.model.template, turn.messages, turn.text, first=number == 0
            )
            ids += tokens.ids
        self._closed.pop(session, None)
        self._sessions[session] = Session(row=self._cache.add(), pending=ids, turns=len(turns))
        self._rows.append(session)

    @torch.inference_mode()
    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """Answer all requests, in order. A failing one gives ``Stop.ERROR``; a wrong option raises ``ConfigError``."""
        check_sampling(sampling)
        answers: dict[int, Generation] = {}
        turns: list[Pending] = []
        asked: set[str] = set()
        training = self.model.network.training
        if training:
            self.model.network.eval()
        try:
            for index, request in enumerate(requests):
                try:
                    turns.append(self._open(index, request, sampling, asked))
                except ModelError as error:
                    answers[index] = Generation(text="", stop=Stop.ERROR, error=str(error))
            self._generate(turns, sampling)
        except BaseException:
            for turn in turns:
                self._fail(turn.request.session, "the model failed in the middle of a turn")
            raise
        finally:
            if training:
                self.model.network.train()
        for turn in turns:
            answers[turn.index] = self._close(turn, sampling)
        return [answers[index] for index in range(len(requests))]

    # --- parts of a turn ------------------------------------------------------------------------

    def _open(self, index: int, request: Request, sampling: Sampling, asked: set[str]) -> Pending:
        name, template = request.session, self.model.template
        if name in asked:
            raise ModelError(
                f"session {name!r} is asked twice in one batch. Ask its turns one after another."
            )
        if name in self._closed:
            raise ModelError(
                f"session {name!r} is closed: {self._closed[name]}. Release it and start a new one."
            )
        session = self._sessions.get(name)
        context = template.context(request.messages, first=session is None or session.turns == 0)
        feed = [*(session.pending if session else ()), *context.ids]
        cached = self._cache.lengths[session.row] if session else 0
        node = None if request.allowed is None else template.choices(request.allowed)
        room = self.model.context - cached - len(feed)
        needed = len(template.end) + 1 if node is None else node.depth
        if room < needed:
            raise ModelError(
                f"session {name!r} has {cached + len(feed)} tokens and needs {needed} more for an answer, but the context "
                f"of model {self.model.name!r} is {self.model.context}. Shorten the observations or the episode."
            )
        if session is None:
            session = self._sessions[name] = Session(row=self._cache.add())
            self._rows.append(name)
        asked.add(name)
        turn = Pending(
            index=index,
            request=request,
            session=session,
            context=context,
            cached=cached,
            feed=feed,
            node=node,
            limit=min(sampling.max_tokens, room - len(template.end)),
        )
        if node is not None:
            turn.skip()
        return turn

    def _generate(self, turns: list[Pending], sampling: Sampling) -> None:
        model = self.model
        live = [turn for turn in turns if turn.stop is None]
        while live:
            try:
                logits = forward(
                    model.decoder,
                    model.head,
                    self._cache,
                    [turn.session.row for turn in live],
                    [turn.feed for turn in live],
                    context=model.context,
                    max_tokens=self._max_batch_tokens,
                )
            except torch.OutOfMemoryError as error:
                raise ModelError(
                    f"out of memory with {self.live} conversations: {error}. Run fewer at once, or lower max_batch_tokens."
                ) from error
            for turn in live:
                turn.feed = []
            chosen = [index for index, turn in enumerate(live) if turn.node is not None]
            free = [index for index, turn in enumerate(live) if turn.node is None]
            if chosen:
                self._choose(
                    logits if not free else logits[chosen], [live[index] for index in chosen], sampling
                )
            if free:
                self._write(logits if not chosen else logits[free], [live[index] for index in free], sampling)
            live = [turn for turn in live if turn.stop is None]

    def _choose(self, logits: torch.Tensor, turns: list[Pending], sampling: Sampling) -> None:
        allowed = [turn.node.ids for turn in turns if turn.node is not None]
        ids, logprobs = draw_allowed(logits, allowed, sampling.temperature, points(turns))
        for turn, token, logprob in zip(turns, ids, logprobs, strict=True):
            turn.descend(token, logprob)
            check_number(turn, logprob)

    def _write(self, logits: torch.Tensor, turns: list[Pending], sampling: Sampling) -> None:
        template = self.model.template
        ids, logprobs = draw_free(logits, sampling.temperature, sampling.top_p, points(turns))
        for turn, token, logprob in zip(turns, ids, logprobs, strict=True):
            turn.take(token, logprob)
            if token in template.pieces.stops:
                turn.text, turn.stop = template.decode(tuple(turn.ids[:-1])), Stop.STOP
                turn.forced = () if token == template.end[-1] else template.end
            elif (text := text_before_stop(template, turn.ids, sampling.stop)) is not None:
                turn.text, turn.stop, turn.forced = text, Stop.STOP, template.end
            elif len(turn.ids) >= turn.limit:
                turn.text, turn.stop, turn.forced = (
                    template.decode(tuple(turn.ids)),
                    Stop.LENGTH,
                    template.end,
                )
            check_number(turn, logprob)

    def _close(self, turn: Pending, sampling: Sampling) -> Generation:
        assert turn.stop is not None  # noqa: S101
        usage = Usage(prompt=len(turn.context.ids), cached=turn.cached, completion=len(turn.ids))
        if turn.error is not None:
            self._fail(turn.request.session, turn.error)
            return Generation(text="", stop=Stop.ERROR, usage=usage, error=turn.error)
        turn.session.pending = [*turn.feed, *turn.forced]
        turn.session.turns += 1
        record = turn_record(
            turn.context.ids,
            tuple(turn.ids),
            tuple(turn.logprobs),
            tool=turn.context.tool,
            forced=turn.forced,
            allowed=None if turn.node is None else tuple(turn.allowed),
            temperature=sampling.temperature or 1.0,
            policy=self._policy,
        )
        return Generation(text=turn.text, stop=turn.stop, tokens=record, usage=usage)

    def _fail(self, name: str, why: str) -> None:
        self._drop(name)
        self._closed[name] = why

    def _drop(self, name: str) -> None:
        session = self._sessions.pop(name, None)
        if session is None:
            return
        if self._cache.remove(session.row) is not None:
            moved = self._rows[-1]
            self._rows[session.row] = moved
            self._sessions[moved].row = session.row
        self._rows.pop()
