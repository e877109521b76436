"""Requests that wait in a file and answers that arrive from another process: ``approvals.sqlite`` in the run's folder.

The run asks; ``everystep approve RUN``, the page on loopback or any other process lists the open requests and answers.
An answer is taken once; a request that is asked again after that is a new one.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from everystep.core.acts import Answer, Approval, ApprovalRequest
from everystep.core.codec import dumps, loads
from everystep.core.errors import StoreError
from everystep.core.records import Action
from everystep.guard.approval import answered, flaw

APPROVALS = "approvals.sqlite"
"""The file's name in a run's folder."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL, expires REAL, request TEXT NOT NULL, approval TEXT, taken INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS open_requests ON requests (id) WHERE taken = 0;
"""
_OPEN = "SELECT number, expires, request, approval FROM requests WHERE id = ? AND taken = 0 ORDER BY number DESC LIMIT 1"


class Mailbox:
    """An approver that leaves the request in a file and looks there for the answer, across runs of the process.

    The expiry that was written first counts, also for a run that was stopped and resumed meanwhile.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        with _opened(path, create=True):
            pass

    async def ask(self, request: ApprovalRequest) -> Approval | None:
        """Return the answer and mark it as used, or ``None`` after leaving the request."""
        with _opened(self.path) as file:
            file.execute("BEGIN IMMEDIATE")
            row = file.execute(_OPEN, (request.id,)).fetchone()
            if row is None:
                file.execute(
                    "INSERT INTO requests (id, expires, request) VALUES (?, ?, ?)",
                    (request.id, request.expires, dumps(request)),
                )
                return None
            number, expires, stored, answer = row
            expired = expires is not None and self._clock() >= expires
            approval = None if answer is None else loads(Approval, answer)
            if approval is None and not expired:
                return None
            file.execute("UPDATE requests SET taken = 1 WHERE number = ?", (number,))
        if approval is None:
            return answered(request, Answer.TIMEOUT, time=self._clock())
        if loads(ApprovalRequest, stored).digest != request.digest:
            raise StoreError(f"request {request.id!r} is stored for another action. Deny it and ask again.")
        if expired and approval.answer is not Answer.DENIED:
            return answered(
                request, Answer.TIMEOUT, reason="the answer was not used in time", time=self._clock()
            )
        return approval


def list_open(path: Path, *, now: float | None = None) -> list[ApprovalRequest]:
    """Return the requests that wait for an answer at ``now`` (seconds since 1970; by default this moment), oldest first."""
    moment = time.time() if now is None else now
    with _opened(path) as file:
        if file.execute("SELECT 1 FROM sqlite_master WHERE name = 'requests'").fetchone() is None:
            return []  # the file is just being made
        rows = file.execute(
            "SELECT request FROM requests WHERE taken = 0 AND approval IS NULL AND (expires IS NULL OR expires > ?) "
            "ORDER BY number",
            (moment,),
        ).fetchall()
    return [loads(ApprovalRequest, text) for (text,) in rows]


def answer(
    path: Path,
    request: str,
    answer: Answer,
    *,
    digest: str,
    by: str = "",
    reason: str = "",
    action: Action | None = None,
    now: float | None = None,
) -> Approval:
    """Leave the answer to the open request with id ``request``, for the run to find.

    ``digest`` is that of the action which the person saw: if another one is stored by now, nothing is granted. ``action``
    replaces it where the answer is ``EDITED``. Raises ``StoreError`` if there is no such open request, it has expired,
    or it was answered before.
    """
    moment = time.time() if now is None else now
    with _opened(path) as file:
        file.execute("BEGIN IMMEDIATE")
        row = file.execute(_OPEN, (request,)).fetchone()
        if row is None:
            raise StoreError(f"there is no open request {request!r} in {str(path)!r}. List them again.")
        number, expires, stored, before = row
        asked = loads(ApprovalRequest, stored)
        if before is not None:
            raise StoreError(f"request {request!r} has an answer already. The first one counts.")
        if expires is not None and moment >= expires:
            raise StoreError(f"request {request!r} has expired. The run asks again if it still wants to.")
        if digest != asked.digest:
            raise StoreError(
                f"request {request!r} is about an action with digest {asked.digest[:16]!r}, the answer about "
                f"{digest[:16]!r}. Look at the request again."
            )
        approval = answered(asked, answer, by=by, reason=reason, action=action, time=moment)
        why = flaw(asked, approval)
        if why is not None:
            raise StoreError(f"the answer to request {request!r} is void: {why}. Look at the request again.")
        file.execute("UPDATE requests SET approval = ? WHERE number = ?", (dumps(approval), number))
    return approval


@contextmanager
def _opened(path: Path, *, create: bool = False) -> Iterator[sqlite3.Connection]:
    """Open the file for one transaction: all of it is written, or nothing."""
    if not create and not path.is_file():
        raise StoreError(
            f"there are no approvals at {str(path)!r}. Check the run's folder; it asks nobody so far."
        )
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=10.0)) as file:
            if create:
                file.execute("PRAGMA journal_mode=WAL")
                file.executescript(_SCHEMA)
            file.execute("PRAGMA synchronous=FULL")  # an answer that was seen to be taken stays taken
            yield file
            if file.in_transaction:
                file.execute("COMMIT")
    except sqlite3.Error as error:
        raise StoreError(
            f"cannot use the approvals at {str(path)!r}: {error}. Check that the folder can be written."
        ) from None
