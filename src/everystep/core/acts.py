"""The records of acting with care: what an act does to the world, who let it happen, what is in doubt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

from everystep.core.codec import encode
from everystep.core.records import Action, Json


class Reversal(StrEnum):
    """Whether an act can be taken back."""

    PURE = "pure"  # it only reads
    UNDOABLE = "undoable"  # the opposite act restores the state exactly
    COMPENSATABLE = "compensatable"  # a further act makes up for it
    IRREVERSIBLE = "irreversible"  # nothing takes it back


class Risk(StrEnum):
    """What is at stake when an act goes wrong, from nothing to harm that stays."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


RISKS = tuple(Risk)
"""All risks, the smallest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What an act does outside of the process.

    ``idempotent`` means that doing it twice with the same key is doing it once. Acts that name a common
    entry in ``resources`` never run at the same time.
    """

    name: str
    reversal: Reversal = Reversal.PURE
    risk: Risk = Risk.NONE
    idempotent: bool = False
    resources: tuple[str, ...] = ()

    @property
    def repeatable(self) -> bool:
        """Whether the act may be run again when it is not known if it ran."""
        return self.idempotent or self.reversal is Reversal.PURE


class Permit(StrEnum):
    """How far an agent may go by itself, from the most to the least."""

    ACT = "act"  # go on, and log it
    VETO = "veto"  # go on unless somebody objects in time
    ASK = "ask"  # only with somebody's grant
    REFUSE = "refuse"  # not at all: advise only


PERMITS = tuple(Permit)
"""All permits, the freest first."""


class Answer(StrEnum):
    """How a request for approval ended."""

    GRANTED = "granted"
    DENIED = "denied"
    EDITED = "edited"  # another action takes its place, as a new step
    TIMEOUT = "timeout"  # nobody answered: the safe default holds


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequest:
    """A question to a person about one exact action. ``expires`` is in seconds since 1970.

    ``digest`` is ``action_digest`` of the action: a grant is good for this action and no other.
    """

    id: str
    run: str
    step: str
    action: Action
    digest: str
    effect: Effect
    reason: str
    permit: Permit = Permit.ASK
    expires: float | None = None
    context: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """The answer to a request. ``action`` is set when it was ``EDITED``."""

    request: str
    step: str
    digest: str
    answer: Answer
    by: str = ""
    reason: str = ""
    action: Action | None = None
    time: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What a gate said about an action. ``permit`` is the level that applied.

    ``allowed`` says whether the act may happen now. Where it may not, ``reason`` is told to the agent, or
    ``action`` takes the place of the refused one. ``pending`` means that nobody has answered yet to ``request`` and the run should pause.
    """

    allowed: bool
    permit: Permit = Permit.ACT
    reason: str = ""
    action: Action | None = None
    pending: bool = False
    approval: Approval | None = None
    request: ApprovalRequest | None = None
    facts: Mapping[str, Json] = field(default_factory=dict)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def action_digest(action: Action) -> str:
    """Return the hash of what an action does: its calls, or its text where it has none.

    >>> action_digest(Action(text="go")) == action_digest(Action(text="go"))
    True
    >>> action_digest(Action(text="go")) == action_digest(Action(text="stop"))
    False
    """
    what: object = action.text
    if action.calls:
        what = [[call.name, encode(dict(call.arguments))] for call in action.calls]
    return sha256(_CANONICAL.encode(what).encode()).hexdigest()


def idempotency_key(run: str, step: str, digest: str) -> str:
    """Return the key under which one step's act is done at most once."""
    return sha256("\x1f".join((run, step, digest)).encode()).hexdigest()[:32]
