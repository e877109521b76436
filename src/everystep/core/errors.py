"""One error type for each boundary that a run crosses.

Every message says what happened, what was expected, and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class EverystepError(Exception):
    """Anything that Everystep raises on purpose."""


class ConfigError(EverystepError):
    """An option is unknown, out of range, or contradicts another one."""


class ModelError(EverystepError):
    """A model could not be loaded or could not answer."""


class ToolError(EverystepError):
    """A tool could not be called."""


class WorldError(EverystepError):
    """An environment broke, or was used against its contract."""


class JudgeError(EverystepError):
    """A judge gave no usable verdict."""


class StoreError(EverystepError):
    """A journal, a Parquet file or a checkpoint cannot be read or written."""


class LearnerError(EverystepError):
    """A learner was asked for something it cannot do, or its numbers went wrong."""


class DataError(EverystepError):
    """Data cannot be read, or does not fit together."""


class BudgetError(EverystepError):
    """A budget would be exceeded."""


_LISTED = 30


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that suggests the closest known name, or lists the known ones.

    >>> did_you_mean("gigp", ["gigpo", "grpo"])
    "Did you mean 'gigpo'?"
    >>> did_you_mean("x", ["b", "a"])
    'Known: a, b.'
    """
    names = sorted(known)
    lower = {one.lower(): one for one in names}
    close = get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {lower[close[0]]!r}?"
    some = ", ".join(names[:_LISTED]) or "none"
    return f"Known: {some}{f' and {len(names) - _LISTED} more' if len(names) > _LISTED else ''}."
