"""What a small learned judge looks at in a step: hashed words, and a few measures that words cannot tell.

The features of a step depend on the task, the earlier steps and the step itself, never on what came later (not even on the number of
steps), so a model on them can check live steps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log1p
from types import MappingProxyType
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.protocols import Evidence
from everystep.core.records import Step
from everystep.verify.arithmetic import equations
from everystep.verify.templates import action_text

_WORD = re.compile(r"[A-Za-z]+|\d+(?:\.\d+)?|[^\sA-Za-z\d]")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_MATHS = re.compile(
    r"\$[^$]{1,400}\$|\\\[.{1,400}?\\\]|[-+*/^=().\d\s\\a-z{}]*=[-+*/^=().\d\s\\{}]*", re.DOTALL
)
_MOST_WORDS = 400
_EARLIER = 200_000

DENSE = (
    "bias", "index", "words", "numbers", "new numbers", "equations", "wrong equations", "repeats",
    "overlap with the task", "overlap with the step before", "code", "question", "hedges", "first",
)  # fmt: skip
"""The measures, in order; each is about 0 to 1."""

_HEDGES = frozenset(
    ("but", "however", "assume", "maybe", "perhaps", "error", "sorry", "wait", "actually", "unfortunately")
)


@dataclass(frozen=True, slots=True)
class Features:
    """A step's features: buckets of hashed words (each once, sorted) and the measures of ``DENSE``."""

    buckets: NDArray[np.int32]
    dense: NDArray[np.float32]


View = Callable[[str], str]
"""What of a step's text is looked at."""


def maths_only(text: str) -> str:
    """Return the expressions of a text without its words: the view that card 10 of step reward models found enough.

    >>> maths_only("So we add them: 3 + 4 = 7, and stop").split()
    ['3', '+', '4', '=', '7']
    """
    return " ".join(
        match[0] for match in _MATHS.finditer(text[:20_000]) if any(c.isdigit() or c == "=" for c in match[0])
    )


def whole(text: str) -> str:
    """Return a text as it is."""
    return text


VIEWS: Mapping[str, View] = MappingProxyType({"whole": whole, "maths": maths_only})
"""Views by name."""


def view_of(name: str) -> View:
    """Return a view; ``ConfigError`` for an unknown one."""
    if name not in VIEWS:
        raise ConfigError(f"unknown view {name!r} of a step. {did_you_mean(name, VIEWS)}")
    return VIEWS[name]


def features_of(evidence: Evidence, *, size: int, view: str = "whole") -> Features:
    """Return the features of the judged step, with words hashed into ``size`` buckets."""
    look = view_of(view)
    step = evidence.step
    text = look(action_text(step))
    asked = look(f"{evidence.task.instruction}\n{step.observation.text}")
    earlier = [look(action_text(one)) for one in evidence.before]
    return _features(text, asked, earlier, step, size)


def _features(text: str, asked: str, earlier: Sequence[str], step: Step, size: int) -> Features:
    words = [_plain(word) for word in _words(text)]
    last = {_plain(word) for word in _words(earlier[-1])} if earlier else set()
    names = set(words)
    names |= {f"{one} {other}" for one, other in pairwise(words)}
    names |= {
        f"{one} {other} {third}" for one, other, third in zip(words, words[1:], words[2:], strict=False)
    }
    names |= {
        f"agent {step.agent}",
        f"start {' '.join(words[:2])}",
        *(f"call {call.name}" for call in step.action.calls),
    }
    task = {_plain(word) for word in _words(asked)}
    known = set(_NUMBER.findall(asked[:_EARLIER]))
    for one in earlier:
        known |= set(_NUMBER.findall(one))
    numbers = _NUMBER.findall(text[:_EARLIER])
    checked = [holds for *_, holds in equations(text)]
    own = set(words)
    dense = (
        1.0,
        min(1.0, len(earlier) / 20),
        log1p(len(words)) / 6,
        log1p(len(numbers)) / 4,
        sum(number not in known for number in numbers) / max(1, len(numbers)),
        min(1.0, len(checked) / 4),
        min(1.0, checked.count(False) / 2),
        float(text in earlier),
        len(own & task) / max(1, len(own)),
        len(own & last) / max(1, len(own)),
        float("```" in text),
        float("?" in text),
        min(1.0, len(own & _HEDGES) / 2),
        float(not earlier),
    )
    buckets = np.fromiter({crc32(name.encode("utf-8", "replace")) % size for name in names}, dtype=np.int32)
    return Features(np.sort(buckets), np.asarray(dense, dtype=np.float32))


def _words(text: str) -> list[str]:
    return _WORD.findall(text[: _MOST_WORDS * 12])[:_MOST_WORDS]


def _plain(word: str) -> str:
    """Numbers are one word by their length: which number it is would only be learned by heart."""
    return f"#{min(len(word), 4)}" if word[0].isdigit() else word.lower()
