"""A person at the terminal: shows the exact action and reads grant, deny or edit."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from everystep.core.acts import Answer, Approval, ApprovalRequest, Permit
from everystep.core.errors import StoreError
from everystep.guard.approval import action_text, answered, described, edited_action, visible

_TRIES = 3


def _print(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _read() -> str:
    return sys.stdin.readline()


class Terminal:
    """Asks on a terminal. ``read`` returns one line (empty at the end of input), ``show`` prints one text.

    A line that somebody typed for a request that has expired meanwhile is never taken for the next one. After three
    lines that are no answer the request is denied; at the end of input nobody is there: ``TIMEOUT``, or a denial where
    the act would otherwise happen.
    """

    def __init__(
        self,
        *,
        read: Callable[[], str] = _read,
        show: Callable[[str], None] = _print,
        by: str = "terminal",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read = read
        self._show = show
        self._by = by
        self._clock = clock
        self._late: Future[str] | None = None
        self._turn = asyncio.Lock()

    async def ask(self, request: ApprovalRequest) -> Approval | None:
        """Show the request and return the answer."""
        async with self._turn:
            return await self._ask(request)

    async def _ask(self, request: ApprovalRequest) -> Approval:
        veto = request.permit is Permit.VETO
        self._show("\nThis happens unless you object:" if veto else "\nThis needs your approval:")
        self._show(described(request))
        for _ in range(_TRIES):
            self._show("[g]rant, [d]eny REASON, [e]dit?")
            line = await self._line()
            if not line:
                return self._nobody(request, veto=veto)
            word, _, rest = line.strip().partition(" ")
            match word.lower():
                case "g" | "grant" | "y" | "yes":
                    return self._answer(request, Answer.GRANTED)
                case "d" | "deny" | "n" | "no":
                    return self._answer(request, Answer.DENIED, reason=rest.strip())
                case "e" | "edit":
                    approval = await self._edit(request)
                    if approval is not None:
                        return approval
                case _:
                    self._show(f"{visible(word)!r} is no answer.")
        return self._answer(request, Answer.DENIED, reason="no valid answer was given")

    async def _edit(self, request: ApprovalRequest) -> Approval | None:
        self._show(f"write the action that takes its place, on one line, like:\n{described_line(request)}")
        line = await self._line()
        try:
            action = edited_action(line, request.action)
        except StoreError as error:
            self._show(visible(str(error)))
            return None
        return answered(request, Answer.EDITED, by=self._by, action=action, time=self._clock())

    def _answer(self, request: ApprovalRequest, answer: Answer, reason: str = "") -> Approval:
        return answered(request, answer, by=self._by, reason=reason, time=self._clock())

    def _nobody(self, request: ApprovalRequest, *, veto: bool) -> Approval:
        reason = "the terminal's input has ended"
        return self._answer(request, Answer.DENIED if veto else Answer.TIMEOUT, reason)

    async def _line(self) -> str:
        """Read one line in a thread of its own, so that the run goes on and can be cancelled."""
        if self._late is not None:
            self._show(
                "the next line belongs to an earlier question that has expired; press Enter, then answer."
            )
            await self._wait(self._late)
        self._late = _in_thread(self._read)
        return await self._wait(self._late)

    async def _wait(self, line: Future[str]) -> str:
        try:
            return await asyncio.shield(asyncio.wrap_future(line))
        finally:
            if line.done():
                self._late = None


def described_line(request: ApprovalRequest) -> str:
    """Return the action as the one line that an edit starts from."""
    return visible(action_text(request.action))


def _in_thread(read: Callable[[], str]) -> Future[str]:
    future: Future[str] = Future()
    future.set_running_or_notify_cancel()  # from here on nobody can cancel it: the line is read, now or later

    def work() -> None:
        try:
            future.set_result(read())
        except Exception as error:  # it is raised where the line is awaited
            future.set_exception(error)

    threading.Thread(target=work, name="everystep-approval", daemon=True).start()
    return future
