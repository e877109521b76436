"""BIG-Bench Hard (Suzgun et al. 2022, arXiv:2210.09261): questions with one right answer each, by family. The data is for evaluation only and is not packaged."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from everystep.core.errors import ConfigError, DataError, did_you_mean
from everystep.environments.published import find_file, read_text

SOURCE = "https://github.com/suzgunmirac/BIG-Bench-Hard (MIT): its folder bbh"
FAMILIES = (
    "boolean_expressions",
    "disambiguation_qa",
    "dyck_languages",
    "formal_fallacies",
    "geometric_shapes",
    "hyperbaton",
    "snarks",
    "temporal_sequences",
    "tracking_shuffled_objects_five_objects",
    "tracking_shuffled_objects_three_objects",
    "web_of_lies",
    "word_sorting",
    "penguins_in_a_table",
    "reasoning_about_colored_objects",
    "ruin_names",
    "salient_translation_error_detection",
)
"""Families that are known here; others have the same form."""
_OPTION = re.compile(r"^(?:(\([A-Z]\))|- (.*?)[ ]*$)", re.MULTILINE)
_SAID = {"boolean_expressions": ("True", "False"), "web_of_lies": ("Yes", "No")}


@cache
def questions_of(family: str) -> tuple[tuple[str, str], ...]:
    """Return questions and answers of a family, in order, from ``EVERYSTEP_DATA/bbh``. ``ConfigError`` where the file is not there, ``DataError`` for another form."""
    if family not in FAMILIES:
        raise ConfigError(f"bbh has no family {family!r} here. {did_you_mean(family, FAMILIES)}")
    path = find_file("bbh", f"{family}.json", SOURCE)
    try:
        body: Any = json.loads(read_text(path))
        return tuple((_text(one["input"]), _text(one["target"])) for one in body["examples"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path.name} is no family of BBH ({error!r}); expected an object with examples of input and target, from {SOURCE}."
        ) from None


def choices_of(family: str, question: str) -> tuple[str, ...]:
    """Return what may be answered: the options that a question lists, True or False, Yes or No; nothing where the answer is free.

    >>> choices_of("snarks", "Which one is sarcastic?\\nOptions:\\n(A) He is\\n(B) He was")
    ('(A)', '(B)')
    """
    _, mark, options = question.partition("Options:\n")
    if not mark:
        return _SAID.get(family, ())
    return tuple(letter or word for letter, word in _OPTION.findall(options))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
