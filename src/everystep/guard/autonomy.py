"""How far an agent may go by itself: a table of risk and measured reliability, and the gate that applies it.

The table is ours; the levels are those of adaptive autonomy (S35: act and log, act unless vetoed, ask first, advise
only). Trust falls at once and comes back only after ``clean`` decisions in a row, so that it does not flicker.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from everystep.core.acts import (
    PERMITS,
    RISKS,
    Answer,
    Approval,
    ApprovalRequest,
    Effect,
    Permission,
    Permit,
    Risk,
    action_digest,
    idempotency_key,
)
from everystep.core.errors import ConfigError, DataError, StoreError
from everystep.core.protocols import Situation
from everystep.core.records import Action, Json
from everystep.guard.approval import Approver, resolve

Row = tuple[tuple[float, Permit], ...]
"""The permits of one risk: each with the smallest reliability that earns it, the freest first, the last from 0."""

DEFAULT_TABLE: Mapping[Risk, Row] = MappingProxyType(
    {
        Risk.NONE: ((0.0, Permit.ACT),),
        Risk.LOW: ((0.8, Permit.ACT), (0.5, Permit.VETO), (0.0, Permit.ASK)),
        Risk.MEDIUM: ((0.95, Permit.ACT), (0.8, Permit.VETO), (0.3, Permit.ASK), (0.0, Permit.REFUSE)),
        Risk.HIGH: ((0.5, Permit.ASK), (0.0, Permit.REFUSE)),
    }
)
"""What each risk needs. An act of high risk is never done without somebody's grant."""

Reliability = Callable[[Situation, Action, Effect], float]
"""How sure it is, in [0, 1], that this decision is right: a measured rate, a drift detector, a calibration."""


def fixed(reliability: float) -> Reliability:
    """Return a reliability that is always the same number, such as a success rate measured before."""
    _check_share("reliability", reliability)
    return lambda _situation, _action, _effect: reliability


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Who decides what. ``ceiling`` is the greatest risk that the run may take at all.

    ``clean`` decisions in a row bring back trust that was lost (0: each decision stands for itself). ``veto_s`` is how long an act with veto waits for an
    objection. A request for a grant is void after ``expiry_s`` (``None``: never) and the act does not happen. ``pause``: where
    nobody is there to answer, the run stops and is resumed later, instead of waiting.
    """

    table: Mapping[Risk, Row] = field(default_factory=lambda: DEFAULT_TABLE)
    ceiling: Risk = Risk.HIGH
    clean: int = 5
    veto_s: float = 30.0
    expiry_s: float | None = 3600.0
    pause: bool = False

    def __post_init__(self) -> None:
        if self.clean < 0 or not self.veto_s > 0 or not (self.expiry_s is None or self.expiry_s > 0):
            raise ConfigError(
                f"clean {self.clean!r}, veto_s {self.veto_s!r}, expiry_s {self.expiry_s!r}: expected 0 or more "
                "decisions and more than 0 seconds."
            )
        check_table(self.table)

    def permit(self, risk: Risk, reliability: float) -> Permit:
        """Return what the table says about ``risk`` at ``reliability`` (0 to 1).

        >>> str(Policy().permit(Risk.LOW, 0.9)), str(Policy(ceiling=Risk.NONE).permit(Risk.LOW, 0.9))
        ('act', 'refuse')
        """
        if RISKS.index(risk) > RISKS.index(self.ceiling):
            return Permit.REFUSE
        return _looked_up(self.table[risk], reliability)


def check_table(table: Mapping[Risk, Row]) -> None:
    """Raise ``ConfigError`` unless every risk has a row, rows fall to 0, and neither more risk nor less reliability frees."""
    for risk in RISKS:
        row = table.get(risk)
        if not row or row[-1][0] != 0.0:
            raise ConfigError(
                f"the autonomy table says nothing about risk {str(risk)!r} at reliability 0. End its row with (0.0, permit)."
            )
        needs = [need for need, _ in row]
        ranks = [PERMITS.index(permit) for _, permit in row]
        if needs != sorted(set(needs), reverse=True) or ranks != sorted(ranks) or not needs[0] <= 1.0:
            raise ConfigError(
                f"the autonomy row of risk {str(risk)!r} is {row!r}; expected falling reliabilities within 0 to 1 "
                "and permits from the freest to the strictest."
            )
    for lower, higher in itertools.pairwise(RISKS):
        for need, _ in (*table[lower], *table[higher], (1.0, Permit.ACT)):
            if PERMITS.index(_looked_up(table[higher], need)) < PERMITS.index(_looked_up(table[lower], need)):
                raise ConfigError(
                    f"at reliability {need!r} the autonomy table lets risk {str(higher)!r} go further than risk "
                    f"{str(lower)!r}. More risk must not free."
                )


def _looked_up(row: Row, reliability: float) -> Permit:
    return next((permit for need, permit in row if reliability >= need), row[-1][1])


class Trust:
    """Reliability with hysteresis: the least of the last ``clean`` + 1 readings.

    It falls with the reading, and rises when ``clean`` readings in a row were higher. ``spoil`` keeps it down for as many more.

    >>> trust = Trust(clean=2)
    >>> [trust.read(x) for x in (0.9, 0.2, 0.9, 0.9, 0.9)]
    [0.9, 0.2, 0.2, 0.2, 0.9]
    """

    def __init__(self, *, clean: int) -> None:
        self._recent: deque[float] = deque(maxlen=clean + 1)

    def read(self, reliability: float) -> float:
        """Take one decision's reliability and return what may be relied on."""
        self._recent.append(reliability)
        return min(self._recent)

    def spoil(self) -> None:
        """Say that the last decision was not clean: it turned out wrong, or a person stopped it."""
        if self._recent:
            self._recent[-1] = min(self._recent)

    def dump(self) -> list[float]:
        """Return the state, for ``load``."""
        return list(self._recent)

    def load(self, state: list[float]) -> None:
        """Go on from a state."""
        self._recent.clear()
        self._recent.extend(state)


class Autonomy:
    """The gate: looks up the permit of each act, and asks ``approver`` where the table says so.

    Without an approver nobody can grant or object, so both become a refusal. ``asked`` hears of every request that the gate
    waits for, before it does (a run that waits can be killed: journal it as ``ASKED``); one that makes the run pause stands in the
    permission. ``outcome`` tells it how an act turned out. A person's edit is good for the edited action, once. A reliability that is not a number in [0, 1] counts as 0.
    """

    def __init__(
        self,
        *,
        reliability: Reliability,
        approver: Approver | None = None,
        policy: Policy | None = None,
        asked: Callable[[ApprovalRequest], object] | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.policy = policy or Policy()
        self._reliability = reliability
        self._approver = approver
        self._asked = asked
        self._clock = clock
        self._sleep = sleep
        self._trust = Trust(clean=self.policy.clean)
        self._edited: dict[tuple[str, str], int] = {}

    async def permit(self, situation: Situation, action: Action, effect: Effect) -> Permission:
        """Say whether ``action`` may happen now."""
        measured = self._reliability(situation, action, effect)
        measured = measured if 0.0 <= measured <= 1.0 else 0.0
        trusted = self._trust.read(measured)
        permit = self.policy.permit(effect.risk, trusted)
        facts: dict[str, Json] = {
            "risk": effect.risk.value,
            "reliability": measured,
            "trusted": trusted,
        }
        if permit is Permit.ACT:
            return Permission(allowed=True, permit=permit, facts=facts)
        why = f"{effect.name!r} has {effect.risk.value} risk and reliability is {trusted:.2f}"
        if permit is Permit.REFUSE:
            return Permission(allowed=False, permit=permit, reason=f"refused: {why}", facts=facts)
        if self._was_edited(situation.run, action_digest(action)):
            return Permission(allowed=True, permit=permit, reason="as a person edited it", facts=facts)
        if self._approver is None:
            reason = f"refused: {why}, and there is nobody to ask"
            return Permission(allowed=False, permit=Permit.REFUSE, reason=reason, facts=facts)
        return await self._ask(self._approver, situation, action, effect, permit, why, facts)

    def outcome(self, good: bool) -> None:
        """Hear whether the last act was right; a wrong one keeps trust where it is for ``clean`` more decisions."""
        if not good:
            self._trust.spoil()

    def dump(self) -> Json:
        """Return the state as JSON, so that a resumed run trusts no more than before."""
        return {"trust": [*self._trust.dump()]}

    def load(self, state: Json) -> None:
        """Go on from a state that ``dump`` returned."""
        recent = state.get("trust") if isinstance(state, dict) else None
        if not isinstance(recent, list) or not all(
            isinstance(one, float | int) and 0 <= one <= 1 for one in recent
        ):
            raise StoreError(
                f"{state!r} is no state of a gate; expected the readings under 'trust'. Start afresh."
            )
        self._trust.load([float(one) for one in recent if isinstance(one, float | int)])

    # --- asking ---------------------------------------------------------------------------------

    async def _ask(
        self,
        approver: Approver,
        situation: Situation,
        action: Action,
        effect: Effect,
        permit: Permit,
        why: str,
        facts: Mapping[str, Json],
    ) -> Permission:
        digest = action_digest(action)
        wait_s = self.policy.veto_s if permit is Permit.VETO else self.policy.expiry_s
        request = ApprovalRequest(
            id=idempotency_key(situation.run, situation.step, digest),
            run=situation.run,
            step=situation.step,
            action=action,
            digest=digest,
            effect=effect,
            reason=why,
            permit=permit,
            expires=None if wait_s is None else self._clock() + wait_s,
            context=situation.goal,
        )
        wait = permit is Permit.VETO or not self.policy.pause
        if wait and self._asked is not None:
            self._asked(request)
        approval = await resolve(request, approver, clock=self._clock, sleep=self._sleep, wait=wait)
        if approval is None:
            reason = "waiting for a person's answer"
            return Permission(
                allowed=False, permit=permit, reason=reason, pending=True, request=request, facts=facts
            )
        return self._settled(situation.run, permit, approval, facts)

    def _settled(self, run: str, permit: Permit, approval: Approval, facts: Mapping[str, Json]) -> Permission:
        answer = approval.answer
        told = f": {approval.reason}" if approval.reason else ""
        if answer is Answer.GRANTED:
            return Permission(allowed=True, permit=permit, approval=approval, facts=facts)
        if answer is Answer.TIMEOUT:
            reason = "nobody objected in time" if permit is Permit.VETO else "nobody answered in time"
            allowed = permit is Permit.VETO
            return Permission(allowed=allowed, permit=permit, reason=reason, approval=approval, facts=facts)
        self._trust.spoil()
        if answer is Answer.EDITED:
            key = (run, approval.digest)
            self._edited[key] = self._edited.get(key, 0) + 1
            return Permission(
                allowed=False,
                permit=permit,
                reason=f"a person put another action in its place{told}",
                action=approval.action,
                approval=approval,
                facts=facts,
            )
        reason = f"a person said no{told}"
        return Permission(allowed=False, permit=permit, reason=reason, approval=approval, facts=facts)

    def _was_edited(self, run: str, digest: str) -> bool:
        left = self._edited.pop((run, digest), 0)
        if left > 1:
            self._edited[run, digest] = left - 1
        return left > 0


def need_for(streams: Sequence[tuple[Sequence[float], Sequence[bool]]], *, asked: float, clean: int) -> float:
    """Return the reliability to ask for, so that a gate asks about a share of about ``asked`` decisions of the streams.

    A stream is the reliability of its decisions in order, and whether each was wrong: then a person corrects it and the gate reads it once more.

    >>> need_for([([0.9, 0.2, 0.8, 0.6], [False, True, False, False])], asked=0.5, clean=0)
    0.8
    """
    decisions = sum(len(scores) for scores, _ in streams)
    if not decisions:
        raise DataError("no decisions to set a threshold by. Give one or more streams.")
    needs = sorted({score for scores, _ in streams for score in scores})
    shares = {0: 0.0}
    low, high = 0, len(needs) - 1
    while low <= high:
        middle = (low + high) // 2
        found = sum(_asked(scores, wrong, needs[middle], clean) for scores, wrong in streams)
        shares[middle] = found / decisions
        low, high = (middle + 1, high) if shares[middle] < asked else (low, middle - 1)
    return needs[min(shares, key=lambda place: abs(shares[place] - asked))]


def _asked(scores: Sequence[float], wrong: Sequence[bool], need: float, clean: int) -> int:
    trust, asked = Trust(clean=clean), 0
    for score, mistaken in zip(scores, wrong, strict=True):
        if trust.read(score) < need:
            asked += 1
            if mistaken:
                trust.spoil()
                trust.read(score)
    return asked


def _check_share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name} {value!r}: expected a number from 0 to 1.")
