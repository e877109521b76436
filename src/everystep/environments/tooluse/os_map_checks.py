"""Which of OS-MAP's tasks can be done on plain files, with what files they begin, and their published checks as functions of files.

A task qualifies by rule: what its configuration does beyond opening windows is making, fetching and trashing files by name, and every check is a test of a name or one of three published functions over one file
(settings and key bindings of VS Code, the interval of automatic saving of LibreOffice). Fetched files have a line in place of their content, so a task whose check reads them does not qualify.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from everystep.environments.tooluse.os_map import DesktopTask, listed

HOME = "/home/user"
TRASH = f"{HOME}/.local/share/Trash/files"
FETCHED = "(content not included)"
Files = Mapping[str, str | None]
"""Absolute paths with the content of files, ``None`` for folders."""

_SHOWN = ("launch", "open")
_IGNORED = ("activate_window", "sleep", *_SHOWN)
_TEST = re.compile(r"\s*(?:if )?\[ -([df]) '?([^' ]+)'? \]")
_INTERVAL = re.compile(
    r'<item\s[^>]*oor:path="/org\.openoffice\.Office\.Common/Save/Document"[^>]*>\s*'
    r'<prop\s[^>]*oor:name="AutoSaveTimeIntervall"[^>]*>\s*<value>\s*(\d{1,9})\s*</value>'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One published check. ``kind`` is ``folder``, ``file`` (there is one), ``settings``, ``keybindings`` or ``interval`` (of the content of the file at ``path``)."""

    kind: str
    path: str
    expected: Any = None

    def holds(self, files: Files) -> bool:
        """Say whether it holds of some files."""
        if self.path not in files:
            return False
        content = files[self.path]
        if content is None:
            return self.kind == "folder"
        if self.kind == "interval":
            found = _INTERVAL.search(content)
            return found is not None and int(found[1]) == self.expected
        if self.kind in ("settings", "keybindings"):
            return _json_holds(self.kind, content, self.expected)
        return self.kind == "file"

    def satisfied(self, content: str | None) -> str:
        """Return a content of the file that makes it hold, given what is there."""
        if self.kind == "settings":
            return json.dumps({**_object(content), **self.expected}, indent=2)
        if self.kind == "keybindings":
            return json.dumps([self.expected], indent=2)
        if self.kind == "interval":
            return (
                '<oor:items xmlns:oor="http://openoffice.org/2001/registry"><item oor:path="/org.openoffice.Office.Common/Save/Document">'
                f'<prop oor:name="AutoSaveTimeIntervall" oor:op="fuse"><value>{self.expected}</value></prop></item></oor:items>'
            )
        return ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileTask:
    """A task that can be done on files: what is there in the beginning, which of it was made for the task, what is open, and the checks, all of which must hold."""

    task: DesktopTask
    files: Files
    made: tuple[str, ...]
    windows: tuple[str, ...]
    checks: tuple[Check, ...]

    def solved(self, files: Files) -> bool:
        """Say whether all checks hold."""
        return all(one.holds(files) for one in self.checks)


def on_files(task: DesktopTask) -> FileTask | None:
    """Return the task for plain files, ``None`` where it cannot be done on them."""
    evaluator = task.evaluator
    if evaluator.get("postconfig") or evaluator.get("conj", "and") != "and":
        return None
    pairs = zip(task.functions, listed(evaluator["result"]), listed(evaluator.get("expected")), strict=False)
    checks = [_check(function, result, expected) for function, result, expected in pairs]
    made: dict[str, str | None] = {}
    windows = []
    for entry in task.config:
        if entry["type"] in _SHOWN:
            windows.append(_shown(entry["parameters"]))
        if not _arranged(entry, made):
            return None
    known = [one for one in checks if one is not None]
    if len(known) < len(task.functions) or (FETCHED in made.values() and any(one.expected for one in known)):
        return None
    files: dict[str, str | None] = dict.fromkeys(
        ("/", "/bin", "/home", HOME, f"{HOME}/Desktop", f"{HOME}/Documents")
    )
    for path in (*made, *(one.path for one in known)):
        files |= dict.fromkeys(parents(path))
    files |= made
    return FileTask(
        task=task, files=files, made=tuple(made), windows=tuple(filter(None, windows)), checks=tuple(known)
    )


def parents(path: str) -> Iterator[str]:
    """Yield the folders above a path, the root last."""
    while path != "/":
        path = posixpath.dirname(path)
        yield path


def absolute(path: str) -> str:
    """Return a path from the root, ``~`` and dots resolved.

    >>> absolute("~/Desktop/../a.txt"), absolute("b")
    ('/home/user/a.txt', '/home/user/b')
    """
    told = HOME + path[1:] if path == "~" or path.startswith("~/") else path
    return posixpath.normpath("/" + posixpath.join(HOME, told).lstrip("/"))


# --- reading what was published -------------------------------------------------------------------------------


def _shown(parameters: Mapping[str, Any]) -> str:
    command = parameters.get("command") or parameters.get("path") or ""
    told = command if isinstance(command, str) else " ".join(map(str, command))
    return "" if told.startswith("socat") else told


def _arranged(entry: Mapping[str, Any], made: dict[str, str | None]) -> bool:
    """Do what an entry of the configuration does to files; say whether that could be done."""
    kind, parameters = entry["type"], entry["parameters"]
    if kind in _IGNORED:
        return True
    if kind == "download":
        made.update({absolute(one["path"]): FETCHED for one in parameters["files"]})
        return True
    if kind not in ("execute", "command"):
        return False
    command = parameters["command"]
    if isinstance(command, str):
        try:
            pieces = [shlex.split(piece.rpartition("| ")[2]) for piece in command.split("&&")]
        except ValueError:
            return False
        return all(_ran(piece, made) for piece in pieces)
    if command[:2] == ["python", "-c"] and "pyautogui" in command[2]:
        return True  # clicks and keys that bring a window to the front
    return command[:2] == ["code", "--install-extension"] or _ran(command, made)


def _ran(words: Sequence[str], made: dict[str, str | None]) -> bool:
    rest = [word for word in words if word not in ("sudo", "-S", "-p")]
    paths = [absolute(word) for word in rest[1:]]
    if rest[:1] == ["touch"]:
        made.update(dict.fromkeys(paths, ""))
    elif rest[:1] == ["mkdir"]:
        made.update(dict.fromkeys(paths))
    elif rest[:2] == ["gio", "trash"]:
        for path in paths[1:]:
            made[posixpath.join(TRASH, posixpath.basename(path))] = made.pop(path, "")
    else:
        return rest[:1] == ["chmod"]
    return True


def _check(function: str, result: Any, expected: Any) -> Check | None:
    rules = expected.get("rules", {}) if isinstance(expected, Mapping) else {}
    named = result.get("path") if result.get("type") == "vm_file" else None
    path = absolute(named) if isinstance(named, str) else ""
    if path and function == "check_json_settings":
        return Check(kind="settings", path=path, expected=rules["expected"])
    if path and function == "check_json_keybindings":
        return Check(kind="keybindings", path=path, expected=rules["expected"])
    if path and function == "check_auto_saving_time":
        return Check(kind="interval", path=path, expected=rules["minutes"])
    if result.get("type") != "vm_command_line":
        return None
    command, wanted = result["command"], str(rules.get("expected"))
    if function == "is_extension_installed" and isinstance(command, list) and len(command) == 5:
        program, folder, *rest = command
        named_in = program == "ls" and rest == ["|", "grep", wanted]
        return Check(kind="file", path=absolute(posixpath.join(folder, wanted))) if named_in else None
    test = _TEST.match(command) if function == "exact_match" and isinstance(command, str) else None
    if test is None or not wanted.endswith(" exists.\n"):
        return None
    return Check(kind="folder" if test[1] == "d" else "file", path=absolute(test[2]))


def _json_holds(kind: str, content: str, expected: Any) -> bool:
    """As published: settings hold every expected pair; key bindings hold the expected one, and a first line that is no JSON is passed over."""
    if kind == "settings":
        found = _object(content)
        return all(key in found and found[key] == value for key, value in expected.items())
    for text in (content, content.partition("\n")[2]):
        bindings = _loaded(text)
        if isinstance(bindings, list):
            return expected in bindings
    return False


def _object(content: str | None) -> dict[str, Any]:
    found = _loaded(content or "")
    return found if isinstance(found, dict) else {}


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
