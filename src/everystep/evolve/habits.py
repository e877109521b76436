"""What usually comes next: the most frequent action, everywhere or behind the kind of the last one. What any model of histories has to beat."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from everystep.core.errors import DataError


def habit(
    episodes: Iterable[Sequence[str]], kind: Callable[[str], str], *, last: bool
) -> Callable[[Sequence[str]], str]:
    """Return what says the next action from those before it: of the most frequent kind, its most frequent one.

    With ``last`` the kind is the most frequent one behind the kind of the last action (or at the beginning); behind a kind that was never left, and without ``last``, the most
    frequent one of all. Raises ``DataError`` where there are no actions.

    >>> say = habit([["open", "tap 1", "tap 1"], ["open", "tap 2", "type a"]], lambda one: one.split()[0], last=True)
    >>> say([]), say(["open"]), say(["open", "type b"])
    ('open', 'tap 1', 'tap 1')
    """
    follows: dict[str | None, Counter[str]] = defaultdict(Counter)
    forms: dict[str, Counter[str]] = defaultdict(Counter)
    every: Counter[str] = Counter()
    for actions in episodes:
        before = None
        for action in actions:
            now = kind(action)
            follows[before][now] += 1
            forms[now][action] += 1
            every[now] += 1
            before = now
    if not every:
        raise DataError("there is no action, so nothing is usual. Give episodes with actions.")

    def say(done: Sequence[str]) -> str:
        known = follows.get(kind(done[-1]) if done else None) if last else None
        return forms[(known or every).most_common(1)[0][0]].most_common(1)[0][0]

    return say
