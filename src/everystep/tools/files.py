"""Read, search and write files within one folder, and nowhere else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, Annotated
from uuid import uuid4

from pydantic import Field

from everystep.core.acts import Effect, Reversal, Risk
from everystep.core.errors import ConfigError, ToolError
from everystep.tools.function import tool_of
from everystep.tools.tool import Tool, reading

_LISTED = 1000
_LOOKED_AT = 20_000  # files of one search
_LINE = 2000  # characters shown of one line
_LARGEST = 10_000_000  # bytes of a file that is read or searched

Lines = Annotated[int, Field(ge=1, le=2000)]


def file_tools(root: Path, *, write: bool = False, max_bytes: int = 1_000_000) -> tuple[Tool, ...]:
    """Return ``list_files``, ``read_file``, ``search_files`` and, with ``write``, ``write_file`` for the folder ``root``.

    A path that leads out of ``root``, by ``..``, as an absolute one or through a link, is refused. A file is written to a new one
    that takes the old one's place at once; writing again what was written changes nothing, so the effect is idempotent.
    ``max_bytes`` bounds one written file.
    """
    top = Path(root).resolve()
    if not top.is_dir():
        raise ConfigError(f"{str(root)!r} is not a folder. Create it first.")

    def list_files(path: str = ".", deep: bool = False) -> str:
        """List a folder: its files with their sizes, and its folders.

        Args:
            path: The folder, relative to the root.
            deep: Whether to list the folders below, too.
        """
        folder = _within(top, path)
        if not folder.is_dir():
            raise ToolError(f"{path!r} is not a folder.")
        listed: list[str] = []
        for one in _below(folder, deep=deep):
            if len(listed) == _LISTED:
                listed.append(f"... more than {_LISTED} entries")
                break
            name = one.relative_to(top).as_posix()
            is_folder = one.is_dir() and not one.is_symlink()
            listed.append(f"{name}/" if is_folder else f"{name} ({one.lstat().st_size} bytes)")
        return "\n".join(listed) or "(empty)"

    def read_file(path: str, start: Annotated[int, Field(ge=1)] = 1, lines: Lines = 400) -> str:
        """Read lines of a text file, with their numbers.

        Args:
            path: The file, relative to the root.
            start: The first line, from 1.
            lines: How many lines.
        """
        shown, number, more = [], 0, False
        with _open(top, path) as file:
            for number, line in enumerate(file, start=1):
                more = number >= start + lines
                if more:
                    break
                if number >= start:
                    shown.append(f"{number}: {_text(line)}")
        if not shown:
            return f"(line {start} is past the end; the file has {number} lines)" if number else "(empty)"
        return "\n".join(shown) + (f"\n... more lines follow; read from {start + lines}" if more else "")

    def search_files(text: Annotated[str, Field(min_length=1, max_length=500)], path: str = ".") -> str:
        """Find the lines that contain a text, in a file or in all files below a folder. Case counts.

        Args:
            text: What to look for, as it stands; no pattern.
            path: The file or folder, relative to the root.
        """
        sought, found = text.encode("utf-8", "surrogatepass"), []
        place = _within(top, path)
        files = (
            [place] if place.is_file() else [one for one in _below(place, deep=True) if not one.is_symlink()]
        )
        for one in files[:_LOOKED_AT]:
            if not stat.S_ISREG(one.lstat().st_mode) or one.lstat().st_size > _LARGEST:
                continue
            name = one.relative_to(top).as_posix()
            with _open(top, name) as file:
                for number, line in enumerate(file, start=1):
                    if sought in line:
                        found.append(f"{name}:{number}: {_text(line)}")
            if len(found) >= 100:
                return "\n".join([*found[:100], "... and more"])
        return "\n".join(found) or f"{text!r} was not found"

    def write_file(path: str, text: str) -> str:
        """Write a text file, new or in place of the old one; folders are made as needed.

        Args:
            path: The file, relative to the root.
            text: The whole new content.
        """
        data = text.encode()
        if len(data) > max_bytes:
            raise ToolError(f"the text has {len(data)} bytes; expected at most {max_bytes}.")
        place = _within(top, path)
        if place == top or place.is_dir():
            raise ToolError(f"{path!r} is a folder; expected a file.")
        place.parent.mkdir(parents=True, exist_ok=True)
        mode = place.stat().st_mode & 0o777 if place.is_file() else 0o644
        new = place.with_name(f".{uuid4().hex}.new")
        try:
            with open(new, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new.chmod(mode)
            new.replace(place)
        finally:
            new.unlink(missing_ok=True)
        return f"wrote {len(data)} bytes, sha256 {sha256(data).hexdigest()[:16]}"

    tools = [tool_of(one, effect=reading(one.__name__)) for one in (list_files, read_file, search_files)]
    if write:
        effect = Effect(
            name="write_file",
            reversal=Reversal.IRREVERSIBLE,  # what stood there before is gone
            risk=Risk.LOW,
            idempotent=True,
            resources=(f"folder:{top}",),
        )
        tools.append(tool_of(write_file, effect=effect))
    return tuple(tools)


def _within(top: Path, path: str) -> Path:
    """Return the real place of ``path`` below ``top``. Raises ``ToolError`` where it leads elsewhere."""
    if "\0" in path or len(path) > 4000:
        raise ToolError(f"{path[:80]!r} is not a path.")
    place = Path(path)
    try:
        real = (top / place).resolve()
    except (OSError, RuntimeError) as error:
        raise ToolError(f"{path!r} leads nowhere: {error}.") from None
    if place.is_absolute() or not real.is_relative_to(top):
        raise ToolError(f"{path!r} leads out of the folder. Give a path relative to it.")
    return real


def _open(top: Path, path: str) -> IO[bytes]:
    """Open a plain file for reading: not a pipe that would block, and no link put in its place meanwhile."""
    real = _within(top, path)
    try:
        number = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ToolError(f"there is no file {path!r}.") from None
    except OSError as error:
        raise ToolError(f"{path!r} cannot be read: {error.strerror}.") from None
    about = os.fstat(number)
    if not stat.S_ISREG(about.st_mode) or about.st_size > _LARGEST:
        os.close(number)
        large = f"has {about.st_size} bytes; expected at most {_LARGEST}"
        raise ToolError(f"{path!r} {large if stat.S_ISREG(about.st_mode) else 'is not a file'}.")
    return os.fdopen(number, "rb")


def _below(folder: Path, *, deep: bool) -> Iterator[Path]:
    for one in sorted(folder.iterdir()):
        yield one
        if deep and one.is_dir() and not one.is_symlink():
            yield from _below(one, deep=True)


def _text(line: bytes) -> str:
    text = line.rstrip(b"\r\n").decode("utf-8", "replace")
    return text if len(text) <= _LINE else f"{text[:_LINE]}... ({len(text)} characters)"
