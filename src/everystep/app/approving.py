"""``everystep approve``: list what a run asks, and answer it, from another terminal or another day."""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from everystep.app.flags import parse
from everystep.core.acts import Answer, ApprovalRequest
from everystep.core.codec import encode
from everystep.core.errors import ConfigError, StoreError
from everystep.core.records import Action
from everystep.guard.approval import described, edited_action, visible
from everystep.guard.mailbox import APPROVALS, answer, list_open
from everystep.run.folder import RUN, RunFolder, open_run
from everystep.run.journal_file import acquire


@dataclass(frozen=True, slots=True, kw_only=True)
class Approve:
    """Answer what a run asks before a risky act. Without an answer, list what is open.

    A grant is good for exactly the action that is shown, and once. A run that is alive finds the answer within a second; one that has paused
    is gone on with by `everystep resume RUN`.
    """

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    grant: str | None = None
    """Let the act of this request happen. The beginning of its id is enough."""
    deny: str | None = None
    """Forbid the act of this request; the agent is told --reason and decides again."""
    edit: tuple[str, str] | None = None
    """Put another action in the place of this request's: ID TEXT. The text is written as the action was shown."""
    reason: str = ""
    """What the agent is told."""
    list: bool = False
    """List the open requests (so it does without an answer)."""
    json: bool = False
    """Print JSON."""


def approve(words: Sequence[str]) -> int:
    """List or answer requests."""
    asked = parse(Approve, words, command="approve")
    folder = open_run(asked.run)
    folder.config_of(RUN)
    given = [one for one in (asked.grant, asked.deny, asked.edit) if one is not None]
    if len(given) > 1 or (given and asked.list):
        raise ConfigError("one answer at a time: --grant, --deny or --edit.")
    if asked.reason and not given:
        raise ConfigError("--reason belongs to an answer: --deny ID --reason TEXT.")
    path = folder.path / APPROVALS
    waiting = list_open(path) if path.exists() else []
    if not given:
        _list(waiting, folder, as_json=asked.json)
        return 0
    name = asked.grant or asked.deny or (asked.edit or ("", ""))[0]
    request = _named(waiting, name, folder)
    kind, action = _answer(asked, request)
    approval = answer(
        path,
        request.id,
        kind,
        digest=request.digest,
        by=_who(),
        reason=asked.reason,
        action=action,
    )
    if asked.json:
        sys.stdout.write(json.dumps(encode(approval)) + "\n")
    else:
        sys.stdout.write(f"{approval.answer.value}: step {request.step}\n{_what_now(folder)}\n")
    return 0


def _answer(asked: Approve, request: ApprovalRequest) -> tuple[Answer, Action | None]:
    if asked.grant is not None:
        return Answer.GRANTED, None
    if asked.edit is not None:
        return Answer.EDITED, edited_action(asked.edit[1], request.action)
    return Answer.DENIED, None


def _named(waiting: Sequence[ApprovalRequest], name: str, folder: RunFolder) -> ApprovalRequest:
    found = [one for one in waiting if one.id.startswith(name)] if name else []
    if len(found) != 1:
        what = "no open request" if not found else f"{len(found)} open requests"
        raise StoreError(
            f"{what} of {str(folder.path)!r} begin with {name!r}. `everystep approve {folder.path}` lists them."
        )
    return found[0]


def _list(waiting: Sequence[ApprovalRequest], folder: RunFolder, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps([encode(one) for one in waiting]) + "\n")
        return
    if not waiting:
        sys.stdout.write(f"nothing waits for an answer in {folder.path}.\n")
        return
    for one in waiting:
        left = "" if one.expires is None else f"  ({max(0, one.expires - time.time()):.0f} s left)"
        sys.stdout.write(f"request {visible(one.id)}{left}\n{described(one)}\n\n")
    short = waiting[0].id[:8]
    sys.stdout.write(
        f"answer with: everystep approve {folder.path} --grant {short}   (or --deny {short} --reason TEXT, "
        f"or --edit {short} ACTION)\n"
    )


def _what_now(folder: RunFolder) -> str:
    if is_live(folder):
        return "the run is alive and finds the answer within a second."
    return f"next: everystep resume {folder.path}"


def is_live(folder: RunFolder) -> bool:
    """Whether a process writes to the run's journal now."""
    try:
        acquire(folder.journal.resolve()).close()
    except StoreError:
        return True
    return False


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "command line"
