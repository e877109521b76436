"""InterCode-SQL on SQLite: answer a question about a database by querying it, then submit.

Tasks and databases are InterCode's (Yang et al. 2023, "InterCode: Standardizing and Benchmarking
Interactive Coding with Execution Feedback"), which took them from Spider (Yu et al. 2018). The score of
a result is the overlap of its rows with those of the gold query. The benchmark also multiplies by the
rank correlation of their order, always; here only where the gold query asks for an order, unless
``order`` is ``published``: without ORDER BY the order is the engine's own, and SQLite's is not MySQL's.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, ClassVar

from everystep.core.errors import ConfigError, WorldError
from everystep.core.protocols import Transition
from everystep.core.records import Action, Observation, Task
from everystep.environments.code.mysqldump import databases_of
from everystep.environments.code.sqlbox import Row, SqlBox, build_image
from everystep.environments.exact import check_place, check_range, make_task, rebuilt, split_of
from everystep.environments.published import SAMPLES, find_file, read_text

SOURCE = "https://github.com/princeton-nlp/intercode (folder data/sql/spider; Spider is CC BY-SA 4.0)"
SUBMIT = "submit"
HARDNESS = ("easy", "medium", "hard", "extra")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One task of the data: its number there, its database, the question and the gold query."""

    number: int
    database: str
    text: str
    gold: str
    hardness: str
    tables: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """The questions and the serialised databases."""

    questions: tuple[Question, ...]
    images: Mapping[str, bytes]
    answers: dict[int, tuple[Row, ...]] = field(default_factory=dict)

    def answer(self, number: int) -> tuple[Row, ...]:
        """Return the rows of the gold query of question ``number``; computed once."""
        if number not in self.answers:
            question = self.questions[number]
            box = SqlBox(question.database, self.images[question.database])
            result = box.run(question.gold)
            box.close()
            if result.rows is None:
                raise WorldError(f"the gold query of question {number} does not run: {result.error}.")
            self.answers[number] = result.rows
        return self.answers[number]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A complete episode: the database is kept as bytes if it was written to."""

    task: Task
    question: Question
    rows: tuple[Row, ...] | None
    image: bytes | None
    turn: int
    over: bool
    observation: Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class InterCodeSQL:
    """Options: ``data`` is ``sample`` (87 packaged tasks on two databases), ``published`` (all 1,034, from
    EVERYSTEP_DATA/intercode) or a folder with those files; ``database`` and ``hardness`` select tasks; ``turns`` is the
    step limit; ``width`` bounds an observation in characters; ``order`` is ``asked`` or ``published``.
    """

    data: str = "sample"
    database: str = ""
    hardness: str = ""
    turns: int = 10
    width: int = 600
    order: str = "asked"

    name: ClassVar[str] = "intercode_sql"
    summary: ClassVar[str] = "questions about real databases, answered with SQL (InterCode, Spider)"

    def __post_init__(self) -> None:
        check_range(self.name, "turns", self.turns, 1, 10_000)
        check_range(self.name, "width", self.width, 40, 1_000_000)
        if self.order not in ("asked", "published"):
            raise ConfigError(f"intercode_sql: order is {self.order!r}; it must be 'asked' or 'published'.")
        if self.hardness not in ("", *HARDNESS):
            raise ConfigError(f"intercode_sql: hardness is {self.hardness!r}; known: {', '.join(HARDNESS)}.")

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.turns

    def make(self) -> SqlEnvironment:
        """Return an environment for tasks of this world."""
        return SqlEnvironment(self)

    def size(self, split: str) -> int:
        """Return the number of tasks of ``split``."""
        check_place(split, 0)
        return len(self._selected(split))

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``. Paraphrases that share a gold query share a split."""
        check_place(split, index, self.size(split))
        question = self._selected(split)[index]
        tables = " ".join(f"{name} ( {' , '.join(columns)} ) ." for name, columns in question.tables.items())
        return make_task(
            self,
            split=split,
            index=index,
            seed=question.number,
            instruction=f"{question.text}\ndatabase {question.database} . tables : {tables} write SQL , then {SUBMIT} .",
            reference=question.gold,
            tags={"database": question.database, "hardness": question.hardness},
        )

    def _selected(self, split: str) -> tuple[Question, ...]:
        return _selected(load_dataset(self.data), self.database, self.hardness, split)


class SqlEnvironment:
    """An episode of InterCode-SQL on a private copy of the task's database."""

    def __init__(self, world: InterCodeSQL) -> None:
        self._world = world
        self._task: Task | None = None
        self._question: Question
        self._dataset: Dataset
        self._box: SqlBox
        self._boxes: dict[str, SqlBox] = {}
        self._rows: tuple[Row, ...] | None = None
        self._turn = 0
        self._over = True
        self._observation: Observation

    def reset(self, task: Task) -> Observation:
        """Begin the episode of ``task`` on an unchanged database."""
        self._world = rebuilt(self._world, task)
        self._dataset = load_dataset(self._world.data)
        questions = self._dataset.questions
        if not 0 <= task.seed < len(questions):
            raise WorldError(f"task {task.id!r} names question {task.seed}; there are {len(questions)}.")
        self._task, self._question = task, questions[task.seed]
        self._open(None)
        self._rows, self._turn, self._over = None, 0, False
        self._observation = self._seen("no query yet")
        return self._observation

    def parse(self, text: str) -> Action:
        """Any text is SQL or ``submit``; only an empty one is refused."""
        if not text.strip():
            return Action(text=text, valid=False, reason="expected an SQL statement or submit")
        return Action(text=text)

    def step(self, action: Action) -> Transition:
        """Run a statement, or end the episode with the score of the last result as its reward."""
        if self._over:
            raise WorldError("step was called, but no episode is running. Call reset or restore first.")
        self._turn += 1
        text = action.text.strip()
        if not action.valid or not text:
            return self._result("nothing happens", reason=action.reason or "not an action of this world")
        if text.rstrip(" ;").lower() == SUBMIT:
            score = self._score()
            self._over = True
            note = "right" if score == 1.0 else "wrong"
            return self._result(note, reward=score, success=score == 1.0)
        result = self._box.run(text)
        self._rows = result.rows
        if result.error is not None:
            return self._result(f"Error executing query: {result.error}", reason=result.error)
        return self._result(show_rows(result.rows, self._world.width))

    def oracle(self) -> str:
        """Return the gold query, or ``submit`` once its rows were found."""
        if self._over:
            raise WorldError("the oracle was asked, but no episode is running. Call reset or restore first.")
        return SUBMIT if self._score() == 1.0 else self._question.gold

    def snapshot(self) -> Snapshot:
        """Return the complete episode, with the database if it was changed."""
        if self._task is None:
            raise WorldError("there is nothing to save: no episode has begun. Call reset first.")
        return Snapshot(
            task=self._task,
            question=self._question,
            rows=self._rows,
            image=None if self._box.pristine else self._box.save(),
            turn=self._turn,
            over=self._over,
            observation=self._observation,
        )

    def restore(self, state: Any) -> Observation:
        """Put back a snapshot from this environment or another one."""
        if not isinstance(state, Snapshot):
            raise WorldError(f"cannot restore a {type(state).__name__}. Give back what snapshot returned.")
        if state.task is not self._task:
            self.reset(state.task)
        self._open(state.image)
        self._rows, self._turn, self._over = state.rows, state.turn, state.over
        self._observation = state.observation
        return state.observation

    def close(self) -> None:
        for box in self._boxes.values():
            box.close()
        self._boxes.clear()
        self._task, self._over = None, True

    def _open(self, image: bytes | None) -> None:
        name = self._question.database
        pristine = self._dataset.images[name]
        place = f"{self._world.data} {name}"
        if place not in self._boxes:
            self._boxes[place] = SqlBox(name, pristine)
        self._box = self._boxes[place]
        self._box.load(image or pristine, pristine=image is None)

    def _score(self) -> float:
        if self._rows is None:
            return 0.0
        question = self._question
        ordered = self._world.order == "published" or asks_for_order(question.gold)
        answer = self._dataset.answer(question.number)
        return overlap(self._rows, answer, ordered=ordered)

    def _seen(self, text: str) -> Observation:
        told = "none" if self._rows is None else _digest(self._rows)
        return Observation(text=text, anchor=f"{told} {self._box.digest()}")

    def _result(
        self, text: str, *, reward: float = 0.0, reason: str | None = None, success: bool | None = None
    ) -> Transition:
        terminated = self._over
        truncated = not terminated and self._turn >= self._world.turns
        self._over = terminated or truncated
        self._observation = self._seen(text[: self._world.width])
        return Transition(
            observation=self._observation,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            success=success,
            scores={"overlap": self._score()},
            valid=reason is None,
            reason=reason,
        )


def load_dataset(data: str) -> Dataset:
    """Load the questions and databases of ``sample``, ``published`` or a folder; ``ConfigError`` if missing."""
    if data == "sample":
        return _load_sample()
    folder = "intercode" if data == "published" else Path(data)
    tasks = find_file(folder, "ic_spider_dev.json", SOURCE)
    return _load(tasks, find_file(folder, "ic_spider_dbs.sql", SOURCE))


@cache
def _load_sample() -> Dataset:
    packed = json.loads(read_text(SAMPLES / "intercode_sample.json"))
    return _dataset(packed["tasks"], {name: tuple(made) for name, made in packed["databases"].items()})


@cache
def _load(tasks: Path, dump: Path) -> Dataset:
    return _dataset(json.loads(read_text(tasks)), databases_of(read_text(dump).splitlines()))


def _dataset(tasks: Sequence[Mapping[str, Any]], databases: Mapping[str, tuple[str, ...]]) -> Dataset:
    questions = tuple(
        Question(
            number=number,
            database=task["db"],
            text=task["query"],
            gold=task["gold"],
            hardness=task["hardness"],
            tables=task["db_tables"],
        )
        for number, task in enumerate(tasks)
    )
    return Dataset(questions=questions, images={name: build_image(made) for name, made in databases.items()})


@lru_cache(maxsize=64)
def _selected(dataset: Dataset, database: str, hardness: str, split: str) -> tuple[Question, ...]:
    if database and database not in dataset.images:
        raise ConfigError(
            f"intercode_sql: no database {database!r}. Known: {', '.join(sorted(dataset.images))}."
        )
    return tuple(
        question
        for question in dataset.questions
        if database in ("", question.database)
        and hardness in ("", question.hardness)
        and split_of(f"{question.database} {question.gold}") == split
    )


def overlap(rows: Sequence[Row], gold: Sequence[Row], *, ordered: bool) -> float:
    """Return how well ``rows`` match ``gold``, from -1 to 1; 1 also where both are empty.

    Rows are compared as texts: the size of the intersection of the two multisets over that of their
    union. With ``ordered`` it is multiplied by Kendall's tau-b between the common rows in the order of
    either result, where that is defined, and rounded to two places, as the benchmark does.

    >>> overlap([(1,), (2,)], [(2,), (1,)], ordered=False), overlap([(1,), (2,)], [(2,), (1,)], ordered=True)
    (1.0, -1.0)
    """
    mine, other = [str(row) for row in rows], [str(row) for row in gold]
    counted, wanted = Counter(mine), Counter(other)
    common = counted & wanted
    union = (counted | wanted).total()
    if not union:
        return 1.0
    share = common.total() / union
    tau = kendall(_common(mine, common), _common(other, common)) if ordered else None
    return share if tau is None else round(share * tau, 2)


def _common(rows: Sequence[str], common: Mapping[str, int]) -> list[str]:
    left = dict(common)
    found = []
    for row in rows:
        if left.get(row, 0):
            left[row] -= 1
            found.append(row)
    return found


def kendall(x: Sequence[str], y: Sequence[str]) -> float | None:
    """Return Kendall's tau-b of two equally long rankings, ``None`` where all values of one are equal.

    >>> kendall(["a", "b", "c"], ["a", "c", "b"])
    0.3333333333333333
    """

    def tied(values: Sequence[Any]) -> int:
        return sum(n * (n - 1) // 2 for n in Counter(values).values())

    pairs = len(x) * (len(x) - 1) // 2
    tied_x, tied_y = tied(x), tied(y)
    if pairs in (tied_x, tied_y):
        return None
    both = sorted(zip(x, y, strict=True))
    discordant, seen = 0, list[str]()
    for _, value in both:
        discordant += len(seen) - bisect_right(seen, value)
        insort(seen, value)
    balance = pairs - tied_x - tied_y + tied(both) - 2 * discordant
    return balance / math.sqrt((pairs - tied_x) * (pairs - tied_y))


@lru_cache(maxsize=4096)
def asks_for_order(sql: str) -> bool:
    """Whether the outermost query has an ORDER BY.

    >>> asks_for_order("SELECT a FROM (SELECT a FROM t ORDER BY a)"), asks_for_order("SELECT a FROM t ORDER  BY a")
    (False, True)
    """
    inner = re.compile(r"\([^()]*\)")
    while inner.search(sql):
        sql = inner.sub(" ", sql)
    return re.search(r"\border\s+by\b", sql, re.IGNORECASE) is not None


def show_rows(rows: tuple[Row, ...] | None, width: int) -> str:
    """Return rows as text of at most ``width`` characters; what is cut off is told."""
    if rows is None:
        return "done"
    told = "[" + ", ".join(map(str, rows[: width // 2])) + "]"
    if len(told) <= width:
        return told
    end = f" ... {len(rows)} rows"
    return told[: width - len(end)] + end


def _digest(rows: tuple[Row, ...]) -> str:
    return hashlib.sha1(repr(rows).encode("utf-8", "replace"), usedforsecurity=False).hexdigest()[:16]
