"""InterCode-Bash in the sandbox: find and change files with commands, then submit.

Tasks are InterCode's (Yang et al. 2023, arXiv 2306.14898), made from NL2Bash (Lin et al. 2018, arXiv 1802.08979). Each command is a ``bash`` of its own in the folder that the last ``cd`` went to. The
reward compares what was changed and what was printed last with the gold command's on an untouched copy (section 4 of the paper): 0.01, and 0.33 each for the same changed files, for the same contents of new
ones, and for the likeness of the output. Where this differs from the published container: only the task's own folder can be changed and is compared; the programs are those of this machine; a new file's content is
compared also where its name has no point (the container lacks the program that would). The fourth of the published file systems, which asks about the container itself and its network, is not run.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import re
import shlex
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import ClassVar

from everystep.core.errors import ConfigError, DataError, WorldError
from everystep.core.protocols import Transition
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import check_place, check_range, make_task, rebuilt, split_of
from everystep.environments.published import find_file, read_text, source_folder
from everystep.tools.sandbox import Ended, Limits, Sandbox

SOURCE = "https://github.com/princeton-nlp/intercode (MIT): git clone it to DATA/intercode_bash"
SUBMIT = "submit"
HOMES: Mapping[int, str] = {1: "/testbed", 2: "/system", 3: "/workspace"}
"""The published file systems that run here, and the folder that each one is about."""

_LIMIT = 4000
_WORD = re.compile(r"(?u)\b\w\w+\b")
_RUN = 'cd -- "$0" || exit 1; exec 2>&1; exec /bin/bash -c "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One task of the data: its file system, its number there, the request and the gold command."""

    system: int
    number: int
    text: str
    gold: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command printed and left: the output, whether it ended well, and the state of the folder by file."""

    output: str
    ok: bool
    files: Mapping[str, str]


@cache
def load_questions(folder: Path) -> tuple[Question, ...]:
    """Return the tasks of a clone of InterCode, in order. ``ConfigError`` where files are missing, ``DataError`` for another form."""
    found = []
    for system in HOMES:
        path = find_file(folder / "data" / "nl2bash", f"nl2bash_fs_{system}.json", SOURCE)
        try:
            for number, one in enumerate(json.loads(read_text(path))):
                gold = one["gold"] if isinstance(one["gold"], str) else ";".join(one["gold"])
                found.append(Question(system=system, number=number, text=one["query"], gold=gold))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{str(path)!r} holds no tasks of InterCode: {error!r}.") from None
    return tuple(found)


def words_of(command: str, quoting: str) -> tuple[str, ...]:
    """Return what ``bash -c`` is given. ``published`` quoting is that of the benchmark's harness, which put the command between double quotes without escaping those in it.

    >>> words_of('grep "a b" f', "plain"), words_of('grep "a b" f', "published")
    (('grep "a b" f',), ('grep a', 'b f'))
    """
    if quoting == "plain":
        return (command,)
    try:
        return tuple(shlex.split(f'"{command.strip()}"'))
    except ValueError:
        return ()  # the harness called this a malformed command


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Return what was changed, as ``git status --short`` tells it: D, M, and ?? for a new file or the topmost folder that is all new.

    >>> changes({"a": "1", "d/b": "1"}, {"a": "2", "d/c": "1", "e/f/g": "1"})
    {'a': 'M', 'd/b': 'D', 'd/c': '??', 'e/': '??'}
    """
    known = {str(parent) for path in before for parent in PurePosixPath(path).parents}
    found = {}
    for path in sorted({*before, *after}):
        if path not in after:
            found[path] = "D"
        elif path not in before:
            parents = [str(one) for one in PurePosixPath(path).parents][-2::-1]  # from the top, without "."
            new = next((one for one in parents if one not in known), None)
            found[path if new is None else f"{new}/"] = "??"
        elif before[path] != after[path]:
            found[path] = "M"
    return found


def likeness(one: str, other: str) -> float:
    """Return the cosine of two texts' words weighted by tf-idf over the two, as scikit-learn does by default; where neither has a word, whether they are equal.

    >>> round(likeness("a.txt b.txt", "b.txt a.txt"), 6), likeness("12", "13"), likeness("", "")
    (1.0, 0.0, 1.0)
    """
    counts = [Counter(_WORD.findall(text.lower())) for text in (one, other)]
    words = {*counts[0], *counts[1]}
    if not words:
        return float(one == other)
    weight = {word: math.log(3 / (1 + sum(word in some for some in counts))) + 1 for word in words}
    vectors = [{word: some[word] * weight[word] for word in some} for some in counts]
    norms = [math.sqrt(sum(value * value for value in some.values())) for some in vectors]
    if not all(norms):
        return 0.0
    return sum(value * vectors[1].get(word, 0.0) for word, value in vectors[0].items()) / (
        norms[0] * norms[1]
    )


def reward_of(before: Mapping[str, str], mine: Said, gold: Said) -> float:
    """Return the published reward, 0.01 to 1.0, from what two commands left of the same folder and printed."""
    ours, theirs = changes(before, mine.files), changes(before, gold.files)
    unequal = set(ours.items()) ^ set(theirs.items())
    found = 0.01 + round(0.33 * (1 - math.erf(len(unequal))), 2)
    new = [path for path, kind in ours.items() if kind == "??" and theirs.get(path) == "??"]
    same = sum(_under(mine.files, path) == _under(gold.files, path) for path in new)
    found += round(0.33 * same / len(new), 2) if new else 0.33
    return round(found + round(0.33 * likeness(mine.output, gold.output), 2), 2)


def _under(files: Mapping[str, str], path: str) -> dict[str, str]:
    return {
        name: told
        for name, told in files.items()
        if name == path or (path.endswith("/") and name.startswith(path))
    }


def _state(folder: Path) -> dict[str, str]:
    """Return the files of a folder with their contents' hash and whether they can be run; links by where they lead."""
    return {str(path.relative_to(folder)): told for path, told in _files(folder)}


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    for root, folders, names in os.walk(folder):
        for name in (*names, *(one for one in folders if os.path.islink(os.path.join(root, one)))):
            path = Path(root, name)
            if path.is_symlink():
                yield path, f"-> {path.readlink()}"
            else:
                mark = "x" if path.stat().st_mode & 0o100 else "-"
                yield path, mark + hashlib.sha256(path.read_bytes()).hexdigest()


class Shell:
    """One published file system: a template that is copied, and commands that run on a copy in the sandbox."""

    def __init__(self, script: str, home: str, *, seconds: float) -> None:
        self.home, self._limits = home, Limits(time_s=seconds)
        self._held = tempfile.TemporaryDirectory(prefix="everystep-bash-", ignore_cleanup_errors=True)
        self._template = Path(self._held.name) / "template"
        self._template.mkdir()
        self._golds: dict[tuple[str, str], Said] = {}
        self.run(self._template, "/", (script,))
        self.before = _state(self._template)
        if not self.before:
            raise WorldError(
                f"the script of the file system {home!r} made no file. Is the clone of InterCode whole?"
            )

    def copy(self, name: str) -> Path:
        """Return a fresh copy of the file system; one of that name is thrown away."""
        place = Path(self._held.name) / name
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self._template, place, symlinks=True)
        return place

    def run(self, place: Path, workdir: str, words: tuple[str, ...]) -> Said:
        """Run ``bash -c WORDS`` in ``workdir`` on a copy."""
        sandbox = Sandbox(place, limits=self._limits, home=self.home)
        with ThreadPoolExecutor(1) as pool:  # the caller may be in an event loop of its own
            done = pool.submit(asyncio.run, sandbox.run(("/bin/bash", "-c", _RUN, workdir, *words))).result()
        output = (
            done.output.decode("utf-8", "replace") if done.ended is Ended.EXITED else f"stopped: {done.ended}"
        )
        return Said(output=output, ok=done.status == 0, files=_state(place))

    def gold(self, command: str, quoting: str) -> Said:
        """Return what the gold command prints and leaves; run once."""
        key = (command, quoting)
        if key not in self._golds:
            words = words_of(command, quoting)
            self._golds[key] = (
                self.run(self.copy("gold"), "/", words)
                if words
                else Said(output="", ok=False, files=self.before)
            )
        return self._golds[key]

    def close(self) -> None:
        """Delete all copies."""
        self._held.cleanup()


class BashEnvironment:
    """An episode of InterCode-Bash on a copy of the task's file system."""

    def __init__(self, world: InterCodeBash) -> None:
        self._world = world
        self._shells: dict[int, Shell] = {}
        self._question: Question | None = None
        self._over = True

    def reset(self, task: Task) -> Observation:
        """Begin the episode of ``task`` on an unchanged file system."""
        self._world = rebuilt(self._world, task)
        questions = self._world.questions()
        check_range(self._world.name, "seed", task.seed, 0, len(questions) - 1)
        self._question, self._over, self._turn = questions[task.seed], False, 0
        self._shell = self._open(self._question.system)
        self._place, self._workdir = self._shell.copy("agent"), "/"
        self._last: Said | None = None
        return self._seen("no command yet")

    def parse(self, text: str) -> Action:
        """Any text up to 4,000 characters is a command or ``submit``; only an empty one is refused."""
        if not text.strip() or len(text) > _LIMIT or "\0" in text:
            return Action(
                text=text, valid=False, reason=f"expected a command of 1 to {_LIMIT:,} characters, or submit"
            )
        return Action(text=text)

    def step(self, action: Action) -> Transition:
        """Run a command, or end the episode with the reward of what was printed last and changed."""
        question = self._now()
        self._turn += 1
        text = action.text.strip()
        if not action.valid:
            return self._result("nothing happens", reason=action.reason or "not an action of this world")
        if text == SUBMIT:
            score = self._score(question)
            self._over = True
            return self._result("right" if score == 1.0 else "wrong", reward=score, success=score == 1.0)
        to = None
        if text == "cd" or text.startswith("cd "):
            to = os.path.normpath(os.path.join(self._workdir, text[2:].strip()))
            text = f"cd {to}"
        words = words_of(text, self._world.quoting)
        if not words:
            return self._result(
                "Malformed command", reason="the command cannot be quoted as the benchmark does"
            )
        self._last = self._shell.run(self._place, "/" if to else self._workdir, words)
        if to and self._last.ok:
            self._workdir = to
        return self._result(self._last.output)

    def oracle(self) -> str:
        """Return the gold command, or ``submit`` once the reward is whole."""
        question = self._now()
        return SUBMIT if self._score(question) == 1.0 else question.gold

    def close(self) -> None:
        """Delete all file systems."""
        for shell in self._shells.values():
            shell.close()
        self._shells.clear()
        self._over = True

    def _now(self) -> Question:
        if self._question is None or self._over:
            raise WorldError("no episode is running. Call reset with a task first.")
        return self._question

    def _open(self, system: int) -> Shell:
        if system not in self._shells:
            script = find_file(
                self._world.folder() / "docker" / "bash_scripts", f"setup_nl2b_fs_{system}.sh", SOURCE
            )
            self._shells[system] = Shell(read_text(script), HOMES[system], seconds=self._world.seconds)
        return self._shells[system]

    def _score(self, question: Question) -> float:
        if self._last is None:
            return 0.0
        gold = self._shell.gold(question.gold, self._world.quoting)
        return reward_of(self._shell.before, self._last, gold)

    def _seen(self, text: str) -> Observation:
        told = json.dumps(
            [self._workdir, text, sorted((self._last.files if self._last else self._shell.before).items())]
        )
        return Observation(
            text=text[: self._world.width], anchor=hashlib.sha256(told.encode()).hexdigest()[:24]
        )

    def _result(
        self, text: str, *, reward: float = 0.0, reason: str | None = None, success: bool | None = None
    ) -> Transition:
        terminated = self._over
        truncated = not terminated and self._turn >= self._world.turns
        question = self._question
        assert question is not None  # noqa: S101 -- step looked
        scores = {"reward": reward if terminated else self._score(question)}
        self._over = terminated or truncated
        return Transition(
            observation=self._seen(text), reward=reward, terminated=terminated, truncated=truncated,
            success=success, scores=scores, valid=reason is None, reason=reason,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class InterCodeBash:
    """Options: ``data`` is ``published`` (a clone of InterCode in EVERYSTEP_DATA/intercode_bash) or the path of a clone; ``system`` one of the file systems 1 to 3, 0 for all;
    ``turns`` is the step limit, ``width`` bounds an observation in characters, ``seconds`` a command. ``quoting`` ``published`` gives commands to bash as the benchmark's harness did, which loses double quotes.
    """

    data: str = "published"
    system: int = 0
    turns: int = 10
    width: int = 1500
    seconds: float = 10.0
    quoting: str = "plain"

    name: ClassVar[str] = "intercode_bash"
    summary: ClassVar[str] = "find and change files with shell commands in the sandbox (InterCode, NL2Bash)"

    def __post_init__(self) -> None:
        check_range(self.name, "turns", self.turns, 1, 10_000)
        check_range(self.name, "width", self.width, 40, 1_000_000)
        check_range(self.name, "seconds", self.seconds, 0.5, 600)
        if self.quoting not in ("plain", "published") or self.system not in (0, *HOMES):
            raise ConfigError(
                f"intercode_bash: quoting is {self.quoting!r}, system {self.system!r}; expected plain or published, and 0 (all), 1, 2 or 3."
            )

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.turns

    def folder(self) -> Path:
        """Return the clone's folder; ``ConfigError`` where ``EVERYSTEP_DATA`` is not set."""
        if self.data != "published":
            return Path(self.data)
        found = source_folder("intercode_bash")
        if found is None:
            raise ConfigError(f"intercode_bash needs EVERYSTEP_DATA=DATA or the path of a clone. {SOURCE}.")
        return found

    def questions(self) -> tuple[Question, ...]:
        """Return all tasks of the file systems that run here."""
        return load_questions(self.folder())

    def make(self) -> BashEnvironment:
        """Return an environment for tasks of this world."""
        return BashEnvironment(self)

    def size(self, split: str) -> int:
        """Return the number of tasks of ``split``."""
        check_place(split, 0)
        return len(self._selected(split))

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``. Requests with one gold command share a split."""
        check_place(split, index, self.size(split))
        number, one = self._selected(split)[index]
        return make_task(
            self, split=split, index=index, seed=number, reference=one.gold, tags={"system": str(one.system)},
            instruction=f"{one.text}\nThe files are under {HOMES[one.system]}. Answer with one shell command at a time; its output is shown. When the last output or the files are what is asked for, answer {SUBMIT}.",
        )  # fmt: skip

    def _selected(self, split: str) -> list[tuple[int, Question]]:
        return [
            (number, one)
            for number, one in enumerate(self.questions())
            if self.system in (0, one.system) and split_of(f"{one.system} {one.gold}") == split
        ]
