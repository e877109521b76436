"""Answers that were paid for, on disk: a model judge that is asked the same again answers from here."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from everystep.core.errors import StoreError


class Answers:
    """A SQLite file of what was answered to which question. Every answer is on disk when ``put`` returns; several processes may share it.

    >>> with Answers(getfixture("tmp_path") / "answers.sqlite") as answers:
    ...     key = key_of({"prompt": "Is it right?", "model": "m"})
    ...     answers.put(key, {"yes": 2.0})
    ...     answers.get(key)
    {'yes': 2.0}
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, isolation_level=None, timeout=30.0)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"cannot open the answers in {str(path)!r}: {error}. Choose another file, or delete this one."
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, key: str) -> dict[str, Any] | None:
        """Return an answer, ``None`` where there is none. Damage is as if there were none."""
        try:
            row = self._connection.execute("SELECT body FROM answers WHERE key = ?", (key,)).fetchone()
            found = None if row is None else json.loads(row[0])
        except (sqlite3.Error, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def put(self, key: str, body: Mapping[str, Any]) -> None:
        """Keep an answer; one that is there already is replaced."""
        try:
            self._connection.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, json.dumps(dict(body)))
            )
        except sqlite3.Error as error:
            raise StoreError(f"cannot write into {str(self.path)!r}: {error}.") from None

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def key_of(question: Mapping[str, Any]) -> str:
    """Return the key of a question: a hash of everything that the answer depends on."""
    return sha256(json.dumps(question, sort_keys=True, default=str).encode("utf-8", "replace")).hexdigest()
