"""OS-MAP on plain files: those of its desktop tasks whose published check looks at files only, done with a file manager's verbs instead of a mouse.

The instruction, the arrangement and the check are as published; the applications, their windows and the rest of the machine are not there, so it tells how well an agent knows what has to be in
which file, not how well it finds its way about a desktop. ``DONE``, ``FAIL`` and ``CALL_USER`` are the benchmark's own actions; nobody answers a call here.
"""

from __future__ import annotations

import posixpath
import shlex
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from everystep.core.errors import WorldError
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import (
    ExactEnvironment,
    Outcome,
    check_place,
    check_range,
    make_task,
    refused,
    split_of,
)
from everystep.environments.tooluse.os_map import desktop_tasks
from everystep.environments.tooluse.os_map_checks import TRASH, Check, FileTask, absolute, on_files, parents

VERBS = {"list": 1, "read": 1, "mkdir": 1, "move": 2, "delete": 1}
"""Verbs with their numbers of paths; ``write PATH`` has the content on the lines below."""
ENDS = ("done", "fail")
_LIMIT = 20_000
_MOST_FILES = 200
_ASKED = """You work on the files of somebody's computer; the home folder is /home/user, the trash is {trash}. Nothing else is there: what an application keeps in a file is changed in that file.
One action at a time:
list PATH | read PATH | mkdir PATH | move PATH PATH | delete PATH
write PATH (and the whole content on the lines below)
done (when the task is done) | fail (when it cannot be done) | call_user TEXT"""


@dataclass(frozen=True, slots=True)
class State:
    """The number of a task and what files there are now, in the order of their paths."""

    number: int
    files: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OSMapFiles:
    """OS-MAP's tasks on plain files. ``horizon`` bounds the actions."""

    horizon: int = 15

    name: ClassVar[str] = "os_map_files"
    summary: ClassVar[str] = "OS-MAP: the desktop tasks that are checked on plain files"

    def __post_init__(self) -> None:
        check_range(self.name, "horizon", self.horizon, 1, 1_000)

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.horizon

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int:
        """Return the number of tasks of a split; a task belongs to one by its name."""
        check_place(split, 0)
        return len(_selected(split))

    def task(self, split: str, index: int) -> Task:
        """Return task ``index``."""
        check_place(split, index, self.size(split))
        number = _selected(split)[index]
        one = file_tasks()[number].task
        return make_task(
            self,
            split=split,
            index=index,
            seed=number,
            instruction=f"{one.instruction}\n\n{_ASKED.format(trash=TRASH)}",
            reference=one.id,
            tags={
                "level": f"L{one.level}", "domain": one.domain, "group": one.group, "leaf": one.leaf, "app": one.app,
                "cell": f"L{one.level} {one.domain}",
            },
        )  # fmt: skip

    def start(self, task: Task) -> State:
        """Return the files of ``task`` as they are in the beginning."""
        known = file_tasks()
        if not 0 <= task.seed < len(known):
            raise WorldError(f"task {task.id!r} names task {task.seed}; there are {len(known)}.")
        return State(task.seed, tuple(sorted(known[task.seed].files.items())))

    def observe(self, state: State, note: str = "") -> Observation:
        """Show what came of the last action, and what is open on the screen."""
        windows = file_tasks()[state.number].windows
        lines = [note] if note else []
        lines.append(f"Open: {'; '.join(windows) if windows else 'the desktop'}.")
        return Observation(text="\n".join(lines), anchor=repr(state.files))

    def parse(self, text: str) -> Action:
        """Accept one action of the list; ``write`` may have lines below it."""
        reason = _read(text)
        return Action(text=text, valid=False, reason=reason) if isinstance(reason, str) else Action(text=text)

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """Do what was said to the files. ``done`` ends the episode: ``success`` is that the published check holds; ``fail`` ends it without."""
        read = _read(action.text)
        if isinstance(read, str):
            return refused(state, read)
        verb, words, content = read
        files = dict(state.files)
        if verb in ENDS:
            solved = verb == "done" and file_tasks()[state.number].solved(files)
            return Outcome(state=state, reward=float(solved), over=True, success=solved)
        if verb == "call_user":
            return Outcome(state=state, note="Nobody answers.")
        told = _done(verb, [absolute(word) for word in words], content, files)
        if verb in ("list", "read"):
            found = told.removeprefix("! ")
            return refused(state, found) if told.startswith("! ") else Outcome(state=state, note=found)
        if told:
            return refused(state, told.removeprefix("! "))
        return Outcome(state=State(state.number, tuple(sorted(files.items()))), note="done")

    def oracle(self, state: State) -> str:
        """Return an action that makes the next check hold: what was made for the task is moved where it can be, else made anew."""
        one, files = file_tasks()[state.number], dict(state.files)
        for check in one.checks:
            if not check.holds(files):
                return _mended(one, check, files)
        return "done"


@cache
def file_tasks() -> tuple[FileTask, ...]:
    """Return the tasks that can be done on files, in the order of the mapping file."""
    return tuple(found for found in map(on_files, desktop_tasks()) if found is not None)


@cache
def _selected(split: str) -> tuple[int, ...]:
    return tuple(number for number, one in enumerate(file_tasks()) if split_of(one.task.id) == split)


def _read(text: str) -> tuple[str, list[str], str] | str:
    """Return verb, words and content of an action, or what is wrong with it."""
    first, _, content = text.strip("\r\n").partition("\n")
    verb, _, rest = first.strip().partition(" ")
    verb = verb.lower()
    if len(text) > _LIMIT or "\0" in text:
        return f"an action has at most {_LIMIT:,} characters"
    if verb in ENDS and not rest.strip() and not content.strip():
        return verb, [], ""
    if verb == "call_user":
        return verb, [rest], ""
    if verb != "write" and content.strip():
        return "expected one action; only write has lines below it"
    try:
        words = shlex.split(rest)
    except ValueError as error:
        return f"the paths cannot be read: {error}"
    if verb not in (*VERBS, "write"):
        return f"expected one of {', '.join((*VERBS, 'write', *ENDS, 'call_user'))}"
    count = VERBS.get(verb, 1)
    if len(words) != count:
        return f"{verb} has {count} path{'s' if count > 1 else ''}, with quotes around spaces"
    return verb, words, content


def _done(verb: str, paths: list[str], content: str, files: dict[str, str | None]) -> str:
    """Change the files; return what is told, after ``!`` where it cannot be done."""
    path = paths[0]
    if verb in ("list", "read", "move", "delete") and path not in files:
        return f"! there is no {path}"
    if verb == "list":
        if files[path] is not None:
            return f"! {path} is a file"
        inside = [
            posixpath.basename(one) + ("/" if files[one] is None else "") for one in files if one != "/" and posixpath.dirname(one) == path
        ]  # fmt: skip
        return "  ".join(sorted(inside)) or "(empty)"
    if verb == "read":
        found = files[path]
        return f"! {path} is a folder" if found is None else found or "(empty)"
    if verb == "delete":
        return _moved(path, None, files)
    if verb == "move":
        target = paths[1]
        if target in files and files[target] is None:
            target = posixpath.join(target, posixpath.basename(path))
        return _moved(path, target, files)
    if path in files and (verb == "mkdir" or files[path] is None):
        return f"! {path} is there already"
    if any(files.get(one, "") is not None and one in files for one in parents(path)):
        return f"! a folder of {path} is a file"
    if len(files) >= _MOST_FILES:
        return f"! there are {_MOST_FILES} files, that is enough"
    files.update(dict.fromkeys(parents(path)))
    files[path] = None if verb == "mkdir" else content
    return ""


def _moved(path: str, target: str | None, files: dict[str, str | None]) -> str:
    """Move a file or a folder with all that is in it, or take it away where ``target`` is ``None``."""
    if path == "/":
        return "! the root stays"
    if target is not None:
        if target in files:
            return f"! {target} is there already"
        if target.startswith(f"{path}/"):
            return f"! {target} is inside of what is moved"
        if files.get(posixpath.dirname(target), "") is not None:
            return f"! there is no folder {posixpath.dirname(target)}"
    inside = [one for one in files if one == path or one.startswith(f"{path}/")]
    for one in inside:
        content = files.pop(one)
        if target is not None:
            files[target + one[len(path) :]] = content
    return ""


def _mended(one: FileTask, check: Check, files: dict[str, str | None]) -> str:
    path = shlex.quote(check.path)
    wants_folder = check.kind == "folder"
    if check.path in files and (files[check.path] is None) != wants_folder:
        return f"delete {path}"
    folder = posixpath.dirname(check.path)
    if folder not in files or files[folder] is not None:
        blocked = next((part for part in parents(check.path) if files.get(part, "") is not None and part in files), None)  # fmt: skip
        return f"delete {shlex.quote(blocked)}" if blocked else f"mkdir {shlex.quote(folder)}"
    if check.kind in ("folder", "file"):
        name = posixpath.basename(check.path)
        for made in one.made:
            there = made in files and (files[made] is None) == wants_folder
            if there and made != check.path and (wants_folder or posixpath.basename(made) == name):
                return f"move {shlex.quote(made)} {path}"
    return f"mkdir {path}" if wants_folder else f"write {path}\n{check.satisfied(files.get(check.path))}"
