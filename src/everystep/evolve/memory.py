"""What is remembered beyond a step: notes, tips, episodes, facts and skills in one SQLite file with a full-text index.

Texts are found by their words (FTS5 of the standard library's SQLite, stemmed, ranked by BM25: Robertson and Zaragoza 2009). There is no vector
index: it would need an embedding model. What is stored may come from models and tools: queries are quoted, texts are bounded, nothing is run.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from unicodedata import combining, normalize

from everystep.core.codec import dumps
from everystep.core.errors import StoreError
from everystep.core.records import Json

VERSION = 1
"""Version of the tables, as in ``user_version`` of the file."""
LONGEST = 16_000
"""Characters that an item's text is cut to."""
MOST_WORDS = 48
"""Different words of a query that are looked for."""
MOST_ROWS = 500
"""Items that the common words of a query may bring in: rarer words come first, so a search costs the same in a large memory."""

_WORD = re.compile(r"\w+")
_ENDING = re.compile(r"(?:ies|ing|ed|es|s|e|y)$")


class Sort(StrEnum):
    """What kind of memory an item is."""

    NOTE = "note"  # of one run, for that run
    TIP = "tip"  # a lesson in words
    EPISODE = "episode"  # how a task went
    FACT = "fact"  # something that holds
    SKILL = "skill"  # behaviour that passed its trial; ``data`` has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something remembered. ``run`` and ``step`` say where it comes from, ``time`` (seconds since 1970) when it was written.

    ``used`` counts the runs it was recalled in, ``helped`` those of them that succeeded. Without an ``id`` it gets one
    from its content, so writing the same twice keeps it once.
    """

    kind: Sort
    text: str
    id: str = ""
    data: Mapping[str, Json] = field(default_factory=dict)
    run: str = ""
    step: str = ""
    time: float = 0.0
    used: int = 0
    helped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """An item that was found. ``score`` is its BM25 value: greater is better, comparable within one search."""

    item: Item
    score: float


class Memory:
    """An open memory. One process writes to a file at a time; other processes may read it meanwhile.

    >>> with Memory.open() as memory:
    ...     _ = memory.write(Item(kind=Sort.TIP, text="heat things with the microwave"))
    ...     [hit.item.text for hit in memory.search("heating an apple")]
    ['heat things with the microwave']
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @classmethod
    def open(cls, path: Path | str | None = None) -> Memory:
        """Open the memory in the file ``path``, made if it is not there; without a path one that is gone when it is closed.

        Raises ``StoreError`` for a file that is no memory, or one of another version.
        """
        connection = None
        try:
            connection = sqlite3.connect(path or ":memory:")
            _prepare(connection)
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            raise StoreError(
                f"{str(path)!r} cannot be opened as a memory ({error}). Name a file that a memory was written to, or a new one."
            ) from None
        return cls(connection)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        count: int = self._db.execute("SELECT count(*) FROM items").fetchone()[0]
        return count

    def write(self, item: Item) -> str:
        """Keep ``item`` and return its id. One with the same id is replaced, but for its statistics."""
        text = _clean(item.text)
        name = _clean(item.id) or _name(item.kind, text, item.run)
        data = json.dumps(json.loads(dumps(dict(item.data))))  # ASCII: any text can be stored
        before = self._db.execute("SELECT text FROM items WHERE id = ?", (name,)).fetchone()
        row = (
            name,
            item.kind.value,
            text,
            data,
            _clean(item.run),
            _clean(item.step),
            item.time,
            item.used,
            item.helped,
        )
        with self._db:
            self._db.execute(
                "INSERT INTO items (id, kind, text, data, run, step, time, used, helped) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, text = excluded.text, data = excluded.data, "
                "run = excluded.run, step = excluded.step, time = excluded.time",
                row,
            )
            if before is None or before[0] != text:
                self._count(text, 1)
                self._count(before[0] if before else "", -1)
        return name

    def _count(self, text: str, change: int) -> None:
        words = [(word, change, change) for word in sorted({_stem(word) for word in _words(text)})]
        self._db.executemany(
            "INSERT INTO counts (word, items) VALUES (?, ?) ON CONFLICT (word) DO UPDATE SET items = items + ?",
            words,
        )

    def _rarest(self, words: Sequence[str]) -> list[str]:
        """Return the words to look for: the rarest first, as many as bring in a bounded number of items, and one at least."""
        counts: dict[str, int] = {}
        for word in words:
            row = self._db.execute("SELECT items FROM counts WHERE word = ?", (_stem(word),)).fetchone()
            counts[word] = row[0] if row is not None else 0
        chosen: list[str] = []
        rows = 0
        for word in sorted((word for word in words if counts[word] > 0), key=counts.__getitem__):
            rows += counts[word]
            if chosen and rows > MOST_ROWS:
                break
            chosen.append(word)
        chosen += [word for word in words if counts[word] == 0]  # the index may know another form of them
        del chosen[MOST_WORDS:]
        return chosen

    def get(self, name: str) -> Item | None:
        """Return the item with this id, ``None`` where there is none."""
        row = self._db.execute("SELECT * FROM items WHERE id = ?", (_clean(name),)).fetchone()
        return _item(row) if row else None

    def items(self, kinds: Sequence[Sort] = ()) -> Iterator[Item]:
        """Yield the items of these kinds, by default all, in the order of their first writing."""
        rows = self._db.execute(_ALL, {"kinds": _listed(kinds)})
        yield from map(_item, rows)

    def search(
        self,
        query: str,
        k: int = 5,
        *,
        kinds: Sequence[Sort] = (),
        only: Callable[[Item], bool] | None = None,
    ) -> list[Hit]:
        """Return the ``k`` best items with words of ``query``, of these kinds (by default all) and accepted by ``only``.

        The query is plain text: no letter in it has a special meaning. Notes of all runs are searched; say so in ``only`` to keep to one.
        """
        wanted = match_of(self._rarest(_words(query)))
        if not wanted or k < 1:
            return []
        rows = self._db.execute("SELECT rowid, -rank FROM words WHERE words MATCH ? ORDER BY rank", (wanted,))
        found: list[Hit] = []
        for number, score in rows:
            item = _item(self._db.execute("SELECT * FROM items WHERE number = ?", (number,)).fetchone())
            if (not kinds or item.kind in kinds) and (only is None or only(item)):
                found.append(Hit(item=item, score=score))
                if len(found) == k:
                    break
        rows.close()
        return found

    def forget(self, name: str) -> bool:
        """Remove the item with this id; say whether there was one."""
        with self._db:
            return self._remove([_clean(name)]) > 0

    def _remove(self, names: Sequence[str]) -> int:
        removed = 0
        for name in names:
            row = self._db.execute("DELETE FROM items WHERE id = ? RETURNING text", (name,)).fetchone()
            if row is not None:
                self._count(row[0], -1)
                removed += 1
        return removed

    def forget_run(self, run: str, kinds: Sequence[Sort] = (Sort.NOTE,)) -> int:
        """Remove what one run left, by default its notes; return how many items that were."""
        with self._db:
            rows = self._db.execute(_LEFT, {"run": _clean(run), "kinds": _listed(kinds)}).fetchall()
            return self._remove([name for (name,) in rows])

    def credit(self, names: Sequence[str], *, helped: bool) -> None:
        """Count one more use of each item, and whether it ended well."""
        with self._db:
            self._db.executemany(
                "UPDATE items SET used = used + 1, helped = helped + ? WHERE id = ?",
                [(int(helped), _clean(name)) for name in names],
            )


def match_of(words: Sequence[str]) -> str:
    """Return the FTS5 expression that looks for any of the words; each is quoted, so none has a special meaning.

    >>> match_of(["apple", "or", "near"])
    '"apple" OR "or" OR "near"'
    """
    return " OR ".join(f'"{word}"' for word in words)


def _words(text: str) -> list[str]:
    """Return the different words of a text in small letters, in order."""
    return list(dict.fromkeys(word.lower() for word in _WORD.findall(_clean(text))))


def _stem(word: str) -> str:
    """Return a word without accents and ending: what the words are counted by, to know which are rare."""
    if not word.isascii():
        word = "".join(letter for letter in normalize("NFKD", word) if not combining(letter))
    return _ENDING.sub("", word) if len(word) > 4 else word


# In these queries an empty list of kinds means all of them.
_ALL = """
SELECT * FROM items WHERE json_array_length(:kinds) = 0 OR kind IN (SELECT value FROM json_each(:kinds)) ORDER BY number
"""
_LEFT = """
SELECT id FROM items WHERE run = :run AND (json_array_length(:kinds) = 0 OR kind IN (SELECT value FROM json_each(:kinds)))
"""
_SCHEMA = """
BEGIN;
CREATE TABLE items (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, text TEXT NOT NULL, data TEXT NOT NULL, run TEXT NOT NULL, step TEXT NOT NULL,
    time REAL NOT NULL, used INTEGER NOT NULL, helped INTEGER NOT NULL
);
CREATE TABLE counts (word TEXT PRIMARY KEY, items INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX items_run ON items (run);
CREATE VIRTUAL TABLE words USING fts5 (text, content = 'items', content_rowid = 'number', tokenize = 'porter unicode61 remove_diacritics 2');
CREATE TRIGGER items_new AFTER INSERT ON items BEGIN
    INSERT INTO words (rowid, text) VALUES (new.number, new.text);
END;
CREATE TRIGGER items_gone AFTER DELETE ON items BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.number, old.text);
END;
CREATE TRIGGER items_changed AFTER UPDATE OF text ON items BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.number, old.text);
    INSERT INTO words (rowid, text) VALUES (new.number, new.text);
END;
PRAGMA user_version = 1;
COMMIT;
"""


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty file; refuse a file of something else."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if empty:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_SCHEMA)
    elif version != VERSION:
        raise sqlite3.DatabaseError(f"it holds tables of version {version}, expected {VERSION}")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("SELECT count(*) FROM words WHERE words MATCH '\"a\"'")


def _listed(kinds: Sequence[Sort]) -> str:
    return json.dumps([kind.value for kind in kinds])


def _item(row: Sequence[object]) -> Item:
    _, name, kind, text, data, run, step, time, used, helped = row
    try:
        return Item(
            id=str(name),
            kind=Sort(str(kind)),
            text=str(text),
            data=json.loads(str(data)),
            run=str(run),
            step=str(step),
            time=float(str(time)),
            used=int(str(used)),
            helped=int(str(helped)),
        )
    except ValueError as error:
        raise StoreError(f"item {name!r} of the memory is damaged ({error}). Forget it.") from None


def _name(kind: Sort, text: str, run: str) -> str:
    owner = run if kind is Sort.NOTE else ""
    return sha256("\x1f".join((kind.value, _clean(owner), text)).encode()).hexdigest()[:16]


def _clean(text: str) -> str:
    """Return text that SQLite and UTF-8 can hold: bounded, without NUL and lone surrogates."""
    return text[:LONGEST].replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
