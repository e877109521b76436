"""Asking a person about one exact action: the question, the answer, and what makes an answer count.

An answer is bound to the digest of the action that was shown, expires, and is used once. No answer in time is an
answer too: ``Answer.TIMEOUT``, and the act that needed a grant does not happen.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Protocol

from everystep.core.acts import Answer, Approval, ApprovalRequest, action_digest
from everystep.core.codec import dumps
from everystep.core.errors import StoreError
from everystep.core.records import Action, Json, ToolCall

_FREEING = (Answer.GRANTED, Answer.EDITED)
_SHOWN = 20_000  # characters of an action that a person is asked to read


class Approver(Protocol):
    """Puts a request to somebody. ``None`` means that nobody has answered yet: ask again later with the same request."""

    async def ask(self, request: ApprovalRequest) -> Approval | None: ...


def answered(
    request: ApprovalRequest,
    answer: Answer,
    *,
    by: str = "",
    reason: str = "",
    action: Action | None = None,
    time: float = 0.0,
) -> Approval:
    """Return the answer to ``request``; ``EDITED`` takes the action that replaces the one asked about.

    An edit that changes nothing is a grant. Raises ``StoreError`` when an action is missing or has no place.
    """
    if (answer is Answer.EDITED) != (action is not None):
        raise StoreError(
            f"the answer to request {request.id!r} is {str(answer)!r} and its action is {action!r}; an edit has "
            "an action and no other answer does."
        )
    digest = request.digest if action is None else action_digest(action)
    if action is not None and digest == request.digest:
        answer, action = Answer.GRANTED, None
    return Approval(
        request=request.id,
        step=request.step,
        digest=digest,
        answer=answer,
        by=by,
        reason=reason,
        action=action,
        time=time,
    )


def flaw(request: ApprovalRequest, approval: Approval) -> str | None:
    """Return why ``approval`` does not answer ``request``, ``None`` where it does.

    A grant of one action never lets another one through; an edit must carry the action that its digest names.
    """
    if approval.request != request.id or approval.step != request.step:
        return f"it answers request {approval.request!r} of step {approval.step!r}"
    if request.digest != action_digest(request.action):
        return "the request names another action than it shows"
    if approval.answer is Answer.EDITED:
        if approval.action is None or action_digest(approval.action) != approval.digest:
            return "its digest is not that of the edited action"
        return None
    if approval.action is not None or approval.digest != request.digest:
        return "it is about another action"
    return None


async def resolve(
    request: ApprovalRequest,
    approver: Approver,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    wait: bool = True,
    poll_s: float = 1.0,
) -> Approval | None:
    """Ask until there is an answer or the request expires; without ``wait`` ask once and return ``None`` if nobody answered.

    An answer that does not fit the request counts as ``DENIED``, with the reason. After ``request.expires`` a grant or an
    edit counts as ``TIMEOUT``; a denial always counts.
    """
    while True:
        left_s = None if request.expires is None else request.expires - clock()
        try:
            async with asyncio.timeout(None if left_s is None else max(0.0, left_s)):
                approval = await approver.ask(request)
        except TimeoutError:
            return answered(request, Answer.TIMEOUT, time=clock())
        if approval is not None:
            return _judged(request, approval, clock())
        if (
            left_s is not None and left_s <= 0
        ):  # asked once more after the end, for an objection at the last moment
            return answered(request, Answer.TIMEOUT, time=clock())
        if not wait:
            return None
        await sleep(poll_s if left_s is None else min(poll_s, left_s))


def _judged(request: ApprovalRequest, approval: Approval, now: float) -> Approval:
    why = flaw(request, approval)
    if why is not None:
        reason = f"the answer is void: {why}"
        return answered(request, Answer.DENIED, by=approval.by, reason=reason, time=now)
    if approval.answer in _FREEING and request.expires is not None and now >= request.expires:
        return answered(request, Answer.TIMEOUT, reason="the answer came too late", time=now)
    return approval


class Callback:
    """Answers by a function of the request, which may return ``None`` for "not yet"."""

    def __init__(self, decide: Callable[[ApprovalRequest], Approval | None]) -> None:
        self._decide = decide

    async def ask(self, request: ApprovalRequest) -> Approval | None:
        """Return what the function says."""
        return self._decide(request)


def always(answer: Answer, *, by: str = "script") -> Callback:
    """Return an approver that gives the same answer to every request (not ``EDITED``), for scripts and tests."""
    return Callback(lambda request: answered(request, answer, by=by))


# --- showing and reading an action -------------------------------------------------------------


def visible(text: str) -> str:
    r"""Return ``text`` with every character that could hide or change something on a screen spelled out.

    >>> visible("ok\x1b[2K\u202egnp")
    'ok\\x1b[2K\\u202egnp'
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def described(request: ApprovalRequest) -> str:
    """Return the request as plain text: what would happen, why somebody is asked, and the exact action."""
    effect = request.effect
    shown = action_text(request.action)
    rest = len(shown) - _SHOWN
    lines = [
        f"step      {request.step}",
        f"goal      {request.context}" if request.context else "",
        f"effect    {effect.name} ({effect.reversal.value}, {effect.risk.value} risk)",
        f"why       {request.reason}",
        f"digest    {request.digest[:16]}",
        f"action    {shown[:_SHOWN]}",
        f"          ... and {rest} more characters that are not shown here" if rest > 0 else "",
    ]
    return "\n".join(visible(line).replace("\n", "\n          | ") for line in lines if line)


def action_text(action: Action) -> str:
    """Return what an action does as one text: its calls as JSON, or its text where it has none."""
    if not action.calls:
        return action.text
    return dumps([{"name": call.name, "arguments": dict(call.arguments)} for call in action.calls])


def edited_action(text: str, like: Action) -> Action:
    """Return the action that a person wrote in place of ``like``: JSON calls where that had calls, else plain text.

    Raises ``StoreError`` for a text that is no such action.

    >>> edited_action('[{"name": "mail", "arguments": {"to": "b"}}]', like=Action(text="", calls=(ToolCall(name="mail"),))).calls[0].arguments
    {'to': 'b'}
    """
    text = text.strip()
    if not like.calls:
        if not text:
            raise StoreError("the edited action is empty. Write the action, or deny the request.")
        return Action(text=text)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"the edited action is not JSON: {error}. Write it as it was shown.") from None
    calls = data if isinstance(data, list) else [data]
    return Action(text=text, calls=tuple(_call(one) for one in calls)) if calls else _no_calls()


def _call(data: Json) -> ToolCall:
    arguments = data.get("arguments", {}) if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get("name"), str) or not isinstance(arguments, dict):
        raise StoreError(f'{data!r} is no call; expected {{"name": text, "arguments": object}}.')
    extra = set(data) - {"name", "arguments"}
    if extra:
        raise StoreError(f"a call has no field {min(extra)!r}; expected name and arguments.")
    return ToolCall(name=str(data["name"]), arguments=arguments)


def _no_calls() -> Action:
    raise StoreError("the edited action has no call. Write one, or deny the request.")
