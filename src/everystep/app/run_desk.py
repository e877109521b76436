"""Runs in one folder, for a server: start, look, answer, resume. Each run is a process of its own and outlives the server.

Whoever asks is not trusted with this machine: run names cannot leave the folder, and of the options of ``everystep run`` only those
can be set that neither read files, nor reach addresses, nor name secrets, nor loosen the gate.
"""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from everystep import __version__
from everystep.app.approving import is_live
from everystep.app.flags import checked
from everystep.app.run_lines import line
from everystep.app.run_make import stored
from everystep.app.run_options import RunOptions, budget_of
from everystep.app.run_plan import read_linear
from everystep.app.run_reading import tail, totals
from everystep.core.acts import Answer, Approval, ApprovalRequest
from everystep.core.codec import decode
from everystep.core.errors import ConfigError, EverystepError, StoreError, did_you_mean
from everystep.core.records import End, Json
from everystep.core.trace import Kind
from everystep.guard.approval import edited_action
from everystep.guard.mailbox import APPROVALS, answer, list_open
from everystep.run.folder import CONFIG, JOURNAL, RUN, RunFolder, create
from everystep.run.journal import Journal
from everystep.run.journal_file import connect_read_only
from everystep.run.nodes import FROZEN, Edit, Status
from everystep.run.plan import Plan

SETTABLE = (
    "text",
    "environment",
    "options",
    "task",
    "model",
    "vote",
    "at_cap",
    "flags",
    "view",
    "constrain",
    "budget",
    "max_steps",
    "seed",
    "tools",
    "ask",
)
"""The options of ``everystep run`` that a client may set; values of some are checked further."""
OWN_MODELS = ("oracle", "noisy", "random", "smollm")
"""The models that anybody may name: they reach no address and read no file that is named."""
CHANGEABLE = ("budget", "max_steps")
"""What may be changed when a run is resumed."""

MOST_STEPS = 50
"""Steps that one look shows at most."""
_SHOWN = 600  # characters of one observation or action
_NODES = 40
_MOST_EDITS = 20_000
_PLAN_STEPS = 500
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_PLAIN_WORD = re.compile(r"[\w.,+ =-]{0,200}")
_OUTPUT, _ERRORS, _PLAN_FILE = "output.txt", "errors.txt", "plan.txt"
_PROGRAM = "from everystep.app.cli import entry; entry()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What the owner of the server lets clients use: further ``models`` and ``tools``, each named exactly; at most ``runs`` at a time.

    ``grant`` lets a client grant risky acts by itself, without a person.
    """

    models: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    runs: int = 8
    grant: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSeen:
    """One accepted step, shortened. What it says was written by a model or a tool."""

    id: str
    observation: str
    action: str
    valid: bool
    reward: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Where a run stands. ``state`` is running, waiting (for an approval), stopped, broken (never began), or how it ended."""

    run: str
    state: str
    task: str = ""
    steps: int = 0
    reward: float = 0.0
    success: bool | None = None
    seconds: float = 0.0
    cost: Mapping[str, float] = field(default_factory=dict)
    plan: tuple[str, ...] = ()
    plan_counts: Mapping[str, int] = field(default_factory=dict)
    last: tuple[StepSeen, ...] = ()
    waiting: tuple[str, ...] = ()
    why: str = ""

    @property
    def busy(self) -> bool:
        """Whether something may still happen by itself."""
        return self.state == "running"


class RunDesk:
    """The runs of one folder. ``clock`` gives seconds since 1970."""

    def __init__(
        self, folder: Path, *, allowed: Allowed | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.allowed = allowed or Allowed()
        self._clock = clock
        self._mine: dict[str, subprocess.Popen[bytes]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.folder = folder.resolve(strict=True)
        except OSError as error:
            raise StoreError(f"cannot use the folder {str(folder)!r} for runs: {error}.") from None

    # --- starting -------------------------------------------------------------------------------

    def start(self, options: Mapping[str, Json], *, plan: Sequence[str] = ()) -> str:
        """Start a run by the options of ``everystep run`` and return its name; ``plan`` are the steps of a linear plan.

        Raises ``ConfigError`` for an option that is unknown, of the wrong type, or not for clients.
        """
        chosen = self._checked(options)
        if plan:
            if len(plan) > _PLAN_STEPS or any(len(step) > _SHOWN or not step.isprintable() for step in plan):
                raise ConfigError(
                    f"a plan has at most {_PLAN_STEPS} steps, each one line of {_SHOWN} characters."
                )
            read_linear("\n".join(plan))
        busy = sum(process.poll() is None for process in self._mine.values())
        if busy >= self.allowed.runs:
            raise ConfigError(
                f"{busy} runs are going on, as many as this server allows. Wait for one to end."
            )
        name, path = self._fresh("tools" if chosen.tools else chosen.environment)
        if plan:
            (path / _PLAN_FILE).write_text("\n".join(plan) + "\n", encoding="utf-8")
            chosen = replace(chosen, plan=f"linear:{path / _PLAN_FILE}")
        create(path, options=stored(chosen), version=__version__)
        body = {"command": RUN, "version": __version__, "options": stored(chosen)}
        Journal.create(path / JOURNAL, body).close()
        self._spawn(name)
        return name

    def resume(self, run: str, changes: Mapping[str, Json] | None = None) -> None:
        """Go on with a run that nobody works on; ``changes`` are new limits. A finished run is left as it is (see ``look``)."""
        path = self._path(run)
        changes = changes or {}
        for name in changes:
            if name not in CHANGEABLE:
                raise ConfigError(f"{name!r} cannot be changed. {did_you_mean(name, CHANGEABLE)}")
        if self._alive(run, path):
            raise ConfigError(f"run {run!r} is going on. Look at it, or wait.")
        state = self.look(run, steps=0).state
        if state in (End.DONE, End.FAILED):
            raise ConfigError(f"run {run!r} is finished: {state}. Start another one.")
        budget_of(checked(RunOptions, dict(changes), source="the changes").budget)
        self._spawn(run, *(f"--{name.replace('_', '-')}={value}" for name, value in changes.items()))

    def _checked(self, options: Mapping[str, Json]) -> RunOptions:
        for name in options:
            if name not in SETTABLE:
                raise ConfigError(f"option {name!r} is not for clients. {did_you_mean(name, SETTABLE)}")
        chosen = checked(RunOptions, dict(options), source="the options")
        model = chosen.model.partition(":")[0]
        if model not in OWN_MODELS and chosen.model not in self.allowed.models:
            known = ", ".join((*OWN_MODELS, *self.allowed.models))
            raise ConfigError(f"model {chosen.model!r} is not offered by this server. Known: {known}.")
        for tool in chosen.tools:
            if tool not in self.allowed.tools:
                known = ", ".join(self.allowed.tools) or "none"
                raise ConfigError(f"tool {tool!r} is not offered by this server. Known: {known}.")
        for name, value in chosen.options.items():
            plain = isinstance(value, bool | int | float) or (
                isinstance(value, str) and _PLAIN_WORD.fullmatch(value) is not None
            )
            if not plain:
                raise ConfigError(
                    f"environment option {name!r} is {value!r}; expected a number, true, false, or plain words without paths."
                )
        asks = bool(chosen.tools) or chosen.ask == "every"
        return replace(chosen, approve="mailbox" if asks else "auto")

    def _fresh(self, kind: str) -> tuple[str, Path]:
        stem = re.sub(r"[^a-z0-9]+", "-", kind.lower())[:40].strip("-") or "run"
        number = 1
        while True:
            name = f"{stem}-{number}"
            try:
                (self.folder / name).mkdir()
            except FileExistsError:
                number += 1
                continue
            return name, self.folder / name

    def _spawn(self, run: str, *words: str) -> None:
        """Start the process that works on a run: in a session of its own, so that it outlives this one."""
        path = self.folder / run
        with (path / _OUTPUT).open("ab") as output, (path / _ERRORS).open("wb") as errors:
            self._mine[run] = subprocess.Popen(  # noqa: S603 -- our own program; the words were checked
                [sys.executable, "-c", _PROGRAM, "resume", str(path), "--quiet", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )

    # --- looking --------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the runs, the newest first."""
        found = [
            ((one / CONFIG).stat().st_mtime, one.name)
            for one in self.folder.iterdir()
            if _NAME.fullmatch(one.name) and not one.is_symlink() and (one / CONFIG).is_file()
        ]
        return [name for _, name in sorted(found, reverse=True)]

    def look(self, run: str, *, steps: int = 5) -> Look:
        """Return where a run stands, with its last ``steps`` steps; the size is bounded."""
        path = self._path(run)
        alive = self._alive(run, path)
        try:
            with Journal.read(path / JOURNAL) as journal:
                sums = totals(journal)
                last = [] if steps < 1 else tail(journal, min(steps, MOST_STEPS))
                counts, nodes = _planned(journal, sums.counts.get(Kind.PLAN.value, 0))
        except EverystepError as error:
            return Look(run=run, state="running" if alive else "broken", why=line(error, _SHOWN))
        waiting = tuple(one.id for one in self.waiting(run))
        end = None if sums.end is None else str(sums.end.get("end"))
        why = "" if sums.end is None else str(sums.end.get("why", ""))
        if end is None and not alive:
            why = self._last_error(path)
        begun = bool(sums.task)
        outcome = sums.outcome or {}
        return Look(
            run=run,
            state=_state(end, alive=alive, waiting=bool(waiting), begun=begun),
            task=line(sums.task.get("instruction", ""), _SHOWN),
            steps=sums.steps,
            reward=sums.reward,
            success=outcome.get("success"),
            seconds=round(max(0.0, sums.last_time - sums.first_time), 3),
            cost=sums.cost,
            plan=nodes,
            plan_counts=counts,
            last=tuple(_seen(one.step) for one in last),
            waiting=waiting,
            why=line(why, _SHOWN),
        )

    def _last_error(self, path: Path) -> str:
        try:
            with (path / _ERRORS).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 2000))
                return file.read().decode("utf-8", "replace").strip()[-_SHOWN:]
        except OSError:
            return ""

    def _alive(self, run: str, path: Path) -> bool:
        """Whether a process works on the run. The lock is only tried where the writer is not ours and may live: trying takes it."""
        mine = self._mine.get(run)
        if mine is not None and mine.poll() is None:
            return True
        return _writer_may_live(path / JOURNAL) and is_live(RunFolder(path=path))

    def _path(self, run: str) -> Path:
        path = self.folder / run
        if (
            not _NAME.fullmatch(run)
            or path.is_symlink()
            or not (path / CONFIG).is_file()
            or path.resolve().parent != self.folder
        ):
            raise StoreError(f"there is no run {line(run, 80)!r}. {did_you_mean(run[:80], self.names())}")
        return path

    # --- approvals ------------------------------------------------------------------------------

    def waiting(self, run: str) -> list[ApprovalRequest]:
        """Return the requests of a run that wait for an answer, oldest first."""
        path = self._path(run) / APPROVALS
        return list_open(path, now=self._clock()) if path.is_file() else []

    def request(self, run: str, request: str = "") -> ApprovalRequest | None:
        """Return an open request by its id, or the oldest one; ``None`` where there is none."""
        found = [one for one in self.waiting(run) if request in ("", one.id)]
        return found[0] if found else None

    def reply(
        self,
        run: str,
        request: str,
        kind: Answer,
        *,
        digest: str,
        by: str,
        reason: str = "",
        instead: str = "",
    ) -> Approval:
        """Answer a request about the action with this ``digest``, and go on with the run if nobody works on it.

        ``instead`` is the action that takes the place of the one asked about, where ``kind`` is ``EDITED``.
        """
        asked = self.request(run, request)
        if asked is None:
            raise StoreError(f"run {run!r} has no open request {line(request, 80)!r}. Look at it again.")
        action = edited_action(instead, asked.action) if kind is Answer.EDITED else None
        given = answer(
            self._path(run) / APPROVALS,
            asked.id,
            kind,
            digest=digest,
            by=by,
            reason=reason[:_SHOWN],
            action=action,
            now=self._clock(),
        )
        if not self._alive(run, self._path(run)):
            self._spawn(run)
        return given


def _state(end: str | None, *, alive: bool, waiting: bool, begun: bool) -> str:
    if alive:
        return "waiting" if waiting else "running"
    if end is not None:
        return end
    if waiting:
        return "waiting"
    return "stopped" if begun else "broken"


def _seen(step: Mapping[str, Json]) -> StepSeen:
    observation, action, reward = step.get("observation"), step.get("action"), step.get("reward")
    told = action if isinstance(action, dict) else {}
    return StepSeen(
        id=str(step.get("id")),
        observation=line(observation.get("text", "") if isinstance(observation, dict) else "", _SHOWN),
        action=line(told.get("text", ""), _SHOWN),
        valid=bool(told.get("valid", True)),
        reward=float(reward) if isinstance(reward, int | float) else None,
    )


def _planned(journal: Journal, edits: int) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return how many nodes of the plan stand where, and the lines of some: those around the running ones."""
    if not 0 < edits <= _MOST_EDITS:
        return {}, ()
    plan = Plan.rebuilt(decode(Edit, event.body) for event in journal.events(kinds={Kind.PLAN}))
    counts = {status.value: plan.count(status) for status in Status if plan.count(status)}
    names = [node.id for node in plan]
    open_ones = (place for place, name in enumerate(names) if plan.status(name) not in FROZEN)
    first = max(0, min(next(open_ones, len(names)) - _NODES // 4, len(names) - _NODES))
    lines = [
        f"{name} [{plan.status(name).value}] {line(plan.node(name).instruction, 120)}"
        for name in names[first : first + _NODES]
    ]
    return counts, tuple(lines)


def _writer_may_live(journal: Path) -> bool:
    """Whether the process that wrote last may still be there; a process of another machine may."""
    try:
        connection = connect_read_only(journal)
        try:
            pid, host = connection.execute("SELECT pid, host FROM meta").fetchone()
        finally:
            connection.close()
        if host == platform.node():
            os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (sqlite3.Error, EverystepError, OSError, TypeError, ValueError):
        return True
    return True
