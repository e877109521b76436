"""Stored steps as Parquet files that can be read piece by piece, whatever they come from: a run, a journal, a Parquet folder, parts.

A journal is written out once, beside its verdicts and credit. A table whose pieces are too big to be held is written again in smaller ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from everystep.core.codec import decode
from everystep.core.errors import StoreError
from everystep.core.records import StepCredit, Verdict
from everystep.core.trace import Kind
from everystep.run.folder import JOURNAL
from everystep.run.journal import Journal
from everystep.run.store import part_folders, write_parquet
from everystep.run.tables import TABLES

PIECE = 65_536
"""Rows of one piece of a Parquet file that may be held in memory."""

VALUES = {
    "kind": pa.string(),
    "name": pa.string(),
    "target": pa.string(),
    "trajectory": pa.string(),
    "value": pa.float64(),
    "label": pa.string(),
    "other": pa.string(),
}
"""``values.parquet``: verdicts and credit, a row a target, in the order in which they were given."""

_BATCH = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the tables of stored steps lie. ``values`` is the table of verdicts and credit, where there are any."""

    path: Path
    folders: tuple[Path, ...]
    values: Path | None
    fingerprint: str

    def tables(self, name: str) -> tuple[Path, ...]:
        """Return the files of a table, in order."""
        return tuple(folder / f"{name}.parquet" for folder in self.folders)


def staged(path: Path, work: Path) -> Source:
    """Return the tables of ``path``; what has to be written for them goes into ``work``.

    Raises ``StoreError`` where ``path`` holds no stored steps.
    """
    folders = part_folders(path) if path.is_dir() else ()
    journal = path if path.is_file() else path / JOURNAL
    if folders:
        print_ = _fingerprint([folder / f"{name}.parquet" for folder in folders for name in TABLES])
        values = next(
            (
                folder / "values.parquet"
                for folder in (path, *folders[:1])
                if (folder / "values.parquet").is_file()
            ),
            None,
        )
        return Source(path=path, folders=_split(folders, work), values=values, fingerprint=print_)
    if not journal.is_file():
        raise StoreError(f"{str(path)!r} is neither a run, nor a journal, nor a Parquet folder of steps.")
    with Journal.read(journal) as opened:
        print_ = sha256(f"{journal.resolve()} {opened.last}".encode()).hexdigest()[:16]
        folder = work / f"source-{print_}"
        if (
            not all((folder / f"{name}.parquet").is_file() for name in TABLES)
            or not (folder / "values.parquet").is_file()
        ):
            write_values(opened, folder)
            write_parquet(opened, folder)
    return Source(path=path, folders=(folder,), values=folder / "values.parquet", fingerprint=print_)


def _fingerprint(files: list[Path]) -> str:
    """Return a name of the files' content as far as sizes, row counts and the last bytes tell."""
    digest = sha256()
    for file in files:
        try:
            size = file.stat().st_size
            with file.open("rb") as opened:
                opened.seek(max(0, size - 4096))
                digest.update(f"{size} ".encode() + opened.read())
        except OSError as error:
            raise StoreError(f"cannot read {str(file)!r}: {error}.") from None
    return digest.hexdigest()[:16]


def _split(folders: tuple[Path, ...], work: Path) -> tuple[Path, ...]:
    """Write tables again whose pieces are too big."""
    made = []
    for number, folder in enumerate(folders):
        file = folder / "steps.parquet"
        try:
            with pq.ParquetFile(file) as opened:
                about = opened.metadata
                big = any(about.row_group(n).num_rows > PIECE for n in range(about.num_row_groups))
                if not big:
                    made.append(folder)
                    continue
                fresh = work / f"split-{number:05d}"
                fresh.mkdir(parents=True, exist_ok=True)
                with pq.ParquetWriter(fresh / "steps.new", opened.schema_arrow, compression="zstd") as writer:
                    for batch in opened.iter_batches(batch_size=_BATCH):
                        writer.write_batch(batch)
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"{str(file)!r} is damaged or not a Parquet file: {error}.") from None
        (fresh / "steps.new").replace(fresh / "steps.parquet")
        for name in ("trajectories", "tasks"):
            (fresh / f"{name}.parquet").unlink(missing_ok=True)
            (fresh / f"{name}.parquet").symlink_to((folder / f"{name}.parquet").resolve())
        made.append(fresh)
    return tuple(made)


def write_values(journal: Journal, folder: Path) -> None:
    """Write ``values.parquet`` into ``folder``: the verdicts and credit of a journal, a row a target."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh, file = folder / "values.new", folder / "values.parquet"
    schema = pa.schema(list(VALUES.items()))
    rows: list[dict[str, Any]] = []
    with pq.ParquetWriter(fresh, schema, compression="zstd") as writer:
        for row in _values(journal):
            rows.append(row)
            if len(rows) == _BATCH:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows.clear()
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))
    fresh.replace(file)


def _values(journal: Journal) -> Iterator[dict[str, Any]]:
    for event in journal.events(kinds={Kind.VERDICT, Kind.CREDIT}, void=False):
        if event.kind is Kind.CREDIT:
            credit = decode(StepCredit, event.body)
            yield {
                "kind": "credit",
                "name": credit.estimator,
                "target": credit.step,
                "trajectory": credit.trajectory,
                "value": credit.value,
            }
        else:
            verdict = decode(Verdict, event.body)
            targets = verdict.targets[:1] if verdict.level == "pair" else verdict.targets
            for target in targets:
                yield {
                    "kind": verdict.level.value,
                    "name": verdict.judge,
                    "target": target,
                    "value": verdict.score,
                    "label": verdict.label,
                    "other": verdict.targets[1]
                    if verdict.level == "pair" and len(verdict.targets) > 1
                    else None,
                }


class Rows:
    """Rows of the step tables by their number over all files, read a piece at a time."""

    def __init__(self, source: Source) -> None:
        self._files = source.tables("steps")
        self._pieces: list[tuple[int, int, int]] = []  # first row, file, piece
        self.total = 0
        for number, file in enumerate(self._files):
            with pq.ParquetFile(file) as opened:
                about = opened.metadata
                for piece in range(about.num_row_groups):
                    self._pieces.append((self.total, number, piece))
                    self.total += about.row_group(piece).num_rows

    def take(self, rows: list[int]) -> pa.Table:
        """Return some rows in the order of their numbers; ``rows`` is sorted."""
        firsts = [one[0] for one in self._pieces] + [self.total]
        found, at, place = [], 0, 0
        for place, (first, number, piece) in enumerate(self._pieces):
            stop = at
            while stop < len(rows) and rows[stop] < firsts[place + 1]:
                stop += 1
            if stop > at:
                with pq.ParquetFile(self._files[number]) as opened:
                    table = opened.read_row_group(piece)
                found.append(table.take(pa.array([row - first for row in rows[at:stop]], pa.int64())))
                at = stop
            if at == len(rows):
                break
        del place
        return pa.concat_tables(found, promote_options="permissive")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return what a folder's manifest says, ``None`` without one."""
    file = folder / "manifest.json"
    if not file.is_file():
        return None
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{str(file)!r} is damaged ({error}). Remove the folder and filter again.") from None
    return told if isinstance(told, dict) else None
