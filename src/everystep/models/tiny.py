"""A tiny language model made on the spot: a tokenizer of an environment's own words, random weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from everystep.core.errors import ConfigError
from everystep.models.local import LocalModel
from everystep.models.template import END, MARKERS, MINIMAL_JINJA, PAD, UNKNOWN, minimal_template

_WORDS = r" ?\w*[^\W\d]\w*(?:[-']\w+)*| ?\d| ?[^\w\s]|\s"
_PRINTABLE = [chr(code) for code in range(32, 127)] + ["\n"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The shape of a tiny Llama: ``width`` is a multiple of ``2 * heads``; the inner width is ``2 * width``."""

    layers: int
    width: int
    heads: int


def tiny_tokenizer(texts: Iterable[str], *, characters: bool = False, max_words: int = 16_384) -> Any:
    """Return a fast transformers tokenizer of ``texts`` by words: each word, digit and punctuation mark is one token.

    A word is letters, digits and underscores with at least one letter, inner hyphens and apostrophes
    included; it has the same id at the start of a text or line as after a space. Known texts decode to
    themselves exactly. Unknown words become the unknown token, or their characters when ``characters``
    adds printable ASCII to the vocabulary. ``max_words`` keeps the most frequent ones.
    """
    normalizer = normalizers.Sequence([normalizers.Replace("\n", "\n "), normalizers.Prepend(" ")])
    splitter = pre_tokenizers.Split(Regex(_WORDS), behavior="isolated")
    counts: Counter[str] = Counter()
    for text in dict.fromkeys(texts):
        if text:
            counts.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    words = {word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:max_words]}
    if not words:
        raise ConfigError("a tiny tokenizer needs texts, and got none. Pass observations and actions.")
    if any(word.strip().isdigit() for word in words):
        words |= {f"{space}{digit}" for space in ("", " ") for digit in range(10)}
    if characters:
        words |= set(_PRINTABLE) | {letter for word in words for letter in word}
    special = [PAD, UNKNOWN, END, *MARKERS.values()]
    vocabulary = {word: index for index, word in enumerate([*special, *sorted(words)])}
    backend = Tokenizer(WordPiece(vocabulary, unk_token=UNKNOWN, continuing_subword_prefix=""))
    backend.normalizer = normalizer
    backend.pre_tokenizer = splitter
    backend.decoder = decoders.Sequence(
        [decoders.Fuse(), decoders.Replace("\n ", "\n"), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in special])
    fast: Any = PreTrainedTokenizerFast
    return fast(
        tokenizer_object=backend,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        additional_special_tokens=list(MARKERS.values()),
        chat_template=MINIMAL_JINJA,
        clean_up_tokenization_spaces=False,
    )


def tiny_model(
    texts: Iterable[str],
    *,
    size: str | Shape = "0.1M",
    seed: int = 0,
    context: int = 2048,
    characters: bool = False,
    device: str = "cpu",
) -> LocalModel:
    """Return a randomly initialised Llama with a tokenizer of ``texts`` (observations, actions).

    ``size`` is a number of parameters such as ``"0.1M"`` (0.02M to 100M, embeddings included), or a ``Shape``.
    ``context`` is the longest conversation in tokens. The same texts, size and seed give the same
    weights; the global random state is left alone.

    >>> model = tiny_model(["go left", "go right"], size="0.05M", seed=1)
    >>> model.template.decode(model.template.encode("go right"))
    'go right'
    """
    tokenizer = tiny_tokenizer(texts, characters=characters)
    vocabulary = len(tokenizer)
    shape = size if isinstance(size, Shape) else shape_of(size, vocabulary)
    if shape.layers < 1 or shape.heads < 1 or shape.width % (2 * shape.heads):
        raise ConfigError(f"{shape!r}: expected at least one layer and a width that 2 * heads divides.")
    settings: Any = LlamaConfig
    config = settings(
        vocab_size=vocabulary,
        hidden_size=shape.width,
        intermediate_size=2 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        # Larger than usual, and a short rotary base: a small model learns to find things in its context sooner.
        initializer_range=1.2 / math.sqrt(shape.width),
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network: Any = LlamaForCausalLM(config)
    network.eval()
    return LocalModel(
        network=network.to(device),
        tokenizer=tokenizer,
        template=minimal_template(tokenizer),
        name=f"tiny-{network.num_parameters()}",
        context=context,
    )


def shape_of(size: str, vocabulary: int) -> Shape:
    """Return the shape whose parameter count comes closest to ``size`` (such as ``"0.5M"`` or ``"300K"``).

    >>> shape_of("0.1M", 100)
    Shape(layers=2, width=64, heads=4)
    """
    units = {"K": 1e3, "M": 1e6}
    try:
        target = float(size[:-1]) * units[size[-1:].upper()]
    except (KeyError, ValueError):
        raise ConfigError(f"size {size!r}: expected a number with K or M, such as '0.1M'.") from None
    if not 2e4 <= target <= 1e8:
        raise ConfigError(f"size {size!r}: expected 0.02M to 100M parameters.")
    layers = 2 if target < 4e5 else 4 if target < 3e6 else 6
    widths = [*range(16, 129, 16), *range(160, 2049, 32)]
    width = min(widths, key=lambda one: abs(vocabulary * one + layers * 10 * one * one - target))
    return Shape(layers=layers, width=width, heads=width // (16 if width <= 128 else 32))
