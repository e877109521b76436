"""Measures of predicted actions on AndroidControl's gold steps, by the published check of each (``environments.phone.android_acts``)."""

from __future__ import annotations

from collections.abc import Sequence

from everystep.environments.phone.android_acts import TEXTED, Act, Gold, matched


def act_shares(acts: Sequence[Act | None], gold: Sequence[Gold]) -> dict[str, float]:
    """Return the shares of steps whose kind (``type``) and whose action is right; ``text``: of those that type or open; ``unreadable``: of answers that are no action.

    >>> act_shares([Act(kind="wait"), None], [Gold(act=Act(kind="wait")), Gold(act=Act(kind="type", text="a"))])
    {'type': 0.5, 'action': 0.5, 'text': 0.0, 'unreadable': 0.5}
    """
    found = [matched(act, one) for act, one in zip(acts, gold, strict=True)]
    texts = [one.action for one, wanted in zip(found, gold, strict=True) if wanted.act.kind in TEXTED]
    return {
        "type": _mean([one.kind for one in found]),
        "action": _mean([one.action for one in found]),
        "text": _mean(texts),
        "unreadable": _mean([act is None for act in acts]),
    }


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / max(1, len(values))
